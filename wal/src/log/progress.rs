//! How far a log has come, and who waits for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::lock::lock;
use crate::log::Shared;
use crate::{LogError, Lsn};

/// Where a log stands. Always `durable ≤ written ≤ end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Behind the last sealed group.
    pub end: Lsn,
    /// Behind the last group that the device took.
    pub written: Lsn,
    /// Behind the last group that is on the medium and that the observer was told of.
    pub durable: Lsn,
}

impl Positions {
    /// Checks the order of the three.
    ///
    /// # Panics
    /// If they are out of order: something would be acknowledged that is not there.
    pub fn check(&self) {
        assert!(self.durable <= self.written && self.written <= self.end, "{self:?}");
    }
}

/// What to wait for: the group that an entry went into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the group that ends the entry.
    pub generation: u64,
    /// Where that group begins.
    pub start: Lsn,
}

#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) positions: Positions,
    pub(crate) durable_generation: u64,
    pub(crate) failed: Option<LogError>,
    wakers: BTreeMap<u64, (u64, Waker)>,
    next_key: u64,
}

impl Progress {
    pub(crate) fn starting(end: Lsn) -> Self {
        Self {
            positions: Positions { end, written: end, durable: end },
            durable_generation: 0,
            failed: None,
            wakers: BTreeMap::new(),
            next_key: 0,
        }
    }

    /// What a waiter for `position` is told, if anything yet.
    pub(crate) fn outcome(&self, position: Position) -> Option<Result<Lsn, LogError>> {
        if self.durable_generation >= position.generation {
            return Some(Ok(self.positions.durable));
        }
        self.failed.clone().map(Err)
    }

    /// Takes out the wakers of all that have an outcome.
    pub(crate) fn take_ready(&mut self) -> Vec<Waker> {
        let (all, limit) = (self.failed.is_some(), self.durable_generation);
        let ready = |(generation, _): &(u64, Waker)| all || *generation <= limit;
        let keys: Vec<u64> =
            self.wakers.iter().filter(|(_, entry)| ready(entry)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.wakers.remove(key)).map(|(_, waker)| waker).collect()
    }

    fn register(&mut self, key: Option<u64>, position: Position, waker: &Waker) -> u64 {
        let key = key.unwrap_or_else(|| {
            self.next_key += 1;
            self.next_key
        });
        self.wakers.insert(key, (position.generation, waker.clone()));
        key
    }
}

/// Waits without a thread until a position is durable. See [`crate::Log::durable`].
#[derive(Debug)]
pub struct Durable {
    log: Arc<Shared>,
    position: Position,
    key: Option<u64>,
}

impl Durable {
    pub(super) fn new(log: Arc<Shared>, position: Position) -> Self {
        Self { log, position, key: None }
    }
}

impl Future for Durable {
    type Output = Result<Lsn, LogError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.log.core.drive_for_poll(&self.log, self.position);
        let this = &mut *self;
        let mut progress = lock(&this.log.progress);
        if let Some(outcome) = progress.outcome(this.position) {
            if let Some(key) = this.key.take() {
                progress.wakers.remove(&key);
            }
            return Poll::Ready(outcome);
        }
        this.key = Some(progress.register(this.key, this.position, context.waker()));
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            lock(&self.log.progress).wakers.remove(&key);
        }
    }
}
