//! The bytes of a frame: one piece of one group commit.
//!
//! ```text
//!  0      4       6     8    16     24      32           36           40         48       56          60
//!  ├──────┼───────┼─────┼────┼──────┼───────┼────────────┼────────────┼──────────┼────────┼───────────┼──────────┤
//!  │magic │version│flags│lsn │ term │ chain │payload_len │payload_crc │committed │durable │header_crc │reserved 0│
//!  └──────┴───────┴─────┴────┴──────┴───────┴────────────┴────────────┴──────────┴────────┴───────────┴──────────┘
//!  64: payload, then zeros up to the next sector
//! ```
//!
//! All numbers are little-endian. The *chain* sums up position, term, flags and payload of every
//! earlier frame, so equal chain at equal LSN means equal history on two nodes. What differs
//! between nodes (`committed`, `durable`, the nonce in the header's checksum) stays outside it.
//!
//! The header's checksum begins with the nonce of the slot's present use: what an earlier use of
//! the same place left behind cannot pass (catalogue row D14). The payload's checksum does not,
//! so a frame can be shipped without reading its payload again.
//!
//! A group is `[length u32][bytes]` per entry. A group too long for one frame or for the rest of
//! its slot is cut at any byte; all its frames but the last say [`CONTINUES`], all but the first
//! [`CONTINUED`], and it counts only when the last is there. So slots fill to the last sector and
//! space is reserved without guessing.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::{Lsn, SECTOR, Term};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 64;
/// Most bytes of one frame, header and padding counted.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most bytes of one entry: more than any transaction that memory would hold, and a bound that
/// keeps lengths far from overflow.
pub const ENTRY_BYTES_MAX: usize = 1 << 30;
/// Flag: the next frame belongs to the same group.
pub const CONTINUES: u16 = 1;
/// Flag: the frame before belongs to the same group.
pub const CONTINUED: u16 = 2;
/// Bytes of the length before each entry.
pub const ENTRY_PREFIX_BYTES: usize = 4;

const MAGIC: u32 = u32::from_le_bytes(*b"RSFR");
const VERSION: u16 = 1;
const KNOWN_FLAGS: u16 = CONTINUES | CONTINUED;
const CRC_AT: usize = 56;

const _: () = assert!(HEADER_BYTES == 60 + 4, "the header's fields fill it");
const _: () = assert!(FRAME_BYTES_MAX.is_multiple_of(SECTOR) && SECTOR > HEADER_BYTES);

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where it begins.
    pub lsn: Lsn,
    /// The mastership it was written in.
    pub term: Term,
    /// Sum over everything before it.
    pub chain: u64,
    /// [`CONTINUES`], [`CONTINUED`].
    pub flags: u16,
    /// Bytes of payload.
    pub payload_len: u32,
    /// CRC-32 of the payload.
    pub payload_crc: u32,
    /// Known committed when it was built.
    pub committed: Lsn,
    /// Known durable on this disk when it was built: evidence (catalogue rule 17).
    pub durable: Lsn,
}

/// Why bytes are not the frame that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    /// The file or the slot ends before the frame does.
    #[error("{missing} bytes of it are beyond the end")]
    Short {
        /// Bytes that are not there.
        missing: u64,
    },
    /// Something else lies there.
    #[error("magic {found:#010x} is not a frame's")]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// The header was changed, or belongs to an earlier use of the slot.
    #[error("header checksum {found:#010x}, computed {expected:#010x}")]
    HeaderSum {
        /// Computed from the bytes.
        expected: u32,
        /// Stored.
        found: u32,
    },
    /// Written by a newer program.
    #[error("format version {found}, this program reads {VERSION}")]
    Version {
        /// Stored.
        found: u16,
    },
    /// Flags or reserved bytes that this version never writes.
    #[error("flags {flags:#06x} or reserved {reserved:#010x} are not of this version")]
    Unknown {
        /// Stored flags.
        flags: u16,
        /// Stored reserved bytes.
        reserved: u32,
    },
    /// A payload longer than any frame.
    #[error("payload of {found} bytes")]
    Length {
        /// Stored.
        found: u32,
    },
    /// The payload was changed or never completely written.
    #[error("payload checksum {found:#010x}, stored {expected:#010x}")]
    PayloadSum {
        /// Stored in the header.
        expected: u32,
        /// Computed from the bytes.
        found: u32,
    },
    /// A good frame of another place (catalogue row D12).
    #[error("a frame of LSN {found}")]
    Position {
        /// Stored.
        found: Lsn,
    },
    /// It does not continue what is before it (catalogue rows D12, D13).
    #[error("chain {found:016x}, expected {expected:016x}")]
    Chain {
        /// Computed from the frames before.
        expected: u64,
        /// Stored.
        found: u64,
    },
    /// Its term is older than that of the frame before.
    #[error("term {found} after term {before}")]
    Term {
        /// Of the frame before.
        before: Term,
        /// Stored.
        found: Term,
    },
    /// It continues a group that does not run, or breaks one that does.
    #[error("flags {flags:#06x} where a group {}", if *inside { "runs" } else { "begins" })]
    Group {
        /// Stored flags.
        flags: u16,
        /// Whether a group was running.
        inside: bool,
    },
    /// Checksums hold, yet the entries do not fill the payload.
    #[error("entries do not fill the group: {left} bytes left")]
    Entries {
        /// Bytes that are no entry.
        left: u64,
    },
}

impl Header {
    /// The 64 bytes, bound to the slot use that `nonce` names.
    #[must_use]
    pub fn encode(&self, nonce: u64) -> [u8; HEADER_BYTES] {
        assert!(self.padded_bytes() <= FRAME_BYTES_MAX as u64, "a frame over its bound: {self:?}");
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[6..8].copy_from_slice(&self.flags.to_le_bytes());
        out[8..16].copy_from_slice(&self.lsn.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.term.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.chain.to_le_bytes());
        out[32..36].copy_from_slice(&self.payload_len.to_le_bytes());
        out[36..40].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[40..48].copy_from_slice(&self.committed.0.to_le_bytes());
        out[48..56].copy_from_slice(&self.durable.0.to_le_bytes());
        let crc = header_crc(&out, nonce);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header. Its own bytes only: payload, position and chain are the caller's to check.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8], nonce: u64) -> Result<Self, Flaw> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(Flaw::Short { missing: (HEADER_BYTES - bytes.len()) as u64 });
        };
        let magic = u32_at(bytes, 0);
        if magic != MAGIC {
            return Err(Flaw::Magic { found: magic });
        }
        let (expected, found) = (header_crc(bytes, nonce), u32_at(bytes, CRC_AT));
        if expected != found {
            return Err(Flaw::HeaderSum { expected, found });
        }
        let version = u16_at(bytes, 4);
        if version != VERSION {
            return Err(Flaw::Version { found: version });
        }
        let (flags, reserved) = (u16_at(bytes, 6), u32_at(bytes, 60));
        if flags & !KNOWN_FLAGS != 0 || reserved != 0 {
            return Err(Flaw::Unknown { flags, reserved });
        }
        let payload_len = u32_at(bytes, 32);
        if payload_len as usize > FRAME_BYTES_MAX - HEADER_BYTES {
            return Err(Flaw::Length { found: payload_len });
        }
        Ok(Self {
            lsn: Lsn(u64_at(bytes, 8)),
            term: Term(u64_at(bytes, 16)),
            chain: u64_at(bytes, 24),
            flags,
            payload_len,
            payload_crc: u32_at(bytes, 36),
            committed: Lsn(u64_at(bytes, 40)),
            durable: Lsn(u64_at(bytes, 48)),
        })
    }

    /// Checks a payload against the header.
    ///
    /// # Errors
    /// [`Flaw::Short`] or [`Flaw::PayloadSum`].
    pub fn check_payload<'a>(&self, frame: &'a [u8]) -> Result<&'a [u8], Flaw> {
        let end = HEADER_BYTES + self.payload_len as usize;
        let Some(payload) = frame.get(HEADER_BYTES..end) else {
            return Err(Flaw::Short { missing: (end - frame.len().min(end)) as u64 });
        };
        let found = crc32fast::hash(payload);
        if found != self.payload_crc {
            return Err(Flaw::PayloadSum { expected: self.payload_crc, found });
        }
        Ok(payload)
    }

    /// Bytes on disk: header, payload and padding.
    #[must_use]
    pub fn padded_bytes(&self) -> u64 {
        padded_bytes(self.payload_len as usize)
    }

    /// The position behind it.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.lsn.advanced(self.padded_bytes())
    }

    /// The chain behind it.
    #[must_use]
    pub fn next_chain(&self) -> u64 {
        let content = u64::from(self.payload_len) << 32 | u64::from(self.payload_crc);
        let place = mix(self.chain ^ self.lsn.0, self.term.0 ^ u64::from(self.flags) << 48);
        mix(place, content)
    }

    /// Whether the next frame belongs to the same group.
    #[must_use]
    pub fn continues(&self) -> bool {
        self.flags & CONTINUES != 0
    }

    /// Whether the frame before belongs to the same group.
    #[must_use]
    pub fn continued(&self) -> bool {
        self.flags & CONTINUED != 0
    }
}

/// One frame: what its header says, and the payload without padding. Cloning shares the payload.
///
/// The same on every copy but for [`Header::committed`] and [`Header::durable`], which are what one
/// disk knew; on a disk the header is bound to its slot, so it is encoded anew wherever it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it says of itself.
    pub header: Header,
    /// The bytes behind the header.
    pub payload: Bytes,
}

impl Frame {
    /// A frame whose payload is what its header says (catalogue rows N15, D26).
    ///
    /// # Errors
    /// [`Flaw::Length`] or [`Flaw::PayloadSum`].
    pub fn new(header: Header, payload: Bytes) -> Result<Self, Flaw> {
        let frame = Self { header, payload };
        frame.check()?;
        Ok(frame)
    }

    /// Checks the payload against the header: where bytes come in, and where they go out.
    ///
    /// # Errors
    /// [`Flaw::Length`] or [`Flaw::PayloadSum`].
    pub fn check(&self) -> Result<(), Flaw> {
        if self.payload.len() != self.header.payload_len as usize {
            return Err(Flaw::Length { found: self.header.payload_len });
        }
        let (expected, found) = (self.header.payload_crc, crc32fast::hash(&self.payload));
        if expected == found { Ok(()) } else { Err(Flaw::PayloadSum { expected, found }) }
    }

    /// Bytes of log that it takes.
    #[must_use]
    pub fn padded_bytes(&self) -> u64 {
        self.header.padded_bytes()
    }

    /// Its entries, if it holds a whole group.
    #[must_use]
    pub fn entries(&self) -> Option<Entries<'_>> {
        let whole = !self.header.continues() && !self.header.continued();
        whole.then(|| Entries::new(&self.payload))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { lsn, term, chain, .. } = self.header;
        write!(f, "Frame({lsn} term {term} chain {chain:016x}, {} bytes)", self.payload.len())
    }
}

/// Bytes on disk of a frame with that much payload.
#[must_use]
pub const fn padded_bytes(payload_len: usize) -> u64 {
    (HEADER_BYTES + payload_len).next_multiple_of(SECTOR) as u64
}

/// The entries of a whole group, in order.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// Of a group's payload.
    #[must_use]
    pub fn new(group: &'a [u8]) -> Self {
        Self { rest: group }
    }

    /// How many there are.
    ///
    /// # Errors
    /// [`Flaw::Entries`] if they do not fill the group exactly.
    pub fn check(group: &'a [u8]) -> Result<u64, Flaw> {
        let mut entries = Self::new(group);
        let count = entries.by_ref().count() as u64;
        if entries.rest.is_empty() {
            Ok(count)
        } else {
            Err(Flaw::Entries { left: entries.rest.len() as u64 })
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (prefix, rest) = self.rest.split_first_chunk::<ENTRY_PREFIX_BYTES>()?;
        let (entry, rest) = rest.split_at_checked(u32::from_le_bytes(*prefix) as usize)?;
        self.rest = rest;
        Some(entry)
    }
}

fn header_crc(bytes: &[u8; HEADER_BYTES], nonce: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&nonce.to_le_bytes());
    hasher.update(&bytes[..CRC_AT]);
    hasher.update(&bytes[CRC_AT + 4..]);
    hasher.finalize()
}

/// Folds the 128-bit product of two odd-keyed words: every input bit reaches every output bit.
fn mix(a: u64, b: u64) -> u64 {
    const KEY_A: u64 = 0x9e37_79b9_7f4a_7c15;
    const KEY_B: u64 = 0xe703_7ed1_a0b4_28db;
    let product = u128::from(a ^ KEY_A) * u128::from(b ^ KEY_B);
    // The sum with `a` keeps a zero factor from erasing what came before.
    (product as u64 ^ (product >> 64) as u64).wrapping_add(a.rotate_left(29))
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// The `N` bytes at `at`. Offsets are constants of a format and lie inside a block whose length
/// was checked.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("a field lies inside its block")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            lsn: Lsn(8192),
            term: Term(3),
            chain: 0x1234_5678_9abc_def0,
            flags: CONTINUES,
            payload_len: 100,
            payload_crc: 77,
            committed: Lsn(4096),
            durable: Lsn(4096),
        }
    }

    /// Promise: what is encoded is decoded, under the same nonce and no other (D14).
    #[test]
    fn d14_headers_are_bound_to_their_nonce() {
        let bytes = header().encode(5);
        assert_eq!(Header::decode(&bytes, 5), Ok(header()));
        assert!(matches!(Header::decode(&bytes, 6), Err(Flaw::HeaderSum { .. })));
        assert!(matches!(Header::decode(&bytes[..63], 5), Err(Flaw::Short { missing: 1 })));
    }

    /// Promise (D05): no single bit of a header can change unnoticed.
    #[test]
    fn d05_every_bit_counts() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = header().encode(5);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bytes, 5).is_err(), "bit {bit}");
        }
    }

    /// Promise: the chain tells apart histories that differ in anything but what nodes may differ
    /// in.
    #[test]
    fn the_chain_covers_history_and_nothing_else() {
        let chain = header().next_chain();
        let same = Header { committed: Lsn::ZERO, durable: Lsn(8192), ..header() };
        assert_eq!(same.next_chain(), chain);
        for other in [
            Header { lsn: Lsn(4096), ..header() },
            Header { term: Term(4), ..header() },
            Header { chain: 1, ..header() },
            Header { flags: 0, ..header() },
            Header { payload_len: 101, ..header() },
            Header { payload_crc: 78, ..header() },
        ] {
            assert_ne!(other.next_chain(), chain, "{other:?}");
        }
    }

    /// Promise: entries are read back, and lengths from a disk are never followed beyond the
    /// group.
    #[test]
    fn entries_stay_inside_their_group() {
        let mut group = Vec::new();
        for entry in [&b"one"[..], b"", b"three"] {
            group.extend_from_slice(&(entry.len() as u32).to_le_bytes());
            group.extend_from_slice(entry);
        }
        assert_eq!(Entries::check(&group), Ok(3));
        assert_eq!(Entries::new(&group).last(), Some(&b"three"[..]));
        assert!(Entries::check(&group[..group.len() - 1]).is_err());
        group[0] = 0xff;
        group[3] = 0xff;
        assert_eq!(Entries::check(&group), Err(Flaw::Entries { left: group.len() as u64 }));
    }
}
