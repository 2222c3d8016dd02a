//! A transaction in one partition, near or far: the methods of [`resprout_engine::Transaction`].

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use resprout_access::pushdown::{Evaluator, Limits, Piece, Pushdown, Sink};
use resprout_access::{Assign, Changed, FarPromise, FarTransaction, FarView, Looked};
use resprout_engine::lock::TxnId;
use resprout_engine::table::{
    ColumnId, Index, KeyRange, RowDamage, RowView, Table, Value, ValueRef,
};
use resprout_engine::{EncodedRows, Error};

use crate::pushdown::ByExpressions;

/// A transaction in one partition. Dropping it rolls back.
#[derive(Debug)]
pub enum Transaction {
    /// In the engine of this process.
    Near(resprout_engine::Transaction),
    /// On another node.
    Far(FarTransaction),
}

/// A state of a partition.
#[derive(Debug)]
pub enum View {
    /// In the engine of this process.
    Near(resprout_engine::tree::View),
    /// On another node.
    Far(FarView),
}

/// A point to go back to.
#[derive(Clone, Copy, Debug)]
pub enum Savepoint {
    /// In the engine of this process.
    Near(resprout_engine::Savepoint),
    /// On another node.
    Far(u32),
}

/// A promise on its way.
#[derive(Debug)]
#[must_use = "a promise counts once it is durable"]
pub enum Promise {
    /// In the engine of this process.
    Near(resprout_engine::Promise),
    /// On another node.
    Far(FarPromise),
}

impl Promise {
    /// See [`resprout_engine::Promise::wait`].
    ///
    /// # Errors
    /// As there.
    pub fn wait(self) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.wait(),
            Self::Far(far) => far.wait_now(),
        }
    }

    /// The same for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_async(self) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.wait_async().await,
            Self::Far(far) => far.wait().await,
        }
    }
}

/// A view of the other kind, which no caller has.
fn other_view() -> Error {
    Error::TransactionEnded
}

impl Transaction {
    /// See the engine's.
    pub const fn set_lock_wait_limit(&mut self, limit: Duration) {
        match self {
            Self::Near(near) => near.set_lock_wait_limit(limit),
            Self::Far(far) => far.set_lock_wait_limit(limit),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> TxnId {
        match self {
            Self::Near(near) => near.id(),
            Self::Far(far) => far.id(),
        }
    }

    /// Rows that it has changed.
    #[must_use]
    pub fn changes(&self) -> usize {
        match self {
            Self::Near(near) => near.changes(),
            Self::Far(far) => far.changes(),
        }
    }

    /// Whether nothing that it does can be taken for granted before a node has answered.
    #[must_use]
    pub const fn is_far(&self) -> bool {
        matches!(self, Self::Far(_))
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub async fn insert_async(
        &mut self,
        table: &Arc<Table>,
        values: &[Value],
    ) -> Result<Option<u64>, Error> {
        match self {
            Self::Near(near) => near.insert_async(table, values).await,
            Self::Far(far) => far.insert(table, values).await,
        }
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub async fn update_key_async(
        &mut self,
        table: &Arc<Table>,
        key: &[u8],
        assignments: &[(ColumnId, Value)],
    ) -> Result<bool, Error> {
        match self {
            Self::Near(near) => near.update_key_async(table, key, assignments).await,
            Self::Far(far) => far.update_key(table, key, assignments).await,
        }
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub async fn delete_key_async(
        &mut self,
        table: &Arc<Table>,
        key: &[u8],
    ) -> Result<bool, Error> {
        match self {
            Self::Near(near) => near.delete_key_async(table, key).await,
            Self::Far(far) => far.delete_key(table, key).await,
        }
    }

    /// Inserts a row and commits, with one message if it is far. When `stop` returns, it is stopped if it can be.
    ///
    /// # Errors
    /// Of the insert and the commit.
    pub async fn insert_last(
        self,
        table: &Arc<Table>,
        values: &[Value],
        stop: impl Future<Output = ()>,
    ) -> Result<Option<u64>, Error> {
        match self {
            Self::Near(mut near) => {
                let number = near.insert_async(table, values).await?;
                near.commit_async().await?;
                Ok(number)
            }
            Self::Far(far) => far.insert_last(table, values, stop).await,
        }
    }

    /// Removes a row and commits, as [`Transaction::insert_last`].
    ///
    /// # Errors
    /// As there.
    pub async fn delete_last(
        self,
        table: &Arc<Table>,
        key: &[u8],
        stop: impl Future<Output = ()>,
    ) -> Result<bool, Error> {
        match self {
            Self::Near(mut near) => {
                let was = near.delete_key_async(table, key).await?;
                near.commit_async().await?;
                Ok(was)
            }
            Self::Far(far) => far.delete_last(table, key, stop).await,
        }
    }

    /// Changes a row and commits, as [`Transaction::insert_last`]; none if that has to be done step by step.
    ///
    /// # Errors
    /// As there.
    pub async fn change_last(
        self,
        table: &Arc<Table>,
        (key, assignments): (&[u8], &[(ColumnId, Assign)]),
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Changed>, Error> {
        match self {
            Self::Near(_) => Ok(None),
            Self::Far(far) => match far.change_last(table, key, assignments, stop).await? {
                Changed::Locked(_) => Ok(None),
                changed => Ok(Some(changed)),
            },
        }
    }

    /// Changes a row with one message if it is far, if that is possible: else it is locked, and here are its values.
    ///
    /// # Errors
    /// As the engine's update.
    pub async fn change_key_async(
        &mut self,
        table: &Arc<Table>,
        key: &[u8],
        assignments: &[(ColumnId, Assign)],
    ) -> Result<Changed, Error> {
        match self {
            Self::Near(near) => {
                let locked = near.lock_key_async(table, key).await?;
                Ok(locked.map_or(Changed::Gone, Changed::Locked))
            }
            Self::Far(far) => far.change_key(table, key, assignments).await,
        }
    }

    /// Inserts rows with as few waits as possible; those that were refused.
    ///
    /// # Errors
    /// As the engine's insert.
    pub async fn insert_all_async(
        &mut self,
        table: &Arc<Table>,
        rows: &[Vec<Value>],
    ) -> Result<Vec<(usize, Error)>, Error> {
        match self {
            Self::Near(near) => {
                let mut refused = Vec::new();
                for (at, row) in rows.iter().enumerate() {
                    if let Err(error) = near.insert_async(table, row).await {
                        refused.push((at, error));
                    }
                }
                Ok(refused)
            }
            Self::Far(far) => far.insert_all(table, rows).await,
        }
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub async fn lock_key_async(
        &mut self,
        table: &Table,
        key: &[u8],
    ) -> Result<Option<Vec<Value>>, Error> {
        match self {
            Self::Near(near) => near.lock_key_async(table, key).await,
            Self::Far(far) => far.lock_key(table, key).await,
        }
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub fn look<T>(
        &self,
        table: &Table,
        key: &[u8],
        look: impl FnOnce(&RowView<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        match self {
            Self::Near(near) => near.look(table, key, look),
            Self::Far(far) => far.look(table, key, look),
        }
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub fn view(&self) -> Result<View, Error> {
        match self {
            Self::Near(near) => near.view().map(View::Near),
            Self::Far(far) => far.view().map(View::Far),
        }
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub fn scan(
        &self,
        table: &Table,
        range: &KeyRange,
        visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.scan(table, range, visit),
            Self::Far(far) => far.scan(None, (table, None), range, visit),
        }
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub fn scan_at(
        &self,
        view: &View,
        table: &Table,
        range: &KeyRange,
        visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        match (self, view) {
            (Self::Near(near), View::Near(view)) => near.scan_at(view, table, range, visit),
            (Self::Far(far), View::Far(view)) => far.scan(Some(view), (table, None), range, visit),
            _ => Err(other_view()),
        }
    }

    /// Visits rows of a range, or of an index. If they are far, those are left out of which what is pushed down does not
    /// hold; the others may still have to be looked at. Nothing is visited after each piece of it: who visits may stop
    /// then too.
    ///
    /// # Errors
    /// As the engine's scans.
    pub fn scan_where(
        &self,
        view: Option<&View>,
        (table, index): (&Table, Option<&Index>),
        (range, pushdown): (&KeyRange, Option<&Pushdown>),
        mut visit: impl FnMut(Option<&RowView<'_>>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut each = |row: &RowView<'_>| visit(Some(row));
        match (self, view, pushdown) {
            (Self::Far(far), None, Some(pushdown)) => {
                far.scan_where(None, (table, index), (range, pushdown), visit)
            }
            (Self::Far(far), Some(View::Far(view)), Some(pushdown)) => {
                far.scan_where(Some(view), (table, index), (range, pushdown), visit)
            }
            _ => match (view, index) {
                (None, None) => self.scan(table, range, &mut each),
                (None, Some(index)) => self.scan_index(table, index, range, &mut each),
                (Some(view), None) => self.scan_at(view, table, range, &mut each),
                (Some(view), Some(index)) => {
                    self.scan_index_at(view, (table, index), range, &mut each)
                }
            },
        }
    }

    /// What comes of the rows of a piece of a scan, done where they are, and where the next piece begins. `is_first` says
    /// that little may be enough.
    ///
    /// # Errors
    /// As the engine's scans; of the sink.
    pub fn evaluate(
        &self,
        view: &View,
        (table, index, range): (&Table, Option<&Index>, &KeyRange),
        (pushdown, limits, is_first): (&Pushdown, Limits, bool),
        sink: &mut dyn Sink,
    ) -> Result<Option<Vec<u8>>, Error> {
        match (self, view) {
            (Self::Near(transaction), View::Near(view)) => {
                let piece = Piece { transaction, view, table, index, range, limits };
                ByExpressions.evaluate(&piece, pushdown, sink)
            }
            (Self::Far(far), View::Far(view)) => {
                let rows = u32::try_from(limits.rows).unwrap_or(u32::MAX);
                let of = (view, (table, index), range);
                let (packed, next) = far.evaluate(of, pushdown, (rows, is_first))?;
                let (mut values, width) = (packed.values(), pushdown.width());
                for _ in 0..packed.rows() {
                    for _ in 0..width {
                        sink.value(values.value()?)?;
                    }
                    sink.end_row();
                }
                Ok(next)
            }
            _ => Err(other_view()),
        }
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub fn scan_index(
        &self,
        table: &Table,
        index: &Index,
        range: &KeyRange,
        visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.scan_index(table, index, range, visit),
            Self::Far(far) => far.scan(None, (table, Some(index)), range, visit),
        }
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub fn scan_index_at(
        &self,
        view: &View,
        (table, index): (&Table, &Index),
        range: &KeyRange,
        visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        match (self, view) {
            (Self::Near(near), View::Near(view)) => {
                near.scan_index_at(view, (table, index), range, visit)
            }
            (Self::Far(far), View::Far(view)) => {
                far.scan(Some(view), (table, Some(index)), range, visit)
            }
            _ => Err(other_view()),
        }
    }

    /// See the engine's: the rows that were refused.
    ///
    /// # Errors
    /// As there.
    pub fn insert_encoded(&mut self, rows: &EncodedRows) -> Result<Vec<(usize, Error)>, Error> {
        match self {
            Self::Near(near) => near.insert_encoded(rows),
            Self::Far(far) => {
                let values =
                    |at| Ok(rows.row(at).values()?.into_iter().map(ValueRef::into_owned).collect());
                let values: Result<Vec<Vec<Value>>, RowDamage> =
                    (0..rows.len()).map(values).collect();
                far.insert_many(rows.table(), &values?)
            }
        }
    }

    /// See the engine's.
    pub fn savepoint(&mut self) -> Savepoint {
        match self {
            Self::Near(near) => Savepoint::Near(near.savepoint()),
            Self::Far(far) => Savepoint::Far(far.mark()),
        }
    }

    /// See the engine's.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        match (self, savepoint) {
            (Self::Near(near), Savepoint::Near(savepoint)) => near.rollback_to(savepoint),
            (Self::Far(far), Savepoint::Far(mark)) => far.rollback_to(mark),
            // A savepoint of another transaction, which no caller has.
            _ => {}
        }
    }

    /// Commits, on a thread that waits.
    ///
    /// # Errors
    /// See the engine's.
    pub fn commit(self) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.commit().map(drop),
            Self::Far(far) => far.commit_now(),
        }
    }

    /// Commits.
    ///
    /// # Errors
    /// See the engine's.
    pub async fn commit_async(self) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.commit_async().await.map(drop),
            Self::Far(far) => far.commit().await,
        }
    }

    /// See the engine's.
    ///
    /// # Errors
    /// As there.
    pub fn promise(
        self,
        global_id: &[u8],
        participants: &[u32],
        forgotten: &[Vec<u8>],
    ) -> Result<Promise, Error> {
        match self {
            Self::Near(near) => near.promise(global_id, participants, forgotten).map(Promise::Near),
            Self::Far(far) => far.promise(global_id, participants, forgotten).map(Promise::Far),
        }
    }
}

/// Reads rows of transactions that are far and have done nothing yet, all at once; they have those rows then and no
/// others. With more rows than the first limit nothing is read; of each key or range the second is enough.
///
/// # Errors
/// As reads.
pub(crate) async fn fetch(
    table: &Table,
    parts: Vec<(&mut Transaction, Looked)>,
    limits: (u32, u32),
) -> Result<(), Error> {
    let mut far = Vec::with_capacity(parts.len());
    for (part, looked) in parts {
        if let Transaction::Far(part) = part {
            far.push((part, looked));
        }
    }
    let wanted = far.iter().map(|(part, looked)| (part.partition().clone(), looked.clone()));
    let wanted: Vec<_> = wanted.collect();
    let wanted = wanted.iter().map(|(partition, looked)| (partition, looked.clone())).collect();
    let Some(fetched) = resprout_access::fetch(table, wanted, limits).await? else { return Ok(()) };
    for ((part, _), fetched) in far.into_iter().zip(fetched) {
        part.set_fetched(fetched);
    }
    Ok(())
}
