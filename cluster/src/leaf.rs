//! The leaves as placement sees them, and the ways to place.

use crate::{Address, LeafId};

/// An availability group: leaves that together have one copy of every partition. With redundancy 2
/// there are two, and the copies of a partition are never in the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Shown as 1; with redundancy 1 the only one.
    #[default]
    One,
    /// Shown as 2.
    Two,
}

impl Group {
    /// The number that people see.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// Where the other copies are.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }
}

/// What may be asked of a leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Has copies and gets more.
    #[default]
    Online,
    /// Online, and its copies are to go elsewhere: REMOVE LEAF, DETACH LEAF.
    Leaving,
    /// It is being taken in again: what it has is of use when it is online.
    Attaching,
    /// Offline, recovering or detached: what it has cannot be used now.
    Away,
}

impl Standing {
    /// Whether what a leaf has can be used now.
    #[must_use]
    pub fn is_present(self) -> bool {
        matches!(self, Self::Online | Self::Leaving)
    }
}

/// A leaf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// Its number.
    pub id: LeafId,
    /// Where it listens.
    pub address: Address,
    /// Its availability group.
    pub group: Group,
    /// With whom it is paired, mutually; only used in [`Mode::Paired`].
    pub pair: Option<LeafId>,
    /// What may be asked of it.
    pub standing: Standing,
}

/// How copies are placed: redundancy and `leaf_failover_fanout` in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Redundancy 1: masters only.
    Single,
    /// Redundancy 2: two leaves have the same partitions, and half of them as masters each.
    Paired,
    /// Redundancy 2: the replicas of a leaf's masters are spread over the leaves of the other group.
    LoadBalanced,
}

impl Mode {
    /// Copies of each partition: the redundancy level.
    #[must_use]
    pub fn copies(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Paired | Self::LoadBalanced => 2,
        }
    }
}
