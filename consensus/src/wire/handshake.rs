//! How a connection begins: who speaks, to whom, in which version.
//!
//! ```text
//!  who connects ── Hello ───► who listens
//!               ◄── Welcome ──             or  ◄── Reject ── and the end
//!               ─── Reject ──►             if the one who answers is not the one expected
//! ```
//!
//! ```text
//! Hello    0  first u16   2  last u16    4  0 u32        8  node u64
//!         16  cluster u128              32  store u64   40  boot u64
//!         48  to node u64               56  to store u64 (0: not known)
//!         64  secret, 32 bytes: zero
//!
//! Welcome  0  version u16                2  0, 6 bytes   8  node u64
//!         16  cluster u128              32  store u64   40  boot u64
//!         48  secret, 32 bytes: zero
//!
//! Reject   0  reason u16                 2  0, 6 bytes   8  whom u64
//!         16  expected u128             32  found u128
//! ```
//!
//! These layouts belong to no version and never change. *Secret* is room for a proof that both
//! know the cluster's secret; nothing checks one yet, so it must be zero.

use std::fmt;

use super::{Header, Kind, WireError};
use crate::{NodeId, StoreId};

const HELLO_BYTES: usize = 96;
const WELCOME_BYTES: usize = 80;
const REJECT_BYTES: usize = 48;
const HELLO_SECRET_AT: usize = 64;
const WELCOME_SECRET_AT: usize = 48;

/// Most bytes of a frame of the handshake: all that a stranger can make us keep.
pub const HANDSHAKE_BYTES_MAX: usize = super::HEADER_BYTES + HELLO_BYTES;

const _: () = assert!(HELLO_BYTES >= WELCOME_BYTES && HELLO_BYTES >= REJECT_BYTES);

/// No version is agreed on yet.
const NO_VERSION: u16 = 0;

/// A range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub first: u16,
    /// The newest.
    pub last: u16,
}

/// Who wants to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The versions it understands.
    pub versions: Versions,
    /// Its node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: u128,
    /// Its data directory.
    pub store: StoreId,
    /// Which start of its process, counted durably.
    pub boot: u64,
    /// Whom it wants.
    pub to: NodeId,
    /// Which directory it expects there; 0 if it does not know.
    pub to_store: StoreId,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version to be spoken: the newest that both understand.
    pub version: u16,
    /// Its node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: u128,
    /// Its data directory.
    pub store: StoreId,
    /// Which start of its process, counted durably.
    pub boot: u64,
}

/// Why two nodes do not talk. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// They have no version in common.
    #[error("protocol versions {found}, here {expected}")]
    Version {
        /// What this side understands.
        expected: Versions,
        /// What the other offers.
        found: Versions,
    },
    /// They are of two clusters.
    #[error("cluster {found:032x}, here {expected:032x}")]
    Cluster {
        /// Of this side.
        expected: u128,
        /// Of the other.
        found: u128,
    },
    /// Another node is at that address.
    #[error("{found} is where {expected} was expected: an address that is not up to date")]
    Node {
        /// Who was wanted.
        expected: NodeId,
        /// Who is there.
        found: NodeId,
    },
    /// A node with another data directory than its members know (row M06).
    #[error(
        "{node} has store {found} instead of {expected}: its directory was lost or is another \
         one; remove it and add it as a new member"
    )]
    Store {
        /// The node.
        node: NodeId,
        /// What the members know.
        expected: StoreId,
        /// What it has.
        found: StoreId,
    },
    /// Two nodes have one id.
    #[error("{node} talks to {node}: two nodes have one id")]
    SameNode {
        /// The id.
        node: NodeId,
    },
    /// A store that has started more often than it knows (row M07).
    #[error(
        "store {store} says it has started {found} times and was seen at {seen}: its directory \
         was put back to an older state"
    )]
    OldBoot {
        /// The store.
        store: StoreId,
        /// What was seen.
        seen: u64,
        /// What it says.
        found: u64,
    },
    /// Room for nodes that are no members is bounded.
    #[error("too many connections of nodes that are not members here")]
    Busy,
}

impl Versions {
    /// The newest in both.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(last)
    }

    fn number(self) -> u128 {
        u128::from(self.first) | u128::from(self.last) << 16
    }

    fn from_number(number: u128) -> Self {
        Self { first: number as u16, last: (number >> 16) as u16 }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

impl Hello {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = [0; HELLO_BYTES];
        put(&mut body, 0, &self.versions.first.to_le_bytes());
        put(&mut body, 2, &self.versions.last.to_le_bytes());
        put(&mut body, 8, &self.node.0.to_le_bytes());
        put(&mut body, 16, &self.cluster.to_le_bytes());
        put(&mut body, 32, &self.store.0.to_le_bytes());
        put(&mut body, 40, &self.boot.to_le_bytes());
        put(&mut body, 48, &self.to.0.to_le_bytes());
        put(&mut body, 56, &self.to_store.0.to_le_bytes());
        framed(Kind::Hello, &body)
    }

    /// From a frame, which must be all of `bytes`.
    ///
    /// # Errors
    /// [`WireError`] if it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (header, body) = Header::open(bytes, HANDSHAKE_BYTES_MAX)?;
        let body = body_of::<HELLO_BYTES>(&header, Kind::Hello, body)?;
        zero(body, 4..8)?;
        zero(body, HELLO_SECRET_AT..HELLO_BYTES)?;
        Ok(Self {
            versions: Versions {
                first: number(body, 0, 2) as u16,
                last: number(body, 2, 2) as u16,
            },
            node: NodeId(number(body, 8, 8) as u64),
            cluster: number(body, 16, 16),
            store: store(number(body, 32, 8))?,
            boot: number(body, 40, 8) as u64,
            to: NodeId(number(body, 48, 8) as u64),
            to_store: StoreId(number(body, 56, 8) as u64),
        })
    }
}

impl Welcome {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = [0; WELCOME_BYTES];
        put(&mut body, 0, &self.version.to_le_bytes());
        put(&mut body, 8, &self.node.0.to_le_bytes());
        put(&mut body, 16, &self.cluster.to_le_bytes());
        put(&mut body, 32, &self.store.0.to_le_bytes());
        put(&mut body, 40, &self.boot.to_le_bytes());
        framed(Kind::Welcome, &body)
    }

    /// From a frame, which must be all of `bytes`.
    ///
    /// # Errors
    /// [`WireError`] if it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (header, body) = Header::open(bytes, HANDSHAKE_BYTES_MAX)?;
        let body = body_of::<WELCOME_BYTES>(&header, Kind::Welcome, body)?;
        zero(body, 2..8)?;
        zero(body, WELCOME_SECRET_AT..WELCOME_BYTES)?;
        Ok(Self {
            version: number(body, 0, 2) as u16,
            node: NodeId(number(body, 8, 8) as u64),
            cluster: number(body, 16, 16),
            store: store(number(body, 32, 8))?,
            boot: number(body, 40, 8) as u64,
        })
    }
}

impl Reject {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (code, whom, expected, found): (u16, u64, u128, u128) = match *self {
            Self::Version { expected, found } => (1, 0, expected.number(), found.number()),
            Self::Cluster { expected, found } => (2, 0, expected, found),
            Self::Node { expected, found } => (3, 0, expected.0.into(), found.0.into()),
            Self::Store { node, expected, found } => (4, node.0, expected.0.into(), found.0.into()),
            Self::SameNode { node } => (5, node.0, 0, 0),
            Self::OldBoot { store, seen, found } => (6, store.0, seen.into(), found.into()),
            Self::Busy => (7, 0, 0, 0),
        };
        let mut body = [0; REJECT_BYTES];
        put(&mut body, 0, &code.to_le_bytes());
        put(&mut body, 8, &whom.to_le_bytes());
        put(&mut body, 16, &expected.to_le_bytes());
        put(&mut body, 32, &found.to_le_bytes());
        framed(Kind::Reject, &body)
    }

    /// From a frame, which must be all of `bytes`.
    ///
    /// # Errors
    /// [`WireError`] if it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (header, body) = Header::open(bytes, HANDSHAKE_BYTES_MAX)?;
        let body = body_of::<REJECT_BYTES>(&header, Kind::Reject, body)?;
        zero(body, 2..8)?;
        let code = number(body, 0, 2) as u16;
        let whom = number(body, 8, 8) as u64;
        let (expected, found) = (number(body, 16, 16), number(body, 32, 16));
        let (expected_id, found_id) = (expected as u64, found as u64);
        Ok(match code {
            1 => Self::Version {
                expected: Versions::from_number(expected),
                found: Versions::from_number(found),
            },
            2 => Self::Cluster { expected, found },
            3 => Self::Node { expected: NodeId(expected_id), found: NodeId(found_id) },
            4 => Self::Store {
                node: NodeId(whom),
                expected: StoreId(expected_id),
                found: StoreId(found_id),
            },
            5 => Self::SameNode { node: NodeId(whom) },
            6 => Self::OldBoot { store: StoreId(whom), seen: expected_id, found: found_id },
            7 => Self::Busy,
            code => return Err(WireError::Reason { code }),
        })
    }
}

fn framed(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(super::HEADER_BYTES + body.len());
    Header::put(kind, NO_VERSION, body, &mut out);
    out
}

fn put(body: &mut [u8], at: usize, bytes: &[u8]) {
    body[at..at + bytes.len()].copy_from_slice(bytes);
}

fn body_of<'a, const N: usize>(
    header: &Header,
    kind: Kind,
    body: &'a [u8],
) -> Result<&'a [u8; N], WireError> {
    if header.kind != kind {
        return Err(WireError::Kind { found: header.kind as u8, expected: kind.expected() });
    }
    if header.version != NO_VERSION {
        return Err(WireError::Version { found: header.version, expected: NO_VERSION });
    }
    body.try_into().map_err(|_| WireError::Length { found: body.len(), expected: N })
}

/// The number in `bytes` bytes at `at`, little endian.
fn number(body: &[u8], at: usize, bytes: usize) -> u128 {
    let bytes = body[at..at + bytes].iter().rev();
    bytes.fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn zero(body: &[u8], mut range: std::ops::Range<usize>) -> Result<(), WireError> {
    let at = range.find(|at| body[*at] != 0);
    at.map_or(Ok(()), |at| Err(WireError::Reserved { at: super::HEADER_BYTES + at }))
}

fn store(number: u128) -> Result<StoreId, WireError> {
    if number == 0 { Err(WireError::NoStore) } else { Ok(StoreId(number as u64)) }
}
