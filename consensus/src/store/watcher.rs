//! Tells how far the writes have come, from whichever thread drove the device.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use resprout_wal::{LogError, Lsn, Observer};
use tokio::sync::watch;

use super::{Progress, StoreError};
use crate::WriteId;

/// Between the store, which knows in which group a write went, and the log, which knows what
/// groups are durable.
#[derive(Debug)]
pub(super) struct Watcher {
    pending: Mutex<Pending>,
    sender: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct Pending {
    /// The newest durable group.
    durable: u64,
    /// The last write in each group that is under way: as many as the log lets be.
    groups: VecDeque<(u64, WriteId)>,
}

impl Watcher {
    pub(super) fn new() -> Arc<Self> {
        let (sender, _) = watch::channel(Progress::default());
        Arc::new(Self { pending: Mutex::default(), sender })
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.sender.subscribe()
    }

    pub(super) fn progress(&self) -> Progress {
        self.sender.borrow().clone()
    }

    /// A write went into a group, which may be durable already.
    pub(super) fn appended(&self, group: u64, write: WriteId) {
        let mut pending = self.lock();
        match pending.groups.back_mut() {
            Some((last, newest)) if *last == group => *newest = write,
            _ => pending.groups.push_back((group, write)),
        }
        self.settle(&mut pending);
    }

    /// The store takes no more writes. The first reason stays.
    pub(super) fn end(&self, error: &StoreError) {
        self.sender.send_if_modified(|progress| {
            let is_first = progress.failed.is_none();
            progress.failed.get_or_insert_with(|| Arc::new(error.clone()));
            is_first
        });
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing in here can be left half done.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of the writes whose groups are durable. With the lock held, so that what is told
    /// grows.
    fn settle(&self, pending: &mut Pending) {
        let mut reached = None;
        while let Some((_, write)) =
            pending.groups.pop_front_if(|(group, _)| *group <= pending.durable)
        {
            reached = Some(write);
        }
        if let Some(durable) = reached {
            self.sender.send_modify(|progress| {
                assert!(durable > progress.durable, "{durable:?} behind {:?}", progress.durable);
                progress.durable = durable;
            });
        }
    }
}

impl Observer for Watcher {
    fn sealed(&self, _generation: u64, _end: Lsn, _frames: &[resprout_wal::Frame]) {}

    fn durable(&self, generation: u64, _end: Lsn) {
        let mut pending = self.lock();
        pending.durable = generation;
        self.settle(&mut pending);
    }

    fn failed(&self, error: &LogError) {
        self.end(&StoreError::Log(error.clone()));
    }
}
