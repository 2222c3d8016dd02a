//! Bugs that the simulation has found in the core, each in its shortest form.

use std::time::Duration;

use bytes::Bytes;
use resprout_consensus::{
    AppendResult, Ballot, Config, Entry, EntryId, Envelope, Event, Identity, Index, Member,
    Membership, Message, NodeId, Payload, Raft, Recovered, Role, Round, Snapshot, StoreId, Term,
    Timing, Vote,
};

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

fn members(members: &[(u64, u64, Vote)]) -> Membership {
    let member = |(node, store, vote): &(u64, u64, Vote)| {
        (NodeId(*node), Member { store: StoreId(*store), address: String::new(), vote: *vote })
    };
    Membership { members: members.iter().map(member).collect() }
}

/// A node with these memberships as its log, of term 1.
fn node(node: u64, store: u64, log: &[Membership]) -> Raft {
    let entry = |(at, membership): (usize, &Membership)| Entry {
        id: id(1, at as u64 + 1),
        payload: Payload::Membership(membership.clone()),
    };
    let recovered = Recovered {
        ballot: Ballot { term: Term(1), vote: None },
        entries: log.iter().enumerate().map(entry).collect(),
        boot: 1,
        ..Recovered::default()
    };
    let identity = Identity { node: NodeId(node), store: StoreId(store) };
    let config = Config::new(Timing::new(Duration::from_secs(1)).expect("a possible time"));
    Raft::new(identity, config, recovered, (Duration::ZERO, 1))
}

fn message(from: (u64, u64), to: (u64, u64), term: u64, message: Message) -> Event {
    let ((from, from_store), (to, to_store)) = (from, to);
    let (from, to) = (NodeId(from), NodeId(to));
    let (from_store, to_store) = (StoreId(from_store), StoreId(to_store));
    Event::Receive(Envelope { from, from_store, to, to_store, term: Term(term), message })
}

/// The messages of a step once everything that it wrote is durable.
fn said(raft: &mut Raft, event: Event) -> Vec<Message> {
    let output = raft.step(Duration::from_millis(1), event);
    let mut messages = output.messages;
    if let Some(write) = output.writes.last() {
        let then = raft.step(Duration::from_millis(1), Event::Persisted(write.id));
        messages.extend(then.messages);
    }
    messages.into_iter().map(|envelope| envelope.message).collect()
}

fn matched(messages: &[Message]) -> Vec<Index> {
    let index = |message: &Message| match message {
        Message::AppendAnswer { result: AppendResult::Matched(index), .. } => Some(*index),
        _ => None,
    };
    messages.iter().filter_map(index).collect()
}

/// Promise: a snapshot of entries that a member has takes nothing behind them away, because that may
/// be acknowledged (seed 53).
#[test]
fn a_snapshot_takes_no_acknowledged_entries() {
    let (voters, start) =
        (members(&[(1, 101, Vote::Voter), (2, 102, Vote::Voter)]), Payload::TermStart);
    let mut raft = node(2, 102, std::slice::from_ref(&voters));
    let entries = (2..=5).map(|index| Entry { id: id(1, index), payload: start.clone() }).collect();
    let (previous, commit, round) = (id(1, 1), Index(0), Round(1));
    let append = Message::Append { previous, entries, commit, round };
    let messages = said(&mut raft, message((1, 101), (2, 102), 1, append));
    assert_eq!(matched(&messages), [Index(5)]);
    let meta = Snapshot::new(id(1, 3), (Index(1), voters), Bytes::new()).meta;
    let piece = Message::Snapshot { meta, offset: 0, data: Bytes::new(), round: Round(2) };
    let messages = said(&mut raft, message((1, 101), (2, 102), 1, piece));
    assert_eq!(matched(&messages), [Index(3)]);
    assert_eq!((raft.status().last, raft.status().committed), (id(1, 5), Index(3)));
}

/// Promise: while it is not committed that a member has no vote any more, it stands for election: it may
/// be the only one that can win (seed 115).
#[test]
fn m14_a_member_stands_until_its_vote_is_gone() {
    let both = members(&[(1, 101, Vote::Voter), (3, 103, Vote::Voter)]);
    let one = members(&[(1, 101, Vote::Voter), (3, 103, Vote::Learner)]);
    let mut raft = node(3, 103, &[both, one]);
    let output = raft.step(raft.deadline(), Event::Tick);
    assert_eq!(raft.status().state.role, Role::PreCandidate);
    assert!(matches!(output.messages[0].message, Message::PreVote { .. }));
}

/// Promise: a store does not take the vote of an earlier store of its node for its own (seed 364).
#[test]
fn m06_a_new_store_has_no_old_vote() {
    let mut raft = node(2, 999, &[members(&[(2, 102, Vote::Voter)])]);
    for _ in 0..5 {
        let output = raft.step(raft.deadline(), Event::Tick);
        assert!(output.messages.is_empty() && output.writes.is_empty());
    }
    assert_eq!(raft.status().state.role, Role::Follower);
}

/// Promise: a member that lags follows a leader that was added again with another store, and answers
/// that one; the answers of an unknown store count for nothing (seed 662).
#[test]
fn m06_a_lagging_member_follows_a_leader_with_a_new_store() {
    let old = [(1, 101, Vote::Voter), (2, 102, Vote::Voter), (3, 103, Vote::Voter)];
    let mut raft = node(3, 103, &[members(&old)]);
    let (commit, round) = (Index(0), Round(1));
    let append = Message::Append { previous: id(1, 1), entries: Vec::new(), commit, round };
    let event = message((2, 999), (3, 103), 2, append);
    let output = raft.step(Duration::from_millis(1), event);
    assert_eq!(raft.status().state.leader, Some(NodeId(2)));
    let write = output.writes.last().unwrap().id;
    let then = raft.step(Duration::from_millis(1), Event::Persisted(write));
    assert_eq!(then.messages[0].to_store, StoreId(999));
    let answer = Message::VoteAnswer { granted: true };
    let output = raft.step(Duration::from_millis(1), message((1, 998), (3, 103), 2, answer));
    assert_eq!(output.alarms.len(), 1);
}
