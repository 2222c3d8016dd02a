//! The thinnest whole path: make, write, crash, come back, rewind.

use std::ops::ControlFlow;
use std::sync::Arc;

use resprout_engine::table::{Table, TableSchema, Value};
use resprout_engine::{DatabaseOptions, Durability, Engine, Options, Partition, State};
use resprout_wal::World;
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::world::{SimClock, SimEntropy};

fn schema() -> TableSchema {
    TableSchema::builder("t")
        .column("id", "bigint")
        .column("name", "varchar(100)")
        .primary_key(&["id"])
        .index("by_name", &["name"])
        .build()
        .expect("a sound schema")
}

fn row(id: i64, name: &str) -> Vec<Value> {
    vec![Value::Int(id), Value::Text(name.to_owned())]
}

fn rows(partition: &Partition, table: &Table) -> Vec<String> {
    let mut seen = Vec::new();
    let txn = partition.begin().expect("online");
    txn.scan(table, &table.rows(), |row| {
        let values = row.values().expect("a good row");
        seen.push(format!("{}={}", values[0], values[1]));
        ControlFlow::Continue(())
    })
    .expect("a scan of good rows");
    seen
}

fn put(partition: &Partition, table: &Arc<Table>, id: i64, name: &str) {
    let mut txn = partition.begin().expect("online");
    txn.insert(table, &row(id, name)).expect("a new row");
    txn.commit().expect("a commit");
}

fn options(disk: &SimDisk) -> Options {
    let world = World {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::default()),
        entropy: Arc::new(SimEntropy::new(7)),
    };
    Options::simulated(world)
}

/// What was committed is there after a crash, from the log alone and from a snapshot and the log.
#[test]
fn committed_rows_survive_a_crash() {
    let mut disk = SimDisk::new(1);
    for round in 0..4_i64 {
        let engine = Engine::open("/data", options(&disk)).expect("a good directory");
        let database = engine.database("d").unwrap_or_else(|_| {
            let options = DatabaseOptions { partitions: 1, durability: Durability::Sync };
            let database = engine.create_database("d", options).expect("room for a database");
            database.create_table(&schema()).expect("a table");
            database
        });
        let partition = &database.partitions()[0];
        assert_eq!(partition.state(), State::Online, "{:?}", partition.status().error);
        let table = partition.table("t").expect("the table came back");
        let expected: Vec<String> = (0..round).map(|id| format!("{id}=row {id}")).collect();
        assert_eq!(rows(partition, &table), expected);
        put(partition, &table, round, &format!("row {round}"));
        if round == 1 {
            partition.snapshot().expect("a snapshot");
        }
        disk = disk.crash(round as u64);
    }
}

/// Rewinding takes back what came after, in memory and after a restart.
#[test]
fn rewinding_takes_back_what_came_after() {
    let disk = SimDisk::new(2);
    let engine = Engine::open("/data", options(&disk)).expect("a good directory");
    let options_one = DatabaseOptions { partitions: 1, durability: Durability::Sync };
    let database = engine.create_database("d", options_one).expect("room for a database");
    let partition = &database.partitions()[0];
    let table = partition.create_table(schema()).expect("a table");
    put(partition, &table, 1, "one");
    let middle = partition.status().committed;
    put(partition, &table, 2, "two");
    put(partition, &table, 3, "three");
    let report = partition.rewind(middle).expect("a position between groups");
    assert_eq!(rows(partition, &table), ["1=one"], "{report:?}");
    put(partition, &table, 4, "four");
    let disk = disk.crash(3);
    let engine = Engine::open("/data", options(&disk)).expect("a good directory");
    let partition = &engine.database("d").expect("it was made").partitions()[0].clone();
    assert_eq!(rows(partition, &table), ["1=one", "4=four"]);
}

/// A real directory with threads: close is clean, and the term goes on.
#[test]
fn clean_close_keeps_the_term() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut terms = Vec::new();
    for round in 0..3_i64 {
        let options = Options { slot_bytes: 1 << 20, ..Options::default() };
        let engine = Engine::open(dir.path(), options).expect("a good directory");
        if round == 0 {
            let database = engine.create_database("d", DatabaseOptions::default()).expect("room");
            database.create_table(&schema()).expect("a table");
        }
        let database = engine.database("d").expect("it was made");
        let partition = &database.partitions()[0];
        assert_eq!(partition.state(), State::Online, "{:?}", partition.status().error);
        let table = partition.table("t").expect("the table came back");
        put(partition, &table, round, "x");
        assert_eq!(rows(partition, &table).len(), 1 + round as usize);
        terms.push(partition.status().term);
        engine.close().expect("a clean end");
    }
    assert_eq!(terms[0], terms[2]);
}

/// A view that is kept follows the commits when it is asked to, and is refused to another partition.
#[test]
fn a_kept_view_follows_the_commits() {
    let engine = Engine::open("/data", options(&SimDisk::new(1))).expect("a good directory");
    let options = DatabaseOptions { partitions: 2, durability: Durability::Sync };
    let database = engine.create_database("d", options).expect("a new name");
    database.create_table(&schema()).expect("a new table");
    let [first, second] = database.partitions() else { panic!("two partitions") };
    let table = first.table("t").expect("the table");
    let mut view = first.view().expect("online");
    let key = table.primary_key(&[Value::Int(1)]).expect("a key");
    put(first, &table, 1, "one");
    assert!(view.get(&key).is_none());
    assert!(first.refresh(&mut view).expect("online"));
    assert!(view.get(&key).is_some());
    assert!(!first.refresh(&mut view).expect("online"));
    let foreign = std::panic::AssertUnwindSafe(|| second.refresh(&mut view).map(drop));
    assert!(std::panic::catch_unwind(foreign).is_err(), "a view of another partition");
}

/// Several scans of one view see one moment, with the transaction's own writes over it.
#[test]
fn scans_of_a_view_see_one_moment() {
    let disk = SimDisk::new(5);
    let engine = Engine::open("/data", options(&disk)).expect("a good directory");
    let options = DatabaseOptions { partitions: 1, durability: Durability::Sync };
    let database = engine.create_database("d", options).expect("a new database");
    database.create_table(&schema()).expect("a new table");
    let partition = &database.partitions()[0];
    let table = partition.table("t").expect("there");
    put(partition, &table, 1, "a");
    let mut txn = partition.begin().expect("online");
    txn.insert(&table, &row(3, "own")).expect("a new row");
    let view = txn.view().expect("online");
    put(partition, &table, 2, "b");
    let seen = |by_index: bool| {
        let mut seen = Vec::new();
        let visit = |row: &resprout_engine::table::RowView<'_>| {
            seen.push(row.values().expect("a good row")[0].to_string());
            ControlFlow::Continue(())
        };
        if by_index {
            let index = &table.schema().indexes[0];
            let range = table.index_range(index, &[]).expect("a range");
            txn.scan_index_at(&view, (&table, index), &range, visit).expect("good rows");
        } else {
            txn.scan_at(&view, &table, &table.rows(), visit).expect("good rows");
        }
        seen
    };
    assert_eq!(seen(false), ["1", "3"]);
    assert_eq!(seen(true), ["1", "3"]);
    assert_eq!(rows(partition, &table).len(), 2);
}
