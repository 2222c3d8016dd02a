//! Rows read leaf by leaf are the rows that are read one by one.

use std::ops::ControlFlow;

use resprout_engine::table::{
    Change, ColumnId, KeyRange, NewColumn, Table, TableSchema, Value, ValueRef,
};
use resprout_engine::{DatabaseOptions, Engine, Options, Partition, Transaction};
use resprout_wal::world::Rng;

const COLUMNS: [&str; 7] =
    ["tinyint not null", "smallint", "mediumint", "int not null", "bigint", "int unsigned", "text"];

/// A table with rows of two forms in an engine of its own.
fn filled(dir: &std::path::Path, rng: &mut Rng) -> (Engine, Partition) {
    let options = Options { slot_bytes: 1 << 20, ..Options::default() };
    let engine = Engine::open(dir, options).expect("a new directory");
    let options = DatabaseOptions { partitions: 1, ..DatabaseOptions::default() };
    let database = engine.create_database("d", options).expect("a new database");
    let mut schema = TableSchema::builder("t").column("id", "bigint");
    for (number, ty) in COLUMNS.iter().enumerate() {
        let name = format!("c{number}");
        schema = match ty.strip_suffix(" not null") {
            Some(ty) => schema.column(&name, ty).nullable(false),
            None => schema.column(&name, ty).nullable(true),
        };
    }
    let schema = schema.primary_key(&["id"]).build().expect("a sound schema");
    database.create_table(&schema).expect("a new table");
    let partition = database.partitions()[0].clone();
    insert(&partition, rng, 0..900);
    let mut column = NewColumn::parse("c7", "bigint").expect("a type");
    column.nullable = true;
    partition.alter_table("t", Change::AddColumn(column)).expect("a new column");
    insert(&partition, rng, 900..1800);
    (engine, partition)
}

fn insert(partition: &Partition, rng: &mut Rng, ids: std::ops::Range<i64>) {
    let table = partition.table("t").expect("it was made");
    let mut txn = partition.begin().expect("online");
    for id in ids {
        let row = row(rng, table.live().len(), id);
        txn.insert(&table, &row).expect("a new row");
    }
    txn.commit().expect("a commit");
}

fn row(rng: &mut Rng, columns: usize, id: i64) -> Vec<Value> {
    let mut row = vec![Value::Int(id)];
    let bits = [8, 16, 24, 32, 64, 31, 0, 64];
    for (number, bits) in bits.into_iter().take(columns - 1).enumerate() {
        let any = rng.next().cast_signed();
        row.push(match number {
            5 => Value::UInt(rng.below(1 << bits)),
            6 => Value::Text("x".repeat(rng.below(90) as usize)),
            0 | 3 => Value::Int(any >> (64 - bits)),
            _ if rng.below(4) == 0 => Value::Null,
            _ => Value::Int(any >> (64 - bits)),
        });
    }
    row
}

/// Column by column, both ways.
fn check(txn: &Transaction, table: &Table, range: &KeyRange) -> (usize, usize) {
    let view = txn.view().expect("online");
    let (mut fast, mut slow) = (0, 0);
    for number in 0..table.live().len() {
        let column = ColumnId(number as u16);
        let value = |value: ValueRef<'_>| value.into_owned();
        let mut expected = Vec::new();
        txn.scan_at(&view, table, range, |row| {
            expected.push(value(row.get(column).expect("a sound row")));
            ControlFlow::Continue(())
        })
        .expect("a scan");
        let (mut found, mut last) = (Vec::new(), Vec::new());
        let visited = txn.scan_blocks_at(&view, table, range, |block| {
            assert!(!block.is_empty() && block.last_key() > last);
            last = block.last_key();
            let (mut numbers, mut present) = (Vec::new(), Vec::new());
            if block.whole_numbers(column, &mut numbers, &mut present) {
                fast += block.len();
                assert!(present.is_empty() || present.len() == block.len());
                let null = |at: usize| present.get(at) == Some(&false);
                found.extend(numbers.iter().enumerate().map(|(at, number)| match null(at) {
                    true => Value::Null,
                    false => Value::Int(*number),
                }));
                return Ok(ControlFlow::Continue(()));
            }
            slow += block.len();
            assert!(numbers.is_empty() && present.is_empty());
            block.each(|row| {
                found.push(value(row.get(column).expect("a sound row")));
                ControlFlow::Continue(())
            })
        });
        assert!(visited.expect("a scan"), "nothing was written");
        assert_eq!(found, expected, "column {number}");
    }
    (fast, slow)
}

/// Promise: leaf by leaf the same values come as one by one, of every width, NULL or not, in rows of
/// older forms, from any part of the table; and own writes are not passed over.
#[test]
fn blocks_have_the_rows_of_a_scan() {
    let mut rng = Rng::new(7);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (engine, partition) = filled(dir.path(), &mut rng);
    let table = partition.table("t").expect("it was made");
    let key = |id: i64| table.primary_key(&[Value::Int(id)]).expect("a key");
    let mut txn = partition.begin().expect("online");
    let (fast, slow) = check(&txn, &table, &table.rows());
    assert!(fast > 5 * 800 && slow > 5 * 800, "{fast} and {slow}: both ways were taken");
    for _ in 0..20 {
        let (from, to) = (rng.below(1900) as i64 - 50, rng.below(1900) as i64);
        check(&txn, &table, &KeyRange { from: key(from), to: Some(key(to)) });
    }
    txn.delete(&table, &[Value::Int(500)]).expect("it is there");
    let view = txn.view().expect("online");
    let scan = |from, to| {
        let range = KeyRange { from: key(from), to: Some(key(to)) };
        let visit = |_: &resprout_engine::RowBlock<'_>| Ok(ControlFlow::Break(()));
        txn.scan_blocks_at(&view, &table, &range, visit).expect("a scan")
    };
    assert!(!scan(400, 501), "an own write is in the range");
    assert!(scan(400, 500) && scan(501, 600));
    engine.close().expect("a clean end");
}
