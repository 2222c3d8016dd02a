//! The first sector of a snapshot: what it is, whose, and of which moment.
//!
//! ```text
//!    0  magic "RSPRSNAP"          8   version u16   10  flags u16 = 0   12  page size u32
//!   16  cluster u128             32   database u32  36  partition u32   40  instance u64
//!   48  LSN u64                  56   term u64      64  chain u64
//!   72  schema bytes u32         76   schema crc u32 (over the blob with its padding)
//!   80  history entries u32      84   zero
//!  128  history: up to 128 x (term u64, start u64)
//! 2176  zero
//! 4092  crc u32 over all before
//! ```

use std::path::Path;

use resprout_wal::{History, LogIdentity, Lsn, Term, TermStart};

use crate::PAGE;
use crate::error::{Damage, Part, SnapshotError};
use crate::field::{array_at, is_zero, padded, put, u16_at, u32_at, u64_at};

/// The format that this crate writes and reads.
pub const VERSION: u16 = 1;

/// Most bytes of a schema blob: far above what a partition's tables need, far below what would
/// hurt to allocate.
pub(crate) const MAX_SCHEMA: u32 = 64 << 20;

const MAGIC: [u8; 8] = *b"RSPRSNAP";
const HISTORY_AT: usize = 128;
const HISTORY_ENTRY: usize = 16;
const HISTORY_END: usize = HISTORY_AT + HISTORY_ENTRY * History::MAX;
const CRC_AT: usize = PAGE - 4;

const _: () = assert!(HISTORY_END <= CRC_AT, "a full history fits before the checksum");

/// Of whose log, and of which moment of it, a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose log.
    pub identity: LogIdentity,
    /// The state after everything before this position. Replay starts here.
    pub lsn: Lsn,
    /// The term in force at `lsn`.
    pub term: Term,
    /// The log's chain value at `lsn`: proves that the log that follows is the same history.
    pub chain: u64,
    /// The terms of the log up to `lsn`.
    pub history: History,
}

/// The header sector, decoded, with what only this crate needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderSector {
    pub(crate) header: Header,
    pub(crate) schema_len: u32,
    pub(crate) schema_crc: u32,
    /// Checksum of the sector; the footer repeats it.
    pub(crate) crc: u32,
}

impl HeaderSector {
    /// Where the pages start: after the schema, on a sector.
    pub(crate) fn pages_offset(&self) -> u64 {
        let schema = padded(u64::from(self.schema_len)).expect("a u32 rounded up fits a u64");
        PAGE as u64 + schema
    }

    /// The sector of `header` and the checksum of that sector.
    pub(crate) fn encode(header: &Header, schema_len: u32, schema_crc: u32) -> ([u8; PAGE], u32) {
        let entries = header.history.entries();
        assert!(entries.len() <= History::MAX, "a history never grows past its maximum");
        assert!(schema_len <= MAX_SCHEMA);
        let mut sector = [0; PAGE];
        put(&mut sector, 0, &MAGIC);
        put(&mut sector, 8, &VERSION.to_le_bytes());
        put(&mut sector, 12, &(PAGE as u32).to_le_bytes());
        put(&mut sector, 16, &header.identity.cluster.to_le_bytes());
        put(&mut sector, 32, &header.identity.database.to_le_bytes());
        put(&mut sector, 36, &header.identity.partition.to_le_bytes());
        put(&mut sector, 40, &header.identity.instance.to_le_bytes());
        put(&mut sector, 48, &header.lsn.0.to_le_bytes());
        put(&mut sector, 56, &header.term.0.to_le_bytes());
        put(&mut sector, 64, &header.chain.to_le_bytes());
        put(&mut sector, 72, &schema_len.to_le_bytes());
        put(&mut sector, 76, &schema_crc.to_le_bytes());
        put(&mut sector, 80, &(entries.len() as u32).to_le_bytes());
        for (entry, at) in entries.iter().zip((HISTORY_AT..).step_by(HISTORY_ENTRY)) {
            put(&mut sector, at, &entry.term.0.to_le_bytes());
            put(&mut sector, at + 8, &entry.start.0.to_le_bytes());
        }
        let crc = crc32fast::hash(&sector[..CRC_AT]);
        put(&mut sector, CRC_AT, &crc.to_le_bytes());
        (sector, crc)
    }

    /// Decodes the first sector of the file at `path`. Magic and version come before the
    /// checksum, because another version may keep its checksum elsewhere.
    pub(crate) fn decode(path: &Path, sector: &[u8; PAGE]) -> Result<Self, SnapshotError> {
        let found: [u8; 8] = array_at(sector, 0);
        if found != MAGIC {
            return Err(SnapshotError::NotASnapshot { path: path.to_owned(), found });
        }
        let version = u16_at(sector, 8);
        if version != VERSION {
            let (found, expected) = (version, VERSION);
            return Err(SnapshotError::Version { path: path.to_owned(), found, expected });
        }
        Self::decode_version_1(sector).map_err(|damage| SnapshotError::damaged(path, 0, damage))
    }

    fn decode_version_1(sector: &[u8; PAGE]) -> Result<Self, Damage> {
        let part = Part::Header;
        let (expected, found) = (u32_at(sector, CRC_AT), crc32fast::hash(&sector[..CRC_AT]));
        if expected != found {
            return Err(Damage::Checksum { part, expected, found });
        }
        check(u32_at(sector, 12), PAGE as u32, "page size")?;
        let schema_len = u32_at(sector, 72);
        if schema_len > MAX_SCHEMA {
            check(schema_len, MAX_SCHEMA, "schema length")?;
        }
        let reserved_is_zero = is_zero(&sector[10..12]) && is_zero(&sector[84..HISTORY_AT]) && {
            let used = HISTORY_AT + HISTORY_ENTRY * history_len(sector)?;
            is_zero(&sector[used..CRC_AT])
        };
        if !reserved_is_zero {
            return Err(Damage::Content { part, rule: "has reserved bytes that are not zero" });
        }
        let header = Header {
            identity: LogIdentity {
                cluster: u128::from_le_bytes(array_at(sector, 16)),
                database: u32_at(sector, 32),
                partition: u32_at(sector, 36),
                instance: u64_at(sector, 40),
            },
            lsn: Lsn(u64_at(sector, 48)),
            term: Term(u64_at(sector, 56)),
            chain: u64_at(sector, 64),
            history: decode_history(sector)?,
        };
        Ok(Self { header, schema_len, schema_crc: u32_at(sector, 76), crc: expected })
    }
}

fn check(found: u32, expected: u32, field: &'static str) -> Result<(), Damage> {
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (u64::from(expected), u64::from(found));
    Err(Damage::Field { part: Part::Header, field, expected, found })
}

fn history_len(sector: &[u8; PAGE]) -> Result<usize, Damage> {
    let entries = u32_at(sector, 80);
    let most = History::MAX as u32;
    if entries > most {
        check(entries, most, "number of history entries")?;
    }
    Ok(entries as usize)
}

fn decode_history(sector: &[u8; PAGE]) -> Result<History, Damage> {
    let entries = (0..history_len(sector)?)
        .map(|entry| HISTORY_AT + entry * HISTORY_ENTRY)
        .map(|at| TermStart { term: Term(u64_at(sector, at)), start: Lsn(u64_at(sector, at + 8)) })
        .collect();
    let rule = "has a history whose terms do not grow";
    History::from_entries(entries).ok_or(Damage::Content { part: Part::Header, rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(entries: u64) -> Header {
        let starts = (1..=entries).map(|i| TermStart { term: Term(i), start: Lsn(i * 4096) });
        let history = History::from_entries(starts.collect()).expect("terms grow");
        let identity = LogIdentity { cluster: 7 << 90, database: 2, partition: 3, instance: 4 };
        Header { identity, lsn: Lsn(1 << 40), term: history.term(), chain: 0xfeed, history }
    }

    /// Guards: every field comes back, also with an empty and with the longest history.
    #[test]
    fn every_field_comes_back() {
        for entries in [0, 1, 5, History::MAX as u64] {
            let header = header(entries);
            let (sector, crc) = HeaderSector::encode(&header, 77, 88);
            let decoded = HeaderSector::decode(Path::new("x"), &sector).unwrap();
            assert_eq!(decoded, HeaderSector { header, schema_len: 77, schema_crc: 88, crc });
            assert_eq!(decoded.pages_offset(), 2 * PAGE as u64);
        }
    }

    /// Guards S21: numbers out of bounds are refused even under a valid checksum.
    #[test]
    fn s21_hostile_numbers_under_a_valid_checksum_are_refused() {
        let (good, _) = HeaderSector::encode(&header(2), 0, 0);
        let hostile: [(usize, &[u8]); 7] = [
            (12, &512u32.to_le_bytes()),
            (72, &u32::MAX.to_le_bytes()),
            (80, &u32::MAX.to_le_bytes()),
            (80, &129u32.to_le_bytes()),
            (10, &[1]),
            (HISTORY_AT, &9u64.to_le_bytes()),
            (HISTORY_END, &[1]),
        ];
        for (at, bytes) in hostile {
            let mut sector = good;
            put(&mut sector, at, bytes);
            let crc = crc32fast::hash(&sector[..CRC_AT]);
            put(&mut sector, CRC_AT, &crc.to_le_bytes());
            let error = HeaderSector::decode(Path::new("x"), &sector).unwrap_err();
            assert!(matches!(error, SnapshotError::Damaged { .. }), "byte {at}: {error}");
        }
    }

    /// Guards: a file of another version is refused with both versions in the message.
    #[test]
    fn the_message_names_both_versions() {
        let (mut sector, _) = HeaderSector::encode(&header(1), 0, 0);
        put(&mut sector, 8, &2u16.to_le_bytes());
        let message = HeaderSector::decode(Path::new("s"), &sector).unwrap_err().to_string();
        assert_eq!(message, "s has snapshot format version 2; this program reads version 1");
    }
}
