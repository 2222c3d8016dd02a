//! Power fails at a seeded moment, and nothing survives that was not flushed. Row D15.

use resprout_engine::table::{TableSchema, Value};
use resprout_engine::{DatabaseOptions, Durability, Engine, Error, Partition};
use resprout_wal::Lsn;
use resprout_wal::disk::sim::{Effect, Fault, SimDisk};
use resprout_wal::world::Rng;

use crate::contents::contents;
use crate::harness::{open, seeds, try_open};

const DATABASES: [(&str, Durability); 2] = [("s", Durability::Sync), ("a", Durability::Async)];
const STEPS: u64 = 60;
/// Rows of one transaction.
const ROWS: i64 = 2;

/// What a client knows of one partition when the power fails. Transaction `n` has rows `2n` and
/// `2n + 1`.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Where the group of each acknowledged transaction begins.
    acknowledged: Vec<Lsn>,
    /// Flushed up to here, said the status.
    durable: Lsn,
    /// One more was on its way.
    pending: bool,
}

fn new_node(disk: &SimDisk) -> Engine {
    let engine = open(disk, 0);
    for (name, durability) in DATABASES {
        let options = DatabaseOptions { partitions: 1, durability };
        let database = engine.create_database(name, options).expect("a new database");
        let schema = TableSchema::builder("t").column("id", "bigint").column("pad", "text");
        let schema = schema.primary_key(&["id"]).build().expect("a sound schema");
        database.create_table(&schema).expect("a new table");
    }
    while engine.turn() {}
    engine
}

fn partition(engine: &Engine, name: &str) -> Partition {
    engine.database(name).expect("it was made").partitions()[0].clone()
}

fn transaction(partition: &Partition, number: i64, bytes: usize) -> Result<Lsn, Error> {
    let table = partition.table("t")?;
    let mut txn = partition.begin()?;
    for id in number * ROWS..(number + 1) * ROWS {
        txn.insert(&table, &[Value::Int(id), Value::Text("x".repeat(bytes))])?;
    }
    Ok(txn.commit()?.position.expect("rows were written").start)
}

/// Steps of clients until the power fails or all are done.
fn work(engine: &Engine, rng: &mut Rng, known: &mut [Known; 2]) {
    for _ in 0..STEPS {
        let which = rng.below(2) as usize;
        let partition = partition(engine, DATABASES[which].0);
        let failed = match rng.below(10) {
            0 => {
                engine.turn();
                false
            }
            1 => partition.snapshot().is_err(),
            _ => {
                let number = known[which].acknowledged.len() as i64;
                let bytes = [10, 500, 9_000, 25_000][rng.below(4) as usize];
                match transaction(&partition, number, bytes) {
                    Ok(start) => {
                        known[which].acknowledged.push(start);
                        false
                    }
                    Err(error) => {
                        known[which].pending = matches!(error, Error::OutcomeUnknown(_));
                        true
                    }
                }
            }
        };
        for (known, (name, _)) in known.iter_mut().zip(DATABASES) {
            let status = self::partition(engine, name).status();
            known.durable = known.durable.max(status.durable);
        }
        if failed {
            return;
        }
    }
}

/// How many transactions are there; none of them in part, and none without those before it.
fn found(partition: &Partition, what: &str) -> usize {
    let rows = contents(partition)["t"].iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    let expected: Vec<Value> = (0..rows.len() as i64).map(Value::Int).collect();
    assert_eq!(rows, expected, "{what}: transactions in order, from the first");
    assert_eq!(rows.len() as i64 % ROWS, 0, "{what}: half a transaction");
    rows.len() / ROWS as usize
}

/// D15: with sync durability every acknowledged transaction is there; with async durability some
/// of the last may be gone, never one below what was flushed; in both what is there is whole
/// transactions in order. The node goes on in a new term, and that survives the next power loss.
#[test]
fn d15_power_loss_takes_all_that_was_not_flushed() {
    let (mut lost, mut moments) = (0, 0);
    for seed in seeds(300) {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        disk.forget_unflushed();
        let engine = new_node(&disk);
        let effect = [Effect::CrashBefore, Effect::CrashDuring, Effect::CrashAfter];
        disk.fail(Fault::at(rng.below(120), effect[rng.below(3) as usize]));
        let mut known: [Known; 2] = Default::default();
        work(&engine, &mut rng, &mut known);
        moments += usize::from(disk.crashed());
        let disk = disk.crash(seed);
        disk.heal();
        drop(engine);
        let engine = try_open(&disk, 1).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for (known, (name, durability)) in known.iter().zip(DATABASES) {
            let what = format!("seed {seed}, {durability}: {known:?}");
            let count = found(&partition(&engine, name), &what);
            let most = known.acknowledged.len() + usize::from(known.pending);
            let safe = known.acknowledged.iter().filter(|start| **start < known.durable).count();
            let least = match durability {
                Durability::Sync => known.acknowledged.len(),
                Durability::Async => safe,
            };
            assert!((least..=most).contains(&count), "{count} of {least} to {most}: {what}");
            lost += known.acknowledged.len().saturating_sub(count);
            let partition = partition(&engine, name);
            transaction(&partition, count as i64, 10).expect("it goes on");
        }
        while engine.turn() {}
        let disk = disk.crash(seed + 1);
        drop(engine);
        let engine = open(&disk, 2);
        for (name, durability) in DATABASES {
            found(&partition(&engine, name), &format!("seed {seed} again, {durability}"));
        }
    }
    // The test means something only if power failed in the middle, and took what it may.
    let few = seeds(300).end - seeds(300).start < 300;
    assert!(few || moments > 100 && lost > 100, "{moments} moments, {lost} lost");
}
