//! The process that is killed. It builds the data set and then goes on writing until it dies; what
//! it reports as acknowledged must be there afterwards.
//!
//! ```text
//!  load ─► snapshot ─► log fraction ─► "ready …" ─► tail: one row version after the other ─► SIGKILL
//! ```
//!
//! On stdout, one `write` per line: `ready <snapshot bytes> <log bytes> <load seconds>`, then
//! `<partition> <version>` after each acknowledged commit of the tail. A commit of the tail sets
//! all tail rows of its partition to the next version: half a transaction would show as two
//! versions.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use resprout_engine::table::{ColumnId, Table, Value};
use resprout_engine::{Database, Durability, Error, Partition};

use crate::access::DiskChoice;
use crate::bench::dataset::{Dataset, shuffle};
use crate::bench::testbed::{self, TABLE, failed, for_each_partition, id, insert_all, keys_of};
use crate::commands::bench::io_failed;
use crate::failure::Failure;

/// Rows of a transaction of the log fraction.
const LOG_BATCH: usize = 100;
/// Rows that the tail of one partition changes, at most.
pub(super) const TAIL_ROWS: usize = 10;
/// First version of the tail.
pub(super) const TAIL_VERSION: u32 = 2;

/// What is built.
#[derive(Args, Clone, Debug)]
pub struct WriterArgs {
    /// Data directory
    #[arg(long)]
    pub data: PathBuf,
    /// Number of rows
    #[arg(long)]
    pub rows: u64,
    /// Bytes of a payload
    #[arg(long)]
    pub row_bytes: usize,
    /// Partitions
    #[arg(long)]
    pub partitions: u32,
    /// Share of the rows that goes through the log
    #[arg(long)]
    pub log_fraction: f64,
    /// Secondary indexes
    #[arg(long)]
    pub secondary_indexes: u32,
    /// What everything follows from
    #[arg(long)]
    pub seed: u64,
    /// Disk backend
    #[arg(long, value_enum, default_value_t)]
    pub disk: DiskChoice,
}

/// Builds, reports, and writes until killed.
///
/// # Errors
/// Of the engine; being killed is the normal end.
pub fn run(args: &WriterArgs) -> Result<(), Failure> {
    let began = Instant::now();
    let data = Dataset::new(args.rows, args.row_bytes, args.seed, args.log_fraction);
    let (engine, database) = testbed::create(
        &args.data,
        testbed::options(args.disk)?,
        (args.partitions, Durability::Sync),
        (args.row_bytes, args.secondary_indexes),
    )?;
    testbed::load(&database, &data).map_err(|error| failed(&error))?;
    let snapshots = for_each_partition(&database, Partition::snapshot);
    snapshots.map_err(|error| failed(&error))?;
    let before: u64 = engine.status().partitions.iter().map(|p| p.end.0).sum();
    let logged = for_each_partition(&database, |partition| write_log(&database, partition, &data));
    logged.map_err(|error| failed(&error))?;
    let status = engine.status();
    let log_bytes = status.partitions.iter().map(|p| p.end.0).sum::<u64>() - before;
    let snapshot_bytes: u64 = status.partitions.iter().map(|p| p.snapshot_bytes).sum();
    let seconds = began.elapsed().as_secs_f64();
    say(&format!("ready {snapshot_bytes} {log_bytes} {seconds}\n"))?;
    std::thread::scope(|scope| {
        let tails = database
            .partitions()
            .iter()
            .map(|partition| scope.spawn(|| write_tail(&database, partition, &data)));
        let tails: Vec<_> = tails.collect();
        tails.into_iter().try_for_each(|tail| {
            tail.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// One system call per line, so that the line is in the pipe before anything else happens.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let said = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    said.map_err(io_failed("report to the bench"))
}

fn write_log(database: &Database, partition: &Partition, data: &Dataset) -> Result<(), Error> {
    if data.held == 0 {
        return Ok(());
    }
    let table = partition.table(TABLE)?;
    let mut keys = keys_of(database, &table, partition.ordinal(), 0..data.rows)
        .filter(|key| !key.as_ref().is_ok_and(|key| !data.is_held(*key) && !data.is_updated(*key)))
        .collect::<Result<Vec<u64>, Error>>()?;
    shuffle(&mut keys, data.seed ^ u64::from(partition.ordinal()));
    // Inserts and updates stay in their shuffled order inside each transaction.
    for batch in keys.chunks(LOG_BATCH) {
        let mut txn = partition.begin()?;
        for key in batch {
            if data.is_held(*key) {
                txn.insert(&table, &testbed::row(data, &table, *key, 1))?;
            } else {
                let payload = (payload_column(&table), Value::Bytes(data.payload(*key, 1)));
                txn.update(&table, &[id(*key)], &[payload])?;
            }
        }
        txn.commit()?;
    }
    Ok(())
}

fn payload_column(table: &Table) -> ColumnId {
    *table.live().last().expect("the bench's table has its payload last")
}

/// The rows that the tail of a partition changes: its first that the log leaves alone.
///
/// # Errors
/// Of the engine.
pub(super) fn tail_keys(
    database: &Database,
    partition: &Partition,
    data: &Dataset,
) -> Result<Vec<u64>, Error> {
    let table = partition.table(TABLE)?;
    let keys = keys_of(database, &table, partition.ordinal(), 0..data.rows);
    let untouched = keys
        .filter(|key| !key.as_ref().is_ok_and(|key| data.is_held(*key) || data.is_updated(*key)));
    untouched.take(TAIL_ROWS).collect()
}

fn write_tail(database: &Database, partition: &Partition, data: &Dataset) -> Result<(), Failure> {
    let keys = tail_keys(database, partition, data).map_err(|error| failed(&error))?;
    if keys.is_empty() {
        return Ok(());
    }
    for version in TAIL_VERSION.. {
        write_version(partition, data, &keys, version).map_err(|error| failed(&error))?;
        say(&format!("{} {version}\n", partition.ordinal()))?;
    }
    Ok(())
}

fn write_version(
    partition: &Partition,
    data: &Dataset,
    keys: &[u64],
    version: u32,
) -> Result<(), Error> {
    let table = partition.table(TABLE)?;
    let mut txn = partition.begin()?;
    for key in keys {
        let payload = (payload_column(&table), Value::Bytes(data.payload(*key, version)));
        txn.update(&table, &[id(*key)], &[payload])?;
    }
    txn.commit().map(|_| ())
}

/// Used by `bench replay`: everything through the log, in the order of the keys.
///
/// # Errors
/// Of the engine.
pub fn write_all(database: &Database, data: &Dataset) -> Result<u64, Error> {
    let counts = for_each_partition(database, |partition| {
        let table = partition.table(TABLE)?;
        let mut keys = keys_of(database, &table, partition.ordinal(), 0..data.rows)
            .collect::<Result<Vec<u64>, Error>>()?;
        shuffle(&mut keys, data.seed ^ u64::from(partition.ordinal()));
        insert_all(partition, data, keys.into_iter().map(Ok), (0, LOG_BATCH))
    })?;
    Ok(counts.iter().sum())
}
