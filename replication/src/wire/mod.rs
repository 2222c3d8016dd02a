//! What copies say to each other, as bytes. Everything is little-endian.
//!
//! ```text
//! 0       4         6      7      8        12      16
//! ┌───────┬─────────┬──────┬──────┬────────┬───────┬──────
//! │ RSPR  │ version │ kind │ 0    │ length │ crc   │ body …
//! │       │ u16     │ u8   │      │ u32    │ u32   │
//! └───────┴─────────┴──────┴──────┴────────┴───────┴──────
//!
//! body: cluster u128, database u32, ordinal u32, instance u64, incarnation u64,
//!       to u64, term u64, stream's run u64 and number u64, then what the kind has
//! ```
//!
//! The checksum covers the first twelve bytes and the body. Whatever arrives comes from a peer that
//! may be of another version or no node at all: the length is bounded before memory is asked for,
//! every count is checked against the bytes that are there before anything is reserved, and the
//! body must end where its last field does. Frames travel with the header that the log has, under
//! the nonce [`crate::WIRE_NONCE`], and without padding; their checksums are verified here.
//!
//! Under the same header go notes, which are not of copies: their body is a lane (u8) and bytes.

use bytes::Bytes;
use resprout_wal::frame::Flaw;
use thiserror::Error;

use crate::Envelope;
use parts::Parts;

pub use note::{Lane, Received, decode_received, encode_note};

mod body;
mod cursor;
mod note;
mod parts;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 16;

/// The version of messages that this program writes, and the only one that it reads.
pub const VERSION: u16 = 3;

/// The usual bound of a message: four times a batch of frames, or of pages, by the default limits.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

const MAGIC: [u8; 4] = *b"RSPR";
const CRC_AT: usize = 12;

const _: () = assert!(HEADER_BYTES == CRC_AT + 4, "the checksum is the last field");
const _: () = assert!(MESSAGE_BYTES_MAX <= u32::MAX as usize, "a length has four bytes");

/// What is wrong with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// There is less than a message.
    #[error("{have} bytes where {need} are needed")]
    Short {
        /// How many there must be.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// There is more than a message.
    #[error("{bytes} bytes too many")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Something else speaks here.
    #[error("not a message of Resprout's replication: it begins with {found:02x?}")]
    Magic {
        /// What is there.
        found: [u8; 4],
    },
    /// Another version.
    #[error("version {found}, this program speaks {VERSION}")]
    Version {
        /// What the header says.
        found: u16,
    },
    /// No such kind of message, or a value that its field cannot have.
    #[error("{field} cannot be {found}")]
    Value {
        /// The field.
        field: &'static str,
        /// What is there.
        found: u64,
    },
    /// Longer than allowed. Nothing was read.
    #[error("a message of {bytes} bytes, at most {max} are possible")]
    TooLong {
        /// What it says.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Changed on its way.
    #[error("checksum {found:08x} where {expected:08x} is expected")]
    Checksum {
        /// What the bytes give.
        expected: u32,
        /// What the header says.
        found: u32,
    },
    /// A frame of the log is not what it says.
    #[error("frame {place}: {flaw}")]
    Frame {
        /// Which of the message.
        place: usize,
        /// What is wrong.
        flaw: Flaw,
    },
    /// Terms or starts of a history that do not grow, or too many.
    #[error("a history that does not grow")]
    History,
}

/// The head of a message, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: u8,
    /// Bytes of the body.
    pub length: usize,
    crc: u32,
}

impl Header {
    /// Reads a header. The body's length is bounded here, before anybody asks for memory.
    ///
    /// # Errors
    /// [`WireError`] if it is none, or the message is longer than `bytes_max`.
    pub fn decode(bytes: &[u8; HEADER_BYTES], bytes_max: usize) -> Result<Self, WireError> {
        let [m0, m1, m2, m3, v0, v1, kind, reserved, l0, l1, l2, l3, c0, c1, c2, c3] = *bytes;
        let found = [m0, m1, m2, m3];
        if found != MAGIC {
            return Err(WireError::Magic { found });
        }
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION {
            return Err(WireError::Version { found: version });
        }
        if reserved != 0 {
            return Err(WireError::Value { field: "a reserved byte", found: reserved.into() });
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let bytes = length.saturating_add(HEADER_BYTES);
        if bytes > bytes_max {
            return Err(WireError::TooLong { bytes, max: bytes_max });
        }
        Ok(Self { kind, length, crc: u32::from_le_bytes([c0, c1, c2, c3]) })
    }
}

fn head(kind: u8, length: u32) -> [u8; CRC_AT] {
    let mut head = [0; CRC_AT];
    head[..4].copy_from_slice(&MAGIC);
    head[4..6].copy_from_slice(&VERSION.to_le_bytes());
    head[6] = kind;
    head[8..].copy_from_slice(&length.to_le_bytes());
    head
}

fn checksum(head: &[u8; CRC_AT], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

/// A message as bytes.
///
/// # Panics
/// If it has 4 GiB: bounds are in [`crate::Limits`].
#[must_use]
pub fn encode(envelope: &Envelope) -> Vec<u8> {
    encode_parts(envelope).concat()
}

/// A message as pieces to be written one behind the other: the payloads of frames and pages are the
/// sender's own buffers, neither copied nor read again.
///
/// # Panics
/// As [`encode`].
#[must_use]
pub fn encode_parts(envelope: &Envelope) -> Vec<Bytes> {
    let mut parts = Parts::default();
    let kind = body::put(envelope, &mut parts);
    let fields = parts.seal();
    let bytes: usize = fields.iter().map(|part| part.bytes.len()).sum();
    let head = head(kind, u32::try_from(bytes).expect("messages are bounded"));
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    for part in &fields {
        hasher.combine(&part.sum);
    }
    let mut first = Vec::with_capacity(HEADER_BYTES);
    first.extend_from_slice(&head);
    first.extend_from_slice(&hasher.finalize().to_le_bytes());
    let rest = fields.into_iter().map(|part| part.bytes);
    std::iter::once(Bytes::from(first)).chain(rest).collect()
}

/// The message whose header was read and whose body this is. Payloads share its memory.
///
/// # Errors
/// [`WireError`] for anything that [`encode`] does not write.
pub fn decode_body(header: &Header, body: Bytes) -> Result<Envelope, WireError> {
    check(header, &body)?;
    body::take(header.kind, body)
}

/// The body is the one that the header is of.
fn check(header: &Header, body: &[u8]) -> Result<(), WireError> {
    if body.len() != header.length {
        return Err(WireError::Short { need: header.length, have: body.len() });
    }
    let length = u32::try_from(header.length).unwrap_or(u32::MAX);
    let expected = checksum(&head(header.kind, length), body);
    if expected != header.crc {
        return Err(WireError::Checksum { expected, found: header.crc });
    }
    Ok(())
}

/// The message that these bytes are, and nothing else.
///
/// # Errors
/// [`WireError`] for anything that [`encode`] does not write, or that is longer than `bytes_max`.
pub fn decode(bytes: &Bytes, bytes_max: usize) -> Result<Envelope, WireError> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(WireError::Short { need: HEADER_BYTES, have: bytes.len() });
    };
    let header = Header::decode(head, bytes_max)?;
    let (need, have) = (HEADER_BYTES + header.length, bytes.len());
    if have < need {
        return Err(WireError::Short { need, have });
    }
    if have > need {
        return Err(WireError::Trailing { bytes: have - need });
    }
    decode_body(&header, bytes.slice(HEADER_BYTES..))
}
