//! AUTO_INCREMENT over the partitions of a table.
//!
//! Each partition keeps the numbers that its rows used, so that none comes twice after a restart.
//! Which partition a row belongs to may depend on its number, so numbers are given out here, one
//! counter for each table; it starts behind what all partitions have used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use resprout_engine::Error;
use resprout_engine::table::system::{Sequence, number_from_bytes, sequence_key};
use resprout_engine::table::{Table, TableId};

use crate::place::Database;

/// The counters of all tables that were inserted into.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    counters: Mutex<HashMap<(u32, TableId), Arc<AtomicU64>>>,
}

impl Sequences {
    /// The counter of a table: the next number that is free.
    ///
    /// # Errors
    /// If a partition does not serve: it may have used any number.
    pub(crate) fn of(&self, database: &Database, table: &Table) -> Result<Counter, Error> {
        let id = (database.number(), table.id());
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(&id) {
            return Ok(Counter(Arc::clone(counter)));
        }
        let key = sequence_key(table.id(), Sequence::Column);
        let mut next = 1;
        for partition in database.partitions() {
            let free = partition.raw(&key)?.as_deref().and_then(number_from_bytes).unwrap_or(1);
            next = next.max(free);
        }
        let counter = Arc::new(AtomicU64::new(next));
        counters.insert(id, Arc::clone(&counter));
        Ok(Counter(counter))
    }

    /// Forgets the counters of a table that is gone.
    pub(crate) fn forget(&self, database: u32, table: TableId) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.remove(&(database, table));
    }
}

/// A table's counter.
#[derive(Clone, Debug)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// A number was given by a client; the next one is greater.
    pub(crate) fn used(&self, number: u64) {
        self.0.fetch_max(number.saturating_add(1), Ordering::Relaxed);
    }
}
