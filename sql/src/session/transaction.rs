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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
        let writers: Vec<Part> = writers.into_iter().map(|(_, part)| part).collect();
        let distributed = Distributed::new(coordinator.next_id(), writers);
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
}

impl Coordinator {
    /// Of this run, which is named by a number that no other run has.
    pub(crate) const fn new(run: u128) -> Self {
        Self { run, next: AtomicU64::new(0) }
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
    waiting: Vec<Part>,
    prepared: Vec<Partition>,
}

impl Distributed {
    /// Of parts in partitions of one database, the first of which becomes the home.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn new(id: Vec<u8>, waiting: Vec<Part>) -> Self {
        let home = waiting[0].partition.clone();
        Self { id, home, waiting, prepared: Vec::new() }
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
        self.home.decide_async(&self.id, Decision::Commit).await
    }

    /// What was decided takes effect. One that fails is in doubt until the partition is back, and
    /// [`recover`] ends it then.
    async fn finish(&self) -> Result<(), Error> {
        let mut ends = tokio::task::JoinSet::new();
        for partition in &self.prepared {
            let (partition, id) = (partition.clone(), self.id.clone());
            ends.spawn(async move { partition.commit_prepared_async(&id).await });
        }
        while let Some(end) = ends.join_next().await {
            if let Err(error) = end.unwrap_or(Err(Error::TransactionEnded)) {
                tracing::error!(%error, "a part of a committed transaction waits for recovery");
            }
        }
        Ok(())
    }

    async fn abort(&self) {
        let decided = self.home.decide_async(&self.id, Decision::Abort).await;
        for partition in &self.prepared {
            match partition.abort_prepared_async(&self.id).await {
                Ok(()) | Err(Error::NotPrepared) => {}
                Err(error) => tracing::error!(%error, "a part in doubt waits for recovery"),
            }
        }
        if let Err(error) = decided {
            tracing::error!(%error, "a transaction was given up without a durable decision");
        }
    }
}

/// Ends what a crash left in doubt: as its home decided, and against it where nothing was
/// decided. For a start, before clients come: nobody else may be deciding.
///
/// # Errors
/// Of the first partition that fails; calling it again goes on.
pub fn recover(engine: &Engine) -> Result<usize, Error> {
    let mut ended = 0;
    for database in engine.databases() {
        for partition in database.partitions() {
            let Ok(in_doubt) = partition.in_doubt() else { continue };
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
        }
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use resprout_engine::table::{TableSchema, Value};
    use resprout_engine::{DatabaseOptions, Options};

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
        let database = engine.database("d").unwrap();
        let mut parts = Vec::new();
        for partition in database.partitions() {
            let table = partition.table("t").unwrap();
            let mut inner = partition.begin().unwrap();
            inner.insert_async(&table, &[Value::Int(1)]).await.unwrap();
            let _held = Arc::<Waits>::default().hold(((0, partition.ordinal()), inner.id()), 1);
            parts.push(Part { partition: partition.clone(), inner, _held });
        }
        Distributed::new(b"one".to_vec(), parts)
    }

    /// Promise: wherever a commit over several partitions is cut off, after the next start either
    /// all of it is there or nothing, and all of it once the decision was durable; no row stays
    /// locked.
    #[test]
    fn a_commit_cut_off_at_any_step_is_whole_or_not_there() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // 0: nothing prepared, 1: one of three, 2: all, 3: decided, 4: one carried out, 5: all.
        for step in 0..=5 {
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
                        part.inner.prepare_async(b"one", 0).await.unwrap();
                    }
                    _ => commit.prepare().await.unwrap(),
                }
                if step >= 3 {
                    commit.decide().await.unwrap();
                }
                if step == 4 {
                    commit.prepared[1].commit_prepared_async(b"one").await.unwrap();
                }
                if step == 5 {
                    commit.finish().await.unwrap();
                }
            });
            // No close: as after a kill, nothing else is written.
            drop((database, engine));
            let engine = open(dir.path());
            recover(&engine).unwrap();
            let expected = usize::from(step >= 3);
            assert_eq!(ids(&engine), [expected; 3], "step {step}");
            for partition in engine.database("d").unwrap().partitions() {
                assert!(partition.in_doubt().unwrap().is_empty(), "step {step}");
                let table = partition.table("t").unwrap();
                let mut writer = partition.begin().unwrap();
                writer.delete(&table, &[Value::Int(1)]).unwrap();
            }
            engine.close().unwrap();
        }
    }
}
