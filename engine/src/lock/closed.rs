//! A partition that takes no new writers, so that its master can change with nothing under way.
//!
//! ```text
//!   close ─► who holds no row waits before its first one
//!            who holds some goes on, and ends ──► still ──► the master changes: who waits asks there
//!            or is ended (KILL)                       └───► open: who waits asks again
//! ```
//!
//! Writes that lock no row (a table's change, numbers) enter and leave, and are waited for like others. Votes do not: what they
//! refuse is a transaction of this master alone.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::Duration;

use foldhash::fast::FixedState;

use super::{Answer, LockRefused, LockWait, Place, Request, RowLocks, Shared, TxnId};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Closed {
    is_closed: bool,
    /// Writes under way that lock no row.
    entered: HashSet<TxnId, FixedState>,
    /// Who was ended while it was under way, and has not noticed yet.
    ended: HashSet<TxnId, FixedState>,
}

impl Closed {
    pub(super) fn has_ended(&self, txn: TxnId) -> bool {
        !self.ended.is_empty() && self.ended.contains(&txn)
    }

    /// It is over, whatever became of it.
    pub(super) fn leave(&mut self, txn: TxnId) {
        self.entered.remove(&txn);
        self.ended.remove(&txn);
    }
}

impl Shared {
    /// Whether `txn` has to wait before its first write.
    pub(super) fn holds_back(&self, txn: TxnId) -> bool {
        let is_under_way = || self.table.holds(txn) || self.closed.entered.contains(&txn);
        self.closed.is_closed && !is_under_way()
    }

    fn is_still(&self) -> bool {
        self.table.is_empty() && self.closed.entered.is_empty()
    }
}

impl RowLocks {
    /// New writers wait from now on.
    pub(crate) fn close(&self) {
        self.lock().closed.is_closed = true;
    }

    /// They go on.
    pub(crate) fn open(&self) {
        let waiting: Vec<Arc<Place>> = {
            let mut shared = self.lock();
            let Shared { table, places, closed, .. } = &mut *shared;
            closed.is_closed = false;
            // Who waits, and for no row.
            let held_back = places.extract_if(|txn, _| table.awaited(*txn).is_none());
            held_back.map(|(_, (place, _))| place).collect()
        };
        for place in waiting {
            place.settle(Ok(Answer::AskAgain));
        }
    }

    /// Whether it is closed and nothing is under way.
    pub(crate) fn is_still(&self) -> bool {
        let shared = self.lock();
        shared.closed.is_closed && shared.is_still()
    }

    /// A write that locks no row begins, or waits as one that does. It ends with [`RowLocks::release_all`].
    ///
    /// # Errors
    /// [`LockRefused::Ended`].
    pub(crate) fn enter(&self, txn: TxnId, deadline: Duration) -> Result<Request<'_>, LockRefused> {
        let mut shared = self.lock();
        if let Some(wait) = self.admit(&mut shared, txn, deadline)? {
            return Ok(Request::Wait(wait));
        }
        shared.closed.entered.insert(txn);
        Ok(Request::Granted)
    }

    /// Whether `txn` may go on, or has to wait before its first write.
    ///
    /// # Errors
    /// [`LockRefused::Ended`].
    pub(super) fn admit(
        &self,
        shared: &mut Shared,
        txn: TxnId,
        deadline: Duration,
    ) -> Result<Option<LockWait<'_>>, LockRefused> {
        if shared.is_over(txn) {
            return Err(LockRefused::Ended);
        }
        Ok(shared.holds_back(txn).then(|| self.wait(shared, txn, deadline)))
    }

    /// Ends who is under way, except those that have promised, and those that lock no row, which come to their end by
    /// themselves. With the writer locked, so that none of them commits meanwhile.
    pub(crate) fn end_writers(&self, promised: impl Fn(TxnId) -> bool) {
        let mut places = Vec::new();
        {
            let mut shared = self.lock();
            // Who was waiting for a row of one that is ended has it then, and is ended too.
            loop {
                let writers: Vec<_> =
                    shared.table.writers().filter(|txn| !promised(*txn)).collect();
                let Some(txn) = writers.first().copied() else { break };
                shared.closed.ended.insert(txn);
                let granted = shared.table.release_all(txn);
                let gone = granted.into_iter().chain([txn]);
                places.extend(gone.filter_map(|txn| shared.places.remove(&txn)));
            }
            self.any_ended.store(!shared.closed.ended.is_empty(), Atomic::Release);
        }
        for (place, _) in places {
            place.settle(Err(LockRefused::Ended));
        }
    }

    /// Whether a transaction was ended while it was under way.
    pub(crate) fn has_ended(&self, txn: TxnId) -> bool {
        self.any_ended.load(Atomic::Acquire) && self.lock().closed.has_ended(txn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::RowKey;

    const A: TxnId = TxnId(1);
    const B: TxnId = TxnId(2);
    const C: TxnId = TxnId(3);
    const LONG: Duration = Duration::from_secs(30);

    fn key(name: &str) -> RowKey {
        Arc::from(name.as_bytes())
    }

    fn is_granted(asked: &Result<Request<'_>, LockRefused>) -> bool {
        matches!(asked, Ok(Request::Granted))
    }

    /// Promise: who holds a row goes on while it is closed, and may take others; who holds none waits, also with a list of
    /// keys; once it is open they ask again and are let in.
    #[test]
    fn new_writers_wait_and_others_go_on() {
        let locks = RowLocks::default();
        assert!(is_granted(&locks.acquire(A, &key("a"), LONG)));
        locks.close();
        assert!(!locks.is_still());
        assert!(is_granted(&locks.acquire(A, &key("b"), LONG)));
        assert!(locks.acquire_sorted(A, vec![key("c")]).is_ok());
        assert!(locks.acquire_sorted(B, vec![key("d")]).is_err());
        let Ok(Request::Wait(wait)) = locks.acquire(B, &key("d"), LONG) else { panic!("let in") };
        locks.release_all(A);
        assert!(locks.is_still());
        locks.open();
        assert_eq!(wait.block(LONG), Ok(Answer::AskAgain));
        assert!(is_granted(&locks.acquire(B, &key("d"), LONG)));
        assert!(!locks.is_still(), "it is open");
    }

    /// Promise: a write that locks no row is waited for, and waits.
    #[test]
    fn writes_without_rows_are_waited_for() {
        let locks = RowLocks::default();
        assert!(is_granted(&locks.enter(A, LONG)));
        locks.close();
        assert!(!locks.is_still());
        assert!(is_granted(&locks.acquire(A, &key("a"), LONG)), "it is under way");
        let Ok(Request::Wait(wait)) = locks.enter(B, Duration::ZERO) else { panic!("let in") };
        locks.release_all(A);
        assert!(locks.is_still());
        locks.expire(LONG);
        assert_eq!(wait.block(LONG), Err(LockRefused::Timeout));
    }

    /// Promise: who is ended gets no lock any more, and neither does who waited for one of theirs; what has promised keeps
    /// its rows.
    #[test]
    fn writers_are_ended_except_those_that_promised() {
        let locks = RowLocks::default();
        assert!(is_granted(&locks.acquire(A, &key("a"), LONG)));
        assert!(is_granted(&locks.acquire(B, &key("b"), LONG)));
        let Ok(Request::Wait(wait)) = locks.acquire(C, &key("a"), LONG) else { panic!("let in") };
        locks.close();
        locks.end_writers(|txn| txn == B);
        assert_eq!(wait.block(LONG), Err(LockRefused::Ended));
        assert_eq!(
            (locks.has_ended(A), locks.has_ended(B), locks.has_ended(C)),
            (true, false, true)
        );
        assert!(matches!(locks.acquire(A, &key("c"), LONG), Err(LockRefused::Ended)));
        assert!(!locks.is_still());
        locks.release_all(B);
        assert!(locks.is_still());
        locks.release_all(A);
        assert!(!locks.has_ended(A), "it has noticed");
    }

    /// Promise: when the mastership is over all who wait learn it, and nothing is closed any more.
    #[test]
    fn the_end_of_the_mastership_ends_all() {
        let locks = RowLocks::default();
        locks.close();
        let Ok(Request::Wait(wait)) = locks.acquire(A, &key("a"), LONG) else { panic!("let in") };
        locks.end_all_before(C);
        assert_eq!(wait.block(LONG), Err(LockRefused::Ended));
        assert!(is_granted(&locks.acquire(C, &key("a"), LONG)));
    }
}
