//! What can go wrong, in three families that are never mixed: *answers* (the request cannot be
//! done now or as asked), *faults* (disk, damage) and *bugs* (assertions, not in here).
//!
//! Each error says what, where and what to do; [`Error::is_retryable`] tells whether the same
//! call may succeed later without anybody changing anything.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use resprout_snapshot::SnapshotError;
use resprout_wal::Lsn;

use crate::record::PreparedTooLarge;
use crate::state::State;
use crate::table::{DuplicateEntry, RowDamage, RowError, SchemaError};
use crate::tree::TreeError;

/// Why nobody here knows how a commit ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unknown {
    /// The log failed.
    #[error("{0}")]
    Log(Arc<resprout_wal::LogError>),
    /// Another copy becomes master, and decides.
    #[error("this copy is not master any more")]
    Fenced,
    /// The partition is on another node, and the connection was lost meanwhile.
    #[error("the connection to the partition's node was lost")]
    Lost,
    /// The partition is on another node, which says so.
    #[error("{0}")]
    Elsewhere(Arc<str>),
}

/// Any error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory belongs to another cluster than the one that is asked for (catalogue I01).
    #[error("{dir} belongs to cluster {found:032x}, not to {wanted:032x}; nothing was changed")]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Asked for.
        wanted: u128,
        /// Its own.
        found: u128,
    },
    /// The copy does not serve in this state.
    #[error("partition {partition} is {state}, not ONLINE")]
    NotOnline {
        /// `database:ordinal`.
        partition: String,
        /// Its state.
        state: State,
    },
    /// The partition is on another node, which cannot be reached. Nothing was done there that lasts.
    #[error("partition {partition} cannot be reached: {why}")]
    Unreachable {
        /// `database:ordinal`.
        partition: String,
        /// What the connection says.
        why: String,
    },
    /// Another node has failed to do it, with these words.
    #[error("{0}")]
    Elsewhere(String),
    /// Copies have one history, which whoever replicates them decides about.
    #[error(
        "partition {partition} is one of several copies: its record says who is master, and what is taken back"
    )]
    OneOfSeveral {
        /// `database:ordinal`.
        partition: String,
    },
    /// Another transaction kept a row locked for too long (MySQL 1205).
    #[error("lock wait limit of {limit:?} exceeded; roll back or try again")]
    LockWaitTimeout {
        /// How long was waited at most.
        limit: Duration,
    },
    /// Waiting would never have ended (MySQL 1213).
    #[error("deadlock found when trying to get a row lock; roll back and try again")]
    Deadlock,
    /// A unique index has the key already (MySQL 1062).
    #[error(transparent)]
    Duplicate(#[from] DuplicateEntry),
    /// The memory limit would be exceeded; reads go on.
    #[error(
        "memory limit: {needed} bytes more are needed, maximum_memory is {limit}; delete rows or raise it"
    )]
    MemoryLimit {
        /// Bytes the request needs.
        needed: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// No room in the log; nothing was changed. Resumes by itself when space returns (D21).
    #[error("log device full: {0}; nothing was changed")]
    LogFull(resprout_wal::Full),
    /// The log failed, or the copy was fenced, while the commit was on its way: it may or may not
    /// survive (A5).
    #[error("the outcome of the commit is unknown: {0}")]
    OutcomeUnknown(Unknown),
    /// The copy has failed and takes no more writes.
    #[error("partition {partition} has stopped: {reason}")]
    Stopped {
        /// `database:ordinal`.
        partition: String,
        /// First cause.
        reason: Arc<str>,
    },
    /// The transaction was already ended by an error, a prepare or a commit.
    #[error("the transaction has ended")]
    TransactionEnded,
    /// A table changed in a way that the transaction's writes do not fit.
    #[error("table '{table}' was changed or dropped meanwhile; try again")]
    SchemaChanged {
        /// The table.
        table: String,
    },
    /// No such table (MySQL 1146).
    #[error("table '{table}' does not exist")]
    NoSuchTable {
        /// The name asked for.
        table: String,
    },
    /// No such row to change.
    #[error("no row with that primary key in '{table}'")]
    NoSuchRow {
        /// The table.
        table: String,
    },
    /// No such database.
    #[error("database '{database}' does not exist")]
    NoSuchDatabase {
        /// The name asked for.
        database: String,
    },
    /// The database is there already (MySQL 1007).
    #[error("database '{database}' exists")]
    DatabaseExists {
        /// Its name.
        database: String,
    },
    /// A table that a prepared transaction writes to cannot be changed until it has ended.
    #[error(
        "a prepared transaction writes to table '{table}'; it must be committed or aborted first"
    )]
    PreparedInTheWay {
        /// The table.
        table: String,
    },
    /// The partition refused to take part in the transaction, or ended it, before.
    #[error("this partition refused the transaction, or ended it, before")]
    AlreadyDecided,
    /// No prepared transaction has this global id.
    #[error("no prepared transaction has this id")]
    NotPrepared,
    /// A global transaction id is in use.
    #[error("a prepared transaction with this id exists")]
    AlreadyPrepared,
    /// The schema asked for is not sound.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A row cannot be written as given.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A row that was read is damaged.
    #[error(transparent)]
    RowDamaged(#[from] RowDamage),
    /// A write set that is too large to be prepared.
    #[error(transparent)]
    PreparedTooLarge(#[from] PreparedTooLarge),
    /// The log is damaged: something that was durable is not there.
    #[error(transparent)]
    LogDamaged(#[from] resprout_wal::Damage),
    /// A position that this log cannot be rewound to.
    #[error("cannot rewind to {to}: {why}")]
    CannotRewind {
        /// Where to.
        to: Lsn,
        /// The reason.
        why: String,
    },
    /// An option has an impossible value.
    #[error("option {option}: {why}")]
    BadOption {
        /// Its name.
        option: &'static str,
        /// What is wrong and what is allowed.
        why: String,
    },
    /// Another process has the directory open (D38).
    #[error("{dir} is in use by another process; stop it or choose another directory")]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds something else.
    #[error(
        "{dir} is not empty and not a Resprout data directory ({found} is in it); choose another"
    )]
    ForeignDirectory {
        /// The directory.
        dir: PathBuf,
        /// Something in it that is not ours.
        found: PathBuf,
    },
    /// There is no data directory.
    #[error("{dir} is not a Resprout data directory: it has no identity file")]
    NotADataDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// Written by another version of the software.
    #[error(
        "{path} has format version {found}, this binary knows version {known}; use a newer binary"
    )]
    FormatVersion {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version of this binary.
        known: u32,
    },
    /// The directory's identity cannot be read.
    #[error("{path} is damaged ({what}); restore it from a copy of this directory")]
    IdentityDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A manifest cannot be read.
    #[error("{path} is damaged at offset {offset}: {what}")]
    ManifestDamaged {
        /// The file.
        path: PathBuf,
        /// Byte position.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A call to the disk failed.
    #[error("cannot {operation} {path}: {source}")]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The log is damaged or cannot be opened.
    #[error(transparent)]
    Log(#[from] resprout_wal::OpenError),
    /// A snapshot is damaged or could not be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Rows in the log, a snapshot or the tree are not what they must be.
    #[error("damaged data in {place} at {lsn}: {what}")]
    DataDamaged {
        /// File or structure.
        place: String,
        /// Position in the log.
        lsn: Lsn,
        /// What is wrong.
        what: String,
    },
    /// Page memory ran out or an operation on the tree was refused.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The operation was ended because the engine closes.
    #[error("the engine is closing")]
    Closing,
}

impl Error {
    /// Whether the same call may succeed later by itself.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::NotOnline { .. }
                | Self::LockWaitTimeout { .. }
                | Self::Deadlock
                | Self::MemoryLimit { .. }
                | Self::LogFull(_)
                | Self::SchemaChanged { .. }
        )
    }
}

/// Gives an I/O error its operation and path.
pub(crate) fn at(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Disk { operation, path: path.clone(), source }
}
