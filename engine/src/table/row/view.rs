//! Reading rows: any column on its own, nothing decoded that is not asked for.

use std::borrow::Cow;

use super::layout::{Place, Stored, VERSION_BYTES};
use super::{Layout, WIDE};
use crate::table::column_type::ColumnType;
use crate::table::fixed;
use crate::table::key::{self, KeyDamage};
use crate::table::runtime::Table;
use crate::table::schema::{ColumnId, PrimaryKey};
use crate::table::value::ValueRef;

/// Why bytes are no row of a table (catalogue promise A8: found out, never served).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowDamage {
    /// The value is not as long as its columns are.
    #[error("row of table '{table}' has {found} bytes, expected {expected}")]
    Length {
        /// The table.
        table: String,
        /// Bytes that the row should have, or at least have if it is too short to tell.
        expected: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// The row says that it is of a version that the table never had.
    #[error("row of table '{table}' has version {found}, the newest is {newest}")]
    Version {
        /// The table.
        table: String,
        /// The row's version.
        found: u16,
        /// The table's.
        newest: u16,
    },
    /// The bytes of a column do not lie inside the row.
    #[error("row of table '{table}': column {column} ends at {end}, outside of {bounds:?}")]
    Offset {
        /// The table.
        table: String,
        /// The column.
        column: ColumnId,
        /// Its end, counted from the first variable byte.
        end: usize,
        /// Where the end may be.
        bounds: std::ops::RangeInclusive<usize>,
    },
    /// Bytes that no value of the column has.
    #[error("row of table '{table}': impossible bytes in column {column} of type {ty}")]
    Value {
        /// The table.
        table: String,
        /// The column.
        column: ColumnId,
        /// Its type.
        ty: ColumnType,
    },
    /// Bytes that a writer would not have chosen: equal rows would have different bytes.
    #[error("row of table '{table}' is not in its only possible form: {what}")]
    Form {
        /// The table.
        table: String,
        /// What differs.
        what: &'static str,
    },
    /// The key is damaged.
    #[error("key of table '{table}': {source}")]
    Key {
        /// The table.
        table: String,
        /// What is wrong.
        source: KeyDamage,
    },
}

/// A row in its encoded form. Cheap to make; a column is decoded when it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    table: &'a Table,
    layout: &'a Layout,
    key: &'a [u8],
    value: &'a [u8],
    /// Bytes of one end offset: 2 or 4.
    offset_bytes: usize,
}

impl<'a> RowView<'a> {
    /// Looks at a row.
    ///
    /// # Errors
    /// If its version is unknown, its length is not what its columns need, or the key belongs to
    /// another index. Damage inside a column is found when that is read, or by
    /// [`check`](Self::check).
    pub fn new(table: &'a Table, key: &'a [u8], value: &'a [u8]) -> Result<Self, RowDamage> {
        key::Reader::new(table.schema().primary_index, key)
            .map_err(|source| RowDamage::Key { table: table.name().to_owned(), source })?;
        let length = |expected| RowDamage::Length {
            table: table.name().to_owned(),
            expected,
            found: value.len(),
        };
        let version = value.first_chunk().ok_or_else(|| length(VERSION_BYTES))?;
        let version = u16::from_le_bytes(*version);
        let layout = table.layout(version & !WIDE).ok_or_else(|| RowDamage::Version {
            table: table.name().to_owned(),
            found: version & !WIDE,
            newest: table.schema().version,
        })?;
        let offset_bytes = if version & WIDE == 0 { 2 } else { 4 };
        let view = Self { table, layout, key, value, offset_bytes };
        let var_start = view.var_start();
        if value.len() < var_start {
            return Err(length(var_start));
        }
        let end = var_start + view.end_of_var(layout.var.len());
        if value.len() != end {
            return Err(length(end));
        }
        Ok(view)
    }

    /// The table it belongs to.
    #[must_use]
    pub const fn table(&self) -> &'a Table {
        self.table
    }

    /// The row's key, with the index number.
    #[must_use]
    pub const fn key(&self) -> &'a [u8] {
        self.key
    }

    /// The row's encoded value.
    #[must_use]
    pub const fn value(&self) -> &'a [u8] {
        self.value
    }

    /// The row's number, in a table without primary key.
    ///
    /// # Errors
    /// If the key has not as many bytes as such a number.
    pub fn hidden(&self) -> Result<Option<u64>, RowDamage> {
        if let PrimaryKey::Columns(_) = self.table.schema().primary {
            return Ok(None);
        }
        let Some((_, number)) = key::index_of(self.key) else { return Ok(None) };
        match number.try_into() {
            Ok(number) => Ok(Some(u64::from_be_bytes(number))),
            Err(_) => Err(self.key_damage(KeyDamage::Long(number.len()))),
        }
    }

    /// The value of a column. A column that is newer than the row answers its default.
    ///
    /// # Errors
    /// If the bytes of the column are damaged.
    ///
    /// # Panics
    /// If the table never had such a column.
    pub fn get(&self, column: ColumnId) -> Result<ValueRef<'a>, RowDamage> {
        match self.layout.place(column) {
            Place::Fixed { offset, null } => self.fixed(column, offset as usize, null),
            Place::Var { number, null } => self.var(column, usize::from(number), null),
            Place::Key(number) => self.key_column(usize::from(number)),
            Place::Absent => Ok(self.table.value_of_older_rows(column)),
        }
    }

    /// The values of all living columns, in order.
    ///
    /// # Errors
    /// If any is damaged.
    pub fn values(&self) -> Result<Vec<ValueRef<'a>>, RowDamage> {
        self.table.live().iter().map(|column| self.get(*column)).collect()
    }

    /// Checks every byte of the row: that each column can be read and that the row has the one
    /// form that a writer gives it.
    ///
    /// # Errors
    /// The first damage found.
    pub fn check(&self) -> Result<(), RowDamage> {
        self.check_key()?;
        self.check_offsets()?;
        for stored in self.layout.fixed.iter().chain(&self.layout.var) {
            let value = self.get(stored.column)?;
            let blank = match stored.ty.fixed_width() {
                Some(_) => self.raw(stored).iter().all(|byte| *byte == 0),
                None => self.raw(stored).is_empty(),
            };
            if value.is_null() && !blank {
                return Err(self.form("bytes in a column that is NULL"));
            }
            if !stored.ty.fits(&value) {
                return Err(self.value_damage(stored.column, stored.ty));
            }
        }
        let used = self.layout.fixed.iter().chain(&self.layout.var);
        let used = used.filter(|stored| stored.null.is_some()).count();
        let last = self.value[..VERSION_BYTES + self.layout.null_bytes].last();
        if !used.is_multiple_of(8) && last.is_some_and(|byte| byte >> (used % 8) != 0) {
            return Err(self.form("a bit after the null bitmap"));
        }
        let wide = self.value.len() - self.var_start() > usize::from(u16::MAX);
        if wide != (self.offset_bytes == 4) {
            return Err(self.form("offsets of the wrong width"));
        }
        Ok(())
    }

    /// Each variable column ends where the next one starts, also if it is NULL.
    fn check_offsets(&self) -> Result<(), RowDamage> {
        let all = self.value.len() - self.var_start();
        for (number, stored) in self.layout.var.iter().enumerate() {
            let (start, end) = (self.end_of_var(number), self.end_of_var(number + 1));
            if end < start || end > all {
                let (table, column) = (self.table.name().to_owned(), stored.column);
                return Err(RowDamage::Offset { table, column, end, bounds: start..=all });
            }
        }
        Ok(())
    }

    fn check_key(&self) -> Result<(), RowDamage> {
        self.hidden()?;
        let PrimaryKey::Columns(columns) = &self.table.schema().primary else { return Ok(()) };
        let mut reader = self.key_reader()?;
        for id in columns {
            let ty = &self.table.schema().column(*id).ty;
            let value = reader.next(ty, false).map_err(|source| self.key_damage(source))?;
            if !ty.fits(&value) {
                return Err(self.key_damage(KeyDamage::Value(*ty)));
            }
        }
        reader.finish().map_err(|source| self.key_damage(source))
    }

    /// Bytes of a stored column; its bounds have been checked.
    fn raw(&self, stored: &Stored) -> &'a [u8] {
        let range = match self.layout.place(stored.column) {
            Place::Fixed { offset, .. } => {
                let width = stored.ty.fixed_width().unwrap_or(0);
                offset as usize..offset as usize + width
            }
            Place::Var { number, .. } => {
                let (start, base) = (self.end_of_var(usize::from(number)), self.var_start());
                base + start..base + self.end_of_var(usize::from(number) + 1)
            }
            Place::Key(_) | Place::Absent => 0..0,
        };
        self.value.get(range).unwrap_or_default()
    }

    fn is_null(&self, null: Option<u16>) -> bool {
        null.is_some_and(|bit| {
            self.value[VERSION_BYTES + usize::from(bit / 8)] >> (bit % 8) & 1 == 1
        })
    }

    fn fixed(
        &self,
        column: ColumnId,
        offset: usize,
        null: Option<u16>,
    ) -> Result<ValueRef<'a>, RowDamage> {
        if self.is_null(null) {
            return Ok(ValueRef::Null);
        }
        let ty = &self.table.schema().column(column).ty;
        let width = ty.fixed_width().unwrap_or(0);
        let value = fixed::decode(ty, &self.value[offset..offset + width]);
        value.ok_or_else(|| self.value_damage(column, *ty))
    }

    fn var(
        &self,
        column: ColumnId,
        number: usize,
        null: Option<u16>,
    ) -> Result<ValueRef<'a>, RowDamage> {
        if self.is_null(null) {
            return Ok(ValueRef::Null);
        }
        let (start, end) = (self.end_of_var(number), self.end_of_var(number + 1));
        let all = &self.value[self.var_start()..];
        let bytes = all.get(start..end).ok_or_else(|| RowDamage::Offset {
            table: self.table.name().to_owned(),
            column,
            end,
            bounds: start..=all.len(),
        })?;
        let ty = &self.table.schema().column(column).ty;
        if !ty.is_text() {
            return Ok(ValueRef::Bytes(Cow::Borrowed(bytes)));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(ValueRef::Text(Cow::Borrowed(text))),
            Err(_) => Err(self.value_damage(column, *ty)),
        }
    }

    fn key_column(&self, number: usize) -> Result<ValueRef<'a>, RowDamage> {
        let schema = self.table.schema();
        let columns = schema.primary.columns();
        let mut reader = self.key_reader()?;
        for id in &columns[..number] {
            let ty = &schema.column(*id).ty;
            reader.skip(ty, false).map_err(|source| self.key_damage(source))?;
        }
        let ty = &schema.column(columns[number]).ty;
        reader.next(ty, false).map_err(|source| self.key_damage(source))
    }

    fn key_reader(&self) -> Result<key::Reader<'a>, RowDamage> {
        let reader = key::Reader::new(self.table.schema().primary_index, self.key);
        reader.map_err(|source| self.key_damage(source))
    }

    /// Where the variable bytes start.
    fn var_start(&self) -> usize {
        self.layout.fixed_end + self.layout.var.len() * self.offset_bytes
    }

    /// Where the variable column before the one of this number ends, counted from the first
    /// variable byte: where that one starts.
    #[inline]
    fn end_of_var(&self, number: usize) -> usize {
        let Some(before) = number.checked_sub(1) else { return 0 };
        let at = self.layout.fixed_end + before * self.offset_bytes;
        if self.offset_bytes == 2 {
            return usize::from(u16::from_le_bytes([self.value[at], self.value[at + 1]]));
        }
        let bytes = self.value[at..].first_chunk().expect("offsets lie before the variable part");
        u32::from_le_bytes(*bytes) as usize
    }

    fn value_damage(&self, column: ColumnId, ty: ColumnType) -> RowDamage {
        RowDamage::Value { table: self.table.name().to_owned(), column, ty }
    }

    fn key_damage(&self, source: KeyDamage) -> RowDamage {
        RowDamage::Key { table: self.table.name().to_owned(), source }
    }

    fn form(&self, what: &'static str) -> RowDamage {
        RowDamage::Form { table: self.table.name().to_owned(), what }
    }
}
