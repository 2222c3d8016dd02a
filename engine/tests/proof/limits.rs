//! What the engine does at its limits: memory, disk space, waits, panics, a second process. Rows
//! D21, D24, D33, D38, P13, P14, P16.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use resprout_engine::table::{Table, TableSchema, Value};
use resprout_engine::{DatabaseOptions, Durability, Engine, Error, Options, Partition, State};
use resprout_wal::disk::sim::SimDisk;

use crate::contents::{contents, node};
use crate::harness::{DIR, open, options, try_open};

fn make(engine: &Engine, partitions: u32) -> Vec<Partition> {
    let options = DatabaseOptions { partitions, durability: Durability::Sync };
    let database = engine.create_database("d", options).expect("a new database");
    let schema = TableSchema::builder("t")
        .column("id", "bigint")
        .column("pad", "text")
        .primary_key(&["id"])
        .build();
    database.create_table(&schema.expect("a sound schema")).expect("a new table");
    database.partitions().to_vec()
}

fn table(partition: &Partition) -> Arc<Table> {
    partition.table("t").expect("it was made")
}

fn put(partition: &Partition, key: i64, bytes: usize) -> Result<(), Error> {
    let table = table(partition);
    let mut txn = partition.begin()?;
    txn.insert(&table, &[Value::Int(key), Value::Text("x".repeat(bytes))])?;
    txn.commit().map(drop)
}

fn delete(partition: &Partition, key: i64) -> Result<(), Error> {
    let table = table(partition);
    let mut txn = partition.begin()?;
    assert!(txn.delete(&table, &[Value::Int(key)])?, "row {key} is there");
    txn.commit().map(drop)
}

/// P13, P14: at the memory limit writes are refused with a clear error and reads go on; removing
/// rows makes room; a restart with a smaller limit loads everything that was accepted.
#[test]
fn p13_p14_memory_limit() {
    const MAXIMUM: u64 = 16 << 20;
    let disk = SimDisk::new(1);
    let small = |disk: &SimDisk, run| Options {
        maximum_memory: MAXIMUM,
        rewind_roots: 0,
        slot_bytes: 1 << 20,
        ..options(disk, run)
    };
    let engine = Engine::open(DIR, small(&disk, 1)).expect("a new directory");
    let partition = &make(&engine, 1)[0];
    let mut accepted = 0;
    let refusal = loop {
        match put(partition, accepted, 20_000) {
            Ok(()) => accepted += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refusal, Error::MemoryLimit { limit: MAXIMUM, .. }), "{refusal}");
    assert!(refusal.is_retryable() && accepted > 100, "{accepted} rows");
    assert!(engine.status().memory_bytes <= MAXIMUM);
    let full = contents(partition);
    assert_eq!(full["t"].len(), accepted as usize, "reads go on");
    // A refused row left nothing, and removing rows is the way out.
    for key in 0..accepted / 2 {
        delete(partition, key).expect("removing rows is always let in");
    }
    for key in 0..accepted / 4 {
        put(partition, key, 20_000).expect("there is room again");
    }
    let before = node(&engine);
    let disk = disk.crash(1);
    drop(engine);
    let smaller = Options { maximum_memory: 8 << 20, ..small(&disk, 2) };
    let engine = Engine::open(DIR, smaller).expect("the directory opens");
    assert_eq!(node(&engine), before, "recovery refused rows that were accepted");
    let partition = &engine.databases()[0].partitions()[0].clone();
    let mut more = 1_000_000..1_001_000;
    let refused = more.find_map(|key| put(partition, key, 20_000).err());
    assert!(matches!(refused, Some(Error::MemoryLimit { .. })), "{refused:?}");
    delete(partition, 0).expect("removing rows is always let in");
}

/// D21: a full device refuses commits with a clear error, changes nothing, lets reads go on, and
/// takes commits again as soon as there is space.
#[test]
fn d21_full_device_refuses_and_resumes() {
    let disk = SimDisk::new(1);
    let engine = open(&disk, 1);
    let partitions = make(&engine, 2);
    let used: usize =
        disk.files().iter().filter_map(|path| disk.contents(path)).map(|bytes| bytes.len()).sum();
    disk.set_capacity(Some(used as u64 + (64 << 10)));
    for round in 0..3 {
        let mut key = 1000 * round;
        let refusal = loop {
            match put(&partitions[0], key, 10_000) {
                Ok(()) => key += 1,
                Err(refusal) => break refusal,
            }
        };
        assert!(matches!(refusal, Error::LogFull(_)) && refusal.is_retryable(), "{refusal}");
        let full = contents(&partitions[0]);
        assert!(!full["t"].iter().any(|row| row[0] == Value::Int(key)), "a refused row is there");
        assert_eq!(partitions[0].state(), State::Online);
        let more = disk.clone();
        let used: usize = more
            .files()
            .iter()
            .filter_map(|path| more.contents(path))
            .map(|bytes| bytes.len())
            .sum();
        more.set_capacity(Some(used as u64 + (200 << 10)));
        put(&partitions[0], key, 10_000).expect("space is back");
    }
    disk.set_capacity(None);
    let before = node(&engine);
    let disk = disk.crash(1);
    assert_eq!(node(&open(&disk, 2)), before);
}

/// D24: a snapshot that does not fit leaves the older one, the log and no file of its own.
#[test]
fn d24_full_device_during_a_snapshot() {
    let disk = SimDisk::new(1);
    let engine = open(&disk, 1);
    let partition = &make(&engine, 1)[0];
    for key in 0..20 {
        put(partition, key, 10_000).expect("a commit");
    }
    partition.snapshot().expect("a snapshot");
    put(partition, 20, 10_000).expect("a commit");
    let files = disk.files();
    disk.set_capacity(Some(0));
    let refused = partition.snapshot().expect_err("no space for it");
    assert!(matches!(refused, Error::Snapshot(_)), "{refused}");
    assert_eq!(disk.files(), files);
    disk.set_capacity(None);
    partition.snapshot().expect("space is back");
    let before = node(&engine);
    let disk = disk.crash(1);
    assert_eq!(node(&open(&disk, 2)), before);
}

/// D38: a directory that is open is refused to others at once, and they disturb nothing.
#[test]
fn d38_second_engine_on_a_directory_is_refused() {
    let disk = SimDisk::new(1);
    let first = open(&disk, 1);
    let partition = &make(&first, 1)[0];
    let refused = try_open(&disk, 2).expect_err("the directory is in use");
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    put(partition, 1, 10).expect("the first goes on");
    drop(first);
}

/// P16: a panic in a visitor of rows harms nobody: it holds no lock of the partition.
#[test]
fn p16_panic_in_a_visitor_of_rows() {
    let disk = SimDisk::new(1);
    let engine = open(&disk, 1);
    let partition = &make(&engine, 1)[0];
    put(partition, 1, 10).expect("a commit");
    let table = table(partition);
    let txn = partition.begin().expect("online");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        txn.scan(&table, &table.rows(), |_| panic!("a visitor's own mistake"))
    }));
    assert!(panicked.is_err());
    drop(txn);
    put(partition, 2, 10).expect("others go on");
}

/// A lock wait ends at its limit with the error of MySQL 1205, for threads as for tasks, and the
/// waiter can go on.
#[test]
fn lock_wait_ends_at_its_limit() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = Options {
        slot_bytes: 1 << 20,
        lock_wait_limit: Duration::from_millis(50),
        ..Options::default()
    };
    let engine = Engine::open(dir.path(), options).expect("a new directory");
    let partition = &make(&engine, 1)[0];
    put(partition, 1, 10).expect("a commit");
    let table = table(partition);
    let mut holder = partition.begin().expect("online");
    assert!(holder.delete(&table, &[Value::Int(1)]).expect("a lock"));
    let mut waiter = partition.begin().expect("online");
    let refused = waiter.get_for_update(&table, &[Value::Int(1)]).expect_err("it is locked");
    assert!(matches!(refused, Error::LockWaitTimeout { .. }), "{refused}");
    holder.rollback();
    let row = waiter.get_for_update(&table, &[Value::Int(1)]).expect("it is free");
    assert!(row.is_some());
}

/// Settings that change while an engine runs are checked like those it starts with, hold at once,
/// and are as they were after a refusal.
#[test]
fn settings_change_while_the_engine_runs() {
    let disk = SimDisk::new(1);
    let small = Options { maximum_memory: 8 << 20, ..options(&disk, 1) };
    let engine = Engine::open(DIR, small).expect("a new directory");
    let partition = &make(&engine, 1)[0];
    let refused = (0..).find_map(|key| put(partition, key, 60 << 10).err().map(|e| (key, e)));
    let (next, error) = refused.expect("there is a limit");
    assert!(matches!(error, Error::MemoryLimit { limit, .. } if limit == 8 << 20), "{error}");
    let before = engine.tuning();
    let wrong = engine.tune(|tuning| {
        tuning.maximum_memory = 32 << 20;
        tuning.snapshots_to_keep = 0;
    });
    assert!(matches!(wrong, Err(Error::BadOption { option: "snapshots_to_keep", .. })));
    assert_eq!(engine.tuning(), before);
    assert!(matches!(put(partition, next, 60 << 10), Err(Error::MemoryLimit { .. })));
    engine.tune(|tuning| tuning.maximum_memory = 32 << 20).expect("possible");
    put(partition, next, 60 << 10).expect("there is room now");
    assert_eq!(engine.status().maximum_memory, 32 << 20);
    engine.close().expect("a clean end");
}
