//! What is committed (paper, section 5.4.2 and figure 8): an entry of the leader's own term that
//! a majority has on its medium, and everything before it.

use super::Raft;
use crate::{Index, Payload, quorum};

impl Raft {
    /// The own log counts like any other: as far as it is durable.
    pub(super) fn own_log_durable(&mut self) {
        if self.is_leader() {
            self.count_log();
        }
    }

    /// Moves the commit mark to what a majority has.
    pub(super) fn count_log(&mut self) {
        let Some(to) = self.majority_has() else { return };
        let Some(id) = self.log.id_at(to) else { return };
        if to <= self.log.committed() {
            return;
        }
        if id.term != self.ballot.term && !planted!(self, CountOldTerm) {
            // A later leader may not have it (figure 8).
            self.mark("entry of an old term not counted");
            return;
        }
        let before = self.log.committed();
        self.log.commit(to);
        self.mark("committed");
        self.members_committed(before);
        self.leave_without_vote();
        if self.is_leader() {
            self.send_commit();
            self.wake_early_reads();
        }
    }

    fn majority_has(&self) -> Option<Index> {
        let leader = self.leadership()?;
        let own = self.identity.node;
        let durable = if planted!(self, CountSelfBeforeFlush) {
            self.last_index()
        } else {
            self.log.durable()
        };
        let has = |node| {
            if node == own {
                return Some(durable);
            }
            leader.progress.get(&node).map(crate::progress::Progress::counted)
        };
        if planted!(self, CountLearners) {
            let mut all = self.log.membership().1.clone();
            for member in all.members.values_mut() {
                member.vote = crate::Vote::Voter;
            }
            // More acknowledgements than the voters alone could give.
            let voters = self.log.membership().1.voters().count();
            let mut marks: Vec<_> = all.voters().filter_map(has).collect();
            marks.sort_unstable_by(|left, right| right.cmp(left));
            return marks.get(quorum::majority(voters) - 1).copied();
        }
        quorum::reached(self.log.membership().1, has)
    }

    /// Whether an entry of this leadership is committed: before, a leader knows of nothing that it
    /// is, and of no change of the members that it is finished.
    pub(super) fn has_committed_in_term(&self) -> bool {
        self.leadership().is_some_and(|leader| leader.term_start <= self.log.committed())
    }

    /// Acts on changes of the members that were committed behind `before`.
    fn members_committed(&mut self, before: Index) {
        let (index, membership) = self.log.membership();
        let is_new = index > before && index <= self.log.committed();
        let is_change =
            matches!(self.log.get(index).map(|entry| &entry.payload), Some(Payload::Membership(_)));
        if !is_new || !is_change {
            return;
        }
        let membership = membership.clone();
        let Some(leader) = self.leadership() else { return };
        let gone = leader.progress.keys().copied();
        let gone: Vec<_> = gone.filter(|node| membership.get(*node).is_none()).collect();
        for node in gone {
            // The last it hears: that it was removed.
            self.send_sign(node);
            if let Some(leader) = self.leadership_mut() {
                leader.progress.remove(&node);
            }
        }
    }

    /// A leader without a vote by what is committed has nothing more to do once an entry of its own
    /// is: it was removed or demoted (row M14), or had to stand without one.
    fn leave_without_vote(&mut self) {
        let (index, membership) = self.log.membership();
        let is_settled = index <= self.log.committed() && self.has_committed_in_term();
        if is_settled && !membership.is_voter(self.identity.node) {
            self.leave();
        }
    }

    /// Steps down because its own vote is gone (row M14), and lets the most complete voter follow
    /// at once.
    fn leave(&mut self) {
        self.mark("removed leader stepped down");
        self.send_commit();
        let best = self.leadership().and_then(|leader| {
            let voters = leader.progress.iter();
            let voters = voters.filter(|(node, _)| self.log.membership().1.is_voter(**node));
            voters.max_by_key(|(_, progress)| progress.counted()).map(|(node, _)| *node)
        });
        if let Some(best) = best {
            self.send(best, crate::Message::TransferNow);
        }
        self.step_down();
    }
}
