//! Rows as they are stored, many in one buffer: made on one thread and inserted on another without an allocation for each.

use std::sync::Arc;

use crate::table::{PrimaryKey, RowError, RowView, Table, Value};

/// Rows of a table as they are stored, in the order in which they came.
///
/// They are of the newest version that the [`Table`] knows: whoever inserts them finds out, as with values, if the table
/// has changed since. [`Transaction::insert_encoded`](crate::Transaction::insert_encoded) takes them.
#[derive(Debug)]
pub struct EncodedRows {
    table: Arc<Table>,
    bytes: Vec<u8>,
    /// Where the key and the value of each row end; the value begins where the key ends.
    ends: Vec<(usize, usize)>,
    /// The row that is being made.
    row: (Vec<u8>, Vec<u8>),
}

impl EncodedRows {
    /// None yet, with room for so many of so many bytes together; more may come.
    #[must_use]
    pub fn with_capacity(table: &Arc<Table>, rows: usize, bytes: usize) -> Self {
        Self {
            table: Arc::clone(table),
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(rows),
            row: (Vec::with_capacity(64), Vec::with_capacity(256)),
        }
    }

    /// Their table.
    #[must_use]
    pub const fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a row: one value for each living column, in order, each [fit](crate::table::ColumnType::fits) for its column,
    /// as [`Table::complete`] makes them. A table without primary key gives the row its number when it is inserted; an
    /// auto-increment column has to have its number already.
    ///
    /// # Errors
    /// If a value does not fit its column, or key or row are too large. The rows before stay.
    ///
    /// # Panics
    /// If there are not as many values as living columns.
    pub fn push(&mut self, values: &[Value]) -> Result<(), RowError> {
        let (key, value) = (&mut self.row.0, &mut self.row.1);
        let hidden = (self.table.schema().primary == PrimaryKey::Hidden).then_some(0);
        self.table.encoder().encode(values, hidden, key, value)?;
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
        Ok(())
    }

    /// A row. In a table without primary key it has no number yet.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn row(&self, at: usize) -> RowView<'_> {
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let (key_end, end) = self.ends[at];
        let (key, value) = (&self.bytes[begin..key_end], &self.bytes[key_end..end]);
        RowView::new(&self.table, key, value).expect("it was made by this table")
    }
}
