//! A leaf's copies: recovered, compared with the metadata, and made to match.
//!
//! ```text
//!   metadata ─┐                        ┌─► engine: made, dropped
//!             ├─► reconcile ─► actions ┤
//!   held ─────┘      ▲                 └─► driver: told what was decided
//!     ▲              │ whenever the metadata change, and every 20 ms
//!     └──────────────┴── engine, driver
//! ```
//!
//! What copies are told is told at once, on one thread; what waits for a disk is done on another ([`files`]): a partition whose
//! master changes does not wait until the files of another one are gone.
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

use resprout_access::pushdown::Evaluator;
use resprout_access::{Locate, Place};
use resprout_cluster::manager::{Answer, Phase};
use resprout_cluster::metadata::Metadata;
use resprout_cluster::reconcile::{Action, CopyName, Difference, Doing, Held, HeldCopy, Progress};
use resprout_cluster::{Incarnation, Instance, NodeId, Ordinal};
use resprout_engine::{Engine, Error as EngineError, Recovery, State as Stored};
use resprout_replication::driver::{CopyDriver, CopyStatus, Homes, Node as Driver};
use resprout_replication::transport;
use resprout_replication::{Decided, Partition};

use crate::error::StartError;
use crate::pace::Pace;
use crate::settings::catch_up_rate;
use crate::state::Shared;

mod files;

/// Between two looks when nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What failed is not tried again before that.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The threads, by their place in [`Copies::threads`].
const TELLING: usize = 0;
const FILES: usize = 1;

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
    /// While files are worked on: by these metadata, or newer ones.
    filing: Mutex<Option<u64>>,
    /// Of which metadata the driver knows where copies live.
    homes_of: AtomicU64,
    /// Copies whose files are to go, with the metadata by which that was ordered.
    removals: Mutex<BTreeMap<CopyName, u64>>,
    /// What failed, and when.
    failed: Mutex<BTreeMap<CopyName, Instant>>,
    /// Requests of aggregators.
    requests: AtomicU64,
    pace: Mutex<Pace>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Locate for Copies {
    fn partition(&self, place: Place) -> Option<resprout_engine::Partition> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.serving(place.database, place.ordinal)
    }

    fn office(&self) -> u64 {
        self.metadata.read().office().number
    }

    fn evaluator(&self) -> Option<Arc<dyn Evaluator>> {
        Some(Arc::new(resprout_sql::pushdown::ByExpressions))
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
    /// Begins to recover, on a thread of its own. A directory that cannot be read is said in the log and to the master aggregator: the
    /// node stays, and the cluster shows why it lacks it.
    ///
    /// # Errors
    /// If another process has the directory, options are impossible, or there is no thread.
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
            filing: Mutex::default(),
            homes_of: 0.into(),
            removals: Mutex::default(),
            failed: Mutex::default(),
            requests: 0.into(),
            pace: Mutex::default(),
            threads: Mutex::default(),
        });
        let recovery = match Engine::recover(dir, options) {
            Ok(recovery) => recovery,
            Err(error @ (EngineError::InUse { .. } | EngineError::BadOption { .. })) => {
                return Err(error.into());
            }
            Err(error) => {
                copies.fail(&error);
                return Ok(copies);
            }
        };
        // Nobody else sets it.
        let _first = copies.engine.set(recovery.engine().clone());
        let (working, filing) = (copies.clone(), copies.clone());
        let work = move || working.run(recovery);
        let threads = [
            spawned("resprout-copies", work)?,
            spawned("resprout-files", move || filing.run_files())?,
        ];
        locked(&copies.threads).extend(threads);
        Ok(copies)
    }

    /// The first thread: recovers, and then tells copies what was decided.
    fn run(&self, recovery: Recovery) {
        match recovery.wait() {
            Ok(_) => self.is_recovered.store(true, Ordering::Release),
            Err(error) => return self.fail(&error),
        }
        while !self.is_stopping.load(Ordering::Acquire) {
            self.pace();
            self.look();
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    fn fail(&self, error: &EngineError) {
        tracing::error!(event = "member.recovery_failed", %error, "the copies of this node cannot be recovered; correct what is named, and start it again");
        self.has_failed.store(true, Ordering::Release);
    }

    /// Something has changed.
    pub(crate) fn wake(&self) {
        self.wake_thread(TELLING);
        self.wake_thread(FILES);
    }

    fn wake_thread(&self, which: usize) {
        if let Some(thread) = locked(&self.threads).get(which) {
            thread.thread().unpark();
        }
    }

    /// The engine, from when it recovers on.
    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.engine.get()
    }

    /// What is answered to a heartbeat.
    pub(crate) fn answer(&self) -> Answer {
        // Before what is here is looked at.
        let Progress { fulfilled, working, .. } = self.progress();
        let looked = locked(&self.filing).map_or(working, |filing| filing.min(working));
        Answer { incarnation: self.run, phase: self.phase(), held: self.held(), fulfilled, looked }
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
        HeldCopy {
            incarnation: status.identity.incarnation,
            doing: status.state.into(),
            knows: status.knows,
            promised: status.promised,
            last_term: status.last_term,
            last: status.end,
            clean: status.is_untouched,
            unapplied_bytes: status.unapplied_bytes,
            image: status.image,
        }
    }

    /// Copies elsewhere catch up as fast as clients let them.
    fn pace(&self) {
        let requests = self.requests.load(Ordering::Relaxed);
        let is_busy = locked(&self.pace).is_busy(Instant::now(), requests);
        let rate = if is_busy { catch_up_rate(&self.metadata.read()) } else { u64::MAX };
        self.driver.set_catch_up_rate(rate);
    }

    /// Compares, and tells. For everything else the other thread is woken.
    fn look(&self) {
        let (pass, mut any_files) = {
            let metadata = self.metadata.read();
            self.set_homes(&metadata);
            let pass = locked(&self.progress).look(&metadata, (self.node, self.run), &self.held());
            // Nothing is between what is and what shall be: nobody waits to be taken up.
            let differs = pass.difference > Difference::None;
            (pass, differs && !self.to_take_up(&metadata).is_empty())
        };
        for action in pass.actions {
            match action {
                Action::Tell { copy, decided, .. } => self.tell(copy, decided),
                _ => any_files = true,
            }
        }
        if any_files || !locked(&self.removals).is_empty() {
            self.wake_thread(FILES);
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

    /// Ends in order: what is acknowledged stays, and logs say that they were closed.
    pub(crate) fn stop(&self) {
        self.end();
        self.driver.stop();
        if let Some(Err(error)) = self.engine().map(Engine::close) {
            tracing::error!(%error, "not closed cleanly");
        }
    }

    /// Ends the threads, and nothing else.
    pub(crate) fn end(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake();
        let threads = std::mem::take(&mut *locked(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the copies had panicked");
            }
        }
    }
}

fn spawned(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|error| StartError::Option { option: "threads", why: error.to_string() })
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
