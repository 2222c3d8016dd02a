//! Going on without those that had the votes, because an operator says that they are lost (SingleStore's AGGREGATOR SET AS
//! MASTER; etcd has `--force-new-cluster` for it). Nothing in Raft can prove that they are: two leaders are kept apart by
//! generations instead.
//!
//! ```text
//!            generation 0                    generation 1
//!  terms     1 2 3 …                         2^48 + taker · 2^32, one more for each election
//!  log       … e, e′                         members: the taker has the only vote, start, …
//! ```
//!
//! The taker begins a generation of terms above all others, and with an entry that takes all but itself their votes. From there on
//! Raft's rules hold as ever. What is new is only how nodes come from one generation to the next:
//!
//! * Who has heard of a later generation, and has no entry of it, may not stand: its votes are those of a generation that is over.
//! * A leader of a later generation may lack what is committed here. So what it sends from before the commit mark is compared, entry
//!   by entry, and not taken for equal; a node that has committed otherwise takes no part any more, and says so.

use super::{Part, Raft};
use crate::quorum::Tally;
use crate::{
    AppendResult, Ballot, Content, Entry, EntryId, Index, NodeId, Payload, Refusal, Round,
    TakeOverError, Vote,
};

impl Raft {
    /// Begins a generation in which this member has the only vote.
    pub(super) fn take_over(&mut self) -> Result<(), TakeOverError> {
        let own = self.identity;
        if let Some(leader) = self.leader {
            return Err(TakeOverError::Led(leader));
        }
        if self.storing.is_some() {
            return Err(TakeOverError::Storing);
        }
        let mut membership = self.log.membership().1.clone();
        for (node, member) in &mut membership.members {
            member.vote = if *node == own.node { Vote::Voter } else { Vote::Learner };
        }
        if !self.has_vote(&membership) {
            return Err(TakeOverError::NotMember);
        }
        self.mark("took over");
        let ballot = Ballot { term: self.ballot.term.taken_over(own.node), vote: Some(own.node) };
        let own_vote = self.set_ballot(ballot);
        self.part = Part::Candidate { tally: Tally::default(), own_vote };
        let id = EntryId::new(ballot.term, self.last_index().next());
        let entry = Entry { id, payload: Payload::Membership(membership) };
        self.log.push(entry.clone());
        self.write(Content::Entries(vec![entry]));
        self.reset_election_timer();
        Ok(())
    }

    /// Whether this log has reached the generation of the term: its members have their votes by it.
    pub(super) fn is_of_own_generation(&self) -> bool {
        self.log.last().term.generation() == self.ballot.term.generation()
    }

    /// Whether what is committed here is of a generation that is over: the leader may not have it.
    pub(super) fn was_taken_over(&self) -> bool {
        self.committed_generation() < self.ballot.term.generation()
    }

    fn committed_generation(&self) -> u64 {
        let committed = self.log.id_at(self.log.committed()).unwrap_or(EntryId::ZERO);
        committed.term.generation()
    }

    /// Ends this member if the leader has other entries than are committed here; whether it did.
    pub(super) fn ends_by_difference(&mut self, leader: NodeId, its: &[EntryId]) -> bool {
        let committed = self.log.committed();
        let generation = self.committed_generation();
        let differs = |id: &EntryId| {
            // What lies before the log's base is in its snapshot, and of this generation or an earlier one.
            let own = self.log.id_at(id.index);
            id.index <= committed && own.map_or(id.term.generation() > generation, |own| own != *id)
        };
        let is_other = self.was_taken_over() && its.iter().any(differs);
        if is_other {
            self.mark("committed otherwise before it was taken over");
            let why = Refusal::TakenOver { term: self.ballot.term, committed };
            self.end(leader, why);
        }
        is_other
    }

    /// Takes what a leader of a later generation sends from before the commit mark.
    pub(super) fn compare(
        &mut self,
        from: NodeId,
        (previous, entries): (EntryId, Vec<Entry>),
        commit: Index,
        round: Round,
    ) {
        let its: Vec<EntryId> =
            std::iter::once(previous).chain(entries.iter().map(|entry| entry.id)).collect();
        if self.ends_by_difference(from, &its) {
            return;
        }
        let committed = self.log.committed();
        let matched = its.last().map_or(previous.index, |last| last.index);
        if matched <= committed {
            // Behind it this log may be another one.
            self.answer_append(from, round, AppendResult::Matched(matched));
            return;
        }
        let behind = entries.into_iter().filter(|entry| entry.id.index > committed).collect();
        self.take_matching(from, (committed, behind), commit, round);
    }
}
