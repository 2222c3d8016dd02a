//! Many rows inserted at once: what comes of it is what comes of them one after the other.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use resprout_engine::table::{Table, TableSchema, Value};
use resprout_engine::{
    DatabaseOptions, Durability, EncodedRows, Engine, Error, Options, Partition, Transaction,
};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn engine(dir: &std::path::Path, partitions: u32) -> (Engine, Vec<Partition>) {
    let options = Options { lock_wait_limit: Duration::from_millis(100), ..Options::default() };
    let engine = Engine::open(dir, options).expect("the directory opens");
    let options = DatabaseOptions { partitions, durability: Durability::Async };
    let database = engine.create_database("d", options).expect("a new database");
    let partitions = database.partitions().to_vec();
    (engine, partitions)
}

/// Keys of all kinds: primary, unique with NULLs, plain; or none.
fn schemas() -> Vec<TableSchema> {
    let columns = |name: &str| {
        let builder = TableSchema::builder(name).column("id", "bigint").column("a", "int");
        let builder = builder.nullable(true).column("b", "varchar(9)").nullable(true);
        builder.unique("by_a", &["a"]).index("by_b", &["b"]).unique("by_both", &["b", "a"])
    };
    let sound = |schema: Result<TableSchema, _>| schema.expect("a sound schema");
    vec![
        sound(columns("keyed").primary_key(&["id"]).build()),
        sound(columns("numbered").primary_key(&["id"]).auto_increment("id").build()),
        sound(columns("hidden").build()),
    ]
}

fn row(random: &mut Random, may_be_numbered: bool) -> Vec<Value> {
    let id = match random.below(8) {
        0 if may_be_numbered => Value::Null,
        // Does not fit: refused as a row.
        1 if random.below(4) == 0 => Value::Text("no number".to_owned()),
        _ => Value::Int(random.below(60) as i64),
    };
    let a = match random.below(3) {
        0 => Value::Null,
        // Brought to its column's type.
        1 => Value::Text(random.below(80).to_string()),
        _ => Value::Int(random.below(80) as i64),
    };
    let b = match random.below(3) {
        0 => Value::Null,
        number => Value::Text("x".repeat(1 + (number + random.below(12)) as usize)),
    };
    vec![id, a, b]
}

fn all(txn: &Transaction, table: &Table) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    let visit = |row: &resprout_engine::table::RowView<'_>| {
        let values = row.values().expect("a sound row");
        rows.push(values.into_iter().map(resprout_engine::table::ValueRef::into_owned).collect());
        ControlFlow::Continue(())
    };
    txn.scan(table, &table.rows(), visit).expect("a scan");
    rows
}

fn by_index(txn: &Transaction, table: &Table) -> Vec<usize> {
    let count = |index| {
        let mut found = 0;
        let range = table.index_range(index, &[]).expect("all");
        txn.scan_index(table, index, &range, |_| {
            found += 1;
            ControlFlow::Continue(())
        })
        .expect("a scan");
        found
    };
    table.schema().indexes.iter().map(count).collect()
}

/// Promise: the same rows are refused for the same reasons, the same are there, with the same numbers, also
/// when the transaction has changed rows before, goes back to a savepoint, or is committed.
#[test]
fn many_are_as_one_after_the_other() {
    for schema in schemas() {
        let dir = tempfile::tempdir().expect("a directory");
        let (engine, partitions) = engine(dir.path(), 2);
        let mut random = Random(3);
        let tables: Vec<Arc<Table>> = partitions
            .iter()
            .map(|partition| {
                partition.create_table(schema.clone()).expect("a new table");
                partition.table(&schema.name).expect("just made")
            })
            .collect();
        let (mut refused_rows, mut inserted_rows) = (0, 0);
        for round in 0..400 {
            let mut one = partitions[0].begin().expect("online");
            let mut many = partitions[1].begin().expect("online");
            if round % 3 > 0 && schema.name != "hidden" {
                for id in 0..random.below(20) as i64 {
                    let key = [Value::Int(id)];
                    one.delete(&tables[0], &key).expect("a delete");
                    many.delete(&tables[1], &key).expect("a delete");
                }
            }
            let points = (round % 4 == 0).then(|| (one.savepoint(), many.savepoint()));
            let numbered = schema.auto_increment.is_some();
            let rows: Vec<_> = (0..random.below(30)).map(|_| row(&mut random, numbered)).collect();
            let mut expected = Vec::new();
            for (at, row) in rows.iter().enumerate() {
                match one.insert(&tables[0], row) {
                    Ok(_) => inserted_rows += 1,
                    Err(error) => expected.push((at, error.to_string())),
                }
            }
            let refused = many.insert_many(&tables[1], &rows).expect("nobody else is there");
            let refused: Vec<_> =
                refused.into_iter().map(|(at, error)| (at, error.to_string())).collect();
            assert_eq!(refused, expected, "{rows:?}");
            refused_rows += refused.len();
            if let Some((first, second)) = points.filter(|_| random.below(2) == 0) {
                one.rollback_to(first);
                many.rollback_to(second);
            }
            assert_eq!(one.changes(), many.changes());
            assert_eq!(all(&one, &tables[0]), all(&many, &tables[1]));
            assert_eq!(by_index(&one, &tables[0]), by_index(&many, &tables[1]));
            if random.below(4) > 0 {
                one.commit().expect("a commit");
                many.commit().expect("a commit");
            } else {
                drop((one, many));
            }
            // Room for new ones.
            for (partition, table) in partitions.iter().zip(&tables).filter(|_| round % 10 == 9) {
                let mut txn = partition.begin().expect("online");
                let mut keys = Vec::new();
                txn.scan(table, &table.rows(), |row| {
                    keys.push(row.key().to_vec());
                    ControlFlow::Continue(())
                })
                .expect("a scan");
                for key in keys.iter().step_by(2) {
                    block(txn.delete_key_async(table, key)).expect("a delete");
                }
                txn.commit().expect("a commit");
            }
        }
        assert!(refused_rows > 300 && inserted_rows > 300, "{refused_rows} {inserted_rows}");
        engine.close().expect("a clean end");
    }
}

/// Promise: rows that come in their stored form are as those that come as values; one that has no stored form is refused
/// before, and those around it stay.
#[test]
fn rows_in_their_stored_form_are_as_their_values() {
    for schema in schemas() {
        let dir = tempfile::tempdir().expect("a directory");
        let (engine, partitions) = engine(dir.path(), 2);
        let tables = partitions.iter().map(|partition| {
            partition.create_table(schema.clone()).expect("a new table");
            partition.table(&schema.name).expect("just made")
        });
        let tables: Vec<Arc<Table>> = tables.collect();
        let mut random = Random(5);
        let (mut refused_rows, mut unfit_rows) = (0, 0);
        for _ in 0..40 {
            let mut rows: Vec<_> = (0..random.below(20)).map(|_| row(&mut random, false)).collect();
            let mut encoded = EncodedRows::with_capacity(&tables[0], rows.len(), 0);
            rows.retain(|row| {
                let given = tables[0].live().iter().copied().zip(row.iter().cloned()).collect();
                let Ok(complete) = tables[0].complete(given) else { return false };
                assert!(encoded.push(&complete).is_ok(), "it fits: {complete:?}");
                true
            });
            let long = [Value::Int(1), Value::Null, Value::Text("too long for it".to_owned())];
            unfit_rows += usize::from(encoded.push(&long).is_err());
            assert_eq!(encoded.len(), rows.len());

            let mut of_encoded = partitions[0].begin().expect("online");
            let mut of_values = partitions[1].begin().expect("online");
            let shown = |(at, error): (usize, Error)| (at, error.to_string());
            let refused = of_encoded.insert_encoded(&encoded).expect("nobody else is there");
            let refused: Vec<_> = refused.into_iter().map(shown).collect();
            let expected = of_values.insert_many(&tables[1], &rows).expect("nobody else is there");
            assert_eq!(refused, expected.into_iter().map(shown).collect::<Vec<_>>());
            refused_rows += refused.len();
            assert_eq!(all(&of_encoded, &tables[0]), all(&of_values, &tables[1]));
            assert_eq!(by_index(&of_encoded, &tables[0]), by_index(&of_values, &tables[1]));
            of_encoded.commit().expect("a commit");
            of_values.commit().expect("a commit");
        }
        assert!(refused_rows > 50 && unfit_rows == 40, "{refused_rows} {unfit_rows}");
        engine.close().expect("a clean end");
    }
}

/// What is never waited for.
fn block<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(done) => done,
        std::task::Poll::Pending => panic!("somebody has the lock"),
    }
}

/// Promise: a key that somebody else has is waited for, for as long as the limit says, and then none of the
/// rows is there; whoever asks for one of many keys waits for it as for any other; both see a deadlock.
#[test]
fn locks_of_many_are_locks() {
    let dir = tempfile::tempdir().expect("a directory");
    let (engine, partitions) = engine(dir.path(), 1);
    partitions[0].create_table(schemas().remove(0)).expect("a new table");
    let table = partitions[0].table("keyed").expect("just made");
    let rows = |ids: &[i64]| -> Vec<Vec<Value>> {
        ids.iter().map(|id| vec![Value::Int(*id), Value::Null, Value::Null]).collect()
    };
    let mut first = partitions[0].begin().expect("online");
    first.insert(&table, &rows(&[5])[0]).expect("a new row");
    let mut second = partitions[0].begin().expect("online");
    let began = Instant::now();
    let refused = second.insert_many(&table, &rows(&[6, 5, 4]));
    assert!(matches!(refused, Err(Error::LockWaitTimeout { .. })), "{refused:?}");
    assert!(began.elapsed() >= Duration::from_millis(90), "{:?}", began.elapsed());
    assert_eq!(second.changes(), 0);
    drop(second);
    let mut second = partitions[0].begin().expect("online");
    assert!(second.insert_many(&table, &rows(&[3, 1, 2])).expect("free").is_empty());
    for mine in [1, 2, 3] {
        let refused = first.insert(&table, &rows(&[mine])[0]);
        assert!(matches!(refused, Err(Error::LockWaitTimeout { .. })), "{mine}: {refused:?}");
    }
    second.set_lock_wait_limit(Duration::from_secs(20));
    std::thread::scope(|scope| {
        let table = &table;
        let (id, wanted, mut second) = (second.id(), rows(&[5, 7]), second);
        let waiter = scope.spawn(move || {
            let refused = second.insert_many(table, &wanted).expect("it is let go");
            let refused: Vec<_> = refused.into_iter().map(|(at, _)| at).collect();
            second.commit().expect("a commit");
            refused
        });
        while partitions[0].awaited(id).is_none() {
            std::thread::yield_now();
        }
        // To ask for what it has would close the ring.
        for ids in [&[2][..], &[0, 2]] {
            let refused = first.insert_many(table, &rows(ids));
            assert!(matches!(refused, Err(Error::Deadlock)), "{refused:?}");
        }
        first.commit().expect("a commit");
        assert_eq!(waiter.join().expect("no panic"), [0]);
    });
    let txn = partitions[0].begin().expect("online");
    let ids: Vec<_> = all(&txn, &table).into_iter().map(|mut row| row.remove(0)).collect();
    assert_eq!(ids, [1, 2, 3, 5, 7].map(Value::Int));
    drop(txn);
    engine.close().expect("a clean end");
}

/// Measures rows a second by either way, in turns; prints medians. With
/// `cargo test --release -p resprout-engine --test insert_many -- --ignored --nocapture`.
#[test]
#[ignore = "measures, proves nothing"]
fn rows_a_second() {
    let dir = tempfile::tempdir().expect("a directory");
    let (engine, partitions) = engine(dir.path(), 1);
    for (name, indexed) in [("plain", false), ("indexed", true)] {
        let builder = TableSchema::builder(name).column("id", "bigint").column("k", "int");
        let builder = builder.column("c", "varchar(120)").primary_key(&["id"]);
        let builder = if indexed { builder.index("k", &["k"]) } else { builder };
        partitions[0].create_table(builder.build().expect("sound")).expect("a new table");
        let table = partitions[0].table(name).expect("just made");
        let (mut next, mut random) = (0, Random(1));
        let mut rates = [Vec::new(), Vec::new()];
        for turn in 0..20 {
            let way = turn % 2;
            let mut spent = Duration::ZERO;
            for _ in 0..25 {
                let rows: Vec<[Value; 3]> = (0..2000)
                    .map(|_| {
                        next += 1;
                        let k = Value::Int(random.below(1 << 30) as i64);
                        [Value::Int(next), k, Value::Text("c".repeat(100))]
                    })
                    .collect();
                let began = Instant::now();
                let mut txn = partitions[0].begin().expect("online");
                if way == 0 {
                    for row in &rows {
                        txn.insert(&table, row).expect("a new row");
                    }
                } else {
                    assert!(txn.insert_many(&table, &rows).expect("free").is_empty());
                }
                txn.commit().expect("a commit");
                spent += began.elapsed();
            }
            rates[way].push(50_000.0 / spent.as_secs_f64() / 1e6);
        }
        for (way, rates) in ["one by one", "many"].iter().zip(&mut rates) {
            rates.sort_by(f64::total_cmp);
            println!("{name:8} {way:10} {:.3} M rows/s (median of {})", rates[5], rates.len());
        }
    }
    engine.close().expect("a clean end");
}
