//! A master that stands still, so that another copy can take over and nothing is lost or left unknown.
//!
//! New writers wait; those under way come to their end, or are ended. Readers notice nothing. Then the log ends where it
//! is, and whoever has it all may be master.

use std::collections::BTreeSet;

use resprout_wal::Lsn;

use super::StoredCopy;
use crate::error::Error;

impl StoredCopy {
    /// New writers wait from now on: until [`StoredCopy::open_to_writers`], or the end of this mastership, of which they
    /// learn as of any other ([`Error::NotOnline`]: nothing was done).
    pub fn close_to_writers(&self) {
        self.core().locks.close();
    }

    /// Writers go on.
    pub fn open_to_writers(&self) {
        self.core().locks.open();
    }

    /// Ends the transactions that have changed or locked something and not promised: they find
    /// [`Error::TransactionEnded`].
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn end_writers(&self) -> Result<(), Error> {
        let core = self.core();
        let prepared = core.prepared();
        let promised: BTreeSet<_> = prepared.values().map(|one| one.txn).collect();
        let _writer = core.writer()?;
        core.locks.end_writers(|txn| promised.contains(&txn));
        Ok(())
    }

    /// The end of its log, if it is closed to writers and none is under way: all that was written is before it, and has
    /// gone to the shipper.
    #[must_use]
    pub fn standstill(&self) -> Option<Lsn> {
        let core = self.core();
        if !core.locks.is_still() {
            return None;
        }
        core.log.seal_shipped();
        Some(core.log.positions().end)
    }
}
