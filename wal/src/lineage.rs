//! What a position of a log proves about the log: for snapshots, which carry it, and for peers.

use crate::reader::boundary_before;
use crate::{CutError, History, Log, LogError, Lsn, Term};

/// What must be equal in two logs for them to be one log up to a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The term in force there.
    pub term: Term,
    /// Terms up to there.
    pub history: History,
    /// Chain over everything before.
    pub chain: u64,
}

impl Log {
    /// The term in which the next entry is written.
    ///
    /// # Errors
    /// If a panic interrupted an append.
    pub fn term(&self) -> Result<Term, LogError> {
        Ok(self.shared.lock_open()?.term)
    }

    /// The terms of what is written, as far as they are remembered.
    ///
    /// # Errors
    /// If the log is closed.
    pub fn history(&self) -> Result<History, LogError> {
        let shared = &self.shared;
        let mut driver = shared.core.driver();
        Ok(driver.lane(shared.number).ok_or(LogError::Closed)?.history().clone())
    }

    /// The lineage at a position between groups that is on the medium. Reads the slot that the
    /// position lies in.
    ///
    /// # Errors
    /// [`CutError::NotABoundary`], or why the log cannot be read.
    pub fn lineage_at(&self, lsn: Lsn) -> Result<Lineage, CutError> {
        let shared = &self.shared;
        let chain = boundary_before(shared, lsn)?;
        let mut history = {
            let mut driver = shared.core.driver();
            driver.lane(shared.number).ok_or(LogError::Closed)?.history().clone()
        };
        // A term that starts at the position has not begun before it.
        let kept = history.entries().iter().filter(|e| e.start < lsn || e.start == Lsn::ZERO);
        history = History::from_entries(kept.copied().collect())
            .expect("a part of a good history is one");
        Ok(Lineage { term: history.term(), history, chain })
    }
}
