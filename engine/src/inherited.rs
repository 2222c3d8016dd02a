//! What a new master took over in doubt, and those who read.
//!
//! A transaction over several partitions is acknowledged once all of them have promised: before its end is in
//! their logs. If a master goes then, the promise is all that the next one has, and what was acknowledged would not be
//! seen until somebody ends it. So whoever reads what such a transaction changes waits for its end (invariants A1 and
//! A7: what was acknowledged is shown). Transactions that promised to this master need no such wait: who acknowledges
//! them has this master show them first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use resprout_wal::Position;

use crate::core::Core;
use crate::error::Error;
use crate::partition::Partition;
use crate::prepared::Prepared;
use crate::record::OpKind;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Whether readers have to look. Moved with the prepared transactions locked.
    is_open: AtomicBool,
    ends: Mutex<Ends>,
}

#[derive(Debug, Default)]
struct Ends {
    /// Grows with each.
    count: u64,
    /// Where the last one is in the log: it may not be shown yet.
    last: Option<Position>,
    waiting: Vec<Waker>,
}

impl Inherited {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A term begins, with something or nothing taken over.
    pub(crate) fn begin(&self, is_open: bool) {
        self.ends().last = None;
        self.is_open.store(is_open, Ordering::Release);
    }

    /// One has ended, by the record at this position.
    pub(crate) fn end(&self, position: Position) {
        self.ends().last = Some(position);
        self.wake();
    }

    /// The mastership is over: nobody waits for anything here.
    pub(crate) fn void(&self) {
        self.wake();
    }

    fn wake(&self) {
        let waiting = {
            let mut ends = self.ends();
            ends.count += 1;
            std::mem::take(&mut ends.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Until there were more ends than that.
    async fn ended(&self, count: u64) {
        std::future::poll_fn(|context| {
            let mut ends = self.ends();
            if ends.count > count {
                return Poll::Ready(());
            }
            ends.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Prepared {
    fn changes_in(&self, from: &[u8], to: Option<&[u8]>) -> bool {
        self.set.ops.iter().any(|op| match op.kind {
            OpKind::DeleteRange => &op.value[..] > from && to.is_none_or(|to| &op.key[..] < to),
            _ => &op.key[..] >= from && to.is_none_or(|to| &op.key[..] < to),
        })
    }
}

impl Core {
    /// Nothing that was taken over is left, and all ends are shown: who reads needs not look any more.
    fn close_inherited(&self, shown: Option<Position>) {
        let prepared = self.prepared();
        let is_last = self.inherited.ends().last == shown;
        if is_last && prepared.values().all(|prepared| !prepared.inherited) {
            self.inherited.is_open.store(false, Ordering::Release);
        }
    }
}

impl Partition {
    /// Whether something may be unseen that was in doubt when this copy was recovered, or its term began. For a node that
    /// stands alone, which does not read the partition before its [`Partition::settle`].
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.core().is_some_and(|core| core.inherited.is_open.load(Ordering::Acquire))
    }

    /// What was in doubt at a start has been ended and is shown, as far as that can be: nobody waits for the rest, whose rows
    /// stay locked. For a partition without copies.
    pub fn settle(&self) {
        if let Some(core) = self.core() {
            core.inherited.is_open.store(false, Ordering::Release);
        }
    }

    /// Waits until nothing that was in doubt when this master's term began changes keys of a range: what is there may
    /// have been acknowledged. For whoever reads a partition with copies. That may take as long as a participant has no
    /// master; the limit is the caller's.
    ///
    /// # Errors
    /// [`Error::NotOnline`] if the mastership ends meanwhile.
    pub async fn settled(&self, from: &[u8], to: Option<&[u8]>) -> Result<(), Error> {
        loop {
            let core = self.online()?;
            if !core.inherited.is_open.load(Ordering::Acquire) {
                return Ok(());
            }
            // From before the look, so that no end is missed.
            let count = core.inherited.ends().count;
            let is_open = {
                let prepared = core.prepared();
                prepared.values().any(|one| one.inherited && one.changes_in(from, to))
            };
            if is_open {
                core.inherited.ended(count).await;
                continue;
            }
            let last_end = core.inherited.ends().last;
            if let Some(position) = last_end {
                let state = crate::state::State::Transitioning;
                let lost = |_| Error::NotOnline { partition: self.name().to_owned(), state };
                core.committed(position).await.map_err(lost)?;
            }
            core.close_inherited(last_end);
            return Ok(());
        }
    }
}
