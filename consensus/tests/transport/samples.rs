//! One envelope of every kind, with something in every field.

use std::collections::BTreeMap;

use bytes::Bytes;
use resprout_consensus::{
    AppendResult, Entry, EntryId, Envelope, Index, Member, Membership, Message, NodeId, Payload,
    Proposal, ProposalId, ReadId, Refusal, Round, SnapshotMeta, StoreId, Term, Vote,
};

pub(crate) fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

pub(crate) fn membership() -> Membership {
    let member = |id: u64, vote| {
        let address = format!("host{id}:3307");
        (NodeId(id), Member { store: StoreId(id + 100), address, vote })
    };
    let members = [member(1, Vote::Voter), member(2, Vote::Voter), member(3, Vote::Learner)];
    Membership { members: BTreeMap::from(members) }
}

fn proposal(bytes: usize) -> Proposal {
    let command = Bytes::from((0..bytes).map(|at| at as u8).collect::<Vec<_>>());
    Proposal { id: ProposalId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10), since: Index(4), command }
}

fn messages() -> Vec<(&'static str, Message)> {
    let entries = vec![
        Entry { id: id(7, 12), payload: Payload::TermStart },
        Entry { id: id(7, 13), payload: Payload::Command(proposal(33)) },
        Entry { id: id(7, 14), payload: Payload::Membership(membership()) },
        Entry { id: id(7, 15), payload: Payload::Command(proposal(0)) },
    ];
    let append = |entries| Message::Append {
        previous: id(6, 11),
        entries,
        commit: Index(10),
        round: Round(3),
    };
    let answer = |result| Message::AppendAnswer { round: Round(3), result };
    let rejected = AppendResult::Rejected { previous: Index(11), hint: id(5, 9), last: Index(10) };
    let meta = SnapshotMeta {
        last: id(6, 11),
        membership: membership(),
        membership_index: Index(2),
        bytes: 300,
        crc: 0xdead_beef,
    };
    let data = Bytes::from_static(b"a piece of a state");
    let refusal = |why| Message::Refuse { why };
    let forgot = Refusal::Forgot { acknowledged: Index(12), has: Index(3) };
    vec![
        ("pre-vote", Message::PreVote { last: id(6, 11) }),
        ("pre-vote-answer", Message::PreVoteAnswer { granted: true }),
        ("vote", Message::Vote { last: id(6, 11), transfer: true }),
        ("vote-answer", Message::VoteAnswer { granted: false }),
        ("append", append(entries)),
        ("append-empty", append(Vec::new())),
        ("append-answer-matched", answer(AppendResult::Matched(Index(15)))),
        ("append-answer-rejected", answer(rejected)),
        ("snapshot", Message::Snapshot { meta, offset: 128, data, round: Round(4) }),
        (
            "snapshot-answer",
            Message::SnapshotAnswer { last: id(6, 11), received: 146, round: Round(4) },
        ),
        ("transfer-now", Message::TransferNow),
        ("propose", Message::Propose { proposals: vec![proposal(5), proposal(1)] }),
        ("read", Message::Read { ids: vec![ReadId(8), ReadId(9)], boot: 4 }),
        ("read-answer", Message::ReadAnswer { ids: vec![ReadId(8)], boot: 4, index: Index(15) }),
        ("refuse-removed", refusal(Refusal::Removed { membership: Index(14) })),
        ("refuse-strange", refusal(Refusal::StrangeStore { expected: StoreId(102) })),
        ("refuse-forgot", refusal(forgot)),
    ]
}

/// A message from one node to another, with the stores of [`membership`].
pub(crate) fn envelope(from: u64, to: u64, message: Message) -> Envelope {
    let (from_store, to_store) = (StoreId(from + 100), StoreId(to + 100));
    let (from, to) = (NodeId(from), NodeId(to));
    Envelope { from, from_store, to, to_store, term: Term(7), message }
}

/// All kinds, from one node to another, by the names of their fixtures.
pub(crate) fn envelopes(from: u64, to: u64) -> Vec<(&'static str, Envelope)> {
    let messages = messages().into_iter();
    messages.map(|(name, message)| (name, envelope(from, to, message))).collect()
}

/// A message that can be told from others by its number.
pub(crate) fn numbered(from: u64, to: u64, number: u64) -> Envelope {
    envelope(from, to, Message::Read { ids: vec![ReadId(number)], boot: 1 })
}

/// A message of about so many bytes.
pub(crate) fn long(from: u64, to: u64, bytes: usize) -> Envelope {
    envelope(from, to, Message::Propose { proposals: vec![proposal(bytes)] })
}
