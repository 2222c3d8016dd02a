//! Rows and indexes agree: random inserts, changes and deletions, carried out by their plans on
//! a simple tree, beside a list of rows that knows nothing of plans.

use super::generate::{cases, order};
use proptest::prelude::*;
use resprout_engine::record::OpKind;
use resprout_engine::table::{
    ColumnId, IndexId, KeyRange, MustBeAbsent, RowError, RowView, RowWrites, Table, TableSchema,
    Value, ValueRef, index_entry, index_entry_to_primary_key, plan_delete, plan_insert,
    plan_update,
};
use std::collections::{BTreeMap, BTreeSet};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The values of a row before and after a step; none where there is no row.
type Change = (Option<Vec<Value>>, Option<Vec<Value>>);

/// A table whose numbers were given, as a catalog would.
fn table(primary: bool) -> Table {
    let mut builder = TableSchema::builder("t")
        .column("id", "int")
        .column("a", "varchar(3)")
        .nullable(true)
        .column("b", "int")
        .nullable(true)
        .column("c", "varbinary(9)")
        .unique("ab", &["a", "b"])
        .unique("b", &["b"])
        .index("by_c", &["c", "a"]);
    if primary {
        builder = builder.primary_key(&["id"]);
    }
    let mut schema = builder.build().unwrap();
    schema.primary_index = IndexId(16);
    for (id, index) in (17..).zip(&mut schema.indexes) {
        index.id = IndexId(id);
    }
    Table::new(schema).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<Value>),
    Update { row: usize, column: u16, value: Value },
    Delete { row: usize },
}

fn value(column: u16) -> BoxedStrategy<Value> {
    let null = || Just(Value::Null);
    let text = prop::sample::select(&["", "a", "b"][..]).prop_map(Value::from);
    match column {
        0 => (0_i64..8).prop_map(Value::Int).boxed(),
        1 => prop_oneof![3 => text, 1 => null()].boxed(),
        2 => prop_oneof![4 => (0_i64..12).prop_map(Value::Int), 1 => null()].boxed(),
        _ => prop::collection::vec(0_u8..2, 0..3).prop_map(Value::Bytes).boxed(),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let update = (0_u16..4)
        .prop_flat_map(|column| (any::<usize>(), Just(column), value(column)))
        .prop_map(|(row, column, value)| Step::Update { row, column, value });
    prop_oneof![
        4 => (0_u16..4).map(value).collect::<Vec<_>>().prop_map(Step::Insert),
        4 => update,
        1 => any::<usize>().prop_map(|row| Step::Delete { row }),
    ]
}

/// Carries a plan out, or says which key was there that must be absent.
fn apply(rows: &mut Rows, plan: &RowWrites) -> Result<(), MustBeAbsent> {
    if let Some(taken) = plan.must_be_absent.iter().find(|key| rows.contains_key(&key.key)) {
        return Err(taken.clone());
    }
    let keys: BTreeSet<_> = plan.ops.iter().map(|op| &op.key).collect();
    assert_eq!(keys.len(), plan.ops.len(), "no key is written twice");
    for absent in &plan.must_be_absent {
        assert!(plan.locks.contains(&absent.key), "what is checked is locked");
    }
    for op in &plan.ops {
        let old = match op.kind {
            OpKind::Insert | OpKind::Update => rows.insert(op.key.clone(), op.value.clone()),
            OpKind::Delete => rows.remove(&op.key),
            OpKind::DeleteRange => panic!("plans of rows remove no ranges"),
        };
        assert_eq!(old.is_none(), op.kind == OpKind::Insert, "ops say whether a key was there");
    }
    Ok(())
}

fn values_of(table: &Table, key: &[u8], value: &[u8]) -> Vec<Value> {
    let row = RowView::new(table, key, value).unwrap();
    row.values().unwrap().into_iter().map(ValueRef::into_owned).collect()
}

fn table_rows(table: &Table, rows: &Rows) -> Vec<(Vec<u8>, Vec<u8>)> {
    let range = table.rows();
    rows.iter()
        .filter(|(key, _)| range.contains(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Every index has exactly the entries of the rows, and each leads to its row.
fn check_indexes(table: &Table, rows: &Rows) {
    let stored = table_rows(table, rows);
    for index in &table.schema().indexes {
        let mut expected = Rows::new();
        for (key, value) in &stored {
            let row = RowView::new(table, key, value).unwrap();
            row.check().unwrap();
            let (entry, to) = index_entry(index, &row).unwrap();
            assert_eq!(&index_entry_to_primary_key(table, index, &entry, &to).unwrap(), key);
            assert_eq!(expected.insert(entry, to), None, "two rows with one index entry");
        }
        let range = KeyRange::of_index(index.id);
        let found: Rows = rows.clone().into_iter().filter(|(key, _)| range.contains(key)).collect();
        assert_eq!(found, expected, "index {}", index.name);
    }
}

/// Whether a row may not stand beside the others, by the plain meaning of unique.
fn collides(row: &[Value], others: &[Vec<Value>], primary: bool) -> bool {
    let same = |columns: &[usize], other: &[Value]| {
        columns
            .iter()
            .all(|column| !row[*column].is_null() && order(&row[*column], &other[*column]).is_eq())
    };
    others
        .iter()
        .any(|other| (primary && same(&[0], other)) || same(&[1, 2], other) || same(&[2], other))
}

fn run(primary: bool, steps: &[Step]) {
    let table = table(primary);
    let (mut rows, mut model, mut next) = (Rows::new(), Vec::<Vec<Value>>::new(), 0);
    for step in steps {
        let stored = table_rows(&table, &rows);
        let pick = |row: usize| stored.get(row % stored.len().max(1));
        let (plan, change): (_, Change) = match step {
            Step::Insert(values) => {
                next += 1;
                let hidden = (!primary).then_some(next);
                (plan_insert(&table, values, hidden).unwrap(), (None, Some(values.clone())))
            }
            Step::Update { row, column, value } => {
                let Some((key, bytes)) = pick(*row) else { continue };
                let old = RowView::new(&table, key, bytes).unwrap();
                let plan = plan_update(&old, &[(ColumnId(*column), value.clone())]).unwrap();
                let before = values_of(&table, key, bytes);
                let mut after = before.clone();
                after[usize::from(*column)] = value.clone();
                assert_eq!(plan.ops.is_empty(), before == after, "no ops without a change");
                (plan, (Some(before), Some(after)))
            }
            Step::Delete { row } => {
                let Some((key, bytes)) = pick(*row) else { continue };
                let old = RowView::new(&table, key, bytes).unwrap();
                (plan_delete(&old).unwrap(), (Some(values_of(&table, key, bytes)), None))
            }
        };
        let mut others = model.clone();
        if let Some(before) = &change.0 {
            others.remove(others.iter().position(|row| row == before).unwrap());
        }
        let taken = change.1.as_ref().is_some_and(|row| collides(row, &others, primary));
        match apply(&mut rows, &plan) {
            Ok(()) => {
                assert!(!taken, "{step:?} should collide");
                others.extend(change.1);
                model = others;
            }
            Err(absent) => {
                assert!(taken, "{step:?} should not collide");
                assert_eq!(absent.duplicate(&table).mysql_code(), 1062);
            }
        }
    }
    check_indexes(&table, &rows);
    let sorted = |mut rows: Vec<Vec<Value>>| {
        rows.sort_by_key(|row| format!("{row:?}"));
        rows
    };
    let found = table_rows(&table, &rows).iter().map(|(k, v)| values_of(&table, k, v)).collect();
    assert_eq!(sorted(found), sorted(model));
}

proptest! {
    #![proptest_config(cases(1500))]

    /// Guards A1, A4: indexes and rows say the same, uniqueness holds, refused changes change
    /// nothing; with a primary key of columns.
    #[test]
    fn indexes_follow_their_rows(steps in prop::collection::vec(step(), 1..40)) {
        run(true, &steps);
    }

    /// The same with a hidden primary key.
    #[test]
    fn indexes_follow_rows_with_hidden_keys(steps in prop::collection::vec(step(), 1..40)) {
        run(false, &steps);
    }
}

fn inserted(rows: &mut Rows, table: &Table, values: &[Value]) -> Result<(), MustBeAbsent> {
    apply(rows, &plan_insert(table, values, None).unwrap())
}

fn row(id: i64, a: &str, b: Option<i64>) -> Vec<Value> {
    vec![id.into(), a.into(), b.into(), Value::Bytes(vec![])]
}

/// Guards: duplicates are told as MySQL tells them (1062).
#[test]
fn duplicates_are_named_by_values_and_key() {
    let (table, mut rows) = (table(true), Rows::new());
    inserted(&mut rows, &table, &row(1, "x", Some(5))).unwrap();
    let told = |rows: &mut Rows, values: &[Value]| {
        inserted(rows, &table, values).unwrap_err().duplicate(&table).to_string()
    };
    assert_eq!(told(&mut rows, &row(1, "y", None)), "duplicate entry '1' for key 't.PRIMARY'");
    assert_eq!(told(&mut rows, &row(2, "x", Some(5))), "duplicate entry 'x-5' for key 't.ab'");
    assert_eq!(told(&mut rows, &row(2, "y", Some(5))), "duplicate entry '5' for key 't.b'");
    inserted(&mut rows, &table, &row(3, "x", None)).unwrap();
    inserted(&mut rows, &table, &row(4, "x", None)).unwrap();
}

/// Guards: the plan of an insert is complete and in the documented form.
#[test]
fn plans_are_as_documented() {
    let table = table(true);
    let plan = plan_insert(&table, &row(7, "x", None), None).unwrap();
    let primary = vec![0, 0, 0, 16, 0x80, 0, 0, 7];
    let keys: Vec<_> = plan.ops.iter().map(|op| op.key.clone()).collect();
    let key = |index: u8, rest: &[u8]| [&[0, 0, 0, index], rest].concat();
    assert_eq!(keys[0], primary);
    assert_eq!(keys[1], key(17, &[1, b'x', 0, 0, 0, 0x80, 0, 0, 7]));
    assert_eq!(keys[2], key(18, &[0, 0x80, 0, 0, 7]));
    assert_eq!(keys[3], key(19, &[0, 0, 1, b'x', 0, 0, 0x80, 0, 0, 7]));
    assert_eq!(plan.locks, std::slice::from_ref(&primary));
    assert_eq!(plan.must_be_absent, [MustBeAbsent { key: primary, index: IndexId(16) }]);

    let plan = plan_insert(&table, &row(7, "x", Some(1)), None).unwrap();
    assert_eq!(plan.locks.len(), 3);
    assert_eq!(plan.ops[2].key, key(18, &[1, 0x80, 0, 0, 1]));
    assert_eq!(plan.ops[2].value, [0x80, 0, 0, 7]);
}

/// Guards: values are brought to their columns' types on the way, or refused.
#[test]
fn plans_coerce_and_refuse() {
    let table = table(true);
    let as_text = |id: &str| vec![id.into(), "x".into(), "5".into(), "".into()];
    let plan = plan_insert(&table, &as_text("7"), None).unwrap();
    let typed = vec![Value::Int(7), "x".into(), Value::Int(5), Value::Bytes(vec![])];
    assert_eq!(plan, plan_insert(&table, &typed, None).unwrap());
    assert_eq!(plan_insert(&table, &as_text("x"), None).unwrap_err().mysql_code(), 1366);
    let count = plan_insert(&table, &typed[..3], None).unwrap_err();
    assert_eq!(count, RowError::Count { table: "t".into(), expected: 4, found: 3 });

    let (key, bytes) = (plan.ops[0].key.clone(), plan.ops[0].value.clone());
    let old = RowView::new(&table, &key, &bytes).unwrap();
    let code = |assignments: &[(ColumnId, Value)]| {
        plan_update(&old, assignments).unwrap_err().mysql_code()
    };
    assert_eq!(code(&[(ColumnId(0), Value::Null)]), 1048);
    assert_eq!(code(&[(ColumnId(1), "abcd".into())]), 1406);
    assert_eq!(code(&[(ColumnId(9), Value::Null)]), 1110);
    assert_eq!(code(&[(ColumnId(1), Value::Null), (ColumnId(1), Value::Null)]), 1110);
    assert!(plan_update(&old, &[(ColumnId(2), "5".into())]).unwrap().ops.is_empty());
}

/// Guards: lookups by the first columns of an index find exactly the rows with these values.
#[test]
fn ranges_of_indexes_find_rows() {
    let (table, mut rows) = (table(true), Rows::new());
    for id in 0..6 {
        let a = if id % 2 == 0 { "x" } else { "y" };
        inserted(&mut rows, &table, &row(id, a, Some(id + 10))).unwrap();
    }
    let index = table.schema().index_named("ab").unwrap();
    let range = table.index_range(index, &["x".into()]).unwrap();
    let found: Vec<_> = rows
        .iter()
        .filter(|(key, _)| range.contains(key))
        .map(|(key, value)| index_entry_to_primary_key(&table, index, key, value).unwrap())
        .collect();
    let expected = [0, 2, 4].map(|id| table.primary_key(&[Value::Int(id)]).unwrap());
    assert_eq!(found, expected);
    assert_eq!(table.index_range(index, &[]).unwrap(), KeyRange::of_index(index.id));
}
