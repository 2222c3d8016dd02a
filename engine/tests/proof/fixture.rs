//! A data directory of format version 1, kept in the repository: whatever changes, it is read.
//!
//! A new format version gets a fixture of its own; this one stays.

use std::fs;
use std::path::{Path, PathBuf};

use resprout_engine::record::Decision;
use resprout_engine::table::{Change, NewColumn, NewIndex, Table, TableSchema, Value};
use resprout_engine::{
    DatabaseOptions, Durability, Engine, FORMAT_VERSION, Options, Partition, Vote,
};

use crate::contents::{Contents, contents};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn options() -> Options {
    Options { threads: false, slot_bytes: 64 << 10, recovery_threads: 1, ..Options::default() }
}

const TYPES: [(&str, &str); 18] = [
    ("tiny", "tinyint"),
    ("small", "smallint unsigned"),
    ("medium", "mediumint"),
    ("normal", "int unsigned"),
    ("large", "bigint"),
    ("f", "float"),
    ("d", "double"),
    ("exact", "decimal(20,4)"),
    ("c", "char(10)"),
    ("v", "varchar(50)"),
    ("t", "text"),
    ("b", "varbinary(20)"),
    ("bb", "blob"),
    ("day", "date"),
    ("span", "time(3)"),
    ("moment", "datetime(6)"),
    ("stamp", "timestamp"),
    ("j", "json"),
];

fn all_types() -> TableSchema {
    let mut table = TableSchema::builder("all_types").column("id", "bigint unsigned");
    for (name, ty) in TYPES {
        table = table.column(name, ty).nullable(true);
    }
    let table = table.primary_key(&["id"]).auto_increment("id").shard_key(&["id"]);
    let table = table.index("by_text", &["v", "day"]).unique("by_number", &["large"]);
    table.build().expect("a sound schema")
}

/// Row `id` of the table with all types, as text; every third value is NULL.
fn values(id: u64) -> Vec<Value> {
    let text: [String; 18] = [
        format!("-{}", id % 100),
        format!("{}", id * 7),
        format!("-{}", id * 1000),
        format!("{}", 4_000_000_000 + id),
        format!("-{}", id * 1_000_000_007),
        format!("{id}.5"),
        format!("{id}.25"),
        format!("-{id}.1250"),
        format!("c{id}"),
        format!("v{}", id % 5),
        "long text ".repeat(id as usize % 700),
        format!("b{id}"),
        "blob".repeat(id as usize % 40),
        format!("20{:02}-0{}-1{}", id % 100, 1 + id % 9, id % 10),
        format!("-{}:00:01.{:03}", id % 800, id),
        format!("1999-12-31 23:59:59.{id:06}"),
        format!("2024-02-29 00:00:{:02}", id % 60),
        format!("{{\"id\": {id}}}"),
    ];
    let mut row = vec![Value::UInt(id)];
    for (at, (text, (_, ty))) in text.into_iter().zip(TYPES).enumerate() {
        let ty = resprout_engine::table::ColumnType::parse(ty).expect("a type");
        let null = (id as usize + at).is_multiple_of(3);
        row.push(if null { Value::Null } else { ty.parse_text(&text).expect("a value") });
    }
    row
}

fn small() -> TableSchema {
    TableSchema::builder("small")
        .column("a", "int")
        .column("b", "varchar(10)")
        .primary_key(&["a", "b"])
        .build()
        .expect("a sound schema")
}

fn put(partition: &Partition, table: &str, row: &[Value]) {
    let table = partition.table(table).expect("it was made");
    let mut txn = partition.begin().expect("online");
    txn.insert(&table, row).expect("a new row");
    txn.commit().expect("a commit");
}

fn pair(number: i64) -> Vec<Value> {
    vec![Value::Int(number), Value::Text(format!("b{number}"))]
}

/// What each partition holds: `sync` has two partitions, each with rows 1 to 40 of its parity.
fn expected(name: &str) -> Contents {
    let mut contents = Contents::new();
    if name == "async:0" {
        let rows = (-5..5).map(|number| {
            let mut row = pair(number);
            row.push(if number < 2 { Value::Int(7) } else { Value::Int(number) });
            row
        });
        contents.insert("small".to_owned(), rows.collect());
        return contents;
    }
    let parity = u64::from(name == "sync:1");
    let ids = (1..=40).filter(|id| id % 2 == parity && !matches!(id, 20 | 21));
    let rows = ids.map(|id| {
        let mut row = if matches!(id, 7 | 8) { values(id + 1000) } else { values(id) };
        row[0] = Value::UInt(id);
        row
    });
    contents.insert("all_types".to_owned(), rows.collect());
    contents
}

fn assignments(table: &Table, id: u64) -> Vec<(resprout_engine::table::ColumnId, Value)> {
    let columns = table.live()[1..].iter().copied();
    columns.zip(values(id).split_off(1)).collect()
}

/// Fills half of a partition before its snapshot and the rest after it.
fn fill(partition: &Partition, parity: u64) {
    for id in (1..=40).filter(|id| id % 2 == parity) {
        put(partition, "all_types", &values(id));
        if id / 2 == 10 {
            partition.snapshot().expect("a snapshot");
        }
    }
    let table = partition.table("all_types").expect("it was made");
    let mut txn = partition.begin().expect("online");
    for id in [7, 8].into_iter().filter(|id| id % 2 == parity) {
        let changes = assignments(&table, id + 1000);
        assert!(txn.update(&table, &[Value::UInt(id)], &changes).expect("it is there"));
    }
    for id in [20, 21].into_iter().filter(|id| id % 2 == parity) {
        assert!(txn.delete(&table, &[Value::UInt(id)]).expect("it is there"));
    }
    txn.commit().expect("a commit");
}

/// Writes the fixture. Run only for a new format version, into a directory of its own:
/// `cargo test -p resprout-engine --test proof -- --ignored write_the_fixture`.
#[test]
#[ignore = "writes the fixture of a new format version"]
fn write_the_fixture() {
    let dir = fixture();
    assert!(!dir.exists(), "a fixture is written once");
    let engine = Engine::open(&dir, options()).expect("a new directory");
    let sync = DatabaseOptions { partitions: 2, durability: Durability::Sync };
    let database = engine.create_database("sync", sync).expect("a new database");
    database.create_table(&all_types()).expect("a new table");
    for (partition, parity) in database.partitions().iter().zip(0..) {
        fill(partition, parity);
    }
    let home = &database.partitions()[0];
    let table = home.table("all_types").expect("it was made");
    let mut txn = home.begin().expect("online");
    txn.insert(&table, &values(500)).expect("a new row");
    txn.prepare(b"in doubt", &[0]).expect("prepared");
    let quick = DatabaseOptions { partitions: 1, durability: Durability::Async };
    let database = engine.create_database("async", quick).expect("a new database");
    let partition = &database.partitions()[0];
    partition.create_table(small()).expect("a new table");
    (-5..2).for_each(|number| put(partition, "small", &pair(number)));
    let mut column = NewColumn::parse("extra", "int").expect("a type");
    column.default = Some(Value::Int(7));
    partition.alter_table("small", Change::AddColumn(column)).expect("a new column");
    let index = NewIndex::new("by_extra", &["extra"], false);
    partition.alter_table("small", Change::AddIndex(index)).expect("a new index");
    for number in 2..5 {
        let mut row = pair(number);
        row.push(Value::Int(number));
        put(partition, "small", &row);
    }
    engine.close().expect("a clean end");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).expect("a copy");
        }
    }
}

/// I06 from the other side: what version 1 wrote is read, all of it, and goes on.
#[test]
fn i06_directory_of_version_1_is_read() {
    assert_eq!(FORMAT_VERSION, 1, "a new version needs a fixture of its own, and reads this one");
    let dir = tempfile::tempdir().expect("a temporary directory");
    copy(&fixture(), dir.path());
    for round in 0..2 {
        let engine = Engine::open(dir.path(), options()).expect("version 1 opens");
        let databases = engine.databases();
        let partitions: Vec<&Partition> = databases.iter().flat_map(|d| d.partitions()).collect();
        assert_eq!(partitions.len(), 3);
        for partition in &partitions {
            let found = contents(partition);
            assert_eq!(found, expected(partition.name()), "{} in round {round}", partition.name());
        }
        let home = engine.database("sync").expect("it is there");
        let home = &home.partitions()[0];
        let in_doubt = home.in_doubt().expect("online");
        assert_eq!(in_doubt.len(), 1);
        let doubt = &in_doubt[0];
        assert_eq!((&doubt.global_id[..], &doubt.participants[..]), (&b"in doubt"[..], &[1][..]));
        assert_eq!(home.decision(b"in doubt").expect("online"), None);
        let other = engine.database("sync").expect("it is there").partitions()[1].clone();
        assert_eq!(other.decision(b"in doubt").expect("online"), Some(Decision::Commit));
        if round == 1 {
            assert_eq!(other.vote(b"in doubt").expect("online"), Vote::Committed);
            home.commit_prepared(b"in doubt").expect("it was decided");
            let table = home.table("all_types").expect("it is there");
            let txn = home.begin().expect("online");
            let row = txn.get(&table, &[Value::UInt(500)]).expect("a sound row");
            assert_eq!(row, Some(values(500)));
        }
        engine.close().expect("a clean end");
    }
}
