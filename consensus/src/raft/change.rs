//! Changing the members, one at a time (dissertation, chapter 4). Majorities before and after share
//! a voter only if nobody counts with members from two changes ago; so a change must be committed
//! before the next, also one that an earlier leader began. That is known once an entry of the
//! leader's own term is committed (row M04).

use super::Raft;
use crate::progress::{Phase, Progress};
use crate::{Change, ChangeError, EntryId, Payload};

/// Entries that a learner may lack when it is promoted.
const PROMOTE_LAG_MAX: u64 = 1024;

impl Raft {
    pub(super) fn change(&mut self, change: &Change) -> Result<EntryId, ChangeError> {
        let known = self.leader;
        let committed_in_term = self.has_committed_in_term() || planted!(self, ChangeBeforeOwnTerm);
        let leader = self.leadership().ok_or(ChangeError::NotLeader { leader: known })?;
        if leader.transfer.is_some() {
            return Err(ChangeError::Transferring);
        }
        if !committed_in_term {
            return Err(ChangeError::TermNotCommitted);
        }
        let (index, membership) = self.log.membership();
        if index > self.log.committed() && !planted!(self, TwoChangesAtOnce) {
            return Err(ChangeError::Pending);
        }
        let membership = membership.changed(change)?;
        if let Change::Promote(node) = change {
            self.check_caught_up(*node)?;
        }
        let (next, own) = (self.last_index(), self.identity.node);
        let nodes: Vec<_> =
            membership.members.keys().copied().filter(|node| *node != own).collect();
        if let Some(leader) = self.leadership_mut() {
            for node in nodes {
                leader.progress.entry(node).or_insert_with(|| Progress::new(next));
            }
        }
        let id = self.append(vec![Payload::Membership(membership)]);
        self.count_log();
        Ok(id)
    }

    /// A voter that lacks much would hold up every commit that needs it.
    fn check_caught_up(&self, node: crate::NodeId) -> Result<(), ChangeError> {
        let progress = self.leadership().and_then(|leader| leader.progress.get(&node));
        let matched = progress.map_or(0, |progress| progress.counted().0);
        let missing = self.log.committed().0.saturating_sub(matched);
        let replicating = progress.is_some_and(|one| matches!(one.phase, Phase::Replicate(_)));
        if replicating && missing <= PROMOTE_LAG_MAX {
            Ok(())
        } else {
            Err(ChangeError::Behind { node, missing })
        }
    }
}
