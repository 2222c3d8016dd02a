//! Speed of partial aggregates where rows are, over rows as sysbench has them: `aggregate_speed [rows] [threads]`. What comes
//! of all rounds is the same, and is checked where it is known.
#![expect(clippy::print_stdout, reason = "a measurement for people")]

use std::time::Instant;

use resprout_access::Packed;
use resprout_engine::table::{ColumnId, TableSchema, Value, ValueRef};
use resprout_engine::{DatabaseOptions, Durability, Engine, Options, Partition};
use resprout_sql::pushdown::{
    ByExpressions, Call, Comparator, Evaluator, Gives, Input, Limits, Piece, Pushdown, Rule, Step,
};

const ROUNDS: usize = 7;
const PARTITIONS: u32 = 8;
/// As a scan of the query library looks at for one batch.
const LOOKED: usize = 1 << 17;

fn main() {
    let mut args = std::env::args().skip(1).map(|word| word.parse::<u64>().expect("a number"));
    let (rows, threads) = (args.next().unwrap_or(5_000_000), args.next().unwrap_or(2));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = Options { maximum_memory: (1 << 30) + rows * 300, ..Options::default() };
    let engine = Engine::open(dir.path(), options).expect("the directory opens");
    let options = DatabaseOptions { partitions: PARTITIONS, durability: Durability::Async };
    let database = engine.create_database("d", options).expect("a new database");
    let partitions = database.partitions().to_vec();
    partitions.iter().for_each(|partition| fill(partition, rows));
    for (name, pushdown, is_of_all) in asked() {
        let mut times = Vec::new();
        let mut before = None;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let made: Vec<Vec<Packed>> = std::thread::scope(|scope| {
                let share = |thread| {
                    let own = partitions.iter().skip(thread).step_by(threads as usize);
                    let pushdown = &pushdown;
                    scope.spawn(move || own.map(|own| evaluate(own, pushdown)).collect())
                };
                let runs: Vec<_> = (0..threads as usize).map(share).collect();
                runs.into_iter().map(|run| run.join().expect("no panic")).collect()
            });
            times.push(began.elapsed());
            let counted: i64 = made.iter().flatten().map(|packed| counted(packed, &pushdown)).sum();
            assert!(!is_of_all || counted == rows as i64, "{name}: {counted} rows");
            assert!(*before.get_or_insert(counted) == counted, "{name}: another number of rows");
        }
        times.sort();
        let median = times[ROUNDS / 2];
        let nanoseconds = median.as_secs_f64() * 1e9 / rows as f64;
        println!(
            "{name}: {rows} rows, {threads} threads: median {median:?}, {nanoseconds:.1} ns a row"
        );
    }
    engine.close().expect("a clean end");
}

/// What is asked, each with the number of rows as its first call.
fn asked() -> Vec<(&'static str, Pushdown, bool)> {
    let inputs = vec![Input::Column(ColumnId(1))];
    let best = |greatest| Call::Best { input: 0, greatest, by: Rule::Plain };
    let groups = |by, calls| Gives::Groups { by, calls };
    let plain = |gives| Pushdown { inputs: inputs.clone(), condition: Vec::new(), gives, zone: 0 };
    let best_of_all = plain(groups(vec![], vec![Call::Rows, best(false), best(true)]));
    let condition =
        vec![Step::Input(0), Step::Constant(Value::Int(100)), Step::Compare(Comparator::Less)];
    vec![
        ("COUNT(*), MIN(k), MAX(k)", best_of_all.clone(), true),
        ("COUNT(*), SUM(k)", plain(groups(vec![], vec![Call::Rows, Call::Sum(0)])), true),
        ("COUNT(*), MIN(k), MAX(k) WHERE k < 100", Pushdown { condition, ..best_of_all }, false),
        (
            "k, COUNT(*), SUM(k) GROUP BY k",
            plain(groups(vec![0], vec![Call::Rows, Call::Sum(0)])),
            true,
        ),
    ]
}

fn fill(partition: &Partition, all: u64) {
    let schema = TableSchema::builder("t").column("id", "int").column("k", "int");
    let schema = schema.column("c", "varchar(30)").column("pad", "varchar(60)");
    let schema = schema.primary_key(&["id"]).build().expect("a sound schema");
    partition.create_table(schema).expect("a new table");
    let table = partition.table("t").expect("it was made");
    let rows: Vec<u64> = (1..=all)
        .filter(|id| id % u64::from(PARTITIONS) == u64::from(partition.ordinal()))
        .collect();
    for some in rows.chunks(2000) {
        let mut transaction = partition.begin().expect("online");
        let row = |id: &u64| {
            let number = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52;
            let text = |length| Value::Text(format!("{id:0length$x}"));
            [Value::Int(*id as i64), Value::Int(number as i64), text(30), text(40)]
        };
        let some: Vec<_> = some.iter().map(row).collect();
        transaction.insert_many(&table, &some).expect("inserted");
        transaction.commit().expect("committed");
    }
}

fn evaluate(partition: &Partition, pushdown: &Pushdown) -> Packed {
    let table = partition.table("t").expect("it was made");
    let transaction = partition.begin().expect("online");
    let view = transaction.view().expect("online");
    let (mut range, mut packed) = (table.rows(), Packed::default());
    let limits = Limits { looked: LOOKED, rows: usize::MAX, bytes: usize::MAX };
    loop {
        let (transaction, view, table) = (&transaction, &view, &*table);
        let piece = Piece { transaction, view, table, index: None, range: &range, limits };
        match ByExpressions.evaluate(&piece, pushdown, &mut packed).expect("evaluated") {
            Some(next) => range.from = next,
            None => return packed,
        }
    }
}

/// The rows that all groups had.
fn counted(packed: &Packed, pushdown: &Pushdown) -> i64 {
    let Gives::Groups { by, .. } = &pushdown.gives else { return 0 };
    let (mut values, mut counted) = (packed.values(), 0);
    for _ in 0..packed.rows() {
        for at in 0..pushdown.width() {
            let value = values.value().expect("packed");
            if at == by.len() {
                let ValueRef::Int(rows) = value else { panic!("no number: {value:?}") };
                counted += rows;
            }
        }
    }
    counted
}
