//! Keys compare like the values that they are made of, whatever the types, and give them back.

use super::generate::{cases, cell, key_type, order};
use proptest::prelude::*;
use resprout_engine::table::key::{KEY_MAX, Reader, append, index_of, start, successor};
use resprout_engine::table::{ColumnType, IndexId, KeyDamage, KeyError, KeyRange, Value, ValueRef};

const INDEX: IndexId = IndexId(77);

type Columns = Vec<(ColumnType, bool)>;

fn encode(columns: &[(ColumnType, bool)], values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    start(INDEX, &mut out);
    for ((ty, nullable), value) in columns.iter().zip(values) {
        append(ty, *nullable, &value.as_ref(), &mut out).unwrap();
    }
    out
}

fn columns() -> impl Strategy<Value = Columns> {
    prop::collection::vec((key_type(), any::<bool>()), 1..=4)
}

fn row(columns: &Columns) -> Vec<BoxedStrategy<Value>> {
    columns.iter().map(|(ty, nullable)| cell(ty, *nullable)).collect()
}

/// Two rows of the same columns that often agree in the first of them.
fn two_rows() -> impl Strategy<Value = (Columns, Vec<Value>, Vec<Value>)> {
    columns().prop_flat_map(|columns| {
        let (left, right) = (row(&columns), row(&columns));
        let shared = 0..=columns.len();
        (Just(columns), left, right, shared).prop_map(|(columns, left, mut right, shared)| {
            right[..shared].clone_from_slice(&left[..shared]);
            (columns, left, right)
        })
    })
}

proptest! {
    #![proptest_config(cases(4000))]

    /// Guards: scans and lookups see rows in the order of their values.
    #[test]
    fn the_order_of_keys_is_the_order_of_values((columns, left, right) in two_rows()) {
        let by_value = left
            .iter()
            .zip(&right)
            .map(|(left, right)| order(left, right))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal);
        prop_assert_eq!(encode(&columns, &left).cmp(&encode(&columns, &right)), by_value);
    }

    /// Guards: key columns are stored nowhere else, so keys give back exactly what went in.
    #[test]
    fn keys_give_back_their_values((columns, values, _) in two_rows()) {
        let key = encode(&columns, &values);
        let mut reader = Reader::new(INDEX, &key).unwrap();
        let mut skipping = reader.clone();
        for ((ty, nullable), value) in columns.iter().zip(&values) {
            prop_assert_eq!(reader.next(ty, *nullable).unwrap().into_owned(), value.clone());
            skipping.skip(ty, *nullable).unwrap();
            prop_assert_eq!(skipping.rest(), reader.rest());
        }
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    /// Guards: a prefix scan finds all rows with these values and no others.
    #[test]
    fn the_range_of_a_prefix_holds_what_starts_with_it((columns, left, right) in two_rows()) {
        for prefix in 0..=columns.len() {
            let range = KeyRange::with_prefix(encode(&columns[..prefix], &left[..prefix]));
            let same = left[..prefix].iter().zip(&right).all(|(l, r)| order(l, r).is_eq());
            prop_assert!(range.contains(&encode(&columns, &left)));
            prop_assert_eq!(range.contains(&encode(&columns, &right)), same);
        }
    }

    /// Guards A8, A10: no bytes make reading a key panic; what can be read is written the same.
    #[test]
    fn hostile_keys_are_errors(columns in columns(), bytes in hostile()) {
        let key = [&INDEX.0.to_be_bytes()[..], &bytes].concat();
        let mut reader = Reader::new(INDEX, &key).unwrap();
        let read: Result<Vec<_>, _> =
            columns.iter().map(|(ty, nullable)| reader.next(ty, *nullable)).collect();
        if let (Ok(values), Ok(())) = (read, reader.finish()) {
            let values: Vec<_> = values.into_iter().map(ValueRef::into_owned).collect();
            if columns.iter().zip(&values).all(|((ty, _), value)| ty.fits(&value.as_ref())) {
                prop_assert_eq!(encode(&columns, &values), key);
            }
        }
    }

    /// Guards: what comes after a prefix is the smallest such key.
    #[test]
    fn the_successor_is_the_first_key_behind_a_prefix(prefix in hostile(), other in hostile()) {
        let Some(next) = successor(&prefix) else {
            prop_assert!(prefix.iter().all(|byte| *byte == 0xFF));
            return Ok(());
        };
        let behind = other > prefix && !other.starts_with(&prefix);
        prop_assert_eq!(other >= next, behind);
    }
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![prop::sample::select(&[0_u8, 1, 0x7F, 0x80, 0xFF][..]), any::<u8>()];
    prop::collection::vec(byte, 0..40)
}

/// Guards: the bytes of format 1. A change here needs a new format.
#[test]
fn the_bytes_of_keys_are_as_documented() {
    let key = |ty: &str, nullable: bool, value: Value| {
        let ty = ColumnType::parse(ty).unwrap();
        encode(&[(ty, nullable)], &[ty.coerce(value).unwrap()])[4..].to_vec()
    };
    assert_eq!(key("int", false, Value::Int(1)), [0x80, 0, 0, 1]);
    assert_eq!(key("int", false, Value::Int(-1)), [0x7F, 0xFF, 0xFF, 0xFF]);
    assert_eq!(key("mediumint unsigned", false, Value::Int(258)), [0, 1, 2]);
    assert_eq!(key("varchar(9)", false, "a\0b".into()), [b'a', 0, 0xFF, b'b', 0, 0]);
    assert_eq!(key("varchar(9)", true, Value::Null), [0]);
    assert_eq!(key("varchar(9)", true, "".into()), [1, 0, 0]);
    assert_eq!(key("char(5)", false, "a  ".into()), [b'a', 0, 0]);
    assert_eq!(key("double", false, Value::Double(-0.0)), [0x80, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        key("decimal(4,2)", false, "-0.01".into())[..],
        [0x7F, 255, 255, 255, 255, 255, 255, 255]
    );
    assert_eq!(key("decimal(19,0)", false, Value::Int(1)).len(), 16);
    assert_eq!(key("date", false, "1970-01-02".into()), [0x80, 0, 0, 1]);
    assert_eq!(index_of(&encode(&[], &[])), Some((INDEX, &[][..])));
}

/// Guards: a key is never longer than the tree can take.
#[test]
fn keys_beyond_3072_bytes_are_refused() {
    let ty = ColumnType::parse("varbinary(4000)").unwrap();
    let try_bytes = |bytes: Vec<u8>| {
        let mut out = Vec::new();
        start(INDEX, &mut out);
        append(&ty, false, &Value::Bytes(bytes).as_ref(), &mut out).map(|()| out.len())
    };
    assert_eq!(try_bytes(vec![1; KEY_MAX - 6]), Ok(KEY_MAX));
    assert_eq!(try_bytes(vec![1; KEY_MAX - 5]), Err(KeyError::TooLong { bytes: KEY_MAX + 1 }));
    // Zeros take two bytes.
    assert_eq!(try_bytes(vec![0; 2000]), Err(KeyError::TooLong { bytes: 4006 }));
}

/// Guards: a value that was not brought to its column's type is refused, not stored wrongly.
#[test]
fn values_that_do_not_fit_are_refused() {
    let mut out = Vec::new();
    for (ty, nullable, value, error) in [
        ("tinyint", false, Value::Int(128), KeyError::Value(ColumnType::parse("tinyint").unwrap())),
        ("date", false, "2024-01-01".into(), KeyError::Value(ColumnType::Date)),
        ("char(5)", false, "a ".into(), KeyError::Value(ColumnType::Char(5))),
        ("double", false, Value::Double(f64::NAN), KeyError::Value(ColumnType::Double)),
        ("int", false, Value::Null, KeyError::Null),
    ] {
        let ty = ColumnType::parse(ty).unwrap();
        assert_eq!(append(&ty, nullable, &value.as_ref(), &mut out), Err(error));
    }
}

/// Guards: each kind of damage is named.
#[test]
fn damage_of_keys_is_named() {
    let int = ColumnType::parse("int").unwrap();
    let text = ColumnType::parse("varchar(5)").unwrap();
    let read = |ty: &ColumnType, nullable: bool, bytes: &[u8]| {
        let key = [&INDEX.0.to_be_bytes()[..], bytes].concat();
        Reader::new(INDEX, &key).unwrap().next(ty, nullable).map(ValueRef::into_owned)
    };
    assert_eq!(read(&int, false, &[0, 0, 0]), Err(KeyDamage::Short(int)));
    assert_eq!(read(&int, true, &[]), Err(KeyDamage::Short(int)));
    assert_eq!(read(&int, true, &[2, 0, 0, 0, 0]), Err(KeyDamage::Mark(2)));
    assert_eq!(read(&text, false, b"abc"), Err(KeyDamage::Short(text)));
    assert_eq!(read(&text, false, &[b'a', 0, 7, 0, 0]), Err(KeyDamage::Short(text)));
    assert_eq!(read(&text, false, &[0xC3, 0, 0]), Err(KeyDamage::Value(text)));
    assert_eq!(read(&ColumnType::Date, false, &[0xFF; 4]), Err(KeyDamage::Value(ColumnType::Date)));
    let other = Reader::new(IndexId(78), &INDEX.0.to_be_bytes()).unwrap_err();
    assert_eq!(other, KeyDamage::Index { expected: IndexId(78), found: INDEX });
    assert!(matches!(Reader::new(INDEX, &[0, 0]), Err(KeyDamage::Index { .. })));
    assert_eq!(KeyRange::of_index(INDEX).to, Some(vec![0, 0, 0, 78]));
    assert_eq!(successor(&[]), None);
}
