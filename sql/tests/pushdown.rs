//! What is pushed down to rows: the same on a leaf as in this process, in however many pieces; bounded; and nothing that
//! comes over the wire does harm.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use resprout_access::pushdown::{
    Call, Comparator, Evaluator, Gives, Input, Limits, Piece, Pushdown, Rule, Sink, Step,
};
use resprout_access::{Client, FarPartition, Locate, Packed, Place, Server};
use resprout_engine::table::{ColumnId, Decimal, Table, TableSchema, Value};
use resprout_engine::{Database, DatabaseOptions, Durability, Engine, Options, Partition};
use resprout_replication::transport::Secret;
use resprout_sql::pushdown::ByExpressions;
use resprout_wal::world::Rng;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug)]
struct Here(Database);

impl Locate for Here {
    fn partition(&self, place: Place) -> Option<Partition> {
        self.0.partitions().get(place.ordinal as usize).cloned()
    }

    fn office(&self) -> u64 {
        0
    }

    fn evaluator(&self) -> Option<Arc<dyn Evaluator>> {
        Some(Arc::new(ByExpressions))
    }
}

struct World {
    _engine: Engine,
    database: Database,
    far: FarPartition,
    /// Bytes that the leaf has sent.
    sent: Arc<AtomicU64>,
    _server: Server,
    _dir: TempDir,
}

/// Passes on what two sides say, and counts what comes back.
async fn counting(to: String, sent: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let leaf = TcpStream::connect(&to).await.unwrap();
            client.set_nodelay(true).unwrap();
            leaf.set_nodelay(true).unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_leaf, mut to_leaf) = leaf.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_leaf).await });
            let sent = sent.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(read @ 1..) = from_leaf.read(&mut bytes).await {
                    sent.fetch_add(read as u64, Ordering::Relaxed);
                    if to_client.write_all(&bytes[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

const COLUMNS: [(&str, &str); 8] = [
    ("id", "bigint"),
    ("k", "int"),
    ("u", "bigint unsigned"),
    ("d", "decimal(38,4)"),
    ("s", "varchar(40)"),
    ("day", "date"),
    ("f", "double"),
    ("n", "bigint"),
];

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { maximum_memory: 256 << 20, ..Options::default() };
        let engine = Engine::open(dir.path(), options).unwrap();
        let options = DatabaseOptions { partitions: 1, durability: Durability::Async };
        let database = engine.create_database("d", options).unwrap();
        let mut builder = TableSchema::builder("t");
        for (name, ty) in COLUMNS {
            builder = builder.column(name, ty).nullable(!["id", "n"].contains(&name));
        }
        let builder = builder.primary_key(&["id"]).index("by_k", &["k"]);
        database.create_table(&builder.build().unwrap()).unwrap();
        let secret = Secret::new(b"known to all of the cluster").unwrap();
        let locate = Arc::new(Here(database.clone()));
        let server = Server::bind("127.0.0.1:0", secret.clone(), locate).await.unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let address = counting(server.address().to_string(), sent.clone()).await;
        let place = Place { database: database.number(), ordinal: 0 };
        let far = Client::new(secret).partition(&address, place, "d:0");
        Self { _engine: engine, database, far, sent, _server: server, _dir: dir }
    }

    fn fill(&self, rows: impl Iterator<Item = Vec<Value>>) {
        let partition = &self.database.partitions()[0];
        let table = self.table();
        let mut transaction = partition.begin().unwrap();
        let rows: Vec<_> = rows.collect();
        assert!(transaction.insert_many(&table, &rows).unwrap().is_empty());
        transaction.commit().unwrap();
    }

    fn table(&self) -> Arc<Table> {
        self.database.partitions()[0].catalog().unwrap().table("t").unwrap().clone()
    }

    /// What comes of all rows here, in pieces of so many that are looked at.
    fn near(&self, pushdown: &Pushdown, by_k: bool, looked: usize) -> Vec<Vec<Value>> {
        let (table, partition) = (self.table(), &self.database.partitions()[0]);
        let transaction = partition.begin().unwrap();
        let view = transaction.view().unwrap();
        let index = by_k.then(|| table.schema().index_named("by_k").unwrap());
        let mut range = match index {
            Some(index) => table.index_range(index, &[]).unwrap(),
            None => table.rows(),
        };
        let mut packed = Packed::default();
        loop {
            let limits = Limits { looked, rows: usize::MAX, bytes: usize::MAX };
            let piece = Piece {
                transaction: &transaction,
                view: &view,
                table: &table,
                index,
                range: &range,
                limits,
            };
            match ByExpressions.evaluate(&piece, pushdown, &mut packed).unwrap() {
                Some(next) => range.from = next,
                None => return unpacked(&packed, pushdown.width()),
            }
        }
    }

    /// The same there, and how many pieces it came in.
    fn there(&self, pushdown: &Pushdown, by_k: bool) -> (Vec<Vec<Value>>, usize) {
        let table = self.far.table("t").unwrap();
        let transaction = self.far.begin();
        let view = transaction.view().unwrap();
        let index = by_k.then(|| table.schema().index_named("by_k").unwrap());
        let mut range = match index {
            Some(index) => table.index_range(index, &[]).unwrap(),
            None => table.rows(),
        };
        let (mut rows, mut pieces) = (Vec::new(), 0);
        loop {
            let of = (&view, (&*table, index), &range);
            let (packed, next) =
                transaction.evaluate(of, pushdown, (u32::MAX, pieces == 0)).unwrap();
            rows.extend(unpacked(&packed, pushdown.width()));
            pieces += 1;
            match next {
                Some(next) => range.from = next,
                None => return (rows, pieces),
            }
        }
    }
}

fn unpacked(packed: &Packed, width: usize) -> Vec<Vec<Value>> {
    let mut values = packed.values();
    let mut row = || (0..width).map(|_| values.value().unwrap().into_owned()).collect();
    (0..packed.rows()).map(|_| row()).collect()
}

fn some(rng: &mut Rng, value: impl FnOnce(&mut Rng) -> Value) -> Value {
    if rng.below(5) == 0 { Value::Null } else { value(rng) }
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

fn row(rng: &mut Rng, id: i64) -> Vec<Value> {
    const TEXTS: [&str; 8] = ["a", "A ", "ä", "b", "B", "", " ", "straße"];
    vec![
        Value::Int(id),
        some(rng, |rng| Value::Int(int(rng.below(9)) - 4)),
        some(rng, |rng| Value::UInt(rng.below(5))),
        some(rng, |rng| Value::Decimal(Decimal::new(i128::from(rng.below(900)) - 450, 4).unwrap())),
        some(rng, |rng| Value::Text(TEXTS[usize::try_from(rng.below(8)).unwrap()].to_owned())),
        some(rng, |rng| {
            let day = u32::try_from(rng.below(5)).unwrap() + 1;
            Value::Date(resprout_engine::table::Date::from_civil(2024, 2, day).unwrap())
        }),
        some(rng, |rng| Value::Double(int(rng.below(7)) as f64 / 2.0 - 1.0)),
        Value::Int(int(rng.below(1000))),
    ]
}

fn column(at: u16) -> Input {
    Input::Column(ColumnId(at))
}

/// Inputs of all columns, then the key of the text.
fn inputs() -> Vec<Input> {
    let columns = (0..8).map(column);
    columns.chain([Input::Key(ColumnId(4), Rule::GeneralCi)]).collect()
}

fn comparison(rng: &mut Rng, steps: &mut Vec<Step>) {
    let at = u16::try_from(rng.below(9)).unwrap();
    steps.push(Step::Input(at));
    if rng.below(5) == 0 {
        steps.push(Step::IsNull { negated: rng.below(2) == 0 });
        return;
    }
    let mut value = || match at {
        8 => Value::Bytes(vec![0, 65, 0, 32]),
        at => row(rng, 7)[usize::from(at)].clone(),
    };
    let values = [value(), value(), value()].map(Step::Constant);
    let negated = rng.below(2) == 0;
    match rng.below(4) {
        0 => {
            steps.extend(values);
            steps.push(Step::In { items: 3, negated });
        }
        1 => {
            steps.extend(values.into_iter().take(2));
            steps.push(Step::Between { negated });
        }
        _ => {
            steps.extend(values.into_iter().take(1));
            steps.push(Step::Compare(match rng.below(6) {
                0 => Comparator::Equal,
                1 => Comparator::NotEqual,
                2 => Comparator::Less,
                3 => Comparator::LessOrEqual,
                4 => Comparator::Greater,
                _ => Comparator::GreaterOrEqual,
            }));
        }
    }
}

fn condition(rng: &mut Rng, depth: u32, steps: &mut Vec<Step>) {
    match rng.below(5) {
        0 if depth > 0 => {
            condition(rng, depth - 1, steps);
            steps.push(Step::Not);
        }
        kind @ 1..=2 if depth > 0 => {
            let parts = u16::try_from(rng.below(3)).unwrap() + 1;
            for _ in 0..parts {
                condition(rng, depth - 1, steps);
            }
            steps.push(if kind == 1 { Step::All(parts) } else { Step::Any(parts) });
        }
        _ => comparison(rng, steps),
    }
}

fn gives(rng: &mut Rng) -> Gives {
    let mut some_of = |most: u64| -> Vec<u16> {
        (0..rng.below(most)).map(|_| u16::try_from(rng.below(9)).unwrap()).collect()
    };
    let (by, given, called) = (some_of(3), some_of(6), some_of(5));
    if rng.below(3) == 0 {
        return Gives::Inputs(given);
    }
    let call = |(kind, at): (usize, u16)| match (kind % 4, at) {
        (0, _) => Call::Rows,
        (1, at) => Call::Count(at),
        (2, 0..=3 | 7) => Call::Sum(at),
        (_, 4) => Call::Best { input: at, greatest: kind % 3 == 0, by: Rule::GeneralCi },
        (_, 6) => Call::Count(6),
        _ => Call::Best { input: at, greatest: kind % 2 == 0, by: Rule::Plain },
    };
    Gives::Groups { by, calls: called.into_iter().enumerate().map(call).collect() }
}

/// The values of groups that came in pieces, put together; of rows they are what they are.
fn merged(pushdown: &Pushdown, rows: Vec<Vec<Value>>) -> Vec<String> {
    let Gives::Groups { by, calls } = &pushdown.gives else {
        return rows.into_iter().map(|row| format!("{row:?}")).collect();
    };
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let (key, values) = row.split_at(by.len());
        let known =
            groups.entry(format!("{key:?}")).or_insert_with(|| vec![Value::Null; values.len()]);
        let mut at = 0;
        for call in calls {
            for column in at..at + call.width() {
                known[column] = together(*call, &known[column], &values[column]);
            }
            at += call.width();
        }
    }
    groups.into_iter().map(|(key, values)| format!("{key} {values:?}")).collect()
}

fn together(call: Call, one: &Value, other: &Value) -> Value {
    match (call, one, other) {
        (_, Value::Null, value) | (_, value, Value::Null) => value.clone(),
        (Call::Best { greatest, .. }, Value::Text(one), Value::Text(other)) => {
            let order = resprout_sql::expression::Collation::GeneralCi.compare(other, one);
            let better = if greatest { order.is_gt() } else { order.is_lt() };
            Value::Text(if better { other.clone() } else { one.clone() })
        }
        (Call::Best { greatest, .. }, one, other) => {
            let order = format!("{other:?}").cmp(&format!("{one:?}"));
            let order = match (other, one) {
                (Value::Int(other), Value::Int(one)) => other.cmp(one),
                (Value::UInt(other), Value::UInt(one)) => other.cmp(one),
                (Value::Decimal(other), Value::Decimal(one)) => other.cmp(one),
                (Value::Date(other), Value::Date(one)) => other.cmp(one),
                (Value::Bytes(other), Value::Bytes(one)) => other.cmp(one),
                _ => order,
            };
            let better = if greatest { order.is_gt() } else { order.is_lt() };
            if better { other.clone() } else { one.clone() }
        }
        (_, Value::Int(one), Value::Int(other)) => Value::Int(one + other),
        (_, Value::Decimal(one), Value::Decimal(other)) => {
            let sum = one.unscaled() + other.unscaled();
            Value::Decimal(Decimal::new(sum, one.scale()).unwrap())
        }
        (_, one, other) => panic!("{one:?} and {other:?}"),
    }
}

/// Promise: whatever is asked of rows, a leaf answers what this process does, in pieces of any size, along the rows or an
/// index; columns of whole numbers, which are read many at once, say what rows one by one do.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_answers_as_this_process_does() {
    let world = World::new().await;
    let mut rng = Rng::new(11);
    world.fill((0..3000).map(|id| row(&mut rng, id)));
    for round in 0..250 {
        let mut steps = Vec::new();
        if round % 4 > 0 {
            condition(&mut rng, 3, &mut steps);
        }
        let pushdown =
            Pushdown { inputs: inputs(), condition: steps, gives: gives(&mut rng), zone: 0 };
        let whole = merged(&pushdown, world.near(&pushdown, false, usize::MAX));
        let (there, pieces) = world.there(&pushdown, false);
        assert_eq!(merged(&pushdown, there), whole, "{pushdown:?}");
        assert!(pieces > 1, "the first piece is small");
        let few = world.near(&pushdown, false, usize::try_from(rng.below(700)).unwrap() + 1);
        assert_eq!(merged(&pushdown, few), whole, "{pushdown:?}");
        if matches!(pushdown.gives, Gives::Groups { .. }) {
            let by_index = merged(&pushdown, world.there(&pushdown, true).0);
            assert_eq!(without_texts(&pushdown, by_index), without_texts(&pushdown, whole));
        }
    }
    for (inputs, condition) in [
        (vec![column(1), column(7)], vec![]),
        (
            vec![column(1), column(7)],
            vec![Step::Input(1), Step::Constant(Value::Int(300)), Step::Compare(Comparator::Less)],
        ),
    ] {
        for by in [vec![], vec![0], vec![1, 0]] {
            let best = |input, greatest| Call::Best { input, greatest, by: Rule::Plain };
            let calls = vec![
                Call::Rows,
                Call::Count(0),
                Call::Sum(0),
                Call::Sum(1),
                best(0, true),
                best(1, false),
            ];
            let whole = Pushdown {
                inputs: inputs.clone(),
                condition: condition.clone(),
                gives: Gives::Groups { by, calls },
                zone: 0,
            };
            // With one more input that is no whole number, rows are read one by one.
            let by_row = Pushdown {
                inputs: inputs.iter().copied().chain([column(4)]).collect(),
                ..whole.clone()
            };
            let near =
                |pushdown: &Pushdown| merged(pushdown, world.near(pushdown, false, usize::MAX));
            assert_eq!(near(&whole), near(&by_row));
        }
    }
}

/// Which of two equal texts is shown depends on the order of the rows.
fn without_texts(pushdown: &Pushdown, rows: Vec<String>) -> Vec<String> {
    let Gives::Groups { calls, .. } = &pushdown.gives else { return rows };
    let shows = calls.iter().any(|call| matches!(call, Call::Best { by: Rule::GeneralCi, .. }));
    if shows { Vec::new() } else { rows }
}

/// Promise: groups are kept within a bound, however many there are, and come in pieces then; what is sent is what they came
/// to, and not the rows.
#[tokio::test(flavor = "multi_thread")]
async fn many_groups_come_in_pieces_and_few_are_few_bytes() {
    let world = World::new().await;
    let text = "long enough to be seen on the wire".to_owned();
    world.fill((0..40_000).map(|id| {
        let mut row = vec![Value::Null; 8];
        (row[0], row[1], row[7]) = (Value::Int(id), Value::Int(id % 10), Value::Int(id % 20_000));
        row[4] = Value::Text(text.clone());
        row
    }));
    let groups = |by: Vec<u16>| Pushdown {
        inputs: inputs(),
        condition: Vec::new(),
        gives: Gives::Groups { by, calls: vec![Call::Rows, Call::Sum(0)] },
        zone: 0,
    };
    let all = Pushdown { gives: Gives::Inputs((0..8).collect()), ..groups(Vec::new()) };
    let measure = |pushdown: &Pushdown| {
        let before = world.sent.load(Ordering::Relaxed);
        let (rows, pieces) = world.there(pushdown, false);
        (rows, pieces, world.sent.load(Ordering::Relaxed) - before)
    };
    let (rows, _, whole) = measure(&all);
    assert_eq!(rows.len(), 40_000);
    let (rows, _, few) = measure(&groups(vec![1]));
    assert_eq!(merged(&groups(vec![1]), rows).len(), 10);
    let one_percent = Pushdown {
        condition: vec![
            Step::Input(7),
            Step::Constant(Value::Int(200)),
            Step::Compare(Comparator::Less),
        ],
        ..all
    };
    let (rows, _, selected) = measure(&one_percent);
    assert_eq!(rows.len(), 400);
    println!("bytes of 40000 rows: {whole}; of 10 groups: {few}; of 1 % of the rows: {selected}");
    assert!(whole > 40 * 40_000 && few < 3000 && selected < whole / 50, "{whole} {few} {selected}");
    let many = groups(vec![7]);
    let (rows, pieces, _) = measure(&many);
    assert!(pieces >= 4 && rows.len() > 20_000, "{pieces} pieces of {} groups", rows.len());
    let expected: i64 = 20_000;
    assert_eq!(merged(&many, rows).len(), usize::try_from(expected).unwrap());
}

/// Promise: a sum that is larger than a number has digits comes in parts that are not, and no digit is lost.
#[tokio::test(flavor = "multi_thread")]
async fn sums_that_do_not_fit_come_in_parts() {
    let world = World::new().await;
    let large = 10_i128.pow(38) - 1;
    world.fill((0..7).map(|id| {
        let mut row = vec![Value::Null; 8];
        (row[0], row[7]) = (Value::Int(id), Value::Int(0));
        row[3] = Value::Decimal(Decimal::new(if id < 5 { large } else { -large }, 4).unwrap());
        row
    }));
    let gives = Gives::Groups { by: vec![7], calls: vec![Call::Rows, Call::Sum(3)] };
    let pushdown = Pushdown { inputs: inputs(), condition: Vec::new(), gives, zone: 0 };
    let (rows, _) = world.there(&pushdown, false);
    let sum = |rows: &[Vec<Value>]| {
        let of = |row: &Vec<Value>| match row[2] {
            // Three times the number has no room in the sum of this test.
            Value::Decimal(number) => (number.unscaled() / 1000, number.unscaled() % 1000),
            _ => (0, 0),
        };
        rows.iter().map(of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    assert!(rows.len() > 1, "{rows:?}");
    let (thousands, ones) = sum(&rows);
    assert_eq!((thousands - 3 * (large / 1000)) * 1000 + ones, 3 * (large % 1000));
    let counted = |at: usize| -> i64 {
        rows.iter().map(|row| if let Value::Int(count) = row[at] { count } else { 0 }).sum()
    };
    assert_eq!((counted(1), counted(3)), (7, 7));
}

/// Promise (N15): anything that may come over the wire as a condition or groups is done or refused: no panic, and no stack
/// that overflows.
#[tokio::test(flavor = "multi_thread")]
async fn n15_what_cannot_be_is_refused() {
    let world = World::new().await;
    let mut rng = Rng::new(5);
    world.fill((0..50).map(|id| row(&mut rng, id)));
    let table = world.table();
    let transaction = world.database.partitions()[0].begin().unwrap();
    let view = transaction.view().unwrap();
    let mut refused = 0;
    for round in 0..3000 {
        let mut steps = Vec::new();
        condition(&mut rng, 2, &mut steps);
        for _ in 0..rng.below(4) {
            let at = usize::try_from(rng.below(steps.len() as u64 + 1)).unwrap();
            let number = u16::try_from(rng.below(70_000).min(65_535)).unwrap();
            steps.insert(
                at,
                match rng.below(6) {
                    0 => Step::All(number),
                    1 => Step::Any(number % 5),
                    2 => Step::In { items: number % 4, negated: false },
                    3 => Step::Input(number % 12),
                    4 => Step::Not,
                    _ => Step::Constant(Value::Null),
                },
            );
        }
        if round == 0 {
            steps = std::iter::once(Step::Input(0)).chain(vec![Step::Not; 1_000_000]).collect();
        }
        let inputs = inputs().into_iter().chain([column(u16::try_from(rng.below(9)).unwrap())]);
        let at = |rng: &mut Rng| u16::try_from(rng.below(12)).unwrap();
        let calls = vec![
            Call::Sum(at(&mut rng)),
            Call::Best { input: at(&mut rng), greatest: true, by: Rule::Bin },
        ];
        let gives = Gives::Groups { by: vec![at(&mut rng)], calls };
        let pushdown =
            Pushdown { inputs: inputs.collect(), condition: steps, gives, zone: i32::MAX };
        let limits = Limits { looked: 100, rows: 100, bytes: 1 << 20 };
        let (range, index) = (&table.rows(), None);
        let piece =
            Piece { transaction: &transaction, view: &view, table: &table, index, range, limits };
        let mut packed = Packed::default();
        let sink: &mut dyn Sink = &mut packed;
        refused += usize::from(ByExpressions.evaluate(&piece, &pushdown, sink).is_err());
    }
    assert!((500..3000).contains(&refused), "{refused} refused");
}
