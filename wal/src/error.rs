//! What can go wrong, told apart by what the caller must do about it.
//!
//! | type | means | the caller |
//! |---|---|---|
//! | [`Full`] | no space for what was about to be appended | refuses the transaction, tries later |
//! | [`LogError`] | the log ended while running | stops acknowledging; only recovery leads back |
//! | [`Damage`] | bytes once durable are not there | declares the copy unrecoverable |
//! | [`OpenError`] | the arena as a whole is unusable | does not start |
//! | [`ReadError`], [`CutError`] | this request cannot be served | decides |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::arena::{HeadFlaw, SuperblockFlaw};
use crate::frame::Flaw;
use crate::{LogIdentity, Lsn, Term};

/// No space in the log (catalogue row D21). Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no space in the log at {path}: {needed} bytes needed, {available} available{}", reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default())]
pub struct Full {
    /// The arena.
    pub path: PathBuf,
    /// Bytes of log that the transaction would take at worst.
    pub needed: u64,
    /// Bytes of log that can be promised.
    pub available: u64,
    /// Why the arena did not grow, in the system's words.
    pub reason: Option<String>,
}

/// Why a log ended. Sticky: whoever asks later gets the same.
#[derive(Clone, Debug, Error)]
pub enum LogError {
    /// A write failed (catalogue row D20). What it left is cut at the next recovery.
    #[error("writing {path} at {offset} (LSN {lsn}): {error}")]
    Write {
        /// The arena.
        path: PathBuf,
        /// Byte position in it.
        offset: u64,
        /// First position that is not durable.
        lsn: Lsn,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// What was read a moment ago cannot be read again.
    #[error("reading {path} at {offset} (LSN {lsn}): {error}")]
    Read {
        /// The arena.
        path: PathBuf,
        /// Byte position in it.
        offset: u64,
        /// Position in the log.
        lsn: Lsn,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// A flush failed (catalogue row D18). It is not tried again, since the kernel has forgotten
    /// what it could not write.
    #[error("flushing {path} (LSN {lsn}): {error}")]
    Flush {
        /// The arena.
        path: PathBuf,
        /// First position that is not durable.
        lsn: Lsn,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// The queue to the disk broke.
    #[error("the queue to {path} failed: {error}")]
    Queue {
        /// The arena.
        path: PathBuf,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// The device has had a request for longer than is bearable (catalogue row D28). Whether it
    /// will ever be done is unknown.
    #[error("{path}: the device has not answered for {:.1} s", waited.as_secs_f64())]
    Stuck {
        /// The arena.
        path: PathBuf,
        /// How long it had been waited for.
        waited: Duration,
    },
    /// A frame of another copy does not continue this log (catalogue row D26). The log goes on.
    #[error("{path}: what was received is not the frame of LSN {lsn}: {flaw}")]
    Misfit {
        /// The arena.
        path: PathBuf,
        /// Where the log ends.
        lsn: Lsn,
        /// What is wrong.
        flaw: Flaw,
    },
    /// Somebody panicked while holding the log's lock; the group it was building is unknown.
    #[error("a panic interrupted an append")]
    Interrupted,
    /// No space for a frame that the log itself needs, such as the start of a term.
    #[error(transparent)]
    Full(#[from] Full),
    /// The log was closed or removed.
    #[error("the log is closed")]
    Closed,
}

/// Why an arena cannot be opened or made.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The system refused.
    #[error("{doing} {path}: {error}")]
    Io {
        /// `opening`, `reading`, …
        doing: &'static str,
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another process, or this one, has the directory (catalogue row D38).
    #[error("{path} is in use by another process")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// Neither superblock is good (catalogue row D06).
    #[error("{path} is not a log arena: {flaw}")]
    Superblock {
        /// The arena.
        path: PathBuf,
        /// What is wrong with the first copy.
        flaw: SuperblockFlaw,
    },
    /// The arena of another cluster or directory (catalogue row D11).
    #[error("{path} belongs to cluster {found:032x}, not to {expected:032x}")]
    Foreign {
        /// The arena.
        path: PathBuf,
        /// Ours.
        expected: u128,
        /// Stored.
        found: u128,
    },
    /// Options that contradict themselves.
    #[error("slots of {slot_bytes} bytes: a power of two from 64 KiB to 1 GiB is needed")]
    SlotBytes {
        /// Given.
        slot_bytes: u64,
    },
}

impl OpenError {
    pub(crate) fn io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), error }
    }
}

/// Where the knowledge comes from that something was durable (catalogue rule 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// A mark in the head of a slot.
    Mark {
        /// The slot.
        slot: u32,
    },
    /// A frame that was written later.
    Frame {
        /// Its position.
        lsn: Lsn,
    },
    /// The caller: a snapshot, a replica, the metadata.
    Caller,
}

/// A run of positions, the end not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First position.
    pub start: Lsn,
    /// First position behind; `None` if it is not known.
    pub end: Option<Lsn>,
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.end {
            Some(end) => write!(f, "{}..{}", self.start, end),
            None => write!(f, "{}..", self.start),
        }
    }
}

fn listed(ranges: &[Range]) -> String {
    let listed: Vec<String> = ranges.iter().map(Range::to_string).collect();
    if listed.is_empty() { "nothing".to_owned() } else { listed.join(", ") }
}

/// Bytes that were durable are not there, or are not what was written. The copy must not serve;
/// it is repaired from another copy, or stops (catalogue rows D03 to D13).
#[derive(Clone, Debug, Error)]
pub enum Damage {
    /// A frame is bad although it was known durable (D03, D04, D05, D07, D12, D13).
    #[error("{path} at {offset} (LSN {lsn}): {flaw}; durable up to {durable} says {witness:?}")]
    Frame {
        /// The arena.
        path: PathBuf,
        /// Byte position in it.
        offset: u64,
        /// Position in the log.
        lsn: Lsn,
        /// What is wrong.
        flaw: Flaw,
        /// Everything below was durable.
        durable: Lsn,
        /// Who says so.
        witness: Witness,
    },
    /// The head of a slot is bad (D06), or its content contradicts the slot before.
    #[error("{path} at {offset}: slot {slot} that continues the log at LSN {lsn}: {flaw}")]
    Slot {
        /// The arena.
        path: PathBuf,
        /// Byte position in it.
        offset: u64,
        /// The slot.
        slot: u32,
        /// Where it should begin.
        lsn: Lsn,
        /// What is wrong.
        flaw: HeadFlaw,
    },
    /// A part of the log is not there (D08, D09, D31).
    #[error("{path}: log {identity} lacks {}; present: {}", listed(missing), listed(present))]
    Missing {
        /// The arena.
        path: PathBuf,
        /// The log.
        identity: LogIdentity,
        /// What there is.
        present: Vec<Range>,
        /// What there is not.
        missing: Vec<Range>,
    },
    /// Two slots hold the same part of the log (D10).
    #[error("{path}: slots {first} and {second} both hold LSN {lsn} of log {identity}")]
    Overlap {
        /// The arena.
        path: PathBuf,
        /// The log.
        identity: LogIdentity,
        /// One slot.
        first: u32,
        /// The other.
        second: u32,
        /// A position that both hold.
        lsn: Lsn,
    },
    /// There is no such log (D06, D08: its slots may be among the unreadable).
    #[error("{path}: no slot of log {identity}; {unreadable} slots are unreadable")]
    Absent {
        /// The arena.
        path: PathBuf,
        /// The log.
        identity: LogIdentity,
        /// Slots whose head cannot be read.
        unreadable: usize,
    },
    /// The device cannot read, also not when asked again (D25).
    #[error("reading {path} at {offset}: {error}")]
    Read {
        /// The arena.
        path: PathBuf,
        /// Byte position in it.
        offset: u64,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// The position to begin from is none where a group begins.
    #[error("{path}: no group of log {identity} begins at LSN {lsn}")]
    NotABoundary {
        /// The arena.
        path: PathBuf,
        /// The log.
        identity: LogIdentity,
        /// Asked for.
        lsn: Lsn,
    },
}

/// Why a part of a log cannot be read while it runs.
#[derive(Clone, Debug, Error)]
pub enum ReadError {
    /// It was given up behind a snapshot.
    #[error("LSN {lsn} was released; the log begins at {first}")]
    Released {
        /// Asked for.
        lsn: Lsn,
        /// First position still there.
        first: Lsn,
    },
    /// It was not written yet, or is no position where a frame begins.
    #[error("no frame begins at LSN {lsn}; written up to {written}")]
    NotAFrame {
        /// Asked for.
        lsn: Lsn,
        /// End of what is written.
        written: Lsn,
    },
    /// What lies there is not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
}

/// Why a log was not cut. Nothing was changed unless it is [`CutError::Log`].
#[derive(Clone, Debug, Error)]
pub enum CutError {
    /// Not where a group ends, or beyond the end, or before what is retained.
    #[error("LSN {to} is no end of a group of this log")]
    NotABoundary {
        /// Asked for.
        to: Lsn,
    },
    /// A cut needs a newer term, or positions would be used twice in one (rule 2).
    #[error("term {term} does not follow {last}")]
    Term {
        /// Asked for.
        term: Term,
        /// The newest of the log.
        last: Term,
    },
    /// The part that stays cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log failed, before or through the cut.
    #[error(transparent)]
    Log(#[from] LogError),
}
