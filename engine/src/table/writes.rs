//! What inserting, changing and deleting a row does to the tree: the rows of all indexes, the
//! keys that must be absent, the keys to lock. Plans are pure; carrying them out, atomically, is
//! the transaction's part.
//!
//! ```text
//! index     key                              value
//! primary   primary key                      row
//! unique    columns                          primary key, without index number
//!           columns with a NULL, primary key (empty)     NULLs never collide
//! plain     columns, primary key             (empty)
//! ```

use std::fmt::Write as _;

use super::key::{self, KeyDamage, Reader};
use super::row::{RowDamage, RowView};
use super::runtime::{RowError, Table};
use super::schema::{ColumnId, Index, IndexId};
use super::value::{Value, ValueRef};
use crate::record::{Op, OpKind};

/// One planned change of the tree: an [`Op`] with its own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What it does.
    pub kind: OpKind,
    /// The key; of a range its first.
    pub key: Vec<u8>,
    /// The new value; of a range the first key that stays; else empty.
    pub value: Vec<u8>,
}

impl Write {
    /// The same, borrowed.
    #[must_use]
    pub fn as_op(&self) -> Op<'_> {
        Op { kind: self.kind, key: &self.key, value: &self.value }
    }

    pub(crate) const fn insert(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { kind: OpKind::Insert, key, value }
    }

    pub(crate) const fn update(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { kind: OpKind::Update, key, value }
    }

    pub(crate) const fn delete(key: Vec<u8>) -> Self {
        Self { kind: OpKind::Delete, key, value: Vec::new() }
    }
}

impl From<Op<'_>> for Write {
    fn from(op: Op<'_>) -> Self {
        Self { kind: op.kind, key: op.key.to_vec(), value: op.value.to_vec() }
    }
}

/// A key that must not be in the tree when the plan is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MustBeAbsent {
    /// The key.
    pub key: Vec<u8>,
    /// The primary or unique index that it belongs to.
    pub index: IndexId,
}

/// Two rows with the same values of a primary or unique key (MySQL 1062).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("duplicate entry '{entry}' for key '{table}.{index}'")]
pub struct DuplicateEntry {
    /// The values, joined by `-`.
    pub entry: String,
    /// The table.
    pub table: String,
    /// The index, `PRIMARY` for the primary key.
    pub index: String,
}

impl DuplicateEntry {
    /// MySQL's number of this error.
    #[must_use]
    pub const fn mysql_code(&self) -> u16 {
        1062
    }
}

impl MustBeAbsent {
    /// The error to answer if the key is there.
    #[must_use]
    pub fn duplicate(&self, table: &Table) -> DuplicateEntry {
        let schema = table.schema();
        let index = schema.indexes.iter().find(|index| index.id == self.index);
        let (name, columns) = match index {
            Some(index) => (&index.name[..], &index.columns[..]),
            None => ("PRIMARY", schema.primary.columns()),
        };
        let mut entry = String::new();
        if let Ok(mut reader) = Reader::new(self.index, &self.key) {
            for id in columns {
                let column = schema.column(*id);
                let Ok(value) = reader.next(&column.ty, column.nullable) else { break };
                let dash = if entry.is_empty() { "" } else { "-" };
                write!(entry, "{dash}{}", column.ty.show(&value)).expect("a String takes all");
            }
        }
        DuplicateEntry { entry, table: table.name().to_owned(), index: name.to_owned() }
    }
}

/// What a change of one row does to the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowWrites {
    /// The changes. They touch different keys, so their order does not matter to the result;
    /// the primary index comes first.
    pub ops: Vec<Write>,
    /// Keys that must be absent before.
    pub must_be_absent: Vec<MustBeAbsent>,
    /// Keys to hold locked from before the checks until the transaction ends: the row's, and
    /// those of its unique keys that come or go.
    pub locks: Vec<Vec<u8>>,
}

/// Where the values of a row are taken from.
type Values<'f, 'v> = &'f dyn Fn(ColumnId) -> Result<ValueRef<'v>, RowDamage>;

/// The entry of a row in a secondary index, as key and value. For filling a new index.
///
/// # Errors
/// If the row is damaged or the key would be too long.
pub fn index_entry(index: &Index, row: &RowView<'_>) -> Result<(Vec<u8>, Vec<u8>), RowError> {
    let entry = entry(row.table(), index, row.key(), &|column| row.get(column))?;
    Ok((entry.key, entry.value))
}

struct Entry {
    key: Vec<u8>,
    value: Vec<u8>,
    /// Whether no other row may have this key.
    exclusive: bool,
}

fn entry(
    table: &Table,
    index: &Index,
    primary_key: &[u8],
    values: Values<'_, '_>,
) -> Result<Entry, RowError> {
    let mut key = Vec::with_capacity(64);
    let (value, exclusive) = entry_into(table, index, primary_key, values, &mut key)?;
    Ok(Entry { key, value, exclusive })
}

/// As [`entry`], with the key in `key`, whose contents are replaced. Gives the value, and whether no other
/// row may have this key.
fn entry_into(
    table: &Table,
    index: &Index,
    primary_key: &[u8],
    values: Values<'_, '_>,
    key: &mut Vec<u8>,
) -> Result<(Vec<u8>, bool), RowError> {
    key::start(index.id, key);
    let mut exclusive = index.unique;
    for id in &index.columns {
        let column = table.schema().column(*id);
        let value = values(*id)?;
        exclusive &= !value.is_null();
        key::append(&column.ty, column.nullable, &value, key)
            .map_err(|error| table.key_error(*id, error))?;
    }
    let primary_key = &primary_key[size_of::<IndexId>()..];
    if exclusive {
        return Ok((primary_key.to_vec(), exclusive));
    }
    key::append_encoded(primary_key, key)
        .map_err(|error| table.key_error(index.columns[0], error))?;
    Ok((Vec::new(), exclusive))
}

/// The primary key, with index number, that an index entry leads to.
///
/// # Errors
/// If the entry is damaged.
pub fn index_entry_to_primary_key(
    table: &Table,
    index: &Index,
    key: &[u8],
    value: &[u8],
) -> Result<Vec<u8>, RowDamage> {
    let damage = |source| RowDamage::Key { table: table.name().to_owned(), source };
    let mut reader = Reader::new(index.id, key).map_err(damage)?;
    let mut exclusive = index.unique;
    for id in &index.columns {
        let column = table.schema().column(*id);
        // Only the mark says whether it is NULL; the value itself is not needed.
        let null = column.nullable && reader.rest().first() == Some(&0);
        exclusive &= !null;
        reader.skip(&column.ty, column.nullable).map_err(damage)?;
    }
    let (part, unused) = if exclusive { (value, reader.rest()) } else { (reader.rest(), value) };
    if !unused.is_empty() {
        return Err(damage(KeyDamage::Long(unused.len())));
    }
    let mut primary_key = Vec::with_capacity(4 + part.len());
    key::start(table.schema().primary_index, &mut primary_key);
    primary_key.extend_from_slice(part);
    Ok(primary_key)
}

/// Plans the insertion of a row: one value for each living column, in order; values are brought
/// to their columns' types. `hidden` is the row's number in a table without primary key.
///
/// # Errors
/// If a value does not fit its column, or the row or a key is too large.
///
/// # Panics
/// If there is a hidden number exactly when the table has a primary key.
pub fn plan_insert(
    table: &Table,
    values: &[Value],
    hidden: Option<u64>,
) -> Result<RowWrites, RowError> {
    let coerced = fitting(table, values)?;
    let values = coerced.as_deref().unwrap_or(values);
    let mut plan = RowWrites::default();
    let (mut key, mut row) = (Vec::new(), Vec::new());
    table.encoder().encode(values, hidden, &mut key, &mut row)?;
    let get = |column| Ok(values[table.position(column)].as_ref());
    for index in &table.schema().indexes {
        plan.add_entry(index.id, entry(table, index, &key, &get)?);
    }
    plan.locks.insert(0, key.clone());
    let index = table.schema().primary_index;
    plan.must_be_absent.insert(0, MustBeAbsent { key: key.clone(), index });
    plan.ops.insert(0, Write::insert(key, row));
    Ok(plan)
}

/// As [`plan_insert`], for a row that is in its stored form: gives each key that the row gets to `take`, with its value and
/// the index of which it must be absent, that of the primary index first. `scratch` is for the keys.
///
/// # Errors
/// As there. Some keys may have been given by then.
pub(crate) fn each_inserted_key(
    row: &RowView<'_>,
    hidden: Option<u64>,
    scratch: &mut [Vec<u8>; 2],
    mut take: impl FnMut(&[u8], Vec<u8>, Option<IndexId>),
) -> Result<(), RowError> {
    let table = row.table();
    let [primary, secondary] = scratch;
    match hidden {
        Some(number) => {
            key::start(table.schema().primary_index, primary);
            primary.extend_from_slice(&number.to_be_bytes());
        }
        None => row.key().clone_into(primary),
    }
    take(primary, row.value().to_vec(), Some(table.schema().primary_index));
    for index in &table.schema().indexes {
        let (value, exclusive) =
            entry_into(table, index, primary, &|column| row.get(column), secondary)?;
        take(secondary, value, exclusive.then_some(index.id));
    }
    Ok(())
}

/// The values of a row brought to their columns' types, if they are not of them.
pub(crate) fn fitting(table: &Table, values: &[Value]) -> Result<Option<Vec<Value>>, RowError> {
    if values.len() != table.live().len() {
        let (expected, found) = (table.live().len(), values.len());
        return Err(RowError::Count { table: table.name().to_owned(), expected, found });
    }
    if fit(table, values) {
        return Ok(None);
    }
    let coerce = |(id, value): (&ColumnId, &Value)| table.coerce(*id, value.clone());
    table.live().iter().zip(values).map(coerce).collect::<Result<Vec<_>, _>>().map(Some)
}

fn fit(table: &Table, values: &[Value]) -> bool {
    let mut pairs = table.live().iter().zip(values);
    pairs.all(|(id, value)| table.schema().column(*id).ty.fits(&value.as_ref()))
}

/// Plans the deletion of a row.
///
/// # Errors
/// If the row is damaged.
pub fn plan_delete(row: &RowView<'_>) -> Result<RowWrites, RowError> {
    let table = row.table();
    let mut plan = RowWrites::default();
    plan.locks.push(row.key().to_vec());
    plan.ops.push(Write::delete(row.key().to_vec()));
    for index in &table.schema().indexes {
        plan.remove_entry(entry(table, index, row.key(), &|column| row.get(column))?);
    }
    Ok(plan)
}

/// Plans a change of a row: the assigned columns get new values, which are brought to their
/// columns' types. If nothing changes there are no ops, only the lock of the row.
///
/// # Errors
/// If a value does not fit its column, a column is assigned twice, the row or a key gets too
/// large, or the old row is damaged.
pub fn plan_update(
    old: &RowView<'_>,
    assignments: &[(ColumnId, Value)],
) -> Result<RowWrites, RowError> {
    let table = old.table();
    let mut plan = RowWrites::default();
    plan.locks.push(old.key().to_vec());
    let new = assigned(old, assignments)?;
    if old.values()? == new {
        return Ok(plan);
    }

    let (mut key, mut row) = (Vec::new(), Vec::new());
    table.encoder().encode(&new, old.hidden()?, &mut key, &mut row)?;
    let moved = key != old.key();
    if moved {
        plan.locks.push(key.clone());
        let index = table.schema().primary_index;
        plan.must_be_absent.push(MustBeAbsent { key: key.clone(), index });
        plan.ops.push(Write::delete(old.key().to_vec()));
        plan.ops.push(Write::insert(key.clone(), row));
    } else {
        plan.ops.push(Write::update(key.clone(), row));
    }

    let get = |column| Ok(new[table.position(column)].clone());
    for index in &table.schema().indexes {
        let gone = entry(table, index, old.key(), &|column| old.get(column))?;
        let come = entry(table, index, &key, &get)?;
        if gone.key != come.key {
            plan.remove_entry(gone);
            plan.add_entry(index.id, come);
        } else if gone.value != come.value {
            // A unique entry of a row whose primary key changes.
            plan.locks.push(come.key.clone());
            plan.ops.push(Write::update(come.key, come.value));
        }
    }
    Ok(plan)
}

/// All values of the row with the assignments made.
fn assigned<'a>(
    old: &RowView<'a>,
    assignments: &[(ColumnId, Value)],
) -> Result<Vec<ValueRef<'a>>, RowError> {
    let table = old.table();
    let mut values = old.values()?;
    for (number, (id, value)) in assignments.iter().enumerate() {
        let twice = assignments[..number].iter().any(|(earlier, _)| earlier == id);
        if twice || !table.live().contains(id) {
            return Err(RowError::Column { table: table.name().to_owned(), column: *id });
        }
        values[table.position(*id)] = table.coerce(*id, value.clone())?.into();
    }
    Ok(values)
}

impl RowWrites {
    fn add_entry(&mut self, index: IndexId, entry: Entry) {
        if entry.exclusive {
            self.locks.push(entry.key.clone());
            self.must_be_absent.push(MustBeAbsent { key: entry.key.clone(), index });
        }
        self.ops.push(Write::insert(entry.key, entry.value));
    }

    fn remove_entry(&mut self, entry: Entry) {
        if entry.exclusive {
            self.locks.push(entry.key.clone());
        }
        self.ops.push(Write::delete(entry.key));
    }
}
