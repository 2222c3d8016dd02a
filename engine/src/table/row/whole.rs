//! A column of whole numbers in many rows of the newest form: where its bytes are is worked out once.

use super::layout::{Place, VERSION_BYTES};
use crate::table::column_type::ColumnType;
use crate::table::runtime::Table;
use crate::table::schema::ColumnId;

/// Where a column of signed whole numbers lies in the values of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WholeColumn {
    /// The version that the rows must have, as they begin.
    version: [u8; VERSION_BYTES],
    /// Bytes that a value has at least.
    fixed_end: usize,
    offset: usize,
    width: usize,
    null: Option<u16>,
}

impl WholeColumn {
    /// The column, if it is one and is not part of the key.
    pub(crate) fn new(table: &Table, column: ColumnId) -> Option<Self> {
        let version = table.schema().version;
        let layout = table.layout(version)?;
        let Place::Fixed { offset, null } = layout.place(column) else { return None };
        let ColumnType::Int { unsigned: false, .. } = table.schema().column(column).ty else {
            return None;
        };
        let width = table.schema().column(column).ty.fixed_width()?;
        let (version, fixed_end) = (version.to_le_bytes(), layout.fixed_end);
        Some(Self { version, fixed_end, offset: offset as usize, width, null })
    }

    /// Whether a row's value has the form that the column was worked out for.
    #[inline]
    pub(crate) fn is_in(&self, value: &[u8]) -> bool {
        value.len() >= self.fixed_end && value.first_chunk() == Some(&self.version)
    }

    pub(crate) const fn is_nullable(&self) -> bool {
        self.null.is_some()
    }

    /// Whether the column is NULL in a value that has the form.
    #[inline]
    pub(crate) fn is_null(&self, value: &[u8]) -> bool {
        self.null
            .is_some_and(|bit| value[VERSION_BYTES + usize::from(bit / 8)] >> (bit % 8) & 1 == 1)
    }

    /// Appends the numbers in values that have the form; 0 for NULL.
    pub(crate) fn read(&self, values: &[&[u8]], numbers: &mut Vec<i64>) {
        match self.width {
            1 => self.read_each::<1>(values, numbers),
            2 => self.read_each::<2>(values, numbers),
            3 => self.read_each::<3>(values, numbers),
            4 => self.read_each::<4>(values, numbers),
            _ => self.read_each::<8>(values, numbers),
        }
    }

    /// Big endian, the sign bit flipped (see [`fixed`](crate::table::fixed)).
    fn read_each<const WIDTH: usize>(&self, values: &[&[u8]], numbers: &mut Vec<i64>) {
        let spare = 64 - 8 * WIDTH;
        let number = |value: &[u8]| {
            let bytes = &value[self.offset..self.offset + WIDTH];
            let bits = bytes.iter().fold(0, |bits: u64, byte| bits << 8 | u64::from(*byte));
            ((bits ^ 1 << (8 * WIDTH - 1)) << spare).cast_signed() >> spare
        };
        if self.null.is_none() {
            numbers.extend(values.iter().map(|value| number(value)));
        } else {
            let or_zero = |value: &&[u8]| if self.is_null(value) { 0 } else { number(value) };
            numbers.extend(values.iter().map(or_zero));
        }
    }
}
