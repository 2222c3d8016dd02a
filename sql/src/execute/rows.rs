//! Rows that expressions read, and the reading of many rows in one go.

use std::ops::ControlFlow;
use std::sync::Arc;

use resprout_engine::Error;
use resprout_engine::table::{ColumnId, Index, IndexId, KeyRange, RowView, Table, Value, ValueRef};

use super::router::Found;
use crate::error::SqlError;
use crate::expression::{self, Compiled, Context, Row};
use crate::place::Transaction;
use crate::pushdown::Pushdown;
use crate::server::Interrupt;

/// Rows between two looks at whether to stop.
const ROWS_BETWEEN_CHECKS: usize = 256;

/// A row as its living values in order, with what an INSERT would have written.
#[derive(Debug)]
pub(crate) struct Living<'a> {
    /// Whose row.
    pub(crate) table: &'a Table,
    /// Its values.
    pub(crate) values: &'a [Value],
    /// `VALUES(column)`.
    pub(crate) inserted: Option<&'a [Value]>,
}

impl Row for Living<'_> {
    fn column(&self, column: ColumnId) -> Result<ValueRef<'_>, expression::Error> {
        Ok(self.values[self.table.position(column)].as_ref())
    }

    fn inserted(&self, column: ColumnId) -> Result<ValueRef<'_>, expression::Error> {
        Ok(match self.inserted {
            Some(values) => values[self.table.position(column)].as_ref(),
            None => ValueRef::Null,
        })
    }
}

/// How many rows a search may look at.
#[derive(Debug)]
pub(crate) struct Budget {
    rows: usize,
    exceeded: std::cell::Cell<bool>,
}

impl Budget {
    /// So many.
    pub(crate) const fn of(rows: usize) -> Self {
        Self { rows, exceeded: std::cell::Cell::new(false) }
    }

    /// All that there are.
    pub(crate) const fn unlimited() -> Self {
        Self::of(usize::MAX)
    }

    /// Other nodes have looked at some rows, of which nobody knows how many: there may be very many more.
    fn after_piece(&self) -> Result<(), Stop> {
        if self.rows == usize::MAX {
            return Ok(());
        }
        self.exceeded.set(true);
        Err(Stop::Enough)
    }

    /// Whether there were more: what was found is not all.
    pub(crate) const fn is_exceeded(&self) -> bool {
        self.exceeded.get()
    }
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    /// The table.
    pub(crate) table: &'a Arc<Table>,
    /// Where.
    pub(crate) found: &'a Found,
    /// What must hold.
    pub(crate) filter: Option<&'a Compiled>,
    /// The same for other nodes, as far as they can tell.
    pub(crate) pushdown: Option<&'a Pushdown>,
    /// What expressions see.
    pub(crate) context: &'a Context<'a>,
    /// What ends it early.
    pub(crate) interrupt: &'a Interrupt,
    /// Rows to look at.
    pub(crate) budget: &'a Budget,
}

/// Visits a row of a partition, or nothing after a piece of a scan.
type Visitor<'v> = &'v mut dyn FnMut(usize, Option<&RowView<'_>>) -> Result<(), Stop>;

/// Why a visit of rows ended before the last one.
pub(crate) enum Stop {
    /// Nobody wants more.
    Enough,
    /// It failed.
    Failed(SqlError),
}

impl<E: Into<SqlError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Search<'_> {
    /// Visits the rows that match, with the partition of each. `parts` has the transaction of
    /// each partition that is concerned.
    ///
    /// # Errors
    /// Of the engine, an expression, the visitor, or the interrupt.
    pub(crate) fn visit(
        &self,
        parts: &[(usize, &Transaction)],
        visitor: &mut dyn FnMut(usize, &RowView<'_>) -> Result<(), Stop>,
    ) -> Result<(), SqlError> {
        let mut seen = 0;
        let mut one = |partition: usize, row: Option<&RowView<'_>>| -> Result<(), Stop> {
            let Some(row) = row else {
                self.interrupt.check()?;
                return self.budget.after_piece();
            };
            seen += 1;
            if seen > self.budget.rows {
                self.budget.exceeded.set(true);
                return Err(Stop::Enough);
            }
            if seen % ROWS_BETWEEN_CHECKS == 0 {
                self.interrupt.check()?;
            }
            if let Some(filter) = self.filter
                && !filter.matches(row, self.context)?
            {
                return Ok(());
            }
            visitor(partition, row)
        };
        match self.visit_all(parts, &mut one) {
            Ok(()) | Err(Stop::Enough) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn visit_all(&self, parts: &[(usize, &Transaction)], one: Visitor<'_>) -> Result<(), Stop> {
        let of = |wanted: usize| {
            let part = parts.iter().find(|(partition, _)| *partition == wanted);
            part.map(|(_, transaction)| *transaction).ok_or(Error::TransactionEnded)
        };
        match self.found {
            Found::Keys(keys) => {
                for (partition, key) in keys {
                    let looked =
                        of(*partition)?.look(self.table, key, |row| one(*partition, Some(row)))?;
                    looked.unwrap_or(Ok(()))?;
                }
            }
            Found::Range(partitions, range) => {
                for partition in partitions {
                    let transaction = of(*partition)?;
                    stoppable(&mut |row| one(*partition, row), |visit| {
                        transaction.scan_where(
                            None,
                            (&**self.table, None),
                            (range, self.pushdown),
                            visit,
                        )
                    })?;
                }
            }
            Found::Index(partitions, id, range) => {
                let index = self.index(*id)?;
                for partition in partitions {
                    let transaction = of(*partition)?;
                    stoppable(&mut |row| one(*partition, row), |visit| {
                        let of = (&**self.table, Some(index));
                        transaction.scan_where(None, of, (range, self.pushdown), visit)
                    })?;
                }
            }
            Found::Ranges(id, parts) => {
                let index = id.map(|id| self.index(id)).transpose()?;
                for (partition, ranges) in parts {
                    self.visit_ranges(of(*partition)?, index, ranges, &mut |row| {
                        one(*partition, row)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// All of one moment: a row that goes from one range to another meanwhile is found once.
    fn visit_ranges(
        &self,
        transaction: &Transaction,
        index: Option<&Index>,
        ranges: &[KeyRange],
        one: &mut dyn FnMut(Option<&RowView<'_>>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let view = transaction.view()?;
        for range in ranges {
            stoppable(one, |visit| {
                let of = (&**self.table, index);
                transaction.scan_where(Some(&view), of, (range, self.pushdown), visit)
            })?;
        }
        Ok(())
    }

    fn index(&self, id: IndexId) -> Result<&Index, Error> {
        let index = self.table.schema().indexes.iter().find(|index| index.id == id);
        index.ok_or_else(|| Error::SchemaChanged { table: self.table.name().to_owned() })
    }
}

/// A scan whose visitor may say why it stops.
fn stoppable(
    one: &mut dyn FnMut(Option<&RowView<'_>>) -> Result<(), Stop>,
    scan: impl FnOnce(&mut dyn FnMut(Option<&RowView<'_>>) -> ControlFlow<()>) -> Result<(), Error>,
) -> Result<(), Stop> {
    let mut stopped = None;
    scan(&mut |row| match one(row) {
        Ok(()) => ControlFlow::Continue(()),
        Err(stop) => {
            stopped = Some(stop);
            ControlFlow::Break(())
        }
    })?;
    stopped.map_or(Ok(()), Err)
}
