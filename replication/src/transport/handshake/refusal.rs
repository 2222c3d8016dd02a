//! Why two nodes do not talk.

use std::fmt;

use thiserror::Error;

use crate::transport::NodeId;

/// A range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub first: u16,
    /// The newest.
    pub last: u16,
}

impl Versions {
    /// The newest in both.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(last)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

/// Why two nodes do not talk, as the one that refuses sees it. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// They have no version in common (row I07).
    #[error("protocol versions {found}, here {expected}: upgrade the older node")]
    Version {
        /// What this side understands.
        expected: Versions,
        /// What the other offers.
        found: Versions,
    },
    /// They are of two clusters (row I01).
    #[error("cluster {found:032x}, here {expected:032x}: one of the two addresses is wrong")]
    Cluster {
        /// Of this side.
        expected: u128,
        /// Of the other.
        found: u128,
    },
    /// Another node is at that address (row N17).
    #[error("{found} is where {expected} was expected: an address that is not up to date")]
    Node {
        /// Who was wanted.
        expected: NodeId,
        /// Who is there.
        found: NodeId,
    },
    /// A node has reached itself.
    #[error("{node} has reached itself: the address of a peer is its own")]
    Itself {
        /// Which.
        node: NodeId,
    },
    /// Two nodes have one id (row I02).
    #[error("two nodes have the id {node}: give one of them another")]
    SameId {
        /// The id.
        node: NodeId,
    },
    /// The node with the higher id has connected: there would be two connections.
    #[error("{node} has connected to {to}: of two nodes the one with the lower id connects")]
    Direction {
        /// Who has connected.
        node: NodeId,
        /// To whom.
        to: NodeId,
    },
    /// A proof is none (row S11).
    #[error("the cluster secrets differ: set the same one on all nodes")]
    Secret,
    /// The metadata does not name that node here, or not yet.
    #[error("{node} is not a node of this cluster, as far as is known here")]
    Unknown {
        /// Which.
        node: NodeId,
    },
    /// A newer run of that node was here (row I02, P06).
    #[error("{node} says it is in run {found} and was seen in run {seen}: an older process lives")]
    OldRun {
        /// Which.
        node: NodeId,
        /// The newest that was seen.
        seen: u64,
        /// What it says.
        found: u64,
    },
    /// Another process was here with the same node and run (row I02).
    #[error("two processes are {node} in run {run}: its directory was copied, stop one of them")]
    Twin {
        /// Which.
        node: NodeId,
        /// The run of both.
        run: u64,
    },
    /// Room for connections that have not proved themselves is bounded (row N14).
    #[error("too many connections are in their handshake")]
    Busy,
}

impl Refusal {
    /// Code, expected, found.
    pub(super) fn numbers(self) -> (u16, u128, u128) {
        let pair = |one: u64, two: u64| (one.into(), two.into());
        let (code, (expected, found)) = match self {
            Self::Version { expected, found } => (1, (number(expected), number(found))),
            Self::Cluster { expected, found } => (2, (expected, found)),
            Self::Node { expected, found } => (3, pair(expected.0, found.0)),
            Self::Itself { node } => (4, pair(node.0, 0)),
            Self::SameId { node } => (5, pair(node.0, 0)),
            Self::Direction { node, to } => (6, pair(to.0, node.0)),
            Self::Secret => (7, (0, 0)),
            Self::Unknown { node } => (8, pair(0, node.0)),
            Self::OldRun { node, seen, found } => {
                (9, (u128::from(node.0) << 64 | u128::from(seen), found.into()))
            }
            Self::Twin { node, run } => (10, pair(node.0, run)),
            Self::Busy => (11, (0, 0)),
        };
        (code, expected, found)
    }

    /// From code, expected, found; nothing for a code of a later version.
    pub(super) fn from_numbers(code: u16, expected: u128, found: u128) -> Option<Self> {
        let (one, two) = (NodeId(expected as u64), NodeId(found as u64));
        Some(match code {
            1 => Self::Version { expected: versions(expected), found: versions(found) },
            2 => Self::Cluster { expected, found },
            3 => Self::Node { expected: one, found: two },
            4 => Self::Itself { node: one },
            5 => Self::SameId { node: one },
            6 => Self::Direction { node: two, to: one },
            7 => Self::Secret,
            8 => Self::Unknown { node: two },
            9 => Self::OldRun {
                node: NodeId((expected >> 64) as u64),
                seen: expected as u64,
                found: found as u64,
            },
            10 => Self::Twin { node: one, run: two.0 },
            11 => Self::Busy,
            _ => return None,
        })
    }
}

fn number(versions: Versions) -> u128 {
    u128::from(versions.first) | u128::from(versions.last) << 16
}

fn versions(number: u128) -> Versions {
    Versions { first: number as u16, last: (number >> 16) as u16 }
}
