//! Rows that lie together on a leaf, for readers of very many of them: a column of whole numbers is
//! read for all at once, without looking at each row by itself.

use std::ops::ControlFlow;

use crate::error::Error;
use crate::table::{ColumnId, KeyRange, RowView, Table, WholeColumn};
use crate::transaction::Transaction;
use crate::tree::{LeafRows, View};

/// Neighbouring rows of a table, in key order.
#[derive(Debug)]
pub struct RowBlock<'a> {
    transaction: &'a Transaction,
    table: &'a Table,
    rows: LeafRows<'a>,
    /// Their values.
    values: &'a [&'a [u8]],
}

impl RowBlock<'_> {
    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none, which no block is that is visited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The key of the last row.
    #[must_use]
    pub fn last_key(&self) -> Vec<u8> {
        let (prefix, suffix, _) = self.rows.row(self.len() - 1);
        [prefix, suffix].concat()
    }

    /// Appends the values of a column of signed whole numbers, and for a column that may be NULL
    /// whether each is none. False, and nothing is appended, if the column is no such column, lies in
    /// the key, or some row was written under an older form of the table.
    pub fn whole_numbers(
        &self,
        column: ColumnId,
        numbers: &mut Vec<i64>,
        present: &mut Vec<bool>,
    ) -> bool {
        let Some(column) = WholeColumn::new(self.table, column) else { return false };
        if !self.values.iter().all(|value| column.is_in(value)) {
            return false;
        }
        column.read(self.values, numbers);
        if column.is_nullable() {
            present.extend(self.values.iter().map(|value| !column.is_null(value)));
        }
        true
    }

    /// Visits the rows one by one, until told to stop.
    ///
    /// # Errors
    /// [`Error::RowDamaged`].
    pub fn each(
        &self,
        mut visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let mut key = Vec::new();
        for row in 0..self.len() {
            let (prefix, suffix, value) = self.rows.row(row);
            key.clear();
            key.extend_from_slice(prefix);
            key.extend_from_slice(suffix);
            if visit(&self.transaction.row(self.table, &key, value)?).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Transaction {
    /// Visits the committed rows of a range of the table's primary index, as they were in a
    /// [state](Transaction::view) taken before, leaf by leaf until told to stop. False, and nothing is
    /// visited, if the transaction has written in the range: [`Transaction::scan_at`] lays its own
    /// writes over what is committed.
    ///
    /// # Errors
    /// What `visit` fails with.
    pub fn scan_blocks_at(
        &self,
        view: &View,
        table: &Table,
        range: &KeyRange,
        mut visit: impl FnMut(&RowBlock<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<bool, Error> {
        if self.has_written_in(range) {
            return Ok(false);
        }
        let mut scan = view.range(&range.from, range.to.as_deref());
        let mut values = Vec::new();
        while scan.next() {
            let rows = scan.rest_of_leaf();
            values.clear();
            values.extend((0..rows.len()).map(|row| {
                rows.ask_ahead(row);
                rows.row(row).2
            }));
            if visit(&RowBlock { transaction: self, table, rows, values: &values })?.is_break() {
                break;
            }
        }
        Ok(true)
    }
}
