//! Writing rows. Bulk loads run through here: nothing is allocated but what the caller's buffers
//! need to grow.

use super::layout::{Layout, Stored, VERSION_BYTES};
use super::{ROW_MAX, WIDE};
use crate::table::coerce::ValueError;
use crate::table::fixed;
use crate::table::key;
use crate::table::runtime::{RowError, Table};
use crate::table::schema::PrimaryKey;
use crate::table::value::{Value, ValueRef};

/// Something that can be looked at as a value: [`Value`] and [`ValueRef`].
pub trait Cell {
    /// The value, borrowed.
    fn cell(&self) -> ValueRef<'_>;
}

impl Cell for Value {
    fn cell(&self) -> ValueRef<'_> {
        self.as_ref()
    }
}

impl Cell for ValueRef<'_> {
    fn cell(&self) -> ValueRef<'_> {
        match self {
            ValueRef::Text(text) => ValueRef::Text(std::borrow::Cow::Borrowed(text)),
            ValueRef::Bytes(bytes) => ValueRef::Bytes(std::borrow::Cow::Borrowed(bytes)),
            other => other.clone(),
        }
    }
}

/// Writes rows of one table, at its newest version.
#[derive(Clone, Copy, Debug)]
pub struct RowEncoder<'t> {
    table: &'t Table,
}

impl<'t> RowEncoder<'t> {
    pub(crate) const fn new(table: &'t Table) -> Self {
        Self { table }
    }

    /// Writes a row's key and value into the buffers, which are emptied first. One value for each
    /// living column, in order, each already [fit](crate::table::ColumnType::fits) for its
    /// column. `hidden` is the row's number in a table without primary key.
    ///
    /// # Errors
    /// If a value does not fit its column, or the key or row is too large. The buffers then hold
    /// nothing of use.
    ///
    /// # Panics
    /// If there are not as many values as living columns, or there is a hidden number exactly
    /// when the table has a primary key.
    pub fn encode<C: Cell>(
        &self,
        values: &[C],
        hidden: Option<u64>,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        self.encode_key(values, hidden, key)?;
        self.encode_value(values, value)
    }

    fn encode_key<C: Cell>(
        &self,
        values: &[C],
        hidden: Option<u64>,
        key: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        let schema = self.table.schema();
        let described = self.table.live().len();
        assert_eq!(values.len(), described, "one value for each living column");
        key::start(schema.primary_index, key);
        match (&schema.primary, hidden) {
            (PrimaryKey::Hidden, Some(number)) => key.extend_from_slice(&number.to_be_bytes()),
            (PrimaryKey::Columns(columns), None) => {
                for id in columns {
                    let value = values[self.table.position(*id)].cell();
                    let column = schema.column(*id);
                    key::append(&column.ty, false, &value, key)
                        .map_err(|error| self.table.key_error(*id, error))?;
                }
            }
            _ => panic!("a hidden number is for tables without primary key, and for them a must"),
        }
        Ok(())
    }

    fn encode_value<C: Cell>(&self, values: &[C], out: &mut Vec<u8>) -> Result<(), RowError> {
        let table = self.table;
        let layout = table.newest_layout();
        let var_bytes = table.sum_of_var_bytes(layout, values);
        let wide = var_bytes > usize::from(u16::MAX);
        let offset_bytes = if wide { 4 } else { 2 };
        let bytes = layout.fixed_end + layout.var.len() * offset_bytes + var_bytes;
        if bytes > ROW_MAX {
            let table = table.name().to_owned();
            return Err(RowError::TooLarge { table, bytes, limit: ROW_MAX });
        }

        out.clear();
        out.reserve(bytes);
        let version = table.schema().version | if wide { WIDE } else { 0 };
        out.extend_from_slice(&version.to_le_bytes());
        out.resize(VERSION_BYTES + layout.null_bytes, 0);
        self.write_fixed(layout, values, out)?;
        self.write_offsets(layout, values, wide, out)?;
        for stored in &layout.var {
            out.extend_from_slice(bytes_of(&values[table.position(stored.column)].cell()));
        }
        assert_eq!(out.len(), bytes, "a row has as many bytes as were counted");
        Ok(())
    }

    fn write_fixed<C: Cell>(
        &self,
        layout: &Layout,
        values: &[C],
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        for stored in &layout.fixed {
            let value = values[self.table.position(stored.column)].cell();
            if value.is_null() {
                self.set_null(stored, out)?;
                let width = stored.ty.fixed_width().expect("a fixed column has a width");
                out.resize(out.len() + width, 0);
                continue;
            }
            let encoded = fixed::encode(&stored.ty, &value);
            let encoded = encoded.ok_or_else(|| self.table.misfit(stored.column, &value))?;
            out.extend_from_slice(encoded.as_slice());
        }
        Ok(())
    }

    /// Writes the end offsets; here the variable values are checked.
    fn write_offsets<C: Cell>(
        &self,
        layout: &Layout,
        values: &[C],
        wide: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        let mut end = 0;
        for stored in &layout.var {
            let value = values[self.table.position(stored.column)].cell();
            if value.is_null() {
                self.set_null(stored, out)?;
            } else if !stored.ty.fits(&value) {
                return Err(self.table.misfit(stored.column, &value));
            }
            end += bytes_of(&value).len();
            let offset = u32::try_from(end).expect("a row is limited to 64 MiB");
            let offset = offset.to_le_bytes();
            out.extend_from_slice(&offset[..if wide { 4 } else { 2 }]);
        }
        Ok(())
    }

    fn set_null(&self, stored: &Stored, out: &mut [u8]) -> Result<(), RowError> {
        let Some(bit) = stored.null else {
            return Err(self.table.value_error(stored.column, ValueError::Null));
        };
        out[VERSION_BYTES + usize::from(bit / 8)] |= 1 << (bit % 8);
        Ok(())
    }
}

/// The bytes of text or bytes; none for other values, which are refused elsewhere.
pub(crate) fn bytes_of<'v>(value: &'v ValueRef<'_>) -> &'v [u8] {
    match value {
        ValueRef::Text(text) => text.as_bytes(),
        ValueRef::Bytes(bytes) => bytes,
        _ => &[],
    }
}
