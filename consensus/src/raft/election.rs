//! Standing for election, and voting (paper, sections 5.2 and 5.4.1; dissertation, 9.6 for the
//! question before the vote).

use super::{Part, Raft};
use crate::quorum::{Outcome, Tally};
use crate::{
    Ballot, Content, EntryId, Index, Membership, Message, NodeId, Refusal, StoreId, Term, Write,
};

impl Raft {
    pub(super) fn tick_voter(&mut self) {
        if self.now < self.election_at {
            return;
        }
        if !self.may_stand() {
            // Whoever asks here is better told that no leader is known than sent to one that is gone.
            self.leader = None;
            self.reset_election_timer();
        } else if self.stood_still() {
            // The process stood still (row T06): what a leader has said meanwhile is waiting to
            // be read, and others wake at the same moment.
            self.mark("woke late: waits once more");
            self.woke_late = true;
            self.reset_election_timer();
        } else {
            self.ask_before_standing();
        }
    }

    /// Whether this member may be elected: also one whose vote is about to go. While that is not
    /// committed, it may be the only one that has the entry, and so the only one that can win
    /// (dissertation, section 4.2.2). So may one without a vote, once somebody who lacks entries that
    /// it has counts on its vote.
    pub(super) fn may_stand(&self) -> bool {
        let has_vote = |membership| self.has_vote(membership);
        self.is_of_own_generation()
            && (self.called || self.log.memberships_open().any(has_vote))
            && !self.storing.as_ref().is_some_and(|storing| storing.installed)
    }

    /// Whether this step comes so late that the process must have stood still, for the first time
    /// since it last heard of a leader: a machine that is always late must not wait for ever.
    fn stood_still(&self) -> bool {
        let late = self.now > self.election_at + self.config.timing.stood_still();
        late && !self.woke_late && !self.is_only_voter()
    }

    pub(super) fn reset_election_timer(&mut self) {
        let election = self.config.timing.election();
        let spread = u64::try_from(election.as_nanos()).unwrap_or(u64::MAX).max(1);
        let wait = std::time::Duration::from_nanos(self.rng.next() % spread);
        self.election_at = self.now + election + wait;
    }

    /// Whether a leader may rely on this member: it heard of one less than an election timeout
    /// ago, or may have before a restart.
    pub(super) fn protects_a_leader(&self) -> bool {
        self.is_leader() || self.now < self.heard + self.config.timing.election()
    }

    /// Asks whether a majority would vote for this member: whoever could not win must not raise
    /// the term, and so end a leadership that works (row M05).
    fn ask_before_standing(&mut self) {
        self.leader = None;
        self.reset_election_timer();
        let mut tally = Tally::default();
        tally.note(self.identity.node, true);
        let outcome = tally.outcome(self.log.membership().1);
        self.part = Part::PreCandidate(tally);
        if outcome == Outcome::Won {
            self.stand(false);
            return;
        }
        let (term, last) = (self.ballot.term.next(), self.log.last());
        for voter in self.other_voters() {
            self.send_in(term, voter, Message::PreVote { last });
        }
    }

    /// Begins a term and asks for votes in it.
    pub(super) fn stand(&mut self, transfer: bool) {
        self.leader = None;
        self.reset_election_timer();
        let ballot = Ballot { term: self.ballot.term.next(), vote: Some(self.identity.node) };
        let own_vote = self.set_ballot(ballot);
        self.part = Part::Candidate { tally: Tally::default(), own_vote };
        let last = self.log.last();
        for voter in self.other_voters() {
            self.send(voter, Message::Vote { last, transfer });
        }
    }

    /// The own vote counts like any other: when it is durable.
    pub(super) fn own_vote_durable(&mut self) {
        if let Part::Candidate { tally, own_vote } = &mut self.part
            && *own_vote <= self.writes.durable
        {
            tally.note(self.identity.node, true);
            self.decide_election();
        }
    }

    pub(super) fn answer_pre_vote(
        &mut self,
        (from, store): (NodeId, StoreId),
        term: Term,
        last: EntryId,
    ) {
        if self.is_leader() && self.is_removed(from, store) {
            self.refuse_removed(from, store);
            return;
        }
        let is_free = term > self.ballot.term && !self.protects_a_leader();
        let granted = is_free && self.is_up_to_date(last);
        if is_free && !granted && !self.may_stand() {
            // By a membership that never reached this log, or that its log replaced, it has a vote
            // there; refusing it and not standing would leave the cluster without a leader.
            self.mark("called to stand without a vote");
            self.called = true;
        }
        let answer_term = if granted { term } else { self.ballot.term };
        self.send_in(answer_term, from, Message::PreVoteAnswer { granted });
    }

    /// Tells a node that it was removed.
    pub(super) fn refuse_removed(&mut self, node: NodeId, store: StoreId) {
        self.mark("removed member told");
        let membership = self.log.membership_at(self.log.committed()).0;
        let why = Refusal::Removed { membership };
        self.send_to((node, store), self.ballot.term, Message::Refuse { why });
    }

    /// Whether the node with this directory is no member by what is committed.
    pub(super) fn is_removed(&self, node: NodeId, store: StoreId) -> bool {
        let is_in = |membership: &Membership| {
            membership.get(node).is_some_and(|member| member.store == store)
        };
        let (_, committed) = self.log.membership_at(self.log.committed());
        !is_in(&committed) && !is_in(self.log.membership().1)
    }

    pub(super) fn count_pre_vote(&mut self, from: NodeId, term: Term, granted: bool) {
        if !granted && term > self.ballot.term {
            self.follow(term, None);
            return;
        }
        let Part::PreCandidate(tally) = &mut self.part else { return };
        if granted && term != self.ballot.term.next() {
            return;
        }
        tally.note(from, granted);
        match tally.outcome(self.log.membership().1) {
            Outcome::Won => self.stand(false),
            Outcome::Lost => self.part = Part::Follower,
            Outcome::Open => {}
        }
    }

    /// Votes, if this member has not voted for another in this term and lacks nothing that the
    /// candidate lacks.
    pub(super) fn answer_vote(&mut self, from: NodeId, last: EntryId) {
        let free = match self.ballot.vote {
            Some(vote) => vote == from || planted!(self, VoteTwice),
            None => self.leader.is_none(),
        };
        let granted = free && self.is_up_to_date(last);
        if granted {
            self.mark("voted");
            if self.ballot.vote != Some(from) {
                self.set_ballot(Ballot { term: self.ballot.term, vote: Some(from) });
            }
            self.reset_election_timer();
        }
        self.send(from, Message::VoteAnswer { granted });
    }

    fn is_up_to_date(&self, last: EntryId) -> bool {
        last >= self.log.last() || planted!(self, VoteForShorterLog)
    }

    pub(super) fn count_vote(&mut self, from: NodeId, granted: bool) {
        if let Part::Candidate { tally, .. } = &mut self.part {
            tally.note(from, granted);
            self.decide_election();
        }
    }

    fn decide_election(&mut self) {
        let Part::Candidate { tally, .. } = &self.part else { return };
        match tally.outcome(self.log.membership().1) {
            Outcome::Won => self.lead(),
            Outcome::Lost => self.part = Part::Follower,
            Outcome::Open => {}
        }
    }

    /// Takes a newer term, or the leader of this one.
    pub(super) fn follow(&mut self, term: Term, leader: Option<NodeId>) {
        assert!(term >= self.ballot.term, "terms fall from {} to {term}", self.ballot.term);
        if term > self.ballot.term {
            self.leader = None;
            self.set_ballot(Ballot { term, vote: None });
        }
        self.drop_leadership();
        self.part = Part::Follower;
        self.leader = leader.or(self.leader);
    }

    pub(super) fn set_ballot(&mut self, ballot: Ballot) -> crate::WriteId {
        assert!(ballot.term >= self.ballot.term, "terms fall");
        self.ballot = ballot;
        // Term and vote of one step are one record (row M01).
        if let Some(Write { id, content: Content::Vote(last) }) = self.out.writes.last_mut() {
            *last = ballot;
            return *id;
        }
        self.write(Content::Vote(ballot))
    }

    pub(super) fn other_voters(&self) -> Vec<NodeId> {
        let voters = self.log.membership().1.voters();
        voters.filter(|voter| *voter != self.identity.node).collect()
    }

    /// Steps down within the term: nobody leads, as far as this member knows.
    pub(super) fn step_down(&mut self) {
        self.drop_leadership();
        self.part = Part::Follower;
        self.leader = None;
        self.reset_election_timer();
    }

    /// The last index of the log, for what follows it.
    pub(super) fn last_index(&self) -> Index {
        self.log.last().index
    }
}
