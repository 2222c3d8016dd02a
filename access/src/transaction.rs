//! A transaction in a partition that is on another node. See [`resprout_engine::Transaction`], whose methods these
//! are.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use resprout_engine::lock::TxnId;
use resprout_engine::table::{ColumnId, Index, KeyRange, RowView, Table, Value};
use resprout_engine::{Error, Unknown};
use tokio::sync::Mutex;

use crate::channel::SCAN_BYTES_FIRST;
use crate::client::Line;
use crate::fetch::Fetched;
use crate::message::{Assign, Reply, Request, Rows, Scan, TableRef, Write};
use crate::packed::Packed;
use crate::partition::FarPartition;
use crate::pushed::Pushdown;

/// Bytes of rows that come at once.
const SCAN_BYTES: u32 = 512 << 10;

/// Names transactions among each other in this process; apart from those of engines.
static NEXT: AtomicU64 = AtomicU64::new(1 << 63);

/// See the module. Dropping it rolls back.
pub struct FarTransaction {
    partition: FarPartition,
    id: TxnId,
    lock_wait: Option<Duration>,
    /// Made by the first request. Requests of several threads come one after the other.
    line: Mutex<Option<Line>>,
    changes: usize,
    /// Changes at each mark.
    marks: HashMap<u32, usize>,
    next_mark: u32,
    next_view: AtomicU32,
    /// Rows that are known already; then no others are read.
    fetched: Option<Fetched>,
}

impl fmt::Debug for FarTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FarTransaction({:?}, {} changes)", self.partition, self.changes)
    }
}

/// A state of a partition that is elsewhere, taken by a transaction.
pub struct FarView {
    number: u32,
    release: Box<dyn Fn(&Request) + Send + Sync>,
}

impl fmt::Debug for FarView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FarView({})", self.number)
    }
}

impl Drop for FarView {
    fn drop(&mut self) {
        (self.release)(&Request::DropView(self.number));
    }
}

/// What became of a row that was to be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Changed {
    /// It is not there.
    Gone,
    /// It is as it should be; whether that is a change.
    Done(bool),
    /// It is locked, and has these values: what it becomes has to be said.
    Locked(Vec<Value>),
}

/// A promise that was asked for.
#[derive(Debug)]
#[must_use = "a promise counts once it is durable"]
pub struct FarPromise {
    partition: FarPartition,
    line: Line,
    asked: u64,
}

fn table_ref(table: &Table) -> TableRef {
    TableRef { id: table.id(), version: table.schema().version }
}

/// The connection is lost while something is under way that may last.
fn unknown() -> Error {
    Error::OutcomeUnknown(Unknown::Lost)
}

impl FarTransaction {
    pub(crate) fn new(partition: FarPartition) -> Self {
        Self {
            partition,
            id: TxnId(NEXT.fetch_add(1, Ordering::Relaxed)),
            lock_wait: None,
            line: Mutex::default(),
            changes: 0,
            marks: HashMap::new(),
            next_mark: 0,
            next_view: AtomicU32::new(0),
            fetched: None,
        }
    }

    /// The partition.
    #[must_use]
    pub const fn partition(&self) -> &FarPartition {
        &self.partition
    }

    /// Rows that were fetched before: they are read, and no others.
    pub fn set_fetched(&mut self, fetched: Fetched) {
        self.fetched = Some(fetched);
    }

    /// How long it waits for a row's lock.
    pub const fn set_lock_wait_limit(&mut self, limit: Duration) {
        self.lock_wait = Some(limit);
    }

    /// Its number in this process.
    #[must_use]
    pub const fn id(&self) -> TxnId {
        self.id
    }

    /// Rows that it has changed, each change counted.
    #[must_use]
    pub const fn changes(&self) -> usize {
        self.changes
    }

    /// A line, with the transaction begun.
    async fn begun<'a>(&self, line: &'a mut Option<Line>) -> Result<&'a mut Line, Error> {
        if line.is_none() {
            let made = self.partition.leaf.line().await;
            let made = made.map_err(|error| self.partition.unreachable(error))?;
            let wait =
                self.lock_wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            let begin = Request::Begin { place: self.partition.place, lock_wait_ms: wait };
            made.say(&begin).map_err(|lost| self.partition.lost(lost))?;
            // Marks of before are of its beginning.
            for mark in self.marks.keys() {
                made.say(&Request::Mark(*mark)).map_err(|lost| self.partition.lost(lost))?;
            }
            *line = Some(made);
        }
        line.as_mut().ok_or(Error::TransactionEnded)
    }

    async fn ask(&self, request: Request) -> Result<Reply, Error> {
        let mut line = self.line.lock().await;
        let line = self.begun(&mut line).await?;
        let asked = line.ask(&request).map_err(|lost| self.partition.lost(lost))?;
        match line.answer(asked).await.map_err(|lost| self.partition.lost(lost))? {
            Reply::Failed(fault) => Err(self.partition.fault(fault)),
            reply => Ok(reply),
        }
    }

    fn ask_now(&self, request: Request) -> Result<Reply, Error> {
        self.partition.leaf.block(self.ask(request))
    }

    /// Inserts a row.
    ///
    /// # Errors
    /// As the engine; [`Error::Unreachable`].
    pub async fn insert(&mut self, table: &Table, values: &[Value]) -> Result<Option<u64>, Error> {
        match self.ask(Request::Write(Write::Insert(table_ref(table), values.to_vec()))).await? {
            Reply::Number(number) => {
                self.changes += 1;
                Ok(number)
            }
            other => Err(self.partition.odd(&other)),
        }
    }

    /// The same on a thread that waits. Blocks.
    ///
    /// # Errors
    /// As [`FarTransaction::insert_all`].
    pub fn insert_many<R: AsRef<[Value]>>(
        &mut self,
        table: &Table,
        rows: &[R],
    ) -> Result<Vec<(usize, Error)>, Error> {
        let leaf = self.partition.leaf.clone();
        leaf.block(self.insert_all(table, rows))
    }

    /// Inserts rows, all of which are said before the first is answered; those that were refused, with why.
    ///
    /// # Errors
    /// [`Error::Unreachable`]: nothing more can be done in the transaction.
    pub async fn insert_all<R: AsRef<[Value]>>(
        &mut self,
        table: &Table,
        rows: &[R],
    ) -> Result<Vec<(usize, Error)>, Error> {
        let refused = async {
            let mut refused = Vec::new();
            let mut line = self.line.lock().await;
            let line = self.begun(&mut line).await?;
            let mut asked = Vec::with_capacity(rows.len());
            for row in rows {
                let insert = Write::Insert(table_ref(table), row.as_ref().to_vec());
                asked.push(
                    line.ask(&Request::Write(insert)).map_err(|lost| self.partition.lost(lost))?,
                );
            }
            for (at, asked) in asked.into_iter().enumerate() {
                match line.answer(asked).await.map_err(|lost| self.partition.lost(lost))? {
                    Reply::Number(_) => {}
                    Reply::Failed(fault) => refused.push((at, self.partition.fault(fault))),
                    other => return Err(self.partition.odd(&other)),
                }
            }
            Ok(refused)
        };
        let refused: Result<Vec<(usize, Error)>, Error> = refused.await;
        refused.inspect(|refused| self.changes += rows.len() - refused.len())
    }

    async fn changed(&mut self, write: Write) -> Result<bool, Error> {
        match self.ask(Request::Write(write)).await? {
            Reply::Was(was) => {
                self.changes += usize::from(was);
                Ok(was)
            }
            other => Err(self.partition.odd(&other)),
        }
    }

    /// Changes a row by its key; whether there was one.
    ///
    /// # Errors
    /// As the engine; [`Error::Unreachable`].
    pub async fn update_key(
        &mut self,
        table: &Table,
        key: &[u8],
        assignments: &[(ColumnId, Value)],
    ) -> Result<bool, Error> {
        let (table, key, assignments) = (table_ref(table), key.to_vec(), assignments.to_vec());
        self.changed(Write::Update(table, key, assignments)).await
    }

    /// Removes a row by its key; whether there was one.
    ///
    /// # Errors
    /// As the engine; [`Error::Unreachable`].
    pub async fn delete_key(&mut self, table: &Table, key: &[u8]) -> Result<bool, Error> {
        self.changed(Write::Delete(table_ref(table), key.to_vec())).await
    }

    /// Locks a row and sets its columns, if the leaf can do that alone.
    ///
    /// # Errors
    /// As the engine; [`Error::Unreachable`].
    pub async fn change_key(
        &mut self,
        table: &Table,
        key: &[u8],
        assignments: &[(ColumnId, Assign)],
    ) -> Result<Changed, Error> {
        let change = Write::Change(table_ref(table), key.to_vec(), assignments.to_vec());
        let changed = self.partition.changed(self.ask(Request::Write(change)).await?)?;
        self.changes += usize::from(changed == Changed::Done(true));
        Ok(changed)
    }

    /// Inserts a row and commits, with one message. When `stop` returns, it is stopped if it is not past that point.
    ///
    /// # Errors
    /// As [`FarTransaction::insert`] and [`FarTransaction::commit`]: nothing is there then, or that is unknown.
    pub async fn insert_last(
        self,
        table: &Table,
        values: &[Value],
        stop: impl Future<Output = ()>,
    ) -> Result<Option<u64>, Error> {
        let partition = self.partition.clone();
        let insert = Write::Insert(table_ref(table), values.to_vec());
        match self.last(insert, stop).await? {
            Reply::Number(number) => Ok(number),
            other => Err(partition.odd(&other)),
        }
    }

    /// Removes a row by its key and commits, as [`FarTransaction::insert_last`]; whether there was one.
    ///
    /// # Errors
    /// As there.
    pub async fn delete_last(
        self,
        table: &Table,
        key: &[u8],
        stop: impl Future<Output = ()>,
    ) -> Result<bool, Error> {
        let partition = self.partition.clone();
        match self.last(Write::Delete(table_ref(table), key.to_vec()), stop).await? {
            Reply::Was(was) => Ok(was),
            other => Err(partition.odd(&other)),
        }
    }

    /// Changes a row as [`FarTransaction::change_key`] and commits, as [`FarTransaction::insert_last`]. What is locked
    /// only is not locked any more.
    ///
    /// # Errors
    /// As there.
    pub async fn change_last(
        self,
        table: &Table,
        key: &[u8],
        assignments: &[(ColumnId, Assign)],
        stop: impl Future<Output = ()>,
    ) -> Result<Changed, Error> {
        let partition = self.partition.clone();
        let change = Write::Change(table_ref(table), key.to_vec(), assignments.to_vec());
        partition.changed(self.last(change, stop).await?)
    }

    async fn last(self, write: Write, stop: impl Future<Output = ()>) -> Result<Reply, Error> {
        {
            let mut line = self.line.lock().await;
            self.begun(&mut line).await?;
        }
        let mut line = self.line.into_inner().ok_or(Error::TransactionEnded)?;
        let asked = line.ask_last(&Request::WriteLast(write));
        let asked = asked.map_err(|lost| self.partition.lost(lost))?;
        let early = tokio::select! {
            biased;
            reply = line.answer(asked) => Some(reply),
            () = stop => None,
        };
        let reply = if let Some(reply) = early {
            reply
        } else {
            // It may be past that point: the leaf knows.
            line.stop();
            line.answer(asked).await
        };
        match reply.map_err(|_| unknown())? {
            Reply::Failed(fault) => Err(self.partition.fault(fault)),
            reply => Ok(reply),
        }
    }

    /// Locks a row and reads its newest state.
    ///
    /// # Errors
    /// As the engine; [`Error::Unreachable`].
    pub async fn lock_key(
        &mut self,
        table: &Table,
        key: &[u8],
    ) -> Result<Option<Vec<Value>>, Error> {
        match self.ask(Request::Lock(table_ref(table), key.to_vec())).await? {
            Reply::Values(values) => Ok(values),
            other => Err(self.partition.odd(&other)),
        }
    }

    /// Looks at a row by its key. Blocks.
    ///
    /// # Errors
    /// As the engine; [`Error::Unreachable`].
    pub fn look<T>(
        &self,
        table: &Table,
        key: &[u8],
        look: impl FnOnce(&RowView<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        if let Some(fetched) = &self.fetched {
            return fetched.look(table, key, look);
        }
        match self.ask_now(Request::Look(table_ref(table), key.to_vec()))? {
            Reply::Row(None) => Ok(None),
            Reply::Row(Some(value)) => Ok(Some(look(&RowView::new(table, key, &value)?))),
            other => Err(self.partition.odd(&other)),
        }
    }

    /// Takes the state of now, for several reads. Blocks if nothing was asked before.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; what else fails, the first read of it tells.
    pub fn view(&self) -> Result<FarView, Error> {
        let number = self.next_view.fetch_add(1, Ordering::Relaxed);
        if self.fetched.is_some() {
            return Ok(FarView { number, release: Box::new(|_| ()) });
        }
        self.partition.leaf.block(async {
            let mut line = self.line.lock().await;
            let line = self.begun(&mut line).await?;
            line.say(&Request::View(number)).map_err(|lost| self.partition.lost(lost))?;
            Ok(FarView { number, release: Box::new(line.release()) })
        })
    }

    /// Visits rows in the order of their keys, or of an index, until told to stop. Blocks.
    ///
    /// # Errors
    /// As the engine; [`Error::Unreachable`].
    pub fn scan(
        &self,
        view: Option<&FarView>,
        (table, index): (&Table, Option<&Index>),
        range: &KeyRange,
        mut visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        if let Some(fetched) = &self.fetched {
            return fetched.scan(table, range, visit);
        }
        // Several answers must be of one state.
        let own;
        let view = match view {
            Some(view) => view.number,
            None => {
                own = self.view()?;
                own.number
            }
        };
        let mut from = range.from.clone();
        let mut bytes_max = SCAN_BYTES_FIRST;
        loop {
            let scan = Scan {
                table: table_ref(table),
                index: index.map(|index| index.id),
                view,
                from,
                to: range.to.clone(),
                bytes_max,
            };
            let (rows, next) = match self.ask_now(Request::Scan(scan))? {
                Reply::Rows { rows, next } => (rows, next),
                other => return Err(self.partition.odd(&other)),
            };
            for (key, value) in rows.pairs() {
                if visit(&RowView::new(table, key, value)?).is_break() {
                    return Ok(());
                }
            }
            let Some(next) = next else { return Ok(()) };
            (from, bytes_max) = (next, SCAN_BYTES);
        }
    }

    /// Visits the rows of a scan of which a condition holds, which their leaf finds: as [`FarTransaction::scan`]. What was
    /// fetched before is visited whole: conditions have to be looked at again. Nothing is visited between two messages.
    /// Blocks.
    ///
    /// # Errors
    /// As there.
    pub fn scan_where(
        &self,
        view: Option<&FarView>,
        (table, index): (&Table, Option<&Index>),
        (range, pushdown): (&KeyRange, &Pushdown),
        mut visit: impl FnMut(Option<&RowView<'_>>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        if let Some(fetched) = &self.fetched {
            return fetched.scan(table, range, |row| visit(Some(row)));
        }
        let own;
        let view = match view {
            Some(view) => view,
            None => {
                own = self.view()?;
                &own
            }
        };
        let (mut range, mut is_first) = (range.clone(), true);
        loop {
            let of = (view, (table, index), &range);
            let (rows, next): (Rows, _) = match self.push(of, pushdown, (u32::MAX, is_first))? {
                Reply::Rows { rows, next } => (rows, next),
                other => return Err(self.partition.odd(&other)),
            };
            for (key, value) in rows.pairs() {
                if visit(Some(&RowView::new(table, key, value)?)).is_break() {
                    return Ok(());
                }
            }
            let Some(next) = next else { return Ok(()) };
            if visit(None).is_break() {
                return Ok(());
            }
            (range.from, is_first) = (next, false);
        }
    }

    /// What comes of the rows of a scan, and where it goes on: done where they are. `is_first` says that little may be
    /// enough. Blocks.
    ///
    /// # Errors
    /// As the engine; [`Error::Unreachable`].
    pub fn evaluate(
        &self,
        of: (&FarView, (&Table, Option<&Index>), &KeyRange),
        pushdown: &Pushdown,
        limits: (u32, bool),
    ) -> Result<(Packed, Option<Vec<u8>>), Error> {
        match self.push(of, pushdown, limits)? {
            Reply::Packed { values, next } => Ok((values, next)),
            other => Err(self.partition.odd(&other)),
        }
    }

    fn push(
        &self,
        (view, (table, index), range): (&FarView, (&Table, Option<&Index>), &KeyRange),
        pushdown: &Pushdown,
        (rows, is_first): (u32, bool),
    ) -> Result<Reply, Error> {
        let scan = Scan {
            table: table_ref(table),
            index: index.map(|index| index.id),
            view: view.number,
            from: range.from.clone(),
            to: range.to.clone(),
            bytes_max: if is_first { SCAN_BYTES_FIRST } else { SCAN_BYTES },
        };
        self.ask_now(Request::Push(scan, pushdown.clone(), rows))
    }

    /// A point to go back to.
    pub fn mark(&mut self) -> u32 {
        let mark = self.next_mark;
        self.next_mark += 1;
        self.marks.insert(mark, self.changes);
        if let Some(line) = self.line.get_mut() {
            // If the connection is lost, the next request says so.
            let _lost = line.say(&Request::Mark(mark));
        }
        mark
    }

    /// Takes back what was written since.
    pub fn rollback_to(&mut self, mark: u32) {
        // Also without a change that is known here: one whose answer was not waited for may be there.
        let changes = self.marks.get(&mark).copied().unwrap_or(0);
        if let Some(line) = self.line.get_mut() {
            let _lost = line.say(&Request::RollbackTo(mark));
        }
        self.changes = changes;
    }

    /// Commits; returns when that is acknowledged.
    ///
    /// # Errors
    /// As the engine. [`Error::OutcomeUnknown`] also if the connection is lost meanwhile.
    pub async fn commit(self) -> Result<(), Error> {
        let Some(mut line) = self.line.into_inner() else { return Ok(()) };
        let asked = line.ask_last(&Request::Commit).map_err(|lost| self.partition.lost(lost))?;
        match line.answer(asked).await.map_err(|_| unknown())? {
            Reply::Done => Ok(()),
            Reply::Failed(fault) => Err(self.partition.fault(fault)),
            other => Err(self.partition.odd(&other)),
        }
    }

    /// The same on a thread that waits. Blocks.
    ///
    /// # Errors
    /// As [`FarTransaction::commit`].
    pub fn commit_now(self) -> Result<(), Error> {
        let leaf = self.partition.leaf.clone();
        leaf.block(self.commit())
    }

    /// Asks for a promise to commit.
    ///
    /// # Errors
    /// [`Error::Unreachable`]: nothing was promised.
    pub fn promise(
        self,
        global_id: &[u8],
        participants: &[u32],
        forgotten: &[Vec<u8>],
    ) -> Result<FarPromise, Error> {
        let mut line = self.line.into_inner().ok_or(Error::TransactionEnded)?;
        let promise = Request::Promise {
            global_id: global_id.to_vec(),
            participants: participants.to_vec(),
            forgotten: forgotten.to_vec(),
        };
        let asked = line.ask_last(&promise).map_err(|lost| self.partition.lost(lost))?;
        Ok(FarPromise { partition: self.partition, line, asked })
    }
}

impl FarPromise {
    /// Waits until it is durable.
    ///
    /// # Errors
    /// As the engine: it was refused, or its outcome is unknown.
    pub async fn wait(mut self) -> Result<(), Error> {
        match self.line.answer(self.asked).await.map_err(|_| unknown())? {
            Reply::Done => Ok(()),
            Reply::Failed(fault) => Err(self.partition.fault(fault)),
            other => Err(self.partition.odd(&other)),
        }
    }

    /// The same on a thread that waits. Blocks.
    ///
    /// # Errors
    /// As [`FarPromise::wait`].
    pub fn wait_now(self) -> Result<(), Error> {
        let leaf: Arc<_> = self.partition.leaf.clone();
        leaf.block(self.wait())
    }
}
