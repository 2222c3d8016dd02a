//! The bytes of a handshake. Nothing else may know an offset.
//!
//! ```text
//! 0       4      5     6        8
//! ┌───────┬──────┬─────┬────────┬──────
//! │ RSPH  │ kind │ 0   │ length │ body …            kind: 1 Hello, 2 Challenge, 3 Proof,
//! │       │ u8   │ u8  │ u16    │                         4 Welcome, 5 Refusal
//! └───────┴──────┴─────┴────────┴──────
//!
//! Hello,     0  first u16   2  last u16   4  0 u32      8  node u64    16  to u64
//! Challenge 24  run u64    32  cluster   48  token     64  nonce, 32 bytes
//! Proof,
//! Welcome    0  HMAC-SHA-256, 32 bytes
//! Refusal    0  reason u16  2  0, 6 bytes  8  expected u128    24  found u128
//! ```
//!
//! All numbers are little-endian. These layouts belong to no version and never change; a challenge
//! names the one version that is to be spoken as first and last. Every kind has one length, so a
//! stranger can make nobody keep more than one record.

use bytes::{Buf, BufMut};
use thiserror::Error;

use super::refusal::{Refusal, Versions};
use crate::transport::NodeId;
use crate::transport::secret::{NONCE_BYTES, PROOF_BYTES};

/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 8;
/// How each record begins.
pub(in crate::transport) const MAGIC: [u8; 4] = *b"RSPH";
const GREETING_BYTES: usize = 96;
const REFUSAL_BYTES: usize = 40;
/// Bytes of a refusal with its head: it may come where messages are expected.
pub(in crate::transport) const REFUSAL_RECORD_BYTES: usize = HEADER_BYTES + REFUSAL_BYTES;
/// Bytes of the longest record.
pub(super) const RECORD_BYTES_MAX: usize = HEADER_BYTES + GREETING_BYTES;

const _: () = assert!(GREETING_BYTES == 64 + NONCE_BYTES, "the nonce is the last field");
const _: () = assert!(GREETING_BYTES >= REFUSAL_BYTES && GREETING_BYTES >= PROOF_BYTES);

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hello = 1,
    Challenge = 2,
    Proof = 3,
    Welcome = 4,
    Refusal = 5,
}

/// What is wrong with the bytes of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GreetingError {
    /// Something else speaks here.
    #[error("not a handshake of Resprout's replication: it begins with {found:02x?}")]
    Magic {
        /// What is there.
        found: [u8; 4],
    },
    /// A record that has no place here.
    #[error("record {found} of a handshake where {expected} is expected")]
    Kind {
        /// Which is there.
        found: u8,
        /// Which should be.
        expected: u8,
    },
    /// A record of another length than its kind has.
    #[error("record {kind} of a handshake with {found} bytes instead of {expected}")]
    Length {
        /// Which.
        kind: u8,
        /// What its head says.
        found: usize,
        /// What it must be.
        expected: usize,
    },
    /// A byte that must be zero.
    #[error("a reserved byte of a handshake is not zero")]
    Reserved,
    /// A refusal whose reason this program does not know.
    #[error("refused for reason {code}, which this version does not know")]
    Reason {
        /// Its number.
        code: u16,
    },
}

impl Kind {
    fn decode(byte: u8) -> Option<Self> {
        let all = [Self::Hello, Self::Challenge, Self::Proof, Self::Welcome, Self::Refusal];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }

    fn length(self) -> usize {
        match self {
            Self::Hello | Self::Challenge => GREETING_BYTES,
            Self::Proof | Self::Welcome => PROOF_BYTES,
            Self::Refusal => REFUSAL_BYTES,
        }
    }
}

/// Who speaks: a Hello or a Challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Greeting {
    pub(super) versions: Versions,
    pub(in crate::transport) node: NodeId,
    /// To whom.
    pub(super) to: NodeId,
    pub(in crate::transport) run: u64,
    pub(super) cluster: u128,
    /// Drawn by the process when it began to listen: two of them cannot pass for one.
    pub(in crate::transport) token: u128,
    pub(super) nonce: [u8; NONCE_BYTES],
}

impl Greeting {
    pub(super) fn encode(&self, kind: Kind) -> Vec<u8> {
        let mut out = head(kind);
        out.put_u16_le(self.versions.first);
        out.put_u16_le(self.versions.last);
        out.put_u32_le(0);
        out.put_u64_le(self.node.0);
        out.put_u64_le(self.to.0);
        out.put_u64_le(self.run);
        out.put_u128_le(self.cluster);
        out.put_u128_le(self.token);
        out.put_slice(&self.nonce);
        out
    }

    /// From a body whose length was checked.
    pub(super) fn decode(mut body: &[u8]) -> Result<Self, GreetingError> {
        let versions = Versions { first: body.get_u16_le(), last: body.get_u16_le() };
        if body.get_u32_le() != 0 {
            return Err(GreetingError::Reserved);
        }
        let mut greeting = Self {
            versions,
            node: NodeId(body.get_u64_le()),
            to: NodeId(body.get_u64_le()),
            run: body.get_u64_le(),
            cluster: body.get_u128_le(),
            token: body.get_u128_le(),
            nonce: [0; NONCE_BYTES],
        };
        body.copy_to_slice(&mut greeting.nonce);
        Ok(greeting)
    }
}

/// A proof as a record.
pub(super) fn encode_proof(kind: Kind, proof: &[u8; PROOF_BYTES]) -> Vec<u8> {
    let mut out = head(kind);
    out.put_slice(proof);
    out
}

/// A refusal as a record.
pub(super) fn encode_refusal(refusal: Refusal) -> Vec<u8> {
    let (code, expected, found) = refusal.numbers();
    let mut out = head(Kind::Refusal);
    out.put_u16_le(code);
    out.put_slice(&[0; 6]);
    out.put_u128_le(expected);
    out.put_u128_le(found);
    out
}

/// A refusal where a message is expected: the other side has found a flaw in the last record.
pub(in crate::transport) fn decode_refusal(
    record: &[u8; REFUSAL_RECORD_BYTES],
) -> Result<Refusal, GreetingError> {
    let (head, body) = record.split_first_chunk().expect("a record is longer than its head");
    decode_head(head, Kind::Refusal)?;
    decode_refusal_body(body)
}

/// From a body whose length was checked.
pub(super) fn decode_refusal_body(mut body: &[u8]) -> Result<Refusal, GreetingError> {
    let code = body.get_u16_le();
    body.advance(6);
    let (expected, found) = (body.get_u128_le(), body.get_u128_le());
    Refusal::from_numbers(code, expected, found).ok_or(GreetingError::Reason { code })
}

/// Which record begins here, if it may be the `expected` one or a refusal, and the bytes of its body.
pub(super) fn decode_head(
    head: &[u8; HEADER_BYTES],
    expected: Kind,
) -> Result<(Kind, usize), GreetingError> {
    let [m0, m1, m2, m3, found, reserved, l0, l1] = *head;
    let magic = [m0, m1, m2, m3];
    if magic != MAGIC {
        return Err(GreetingError::Magic { found: magic });
    }
    let wrong = GreetingError::Kind { found, expected: expected as u8 };
    let kind = Kind::decode(found).ok_or(wrong)?;
    if kind != expected && kind != Kind::Refusal {
        return Err(wrong);
    }
    if reserved != 0 {
        return Err(GreetingError::Reserved);
    }
    let (length, expected) = (usize::from(u16::from_le_bytes([l0, l1])), kind.length());
    if length != expected {
        return Err(GreetingError::Length { kind: found, found: length, expected });
    }
    Ok((kind, length))
}

fn head(kind: Kind) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + kind.length());
    out.put_slice(&MAGIC);
    out.put_u8(kind as u8);
    out.put_u8(0);
    out.put_u16_le(u16::try_from(kind.length()).expect("records are short"));
    out
}
