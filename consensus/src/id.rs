//! Numbers with a meaning.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// A node of the cluster, for as long as it is a member.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
#[rkyv(derive(PartialEq, Eq, PartialOrd, Ord))]
pub struct NodeId(pub u64);

/// One data directory, for life: a random number made with it. A node whose directory was lost is
/// another store, and so cannot be mistaken for the voter it was (catalogue row M06).
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct StoreId(pub u64);

/// Number of one leadership. Not a partition's term: those are what the metadata are about.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct Term(pub u64);

/// Place of an entry in the log, from 1; 0 is before the first.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct Index(pub u64);

/// Names an entry for ever: no two entries have the same. The order is that of the Raft paper's
/// "up to date" (section 5.4.1): the later term, then the longer log.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct EntryId {
    /// Leadership that made it.
    pub term: Term,
    /// Where it is.
    pub index: Index,
}

/// A question of a leader to all: "do you still follow me?" Counts up within a run of the node.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct Round(pub u64);

/// Names a proposal, whoever sends it how often: made by who proposes, and given to nothing else.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct ProposalId(pub u128);

/// Names a read of one run of one node.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct ReadId(pub u64);

/// Names a write to the store, in order, within a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// Lower bits of a term that count its elections; above them is its generation.
const ELECTION_BITS: u32 = 32;
/// Lower bits of a generation that name who began it.
const TAKER_BITS: u32 = 16;

impl Term {
    /// The one after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Which take-over it is of; 0 before the first. Within a generation Raft's promises hold; a later one holds what
    /// its founder knew of the one before, and no more (`raft/takeover.rs`).
    #[must_use]
    pub fn generation(self) -> u64 {
        self.0 >> ELECTION_BITS
    }

    /// The first term of the next generation, if `by` begins it: two that begin one at once begin two.
    #[must_use]
    pub fn taken_over(self, by: NodeId) -> Self {
        let count = (self.generation() >> TAKER_BITS) + 1;
        let taker = by.0 & ((1 << TAKER_BITS) - 1);
        Self((count << TAKER_BITS | taker) << ELECTION_BITS)
    }
}

impl Index {
    /// The one after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The one before; that of 0 is 0.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self { term: Term(0), index: Index(0) };

    /// Names the entry at `index` of `term`.
    #[must_use]
    pub fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As `term/index`.
impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.index)
    }
}

impl fmt::Display for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
