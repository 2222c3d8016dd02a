//! What can go wrong, told apart by what there is to do about it.
//!
//! | error | means | to do |
//! |---|---|---|
//! | `Log`, `Full` | a running store has ended | see why; the node comes back by a new start |
//! | `Damage`, `Record`, `Contradiction`, `Snapshot` | what was durable is not there | remove the member, clear its directory, add it anew |
//! | `Io`, `Arena` | the system refused | see the reason, start again |
//! | `Absent`, `Unfinished`, `Exists`, `Running`, `Foreign` | the wrong directory, or the wrong call | correct it |

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use resprout_wal::{Damage, Full, LogError, Lsn, OpenError};

use super::record::RecordFlaw;
use super::replay::Contradiction;
use super::snapshot_file::SnapshotFlaw;
use crate::{EntryId, StoreId};

/// Why a store does not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The log in the arena has ended: a write or flush failed (rows D18 to D20), or it was closed.
    /// Final: whether what was under way survives is unknown, so this node votes and acknowledges
    /// nothing any more (row D19).
    #[error(
        "the metadata log of this node has ended, it takes no part until it is started anew: {0}"
    )]
    Log(#[source] LogError),
    /// The arena is full. Nothing of the writes was taken, but Raft goes on from them, so that
    /// there is no other way back either: make space, start the node anew.
    #[error(
        "the metadata log of this node cannot grow, it takes no part until there is space and it is started anew: {0}"
    )]
    Full(#[source] Full),
    /// The log is damaged.
    #[error(
        "the metadata log is damaged; remove this member, clear its directory, add it anew: {0}"
    )]
    Damage(#[source] Damage),
    /// A record of the log is none.
    #[error("{path}: the record of the metadata log at LSN {lsn}: {flaw}")]
    Record {
        /// The arena.
        path: PathBuf,
        /// Where its group begins.
        lsn: Lsn,
        /// What is wrong.
        flaw: RecordFlaw,
    },
    /// A record does not fit those before it.
    #[error("{path}: the metadata log at LSN {lsn}: {what}")]
    Contradiction {
        /// The arena.
        path: PathBuf,
        /// Where its group begins, or where the log ends.
        lsn: Lsn,
        /// What contradicts what.
        what: Box<Contradiction>,
    },
    /// The newest snapshot is not good, and the log does not reach back to an older one.
    #[error(
        "{path}: {flaw}; the log begins behind {base}, so no older snapshot can stand in: \
         remove this member, clear its directory, add it anew"
    )]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: SnapshotFlaw,
        /// The entry before the first that the log has.
        base: EntryId,
    },
    /// A snapshot that was just written is not what was written. It does not count.
    #[error("{path} was not written right: {flaw}")]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: SnapshotFlaw,
    },
    /// The system refused.
    #[error("{doing} {path}: {error}")]
    Io {
        /// `making`, `writing`, …
        doing: &'static str,
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: Arc<io::Error>,
    },
    /// The arena cannot be looked at.
    #[error(transparent)]
    Arena(Arc<OpenError>),
    /// There is no such log.
    #[error("{path} has no metadata log of store {store}")]
    Absent {
        /// The arena.
        path: PathBuf,
        /// Whose was wanted.
        store: StoreId,
    },
    /// A crash came while the store was made. It holds nothing: make it again.
    #[error("{path}: the making of store {store} was interrupted; make it again")]
    Unfinished {
        /// The arena.
        path: PathBuf,
        /// Whose it would be.
        store: StoreId,
    },
    /// An arena has one metadata log.
    #[error("{path} has the metadata log of store {store} already")]
    Exists {
        /// The arena.
        path: PathBuf,
        /// Whose.
        store: StoreId,
    },
    /// It is open in this process.
    #[error("{path}: the metadata log of store {store} is open")]
    Running {
        /// The arena.
        path: PathBuf,
        /// Whose.
        store: StoreId,
    },
    /// The arena of another cluster (row D11).
    #[error("{path} belongs to cluster {found:032x}, not to {expected:032x}")]
    Foreign {
        /// The arena.
        path: PathBuf,
        /// Ours.
        expected: u128,
        /// Stored.
        found: u128,
    },
}

impl StoreError {
    pub(super) fn io(doing: &'static str, path: &std::path::Path, error: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), error: Arc::new(error) }
    }
}

/// A log that had no space for a frame of its own is full, and has not ended by a failure.
impl From<LogError> for StoreError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Full(full) => Self::Full(full),
            error => Self::Log(error),
        }
    }
}
