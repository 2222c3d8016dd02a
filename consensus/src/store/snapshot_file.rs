//! The bytes of a snapshot's file. `docs/formats/raft-log.md` draws them.
//!
//! ```text
//!  0        4096                    4096 + m              4096 + m + s
//!  | header | meta, zeros to 4096 m | state, zeros to s  |
//!  header: crc of itself, of meta;  meta (an archive): crc of state
//! ```
//!
//! Each byte is under a checksum or must be zero, and no length is believed before it fits the
//! file's own.

use std::io;
use std::sync::Arc;

use resprout_wal::SECTOR;
use resprout_wal::disk::{AlignedBuf, File};
use rkyv::rancor;
use rkyv::util::AlignedVec;

use crate::{EntryId, Snapshot, SnapshotMeta, StoreId};

const MAGIC: [u8; 8] = *b"RSPRRAFT";
const VERSION: u16 = 1;
/// Most bytes of the meta: far more members than a cluster has.
const META_BYTES_MAX: u32 = 64 << 20;
/// Bytes of one transfer.
const CHUNK_BYTES: usize = 1 << 20;
const CRC_AT: usize = SECTOR - 4;

const _: () = assert!(CHUNK_BYTES.is_multiple_of(SECTOR));

/// Whose snapshots they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) cluster: u128,
    pub(super) store: StoreId,
}

/// What is wrong with the file of a snapshot.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotFlaw {
    /// It is not there.
    #[error("there is no such snapshot")]
    Missing,
    /// The system cannot read it.
    #[error("reading the snapshot: {0}")]
    Unreadable(#[source] Arc<io::Error>),
    /// Not a snapshot of Raft.
    #[error("no snapshot of the metadata")]
    Magic,
    /// Written by another version of this program.
    #[error("a snapshot of version {found}, this program knows {VERSION}")]
    Version {
        /// Stored.
        found: u16,
    },
    /// The file was cut or grew.
    #[error("a snapshot of {found} bytes, {expected} expected")]
    Length {
        /// By what it says of itself.
        expected: u64,
        /// Of the file.
        found: u64,
    },
    /// A checksum does not fit.
    #[error("the checksum of the snapshot's {part} does not fit")]
    Checksum {
        /// `header`, `meta`, `state`.
        part: &'static str,
    },
    /// Bytes that must be zero are not.
    #[error("reserved bytes of the snapshot are not zero")]
    Reserved,
    /// Of another cluster or data directory (row D11).
    #[error("a snapshot of cluster {cluster:032x}, store {store}")]
    Foreign {
        /// Stored.
        cluster: u128,
        /// Stored.
        store: StoreId,
    },
    /// The meta is no archive.
    #[error("the snapshot's meta is no archive: {what}")]
    Meta {
        /// In the words of the check.
        what: String,
    },
    /// It is not what its name says.
    #[error("a snapshot of {found}, {expected} expected")]
    Another {
        /// By its name.
        expected: EntryId,
        /// By its meta.
        found: EntryId,
    },
    /// The entry that it ends with is another one in the log.
    #[error("the log has {found} where the snapshot of {expected} ends")]
    Unrelated {
        /// By the snapshot.
        expected: EntryId,
        /// By the log.
        found: EntryId,
    },
}

impl From<io::Error> for SnapshotFlaw {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unreadable(Arc::new(error)),
        }
    }
}

/// Writes all of a snapshot into a new file.
pub(super) fn write(file: &dyn File, owner: Owner, snapshot: &Snapshot) -> io::Result<()> {
    let meta = rkyv::to_bytes::<rancor::Error>(&snapshot.meta);
    let meta = meta.expect("a meta is plain data, and memory is there or aborts");
    let mut writer = Writer { file, buf: AlignedBuf::new(CHUNK_BYTES)?, used: 0, offset: 0 };
    writer.push(&header(owner, &meta, snapshot.state.len() as u64))?;
    writer.push(&meta)?;
    writer.pad()?;
    writer.push(&snapshot.state)?;
    writer.pad()?;
    writer.flush()
}

/// Reads and verifies a file, and gives the state, piece by piece, to `take`.
pub(super) fn read(
    file: &dyn File,
    owner: Owner,
    mut take: impl FnMut(&[u8]),
) -> Result<SnapshotMeta, SnapshotFlaw> {
    let len = file.len()?;
    let mut reader = Reader { file, buf: AlignedBuf::new(CHUNK_BYTES)?, offset: 0, len };
    let head = Head::decode(reader.next(SECTOR as u64)?, len)?;
    if (head.cluster, head.store) != (owner.cluster, owner.store) {
        return Err(SnapshotFlaw::Foreign { cluster: head.cluster, store: head.store });
    }
    let mut archive = AlignedVec::<16>::new();
    let checked =
        reader.section(head.meta_bytes.into(), |piece| archive.extend_from_slice(piece))?;
    if checked != head.meta_crc {
        return Err(SnapshotFlaw::Checksum { part: "meta" });
    }
    let meta = rkyv::from_bytes::<SnapshotMeta, rancor::Error>(&archive);
    let meta = meta.map_err(|error| SnapshotFlaw::Meta { what: error.to_string() })?;
    if meta.bytes != head.state_bytes {
        return Err(SnapshotFlaw::Length { expected: meta.bytes, found: head.state_bytes });
    }
    let checked = reader.section(meta.bytes, &mut take)?;
    if checked != meta.crc {
        return Err(SnapshotFlaw::Checksum { part: "state" });
    }
    Ok(meta)
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(SECTOR as u64)
}

fn header(owner: Owner, meta: &[u8], state_bytes: u64) -> [u8; SECTOR] {
    let mut head = [0; SECTOR];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(8, &VERSION.to_le_bytes());
    put(12, &(meta.len() as u32).to_le_bytes());
    put(16, &owner.cluster.to_le_bytes());
    put(32, &owner.store.0.to_le_bytes());
    put(40, &state_bytes.to_le_bytes());
    put(48, &crc32fast::hash(meta).to_le_bytes());
    let crc = crc32fast::hash(&head[..CRC_AT]);
    head[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// What the first sector says.
struct Head {
    cluster: u128,
    store: StoreId,
    meta_bytes: u32,
    meta_crc: u32,
    state_bytes: u64,
}

impl Head {
    fn decode(sector: &[u8], len: u64) -> Result<Self, SnapshotFlaw> {
        if sector[..8] != MAGIC {
            return Err(SnapshotFlaw::Magic);
        }
        let found = u16::from_le_bytes(array(sector, 8));
        if found != VERSION {
            return Err(SnapshotFlaw::Version { found });
        }
        if crc32fast::hash(&sector[..CRC_AT]) != u32::from_le_bytes(array(sector, CRC_AT)) {
            return Err(SnapshotFlaw::Checksum { part: "header" });
        }
        if sector[10..12].iter().chain(&sector[52..CRC_AT]).any(|byte| *byte != 0) {
            return Err(SnapshotFlaw::Reserved);
        }
        let head = Self {
            meta_bytes: u32::from_le_bytes(array(sector, 12)),
            cluster: u128::from_le_bytes(array(sector, 16)),
            store: StoreId(u64::from_le_bytes(array(sector, 32))),
            state_bytes: u64::from_le_bytes(array(sector, 40)),
            meta_crc: u32::from_le_bytes(array(sector, 48)),
        };
        let meta = head.meta_bytes.min(META_BYTES_MAX);
        let state = head.state_bytes.min(u64::MAX / 2);
        let expected = SECTOR as u64 + padded(meta.into()) + padded(state);
        if expected != len || meta != head.meta_bytes || state != head.state_bytes {
            return Err(SnapshotFlaw::Length { expected, found: len });
        }
        Ok(head)
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("a field lies within the sector")
}

/// Gathers pieces of any length into transfers of whole sectors.
struct Writer<'a> {
    file: &'a dyn File,
    buf: AlignedBuf,
    used: usize,
    offset: u64,
}

impl Writer<'_> {
    fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(self.buf.len() - self.used));
            self.buf[self.used..self.used + piece.len()].copy_from_slice(piece);
            self.used += piece.len();
            bytes = rest;
            if self.used == self.buf.len() {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        let to = self.used.next_multiple_of(SECTOR);
        self.push(&[0; SECTOR][..to - self.used])
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.used > 0 {
            self.file.write_at(&self.buf[..self.used], self.offset)?;
            self.offset += self.used as u64;
            self.used = 0;
        }
        Ok(())
    }
}

/// Hands out the file in pieces of whole sectors.
struct Reader<'a> {
    file: &'a dyn File,
    buf: AlignedBuf,
    offset: u64,
    len: u64,
}

impl Reader<'_> {
    /// The next bytes, at most as many; a multiple of the sector.
    fn next(&mut self, bytes: u64) -> Result<&[u8], SnapshotFlaw> {
        let want = bytes.min(self.buf.len() as u64) as usize;
        let read = self.file.read_at(&mut self.buf[..want], self.offset)?;
        if read < want {
            let expected = self.offset + want as u64;
            return Err(SnapshotFlaw::Length { expected, found: self.len.min(expected - 1) });
        }
        self.offset += want as u64;
        Ok(&self.buf[..want])
    }

    /// Hands out the next `bytes` and passes the zeros behind them; the checksum of the bytes.
    fn section(&mut self, bytes: u64, mut take: impl FnMut(&[u8])) -> Result<u32, SnapshotFlaw> {
        let mut crc = crc32fast::Hasher::new();
        let mut left = bytes;
        while left > 0 {
            let sectors = self.next(padded(left))?;
            let (piece, zeros) = sectors.split_at((sectors.len() as u64).min(left) as usize);
            if zeros.iter().any(|byte| *byte != 0) {
                return Err(SnapshotFlaw::Reserved);
            }
            crc.update(piece);
            take(piece);
            left -= piece.len() as u64;
        }
        Ok(crc.finalize())
    }
}
