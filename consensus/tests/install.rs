//! A snapshot from a leader and a log that reaches beyond it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use resprout_consensus::{
    AppendResult, Ballot, Config, Entry, EntryId, Envelope, Event, Identity, Index, Member,
    Membership, Message, NodeId, Output, Payload, Raft, Recovered, Round, Snapshot, StoreId, Term,
    Timing, Vote,
};

const LEADER: NodeId = NodeId(2);

fn membership() -> Membership {
    let member = |id: u64| Member { store: StoreId(id), address: String::new(), vote: Vote::Voter };
    Membership { members: BTreeMap::from([1, 2, 3].map(|id| (NodeId(id), member(id)))) }
}

/// A voter with entries of term 1 up to index 4, of which it knows none to be committed.
fn voter() -> Raft {
    let entry = |index| {
        let payload = match index {
            1 => Payload::Membership(membership()),
            _ => Payload::TermStart,
        };
        Entry { id: EntryId::new(Term(1), Index(index)), payload }
    };
    let recovered = Recovered {
        ballot: Ballot { term: Term(1), vote: None },
        entries: (1..=4).map(entry).collect(),
        boot: 1,
        ..Recovered::default()
    };
    let identity = Identity { node: NodeId(1), store: StoreId(1) };
    let config = Config::new(Timing::new(Duration::from_secs(1)).expect("a sound timeout"));
    Raft::new(identity, config, recovered, (Duration::ZERO, 1))
}

fn receive_snapshot(raft: &mut Raft, last: EntryId) -> Output {
    let state = Bytes::from_static(b"state");
    let snapshot = Snapshot::new(last, (Index(1), membership()), state);
    let (meta, data) = (snapshot.meta, snapshot.state);
    let message = Message::Snapshot { meta, offset: 0, data, round: Round(1) };
    let (from_store, to_store) = (StoreId(2), StoreId(1));
    let (from, to, term) = (LEADER, NodeId(1), Term(1));
    raft.step(
        Duration::ZERO,
        Event::Receive(Envelope { from, from_store, to, to_store, term, message }),
    )
}

/// Promise: what a member has acknowledged stays, also when a snapshot arrives that was begun before
/// the leader knew of the acknowledgement (paper, figure 13, rule 6).
#[test]
fn a_snapshot_keeps_the_log_behind_it() {
    let mut raft = voter();
    let out = receive_snapshot(&mut raft, EntryId::new(Term(1), Index(3)));
    assert!(out.writes.is_empty(), "{:?}", out.writes);
    let [Envelope { message: Message::AppendAnswer { result, .. }, .. }] = &out.messages[..] else {
        panic!("{:?}", out.messages)
    };
    assert_eq!(*result, AppendResult::Matched(Index(3)));
    let status = raft.status();
    assert_eq!(
        (status.last.index, status.committed, status.applied),
        (Index(4), Index(3), Index(3))
    );
}

/// Promise: a log that contradicts a snapshot goes, as a whole.
#[test]
fn a_snapshot_replaces_a_log_without_its_last_entry() {
    let mut raft = voter();
    let last = EntryId::new(Term(1), Index(9));
    let out = receive_snapshot(&mut raft, last);
    raft.step(Duration::ZERO, Event::Persisted(out.writes.last().unwrap().id));
    let status = raft.status();
    assert_eq!((status.last, status.committed, status.applied), (last, Index(9), Index(9)));
}
