//! A store that forgets when the process ends: for tests, and to try things out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::failure::StorageFailure;
use super::storage::{Durability, Keeper, Storage};
use crate::{Content, Entry, Recovered, Snapshot, Write};

/// Keeps what is written in memory, durable at once. Clones are the same store, so a node that was
/// stopped can be started again from it.
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    recovered: Recovered,
    entries: VecDeque<Entry>,
    told: watch::Sender<Durability<StorageFailure>>,
    failed: Option<StorageFailure>,
}

impl MemoryStorage {
    /// A store that holds what `first` says.
    #[must_use]
    pub fn new(mut first: Recovered) -> Self {
        let entries = VecDeque::from(std::mem::take(&mut first.entries));
        let told = watch::Sender::new(Durability::default());
        let kept = Kept { recovered: first, entries, told, failed: None };
        Self { kept: Arc::new(Mutex::new(kept)) }
    }

    /// What a node that starts now finds.
    #[must_use]
    pub fn recover(&self) -> Recovered {
        let mut kept = self.kept();
        kept.recovered.boot += 1;
        kept.told.send_replace(Durability::default());
        Recovered { entries: kept.entries.iter().cloned().collect(), ..kept.recovered.clone() }
    }

    /// From now on nothing can be written any more.
    pub fn fail(&self, failure: StorageFailure) {
        let mut kept = self.kept();
        kept.failed = Some(failure.clone());
        kept.told.send_modify(|durability| durability.failed = Some(failure));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panicking test must not hide its cause behind a poisoned lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, content: Content) {
        match content {
            Content::Vote(ballot) => self.recovered.ballot = ballot,
            Content::Entries(entries) => {
                let Some(first) = entries.first().map(|entry| entry.id.index) else { return };
                while self.entries.back().is_some_and(|entry| entry.id.index >= first) {
                    self.entries.pop_back();
                }
                self.entries.extend(entries);
            }
            Content::Snapshot { snapshot, base, installed } => {
                while self.entries.front().is_some_and(|entry| entry.id.index <= base.index) {
                    self.entries.pop_front();
                }
                if installed {
                    self.entries.clear();
                }
                self.recovered.base = base;
                self.recovered.snapshot = Some(snapshot);
            }
        }
    }
}

impl Storage for MemoryStorage {
    type Failure = StorageFailure;

    fn write(&mut self, writes: Vec<Write>) -> Result<(), StorageFailure> {
        let mut kept = self.kept();
        if let Some(failure) = &kept.failed {
            return Err(failure.clone());
        }
        for Write { id, content } in writes {
            kept.take(content);
            kept.told.send_modify(|durability| durability.durable = id);
        }
        Ok(())
    }

    fn durability(&self) -> watch::Receiver<Durability<StorageFailure>> {
        self.kept().told.subscribe()
    }

    fn keeper(&self) -> Keeper<StorageFailure> {
        Box::new(|_: &Snapshot| Ok(()))
    }

    fn close(self) -> Result<(), StorageFailure> {
        Ok(())
    }
}
