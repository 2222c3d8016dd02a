//! Messages: whose they are, and of which term, before what they say.

use super::read::Remote;
use super::{Part, Raft};
use crate::{Alarm, AppendResult, EntryId, Envelope, Message, Refusal, Round, StoreId, Vote};

/// No term and no index comes near: what is larger was made up, and would overflow.
const NUMBER_MAX: u64 = 1 << 62;

impl Raft {
    pub(super) fn receive(&mut self, envelope: Envelope) {
        self.answering = Some((envelope.from, envelope.from_store));
        self.receive_from(envelope);
        self.answering = None;
    }

    fn receive_from(&mut self, envelope: Envelope) {
        if envelope.to != self.identity.node || !self.is_acquainted(&envelope) {
            return;
        }
        if !self.is_sound(&envelope) {
            self.out.alarms.push(Alarm::Unsound { node: envelope.from });
            return;
        }
        match envelope.message {
            // A question about a term that nobody has begun changes nothing here.
            Message::PreVote { last } => {
                let Envelope { from, from_store, term, .. } = envelope;
                self.answer_pre_vote((from, from_store), term, last);
            }
            Message::PreVoteAnswer { granted } => {
                self.count_pre_vote(envelope.from, envelope.term, granted);
            }
            // Of no term.
            Message::Propose { proposals } => self.propose_for(envelope.from, proposals),
            Message::Read { ids, boot } => {
                let Envelope { from: node, from_store: store, .. } = envelope;
                self.read_for(Remote { node, store, boot }, ids);
            }
            Message::ReadAnswer { ids, boot, index } => self.take_read_answer(ids, boot, index),
            Message::Refuse { why } => self.refused(envelope.from, why),
            Message::Vote { transfer, .. }
                if envelope.term > self.ballot.term && !transfer && self.protects_a_leader() =>
            {
                self.mark("vote refused: a leader may hold a lease");
            }
            _ => self.receive_in_term(envelope),
        }
    }

    /// Whether sender and receiver are who the other takes them for (row M06).
    fn is_acquainted(&mut self, envelope: &Envelope) -> bool {
        let (from, found) = (envelope.from, envelope.from_store);
        let (own, expected) = (self.identity, envelope.to_store);
        if expected != StoreId(0) && expected != own.store {
            // The sender may know older members, or this directory is not the member's any more.
            self.out.alarms.push(Alarm::StrangeStore {
                node: own.node,
                expected,
                found: own.store,
            });
            return false;
        }
        let member = self.log.membership().1.get(from);
        let Some(expected) = member.map(|member| member.store).filter(|store| *store != found)
        else {
            return true;
        };
        if self.may_be_news(envelope) {
            self.mark("newer store of a member");
            return true;
        }
        self.out.alarms.push(Alarm::StrangeStore { node: from, expected, found });
        if !self.is_leader() {
            return false;
        }
        if matches!(envelope.message, Message::PreVote { .. }) && self.is_removed(from, found) {
            self.refuse_removed(from, found);
        } else {
            let why = Refusal::StrangeStore { expected };
            self.send_to((from, found), self.ballot.term, Message::Refuse { why });
        }
        false
    }

    /// Whether a member that lags may not know yet that the sender was added again with this store.
    /// Who leads or asks for a vote goes by a membership of its own; elections are safe whatever the
    /// voters know of it. Answers are another matter: a lost store must not be counted.
    fn may_be_news(&self, envelope: &Envelope) -> bool {
        match envelope.message {
            Message::Append { .. } | Message::Snapshot { .. } | Message::TransferNow => {
                envelope.term > self.ballot.term
                    || envelope.term == self.ballot.term && !self.is_leader()
            }
            Message::PreVote { .. } | Message::Vote { .. } => !self.is_leader(),
            _ => false,
        }
    }

    /// Whether a message can come from a member that follows the rules. What cannot is dropped: it
    /// must not be able to stop this one.
    fn is_sound(&self, envelope: &Envelope) -> bool {
        if envelope.term.0 > NUMBER_MAX {
            return false;
        }
        match &envelope.message {
            Message::Append { previous, .. } if previous.index.0 > NUMBER_MAX => false,
            Message::Append { previous, entries, .. } => {
                let mut before = *previous;
                let follow = entries.iter().all(|entry| {
                    let follows = entry.id.index == before.index.next()
                        && entry.id.term >= before.term
                        && entry.id.term <= envelope.term;
                    before = entry.id;
                    follows
                });
                previous.term <= envelope.term && follow
            }
            Message::Snapshot { meta, offset, data, .. } => {
                meta.bytes <= self.config.limits.snapshot_bytes_max
                    && offset.checked_add(data.len() as u64).is_some_and(|end| end <= meta.bytes)
                    && meta.last.term <= envelope.term
                    && meta.last.index.0 <= NUMBER_MAX
                    && meta.membership_index <= meta.last.index
            }
            _ => true,
        }
    }

    fn receive_in_term(&mut self, envelope: Envelope) {
        let Envelope { from, term, message, .. } = envelope;
        let of_leader = matches!(
            message,
            Message::Append { .. } | Message::Snapshot { .. } | Message::TransferNow
        );
        if term > self.ballot.term {
            self.mark("higher term");
            self.follow(term, of_leader.then_some(from));
        }
        if term < self.ballot.term {
            self.answer_older(from, &message);
            return;
        }
        if of_leader {
            let known = self.leader.is_none_or(|leader| leader == from);
            assert!(known && !self.is_leader(), "two leaders in term {term}: {from} and another");
            self.heard = self.now;
            self.woke_late = false;
            self.called = false;
            self.follow(term, Some(from));
            self.reset_election_timer();
        }
        match message {
            Message::Vote { last, .. } => self.answer_vote(from, last),
            Message::VoteAnswer { granted } => self.count_vote(from, granted),
            Message::Append { previous, entries, commit, round } => {
                self.take_append(from, (previous, entries), commit, round);
            }
            Message::AppendAnswer { round, result, .. } => {
                self.take_append_answer(from, round, result);
            }
            Message::Snapshot { meta, offset, data, round } => {
                self.take_piece(from, meta, (offset, data), round);
            }
            Message::SnapshotAnswer { last, received, round } => {
                self.take_snapshot_answer(from, (last, received), round);
            }
            Message::TransferNow => self.stand_now(from),
            other => unreachable!("{} is of no term", other.name()),
        }
    }

    /// Lets whoever is behind know, so that it stops.
    fn answer_older(&mut self, from: crate::NodeId, message: &Message) {
        match message {
            Message::Append { .. } | Message::Snapshot { .. } => {
                self.mark("older leader told");
                let last = self.log.last();
                let none = EntryId::ZERO;
                let result =
                    AppendResult::Rejected { previous: none.index, hint: none, last: last.index };
                self.answer_append(from, Round(0), result);
            }
            Message::Vote { .. } => self.send(from, Message::VoteAnswer { granted: false }),
            _ => {}
        }
    }

    /// Somebody will have nothing to do with this member.
    fn refused(&mut self, by: crate::NodeId, why: Refusal) {
        let (index, membership) = self.log.membership();
        match why {
            // Only who asks to be elected is told so; whoever was added since knows better.
            // Nobody says so.
            Refusal::TakenOver { .. } => {}
            Refusal::Removed { membership: newer } if newer <= index => {}
            Refusal::Removed { .. } if !matches!(self.part, Part::PreCandidate(_)) => {}
            // The membership that was refused may be older than this store's.
            Refusal::StrangeStore { .. }
                if membership.get(self.identity.node).is_some_and(|member| {
                    member.store == self.identity.store && member.vote == Vote::Voter
                }) => {}
            _ => self.end(by, why),
        }
    }
}
