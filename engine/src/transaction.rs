//! Transactions: private writes, row locks, one commit.
//!
//! ```text
//!  begin ─► lock row ─► read newest ─► plan ─► lock keys ─► stage ─┐   (again for each statement)
//!    ▲                                                             │
//!    └─────────────────────────────────────────────────────────────┘
//!        commit:   append (locks free) ─► committed ─► acknowledged
//!        prepare:  append, locks stay  ─► decision of the home partition
//!        rollback or drop: forgotten
//! ```
//!
//! Read committed: each read sees the newest committed state plus the transaction's own writes.
//! A write looks at the *newest* state, under the row's lock. What it saw there is told to nobody
//! before it is committed ([`Transaction::settle`]): neither a locked row nor the refusal of a
//! duplicate (rule 13).
//!
//! Every call that may wait exists twice: `insert_async` for tasks of any runtime, `insert` for
//! threads.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use resprout_wal::Position;

use crate::blocking::block_on;
use crate::core::{Change, Core, Sequences};
use crate::error::Error;
use crate::lock::{Answer, LockRefused, Request, RowKey, TxnId};
use crate::overlay;
use crate::partition::Partition;
use crate::record::{OpKind, RecordKind};
use crate::state::State;
use crate::table::system::{Sequence, sequence_key};
use crate::table::{
    ColumnId, Index, KeyRange, PrimaryKey, RowDamage, RowView, RowWrites, Table, Value, Write,
    index_entry, index_entry_to_primary_key, plan_delete, plan_insert, plan_update,
};
use crate::times::Timer;
use crate::tree::View;
use crate::write_set::WriteSet;

/// A commit that is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the log; `None` if there was nothing to write.
    pub position: Option<Position>,
}

/// A point of a transaction that it can go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint(usize);

/// A transaction of one partition. Dropping it rolls it back.
#[derive(Debug)]
pub struct Transaction {
    pub(crate) partition: Partition,
    pub(crate) id: TxnId,
    pub(crate) writes: WriteSet,
    pub(crate) tables: Vec<Arc<Table>>,
    pub(crate) numbers: Sequences,
    /// How long it waits for a lock, if not as the engine's options say.
    lock_wait_limit: Option<Duration>,
    /// Locks pass on to a prepared transaction.
    pub(crate) keeps_locks: bool,
    /// It began on a copy that follows another: it reads, and no more.
    only_reads: bool,
}

impl Transaction {
    pub(crate) fn begin(partition: &Partition) -> Result<Self, Error> {
        let id = partition.readable()?.next_txn();
        Ok(Self {
            partition: partition.clone(),
            id,
            writes: WriteSet::default(),
            tables: Vec::new(),
            numbers: Sequences::new(),
            lock_wait_limit: None,
            keeps_locks: false,
            only_reads: partition.state() != State::Online,
        })
    }

    /// How long it waits for a row's lock from now on, in place of
    /// [`Options::lock_wait_limit`](crate::Options::lock_wait_limit).
    pub const fn set_lock_wait_limit(&mut self, limit: Duration) {
        self.lock_wait_limit = Some(limit);
    }

    /// Its number, unique in one run of its partition.
    #[must_use]
    pub const fn id(&self) -> TxnId {
        self.id
    }

    pub(crate) fn core(&self) -> Result<&Core, Error> {
        if self.only_reads {
            return self.partition.readable();
        }
        let core = self.partition.online()?;
        core.check_live(self.id)?;
        Ok(core)
    }

    /// Inserts a row: one value for each column, in order. NULL in an auto-increment column asks
    /// for the next number. Returns the number that was given out, if one was.
    ///
    /// # Errors
    /// [`Error::Duplicate`], [`Error::Row`], [`Error::LockWaitTimeout`], [`Error::Deadlock`],
    /// [`Error::NotOnline`]. The transaction may go on without the row.
    pub fn insert(&mut self, table: &Arc<Table>, values: &[Value]) -> Result<Option<u64>, Error> {
        let partition = self.partition.clone();
        let step = self.insert_async(table, values);
        block_in(&partition, step)
    }

    /// As [`Transaction::insert`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn insert_async(
        &mut self,
        table: &Arc<Table>,
        values: &[Value],
    ) -> Result<Option<u64>, Error> {
        let (plan, given) = self.plan_insert(table, values)?;
        self.lock_all(&plan).await?;
        self.stage(table, plan).await?;
        Ok(given)
    }

    fn plan_insert(
        &mut self,
        table: &Arc<Table>,
        values: &[Value],
    ) -> Result<(RowWrites, Option<u64>), Error> {
        let core = self.partition.online()?;
        let schema = table.schema();
        let hidden = (schema.primary == PrimaryKey::Hidden).then(|| {
            let sequence = sequence_key(schema.id, Sequence::Hidden);
            let number = core.next_number(&sequence);
            self.numbers.insert(sequence, number);
            number
        });
        let Some(column) = schema.auto_increment.filter(|_| values.len() == table.live().len())
        else {
            return Ok((plan_insert(table, values, hidden)?, None));
        };
        let at = table.position(column);
        let sequence = sequence_key(schema.id, Sequence::Column);
        let (plan, number, given) = if values[at].is_null() {
            let number = core.next_number(&sequence);
            let mut filled = values.to_vec();
            filled[at] = Value::UInt(number);
            (plan_insert(table, &filled, hidden)?, number, Some(number))
        } else {
            let number = match values[at] {
                Value::Int(number) => u64::try_from(number).unwrap_or(0),
                Value::UInt(number) => number,
                _ => 0,
            };
            core.skip_number(&sequence, number);
            (plan_insert(table, values, hidden)?, number, None)
        };
        let used = self.numbers.entry(sequence).or_insert(0);
        *used = (*used).max(number);
        Ok((plan, given))
    }

    /// Changes columns of the row with this primary key; whether there is such a row.
    ///
    /// # Errors
    /// As [`Transaction::insert`].
    pub fn update(
        &mut self,
        table: &Arc<Table>,
        primary_key: &[Value],
        assignments: &[(ColumnId, Value)],
    ) -> Result<bool, Error> {
        let partition = self.partition.clone();
        block_in(&partition, self.update_async(table, primary_key, assignments))
    }

    /// As [`Transaction::update`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn update_async(
        &mut self,
        table: &Arc<Table>,
        primary_key: &[Value],
        assignments: &[(ColumnId, Value)],
    ) -> Result<bool, Error> {
        let key = table.primary_key(primary_key)?;
        self.update_key_async(table, &key, assignments).await
    }

    /// As [`Transaction::update`], by the row's [key](RowView::key): for rows that a scan found, and tables
    /// without primary key.
    ///
    /// # Errors
    /// As there.
    pub async fn update_key_async(
        &mut self,
        table: &Arc<Table>,
        key: &[u8],
        assignments: &[(ColumnId, Value)],
    ) -> Result<bool, Error> {
        let key: RowKey = key.into();
        let Some(old) = self.lock_and_read(&key).await? else { return Ok(false) };
        let mut plan = plan_update(&self.row(table, &key, &old)?, assignments)?;
        if self.writes.get(&key).is_none() && self.core()?.view().get(&key) != Some(&old[..]) {
            claim_entries(table, &key, &mut plan)?;
        }
        self.lock_all(&plan).await?;
        self.stage(table, plan).await?;
        Ok(true)
    }

    /// Removes the row with this primary key; whether there was one.
    ///
    /// # Errors
    /// As [`Transaction::insert`].
    pub fn delete(&mut self, table: &Arc<Table>, primary_key: &[Value]) -> Result<bool, Error> {
        let partition = self.partition.clone();
        block_in(&partition, self.delete_async(table, primary_key))
    }

    /// As [`Transaction::delete`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn delete_async(
        &mut self,
        table: &Arc<Table>,
        primary_key: &[Value],
    ) -> Result<bool, Error> {
        let key = table.primary_key(primary_key)?;
        self.delete_key_async(table, &key).await
    }

    /// As [`Transaction::delete`], by the row's [key](RowView::key).
    ///
    /// # Errors
    /// As there.
    pub async fn delete_key_async(
        &mut self,
        table: &Arc<Table>,
        key: &[u8],
    ) -> Result<bool, Error> {
        let key: RowKey = key.into();
        let Some(old) = self.lock_and_read(&key).await? else { return Ok(false) };
        let plan = plan_delete(&self.row(table, &key, &old)?)?;
        self.lock_all(&plan).await?;
        self.stage(table, plan).await?;
        Ok(true)
    }

    /// Reads a row: as committed, or as this transaction wrote it.
    ///
    /// # Errors
    /// [`Error::NotOnline`], [`Error::Row`] if a key value does not fit.
    pub fn get(&self, table: &Table, primary_key: &[Value]) -> Result<Option<Vec<Value>>, Error> {
        let key = table.primary_key(primary_key)?;
        let view = self.core()?.view();
        let value = match self.writes.get(&key) {
            Some(wanted) => wanted.value.as_deref(),
            None => view.get(&key),
        };
        value.map(|value| owned(&self.row(table, &key, value)?)).transpose()
    }

    /// Looks at the row of this [key](RowView::key) without a copy of it, as [`Transaction::get`] reads one.
    ///
    /// # Errors
    /// As there.
    pub fn look<T>(
        &self,
        table: &Table,
        key: &[u8],
        look: impl FnOnce(&RowView<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let view = self.core()?.view();
        let value = match self.writes.get(key) {
            Some(wanted) => wanted.value.as_deref(),
            None => view.get(key),
        };
        value.map(|value| Ok(look(&self.row(table, key, value)?))).transpose()
    }

    /// Reads several rows of one moment, as [`Transaction::get`] reads one: for lists of keys and joins. The
    /// rows come in the order of the keys, `None` where there is none. The searches wait for memory together,
    /// so in a large table this is faster than one `get` after the other.
    ///
    /// ```
    /// use resprout_engine::table::{TableSchema, Value};
    /// # use resprout_engine::{DatabaseOptions, Engine, Options};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path(), Options::default())?;
    /// # let options = DatabaseOptions { partitions: 1, ..DatabaseOptions::default() };
    /// # let database = engine.create_database("d", options)?;
    /// # let schema = TableSchema::builder("t").column("id", "bigint").primary_key(&["id"]).build()?;
    /// # database.create_table(&schema)?;
    /// # let partition = &database.partitions()[0];
    /// # let table = partition.table("t")?;
    /// let mut txn = partition.begin()?;
    /// txn.insert(&table, &[Value::Int(1)])?;
    /// txn.commit()?;
    /// let mut txn = partition.begin()?;
    /// txn.insert(&table, &[Value::Int(3)])?; // own writes are seen, as by `get`
    /// let rows = txn.get_many(&table, &[[Value::Int(3)], [Value::Int(2)], [Value::Int(1)]])?;
    /// assert_eq!(rows, [Some(vec![Value::Int(3)]), None, Some(vec![Value::Int(1)])]);
    /// # txn.commit()?;
    /// # engine.close()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn get_many<K: AsRef<[Value]>>(
        &self,
        table: &Table,
        primary_keys: &[K],
    ) -> Result<Vec<Option<Vec<Value>>>, Error> {
        let keys: Result<Vec<_>, _> =
            primary_keys.iter().map(|values| table.primary_key(values.as_ref())).collect();
        let keys = keys?;
        let view = self.core()?.view();
        let mut rows = Vec::with_capacity(keys.len());
        view.get_many(&keys, |at, committed| {
            let value = match self.writes.get(&keys[at]) {
                Some(wanted) => wanted.value.as_deref(),
                None => committed,
            };
            rows.push(value.map(|value| owned(&self.row(table, &keys[at], value)?)).transpose());
        });
        rows.into_iter().collect()
    }

    /// Locks a row and reads its newest state, which is committed by the time of the answer.
    ///
    /// # Errors
    /// As [`Transaction::insert`].
    pub fn get_for_update(
        &mut self,
        table: &Table,
        primary_key: &[Value],
    ) -> Result<Option<Vec<Value>>, Error> {
        let partition = self.partition.clone();
        block_in(&partition, self.get_for_update_async(table, primary_key))
    }

    /// As [`Transaction::get_for_update`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn get_for_update_async(
        &mut self,
        table: &Table,
        primary_key: &[Value],
    ) -> Result<Option<Vec<Value>>, Error> {
        let key = table.primary_key(primary_key)?;
        self.lock_key_async(table, &key).await
    }

    /// As [`Transaction::get_for_update`], by the row's [key](RowView::key).
    ///
    /// # Errors
    /// As there.
    pub async fn lock_key_async(
        &mut self,
        table: &Table,
        key: &[u8],
    ) -> Result<Option<Vec<Value>>, Error> {
        let key: RowKey = key.into();
        let newest = self.lock_and_read(&key).await?;
        if self.writes.get(&key).is_none() {
            self.settle(&key, newest.as_deref()).await?;
        }
        newest.map(|value| owned(&self.row(table, &key, &value)?)).transpose()
    }

    /// The committed state of now, for several reads of one moment: [`Transaction::scan_at`].
    ///
    /// # Errors
    /// [`Error::NotOnline`].
    pub fn view(&self) -> Result<View, Error> {
        Ok(self.core()?.view())
    }

    /// Visits rows in key order, own writes included, until `visit` breaks. `range` is a range
    /// of the table's primary index, such as [`Table::rows`].
    ///
    /// # Errors
    /// [`Error::NotOnline`], [`Error::RowDamaged`].
    pub fn scan(
        &self,
        table: &Table,
        range: &KeyRange,
        visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.scan_at(&self.view()?, table, range, visit)
    }

    /// As [`Transaction::scan`], of a state that was [taken](Transaction::view) before.
    ///
    /// # Errors
    /// As there.
    pub fn scan_at(
        &self,
        view: &View,
        table: &Table,
        range: &KeyRange,
        mut visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        overlay::scan(view, &self.writes, range, |key, value| {
            Ok(visit(&self.row(table, key, value)?))
        })
    }

    /// Visits the rows that an index range leads to, in index order, own writes included.
    ///
    /// # Errors
    /// As [`Transaction::scan`].
    pub fn scan_index(
        &self,
        table: &Table,
        index: &Index,
        range: &KeyRange,
        visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.scan_index_at(&self.view()?, (table, index), range, visit)
    }

    /// As [`Transaction::scan_index`], of a state that was [taken](Transaction::view) before.
    ///
    /// # Errors
    /// As there.
    pub fn scan_index_at(
        &self,
        view: &View,
        (table, index): (&Table, &Index),
        range: &KeyRange,
        mut visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        overlay::scan(view, &self.writes, range, |key, value| {
            let primary = index_entry_to_primary_key(table, index, key, value)?;
            if let Some(own) = self.writes.get(&primary) {
                // The entry may be that of a committed row which a transaction after it, and this
                // one after that, have changed.
                let Some(row) = own.value.as_deref() else { return Ok(ControlFlow::Continue(())) };
                let row = self.row(table, &primary, row)?;
                let leads_here = index_entry(index, &row)?.0 == key;
                return Ok(if leads_here { visit(&row) } else { ControlFlow::Continue(()) });
            }
            let row = view.get(&primary).ok_or_else(|| Error::DataDamaged {
                place: format!("index '{}' of table '{}'", index.name, table.name()),
                lsn: resprout_wal::Lsn::ZERO,
                what: "an entry leads to no row".to_owned(),
            })?;
            Ok(visit(&self.row(table, &primary, row)?))
        })
    }

    /// Commits; returns when the commit is acknowledged as the database's durability demands.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the log failed after the append; all others mean that
    /// nothing was written.
    pub fn commit(self) -> Result<Committed, Error> {
        let timer = self.timer();
        let Some(position) = self.append()? else { return Ok(Committed { position: None }) };
        // Not `self.core()`: what is appended is waited for, whatever state the copy enters.
        let core = self.partition.core().ok_or(Error::TransactionEnded)?;
        core.wait_committed(position)?;
        timer.acknowledged();
        Ok(Committed { position: Some(position) })
    }

    /// As [`Transaction::commit`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn commit_async(self) -> Result<Committed, Error> {
        let timer = self.timer();
        let Some(position) = self.append()? else { return Ok(Committed { position: None }) };
        let core = self.partition.core().ok_or(Error::TransactionEnded)?;
        core.committed(position).await?;
        timer.acknowledged();
        Ok(Committed { position: Some(position) })
    }

    fn timer(&self) -> Timer<'_> {
        let inner = &self.partition.inner;
        inner.context.commits.begin(inner.durability, &inner.context.world().clock)
    }

    /// Appends, and lets go of the locks: whoever takes them now is later in the same log.
    fn append(&self) -> Result<Option<Position>, Error> {
        if self.writes.is_empty() {
            return Ok(None);
        }
        let core = self.core()?;
        let appended = core.append(&Change {
            kind: RecordKind::Commit,
            txn: self.id,
            writes: &self.writes,
            tables: &self.tables,
            numbers: &self.numbers,
        })?;
        core.locks.release_all(self.id);
        Ok(Some(appended.position))
    }

    /// A point to go back to, for a statement that may fail in the middle.
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint(self.writes.mark())
    }

    /// Takes back what was written since. The locks stay, so that nobody sees what was between.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        self.writes.rewind(savepoint.0);
    }

    /// Forgets everything.
    pub fn rollback(self) {
        drop(self);
    }

    pub(crate) fn numbers(&self) -> &Sequences {
        &self.numbers
    }

    /// Rows and index entries this transaction would change.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.writes.rows().len()
    }

    async fn lock_all(&self, plan: &RowWrites) -> Result<(), Error> {
        for key in &plan.locks {
            self.lock(&key.as_slice().into()).await?;
        }
        Ok(())
    }

    pub(crate) async fn lock(&self, key: &RowKey) -> Result<(), Error> {
        let usual = self.partition.inner.context.options.lock_wait_limit;
        let limit = self.lock_wait_limit.unwrap_or(usual);
        let refused = |refused| match refused {
            LockRefused::Timeout => Error::LockWaitTimeout { limit },
            LockRefused::Deadlock => Error::Deadlock,
            LockRefused::Ended => Error::TransactionEnded,
        };
        loop {
            let core = self.partition.online()?;
            core.check_live(self.id)?;
            let deadline = core.clock.now() + limit;
            let wait = match core.locks.acquire(self.id, key, deadline).map_err(refused)? {
                Request::Granted => return Ok(()),
                Request::Wait(wait) => wait,
            };
            match wait.await {
                Ok(Answer::Granted) => return Ok(()),
                // Whether it is over, or the partition has another master, is seen above.
                Ok(Answer::AskAgain) | Err(LockRefused::Ended) => {}
                Err(other) => return Err(refused(other)),
            }
        }
    }

    /// Locks a key and reads its newest value, own writes first.
    async fn lock_and_read(&self, key: &RowKey) -> Result<Option<Vec<u8>>, Error> {
        self.lock(key).await?;
        if let Some(wanted) = self.writes.get(key) {
            return Ok(wanted.value.clone());
        }
        let writer = self.core()?.writer()?;
        Ok(writer.tree.get(key).map(<[u8]>::to_vec))
    }

    /// Checks what must be absent and takes the plan into the write set.
    async fn stage(&mut self, table: &Arc<Table>, plan: RowWrites) -> Result<(), Error> {
        for absent in &plan.must_be_absent {
            let own = self.writes.get(&absent.key);
            let there = match own {
                Some(wanted) => wanted.value.is_some(),
                None => {
                    let newest = {
                        let writer = self.core()?.writer()?;
                        writer.tree.get(&absent.key).map(<[u8]>::to_vec)
                    };
                    if newest.is_some() {
                        self.settle(&absent.key, newest.as_deref()).await?;
                    }
                    newest.is_some()
                }
            };
            if there {
                return Err(absent.duplicate(table).into());
            }
        }
        self.writes.extend(plan.ops);
        self.has_changed(table);
        Ok(())
    }

    /// Notes that rows of a table are among the writes.
    pub(crate) fn has_changed(&mut self, table: &Arc<Table>) {
        if !self.tables.iter().any(|known| Arc::ptr_eq(known, table)) {
            self.tables.push(Arc::clone(table));
        }
    }

    /// Whether it has written a row with a key in the range.
    pub(crate) fn has_written_in(&self, range: &KeyRange) -> bool {
        self.writes.range(&range.from, range.to.as_deref()).next().is_some()
    }

    /// A row as `table` describes it.
    ///
    /// # Errors
    /// [`Error::SchemaChanged`] if the row was written after the table was changed.
    pub(crate) fn row<'r>(
        &self,
        table: &'r Table,
        key: &'r [u8],
        value: &'r [u8],
    ) -> Result<RowView<'r>, Error> {
        let known = |found: u16| {
            let Some(core) = self.partition.core() else { return false };
            // A copy that has stopped still reads, by what readers know.
            let catalog =
                core.writer().map_or_else(|_| core.catalog(), |writer| writer.catalog.clone());
            catalog.table_by_id(table.id()).is_some_and(|now| now.schema().version >= found)
        };
        RowView::new(table, key, value).map_err(|damage| match damage {
            RowDamage::Version { table, found, newest } if found > newest && known(found) => {
                Error::SchemaChanged { table }
            }
            damage => damage.into(),
        })
    }

    /// Waits until what was read from the newest state is committed, if it is not yet.
    pub(crate) async fn settle(&self, key: &[u8], newest: Option<&[u8]>) -> Result<(), Error> {
        let core = self.core()?;
        if core.view().get(key) == newest {
            return Ok(());
        }
        match core.last_position()? {
            Some(position) => core.committed(position).await,
            None => Ok(()),
        }
    }
}

/// Adds the entries of the new row that the plan leaves as they are. Where the row's newest state
/// is not committed yet, the committed state lacks them, and the transaction's own scans would
/// not find the row.
fn claim_entries(table: &Table, key: &[u8], plan: &mut RowWrites) -> Result<(), Error> {
    let Some(row) = plan.ops.iter().find(|op| op.key == key).map(|op| op.value.clone()) else {
        return Ok(());
    };
    let row = RowView::new(table, key, &row)?;
    for index in &table.schema().indexes {
        let (key, value) = index_entry(index, &row)?;
        if !plan.ops.iter().any(|op| op.key == key) {
            plan.ops.push(Write { kind: OpKind::Update, key, value });
        }
    }
    Ok(())
}

pub(crate) fn block_in<F: Future>(partition: &Partition, future: F) -> F::Output {
    block_on(future, || {
        if let Some(core) = partition.core() {
            core.locks.expire(core.clock.now());
        }
    })
}

fn owned(row: &RowView<'_>) -> Result<Vec<Value>, Error> {
    Ok(row.values()?.into_iter().map(crate::table::ValueRef::into_owned).collect())
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(core) = self.partition.core().filter(|_| !self.keeps_locks) {
            core.locks.release_all(self.id);
        }
    }
}
