//! AUTO_INCREMENT over the partitions of a table.
//!
//! Each partition keeps the numbers that its rows used, so that none comes twice after a restart.
//! Which partition a row belongs to may depend on its number, so numbers are given out here, one
//! counter for each table; it starts behind what all partitions have used.
//!
//! In a cluster several aggregators give numbers to rows of one table. Each takes ranges from the table's first
//! partition, which gives none twice; a range that was used up is followed by a larger one. So numbers of different
//! aggregators are not in the order of time, and what is left of a range when an aggregator stops is skipped. A number
//! that a client gives itself is known to the other aggregators if it is above all ranges that were given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use resprout_engine::Error;
use resprout_engine::table::system::{Sequence, number_from_bytes, sequence_key};
use resprout_engine::table::{Table, TableId};

use crate::beside::beside_tasks;
use crate::place::{Database, Partition};

/// Numbers of the first range that an aggregator takes.
const RANGE_MIN: u64 = 1_000;
/// Numbers of a range at most.
const RANGE_MAX: u64 = 1 << 20;

/// The counters of all tables that were inserted into.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    counters: Mutex<HashMap<(u32, TableId), Kept>>,
}

/// What is kept of a table.
#[derive(Clone, Debug)]
enum Kept {
    /// Nobody else counts: the next number.
    Alone(Arc<AtomicU64>),
    /// Other aggregators do, too.
    Shared(Arc<Mutex<Range>>),
}

/// Numbers that are this aggregator's.
#[derive(Debug)]
struct Range {
    next: u64,
    /// The first that is not ours any more.
    end: u64,
    /// How many are taken next.
    count: u64,
}

/// A table's counter.
#[derive(Debug)]
pub(crate) struct Counter {
    table: TableId,
    /// Who gives ranges, where it is now.
    giver: Partition,
    kept: Kept,
}

impl Sequences {
    /// The counter of a table. Blocks in a cluster.
    ///
    /// # Errors
    /// If a partition does not serve: it may have used any number.
    pub(crate) fn of(&self, database: &Database, table: &Table) -> Result<Counter, Error> {
        let id = (database.number(), table.id());
        let known = self.counters().get(&id).cloned();
        let kept = match known {
            Some(kept) => kept,
            None => {
                let first = kept(database, table)?;
                // Somebody else may have looked, too: there is one counter.
                self.counters().entry(id).or_insert(first).clone()
            }
        };
        Ok(Counter { table: table.id(), giver: database.partition(0), kept })
    }

    /// Forgets the counters of a table that is gone.
    pub(crate) fn forget(&self, database: u32, table: TableId) {
        self.counters().remove(&(database, table));
    }

    fn counters(&self) -> MutexGuard<'_, HashMap<(u32, TableId), Kept>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A counter behind everything that is used.
fn kept(database: &Database, table: &Table) -> Result<Kept, Error> {
    let key = sequence_key(table.id(), Sequence::Column);
    let mut next = 1;
    for partition in database.partitions() {
        let free = partition.raw(&key)?.as_deref().and_then(number_from_bytes).unwrap_or(1);
        next = next.max(free);
    }
    Ok(match database {
        Database::Near(_) => Kept::Alone(Arc::new(next.into())),
        Database::Far(_) => {
            Kept::Shared(Arc::new(Mutex::new(Range { next, end: next, count: RANGE_MIN })))
        }
    })
}

impl Counter {
    /// The next number. Blocks if a range has to be taken.
    ///
    /// # Errors
    /// If whoever gives ranges does not serve.
    pub(crate) fn next(&self) -> Result<u64, Error> {
        match &self.kept {
            Kept::Alone(next) => Ok(next.fetch_add(1, Ordering::Relaxed)),
            Kept::Shared(range) => self.with(range, |now| {
                if now.next >= now.end {
                    self.take(now)?;
                }
                let number = now.next;
                // The last number that there is comes again, and is refused as a duplicate.
                now.next = number.saturating_add(1);
                Ok(number)
            }),
        }
    }

    /// A number was given by a client; the next one is greater. Blocks if a range has to be taken.
    ///
    /// # Errors
    /// As [`Counter::next`].
    pub(crate) fn used(&self, number: u64) -> Result<(), Error> {
        let next = number.saturating_add(1);
        match &self.kept {
            Kept::Alone(counter) => {
                counter.fetch_max(next, Ordering::Relaxed);
                Ok(())
            }
            Kept::Shared(range) => self.with(range, |now| {
                now.next = now.next.max(next);
                // Others take ranges behind this one.
                if now.next > now.end { self.take(now) } else { Ok(()) }
            }),
        }
    }

    /// Whoever waits for a range must not keep the tasks of its thread from bringing it.
    fn with<T>(
        &self,
        range: &Mutex<Range>,
        work: impl FnOnce(&mut Range) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match range.try_lock() {
            Ok(mut now) => work(&mut now),
            Err(_) => {
                beside_tasks(|| work(&mut range.lock().unwrap_or_else(PoisonError::into_inner)))
            }
        }
    }

    fn take(&self, now: &mut Range) -> Result<(), Error> {
        let first = self.giver.take_numbers(self.table, now.next, now.count)?;
        let end = first.saturating_add(now.count);
        *now = Range { next: first, end, count: (now.count * 2).min(RANGE_MAX) };
        Ok(())
    }
}
