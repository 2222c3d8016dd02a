//! The bytes at the head of a slot: whose it is, and how far it is known good.
//!
//! ```text
//!  sector 0   slot header   written durably before the slot is linked, then never changed
//!  sector 1   mark A   ┐    the valid one with the higher sequence counts; the other one is what
//!  sector 2   mark B   ┘    a crash while writing leaves
//!  sector 3…  frames
//! ```
//!
//! A slot header says which log, from where (base LSN, chain) and in which history its frames
//! follow, and carries the nonce of this use. A nonce is drawn anew for each use, so nothing that
//! an earlier use left is valid under it (catalogue row D14).
//!
//! A mark is evidence: everything below its `durable` was on the medium when it was written
//! (rule 17). Its link names the slot that follows. A link is written only when the slot is
//! durable to its end and the next slot's header is durable, so:
//!
//! | found | means |
//! |---|---|
//! | link, good next slot | the log goes on there |
//! | link, next slot missing or other | damage (D07 to D09, D11) |
//! | no link, a further slot without durable frames | a crash while switching: discard the slot |
//! | no link, a further slot with durable frames | damage |

use thiserror::Error;

use crate::frame::{array_at, u16_at, u32_at, u64_at};
use crate::{History, LogIdentity, Lsn, SECTOR, Term, TermStart};

/// Sectors before the frames.
const HEAD_SECTORS: usize = 3;
/// Bytes before the frames.
pub(crate) const HEAD_BYTES: u64 = (HEAD_SECTORS * SECTOR) as u64;

const HEADER_MAGIC: u32 = u32::from_le_bytes(*b"RSSL");
const MARK_MAGIC: u32 = u32::from_le_bytes(*b"RSMK");
const VERSION: u16 = 1;
const HISTORY_AT: usize = 80;
const HISTORY_ENTRY_BYTES: usize = 16;
const HEADER_CRC_AT: usize = 76;
const MARK_CRC_AT: usize = 28;
const FLAG_CLEAN: u16 = 1;
const FLAG_CUT: u16 = 2;
const FLAG_LINK: u16 = 4;

const _: () = assert!(HISTORY_AT + History::MAX * HISTORY_ENTRY_BYTES <= SECTOR);

/// Why a head sector is not what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeadFlaw {
    /// Something else lies there, or the sector was never written.
    #[error("magic {found:#010x} is not a slot's")]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// The sector was changed or torn.
    #[error("checksum {found:#010x}, computed {expected:#010x}")]
    Sum {
        /// Computed.
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
    /// Checksums hold, yet the content contradicts itself.
    #[error("content contradicts itself")]
    Content,
    /// A mark of an earlier use of the slot.
    #[error("a mark of another use of the slot")]
    Stale,
}

/// Whose a slot is, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotHeader {
    /// The log.
    pub identity: LogIdentity,
    /// LSN of the first byte behind the head.
    pub base: Lsn,
    /// Chain at `base`.
    pub chain: u64,
    /// The log's terms up to `base`.
    pub history: History,
    /// Names this use of the slot.
    pub nonce: u64,
}

impl SlotHeader {
    /// One sector.
    #[must_use]
    pub fn encode(&self) -> [u8; SECTOR] {
        assert!(!self.history.entries().is_empty(), "a log has a term from its first byte");
        let mut out = [0; SECTOR];
        out[0..4].copy_from_slice(&HEADER_MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[8..16].copy_from_slice(&self.nonce.to_le_bytes());
        out[16..32].copy_from_slice(&self.identity.cluster.to_le_bytes());
        out[32..36].copy_from_slice(&self.identity.database.to_le_bytes());
        out[36..40].copy_from_slice(&self.identity.partition.to_le_bytes());
        out[40..48].copy_from_slice(&self.identity.instance.to_le_bytes());
        out[48..56].copy_from_slice(&self.base.0.to_le_bytes());
        out[56..64].copy_from_slice(&self.history.term().0.to_le_bytes());
        out[64..72].copy_from_slice(&self.chain.to_le_bytes());
        let count = self.history.entries().len() as u32;
        out[72..76].copy_from_slice(&count.to_le_bytes());
        for (entry, at) in
            self.history.entries().iter().zip((HISTORY_AT..).step_by(HISTORY_ENTRY_BYTES))
        {
            out[at..at + 8].copy_from_slice(&entry.term.0.to_le_bytes());
            out[at + 8..at + 16].copy_from_slice(&entry.start.0.to_le_bytes());
        }
        seal(&mut out, HEADER_CRC_AT);
        out
    }

    /// Reads a slot header.
    ///
    /// # Errors
    /// What is wrong with the sector.
    pub fn decode(bytes: &[u8; SECTOR]) -> Result<Self, HeadFlaw> {
        check(bytes, HEADER_MAGIC, HEADER_CRC_AT)?;
        let count = u32_at(bytes, 72) as usize;
        if count == 0 || count > History::MAX {
            return Err(HeadFlaw::Content);
        }
        let entries = (0..count)
            .map(|i| HISTORY_AT + i * HISTORY_ENTRY_BYTES)
            .map(|at| TermStart {
                term: Term(u64_at(bytes, at)),
                start: Lsn(u64_at(bytes, at + 8)),
            })
            .collect();
        let history = History::from_entries(entries).ok_or(HeadFlaw::Content)?;
        let base = Lsn(u64_at(bytes, 48));
        let aligned = base.0.is_multiple_of(SECTOR as u64);
        if history.term() != Term(u64_at(bytes, 56)) || !aligned || base.0 > u64::MAX / 2 {
            return Err(HeadFlaw::Content);
        }
        Ok(Self {
            identity: LogIdentity {
                cluster: u128::from_le_bytes(array_at(bytes, 16)),
                database: u32_at(bytes, 32),
                partition: u32_at(bytes, 36),
                instance: u64_at(bytes, 40),
            },
            base,
            chain: u64_at(bytes, 64),
            history,
            nonce: u64_at(bytes, 8),
        })
    }
}

/// Where a log goes on behind a full slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The slot that follows.
    pub index: u32,
    /// Its nonce.
    pub nonce: u64,
    /// Where this slot ends and that one begins.
    pub end: Lsn,
}

/// How a slot was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// In use.
    Running,
    /// The log was closed in order and ends at `durable`.
    Clean,
    /// Everything of this log beyond `durable` is being erased. Whoever finds this finishes it.
    Cut,
    /// Full; the log goes on elsewhere.
    Linked(Link),
}

/// What is known of a slot's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Grows with each mark of this use of the slot.
    pub sequence: u64,
    /// Everything below was on the medium.
    pub durable: Lsn,
    /// How the slot was left.
    pub kind: MarkKind,
}

impl Mark {
    /// One sector, bound to the slot use that `nonce` names.
    #[must_use]
    pub fn encode(&self, nonce: u64) -> [u8; SECTOR] {
        let (flags, link) = match self.kind {
            MarkKind::Running => (0, None),
            MarkKind::Clean => (FLAG_CLEAN, None),
            MarkKind::Cut => (FLAG_CUT, None),
            MarkKind::Linked(link) => (FLAG_LINK, Some(link)),
        };
        let mut out = [0; SECTOR];
        out[0..4].copy_from_slice(&MARK_MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[6..8].copy_from_slice(&u16::to_le_bytes(flags));
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.durable.0.to_le_bytes());
        if let Some(link) = link {
            assert!(link.end == self.durable, "a slot is linked only when it is durable");
            out[24..28].copy_from_slice(&link.index.to_le_bytes());
            out[32..40].copy_from_slice(&link.nonce.to_le_bytes());
            out[40..48].copy_from_slice(&link.end.0.to_le_bytes());
        }
        out[48..56].copy_from_slice(&nonce.to_le_bytes());
        seal(&mut out, MARK_CRC_AT);
        out
    }

    /// Reads a mark of the slot use that `nonce` names.
    ///
    /// # Errors
    /// What is wrong with the sector.
    pub fn decode(bytes: &[u8; SECTOR], nonce: u64) -> Result<Self, HeadFlaw> {
        check(bytes, MARK_MAGIC, MARK_CRC_AT)?;
        if u64_at(bytes, 48) != nonce {
            return Err(HeadFlaw::Stale);
        }
        let durable = Lsn(u64_at(bytes, 16));
        let link = Link {
            index: u32_at(bytes, 24),
            nonce: u64_at(bytes, 32),
            end: Lsn(u64_at(bytes, 40)),
        };
        let kind = match u16_at(bytes, 6) {
            0 => MarkKind::Running,
            FLAG_CLEAN => MarkKind::Clean,
            FLAG_CUT => MarkKind::Cut,
            FLAG_LINK if link.end == durable => MarkKind::Linked(link),
            _ => return Err(HeadFlaw::Content),
        };
        Ok(Self { sequence: u64_at(bytes, 8), durable, kind })
    }
}

fn check(bytes: &[u8; SECTOR], magic: u32, crc_at: usize) -> Result<(), HeadFlaw> {
    let found = u32_at(bytes, 0);
    if found != magic {
        return Err(HeadFlaw::Magic { found });
    }
    let (expected, found) = (crc_around(bytes, crc_at), u32_at(bytes, crc_at));
    if expected != found {
        return Err(HeadFlaw::Sum { expected, found });
    }
    let found = u16_at(bytes, 4);
    if found != VERSION {
        return Err(HeadFlaw::Version { found });
    }
    Ok(())
}

fn seal(out: &mut [u8; SECTOR], crc_at: usize) {
    let crc = crc_around(out, crc_at);
    out[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// CRC-32 of the whole sector but the checksum's own four bytes.
pub(super) fn crc_around(bytes: &[u8; SECTOR], crc_at: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..crc_at]);
    hasher.update(&bytes[crc_at + 4..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SlotHeader {
        let starts =
            (0..History::MAX as u64).map(|n| TermStart { term: Term(n + 1), start: Lsn(n) });
        SlotHeader {
            identity: LogIdentity { cluster: 1 << 100, database: 2, partition: 3, instance: 4 },
            base: Lsn(53_248),
            chain: 99,
            history: History::from_entries(starts.collect()).expect("it grows"),
            nonce: 7,
        }
    }

    /// Promise: a slot header with the longest history fits its sector and comes back.
    #[test]
    fn headers_come_back() {
        assert_eq!(SlotHeader::decode(&header().encode()), Ok(header()));
    }

    /// Promise (D06): no byte of a head sector can change unnoticed.
    #[test]
    fn d06_every_byte_counts() {
        let link = Link { index: 9, nonce: 8, end: Lsn(4096) };
        let mark = Mark { sequence: 3, durable: Lsn(4096), kind: MarkKind::Linked(link) };
        assert_eq!(Mark::decode(&mark.encode(7), 7), Ok(mark));
        assert_eq!(Mark::decode(&mark.encode(7), 6), Err(HeadFlaw::Stale));
        for at in 0..SECTOR {
            let mut sector = header().encode();
            sector[at] ^= 0x10;
            assert!(SlotHeader::decode(&sector).is_err(), "header byte {at}");
            let mut sector = mark.encode(7);
            sector[at] ^= 0x10;
            assert!(Mark::decode(&sector, 7).is_err(), "mark byte {at}");
        }
    }
}
