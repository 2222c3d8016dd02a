//! The engine as the benches use it: one database, one table `rows(id, payload)`, and the work on
//! it that several benches share.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use resprout_engine::table::{Table, TableSchema, Value};
use resprout_engine::{Database, DatabaseOptions, Durability, Engine, Error, Options, Partition};

use super::dataset::{Dataset, MAX_ROW_BYTES, MIN_ROW_BYTES};
use crate::access::{self, DiskChoice, explain};
use crate::failure::{Exit, Failure};

/// The database.
pub const DATABASE: &str = "bench";
/// The table.
pub const TABLE: &str = "rows";

/// Options of a bench: snapshots are taken when the bench says so, and nothing slows them down.
///
/// # Errors
/// If the disk backend is refused.
pub fn options(disk: DiskChoice) -> Result<Options, Failure> {
    let mut options = access::options(disk)?;
    options.snapshot_trigger_size = u64::MAX;
    options.recovery_time_target = None;
    options.snapshot_bytes_per_s = u64::MAX;
    Ok(options)
}

/// Opens `dir` and makes the database and its table.
///
/// # Errors
/// Of the engine.
pub fn create(
    dir: &Path,
    options: Options,
    (partitions, durability): (u32, Durability),
    (row_bytes, secondary_indexes): (usize, u32),
) -> Result<(Engine, Database), Failure> {
    let engine = access::open(dir, options)?;
    let database = engine.create_database(DATABASE, DatabaseOptions { partitions, durability });
    let database = database.map_err(|error| failed(&error))?;
    let mut schema = TableSchema::builder(TABLE).column("id", "bigint");
    for number in 0..secondary_indexes {
        schema = schema.column(&format!("k{number}"), "bigint");
    }
    schema = schema.column("payload", &format!("varbinary({row_bytes})")).primary_key(&["id"]);
    for number in 0..secondary_indexes {
        schema = schema.index(&format!("by_k{number}"), &[&format!("k{number}")]);
    }
    let schema = schema.build().map_err(|error| failed(&error.into()))?;
    database.create_table(&schema).map_err(|error| failed(&error))?;
    Ok((engine, database))
}

/// What the engine refused during a bench.
#[must_use]
pub fn failed(error: &Error) -> Failure {
    explain("the bench cannot go on", error)
}

/// Data that is not what was written: the one thing a bench must never hide.
#[must_use]
pub fn wrong(what: impl std::fmt::Display) -> Failure {
    let fix = "this is a defect: keep the data with --data and report it";
    Failure::new("the data is not what was written", what, fix).exiting(Exit::Damaged)
}

/// Refuses sizes that make no sense.
///
/// # Errors
/// With what is allowed.
pub fn check_sizes(rows: u64, row_bytes: usize, partitions: u32) -> Result<(), Failure> {
    let refuse = |why: String| {
        Err(Failure::new("cannot run the bench", why, "see --help").exiting(Exit::Usage))
    };
    if rows == 0 {
        return refuse("--rows must be at least 1".into());
    }
    if !(MIN_ROW_BYTES..=MAX_ROW_BYTES).contains(&row_bytes) {
        return refuse(format!("--row-bytes must be {MIN_ROW_BYTES} to {MAX_ROW_BYTES}"));
    }
    if !(1..=resprout_engine::MAX_PARTITIONS).contains(&partitions) {
        return refuse(format!("--partitions must be 1 to {}", resprout_engine::MAX_PARTITIONS));
    }
    Ok(())
}

/// A row as values, in the order of the table.
#[must_use]
pub fn row(data: &Dataset, table: &Table, key: u64, version: u32) -> Vec<Value> {
    let mut values = vec![id(key)];
    // Secondary keys spread over all of their range, so that their indexes are written at random.
    let extra = table.live().len() - 2;
    values.extend((0..extra).map(|number| id(secondary(key, number))));
    values.push(Value::Bytes(data.payload(key, version)));
    values
}

/// The key as a value.
#[must_use]
pub fn id(key: u64) -> Value {
    Value::Int(i64::from_ne_bytes(key.to_ne_bytes()))
}

/// Value of a secondary column: a permutation of 64 bits.
#[must_use]
pub fn secondary(key: u64, number: usize) -> u64 {
    key.wrapping_add(number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The keys of `range` that live in `partition`, in order.
pub fn keys_of<'a>(
    database: &'a Database,
    table: &'a Arc<Table>,
    partition: u32,
    mut range: std::ops::Range<u64>,
) -> impl Iterator<Item = Result<u64, Error>> + 'a {
    std::iter::from_fn(move || {
        range.by_ref().find_map(|key| match database.partition_of(table, &[id(key)]) {
            Ok(home) => (home.ordinal() == partition).then_some(Ok(key)),
            Err(error) => Some(Err(error)),
        })
    })
}

/// Inserts keys in transactions of `batch` rows; how many.
///
/// # Errors
/// Of the engine.
pub fn insert_all(
    partition: &Partition,
    data: &Dataset,
    keys: impl Iterator<Item = Result<u64, Error>>,
    (version, batch): (u32, usize),
) -> Result<u64, Error> {
    let table = partition.table(TABLE)?;
    let mut count = 0;
    let mut txn = partition.begin()?;
    for key in keys {
        txn.insert(&table, &row(data, &table, key?, version))?;
        count += 1;
        if count % batch as u64 == 0 {
            std::mem::replace(&mut txn, partition.begin()?).commit()?;
        }
    }
    txn.commit()?;
    Ok(count)
}

/// Runs `work` once for each partition, on all processors; the first error.
///
/// # Errors
/// Of `work`.
pub fn for_each_partition<T: Send, E: Send>(
    database: &Database,
    work: impl Fn(&Partition) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let partitions = database.partitions();
    let count = processors().clamp(1, partitions.len());
    let next = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            while let Some(partition) =
                partitions.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
            {
                done.push(work(partition)?);
            }
            Ok(done)
        };
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(worker)).collect();
        let mut all = Vec::new();
        for worker in workers {
            let done: Result<Vec<T>, E> =
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.extend(done?);
        }
        Ok(all)
    })
}

/// Processors of this machine.
#[must_use]
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Loads all keys that are not held back, in version 0.
///
/// # Errors
/// Of the engine.
pub fn load(database: &Database, data: &Dataset) -> Result<u64, Error> {
    let loaded = for_each_partition(database, |partition| {
        let table = partition.table(TABLE)?;
        let keys = keys_of(database, &table, partition.ordinal(), 0..data.rows);
        let keys = keys.filter(|key| !key.as_ref().is_ok_and(|key| data.is_held(*key)));
        insert_all(partition, data, keys, (0, LOAD_BATCH))
    })?;
    Ok(loaded.iter().sum())
}

/// Rows of a transaction while loading.
const LOAD_BATCH: usize = 1000;
