//! What nodes say to each other.

use bytes::Bytes;
use rkyv::{Archive, Deserialize, Serialize};

use crate::{Entry, EntryId, Index, Membership, NodeId, Proposal, ReadId, Round, StoreId, Term};

/// A message and whose it is.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// Who says it.
    pub from: NodeId,
    /// The sender's data directory.
    pub from_store: StoreId,
    /// To whom.
    pub to: NodeId,
    /// The directory that the sender expects there; 0 if it does not know.
    pub to_store: StoreId,
    /// The sender's term; for [`Message::PreVote`] the one it would begin.
    pub term: Term,
    /// What is said.
    pub message: Message,
}

/// What is said.
///
/// ```text
///  candidate ── PreVote ──► voter     would you?          changes nothing
///  candidate ── Vote ─────► voter     do you?             answered when the vote is durable
///  leader ───── Append ───► member    this is the log     answered when it is durable
///  leader ───── Snapshot ─► member    this is the state   answered piece by piece
///  leader ───── TransferNow ► voter   stand for election now
///  member ───── Propose, Read ► leader                    passed on for who asked here
/// ```
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Whether the receiver would vote for the sender (dissertation, section 9.6).
    PreVote {
        /// The sender's last entry.
        last: EntryId,
    },
    /// The answer, with the term that was asked about in the envelope if it was granted.
    PreVoteAnswer {
        /// Yes or no.
        granted: bool,
    },
    /// Asks for the receiver's vote.
    Vote {
        /// The sender's last entry.
        last: EntryId,
        /// The leader itself has asked for this election: it does not protect it.
        transfer: bool,
    },
    /// The vote.
    VoteAnswer {
        /// Yes or no.
        granted: bool,
    },
    /// Entries behind `previous`; without any, a sign of life.
    Append {
        /// The entry before them: the receiver takes them only if it has that one.
        previous: EntryId,
        /// In order, without a gap.
        entries: Vec<Entry>,
        /// How far the sender knows the log committed.
        commit: Index,
        /// Echoed in the answer.
        round: Round,
    },
    /// How the receiver's log and the leader's agree.
    AppendAnswer {
        /// The round of the question.
        round: Round,
        /// What became of it.
        result: AppendResult,
    },
    /// A piece of a snapshot; without data, asks how much is there.
    Snapshot {
        /// Of which.
        meta: SnapshotMeta,
        /// Where the piece begins.
        offset: u64,
        /// The piece.
        data: Bytes,
        /// Echoed in the answer.
        round: Round,
    },
    /// How much of a snapshot is there. When all of it is and is durable,
    /// [`Message::AppendAnswer`] says so instead.
    SnapshotAnswer {
        /// Which.
        last: EntryId,
        /// Bytes from the front.
        received: u64,
        /// The round of the question.
        round: Round,
    },
    /// The leader hands over: stand for election now.
    TransferNow,
    /// Proposals that were made at the sender.
    Propose {
        /// In order.
        proposals: Vec<Proposal>,
    },
    /// Asks up to where to apply before reading.
    Read {
        /// Which reads.
        ids: Vec<ReadId>,
        /// Of which start of the sender's process: the next counts its reads anew.
        boot: u64,
    },
    /// Answers [`Message::Read`].
    ReadAnswer {
        /// Which reads.
        ids: Vec<ReadId>,
        /// Of which start of the receiver's process.
        boot: u64,
        /// A read sees everything that was acknowledged before it if it sees this.
        index: Index,
    },
    /// The sender will have nothing to do with the receiver.
    Refuse {
        /// Why.
        why: Refusal,
    },
}

/// What became of an append.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendResult {
    /// The logs are equal up to here, and here it is durable.
    Matched(Index),
    /// The receiver does not have the entry before.
    Rejected {
        /// Index of the entry asked about.
        previous: Index,
        /// Last entry of the receiver that may be in the leader's log: of no later term than the
        /// one asked about (paper, section 5.3, end).
        hint: EntryId,
        /// Last entry of the receiver.
        last: Index,
    },
}

/// What a snapshot is.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The last entry in it.
    pub last: EntryId,
    /// The members then.
    pub membership: Membership,
    /// Where in the log they were laid down.
    pub membership_index: Index,
    /// Bytes of the state.
    pub bytes: u64,
    /// CRC-32 of the state.
    pub crc: u32,
}

/// Why a node is refused.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It is no member by the membership laid down at `membership`.
    Removed {
        /// Committed, and newer than the one the receiver may have.
        membership: Index,
    },
    /// The member of that id has another data directory (row M06).
    StrangeStore {
        /// The one that the members know.
        expected: StoreId,
    },
    /// It has acknowledged more than it has: its directory was put back to an older state (row
    /// M07).
    Forgot {
        /// What it had acknowledged.
        acknowledged: Index,
        /// What it has.
        has: Index,
    },
    /// Another member has taken over without knowing all that was committed here; said by nobody, found by the node itself.
    TakenOver {
        /// The first term of that.
        term: Term,
        /// What is committed here.
        committed: Index,
    },
}

impl Message {
    /// For logs and scenarios.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PreVote { .. } => "PreVote",
            Self::PreVoteAnswer { .. } => "PreVoteAnswer",
            Self::Vote { .. } => "Vote",
            Self::VoteAnswer { .. } => "VoteAnswer",
            Self::Append { .. } => "Append",
            Self::AppendAnswer { .. } => "AppendAnswer",
            Self::Snapshot { .. } => "Snapshot",
            Self::SnapshotAnswer { .. } => "SnapshotAnswer",
            Self::TransferNow => "TransferNow",
            Self::Propose { .. } => "Propose",
            Self::Read { .. } => "Read",
            Self::ReadAnswer { .. } => "ReadAnswer",
            Self::Refuse { .. } => "Refuse",
        }
    }

    /// Whether it promises something that must be on the medium before it is said: a vote, an
    /// acknowledgement, a candidacy (rule 20). A leader's own messages promise nothing, and neither
    /// does a part of a snapshot that is in memory.
    #[must_use]
    pub fn promises(&self) -> bool {
        match self {
            Self::Vote { .. } | Self::VoteAnswer { .. } | Self::AppendAnswer { .. } => true,
            Self::PreVote { .. }
            | Self::PreVoteAnswer { .. }
            | Self::Append { .. }
            | Self::Snapshot { .. }
            | Self::SnapshotAnswer { .. }
            | Self::TransferNow
            | Self::Propose { .. }
            | Self::Read { .. }
            | Self::ReadAnswer { .. }
            | Self::Refuse { .. } => false,
        }
    }
}
