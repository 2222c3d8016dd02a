//! One stored copy of a partition: its state, its progress, and, once recovered, its core.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use resprout_wal::{Device, History, LogIdentity, Lsn, Term, World};

use crate::commit_rule::Durability;
use crate::core::Core;
use crate::error::Error;
use crate::lock::TxnId;
use crate::memory::MemoryBound;
use crate::options::Options;
use crate::progress::{Phase, Progress, ProgressCell};
use crate::schema_change;
use crate::state::State;
use crate::table::{Catalog, Change as TableChange, Table, TableSchema};
use crate::times::CommitTimes;
use crate::transaction::Transaction;
use crate::tree::View;
use crate::tuning::Tuning;

/// What all partitions of an engine share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) dir: PathBuf,
    pub(crate) cluster: u128,
    pub(crate) options: Options,
    /// Those of the options that may have changed since.
    pub(crate) tuning: RwLock<Tuning>,
    pub(crate) device: Device,
    pub(crate) bound: MemoryBound,
    /// Bytes per second that recovery reached here, for predictions; 0 while unknown.
    pub(crate) snapshot_rate: AtomicU64,
    pub(crate) log_rate: AtomicU64,
    pub(crate) commits: CommitTimes,
}

impl Context {
    pub(crate) fn world(&self) -> &World {
        &self.options.world
    }

    pub(crate) fn now(&self) -> Duration {
        self.options.world.clock.now()
    }
}

/// Where a partition stands, for people and programs.
#[derive(Clone, Debug)]
pub struct PartitionStatus {
    /// Its database.
    pub database: String,
    /// Its number in the database.
    pub ordinal: u32,
    /// The stored copy, for life.
    pub instance: u64,
    /// State of the copy.
    pub state: State,
    /// Of recovery.
    pub progress: Progress,
    /// Why it is unrecoverable or has stopped, if so.
    pub error: Option<String>,
    /// End of the log.
    pub end: Lsn,
    /// What is on disk.
    pub durable: Lsn,
    /// What is committed.
    pub committed: Lsn,
    /// Present term.
    pub term: Term,
    /// Rows and index entries of the committed root.
    pub rows: u64,
    /// Page memory taken.
    pub memory_bytes: u64,
    /// Log since the last snapshot.
    pub log_since_snapshot: u64,
    /// Position of the last snapshot.
    pub snapshot_lsn: Option<Lsn>,
    /// Bytes of the last snapshot.
    pub snapshot_bytes: u64,
    /// How long loading it again would take at the rates seen here.
    pub predicted_recovery: Duration,
    /// Positions that rewinding reaches without reading a snapshot, oldest first.
    pub rewind_positions: Vec<Lsn>,
}

/// The newest snapshot of a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastSnapshot {
    pub(crate) lsn: Option<Lsn>,
    pub(crate) bytes: u64,
}

pub(crate) struct Inner {
    pub(crate) context: Arc<Context>,
    pub(crate) database: String,
    pub(crate) ordinal: u32,
    pub(crate) name: Arc<str>,
    pub(crate) identity: LogIdentity,
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) progress: ProgressCell,
    pub(crate) snapshot: Mutex<LastSnapshot>,
    /// One snapshot or rewind at a time.
    pub(crate) exclusive: Mutex<()>,
    /// Set while a snapshot should stop early.
    pub(crate) closing: AtomicBool,
    state: Mutex<(State, Option<Arc<str>>)>,
    /// Whether the state is ONLINE: every read asks, and a lock would make them wait for each other.
    is_online: AtomicBool,
    core: OnceLock<Core>,
    /// The term to begin when attached, if the last stop was not clean (rule 14).
    pub(crate) next_term: Mutex<Option<Term>>,
    /// How much of what was recovered is known acknowledged: other copies may lack the rest.
    pub(crate) acknowledged: AtomicU64,
}

/// One partition of a database. Cheap to clone; all clones are the same copy.
#[derive(Clone)]
pub struct Partition {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partition({}, {})", self.inner.name, self.state())
    }
}

/// A partition that is to be recovered or was just made.
pub(crate) struct NewPartition<'a> {
    pub(crate) database: &'a str,
    pub(crate) ordinal: u32,
    pub(crate) identity: LogIdentity,
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
}

impl Partition {
    pub(crate) fn new(context: &Arc<Context>, new: NewPartition<'_>) -> Self {
        let NewPartition { database, ordinal, identity, dir, durability } = new;
        let inner = Inner {
            context: Arc::clone(context),
            database: database.to_owned(),
            ordinal,
            name: Arc::from(format!("{database}:{ordinal}")),
            identity,
            dir,
            durability,
            progress: ProgressCell::default(),
            snapshot: Mutex::default(),
            exclusive: Mutex::default(),
            closing: false.into(),
            state: Mutex::new((State::Recovering, None)),
            is_online: false.into(),
            core: OnceLock::new(),
            next_term: Mutex::default(),
            acknowledged: 0.into(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// `database:ordinal`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whose log it has.
    #[must_use]
    pub fn log_identity(&self) -> LogIdentity {
        self.inner.identity
    }

    /// Its number in the database.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.inner.ordinal
    }

    /// Folder of its snapshots.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// State of the copy.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock_state().0
    }

    fn lock_state(&self) -> MutexGuard<'_, (State, Option<Arc<str>>)> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Terms of its log; none before it is recovered. May wait for the device, as [`Partition::status`] does not.
    #[must_use]
    pub fn history(&self) -> History {
        self.core().and_then(|core| core.log.history().ok()).unwrap_or_default()
    }

    /// Steps to another state, with one line in the log of the node.
    ///
    /// # Panics
    /// If the step is not in the picture of [`crate::state`].
    pub(crate) fn enter(&self, next: State, cause: &str) {
        let mut state = self.lock_state();
        let from = state.0;
        assert!(from.may_become(next), "{}: {from} cannot become {next}", self.inner.name);
        state.0 = next;
        // Release: what made it so, such as a durable term, is seen by those who see it.
        self.inner.is_online.store(next == State::Online, Ordering::Release);
        if next == State::Unrecoverable {
            state.1.get_or_insert_with(|| Arc::from(cause));
            tracing::error!(partition = %self.inner.name, %from, to = %next, cause, "state");
        } else {
            tracing::info!(partition = %self.inner.name, %from, to = %next, cause, "state");
        }
    }

    /// Gives the copy up: it answers nothing until it is opened anew or provisioned.
    pub(crate) fn give_up(&self, cause: &str) {
        if self.state() != State::Unrecoverable {
            self.enter(State::Unrecoverable, cause);
        }
    }

    pub(crate) fn install(&self, core: Core) {
        assert!(self.inner.core.set(core).is_ok(), "a copy is recovered once");
    }

    /// The core, if the copy is recovered.
    pub(crate) fn core(&self) -> Option<&Core> {
        self.inner.core.get()
    }

    /// The core of a copy that reads and writes.
    ///
    /// # Errors
    /// [`Error::NotOnline`].
    pub(crate) fn online(&self) -> Result<&Core, Error> {
        match self.core() {
            Some(core) if self.inner.is_online.load(Ordering::Acquire) => Ok(core),
            _ => self.online_by_state(),
        }
    }

    #[cold]
    fn online_by_state(&self) -> Result<&Core, Error> {
        let state = self.state();
        self.core()
            .filter(|_| state == State::Online)
            .ok_or_else(|| Error::NotOnline { partition: self.inner.name.to_string(), state })
    }

    /// The core of a copy that can be read: that of a master, or of a replica that shows nothing which
    /// can vanish.
    ///
    /// # Errors
    /// [`Error::NotOnline`].
    pub(crate) fn readable(&self) -> Result<&Core, Error> {
        match self.core() {
            Some(core) if self.inner.is_online.load(Ordering::Acquire) => Ok(core),
            Some(core) if self.state() == State::Replicating && core.publisher.is_readable() => {
                Ok(core)
            }
            _ => self.online_by_state(),
        }
    }

    /// Tells a recovered copy that it is the master: PENDING → TRANSITIONING → ONLINE. After any
    /// stop that was not clean, mastership continues in a new term, durable before it serves.
    ///
    /// # Errors
    /// [`Error::NotOnline`] if it is not PENDING, [`Error::Stopped`] if the log fails,
    /// [`Error::OneOfSeveral`] if somebody replicates it: only its record makes it master (rule 1).
    pub fn attach(&self) -> Result<(), Error> {
        let not_pending = |state| Error::NotOnline { partition: self.name().to_owned(), state };
        let state = self.state();
        let core =
            self.core().filter(|_| state == State::Pending).ok_or_else(|| not_pending(state))?;
        self.refuse_replicated(core)?;
        self.enter(State::Transitioning, "attach");
        let next_term = self.inner.next_term.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(term) = next_term {
            let begun = core.log.begin_term(term).and_then(|at| core.log.wait_durable(at));
            if let Err(error) = begun {
                self.give_up(&error.to_string());
                return Err(core.stop(&error.to_string()));
            }
        }
        self.enter(State::Online, "attached as master");
        Ok(())
    }

    /// Refuses what only whoever replicates the partition may do.
    ///
    /// # Errors
    /// [`Error::OneOfSeveral`].
    pub(crate) fn refuse_replicated(&self, core: &Core) -> Result<(), Error> {
        if core.publisher.is_replicated() {
            return Err(Error::OneOfSeveral { partition: self.name().to_owned() });
        }
        Ok(())
    }

    /// Begins a transaction. On a replica it only reads.
    ///
    /// # Errors
    /// [`Error::NotOnline`].
    pub fn begin(&self) -> Result<Transaction, Error> {
        Transaction::begin(self)
    }

    /// The transaction that holds the row which `txn` waits for; none if it waits for none. A ring
    /// of waiting inside of the partition is refused by itself (1213); whoever joins transactions
    /// of several partitions has to look for longer ones.
    #[must_use]
    pub fn awaited(&self, txn: TxnId) -> Option<TxnId> {
        self.core()?.locks.awaited(txn)
    }

    /// The committed state, for any number of reads that see one moment.
    ///
    /// # Errors
    /// [`Error::NotOnline`].
    pub fn view(&self) -> Result<View, Error> {
        Ok(self.readable()?.view())
    }

    /// Moves a view of this partition to the committed state; says whether that was another one. Much
    /// cheaper than a new view while nothing is committed, so this is how one reads again and again.
    /// A view that is kept keeps the pages of its state: give it up before a long rest.
    ///
    /// # Errors
    /// [`Error::NotOnline`]; the view stays where it is.
    ///
    /// # Panics
    /// If the view is of another partition.
    #[inline]
    pub fn refresh(&self, view: &mut View) -> Result<bool, Error> {
        let core = self.readable()?;
        assert!(view.is_of(&core.versions), "a view of another partition than {}", self.name());
        Ok(view.refresh())
    }

    /// All tables, as committed.
    ///
    /// # Errors
    /// [`Error::NotOnline`].
    pub fn catalog(&self) -> Result<Catalog, Error> {
        Ok(self.readable()?.catalog())
    }

    /// A table by name.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::NotOnline`].
    pub fn table(&self, name: &str) -> Result<Arc<Table>, Error> {
        let catalog = self.catalog()?;
        let table = catalog.table(name).cloned();
        table.ok_or_else(|| Error::NoSuchTable { table: name.to_owned() })
    }

    /// Creates a table.
    ///
    /// # Errors
    /// [`Error::Schema`] if there is one of that name, and as a commit.
    pub fn create_table(&self, schema: TableSchema) -> Result<Arc<Table>, Error> {
        schema_change::create(self.online()?, schema)
    }

    /// Drops a table with all its rows.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], and as a commit.
    pub fn drop_table(&self, name: &str) -> Result<(), Error> {
        schema_change::drop_table(self.online()?, name)
    }

    /// Changes a table: adds, drops or renames a column, renames it. Rows are not rewritten.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Schema`], and as a commit.
    pub fn alter_table(&self, name: &str, change: TableChange) -> Result<Arc<Table>, Error> {
        schema_change::alter(self.online()?, name, change)
    }

    /// Makes a table what it is in another partition of its database, numbers and all: creates it, or
    /// changes what is there under its number.
    ///
    /// # Errors
    /// [`Error::Schema`] if another table has its name, [`Error::Duplicate`] for rows that a new
    /// unique index does not allow, and as a commit.
    pub fn adopt_table(&self, schema: TableSchema) -> Result<Arc<Table>, Error> {
        schema_change::adopt(self.online()?, schema)
    }

    /// Puts an empty table in the place of one.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], and as [`Partition::adopt_table`].
    pub fn replace_table(&self, name: &str, with: TableSchema) -> Result<(), Error> {
        schema_change::replace(self.online()?, name, with).map(drop)
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> PartitionStatus {
        let inner = &self.inner;
        let (state, error) = self.lock_state().clone();
        let snapshot = *inner.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let core = self.core();
        let at = core.map(|core| core.log.positions());
        let end = at.map_or(Lsn::ZERO, |at| at.end);
        let log_since_snapshot = end.since(snapshot.lsn.unwrap_or(Lsn::ZERO));
        let stopped = core.and_then(Core::stopped);
        PartitionStatus {
            database: inner.database.clone(),
            ordinal: inner.ordinal,
            instance: inner.identity.instance,
            state,
            progress: inner.progress.read(inner.context.now()),
            error: error.or(stopped).map(|error| error.to_string()),
            end,
            durable: at.map_or(Lsn::ZERO, |at| at.durable),
            committed: core.map_or(Lsn::ZERO, |core| core.publisher.committed()),
            term: core.and_then(|core| core.log.term().ok()).unwrap_or_default(),
            rows: core.map_or(0, |core| core.versions.committed().rows),
            memory_bytes: core.map_or(0, |core| core.memory.allocated_bytes()),
            log_since_snapshot,
            snapshot_lsn: snapshot.lsn,
            snapshot_bytes: snapshot.bytes,
            predicted_recovery: inner.context.predicted(snapshot.bytes, log_since_snapshot),
            rewind_positions: core.map_or(Vec::new(), |core| core.publisher.kept_positions()),
        }
    }

    pub(crate) fn enter_phase(&self, phase: Phase) {
        self.inner.progress.enter(phase, self.inner.context.now());
    }
}

/// Rates taken for granted until a recovery was measured here.
const SNAPSHOT_RATE: u64 = 1 << 30;
const LOG_RATE: u64 = 256 << 20;

impl Context {
    /// How long it would take to load that much.
    pub(crate) fn predicted(&self, snapshot_bytes: u64, log_bytes: u64) -> Duration {
        let measured = |rate: &AtomicU64, assumed| match rate.load(Ordering::Relaxed) {
            0 => assumed,
            rate => rate,
        };
        let micros = |bytes: u64, rate: u64| bytes.saturating_mul(1_000_000) / rate.max(1);
        Duration::from_micros(
            micros(snapshot_bytes, measured(&self.snapshot_rate, SNAPSHOT_RATE))
                + micros(log_bytes, measured(&self.log_rate, LOG_RATE)),
        )
    }
}
