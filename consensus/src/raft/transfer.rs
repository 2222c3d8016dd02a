//! Handing leadership over (dissertation, section 3.10): no more proposals, the target gets what it
//! lacks, then it is told to stand at once.
//!
//! ```text
//!  leader   refuses proposals ── Append … ──► target matches ── TransferNow ──► target stands
//!           gives up after an election timeout                                   voters let it
//! ```
//!
//! The voters do not protect the leader against the target, so its lease ends with `TransferNow`,
//! for the rest of its term: that message may arrive at any later time.

use super::leader::Handover;
use super::{Part, Raft};
use crate::{Message, NodeId, TransferError};

impl Raft {
    pub(super) fn transfer(&mut self, to: NodeId) -> Result<(), TransferError> {
        let until = self.now + self.config.timing.election();
        let own = self.identity.node;
        let is_voter = self.log.membership().1.is_voter(to);
        let leader = self.leadership_mut().ok_or(TransferError::NotLeader)?;
        if !is_voter {
            return Err(TransferError::NotVoter(to));
        }
        if let Some(pending) = leader.transfer
            && pending.to != to
        {
            return Err(TransferError::Pending(pending.to));
        }
        if to != own {
            leader.transfer = Some(Handover { to, until, told: false });
            self.send_entries(to);
            self.continue_transfer(to);
        }
        Ok(())
    }

    /// Tells the target to stand once it lacks nothing.
    pub(super) fn continue_transfer(&mut self, node: NodeId) {
        let last = self.last_index();
        let Part::Leader(leader) = &mut self.part else { return };
        let Some(transfer) = leader.transfer.as_mut() else { return };
        let matched = leader.progress.get(&node).map(|progress| progress.counted());
        if transfer.to == node && !transfer.told && matched == Some(last) {
            transfer.told = true;
            leader.lease_over = true;
            self.send(node, Message::TransferNow);
        }
    }

    /// Tells the target once more, with a sign of life: no proposal is taken while it has not heard.
    pub(super) fn repeat_transfer(&mut self) {
        let Some(leader) = self.leadership_mut() else { return };
        let Some(transfer) = leader.transfer.as_mut() else { return };
        transfer.told = false;
        let to = transfer.to;
        self.continue_transfer(to);
    }

    /// The leader wants this member to lead.
    pub(super) fn stand_now(&mut self, _from: NodeId) {
        // The message may be old, and this log about to begin anew behind a snapshot.
        if self.may_stand() {
            self.mark("stands by transfer");
            self.stand(true);
        }
    }
}
