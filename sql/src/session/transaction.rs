//! A session's transaction: engine transactions, one for each partition that it touched, which end
//! together.
//!
//! ```text
//!  one partition wrote:      append ─► acknowledged
//!  several partitions wrote: prepare each ─► decision in the home partition ─► commit each
//! ```
//!
//! The decision is the commit: once it is durable, the rest is done again after a crash
//! ([`recover`]). A coordinator that crashed before it decided has not committed: nobody else may
//! decide, so recovery decides against.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use resprout_engine::record::Decision;
use resprout_engine::{Database, Engine, Error, Partition, Savepoint, Transaction};

use super::waiting::{At, Held, Waiter, Waits};
use crate::error::SqlError;
use crate::server::Interrupt;

/// A partition, over all databases: number of the database, and ordinal.
pub(crate) type PartitionId = (u32, u32);

/// What a session wrote and locked, and did not commit yet.
#[derive(Debug)]
pub(crate) struct Open {
    /// The number of the session's connection.
    session: u32,
    waits: Arc<Waits>,
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

/// Where each part stood.
#[derive(Clone, Debug)]
pub(crate) struct Mark(BTreeMap<PartitionId, Savepoint>);

impl Open {
    pub(crate) fn new(session: u32, waits: Arc<Waits>) -> Self {
        Self { session, waits, parts: BTreeMap::new() }
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
        let partition = &database.partitions()[ordinal];
        let id = (database.number(), partition.ordinal());
        match self.parts.entry(id) {
            Entry::Occupied(there) => Ok(&mut there.into_mut().inner),
            Entry::Vacant(free) => {
                let inner = partition.begin()?;
                let _held = self.waits.hold((id, inner.id()), self.session);
                Ok(&mut free.insert(Part { partition: partition.clone(), inner, _held }).inner)
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
        let partition = database.partitions()[ordinal].clone();
        let part = self.part(database, ordinal)?;
        let id = (database.number(), partition.ordinal());
        let at = At { partition, id, txn: part.id() };
        Ok((part, Waiter::new(session, at, waits, Arc::clone(interrupt))))
    }

    /// Whether nothing is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes the part in a partition out, for a read on another thread.
    pub(crate) fn take(&mut self, database: &Database, ordinal: usize) -> Option<Part> {
        let partition = &database.partitions()[ordinal];
        self.parts.remove(&(database.number(), partition.ordinal()))
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
    pub(crate) async fn commit(&mut self, coordinator: &Coordinator) -> Result<(), SqlError> {
        let parts = std::mem::take(&mut self.parts);
        let mut writers: Vec<(PartitionId, Part)> =
            parts.into_iter().filter(|(_, part)| part.inner.changes() > 0).collect();
        if writers.len() <= 1 {
            if let Some((_, part)) = writers.pop() {
                part.inner.commit_async().await?;
            }
            return Ok(());
        }
        if writers.iter().any(|((database, _), _)| *database != writers[0].0.0) {
            return Err(SqlError::not_supported("a transaction that changes two databases"));
        }
        let distributed = Distributed::new(coordinator, writers);
        // A task of its own: a decision that was taken has to be carried out.
        let done = tokio::spawn(distributed.commit()).await;
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

/// Decisions that nobody will ask for, by home partition: the next decision there takes their place.
#[derive(Debug, Default)]
struct Settled(Mutex<HashMap<PartitionId, Vec<Vec<u8>>>>);

impl Settled {
    fn lock(&self) -> MutexGuard<'_, HashMap<PartitionId, Vec<Vec<u8>>>> {
        // Each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, home: PartitionId, id: Vec<u8>) {
        self.lock().entry(home).or_default().push(id);
    }

    fn take(&self, home: PartitionId) -> Vec<Vec<u8>> {
        self.lock().remove(&home).unwrap_or_default()
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

/// A transaction of several partitions on its way to its end, step by step.
pub(crate) struct Distributed {
    id: Vec<u8>,
    home: Partition,
    home_id: PartitionId,
    settled: Arc<Settled>,
    waiting: Vec<Part>,
    prepared: Vec<Partition>,
}

impl Distributed {
    /// Of parts in partitions of one database, the first of which becomes the home.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn new(coordinator: &Coordinator, waiting: Vec<(PartitionId, Part)>) -> Self {
        let (home_id, home) = (waiting[0].0, waiting[0].1.partition.clone());
        let waiting = waiting.into_iter().map(|(_, part)| part).collect();
        let (id, settled) = (coordinator.next_id(), Arc::clone(&coordinator.settled));
        Self { id, home, home_id, settled, waiting, prepared: Vec::new() }
    }

    /// Runs all steps.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the decision may be durable or not; else nothing is committed.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        if let Err(error) = self.prepare().await {
            self.abort().await;
            return Err(error);
        }
        self.decide().await?;
        self.finish().await
    }

    /// Every partition promises.
    async fn prepare(&mut self) -> Result<(), Error> {
        let home = self.home.ordinal();
        let waiting = std::mem::take(&mut self.waiting);
        self.prepared = waiting.iter().map(|part| part.partition.clone()).collect();
        let mut promises = tokio::task::JoinSet::new();
        for part in waiting {
            let id = self.id.clone();
            promises.spawn(async move { part.inner.prepare_async(&id, home).await });
        }
        let mut failed = None;
        while let Some(promise) = promises.join_next().await {
            if let Err(error) = promise.unwrap_or(Err(Error::TransactionEnded)) {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The decision, durable.
    async fn decide(&self) -> Result<(), Error> {
        let forgotten = self.settled.take(self.home_id);
        self.home.decide_async(&self.id, Decision::Commit, &forgotten).await
    }

    /// What was decided takes effect. One that fails is in doubt until the partition is back, and
    /// [`recover`] ends it then.
    async fn finish(&self) -> Result<(), Error> {
        let mut ends = tokio::task::JoinSet::new();
        for partition in &self.prepared {
            let (partition, id) = (partition.clone(), self.id.clone());
            ends.spawn(async move { partition.commit_prepared_async(&id).await });
        }
        let mut all_ended = true;
        while let Some(end) = ends.join_next().await {
            if let Err(error) = end.unwrap_or(Err(Error::TransactionEnded)) {
                tracing::error!(%error, "a part of a committed transaction waits for recovery");
                all_ended = false;
            }
        }
        if all_ended {
            self.leave();
        }
        Ok(())
    }

    /// All parts have ended: once that is durable, which it need not be yet in all modes, nobody
    /// will ask for the decision.
    fn leave(&self) {
        let (id, parts, home) = (self.id.clone(), self.prepared.clone(), self.home_id);
        let settled = Arc::clone(&self.settled);
        tokio::spawn(async move {
            for part in parts {
                if let Err(error) = part.flush_async().await {
                    tracing::debug!(%error, "a decision is kept until the next start");
                    return;
                }
            }
            settled.add(home, id);
        });
    }

    async fn abort(&self) {
        let decided = self.home.decide_async(&self.id, Decision::Abort, &[]).await;
        let mut all_ended = true;
        for partition in &self.prepared {
            match partition.abort_prepared_async(&self.id).await {
                Ok(()) | Err(Error::NotPrepared) => {}
                Err(error) => {
                    tracing::error!(%error, "a part in doubt waits for recovery");
                    all_ended = false;
                }
            }
        }
        match decided {
            Ok(()) if all_ended => self.leave(),
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "a transaction was given up without a durable decision");
            }
        }
    }
}

/// Ends what a crash left in doubt: as its home decided, and against it where nothing was
/// decided. Decisions that nobody can ask for any more are forgotten. For a start, before clients
/// come: nobody else may be deciding.
///
/// # Errors
/// Of the first partition that fails; calling it again goes on.
pub fn recover(engine: &Engine) -> Result<usize, Error> {
    let mut ended = 0;
    for database in engine.databases() {
        let mut all_ended = true;
        for partition in database.partitions() {
            match end_doubts(&database, partition)? {
                Some(count) => ended += count,
                None => all_ended = false,
            }
        }
        if all_ended {
            forget_all(&database)?;
        }
    }
    Ok(ended)
}

/// Ends what is in doubt in a partition; none if something cannot be ended yet.
fn end_doubts(database: &Database, partition: &Partition) -> Result<Option<usize>, Error> {
    let Ok(in_doubt) = partition.in_doubt() else { return Ok(None) };
    let (mut ended, in_all) = (0, in_doubt.len());
    for doubt in in_doubt {
        let Some(home) = database.partitions().get(doubt.home as usize) else { continue };
        // A home that does not serve cannot be asked: the rows stay locked until it does.
        let Ok(known) = home.decision(&doubt.global_id) else { continue };
        match known {
            Some(Decision::Commit) => partition.commit_prepared(&doubt.global_id)?,
            known => {
                if known.is_none() {
                    home.decide(&doubt.global_id, Decision::Abort)?;
                }
                partition.abort_prepared(&doubt.global_id)?;
            }
        }
        ended += 1;
    }
    Ok((ended == in_all).then_some(ended))
}

/// Nothing is in doubt anywhere: once that is durable, no decision is needed.
fn forget_all(database: &Database) -> Result<(), Error> {
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

    fn open(dir: &std::path::Path) -> Engine {
        let options = Options { maximum_memory: 64 << 20, ..Options::default() };
        Engine::open(dir, options).unwrap()
    }

    fn ids(engine: &Engine) -> Vec<usize> {
        let count = |partition: &Partition| {
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
        Distributed::new(&Coordinator::new(1), rows(engine, 1).await)
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
            let part = Part { partition: partition.clone(), inner, _held };
            parts.push(((0, partition.ordinal()), part));
        }
        parts
    }

    /// Promise: wherever a commit over several partitions is cut off, after the next start either
    /// all of it is there or nothing, and all of it once the decision was durable; no row stays
    /// locked.
    #[test]
    fn a_commit_cut_off_at_any_step_is_whole_or_not_there() {
        // 0: nothing prepared, 1: one of three, 2: all, 3: decided, 4: one carried out, 5: all.
        for step in 0..=5 {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let engine = open(dir.path());
            let options = DatabaseOptions { partitions: 3, ..DatabaseOptions::default() };
            let database = engine.create_database("d", options).unwrap();
            let schema = TableSchema::builder("t").column("id", "int").primary_key(&["id"]);
            database.create_table(&schema.build().unwrap()).unwrap();
            runtime.block_on(async {
                let mut commit = written(&engine).await;
                match step {
                    0 => {}
                    1 => {
                        let part = commit.waiting.pop().unwrap();
                        part.inner.prepare_async(&commit.id, 0).await.unwrap();
                    }
                    _ => commit.prepare().await.unwrap(),
                }
                if step >= 3 {
                    commit.decide().await.unwrap();
                }
                if step == 4 {
                    commit.prepared[1].commit_prepared_async(&commit.id).await.unwrap();
                }
                if step == 5 {
                    commit.finish().await.unwrap();
                }
            });
            // No close: as after a kill, nothing else is written.
            drop((runtime, database, engine));
            let engine = open(dir.path());
            recover(&engine).unwrap();
            let expected = usize::from(step >= 3);
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

    /// Promise: decisions do not gather: each takes the place of those before it at the same home.
    #[test]
    fn decisions_do_not_gather() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        let options = DatabaseOptions { partitions: 2, durability: Durability::Async };
        let database = engine.create_database("d", options).unwrap();
        let schema = TableSchema::builder("t").column("id", "int").primary_key(&["id"]);
        database.create_table(&schema.build().unwrap()).unwrap();
        let coordinator = Coordinator::new(1);
        runtime.block_on(async {
            for id in 1..=20 {
                Distributed::new(&coordinator, rows(&engine, id).await).commit().await.unwrap();
                // What is settled is noted by a task of its own.
                while coordinator.settled.lock().is_empty() {
                    tokio::task::yield_now().await;
                }
                let kept = database.partitions()[0].decisions().unwrap();
                assert_eq!(kept.len(), 1, "after {id}");
            }
        });
        engine.close().unwrap();
    }
}
