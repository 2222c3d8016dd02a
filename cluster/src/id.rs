//! Names: which leaf, which partition of a database, which copy.

use std::fmt;

pub use resprout_consensus::NodeId;
pub use resprout_replication::{Cfg, Incarnation, Instance, Stamp};
pub use resprout_wal::Term;

/// A leaf: its node's number in the metadata. Leaf order, wherever it decides, is the order of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafId(pub u64);

impl fmt::Display for LeafId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leaf {}", self.0)
    }
}

impl From<LeafId> for NodeId {
    fn from(leaf: LeafId) -> Self {
        Self(leaf.0)
    }
}

impl From<NodeId> for LeafId {
    fn from(node: NodeId) -> Self {
        Self(node.0)
    }
}

/// A partition's number in its database, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a leaf listens, as it was given to ADD LEAF.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Name or number of the host.
    pub host: String,
    /// Its port for clients.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}':{}", self.host, self.port)
    }
}
