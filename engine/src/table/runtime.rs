//! A table as the engine works with it: its schema together with what is worked out from it once,
//! so that nothing is looked up by name or computed anew for each row.

use std::sync::Arc;

use super::coerce::ValueError;
use super::key::{self, KeyError, KeyRange};
use super::row::encode::{Cell, bytes_of};
use super::row::{Layout, RowDamage, RowEncoder};
use super::schema::{ColumnId, Index, IndexId, PrimaryKey, SchemaError, TableId, TableSchema};
use super::value::{Value, ValueRef};

/// Why a row cannot be written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RowError {
    /// A value does not fit its column.
    #[error("column '{column}': {source}")]
    Value {
        /// The column.
        column: String,
        /// Why.
        source: ValueError,
    },
    /// A key would be too long (MySQL 1071).
    #[error("column '{column}': {source}")]
    Key {
        /// The column that made it so.
        column: String,
        /// Why.
        source: KeyError,
    },
    /// The row is larger than can be stored (MySQL 1118).
    #[error("row of table '{table}' takes {bytes} bytes, at most {limit} are possible")]
    TooLarge {
        /// The table.
        table: String,
        /// The row's bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not as many values as columns (MySQL 1136).
    #[error("table '{table}' has {expected} columns, {found} values were given")]
    Count {
        /// The table.
        table: String,
        /// Living columns of the table.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A column is given twice (MySQL 1110) or is not one of the table's (MySQL 1054).
    #[error("table '{table}': column {column} is given twice or does not exist")]
    Column {
        /// The table.
        table: String,
        /// The column.
        column: ColumnId,
    },
    /// The row that is to be changed is damaged.
    #[error(transparent)]
    Damage(#[from] RowDamage),
}

impl RowError {
    /// MySQL's number of this error.
    #[must_use]
    pub const fn mysql_code(&self) -> u16 {
        match self {
            Self::Value { source, .. } => source.mysql_code(),
            Self::Key { source: KeyError::Null, .. } => 1048,
            Self::Key { source: KeyError::Value(_), .. } => 1366,
            Self::Key { source: KeyError::TooLong { .. }, .. } => 1071,
            Self::TooLarge { .. } => 1118,
            Self::Count { .. } => 1136,
            Self::Column { .. } => 1110,
            Self::Damage(_) => 1712,
        }
    }
}

/// A table with its layouts. Immutable; held by `Arc`.
#[derive(Debug)]
pub struct Table {
    schema: Arc<TableSchema>,
    /// One for each version, from 1.
    layouts: Vec<Layout>,
    /// The living columns in order.
    live: Vec<ColumnId>,
    /// For each column that ever was its position in `live`.
    positions: Vec<Option<u16>>,
    /// For each column that ever was its value in rows from before it.
    older: Vec<Value>,
}

impl Table {
    /// Prepares a table for use.
    ///
    /// # Errors
    /// If the schema is [inconsistent](TableSchema::validate).
    pub fn new(schema: TableSchema) -> Result<Self, SchemaError> {
        schema.validate()?;
        let live: Vec<_> = schema.live_columns().map(|(id, _)| id).collect();
        let mut positions = vec![None; schema.columns.len()];
        for (position, id) in (0..).zip(&live) {
            positions[id.position()] = Some(position);
        }
        Ok(Self {
            layouts: (1..=schema.version).map(|version| Layout::new(&schema, version)).collect(),
            older: schema.columns.iter().map(super::Column::value_of_older_rows).collect(),
            schema: Arc::new(schema),
            live,
            positions,
        })
    }

    /// The table's schema.
    #[must_use]
    pub const fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> TableId {
        self.schema.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.schema.name
    }

    /// Its living columns, in order: the order of values of a row.
    #[must_use]
    pub fn live(&self) -> &[ColumnId] {
        &self.live
    }

    /// Writes rows of this table.
    #[must_use]
    pub const fn encoder(&self) -> RowEncoder<'_> {
        RowEncoder::new(self)
    }

    /// Position of a living column among the values of a row.
    ///
    /// # Panics
    /// If the table has no such column now.
    #[must_use]
    pub fn position(&self, column: ColumnId) -> usize {
        let position = self.positions.get(column.position()).copied().flatten();
        let position = position.unwrap_or_else(|| panic!("{} has no column {column}", self.name()));
        usize::from(position)
    }

    /// A row's values from some of them: each brought to its column's type, the others by
    /// default. An auto-increment column that is not given is NULL, for the caller to fill.
    ///
    /// # Errors
    /// If a value does not fit, or one is missing that has no default.
    pub fn complete(&self, given: Vec<(ColumnId, Value)>) -> Result<Vec<Value>, RowError> {
        let mut row: Vec<Option<Value>> = vec![None; self.live.len()];
        for (id, value) in given {
            let slot = self.positions.get(id.position()).copied().flatten();
            match slot.map(|position| &mut row[usize::from(position)]) {
                Some(slot @ None) => *slot = Some(self.coerce(id, value)?),
                _ => return Err(RowError::Column { table: self.name().to_owned(), column: id }),
            }
        }
        let filled = |(value, id): (Option<Value>, &ColumnId)| match value {
            Some(value) => Ok(value),
            None => self.default_of(*id),
        };
        row.into_iter().zip(&self.live).map(filled).collect()
    }

    fn default_of(&self, id: ColumnId) -> Result<Value, RowError> {
        let column = self.schema.column(id);
        match &column.default {
            Some(default) => Ok(default.clone()),
            None if column.nullable || self.schema.auto_increment == Some(id) => Ok(Value::Null),
            None => Err(self.value_error(id, ValueError::NoDefault)),
        }
    }

    /// A value brought to a column's type. NULL is allowed in an auto-increment column, where it
    /// asks for a number.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn coerce(&self, id: ColumnId, value: Value) -> Result<Value, RowError> {
        let column = self.schema.column(id);
        if value.is_null() && !column.nullable && self.schema.auto_increment != Some(id) {
            return Err(self.value_error(id, ValueError::Null));
        }
        column.ty.coerce(value).map_err(|source| self.value_error(id, source))
    }

    /// The key of the row with these values of the primary key, in its order.
    ///
    /// # Errors
    /// If a value does not fit its column or the key is too long.
    ///
    /// # Panics
    /// If there are more values than the primary key has columns.
    pub fn primary_key(&self, values: &[Value]) -> Result<Vec<u8>, RowError> {
        let mut key = Vec::with_capacity(64);
        self.primary_key_into(values, &mut key)?;
        Ok(key)
    }

    /// As [`Table::primary_key`], into `key`, whose contents are replaced: for one who makes many.
    ///
    /// # Errors
    /// As there. What is in `key` then is of no use.
    ///
    /// # Panics
    /// As there.
    pub fn primary_key_into(&self, values: &[Value], key: &mut Vec<u8>) -> Result<(), RowError> {
        self.key_prefix(self.schema.primary_index, self.schema.primary.columns(), values, key)
    }

    /// The key of the row with this number, in a table without primary key.
    ///
    /// # Panics
    /// If the table has a primary key.
    #[must_use]
    pub fn hidden_key(&self, number: u64) -> Vec<u8> {
        assert_eq!(self.schema.primary, PrimaryKey::Hidden, "for tables without primary key");
        let mut key = Vec::with_capacity(12);
        key::start(self.schema.primary_index, &mut key);
        key.extend_from_slice(&number.to_be_bytes());
        key
    }

    /// The keys of all rows.
    #[must_use]
    pub fn rows(&self) -> KeyRange {
        KeyRange::of_index(self.schema.primary_index)
    }

    /// The keys of an index whose first columns have these values; no values: all keys.
    ///
    /// # Errors
    /// If a value does not fit its column.
    ///
    /// # Panics
    /// If there are more values than the index has columns.
    pub fn index_range(&self, index: &Index, values: &[Value]) -> Result<KeyRange, RowError> {
        let mut prefix = Vec::with_capacity(64);
        self.key_prefix(index.id, &index.columns, values, &mut prefix)?;
        Ok(KeyRange::with_prefix(prefix))
    }

    fn key_prefix(
        &self,
        index: IndexId,
        columns: &[ColumnId],
        values: &[Value],
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        assert!(values.len() <= columns.len(), "more values than key columns");
        key::start(index, out);
        for (id, value) in columns.iter().zip(values) {
            let column = self.schema.column(*id);
            let before = out.len();
            let mut appended = key::append(&column.ty, column.nullable, &value.as_ref(), out);
            if let Err(KeyError::Value(_)) = appended {
                out.truncate(before);
                let coerced = self.coerce(*id, value.clone())?;
                appended = key::append(&column.ty, column.nullable, &coerced.as_ref(), out);
            }
            appended.map_err(|error| self.key_error(*id, error))?;
        }
        Ok(())
    }

    pub(crate) fn newest_layout(&self) -> &Layout {
        self.layouts.last().expect("a table has at least version 1")
    }

    pub(crate) fn layout(&self, version: u16) -> Option<&Layout> {
        self.layouts.get(usize::from(version).checked_sub(1)?)
    }

    pub(crate) fn value_of_older_rows(&self, column: ColumnId) -> ValueRef<'_> {
        match self.older.get(column.position()) {
            Some(value) => value.as_ref(),
            None => panic!("{} never had a column {column}", self.name()),
        }
    }

    pub(crate) fn sum_of_var_bytes<C: Cell>(&self, layout: &Layout, values: &[C]) -> usize {
        let bytes = |id: ColumnId| bytes_of(&values[self.position(id)].cell()).len();
        layout.var.iter().map(|stored| bytes(stored.column)).sum()
    }

    pub(crate) fn value_error(&self, column: ColumnId, source: ValueError) -> RowError {
        RowError::Value { column: self.schema.column(column).name.clone(), source }
    }

    pub(crate) fn key_error(&self, column: ColumnId, source: KeyError) -> RowError {
        RowError::Key { column: self.schema.column(column).name.clone(), source }
    }

    /// The error for a value that was not brought to its column's type.
    pub(crate) fn misfit(&self, column: ColumnId, value: &ValueRef<'_>) -> RowError {
        let ty = self.schema.column(column).ty;
        match ty.coerce(value.clone().into_owned()) {
            Err(source) => self.value_error(column, source),
            Ok(_) => {
                self.value_error(column, ValueError::Incorrect { ty, value: value.to_string() })
            }
        }
    }
}
