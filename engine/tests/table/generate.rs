//! Types, values that fit them, and tables, for property tests. Edges come up often.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use resprout_engine::table::{
    ColumnNotes, ColumnType, Date, DateTime, Decimal, NewColumn, Table, TableSchema, Time, Value,
};
use std::cmp::Ordering;

/// Runs `cases` cases from a fixed seed, so that every run tests the same.
pub(crate) fn cases(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(0x5EED_0001),
        failure_persistence: None,
        ..Config::default()
    }
}

const KEY_TYPES: &[&str] = &[
    "tinyint",
    "tinyint unsigned",
    "smallint",
    "smallint unsigned",
    "mediumint",
    "mediumint unsigned",
    "int",
    "int unsigned",
    "bigint",
    "bigint unsigned",
    "float",
    "double",
    "decimal(4,2)",
    "decimal(18,0)",
    "decimal(38,10)",
    "char(5)",
    "varchar(20)",
    "binary(3)",
    "varbinary(20)",
    "date",
    "time",
    "time(6)",
    "datetime",
    "datetime(3)",
    "timestamp(6)",
];

/// Types that may be part of a key.
pub(crate) fn key_type() -> impl Strategy<Value = ColumnType> {
    prop::sample::select(KEY_TYPES).prop_map(|text| ColumnType::parse(text).unwrap())
}

/// All types.
pub(crate) fn any_type() -> impl Strategy<Value = ColumnType> {
    let others = prop::sample::select(&["text", "tinytext", "blob", "longblob", "json"][..]);
    prop_oneof![
        4 => key_type(),
        1 => others.prop_map(|text| ColumnType::parse(text).unwrap()),
    ]
}

/// Numbers of so many bits, often near the edges.
fn signed(bits: u32) -> impl Strategy<Value = i64> {
    let (low, high) = (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1);
    let (low, high) = (i64::try_from(low).unwrap(), i64::try_from(high).unwrap());
    prop_oneof![low..=high, Just(low), Just(high), (-3_i64..=3)]
}

fn unsigned(bits: u32) -> impl Strategy<Value = u64> {
    let high = u64::MAX >> (64 - bits);
    prop_oneof![0..=high, Just(high), 0_u64..=3]
}

fn micros(range: std::ops::RangeInclusive<i64>, fsp: u8) -> impl Strategy<Value = i64> {
    let unit = 10_i64.pow(u32::from(6 - fsp));
    // Rounded inwards, so that the result has no more digits than the column and is in range.
    let (low, high) = (-(-range.start()).div_euclid(unit), range.end().div_euclid(unit));
    prop_oneof![low..=high, Just(low), Just(high)].prop_map(move |units| units * unit)
}

/// Values that fit a type as they are, without NULL.
pub(crate) fn value_of(ty: &ColumnType) -> BoxedStrategy<Value> {
    let ty = *ty;
    match ty {
        ColumnType::Int { size, unsigned: false } => {
            signed(8 * u32::try_from(size.bytes()).unwrap()).prop_map(Value::Int).boxed()
        }
        ColumnType::Int { size, unsigned: true } => {
            unsigned(8 * u32::try_from(size.bytes()).unwrap()).prop_map(Value::UInt).boxed()
        }
        ColumnType::Float => any::<f32>()
            .prop_filter("not negative zero", |number| number.to_bits() != (-0.0_f32).to_bits())
            .prop_map(Value::Float)
            .boxed(),
        ColumnType::Double => any::<f64>()
            .prop_filter("not negative zero", |number| number.to_bits() != (-0.0_f64).to_bits())
            .prop_map(Value::Double)
            .boxed(),
        ColumnType::Decimal { precision, scale } => {
            let high = 10_i128.pow(u32::from(precision)) - 1;
            prop_oneof![-high..=high, Just(high), Just(-high), -3_i128..=3]
                .prop_map(move |number| Value::Decimal(Decimal::new(number, scale).unwrap()))
                .boxed()
        }
        ColumnType::Date => (Date::MIN.days()..=Date::MAX.days())
            .prop_map(|days| Value::Date(Date::from_days(days).unwrap()))
            .boxed(),
        ColumnType::Time(fsp) => micros(-Time::MAX.micros()..=Time::MAX.micros(), fsp)
            .prop_map(|micros| Value::Time(Time::from_micros(micros).unwrap()))
            .boxed(),
        ColumnType::DateTime(fsp) => moment(DateTime::MIN..=DateTime::MAX, fsp),
        ColumnType::Timestamp(fsp) => {
            moment(DateTime::TIMESTAMP_MIN..=DateTime::TIMESTAMP_MAX, fsp)
        }
        _ => bytes_of(ty),
    }
}

fn moment(range: std::ops::RangeInclusive<DateTime>, fsp: u8) -> BoxedStrategy<Value> {
    micros(range.start().micros()..=range.end().micros(), fsp)
        .prop_map(|micros| Value::DateTime(DateTime::from_micros(micros).unwrap()))
        .boxed()
}

fn bytes_of(ty: ColumnType) -> BoxedStrategy<Value> {
    // Few different characters, so that values often share their start; zeros and FF, because
    // they are escaped.
    let text = |most: usize| {
        let character =
            prop::sample::select(&['\0', '\u{1}', ' ', 'a', 'b', 'é', '\u{10FFFF}'][..]);
        prop::collection::vec(character, 0..=most).prop_map(String::from_iter)
    };
    let bytes = |least: usize, most: usize| {
        let byte = prop::sample::select(&[0_u8, 1, b'a', 0xFE, 0xFF][..]);
        prop::collection::vec(byte, least..=most).prop_map(Value::Bytes).boxed()
    };
    match ty {
        ColumnType::Char(most) => text(usize::from(most))
            .prop_map(|text| Value::Text(text.trim_end_matches(' ').to_owned()))
            .boxed(),
        ColumnType::Binary(length) => bytes(usize::from(length), usize::from(length)),
        ColumnType::VarBinary(most) => bytes(0, most as usize),
        ColumnType::Blob(_) => bytes(0, 300),
        ColumnType::Json => prop::sample::select(&["null", "{\"a\": [1, 2]}", "\"é\""][..])
            .prop_map(Value::from)
            .boxed(),
        ColumnType::VarChar(most) => text(most as usize).prop_map(Value::Text).boxed(),
        _ => text(60).prop_map(Value::Text).boxed(),
    }
}

/// Values that fit a column, with NULL if it may be.
pub(crate) fn cell(ty: &ColumnType, nullable: bool) -> BoxedStrategy<Value> {
    if nullable {
        return prop_oneof![3 => value_of(ty), 1 => Just(Value::Null)].boxed();
    }
    value_of(ty)
}

/// The order of two values of one type: NULL first, numbers by size, text by its bytes.
pub(crate) fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::UInt(left), Value::UInt(right)) => left.cmp(right),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right).unwrap(),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right).unwrap(),
        (Value::Decimal(left), Value::Decimal(right)) => left.cmp(right),
        (Value::Text(left), Value::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
        (Value::Date(left), Value::Date(right)) => left.cmp(right),
        (Value::Time(left), Value::Time(right)) => left.cmp(right),
        (Value::DateTime(left), Value::DateTime(right)) => left.cmp(right),
        _ => panic!("values of two types: {left:?}, {right:?}"),
    }
}

/// A table with the given columns, a primary key over the first `key` of them, or a hidden one.
pub(crate) fn table_of(columns: &[(ColumnType, bool)], key: usize) -> Table {
    let names: Vec<_> = (0..columns.len()).map(|number| format!("c{number}")).collect();
    let mut builder = TableSchema::builder("t");
    for (name, (ty, nullable)) in names.iter().zip(columns) {
        builder = builder.new_column(NewColumn {
            name: name.clone(),
            ty: *ty,
            nullable: *nullable,
            default: None,
            notes: ColumnNotes::default(),
        });
    }
    if key > 0 {
        let names: Vec<_> = names[..key].iter().map(String::as_str).collect();
        builder = builder.primary_key(&names);
    }
    Table::new(builder.build().unwrap()).unwrap()
}

/// Columns and one row that fits them: the first one to three columns are fit to be a key.
pub(crate) fn columns_and_row()
-> impl Strategy<Value = (Vec<(ColumnType, bool)>, usize, Vec<Value>)> {
    let keys = prop::collection::vec((key_type(), Just(false)), 1..=3);
    let others = prop::collection::vec((any_type(), any::<bool>()), 0..=8);
    (keys, others).prop_flat_map(|(keys, others)| {
        let key = keys.len();
        let columns: Vec<_> = keys.into_iter().chain(others).collect();
        let row: Vec<_> = columns.iter().map(|(ty, nullable)| cell(ty, *nullable)).collect();
        (Just(columns), Just(key), row)
    })
}
