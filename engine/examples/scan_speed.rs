//! Speed of reading one column of whole numbers from all rows, leaf by leaf: `scan_speed [rows] [threads]`. Each round's sum is
//! checked.
#![expect(clippy::print_stdout, reason = "a measurement for people")]

use std::ops::ControlFlow;
use std::time::Instant;

use resprout_engine::table::{ColumnId, TableSchema, Value};
use resprout_engine::{DatabaseOptions, Durability, Engine, Options, Partition};

const ROUNDS: usize = 7;
const PARTITIONS: u32 = 8;

fn main() {
    let mut args = std::env::args().skip(1).map(|word| word.parse::<u64>().expect("a number"));
    let (rows, threads) = (args.next().unwrap_or(5_000_000), args.next().unwrap_or(2));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = Engine::open(dir.path(), Options::default()).expect("the directory opens");
    let options = DatabaseOptions { partitions: PARTITIONS, durability: Durability::Async };
    let database = engine.create_database("d", options).expect("a new database");
    let partitions = database.partitions().to_vec();
    let wanted: i64 = partitions.iter().map(|partition| fill(partition, rows)).sum();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let sum: i64 = std::thread::scope(|scope| {
            let share = |thread| {
                let own = partitions.iter().skip(thread).step_by(threads as usize);
                scope.spawn(|| own.map(sum).sum::<i64>())
            };
            let runs: Vec<_> = (0..threads as usize).map(share).collect();
            runs.into_iter().map(|run| run.join().expect("no panic")).sum()
        });
        times.push(began.elapsed());
        assert_eq!(sum, wanted, "the sum over all rows");
    }
    times.sort();
    let median = times[ROUNDS / 2];
    let nanoseconds = median.as_secs_f64() * 1e9 / rows as f64;
    println!(
        "{rows} rows, {threads} threads: median {median:?}, {nanoseconds:.1} ns a row; all {times:?}"
    );
    engine.close().expect("a clean end");
}

/// Rows as sysbench has them; the sum of their numbers.
fn fill(partition: &Partition, all: u64) -> i64 {
    let schema = TableSchema::builder("t").column("id", "int").column("k", "int");
    let schema = schema.column("c", "varchar(30)").column("pad", "varchar(60)");
    let schema = schema.primary_key(&["id"]).build().expect("a sound schema");
    partition.create_table(schema).expect("a new table");
    let table = partition.table("t").expect("it was made");
    let rows: Vec<u64> = (1..=all)
        .filter(|id| id % u64::from(PARTITIONS) == u64::from(partition.ordinal()))
        .collect();
    let mut sum = 0;
    for some in rows.chunks(2000) {
        let mut transaction = partition.begin().expect("online");
        let row = |id: &u64| {
            let number = (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 45) as i64;
            sum += number;
            let text = |length| Value::Text(format!("{id:0length$x}"));
            [Value::Int(*id as i64), Value::Int(number), text(30), text(40)]
        };
        let some: Vec<_> = some.iter().map(row).collect();
        transaction.insert_many(&table, &some).expect("inserted");
        transaction.commit().expect("committed");
    }
    sum
}

fn sum(partition: &Partition) -> i64 {
    let table = partition.table("t").expect("it was made");
    let transaction = partition.begin().expect("online");
    let view = transaction.view().expect("online");
    let (mut sum, mut numbers) = (0, Vec::new());
    let visited = transaction.scan_blocks_at(&view, &table, &table.rows(), |block| {
        numbers.clear();
        assert!(block.whole_numbers(ColumnId(1), &mut numbers, &mut Vec::new()), "a plain column");
        sum += numbers.iter().sum::<i64>();
        Ok(ControlFlow::Continue(()))
    });
    assert!(visited.expect("a scan"), "nothing was written");
    sum
}
