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
use crate::message::{Reply, Request, Scan, TableRef};
use crate::partition::FarPartition;

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
        }
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
        match self.ask(Request::Insert(table_ref(table), values.to_vec())).await? {
            Reply::Number(number) => {
                self.changes += 1;
                Ok(number)
            }
            other => Err(self.partition.odd(&other)),
        }
    }

    /// Inserts rows, all of which are said before the first is answered; those that were refused, with why. Blocks.
    ///
    /// # Errors
    /// [`Error::Unreachable`]: nothing more can be done in the transaction.
    pub fn insert_many<R: AsRef<[Value]>>(
        &mut self,
        table: &Table,
        rows: &[R],
    ) -> Result<Vec<(usize, Error)>, Error> {
        let leaf = self.partition.leaf.clone();
        leaf.block(async {
            let mut refused = Vec::new();
            let mut line = self.line.lock().await;
            let line = self.begun(&mut line).await?;
            let mut asked = Vec::with_capacity(rows.len());
            for row in rows {
                let insert = Request::Insert(table_ref(table), row.as_ref().to_vec());
                asked.push(line.ask(&insert).map_err(|lost| self.partition.lost(lost))?);
            }
            for (at, asked) in asked.into_iter().enumerate() {
                match line.answer(asked).await.map_err(|lost| self.partition.lost(lost))? {
                    Reply::Number(_) => {}
                    Reply::Failed(fault) => refused.push((at, self.partition.fault(fault))),
                    other => return Err(self.partition.odd(&other)),
                }
            }
            Ok(refused)
        })
        .inspect(|refused| self.changes += rows.len() - refused.len())
    }

    async fn changed(&mut self, request: Request) -> Result<bool, Error> {
        match self.ask(request).await? {
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
        self.changed(Request::Update(table, key, assignments)).await
    }

    /// Removes a row by its key; whether there was one.
    ///
    /// # Errors
    /// As the engine; [`Error::Unreachable`].
    pub async fn delete_key(&mut self, table: &Table, key: &[u8]) -> Result<bool, Error> {
        self.changed(Request::Delete(table_ref(table), key.to_vec())).await
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
            for (key, value) in rows.iter() {
                if visit(&RowView::new(table, key, value)?).is_break() {
                    return Ok(());
                }
            }
            let Some(next) = next else { return Ok(()) };
            (from, bytes_max) = (next, SCAN_BYTES);
        }
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
