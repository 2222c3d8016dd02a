//! The second pass: rows go into the partitions, in batches, on all processors.
//!
//! ```text
//!  file ─► rows ─► by partition ─► batches ─┬─► worker 0: partitions 0, 2, 4, …
//!                                           └─► worker 1: partitions 1, 3, 5, …
//! ```
//!
//! A batch is one transaction. Channels are short, so a slow device slows the reader down instead
//! of filling memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use resprout_engine::table::{Table, Value};
use resprout_engine::{Database, Error, Partition};

use super::source::Source;
use super::target::Target;
use crate::access::explain;
use crate::failure::Failure;

/// Rows of one transaction: enough to make its flush cheap, few enough to keep frames short.
const BATCH_ROWS: usize = 1000;
/// Batches waiting for a worker.
const WAITING: usize = 4;

struct Batch {
    partition: usize,
    rows: Vec<Vec<Value>>,
}

/// Loads all rows of the checked file; how many.
///
/// # Errors
/// The first refusal, with how many rows were committed before it.
pub(super) fn fill(
    source: &Source,
    target: &Target,
    database: &Database,
    step: impl FnMut(u64),
) -> Result<u64, Failure> {
    let loaded = AtomicU64::new(0);
    let partitions = database.partitions();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let count = processors.clamp(1, partitions.len());
    let read = thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut workers = Vec::new();
        for _ in 0..count {
            let (sender, batches) = sync_channel(WAITING);
            senders.push(sender);
            let loaded = &loaded;
            workers
                .push(scope.spawn(move || work(partitions, target.table.name(), &batches, loaded)));
        }
        let router = Router::new(database, &target.table, senders);
        let read = route(source, target, router, step);
        let done: Result<(), Error> = workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // A worker that failed is the cause of a reader that could not go on.
        done.map_err(|error| explain(&source.cannot(), &error)).and(read)
    });
    read.map(|()| loaded.load(Ordering::Relaxed))
}

fn work(
    partitions: &[Partition],
    table: &str,
    batches: &Receiver<Batch>,
    loaded: &AtomicU64,
) -> Result<(), Error> {
    for Batch { partition, rows } in batches {
        let partition = &partitions[partition];
        let table = partition.table(table)?;
        let mut txn = partition.begin()?;
        for row in &rows {
            txn.insert(&table, row)?;
        }
        txn.commit()?;
        loaded.fetch_add(rows.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn route(
    source: &Source,
    target: &Target,
    mut router: Router<'_>,
    mut step: impl FnMut(u64),
) -> Result<(), Failure> {
    let mut rows = 0_u64;
    source.for_each(|row| {
        let values = target.values(source, &row)?;
        router.push(values).map_err(|error| explain(&source.cannot(), &error))?;
        rows += 1;
        if rows.is_multiple_of(4096) {
            step(row.offset);
        }
        Ok(())
    })?;
    router.finish().map_err(|error| explain(&source.cannot(), &error))
}

/// Collects rows by partition and hands full batches to the workers.
struct Router<'a> {
    database: &'a Database,
    table: &'a Arc<Table>,
    senders: Vec<SyncSender<Batch>>,
    waiting: Vec<Vec<Vec<Value>>>,
    shard: Vec<usize>,
    shard_values: Vec<Value>,
    /// Rows without a shard key go around.
    next: usize,
}

impl<'a> Router<'a> {
    fn new(database: &'a Database, table: &'a Arc<Table>, senders: Vec<SyncSender<Batch>>) -> Self {
        let shard = table.schema().shard_key.iter().map(|id| table.position(*id)).collect();
        let waiting = database.partitions().iter().map(|_| Vec::new()).collect();
        Self { database, table, senders, waiting, shard, shard_values: Vec::new(), next: 0 }
    }

    fn push(&mut self, values: Vec<Value>) -> Result<(), Error> {
        let partition = self.partition_of(&values)?;
        let batch = &mut self.waiting[partition];
        batch.push(values);
        if batch.len() == BATCH_ROWS {
            self.send(partition)?;
            self.next = (self.next + 1) % self.waiting.len();
        }
        Ok(())
    }

    fn partition_of(&mut self, values: &[Value]) -> Result<usize, Error> {
        if self.shard.is_empty() {
            return Ok(self.next);
        }
        self.shard_values.clear();
        self.shard_values.extend(self.shard.iter().map(|position| values[*position].clone()));
        let partition = self.database.partition_of(self.table, &self.shard_values)?;
        Ok(partition.ordinal() as usize)
    }

    fn send(&mut self, partition: usize) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.waiting[partition]);
        let worker = &self.senders[partition % self.senders.len()];
        // A worker that is gone has failed; its error is the one to tell.
        worker.send(Batch { partition, rows }).map_err(|_| Error::Closing)
    }

    fn finish(mut self) -> Result<(), Error> {
        for partition in 0..self.waiting.len() {
            if !self.waiting[partition].is_empty() {
                self.send(partition)?;
            }
        }
        Ok(())
    }
}
