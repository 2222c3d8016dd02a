//! What goes into the core and what comes out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::log::Snapshot;
use crate::{
    Change, ChangeError, Entry, EntryId, Envelope, Index, Member, Membership, NodeId, Payload,
    Proposal, ProposalId, ReadId, Refusal, StoreId, Term, WriteId,
};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed: [`crate::Raft::deadline`] is reached.
    Tick,
    /// A message has arrived.
    Receive(Envelope),
    /// Somebody proposes here. Passed on to the leader if another node is; repeating is harmless.
    Propose(Vec<Proposal>),
    /// Somebody wants to change the members.
    Change(Change),
    /// Somebody wants to read here.
    Read {
        /// Which reads.
        ids: Vec<ReadId>,
        /// What has to vouch for the leadership.
        proof: ReadProof,
    },
    /// Somebody wants another voter to lead.
    Transfer(NodeId),
    /// An operator has this member lead without anybody's vote: those that had votes are lost.
    TakeOver,
    /// All writes up to this one are durable.
    Persisted(WriteId),
    /// A state with everything up to an entry that was handed out for applying: to be stored, and
    /// the log before it given up.
    Compact(Arc<Snapshot>),
    /// The connection to a member was lost: what is under way may not have arrived.
    Unreachable(NodeId),
}

/// What vouches that a reader's leader still leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadProof {
    /// A majority answers a question asked after the read began. Needs no clock.
    Round,
    /// The lease, if there is one and the clocks run within a fifth of each other; else a round.
    Lease,
}

/// What is to be done, in this order: `state`, `writes`, `messages`, `restore`, `apply`, and the
/// answers. Nothing in it may be left out; messages may be lost on their way.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// To be written in order, each whole or not at all; then [`Event::Persisted`].
    pub writes: Vec<Write>,
    /// To be sent.
    pub messages: Vec<Envelope>,
    /// A state that replaces the state machine's.
    pub restore: Option<Arc<Snapshot>>,
    /// To be applied, in order, after `restore`.
    pub apply: Vec<Entry>,
    /// Reads that may be served once everything up to the index is applied.
    pub reads: Vec<(ReadId, Index)>,
    /// Reads that found no leader: to be asked again, with a new id.
    pub reads_refused: Vec<ReadId>,
    /// Proposals that were not taken.
    pub refused: Vec<(ProposalId, ProposeError)>,
    /// What became of an [`Event::Change`]; committed when its entry is applied.
    pub changed: Option<Result<EntryId, ChangeError>>,
    /// What became of an [`Event::Transfer`].
    pub transferred: Option<Result<(), TransferError>>,
    /// What became of an [`Event::TakeOver`].
    pub taken_over: Option<Result<(), TakeOverError>>,
    /// Role, term, leader or members are others than before.
    pub state: Option<State>,
    /// Things that an operator should know.
    pub alarms: Vec<Alarm>,
    /// Lines of the core that were passed, for the tests that explain them.
    #[cfg(any(test, feature = "testing"))]
    pub marks: Vec<&'static str>,
}

/// One write to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its place in the order.
    pub id: WriteId,
    /// What to write.
    pub content: Content,
}

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Term and vote: one record (row M01).
    Vote(Ballot),
    /// Entries behind each other; what the store has at or behind the first is no more.
    Entries(Vec<Entry>),
    /// A state. Where it is durable, the log up to `base` may go.
    Snapshot {
        /// It.
        snapshot: Arc<Snapshot>,
        /// The entry before the first that is still needed.
        base: EntryId,
        /// The log holds nothing behind it: it came from a leader, and what was there is no more.
        installed: bool,
    },
}

/// The newest term that a node knows, and whom it has voted for in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ballot {
    /// The term. Never falls (assertion 6 of the catalogue).
    pub term: Term,
    /// The vote; at most one in a term.
    pub vote: Option<NodeId>,
}

/// What a store holds when a node starts.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Term and vote.
    pub ballot: Ballot,
    /// The newest state.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The entry before the first of `entries`.
    pub base: EntryId,
    /// The log.
    pub entries: Vec<Entry>,
    /// Which start of the process this is, counted durably, from 1.
    pub boot: u64,
}

impl Recovered {
    /// The store of the first node of a new cluster: it decides alone until others are added. It
    /// must be durable before the node starts.
    #[must_use]
    pub fn first(node: NodeId, member: Member) -> Self {
        let membership = Membership { members: BTreeMap::from([(node, member)]) };
        let id = EntryId::new(Term(1), Index(1));
        let entries = vec![Entry { id, payload: Payload::Membership(membership) }];
        let ballot = Ballot { term: id.term, vote: None };
        Self { ballot, snapshot: None, base: EntryId::ZERO, entries, boot: 1 }
    }
}

/// What a node is and knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its term.
    pub term: Term,
    /// What it does in it.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The members as its log lays them down, and where.
    pub membership: (Index, Membership),
}

/// What a node does in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Takes what the leader sends.
    #[default]
    Follower,
    /// Asks whether an election would be won.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Decides.
    Leader,
    /// Takes no part any more.
    Ended(Refusal),
}

/// Why a proposal was not taken. It will not be applied, unless it was proposed elsewhere too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// None is known here: to be tried again.
    #[error("no leader is known")]
    NoLeader,
    /// Leadership is being handed over: to be tried again.
    #[error("leadership is being transferred")]
    Transferring,
    /// Too much is not committed yet: to be tried again.
    #[error("{bytes} bytes of proposals are not committed yet")]
    Busy {
        /// How many.
        bytes: usize,
    },
    /// Too large.
    #[error("a command of {bytes} bytes, at most {max} are possible")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// This node takes no part any more.
    #[error("this node takes no part any more")]
    Ended,
}

/// Why leadership was not transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Only a leader can.
    #[error("not the leader")]
    NotLeader,
    /// It cannot be elected.
    #[error("{0} is not a voter")]
    NotVoter(NodeId),
    /// Another is under way.
    #[error("leadership is being transferred to {0} already")]
    Pending(NodeId),
}

/// Why a member did not take over. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeOverError {
    /// There is somebody to follow.
    #[error(
        "{0} leads, as far as is known; it is forgotten after an election timeout without a sign of it"
    )]
    Led(NodeId),
    /// It has no part, or not this directory.
    #[error("this node is no member")]
    NotMember,
    /// Its log is about to begin anew.
    #[error("a snapshot of the leader is being stored; try again")]
    Storing,
}

/// Things that an operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A message from a node whose directory is not the member's (row M06).
    StrangeStore {
        /// The node.
        node: NodeId,
        /// What the members say.
        expected: StoreId,
        /// What it has.
        found: StoreId,
    },
    /// A member has less than it had acknowledged: its directory was put back to an older state
    /// (row M07).
    Forgot {
        /// The node.
        node: NodeId,
        /// What it had acknowledged.
        acknowledged: Index,
        /// What it has.
        has: Index,
    },
    /// A member sent what no member that follows the rules sends; it was dropped.
    Unsound {
        /// The node.
        node: NodeId,
    },
    /// This node was refused, and takes no part any more.
    Refused {
        /// By whom.
        by: NodeId,
        /// Why.
        why: Refusal,
    },
}
