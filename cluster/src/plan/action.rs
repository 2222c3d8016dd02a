//! What a step does, and the texts that clients read.

use std::fmt;

/// What a step does to the leaf that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// A copy that is on the leaf is taken into the record again.
    Attach,
    /// An empty master is made there. Copies that the record still has are offline and leave it: their rows
    /// are given up.
    Create,
    /// One more copy is made there; roles stay.
    Copy,
    /// The same, by RESTORE REDUNDANCY.
    CopyForce,
    /// The copy there becomes master; the master so far stays as replica.
    Promote,
    /// The copy there becomes master, and the master's so far is dropped with it.
    PromoteWithDrop,
    /// The copy there is dropped.
    Drop,
    /// The copy there leaves the record and stays on its leaf.
    Detach,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Attach,
        Self::Create,
        Self::Copy,
        Self::CopyForce,
        Self::Promote,
        Self::PromoteWithDrop,
        Self::Drop,
        Self::Detach,
    ];

    /// The text in EXPLAIN and in SHOW REBALANCE STATUS.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Attach => "ATTACH PARTITION",
            Self::Create => "CREATE PARTITION",
            Self::Copy => "COPY PARTITION",
            Self::CopyForce => "COPY PARTITION FORCE",
            Self::Promote => "PROMOTE PARTITION",
            Self::PromoteWithDrop => "PROMOTE PARTITION WITH DROP",
            Self::Drop => "DROP PARTITION",
            Self::Detach => "DETACH PARTITION",
        }
    }

    /// The text while it runs and afterwards: a promotion that drops says that it cannot be held up.
    #[must_use]
    pub fn running_text(self) -> &'static str {
        match self {
            Self::PromoteWithDrop => "PROMOTE PARTITION WITH DROP FORCE",
            other => other.text(),
        }
    }

    /// Whether it ships a partition.
    #[must_use]
    pub fn is_copy(self) -> bool {
        matches!(self, Self::Copy | Self::CopyForce)
    }

    /// Whether it takes a copy out of the record, which its leaf need not be there for.
    #[must_use]
    pub fn takes_out(self) -> bool {
        matches!(self, Self::Drop | Self::Detach)
    }

    /// Whether it changes who is master.
    #[must_use]
    pub fn is_promotion(self) -> bool {
        matches!(self, Self::Promote | Self::PromoteWithDrop)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// When a step runs: phases one after the other, steps of one phase beside each other.
///
/// Everything is copied before anything is promoted, and dropped last: whatever ends a plan early, no
/// partition has fewer copies than before. Who has a single copy gets its second one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Copies that are there already, and partitions that are made anew.
    Attach = 1,
    /// Second copies for partitions that have one.
    Redundancy = 2,
    /// Copies of partitions whose master stays.
    Replicas = 3,
    /// Copies of partitions that get another master.
    Masters = 4,
    /// Promotions.
    Promote = 5,
    /// Drops, and what is detached.
    Drop = 6,
}

impl Phase {
    /// The number that people see.
    #[must_use]
    pub fn number(self) -> u64 {
        self as u64
    }
}
