//! Reads that see everything acknowledged before them (dissertation, section 6.4): a majority says
//! after the read began that it still follows this leader, or has said so within a lease.
//!
//! ```text
//!  read ── round 7 asked ──► majority answers 7 or later ──► served at the commit mark of its start
//! ```
//!
//! A round is asked anew for every batch of reads; an answer to an earlier one proves nothing
//! (row M11).

use std::collections::VecDeque;

use super::Raft;
use crate::{Index, Message, NodeId, ReadId, ReadProof, Round};

/// Reads that wait at a leader.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Reads {
    /// Until an entry of its term is committed, the leader does not know what is.
    early: Vec<(Option<NodeId>, Vec<ReadId>)>,
    asked: VecDeque<Asked>,
    count: usize,
}

#[derive(Clone, Debug, Hash)]
struct Asked {
    round: Round,
    index: Index,
    /// Another node's; `None` for this one's.
    from: Option<NodeId>,
    ids: Vec<ReadId>,
}

impl Reads {
    /// Those of this node.
    pub(super) fn into_own(self) -> impl Iterator<Item = ReadId> {
        let asked = self.asked.into_iter().map(|asked| (asked.from, asked.ids));
        let own = self.early.into_iter().chain(asked).filter(|(from, _)| from.is_none());
        own.flat_map(|(_, ids)| ids)
    }
}

impl Raft {
    pub(super) fn read(&mut self, ids: Vec<ReadId>, proof: ReadProof) {
        match self.leader {
            _ if self.is_leader() => self.read_here(None, ids, proof),
            Some(leader) => self.send(leader, Message::Read { ids }),
            None => self.out.reads_refused.extend(ids),
        }
    }

    pub(super) fn read_for(&mut self, from: NodeId, ids: Vec<ReadId>) {
        if self.is_leader() {
            self.read_here(Some(from), ids, ReadProof::Round);
        }
    }

    fn read_here(&mut self, from: Option<NodeId>, ids: Vec<ReadId>, proof: ReadProof) {
        let committed_in_term = self.has_committed_in_term() || planted!(self, ReadBeforeOwnTerm);
        let index = self.log.committed();
        let vouched =
            (proof == ReadProof::Lease && self.has_lease()) || planted!(self, ReadWithoutRound);
        let reads_max = self.config.limits.reads_max;
        let Some(leader) = self.leadership_mut() else { return };
        if leader.reads.count + ids.len() > reads_max {
            self.mark("too many reads");
            if from.is_none() {
                self.out.reads_refused.extend(ids);
            }
            return;
        }
        if !committed_in_term {
            leader.reads.count += ids.len();
            leader.reads.early.push((from, ids));
            self.mark("read before the first commit waits");
            return;
        }
        if vouched {
            self.serve(from, ids, index);
            return;
        }
        leader.reads.count += ids.len();
        let round = Round(leader.round.0 + 1);
        leader.reads.asked.push_back(Asked { round, index, from, ids });
        self.ask_all();
    }

    /// Whether a lease holds: a majority said less than a lease ago that it follows.
    pub(super) fn has_lease(&self) -> bool {
        let Some(leader) = self.leadership() else { return false };
        let over = leader.lease_over && !planted!(self, LeaseAfterTransfer);
        let (round, asked) = leader.vouched();
        let runs = round > Round(0) && self.now < asked + self.config.timing.lease();
        !over && (self.is_only_voter() || runs || planted!(self, LeaseAfterSuspension))
    }

    /// The first entry of this leadership is committed: reads may begin.
    pub(super) fn wake_early_reads(&mut self) {
        if !self.has_committed_in_term() {
            return;
        }
        let Some(leader) = self.leadership_mut() else { return };
        let early = std::mem::take(&mut leader.reads.early);
        leader.reads.count -= early.iter().map(|(_, ids)| ids.len()).sum::<usize>();
        for (from, ids) in early {
            self.read_here(from, ids, ReadProof::Round);
        }
    }

    /// A majority has answered up to `vouched`.
    pub(super) fn serve_reads(&mut self, vouched: Round) {
        loop {
            let Some(leader) = self.leadership_mut() else { return };
            let front = leader.reads.asked.pop_front_if(|asked| asked.round <= vouched);
            let Some(Asked { index, from, ids, .. }) = front else { return };
            leader.reads.count -= ids.len();
            self.serve(from, ids, index);
        }
    }

    fn serve(&mut self, from: Option<NodeId>, ids: Vec<ReadId>, index: Index) {
        match from {
            Some(node) => self.send(node, Message::ReadAnswer { ids, index }),
            None => self.out.reads.extend(ids.into_iter().map(|id| (id, index))),
        }
    }
}
