//! Rows that still wait to be safe, beside snapshots. Row D33.

use resprout_engine::table::{TableSchema, Value};
use resprout_engine::{DatabaseOptions, Durability, Engine, Partition};
use resprout_snapshot::Snapshot;
use resprout_wal::Lsn;
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::world::Rng;

use crate::contents::contents;
use crate::harness::{open, seeds};

fn make(engine: &Engine) -> Partition {
    let options = DatabaseOptions { partitions: 1, durability: Durability::Async };
    let database = engine.create_database("d", options).expect("a new database");
    let schema = TableSchema::builder("t").column("id", "bigint").column("pad", "text");
    let schema = schema.primary_key(&["id"]).build().expect("a sound schema");
    database.create_table(&schema).expect("a new table");
    database.partitions()[0].clone()
}

/// Appends a row; where the group begins that it went into.
fn put(partition: &Partition, id: i64, bytes: usize) -> Lsn {
    let table = partition.table("t").expect("it was made");
    let mut txn = partition.begin().expect("online");
    txn.insert(&table, &[Value::Int(id), Value::Text("x".repeat(bytes))]).expect("a new row");
    txn.commit().expect("appended").position.expect("a row was written").start
}

fn rows(partition: &Partition) -> i64 {
    let rows = contents(partition)["t"].iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    let expected: Vec<Value> = (0..rows.len() as i64).map(Value::Int).collect();
    assert_eq!(rows, expected, "rows in order, each once");
    rows.len() as i64
}

/// D33: a row that readers see and that still waits for the disk is never in a snapshot, however
/// often one is taken meanwhile. After a power loss that takes these rows nothing of them comes
/// back, nothing is applied twice, and their keys are free.
#[test]
fn d33_rows_that_wait_are_in_no_snapshot() {
    let (mut waited, mut lost) = (0, 0);
    for seed in seeds(60) {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        disk.forget_unflushed();
        let engine = open(&disk, 0);
        let partition = make(&engine);
        while engine.turn() {}
        let mut starts = Vec::new();
        // Durable positions stand at ends of groups: what began before one ends before it too.
        let safe = |starts: &[Lsn]| {
            let durable = partition.status().durable;
            starts.iter().filter(|start| **start < durable).count() as i64
        };
        for _ in 0..60 {
            match rng.below(6) {
                0 | 1 => {
                    engine.turn();
                }
                2 => {
                    let before = rows(&partition);
                    let taken = partition.snapshot().expect("a snapshot");
                    let snapshot = Snapshot::open(&disk, &taken.path, None).expect("it is whole");
                    assert!(snapshot.lsn() <= partition.status().durable, "seed {seed}");
                    // Beside the rows there are those that the partition keeps of itself.
                    let own = snapshot.rows() as i64 - 3;
                    assert_eq!(own, safe(&starts), "seed {seed}: {before} rows are seen");
                    waited += before - own;
                }
                _ => {
                    let bytes = [10, 4_000, 60_000][rng.below(3) as usize];
                    starts.push(put(&partition, starts.len() as i64, bytes));
                }
            }
        }
        let (written, safe) = (starts.len() as i64, safe(&starts));
        let disk = disk.crash(seed);
        drop((partition, engine));
        let engine = open(&disk, 1);
        let partition = engine.database("d").expect("it was made").partitions()[0].clone();
        // Another flush of the same file may have saved more than the log knew.
        let there = rows(&partition);
        assert!((safe..=written).contains(&there), "seed {seed}: {there} of {safe} to {written}");
        lost += written - there;
        for id in there..=written {
            put(&partition, id, 10);
        }
        assert_eq!(rows(&partition), written + 1, "seed {seed}");
    }
    let few = seeds(60).end - seeds(60).start < 60;
    assert!(few || waited > 100 && lost > 100, "{waited} waited, {lost} lost");
}
