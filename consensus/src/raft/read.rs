//! Reads that see everything acknowledged before them (dissertation, section 6.4): a majority says
//! after the read began that it still follows this leader, or has said so within a lease.
//!
//! ```text
//!  read ── round 7 asked ──► majority answers 7 or later ──► served at the commit mark of its start
//! ```
//!
//! A round is asked anew for every batch of reads; an answer to an earlier one proves nothing
//! (row M11). Only voters are asked: nobody else's answer counts.

use std::collections::VecDeque;

use super::Raft;
use crate::{Index, Message, NodeId, ReadId, ReadProof, Round, StoreId};

/// Whose a read is: another node's, or `None` for this one's.
type Asker = Option<Remote>;

/// A node that passed a read on. Its answer is for that directory and that start of it alone: another
/// counts its reads anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Remote {
    pub(super) node: NodeId,
    pub(super) store: StoreId,
    pub(super) boot: u64,
}

/// Reads that wait at a leader.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Reads {
    /// Until an entry of its term is committed, the leader does not know what is.
    early: Vec<(Asker, Vec<ReadId>)>,
    asked: VecDeque<Asked>,
    count: usize,
}

#[derive(Clone, Debug, Hash)]
struct Asked {
    round: Round,
    index: Index,
    from: Asker,
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
            Some(leader) => self.send(leader, Message::Read { ids, boot: self.boot }),
            None => self.out.reads_refused.extend(ids),
        }
    }

    /// A leader's answer to reads that were passed on.
    pub(super) fn take_read_answer(&mut self, ids: Vec<ReadId>, boot: u64, index: Index) {
        if boot == self.boot {
            self.out.reads.extend(ids.into_iter().map(|id| (id, index)));
        } else {
            self.mark("answer to a read of an earlier run dropped");
        }
    }

    pub(super) fn read_for(&mut self, from: Remote, ids: Vec<ReadId>) {
        if self.is_leader() {
            self.read_here(Some(from), ids, ReadProof::Round);
        }
    }

    fn read_here(&mut self, from: Asker, ids: Vec<ReadId>, proof: ReadProof) {
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
        self.ask(self.other_voters());
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
        let index = self.log.committed();
        let Some(leader) = self.leadership_mut() else { return };
        if leader.reads.early.is_empty() {
            return;
        }
        let round = Round(leader.round.0 + 1);
        let early = std::mem::take(&mut leader.reads.early).into_iter();
        let asked = early.map(|(from, ids)| Asked { round, index, from, ids });
        leader.reads.asked.extend(asked);
        self.ask(self.other_voters());
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

    fn serve(&mut self, from: Asker, ids: Vec<ReadId>, index: Index) {
        match from {
            Some(Remote { node, store, boot }) => {
                let answer = Message::ReadAnswer { ids, boot, index };
                self.send_to((node, store), self.ballot.term, answer);
            }
            None => self.out.reads.extend(ids.into_iter().map(|id| (id, index))),
        }
    }
}
