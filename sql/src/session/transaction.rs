//! A session's transaction: engine transactions, one for each partition that it touched, which end
//! together.
//!
//! ```text
//!  one partition wrote:      append ─► flush ─► acknowledged
//!  several partitions wrote: promise in each ─► one flush ─► takes effect in each ─► acknowledged
//! ```
//!
//! The promises are the commit: once all of them are durable, the rest is done again after a crash
//! ([`recover`]), and a transaction of which one is missing takes effect nowhere.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use resprout_engine::{Engine, Error, InDoubt, State, Unknown, Vote};

use super::waiting::{At, Held, Waiter, Waits};
use crate::beside::beside_tasks;
use crate::error::SqlError;
use crate::place::{Database, Databases, Partition, Position, Promise, Savepoint, Transaction};
use crate::server::Interrupt;

/// A partition, over all databases: number of the database, and ordinal.
pub(crate) type PartitionId = (u32, u32);

fn id_of(database: &Database, ordinal: usize) -> PartitionId {
    (database.number(), u32::try_from(ordinal).unwrap_or(u32::MAX))
}

/// What a session wrote and locked, and did not commit yet.
#[derive(Debug)]
pub(crate) struct Open {
    /// The number of the session's connection.
    session: u32,
    waits: Arc<Waits>,
    /// How long a lock is waited for, if not as long as the engine says.
    lock_wait: Option<Duration>,
    parts: BTreeMap<PartitionId, Part>,
}

/// One partition's part.
#[derive(Debug)]
pub(crate) struct Part {
    partition: Partition,
    /// The engine's transaction.
    pub(crate) inner: Transaction,
    /// Says whose it is, to those who wait for it.
    _held: Held,
}

/// Where a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// On this thread, which writes the log itself: two changes of threads fewer, a fifth of the time
    /// of a small commit. For when no other statement runs.
    Here,
    /// As a task that is woken.
    Elsewhere,
}

/// Where each part stood.
#[derive(Clone, Debug)]
pub(crate) struct Mark(BTreeMap<PartitionId, Savepoint>);

impl Open {
    pub(crate) fn new(session: u32, waits: Arc<Waits>) -> Self {
        Self { session, waits, lock_wait: None, parts: BTreeMap::new() }
    }

    /// How long parts that begin from now on wait for a lock.
    pub(crate) const fn set_lock_wait(&mut self, limit: Option<Duration>) {
        self.lock_wait = limit;
    }

    /// The part in a partition, which is begun if need be.
    ///
    /// # Errors
    /// If the partition does not serve.
    pub(crate) fn part(
        &mut self,
        database: &Database,
        ordinal: usize,
    ) -> Result<&mut Transaction, SqlError> {
        use std::collections::btree_map::Entry;
        let id = id_of(database, ordinal);
        match self.parts.entry(id) {
            Entry::Occupied(there) => Ok(&mut there.into_mut().inner),
            Entry::Vacant(free) => {
                let partition = database.partition(ordinal);
                let mut inner = partition.begin()?;
                if let Some(limit) = self.lock_wait {
                    inner.set_lock_wait_limit(limit);
                }
                let _held = self.waits.hold((id, inner.id()), self.session);
                Ok(&mut free.insert(Part { partition, inner, _held }).inner)
            }
        }
    }

    /// The part in a partition, and what to wait with for its locks.
    ///
    /// # Errors
    /// If the partition does not serve.
    pub(crate) fn waiting(
        &mut self,
        database: &Database,
        ordinal: usize,
        interrupt: &Arc<Interrupt>,
    ) -> Result<(&mut Transaction, Waiter), SqlError> {
        let (session, waits) = (self.session, Arc::clone(&self.waits));
        let partition = database.partition(ordinal);
        let part = self.part(database, ordinal)?;
        let id = id_of(database, ordinal);
        let at = At { partition, id, txn: part.id() };
        Ok((part, Waiter::new(session, at, waits, Arc::clone(interrupt))))
    }

    /// A transaction for a write that stands alone: it is no part of what is open, and commits itself.
    ///
    /// # Errors
    /// If the partition does not serve.
    pub(crate) fn alone(
        &self,
        database: &Database,
        ordinal: usize,
    ) -> Result<Transaction, SqlError> {
        let mut alone = database.partition(ordinal).begin()?;
        if let Some(limit) = self.lock_wait {
            alone.set_lock_wait_limit(limit);
        }
        Ok(alone)
    }

    /// Whether nothing is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes the part in a partition out, for a read on another thread.
    pub(crate) fn take(&mut self, database: &Database, ordinal: usize) -> Option<Part> {
        self.parts.remove(&id_of(database, ordinal))
    }

    /// Puts a part back.
    pub(crate) fn put_back(&mut self, database: &Database, part: Part) {
        self.parts.insert((database.number(), part.partition.ordinal()), part);
    }

    /// A point to go back to.
    pub(crate) fn mark(&mut self) -> Mark {
        let mark = |(id, part): (&PartitionId, &mut Part)| (*id, part.inner.savepoint());
        Mark(self.parts.iter_mut().map(mark).collect())
    }

    /// Takes back what was written since. Parts that began since end.
    pub(crate) fn rollback_to(&mut self, mark: &Mark) {
        self.parts.retain(|id, part| match mark.0.get(id) {
            Some(savepoint) => {
                part.inner.rollback_to(*savepoint);
                true
            }
            None => false,
        });
    }

    /// Forgets everything.
    pub(crate) fn rollback(&mut self) {
        self.parts.clear();
    }

    /// Commits everything or nothing. The outcome does not depend on whether the caller stays.
    ///
    /// # Errors
    /// With [`Error::OutcomeUnknown`] it may or may not be committed; else nothing was.
    pub(crate) async fn commit(
        &mut self,
        (coordinator, databases): (&Coordinator, &Databases),
        wait: Wait,
    ) -> Result<(), SqlError> {
        let parts = std::mem::take(&mut self.parts);
        let mut writers: Vec<(PartitionId, Part)> =
            parts.into_iter().filter(|(_, part)| part.inner.changes() > 0).collect();
        if writers.len() <= 1 {
            if let Some((_, part)) = writers.pop() {
                match wait {
                    Wait::Here if !part.inner.is_far() => {
                        beside_tasks(|| part.inner.commit())?;
                    }
                    // What is far is waited for by no thread.
                    _ => part.inner.commit_async().await?,
                };
            }
            return Ok(());
        }
        if writers.iter().any(|((database, _), _)| *database != writers[0].0.0) {
            return Err(SqlError::not_supported("a transaction that changes two databases"));
        }
        let distributed = Distributed::new(coordinator, databases, writers);
        // A task of its own: a decision that was taken has to be carried out.
        let done = tokio::spawn(distributed.commit(wait)).await;
        match done {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(SqlError::new(
                crate::error::Code::UNKNOWN_ERROR,
                "the outcome of the commit is unknown: the coordinator ended",
            )),
        }
    }
}

/// Gives names to transactions of several partitions.
#[derive(Debug)]
pub(crate) struct Coordinator {
    /// Different at each start, so that no name comes twice.
    run: u128,
    next: AtomicU64,
    settled: Arc<Settled>,
}

/// Transactions that ended, whose participants remember how until all have ended durably: the next
/// promise of each partition forgets them with its own record.
#[derive(Debug, Default)]
struct Settled(Mutex<Ends>);

#[derive(Debug, Default)]
struct Ends {
    /// Not known to be durable everywhere yet, oldest first.
    open: VecDeque<End>,
    /// Durable everywhere: what each partition may forget.
    forgettable: HashMap<PartitionId, Vec<Vec<u8>>>,
}

/// How a transaction ended: its record in each participant.
#[derive(Debug)]
struct End {
    id: Vec<u8>,
    parts: Vec<(PartitionId, Partition, Position)>,
}

impl End {
    fn is_durable(&self) -> bool {
        let durable =
            |(_, partition, position): &(_, Partition, _)| partition.is_durable(*position);
        self.parts.iter().all(|part| durable(part).unwrap_or(false))
    }
}

impl Settled {
    fn lock(&self) -> MutexGuard<'_, Ends> {
        // Each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, end: End) {
        self.lock().open.push_back(end);
    }

    /// What a partition may forget now. What is not forgotten after all is at the next start.
    fn take(&self, partition: PartitionId) -> Vec<Vec<u8>> {
        let mut ends = self.lock();
        while ends.open.front().is_some_and(End::is_durable) {
            let Some(End { id, parts }) = ends.open.pop_front() else { break };
            for (partition, ..) in parts {
                ends.forgettable.entry(partition).or_default().push(id.clone());
            }
        }
        ends.forgettable.remove(&partition).unwrap_or_default()
    }
}

impl Coordinator {
    /// Of this run, which is named by a number that no other run has.
    pub(crate) fn new(run: u128) -> Self {
        Self { run, next: AtomicU64::new(0), settled: Arc::default() }
    }

    fn next_id(&self) -> Vec<u8> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        [&self.run.to_be_bytes()[..], &number.to_be_bytes()[..]].concat()
    }
}

/// How long a committed transaction waits for space before it tries again to take effect.
const SPACE_STEP: Duration = Duration::from_millis(50);

/// How long a committed transaction looks for a partition whose master moves.
const ELSEWHERE_MAX: Duration = Duration::from_secs(10);

/// A transaction of several partitions on its way to its end, step by step.
pub(crate) struct Distributed {
    id: Vec<u8>,
    databases: Databases,
    settled: Arc<Settled>,
    participants: Vec<u32>,
    waiting: Vec<(PartitionId, Part)>,
    promised: Vec<(PartitionId, Partition)>,
}

impl Distributed {
    /// Of parts in partitions of one database.
    pub(crate) fn new(
        coordinator: &Coordinator,
        databases: &Databases,
        waiting: Vec<(PartitionId, Part)>,
    ) -> Self {
        let participants = waiting.iter().map(|(_, part)| part.partition.ordinal()).collect();
        let (id, settled) = (coordinator.next_id(), Arc::clone(&coordinator.settled));
        let databases = databases.clone();
        Self { id, databases, settled, participants, waiting, promised: Vec::new() }
    }

    /// Runs all steps.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the promises may be durable or not, or all are and a reader may not see it yet: the
    /// participants end it then, once all of them are back; else nothing is committed.
    pub(crate) async fn commit(mut self, wait: Wait) -> Result<(), Error> {
        self.promise(wait).await?;
        self.take_effect().await
    }

    /// Every partition promises: all at once, so that one flush serves them all.
    async fn promise(&mut self, wait: Wait) -> Result<(), Error> {
        let mut promises = Vec::with_capacity(self.waiting.len());
        for (id, part) in std::mem::take(&mut self.waiting) {
            let forgotten = self.settled.take(id);
            match part.inner.promise(&self.id, &self.participants, &forgotten) {
                Ok(promise) => {
                    self.promised.push((id, part.partition));
                    promises.push(promise);
                }
                Err(error) => {
                    self.abort().await;
                    return Err(error);
                }
            }
        }
        let all_near = promises.iter().all(|promise| matches!(promise, Promise::Near(_)));
        let outcomes = match wait {
            Wait::Here if all_near => {
                beside_tasks(|| promises.into_iter().map(Promise::wait).collect())
            }
            _ => join_all(promises.into_iter().map(Promise::wait_async)).await,
        };
        let (mut unknown, mut refused) = (None, None);
        for outcome in outcomes {
            match outcome {
                Ok(()) => {}
                Err(error @ Error::OutcomeUnknown(_)) => unknown = Some(error),
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            // Who did not promise never will: the others need not wait for a vote.
            self.abort().await;
            return Err(error);
        }
        unknown.map_or(Ok(()), Err)
    }

    /// What all promised takes effect. Where it cannot yet, the client waits, since it is committed; what a partition
    /// that stopped does not do, [`recover`] does when it is back.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if a partition cannot be reached for long: it is committed, but who reads there by
    /// another way may not see it yet, so it must not be acknowledged.
    async fn take_effect(self) -> Result<(), Error> {
        let mut ends = Vec::with_capacity(self.promised.len());
        let mut unseen = None;
        let parts = self.promised.iter().map(|(id, partition)| self.end(*id, partition.clone()));
        for end in join_all(parts).await {
            match end {
                Ok(end) => ends.extend(end),
                Err(error @ Error::OutcomeUnknown(Unknown::Lost)) => unseen = Some(error),
                Err(error) => {
                    tracing::error!(%error, "a part of a committed transaction waits for recovery");
                }
            }
        }
        if let Some(error) = unseen {
            return Err(error);
        }
        // What is far is forgotten by the leaves themselves.
        let all_near = ends.iter().all(|(_, partition, _)| matches!(partition, Partition::Near(_)));
        if all_near && ends.len() == self.promised.len() {
            self.settled.add(End { id: self.id, parts: ends });
        }
        Ok(())
    }

    /// Makes one partition's part take effect, as soon as there is space for it, and wherever its master is; where that
    /// was noted, unless somebody else did it.
    async fn end(
        &self,
        id: PartitionId,
        mut partition: Partition,
    ) -> Result<Option<(PartitionId, Partition, Position)>, Error> {
        let began = Instant::now();
        loop {
            match partition.commit_prepared(&self.id).await {
                Ok(position) => return Ok(Some((id, partition, position))),
                Err(error @ (Error::LogFull(_) | Error::MemoryLimit { .. })) => {
                    tracing::warn!(%error, "a committed transaction waits for space");
                    tokio::time::sleep(SPACE_STEP).await;
                }
                Err(error @ Error::Unreachable { .. }) if began.elapsed() > ELSEWHERE_MAX => {
                    tracing::error!(%error, "a part of a committed transaction waits for its votes");
                    return Err(Error::OutcomeUnknown(Unknown::Lost));
                }
                Err(error @ Error::Unreachable { .. }) => {
                    tracing::debug!(%error, "a committed transaction looks for its partition");
                    self.databases.look_again(began.elapsed()).await;
                    partition = self.databases.partition(id).unwrap_or(partition);
                }
                // The answer of an attempt before was lost, or its votes ended it: readers must see that.
                Err(Error::NotPrepared) => return partition.flush().await.map(|()| None),
                Err(error) => return Err(error),
            }
        }
    }

    /// One participant refused, so none is committed: after a crash their votes say the same.
    async fn abort(&self) {
        for (_, partition) in &self.promised {
            if let Err(error) = partition.abort_prepared(&self.id).await {
                tracing::error!(%error, "a part of a refused transaction waits for recovery");
            }
        }
    }
}

/// Ends what a crash left in doubt, by the votes of its participants. What they remember of others,
/// and nobody can ask for any more, is forgotten. For a start, before clients come.
///
/// # Errors
/// Of the first partition that fails; calling it again goes on.
pub fn recover(engine: &Engine) -> Result<usize, Error> {
    let mut ended = 0;
    for database in engine.databases() {
        let mut all_ended = true;
        for partition in database.partitions() {
            // What is in doubt in a partition that does not serve stays so until it does.
            let Ok(in_doubt) = partition.in_doubt() else {
                all_ended = false;
                continue;
            };
            for doubt in in_doubt {
                if end_doubt(&database, partition, &doubt)? {
                    ended += 1;
                } else {
                    all_ended = false;
                }
            }
        }
        if all_ended {
            forget_all(&database)?;
        }
        settle(&database)?;
    }
    Ok(ended)
}

/// What was ended is shown, and read from now on.
fn settle(database: &resprout_engine::Database) -> Result<(), Error> {
    for partition in database.partitions().iter().filter(|partition| partition.is_unsettled()) {
        if partition.state() == State::Online {
            partition.flush()?;
        }
        partition.settle();
    }
    Ok(())
}

/// Ends one partition's part as the votes say. False if somebody who takes part cannot be asked,
/// and nobody is against it: its rows stay locked.
fn end_doubt(
    database: &resprout_engine::Database,
    partition: &resprout_engine::Partition,
    doubt: &InDoubt,
) -> Result<bool, Error> {
    let mut missing = false;
    for ordinal in &doubt.participants {
        let asked = database.partitions().get(*ordinal as usize);
        match asked.map(|participant| participant.vote(&doubt.global_id)) {
            Some(Ok(Vote::Promised | Vote::Committed)) => {}
            Some(Ok(Vote::Refused)) => {
                partition.abort_prepared(&doubt.global_id)?;
                return Ok(true);
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a transaction stays in doubt");
                missing = true;
            }
            None => missing = true,
        }
    }
    if !missing {
        partition.commit_prepared(&doubt.global_id)?;
    }
    Ok(!missing)
}

/// Nothing is in doubt anywhere: once that is durable, nobody has to remember how it ended.
fn forget_all(database: &resprout_engine::Database) -> Result<(), Error> {
    for partition in database.partitions() {
        partition.flush()?;
    }
    for partition in database.partitions() {
        partition.forget_decisions(&partition.decisions()?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use resprout_engine::table::{TableSchema, Value};
    use resprout_engine::{DatabaseOptions, Durability, Options};

    use super::*;

    type Near = resprout_engine::Partition;

    fn near(partition: &Near) -> Partition {
        Partition::Near(partition.clone())
    }

    fn open(dir: &std::path::Path) -> Engine {
        let options = Options { maximum_memory: 64 << 20, ..Options::default() };
        Engine::open(dir, options).unwrap()
    }

    /// An engine with a table in a database of so many partitions.
    fn made(
        dir: &std::path::Path,
        partitions: u32,
        durability: Durability,
    ) -> (Engine, resprout_engine::Database) {
        let engine = open(dir);
        let options = DatabaseOptions { partitions, durability };
        let database = engine.create_database("d", options).unwrap();
        let schema = TableSchema::builder("t").column("id", "int").primary_key(&["id"]);
        database.create_table(&schema.build().unwrap()).unwrap();
        (engine, database)
    }

    fn ids(engine: &Engine) -> Vec<usize> {
        let count = |partition: &Near| {
            let (table, mut rows) = (partition.table("t").unwrap(), 0);
            let reader = partition.begin().unwrap();
            let found = reader.scan(&table, &table.rows(), |_| {
                rows += 1;
                std::ops::ControlFlow::Continue(())
            });
            found.unwrap();
            rows
        };
        engine.database("d").unwrap().partitions().iter().map(count).collect()
    }

    async fn written(engine: &Engine) -> Distributed {
        of(&Coordinator::new(1), engine, 1).await
    }

    async fn of(coordinator: &Coordinator, engine: &Engine, id: i64) -> Distributed {
        let databases = Databases::Near(engine.clone());
        Distributed::new(coordinator, &databases, rows(engine, id).await)
    }

    /// A row in each partition.
    async fn rows(engine: &Engine, id: i64) -> Vec<(PartitionId, Part)> {
        let database = engine.database("d").unwrap();
        let mut parts = Vec::new();
        for partition in database.partitions() {
            let table = partition.table("t").unwrap();
            let mut inner = partition.begin().unwrap();
            inner.insert_async(&table, &[Value::Int(id)]).await.unwrap();
            let _held = Arc::<Waits>::default().hold(((0, partition.ordinal()), inner.id()), 1);
            let part = Part { partition: near(partition), inner: Transaction::Near(inner), _held };
            parts.push(((0, partition.ordinal()), part));
        }
        parts
    }

    /// Promise: wherever a commit over several partitions is cut off, after the next start either
    /// all of it is there or nothing, and all of it once all promises were durable; nobody reads a part of it before, no row
    /// stays locked, and nothing has to be remembered.
    #[test]
    fn a_commit_cut_off_at_any_step_is_whole_or_not_there() {
        // 0: no promise, 1: one of three, 2: all, 3: took effect in one, 4: in all.
        for step in 0..=4 {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let (engine, database) = made(dir.path(), 3, Durability::Sync);
            runtime.block_on(async {
                let mut commit = written(&engine).await;
                let (id, participants) = (commit.id.clone(), commit.participants.clone());
                match step {
                    0 => {}
                    1 => {
                        let (_, part) = commit.waiting.pop().unwrap();
                        part.inner.promise(&id, &participants, &[]).unwrap().wait().unwrap();
                    }
                    _ => commit.promise(Wait::Elsewhere).await.unwrap(),
                }
                if step == 3 {
                    let (_, partition) = &commit.promised[1];
                    partition.commit_prepared(&id).await.unwrap();
                    let Partition::Near(partition) = partition else { panic!("all are near") };
                    partition.flush().unwrap();
                }
                if step == 4 {
                    commit.take_effect().await.unwrap();
                }
            });
            // No close: as after a kill, nothing else is written.
            drop((runtime, database, engine));
            let engine = open(dir.path());
            for partition in engine.database("d").unwrap().partitions() {
                let is_in_doubt = !partition.in_doubt().unwrap().is_empty();
                assert_eq!(near(partition).begin().is_err(), is_in_doubt, "step {step}");
            }
            recover(&engine).unwrap();
            for partition in engine.database("d").unwrap().partitions() {
                assert!(near(partition).begin().is_ok(), "step {step}");
            }
            let expected = usize::from(step >= 2);
            assert_eq!(ids(&engine), [expected; 3], "step {step}");
            for partition in engine.database("d").unwrap().partitions() {
                assert!(partition.in_doubt().unwrap().is_empty(), "step {step}");
                assert!(partition.decisions().unwrap().is_empty(), "step {step}");
                let table = partition.table("t").unwrap();
                let mut writer = partition.begin().unwrap();
                writer.delete(&table, &[Value::Int(1)]).unwrap();
            }
            engine.close().unwrap();
        }
    }

    /// Promise: one that cannot promise keeps the others from committing, and no row stays locked.
    #[test]
    fn one_refusal_is_enough() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (engine, database) = made(dir.path(), 3, Durability::Sync);
        runtime.block_on(async {
            let commit = written(&engine).await;
            assert_eq!(database.partitions()[2].vote(&commit.id).unwrap(), Vote::Refused);
            let refused = commit.commit(Wait::Elsewhere).await.unwrap_err();
            assert!(matches!(refused, Error::AlreadyDecided), "{refused}");
            assert_eq!(ids(&engine), [0; 3]);
            // Nothing is locked: the same rows can be written.
            of(&Coordinator::new(2), &engine, 1).await.commit(Wait::Here).await.unwrap();
        });
        assert_eq!(ids(&engine), [1; 3]);
        engine.close().unwrap();
    }

    /// Promise: what is remembered of transactions that ended does not gather: each promise forgets
    /// what ended before, once that is durable.
    #[test]
    fn ends_do_not_gather() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (engine, database) = made(dir.path(), 2, Durability::Async);
        let coordinator = Coordinator::new(1);
        runtime.block_on(async {
            for id in 1..=20 {
                let wait = if id % 2 == 0 { Wait::Here } else { Wait::Elsewhere };
                of(&coordinator, &engine, id).await.commit(wait).await.unwrap();
                for partition in database.partitions() {
                    partition.flush().unwrap();
                    let kept = partition.decisions().unwrap();
                    assert_eq!(kept.len(), 1, "after {id}");
                }
            }
        });
        engine.close().unwrap();
    }
}
