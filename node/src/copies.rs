//! A leaf's copies: recovered, compared with the metadata, and made to match.
//!
//! ```text
//!   metadata ─┐                        ┌─► engine: made, dropped
//!             ├─► reconcile ─► actions ┤
//!   held ─────┘      ▲                 └─► driver: told what was decided
//!     ▲              │ on one thread, whenever the metadata change, and every 20 ms
//!     └──────────────┴── engine, driver
//! ```
//!
//! Each copy is a database of its own in the engine, of one partition: copies come and go one by one. It is named
//! after its database, its partition and its number.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use resprout_access::{Locate, Place};
use resprout_cluster::manager::{Answer, Phase};
use resprout_cluster::metadata::Metadata;
use resprout_cluster::reconcile::{
    Action, CopyName, Doing, Held, HeldCopy, MayGo, Pass, Progress, may_go,
};
use resprout_cluster::{Incarnation, Instance, NodeId, Ordinal};
use resprout_engine::{CopyOptions, Durability, Engine, State as Stored};
use resprout_replication::driver::{CopyDriver, CopyStatus, Homes, Node as Driver};
use resprout_replication::transport;
use resprout_replication::{Decided, Partition, State};

use crate::error::StartError;
use crate::settings::of_copy;
use crate::state::Shared;

/// Between two looks when nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What failed is not tried again before that.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Copies {
    node: NodeId,
    /// This run of the process.
    run: Incarnation,
    cluster: u128,
    metadata: Shared,
    pub(crate) driver: Arc<Driver>,
    /// From when it recovers on.
    engine: OnceLock<Engine>,
    is_recovered: AtomicBool,
    has_failed: AtomicBool,
    is_stopping: AtomicBool,
    progress: Mutex<Progress>,
    /// Of which metadata the driver knows where copies live.
    homes_of: AtomicU64,
    /// Copies whose files are to go, with the metadata by which that was ordered.
    removals: Mutex<BTreeMap<CopyName, u64>>,
    /// What failed, and when.
    failed: Mutex<BTreeMap<CopyName, Instant>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Locate for Copies {
    fn partition(&self, place: Place) -> Option<resprout_engine::Partition> {
        self.serving(place.database, place.ordinal)
    }
}

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Copies({}, run {})", self.node, self.run.0)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Copies {
    /// Begins to recover, on a thread of its own.
    ///
    /// # Errors
    /// If the directory cannot be opened, or there is no thread.
    pub(crate) fn start(
        (node, run, cluster): (NodeId, Incarnation, u128),
        (dir, options): (PathBuf, resprout_engine::Options),
        metadata: Shared,
        driver: Arc<Driver>,
    ) -> Result<Arc<Self>, StartError> {
        let copies = Arc::new(Self {
            node,
            run,
            cluster,
            metadata,
            driver,
            engine: OnceLock::new(),
            is_recovered: false.into(),
            has_failed: false.into(),
            is_stopping: false.into(),
            progress: Mutex::default(),
            homes_of: 0.into(),
            removals: Mutex::default(),
            failed: Mutex::default(),
            thread: Mutex::default(),
        });
        let recovery = Engine::recover(dir, options)?;
        // Nobody else sets it.
        let _first = copies.engine.set(recovery.engine().clone());
        let working = copies.clone();
        let thread = std::thread::Builder::new().name("resprout-copies".to_owned());
        let thread = thread.spawn(move || {
            match recovery.wait() {
                Ok(_) => working.is_recovered.store(true, Ordering::Release),
                Err(error) => {
                    tracing::error!(%error, "the copies of this node cannot be recovered");
                    working.has_failed.store(true, Ordering::Release);
                    return;
                }
            }
            while !working.is_stopping.load(Ordering::Acquire) {
                working.look();
                std::thread::park_timeout(LOOK_EVERY);
            }
        });
        let thread = thread
            .map_err(|error| StartError::Option { option: "threads", why: error.to_string() })?;
        *locked(&copies.thread) = Some(thread);
        Ok(copies)
    }

    /// Something has changed.
    pub(crate) fn wake(&self) {
        if let Some(thread) = &*locked(&self.thread) {
            thread.thread().unpark();
        }
    }

    /// The engine, from when it recovers on.
    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.engine.get()
    }

    /// What is answered to a heartbeat.
    pub(crate) fn answer(&self) -> Answer {
        let fulfilled = locked(&self.progress).fulfilled;
        Answer { incarnation: self.run, phase: self.phase(), held: self.held(), fulfilled }
    }

    /// How far recovery is.
    pub(crate) fn phase(&self) -> Phase {
        if self.has_failed.load(Ordering::Acquire) {
            Phase::Failed
        } else if self.is_recovered.load(Ordering::Acquire) {
            Phase::Ready
        } else {
            Phase::Recovering
        }
    }

    /// All copies here, and those that are driven as their drivers have them.
    pub(crate) fn statuses(&self) -> Vec<(CopyName, Stored, Option<CopyStatus>)> {
        let status = |(name, stored): (CopyName, resprout_engine::Partition)| {
            let driven = self.driver.copy(self.partition(name));
            let driven = driven.filter(|copy| copy.identity().instance == name.instance);
            (name, stored.state(), driven.map(|copy| copy.status()))
        };
        self.stored().into_iter().map(status).collect()
    }

    /// How far it is with the metadata.
    pub(crate) fn progress(&self) -> Progress {
        *locked(&self.progress)
    }

    /// A decision that a copy is to act on, also once more.
    pub(crate) fn tell(&self, copy: CopyName, decided: Decided) {
        let partition = self.partition(copy);
        let is_it = |found: &Arc<CopyDriver>| found.identity().instance == copy.instance;
        if self.driver.copy(partition).as_ref().is_some_and(is_it) {
            self.driver.record(partition, decided);
        }
    }

    /// The master copy of a partition, if it serves here.
    pub(crate) fn serving(
        &self,
        database: u32,
        ordinal: u32,
    ) -> Option<resprout_engine::Partition> {
        let partition = Partition { cluster: self.cluster, database, ordinal };
        Some(self.driver.copy(partition)?.stored().partition().clone())
    }

    /// The copy of a partition, whatever it is, once it is driven.
    pub(crate) fn driven(&self, database: u32, ordinal: Ordinal) -> Option<Arc<CopyDriver>> {
        self.driver.copy(Partition { cluster: self.cluster, database, ordinal: ordinal.0 })
    }

    /// The files of a copy go, as soon as the metadata are known here by which that was ordered, if these do not say
    /// otherwise.
    pub(crate) fn remove_orphan(&self, copy: CopyName, known: u64) {
        locked(&self.removals).insert(copy, known);
        self.wake();
    }

    pub(crate) fn partition(&self, copy: CopyName) -> Partition {
        let CopyName { database, ordinal, .. } = copy;
        Partition { cluster: self.cluster, database, ordinal: ordinal.0 }
    }

    /// What is here.
    fn held(&self) -> Held {
        self.stored()
            .into_iter()
            .map(|(name, stored)| (name, self.held_copy(name, &stored)))
            .collect()
    }

    pub(crate) fn stored(&self) -> Vec<(CopyName, resprout_engine::Partition)> {
        let databases = self.engine().map(Engine::databases).unwrap_or_default();
        let copies = databases.iter().flat_map(|database| database.partitions().to_vec());
        copies.map(|partition| (name_of(&partition), partition)).collect()
    }

    pub(crate) fn held_copy(
        &self,
        name: CopyName,
        stored: &resprout_engine::Partition,
    ) -> HeldCopy {
        let driven = self.driver.copy(self.partition(name));
        let driven = driven.filter(|copy| copy.identity().instance == name.instance);
        let Some(status) = driven.map(|copy| copy.status()) else {
            // Before it is driven it has no run of its own, and nothing can be decided about it.
            let doing = match stored.state() {
                Stored::Unrecoverable => Doing::Unrecoverable,
                _ => Doing::Recovering,
            };
            return HeldCopy { doing, ..HeldCopy::default() };
        };
        let doing = match status.state {
            State::Pending => Doing::Pending,
            State::Connecting | State::Fenced(_) => Doing::Fenced,
            State::Provisioning { .. } => Doing::Provisioning,
            State::Replicating => Doing::Following,
            State::Transitioning(term) => Doing::Transitioning(term),
            State::Online(term) => Doing::Online(term),
            State::Halted(_) => Doing::Unrecoverable,
        };
        HeldCopy {
            incarnation: status.identity.incarnation,
            doing,
            knows: status.knows,
            promised: status.promised,
            last_term: status.last_term,
            last: status.end,
            clean: status.is_untouched,
            unapplied_bytes: status.unapplied_bytes,
            image: status.image,
        }
    }

    /// Compares, and acts.
    fn look(&self) {
        let Some(engine) = self.engine() else { return };
        let pass = {
            let metadata = self.metadata.read();
            self.set_homes(&metadata);
            self.take_up(&metadata);
            locked(&self.progress).look(&metadata, (self.node, self.run), &self.held())
        };
        let Pass { actions, .. } = pass;
        for action in actions {
            self.act(engine, action);
        }
        self.remove_orphans(engine);
    }

    /// What was asked for. That a copy left the record may be known here a moment after whoever asks knows it.
    fn remove_orphans(&self, engine: &Engine) {
        let asked = std::mem::take(&mut *locked(&self.removals));
        for (copy, known) in asked {
            let may_go = may_go(&self.metadata.read(), self.node.into(), copy, known);
            match may_go {
                MayGo::NotYet => drop(locked(&self.removals).insert(copy, known)),
                MayGo::No => tracing::warn!(?copy, "not removed: it may be needed"),
                MayGo::Yes => {
                    // What fails is asked for again, while the copy is here.
                    self.attempt(copy, "drop", || self.remove(engine, copy));
                }
            }
        }
    }

    fn set_homes(&self, metadata: &Metadata) {
        if self.homes_of.swap(metadata.applied(), Ordering::AcqRel) == metadata.applied() {
            return;
        }
        let mut homes = Homes::new();
        for entry in metadata.databases().values() {
            for (leaf, copy) in entry.map.all().flat_map(|one| &one.copies) {
                homes.insert((entry.number, copy.instance), transport::NodeId(leaf.0));
            }
        }
        self.driver.set_homes(homes);
    }

    /// Copies that were recovered and that the record has here are driven from now on.
    fn take_up(&self, metadata: &Metadata) {
        for (name, stored) in self.stored() {
            let Some(entry) = metadata.database_of(name.database) else { continue };
            let recorded = entry.map.partition(name.ordinal);
            let recorded = recorded.and_then(|one| one.copies.get(&self.node.into()));
            let is_recorded = recorded.is_some_and(|copy| copy.instance == name.instance);
            let is_driven = self.driver.copy(self.partition(name)).is_some();
            if !is_recorded || is_driven || stored.state() != Stored::Pending {
                continue;
            }
            let config = of_copy(metadata, entry.replication(name.ordinal));
            self.attempt(name, "take up", || {
                self.driver.add(&stored, config)?;
                Ok(())
            });
        }
    }

    /// Does something that may fail, and is tried again later then.
    fn attempt(
        &self,
        name: CopyName,
        what: &'static str,
        act: impl FnOnce() -> Result<(), StartError>,
    ) {
        let waits = locked(&self.failed).get(&name).is_some_and(|at| at.elapsed() < AGAIN_AFTER);
        if waits {
            return;
        }
        match act() {
            Ok(()) => drop(locked(&self.failed).remove(&name)),
            Err(error) => {
                tracing::error!(copy = ?name, %error, "cannot {what} a copy; it is tried again");
                locked(&self.failed).insert(name, Instant::now());
            }
        }
    }

    fn act(&self, engine: &Engine, action: Action) {
        match action {
            Action::Create { copy, decided } => {
                self.attempt(copy, "make", || self.make(engine, copy, decided));
            }
            Action::Tell { copy, decided, .. } => self.tell(copy, decided),
            Action::Provision { copy, decided, .. } => self.attempt(copy, "replace", || {
                self.remove(engine, copy)?;
                self.make(engine, copy, decided)
            }),
            Action::Close { copy } => {
                if self.is_driven(copy) {
                    self.driver.give_up(self.partition(copy));
                }
            }
            Action::Drop { copy } => self.attempt(copy, "drop", || self.remove(engine, copy)),
        }
    }

    fn make(&self, engine: &Engine, copy: CopyName, decided: Decided) -> Result<(), StartError> {
        let (name, config, durable) = {
            let metadata = self.metadata.read();
            // Dropped by now: the next look says so.
            let Some(entry) = metadata.database_of(copy.database) else { return Ok(()) };
            let config = of_copy(&metadata, entry.replication(copy.ordinal));
            (stored_name(&entry.map.name, copy), config, entry.is_durable(copy.ordinal))
        };
        let durability = if durable { Durability::Sync } else { Durability::Async };
        let CopyName { database, ordinal: Ordinal(ordinal), instance } = copy;
        let options = CopyOptions::one(database, ordinal, instance.0, durability);
        let made = engine.create_copies(&name, &options)?;
        // One that was here before, and left the record, may not be closed yet.
        self.driver.remove(self.partition(copy));
        let recorded = decided.record.copy(instance).incarnation;
        let least = if recorded > Incarnation(1) { Incarnation(recorded.0 + 1) } else { recorded };
        for partition in made.partitions() {
            self.driver.add_run(partition, config, least)?;
        }
        self.driver.record(self.partition(copy), decided);
        Ok(())
    }

    /// A copy is not driven any more. Another one of its partition, which may have come since, is left alone.
    fn undrive(&self, copy: CopyName) {
        if self.is_driven(copy) {
            self.driver.remove(self.partition(copy));
        }
    }

    /// Whether just this copy is, and not another one of its partition.
    fn is_driven(&self, copy: CopyName) -> bool {
        let driven = self.driver.copy(self.partition(copy));
        driven.is_some_and(|driven| driven.identity().instance == copy.instance)
    }

    fn remove(&self, engine: &Engine, copy: CopyName) -> Result<(), StartError> {
        self.undrive(copy);
        let databases = engine.databases();
        let is_it = |database: &&resprout_engine::Database| {
            database.partitions().iter().any(|partition| name_of(partition) == copy)
        };
        match databases.iter().find(is_it) {
            Some(database) => {
                engine.drop_database(database.name())?;
                tracing::info!(?copy, "removed from this leaf");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Ends in order: what is acknowledged stays, and logs say that they were closed.
    pub(crate) fn stop(&self) {
        self.end();
        self.driver.stop();
        if let Some(Err(error)) = self.engine().map(Engine::close) {
            tracing::error!(%error, "not closed cleanly");
        }
    }

    /// Ends the thread, and nothing else.
    pub(crate) fn end(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake();
        let thread = locked(&self.thread).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread of the copies had panicked");
        }
    }
}

fn name_of(partition: &resprout_engine::Partition) -> CopyName {
    let log = partition.log_identity();
    let (database, ordinal) = (log.database, Ordinal(log.partition));
    CopyName { database, ordinal, instance: Instance(log.instance) }
}

/// What the engine calls a copy.
fn stored_name(database: &str, copy: CopyName) -> String {
    format!("{database}_{}_{}", copy.ordinal, copy.instance.0)
}
