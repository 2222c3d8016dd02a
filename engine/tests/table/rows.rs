//! Rows give back what was written, also under later versions of their table, and damaged rows
//! are errors.

use super::generate::{cases, columns_and_row, table_of};
use proptest::prelude::*;
use resprout_engine::table::{
    ColumnId, ColumnType, NewColumn, ROW_MAX, RowDamage, RowError, RowView, Table, TableSchema,
    Value, ValueError, ValueRef,
};

fn encode(table: &Table, values: &[Value], hidden: Option<u64>) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (vec![9; 3], vec![9; 3]);
    table.encoder().encode(values, hidden, &mut key, &mut value).unwrap();
    (key, value)
}

fn decoded(row: &RowView<'_>) -> Vec<Value> {
    row.values().unwrap().into_iter().map(ValueRef::into_owned).collect()
}

proptest! {
    #![proptest_config(cases(2000))]

    /// Guards A1 (never altered): a row gives back exactly what was written.
    #[test]
    fn rows_give_back_their_values((columns, key_columns, values) in columns_and_row()) {
        for key_columns in [key_columns, 0] {
            let table = table_of(&columns, key_columns);
            let hidden = (key_columns == 0).then_some(0x0102_0304);
            let (key, value) = encode(&table, &values, hidden);
            let row = RowView::new(&table, &key, &value).unwrap();
            prop_assert_eq!(row.check(), Ok(()));
            prop_assert_eq!(&decoded(&row), &values);
            prop_assert_eq!(row.hidden().unwrap(), hidden);
        }
    }

    /// Guards A8, A10: a flipped byte is an error or another row in its only form, never a panic.
    #[test]
    fn every_flipped_byte_is_harmless(
        (columns, key_columns, values) in columns_and_row(),
        flip in 1_u8..=255,
    ) {
        let table = table_of(&columns, key_columns);
        let (key, value) = encode(&table, &values, None);
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= flip;
            prop_assert!(survives(&table, &key, &damaged));
        }
        for at in 0..key.len() {
            let mut damaged = key.clone();
            damaged[at] ^= flip;
            prop_assert!(survives(&table, &damaged, &value));
        }
        for length in 0..value.len() {
            prop_assert!(RowView::new(&table, &key, &value[..length]).is_err());
        }
    }

    /// Guards A8, A10: any bytes at all are an error or a row.
    #[test]
    fn hostile_bytes_are_harmless(
        (columns, key_columns, values) in columns_and_row(),
        mut tail in prop::collection::vec(any::<u8>(), 0..60),
        wide in any::<bool>(),
    ) {
        let table = table_of(&columns, key_columns);
        let (key, _) = encode(&table, &values, None);
        survives(&table, &key, &tail);
        tail.splice(0..0, [1, if wide { 0x80 } else { 0 }]);
        prop_assert!(survives(&table, &key, &tail));
    }
}

/// Reads all of a row, which may be damaged; false if what passes every check is not what a
/// writer would have written.
fn survives(table: &Table, key: &[u8], value: &[u8]) -> bool {
    let Ok(row) = RowView::new(table, key, value) else { return true };
    for column in table.live() {
        let _read_without_panic = row.get(*column);
    }
    let Ok(()) = row.check() else { return true };
    encode(table, &decoded(&row), row.hidden().unwrap()) == (key.to_vec(), value.to_vec())
}

fn small_table() -> Table {
    let schema = TableSchema::builder("t")
        .column("id", "int")
        .column("a", "smallint")
        .nullable(true)
        .column("b", "varchar(10)")
        .column("c", "blob")
        .nullable(true)
        .primary_key(&["id"])
        .build();
    Table::new(schema.unwrap()).unwrap()
}

/// Guards: the bytes of format 1. A change here needs a new format.
#[test]
fn the_bytes_of_rows_are_as_documented() {
    let table = small_table();
    let row = |a: Option<i64>, b: &str, c: Option<Vec<u8>>| {
        encode(&table, &[Value::Int(7), a.into(), b.into(), c.into()], None)
    };
    let (key, value) = row(Some(258), "xyz", Some(vec![9]));
    assert_eq!(key, [0, 0, 0, 0, 0x80, 0, 0, 7]);
    assert_eq!(value, [1, 0, 0b00, 0x81, 2, 3, 0, 4, 0, b'x', b'y', b'z', 9]);
    let (_, value) = row(None, "", None);
    assert_eq!(value, [1, 0, 0b11, 0, 0, 0, 0, 0, 0]);
}

/// Guards: values beyond 64 KiB use wide offsets, and the others do not.
#[test]
fn long_values_use_wide_offsets() {
    let schema =
        TableSchema::builder("t").column("a", "longblob").column("b", "longblob").nullable(true);
    let table = Table::new(schema.build().unwrap()).unwrap();
    for length in [0, 0xFFFE, 0xFFFF, 0x1_0000, 3 << 20] {
        let values = [Value::Bytes(vec![7; length]), Value::Bytes(vec![8])];
        let (key, value) = encode(&table, &values, Some(1));
        let wide = length >= 0xFFFF;
        assert_eq!(value[1] == 0x80, wide, "{length} bytes");
        assert_eq!(value.len(), 3 + if wide { 8 } else { 4 } + length + 1);
        let row = RowView::new(&table, &key, &value).unwrap();
        row.check().unwrap();
        assert_eq!(decoded(&row), values);
    }
}

/// Guards: a row that the tree cannot take is refused before anything is changed.
#[test]
fn rows_beyond_the_limit_are_refused() {
    let table =
        Table::new(TableSchema::builder("t").column("a", "longblob").build().unwrap()).unwrap();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let values = [Value::Bytes(vec![0; ROW_MAX])];
    let refused = table.encoder().encode(&values, Some(1), &mut key, &mut value).unwrap_err();
    assert!(matches!(refused, RowError::TooLarge { limit: ROW_MAX, .. }), "{refused}");
    assert_eq!(refused.mysql_code(), 1118);
}

/// Guards: the encoder refuses what does not fit and says in which column.
#[test]
fn values_that_do_not_fit_are_refused_with_their_column() {
    let table = small_table();
    let refused = |a: Value, b: Value| {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let values = [Value::Int(1), a, b, Value::Null];
        table.encoder().encode(&values, None, &mut key, &mut value).unwrap_err()
    };
    let out_of_range = refused(Value::Int(40_000), "".into());
    assert_eq!(
        out_of_range.to_string(),
        "column 'a': out of range value '40000' for type smallint"
    );
    assert_eq!(out_of_range.mysql_code(), 1264);
    assert_eq!(refused(Value::Null, "12345678901".into()).mysql_code(), 1406);
    let null = RowError::Value { column: "b".into(), source: ValueError::Null };
    assert_eq!(refused(Value::Null, Value::Null), null);
}

/// Guards R21: rows stay readable, with the right values, through changes of their table.
#[test]
fn r21_rows_of_older_versions_answer_defaults_and_pass_over_dropped_columns() {
    let first = small_table();
    let values = [Value::Int(1), Value::Int(5), "old".into(), Value::Bytes(vec![1, 2])];
    let old = encode(&first, &values, None);

    let column = |name: &str, ty: &str, default: Option<Value>| {
        let parsed = NewColumn::parse(name, ty).unwrap();
        NewColumn { nullable: default == Some(Value::Null), default, ..parsed }
    };
    let schema = first
        .schema()
        .add_column(column("d", "varchar(9)", Some("new".into())))
        .and_then(|schema| schema.add_column(column("e", "int unsigned", None)))
        .and_then(|schema| schema.add_column(column("f", "date", Some(Value::Null))))
        .and_then(|schema| schema.drop_column("b"))
        .and_then(|schema| schema.rename_column("a", "b"))
        .unwrap();
    assert_eq!(schema.version, 5);
    let table = Table::new(schema).unwrap();

    let row = RowView::new(&table, &old.0, &old.1).unwrap();
    row.check().unwrap();
    let expected = [
        Value::Int(1),
        Value::Int(5),
        Value::Bytes(vec![1, 2]),
        "new".into(),
        Value::UInt(0),
        Value::Null,
    ];
    assert_eq!(decoded(&row), expected);
    assert_eq!(table.schema().column_named("b"), Some(ColumnId(1)));

    let new = encode(&table, &expected, None);
    assert_ne!(new, old);
    let row = RowView::new(&table, &new.0, &new.1).unwrap();
    row.check().unwrap();
    assert_eq!(decoded(&row), expected);

    let unknown = RowView::new(&first, &new.0, &new.1).unwrap_err();
    assert_eq!(unknown, RowDamage::Version { table: "t".into(), found: 5, newest: 1 });
}

/// Guards A8: each kind of damage is named.
#[test]
fn damage_of_rows_is_named() {
    let table = small_table();
    let values = [Value::Int(1), Value::Null, "ab".into(), Value::Bytes(vec![3])];
    let (key, value) = encode(&table, &values, None);
    let check = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut damaged = value.clone();
        change(&mut damaged);
        RowView::new(&table, &key, &damaged).and_then(|row| row.check()).unwrap_err()
    };
    let name = || String::from("t");
    let length = |expected, found| RowDamage::Length { table: name(), expected, found };
    assert_eq!(check(&|row| row.clear()), length(2, 0));
    assert_eq!(check(&|row| row.truncate(5)), length(9, 5));
    assert_eq!(check(&|row| row.push(0)), length(12, 13));
    assert_eq!(check(&|row| row[0] = 2), RowDamage::Version { table: name(), found: 2, newest: 1 });
    assert_eq!(
        check(&|row| row[5] = 4),
        RowDamage::Offset { table: name(), column: ColumnId(2), end: 4, bounds: 0..=3 }
    );
    let ty = ColumnType::parse("varchar(10)").unwrap();
    assert_eq!(
        check(&|row| row[9] = 0xFF),
        RowDamage::Value { table: name(), column: ColumnId(2), ty }
    );
    assert!(matches!(check(&|row| row[3] = 1), RowDamage::Form { .. }));
    assert!(matches!(check(&|row| row[2] |= 0x80), RowDamage::Form { .. }));
    assert!(matches!(RowView::new(&table, &[0, 0, 0, 1], &value), Err(RowDamage::Key { .. })));
}

/// Guards: rows given by column are completed by defaults or refused.
#[test]
fn rows_are_completed_by_defaults() {
    let schema = TableSchema::builder("t")
        .column("id", "bigint")
        .column("a", "int")
        .default(7_i64)
        .column("b", "date")
        .nullable(true)
        .column("c", "varchar(3)")
        .primary_key(&["id"])
        .auto_increment("id");
    let table = Table::new(schema.build().unwrap()).unwrap();
    let row = table.complete(vec![(ColumnId(3), Value::Int(12))]).unwrap();
    assert_eq!(row, [Value::Null, Value::Int(7), Value::Null, "12".into()]);
    let code = |given: Vec<(ColumnId, Value)>| table.complete(given).unwrap_err().mysql_code();
    assert_eq!(code(vec![]), 1364);
    assert_eq!(code(vec![(ColumnId(3), Value::Null)]), 1048);
    assert_eq!(code(vec![(ColumnId(3), "a".into()), (ColumnId(3), "b".into())]), 1110);
    assert_eq!(code(vec![(ColumnId(9), Value::Null)]), 1110);
}
