//! One channel on a leaf: requests carried out one after the other, in one transaction at most.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use resprout_engine::table::{ColumnId, IndexId, KeyRange, Table, Value};
use resprout_engine::tree::View;
use resprout_engine::{Error, InDoubt, Partition, Position, Savepoint, State, Transaction, Vote};
use resprout_wal::Lsn;
use std::sync::Arc;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Notify, mpsc};

use crate::frame::encode_reply;
use crate::message::{Assign, Fault, Question, Reply, Request, Rows, Scan, TableRef, Voted, Write};
use crate::out::Out;
use crate::packed::Packed;
use crate::pushed::{Evaluator, Gives, Limits, Piece, Pushdown, Sink};

/// So long a read waits for the end of what was in doubt when this master's term began; then whoever asked tries again.
const SETTLED_WITHIN: Duration = Duration::from_secs(3);

/// Bytes of the first rows of a scan: most want few.
pub(crate) const SCAN_BYTES_FIRST: u32 = 16 << 10;

/// Rows that are looked at for one answer at most: between two, the client may go away.
const LOOKED_MAX: usize = 1 << 18;
/// The same for the first answer, which is made without leaving the thread.
const LOOKED_FIRST: usize = 512;

/// A request with the partition that it names.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) request: Request,
    pub(crate) partition: Option<Partition>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Channel {
    number: u64,
    out: Arc<Out>,
    partition: Option<Partition>,
    transaction: Option<Transaction>,
    views: HashMap<u32, Arc<View>>,
    marks: HashMap<u32, Savepoint>,
    /// Why nothing can be done in the transaction: what is not answered may fail too.
    failed: Option<Fault>,
    evaluator: Option<Arc<dyn Evaluator>>,
}

/// Work that takes long or waits for the disk, beside the tasks of this thread.
fn beside_tasks<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Sends an answer; waits while the socket is full.
pub(crate) async fn answer(
    out: &Out,
    number: u64,
    reply: Result<Reply, Error>,
) -> Result<(), crate::out::Lost> {
    let reply = reply.unwrap_or_else(|error| Reply::Failed(error.into()));
    out.say(&encode_reply(number, &reply))?;
    out.room().await;
    Ok(())
}

/// The columns that differ, with their new values; none if what is asked is not so simple for this row: whoever asked
/// does it then.
fn assigned(
    table: &Table,
    old: &[Value],
    assignments: &[(ColumnId, Assign)],
) -> Option<Vec<(ColumnId, Value)>> {
    let mut new = Vec::with_capacity(assignments.len());
    for (id, assign) in assignments {
        // A column that is not there is no position either.
        let at = table.live().contains(id).then(|| table.position(*id))?;
        let old = old.get(at)?;
        let value = match (assign, old) {
            (Assign::Value(value), _) => value.clone(),
            (Assign::Add(by), Value::Int(old)) => Value::Int(old.checked_add(*by)?),
            (Assign::Add(_), _) => return None,
        };
        let value = table.coerce(*id, value).ok()?;
        if value != *old {
            new.push((*id, value));
        }
    }
    Some(new)
}

/// Answers what is asked of a partition.
pub(crate) async fn asked(
    number: u64,
    out: Arc<Out>,
    partition: Option<Partition>,
    asked: Question,
) {
    let reply = match partition {
        Some(partition) => question(&partition, asked).await,
        None => Err(not_here()),
    };
    // Without connection nobody waits for it.
    let _lost = answer(&out, number, reply).await;
}

/// Nobody serves it here.
pub(crate) fn not_here() -> Error {
    Error::NotOnline { partition: "here".to_owned(), state: State::Pending }
}

impl Channel {
    pub(crate) fn new(number: u64, out: Arc<Out>, evaluator: Option<Arc<dyn Evaluator>>) -> Self {
        Self {
            number,
            out,
            partition: None,
            transaction: None,
            views: HashMap::new(),
            marks: HashMap::new(),
            failed: None,
            evaluator,
        }
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Until nobody asks any more, or the last request is answered.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Located>, closed: &Notify) {
        loop {
            // What was said before the end is looked at: who asked for the last thing waits for its answer.
            let next = tokio::select! {
                biased;
                next = requests.recv() => next,
                () = closed.notified() => None,
            };
            let Some(Located { request, partition }) = next else { return };
            if let Request::Begin { lock_wait_ms, .. } = request {
                self.begin(partition, lock_wait_ms);
                continue;
            }
            let is_last = matches!(
                request,
                Request::Commit | Request::Promise { .. } | Request::WriteLast(_)
            );
            let reply = match request {
                Request::WriteLast(write) => Some(self.write_last(write, closed).await),
                // Past the point of no return: whoever goes away does not stop it.
                request if is_last => self.request(request).await,
                request => tokio::select! {
                    reply = self.request(request) => reply,
                    () = closed.notified() => return,
                },
            };
            let Some(reply) = reply else { continue };
            if answer(&self.out, self.number, reply).await.is_err() || is_last {
                return;
            }
        }
    }

    fn begin(&mut self, partition: Option<Partition>, lock_wait_ms: Option<u64>) {
        let begun = partition.ok_or_else(not_here).and_then(|partition| {
            // A copy that follows could be read too, but not what was acknowledged since.
            online(&partition)?;
            let mut transaction = partition.begin()?;
            if let Some(limit) = lock_wait_ms {
                transaction.set_lock_wait_limit(Duration::from_millis(limit));
            }
            Ok((partition, transaction))
        });
        match begun {
            Ok((partition, transaction)) => {
                self.partition = Some(partition);
                self.transaction = Some(transaction);
            }
            Err(error) => self.failed = Some(error.into()),
        }
    }

    /// Requests of the transaction; nothing for those that are not answered.
    async fn request(&mut self, request: Request) -> Option<Result<Reply, Error>> {
        if let Some(fault) = &self.failed {
            let is_silent = matches!(
                request,
                Request::View(_) | Request::DropView(_) | Request::Mark(_) | Request::RollbackTo(_)
            );
            return (!is_silent).then(|| Ok(Reply::Failed(fault.clone())));
        }
        match request {
            Request::View(number) => {
                match self.view().await {
                    Ok(view) => drop(self.views.insert(number, Arc::new(view))),
                    Err(error) => self.failed = Some(error.into()),
                }
                None
            }
            Request::DropView(number) => {
                self.views.remove(&number);
                None
            }
            Request::Mark(number) => {
                if let Some(transaction) = &mut self.transaction {
                    self.marks.insert(number, transaction.savepoint());
                }
                None
            }
            Request::RollbackTo(number) => {
                let mark = self.marks.get(&number).copied();
                match (&mut self.transaction, mark) {
                    (Some(transaction), Some(mark)) => transaction.rollback_to(mark),
                    // What cannot be taken back must not be committed.
                    _ => self.failed = Some(Fault::TransactionEnded),
                }
                None
            }
            // Few rows are read before another thread would have taken the tasks of this one over.
            Request::Scan(scan) if scan.bytes_max <= SCAN_BYTES_FIRST => Some(self.scan(&scan)),
            Request::Scan(scan) => Some(beside_tasks(|| self.scan(&scan))),
            Request::Push(scan, pushdown, rows) if scan.bytes_max <= SCAN_BYTES_FIRST => {
                Some(self.push(&scan, &pushdown, (LOOKED_FIRST, rows)))
            }
            Request::Push(scan, pushdown, rows) => {
                Some(beside_tasks(|| self.push(&scan, &pushdown, (LOOKED_MAX, rows))))
            }
            Request::Look(table, key) => Some(self.look(table, &key).await),
            request => Some(self.change(request).await),
        }
    }

    fn part(&mut self) -> Result<(&mut Transaction, &Partition), Error> {
        match (&mut self.transaction, &self.partition) {
            (Some(transaction), Some(partition)) => Ok((transaction, partition)),
            _ => Err(Error::TransactionEnded),
        }
    }

    /// The transaction, and a table as it is here, if it is the one that is meant.
    fn at(&mut self, table: TableRef) -> Result<(&mut Transaction, Arc<Table>), Error> {
        let (transaction, partition) = self.part()?;
        let found = as_meant(partition, table)?;
        Ok((transaction, found))
    }

    /// Of rows that may have been acknowledged while another copy was master, the newest state is read.
    async fn settled(&self, from: &[u8], to: Option<&[u8]>) -> Result<(), Error> {
        match &self.partition {
            Some(partition) => settled(partition, from, to).await,
            None => Ok(()),
        }
    }

    async fn view(&mut self) -> Result<View, Error> {
        self.settled(&[], None).await?;
        self.part()?.0.view()
    }

    async fn look(&mut self, table: TableRef, key: &[u8]) -> Result<Reply, Error> {
        self.settled(key, Some(&[key, &[0]].concat())).await?;
        let (transaction, table) = self.at(table)?;
        Ok(Reply::Row(transaction.look(&table, key, |row| row.value().to_vec())?))
    }

    fn scan(&mut self, scan: &Scan) -> Result<Reply, Error> {
        let view = self.views.get(&scan.view).cloned().ok_or(Error::TransactionEnded)?;
        let (transaction, table) = self.at(scan.table)?;
        let range = KeyRange { from: scan.from.clone(), to: scan.to.clone() };
        let (mut rows, mut next) = (Rows::default(), None);
        match scan.index {
            None => transaction.scan_at(&view, &table, &range, |row| {
                if rows.bytes() >= scan.bytes_max as usize {
                    next = Some(row.key().to_vec());
                    return ControlFlow::Break(());
                }
                rows.push(row.key(), row.value());
                ControlFlow::Continue(())
            })?,
            Some(id) => {
                let index = index(&table, id)?;
                transaction.scan_index_at(&view, (&table, &index), &range, |row| {
                    if rows.bytes() >= scan.bytes_max as usize {
                        next = resprout_engine::table::index_entry(&index, row)
                            .ok()
                            .map(|entry| entry.0);
                        return ControlFlow::Break(());
                    }
                    rows.push(row.key(), row.value());
                    ControlFlow::Continue(())
                })?;
            }
        }
        Ok(Reply::Rows { rows, next })
    }

    /// What comes of the rows of a scan.
    fn push(
        &mut self,
        scan: &Scan,
        pushdown: &Pushdown,
        (looked, rows): (usize, u32),
    ) -> Result<Reply, Error> {
        let view = self.views.get(&scan.view).cloned().ok_or(Error::TransactionEnded)?;
        let evaluator = self.evaluator.clone();
        let unable =
            || Error::Elsewhere("this leaf sends rows, and does nothing with them".to_owned());
        let evaluator = evaluator.ok_or_else(unable)?;
        let (transaction, table) = self.at(scan.table)?;
        let index = scan.index.map(|id| index(&table, id)).transpose()?;
        let range = KeyRange { from: scan.from.clone(), to: scan.to.clone() };
        let limits = Limits { looked, rows: rows as usize, bytes: scan.bytes_max as usize };
        let (view, range, table) = (&*view, &range, &*table);
        let piece = Piece { transaction, view, table, index: index.as_ref(), range, limits };
        if pushdown.gives == Gives::Rows {
            let mut rows = Rows::default();
            let next = evaluator.evaluate(&piece, pushdown, &mut rows)?;
            return Ok(Reply::Rows { rows, next });
        }
        let mut values = Packed::default();
        let next = evaluator.evaluate(&piece, pushdown, &mut values as &mut dyn Sink)?;
        Ok(Reply::Packed { values, next })
    }

    async fn commit(&mut self) -> Result<(), Error> {
        let transaction = self.transaction.take().ok_or(Error::TransactionEnded)?;
        transaction.commit_async().await.map(drop)
    }

    /// Writes a row and commits. Whoever goes away stops it only before the commit, and is told.
    async fn write_last(&mut self, write: Write, closed: &Notify) -> Result<Reply, Error> {
        if let Some(fault) = &self.failed {
            return Ok(Reply::Failed(fault.clone()));
        }
        let written = tokio::select! {
            written = self.write(write) => written?,
            () = closed.notified() => return Err(Error::TransactionEnded),
        };
        self.commit().await?;
        Ok(written)
    }

    async fn write(&mut self, write: Write) -> Result<Reply, Error> {
        match write {
            Write::Insert(table, values) => {
                let (transaction, table) = self.at(table)?;
                Ok(Reply::Number(transaction.insert_async(&table, &values).await?))
            }
            Write::Update(table, key, assignments) => {
                let (transaction, table) = self.at(table)?;
                let was = transaction.update_key_async(&table, &key, &assignments).await?;
                Ok(Reply::Was(was))
            }
            Write::Change(table, key, assignments) => {
                let (transaction, table) = self.at(table)?;
                let Some(old) = transaction.lock_key_async(&table, &key).await? else {
                    return Ok(Reply::Changed(None));
                };
                let Some(new) = assigned(&table, &old, &assignments) else {
                    return Ok(Reply::Values(Some(old)));
                };
                if !new.is_empty() {
                    transaction.update_key_async(&table, &key, &new).await?;
                }
                Ok(Reply::Changed(Some(!new.is_empty())))
            }
            Write::Delete(table, key) => {
                let (transaction, table) = self.at(table)?;
                Ok(Reply::Was(transaction.delete_key_async(&table, &key).await?))
            }
        }
    }

    async fn change(&mut self, request: Request) -> Result<Reply, Error> {
        match request {
            Request::Lock(table, key) => {
                let (transaction, table) = self.at(table)?;
                Ok(Reply::Values(transaction.lock_key_async(&table, &key).await?))
            }
            Request::Write(write) => self.write(write).await,
            Request::Commit => self.commit().await.map(|()| Reply::Done),
            Request::Promise { global_id, participants, forgotten } => {
                let transaction = self.transaction.take().ok_or(Error::TransactionEnded)?;
                let promise = transaction.promise(&global_id, &participants, &forgotten)?;
                promise.wait_async().await?;
                Ok(Reply::Done)
            }
            other => Err(Error::Elsewhere(format!("{other:?} is not asked here"))),
        }
    }
}

async fn question(partition: &Partition, question: Question) -> Result<Reply, Error> {
    online(partition)?;
    match question {
        Question::CommitPrepared(id) => {
            let Position { generation, start } = partition.commit_prepared_async(&id).await?;
            Ok(Reply::Position(generation, start.0))
        }
        Question::IsDurable(generation, start) => {
            let position = Position { generation, start: Lsn(start) };
            Ok(Reply::Was(partition.is_durable(position)?))
        }
        Question::Awaited(txn) => {
            let awaited = partition.awaited(resprout_engine::lock::TxnId(txn));
            Ok(Reply::Number(awaited.map(|txn| txn.0)))
        }
        other => beside_tasks(|| blocking(partition, other)),
    }
}

/// A table as it is here, if it is the one that is meant.
pub(crate) fn as_meant(partition: &Partition, table: TableRef) -> Result<Arc<Table>, Error> {
    let found = partition.catalog()?.table_by_id(table.id).cloned();
    let changed = || Error::SchemaChanged { table: format!("number {}", table.id.0) };
    let found = found.ok_or_else(changed)?;
    if found.schema().version != table.version {
        return Err(Error::SchemaChanged { table: found.name().to_owned() });
    }
    Ok(found)
}

/// See [`Partition::settled`]: within a limit, behind which another is asked.
pub(crate) async fn settled(
    partition: &Partition,
    from: &[u8],
    to: Option<&[u8]>,
) -> Result<(), Error> {
    let late = |_| Error::NotOnline {
        partition: partition.name().to_owned(),
        state: State::Transitioning,
    };
    tokio::time::timeout(SETTLED_WITHIN, partition.settled(from, to)).await.map_err(late)?
}

pub(crate) fn online(partition: &Partition) -> Result<(), Error> {
    match partition.state() {
        State::Online => Ok(()),
        state => Err(Error::NotOnline { partition: partition.name().to_owned(), state }),
    }
}

pub(crate) fn index(table: &Table, id: IndexId) -> Result<resprout_engine::table::Index, Error> {
    let found = table.schema().indexes.iter().find(|index| index.id == id).cloned();
    found.ok_or_else(|| Error::SchemaChanged { table: table.name().to_owned() })
}

/// What waits for the disk.
fn blocking(partition: &Partition, question: Question) -> Result<Reply, Error> {
    Ok(match question {
        Question::Raw { ranges } => {
            let view = partition.view()?;
            let mut rows = Rows::default();
            for (from, to) in ranges {
                let mut range = view.range(&from, to.as_deref());
                while range.next() {
                    let mut key = Vec::new();
                    range.key_into(&mut key);
                    rows.push(&key, range.value());
                }
            }
            Reply::Rows { rows, next: None }
        }
        Question::AbortPrepared(id) => {
            partition.abort_prepared(&id)?;
            Reply::Done
        }
        Question::Vote(id) => Reply::Vote(match partition.vote(&id)? {
            Vote::Promised => Voted::Promised,
            Vote::Committed => Voted::Committed,
            Vote::Refused => Voted::Refused,
        }),
        Question::InDoubt => {
            let shown = |doubt: InDoubt| {
                (doubt.global_id, doubt.participants, doubt.changes as u64, doubt.inherited)
            };
            Reply::InDoubt(partition.in_doubt()?.into_iter().map(shown).collect())
        }
        Question::Numbers(table, from, count) => {
            Reply::Number(Some(partition.take_numbers(table, from, count)?))
        }
        Question::Decisions => Reply::Ids(partition.decisions()?),
        Question::Forget(ids) => {
            partition.forget_decisions(&ids)?;
            Reply::Done
        }
        Question::Flush => {
            partition.flush()?;
            Reply::Done
        }
        Question::Snapshot => {
            partition.snapshot()?;
            Reply::Done
        }
        other => return Err(Error::Elsewhere(format!("{other:?} is not asked here"))),
    })
}
