//! Snapshots of Resprout: a root on disk.
//!
//! A snapshot is one file that holds all pages of one partition as they were at one exact LSN,
//! byte for byte as they lie in memory, with checksums over every byte of the file. This crate
//! writes such files, proves them before they count, and reads them back at the speed of the
//! device. Pages are opaque to it: runs of 4096 bytes with a row count, a digest and a separator
//! key, which the engine gives and takes.
//!
//! ```text
//!   Writer::create ─► push* ─► finish: footer ─► flush ─► read back ─► rename ─► flush directory
//!        │ any failure, or drop: the `.tmp` file goes, older snapshots stay         │
//!        ▼                                                                          ▼
//!   snapshot-<lsn>.rsnap.tmp                                         snapshot-<lsn>.rsnap
//!
//!   list ─► Snapshot::open (all but the pages is checked) ─► Loader / load_all (pages checked)
//! ```
//!
//! What callers may rely on:
//!
//! * A file with the final name was complete, durable and verified when it got the name (rule 18).
//! * [`Snapshot::open`] and [`Snapshot::verify`] together notice every changed byte; what they
//!   return on hostile input is an error, never a panic nor an allocation larger than the file.
//! * Nothing here starts a thread, reads a clock or draws a random number.
//!
//! The bytes are drawn in `docs/formats/snapshot.md`.

#![forbid(unsafe_code)]

mod digest;
mod directory;
mod error;
mod field;
mod folder;
mod footer;
mod header;
mod inspect;
mod load;
mod open;
mod stream;
mod write;

pub use digest::{Digest, row_digest};
pub use directory::{ChunkEntry, LeafEntry, MAX_RUN, MAX_SEPARATOR};
pub use error::{Damage, Part, SnapshotError};
pub use folder::{Found, Retained, file_name, list, remove_leftovers, retain};
pub use header::{Header, VERSION};
pub use inspect::{Inspection, Statistics, Verdict, inspect};
pub use load::{Loader, PageRead, READ_BYTES, load_all, verify_all};
pub use open::Snapshot;
pub use write::{LeafPage, Progress, WriteOptions, Writer, Written};

/// Bytes of one page, on disk and in memory. Equal to the sector of the log, so that every
/// transfer of whole pages may go around the page cache.
pub const PAGE: usize = resprout_wal::SECTOR;
