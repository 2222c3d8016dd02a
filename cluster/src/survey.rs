//! What a node says of itself when it is asked: what only it knows, for people. Nothing is decided by it.

use std::collections::BTreeMap;

use resprout_wal::Lsn;

use crate::metadata::bytes::{CodecError, Cursor, Field, fields};
use crate::reconcile::{CopyName, Doing};
use crate::{Instance, Term};

/// A node, asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The newest command of the metadata that it has applied.
    pub applied: u64,
    /// Its copies, those too that no record has.
    pub copies: BTreeMap<CopyName, CopyReport>,
}

/// A copy, where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// What its database is called there.
    pub stored: String,
    /// What it does.
    pub doing: Doing,
    /// Term of its last mastership that it knows.
    pub term: Term,
    /// End of its log.
    pub end: Lsn,
    /// What is on its disk.
    pub durable: Lsn,
    /// What is known acknowledged.
    pub committed: Lsn,
    /// Bytes of log that have come and cannot be read yet.
    pub unapplied_bytes: u64,
    /// Page memory, bytes.
    pub memory_bytes: u64,
    /// Its newest snapshot and the log since then, bytes.
    pub disk_bytes: u64,
    /// The terms that its log remembers, each with where it begins; none if the log cannot be read.
    pub terms: BTreeMap<Term, Lsn>,
    /// How far its recovery is.
    pub recovery: RecoveryReport,
    /// Why it is unrecoverable or has stopped, if so.
    pub error: Option<String>,
    /// On a master: the others.
    pub followers: Vec<FollowerReport>,
}

impl CopyReport {
    /// Its database, as its leaf calls it.
    #[must_use]
    pub fn database(&self) -> &str {
        // The leaf adds partition and instance.
        self.stored.rsplitn(3, '_').last().unwrap_or(&self.stored)
    }
}

/// How far the recovery of a copy is, or was when it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// What is being done.
    pub phase: String,
    /// Bytes that are done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes per second, recently.
    pub rate: u64,
    /// Milliseconds left at that rate, if it is known.
    pub left_ms: Option<u64>,
    /// Milliseconds without progress.
    pub stalled_ms: u64,
    /// Milliseconds that the next one would take.
    pub predicted_ms: u64,
}

/// A copy that follows, as its master sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowerReport {
    /// Which.
    pub instance: Instance,
    /// It is connected.
    pub is_connected: bool,
    /// Commits wait for it.
    pub is_waited_for: bool,
    /// What counts of it.
    pub position: Lsn,
    /// Bytes of log that it lacks.
    pub lag_bytes: u64,
}

fields! {
    Survey { applied, copies }
    CopyReport {
        stored, doing, term, end, durable, committed, unapplied_bytes, memory_bytes, disk_bytes, terms,
        recovery, error, followers,
    }
    RecoveryReport { phase, done, total, rate, left_ms, stalled_ms, predicted_ms }
    FollowerReport { instance, is_connected, is_waited_for, position, lag_bytes }
}
