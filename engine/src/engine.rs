//! One node's storage: a directory with the databases in it.
//!
//! ```text
//!  Engine::recover ─► Recovery (progress, states) ─► wait ─► Engine ─► close
//! ```
//!
//! No global state: several engines in one process are fine, each on a directory of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use resprout_wal::disk::Disk;
use resprout_wal::{Device, DriverMode, LogIdentity, Term};

use crate::commit_rule::Durability;
use crate::database::Database;
use crate::error::{Error, at};
use crate::identity::Identity;
use crate::keeper::Keeper;
use crate::manifest::{
    MAX_COPIES_NAME, MAX_DATABASE_NAME, Manifest, NO_INSTANCE, fits_file_name, partition_dir,
};
use crate::memory::MemoryBound;
use crate::options::Options;
use crate::partition::{Context, NewPartition, Partition, PartitionStatus};
use crate::progress::Progress;
use crate::recovery::{self, Recovery};
use crate::state::State;
use crate::times::{CommitTimes, Times};
use crate::tree::MemoryLimit;
use crate::tuning::Tuning;

/// Most partitions of one database.
pub const MAX_PARTITIONS: u32 = 4096;

/// How a database is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// Partitions, 1 to [`MAX_PARTITIONS`]; fixed for its life.
    pub partitions: u32,
    /// When commits are acknowledged; fixed for its life.
    pub durability: Durability,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self { partitions: 8, durability: Durability::Sync }
    }
}

/// This node's copies of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// The database's number in the cluster.
    pub number: u32,
    /// The instance of each partition's copy, by ordinal; 0 where this node has none.
    pub instances: Vec<u64>,
    /// When commits are acknowledged; fixed for its life.
    pub durability: Durability,
}

impl CopyOptions {
    /// One copy, of one partition.
    #[must_use]
    pub fn one(number: u32, ordinal: u32, instance: u64, durability: Durability) -> Self {
        let mut instances = vec![0; ordinal as usize];
        instances.push(instance);
        Self { number, instances, durability }
    }

    fn has(&self, partition: &Partition) -> bool {
        let instance = self.instances.get(partition.ordinal() as usize);
        instance == Some(&partition.log_identity().instance)
    }
}

fn check_name(name: &str, bytes_max: usize) -> Result<(), Error> {
    if (1..=bytes_max).contains(&name.len()) {
        return Ok(());
    }
    let why = format!("a name has 1 to {bytes_max} bytes");
    Err(Error::BadOption { option: "database", why })
}

/// A name that may be longer must not make a file's name too long.
fn check_file_name(name: &str) -> Result<(), Error> {
    if fits_file_name(name) {
        return Ok(());
    }
    let why = "as the name of a file it is too long".to_owned();
    Err(Error::BadOption { option: "database", why })
}

fn check_partitions(partitions: usize) -> Result<(), Error> {
    if (1..=MAX_PARTITIONS as usize).contains(&partitions) {
        return Ok(());
    }
    Err(Error::BadOption { option: "partitions", why: format!("from 1 to {MAX_PARTITIONS}") })
}

pub(crate) struct Shared {
    pub(crate) context: Arc<Context>,
    pub(crate) databases: RwLock<BTreeMap<String, Database>>,
    /// Logs that no database claims: kept, listed, never deleted by themselves (catalogue M16).
    pub(crate) orphans: Vec<LogIdentity>,
    pub(crate) identity: Identity,
    /// Held for life; a second process is refused (catalogue D38).
    _lock: Box<dyn Send + Sync + fmt::Debug>,
}

/// An open data directory whose partitions are recovered. Cheap to clone. When the last clone is dropped, what the engine does
/// by itself ends first, and a snapshot under way is given up, so that the directory can be opened again at once.
#[derive(Clone)]
pub struct Engine {
    /// Before what its threads use: fields are dropped in this order.
    pub(crate) keeper: Arc<Mutex<Option<Keeper>>>,
    pub(crate) shared: Arc<Shared>,
}

impl Shared {
    pub(crate) fn databases(&self) -> Vec<Database> {
        let databases = self.databases.read().unwrap_or_else(PoisonError::into_inner);
        databases.values().cloned().collect()
    }

    pub(crate) fn partitions(&self) -> Vec<Partition> {
        self.databases().iter().map(Database::partitions).flat_map(<[_]>::to_vec).collect()
    }

    /// Logs that no database claims: not the ones that were made anew since the start.
    fn still_unclaimed(&self) -> Vec<LogIdentity> {
        let claimed: Vec<_> = self.partitions().iter().map(|one| one.inner.identity).collect();
        self.orphans.iter().copied().filter(|log| !claimed.contains(log)).collect()
    }

    /// A snapshot under way ends with an error, and none begins.
    pub(crate) fn stop_snapshots(&self) {
        for partition in self.partitions() {
            partition.inner.closing.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.shared.context.dir.display())
    }
}

/// Where a node stands.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its data directory.
    pub dir: PathBuf,
    /// The cluster the directory belongs to.
    pub cluster: u128,
    /// The directory itself.
    pub directory: u64,
    /// Name of the disk backend.
    pub backend: &'static str,
    /// Of all partitions together.
    pub progress: Progress,
    /// Page memory taken, over all partitions.
    pub memory_bytes: u64,
    /// The limit.
    pub maximum_memory: u64,
    /// Every partition, by database and ordinal.
    pub partitions: Vec<PartitionStatus>,
    /// Logs that no database claims.
    pub orphans: Vec<LogIdentity>,
}

impl Engine {
    /// Opens a directory, making it if it is new, and waits until everything is recovered.
    /// Partitions that cannot be are UNRECOVERABLE; the others are online.
    ///
    /// # Errors
    /// If the directory cannot be used at all.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        Self::recover(dir, options)?.wait()
    }

    /// Opens a directory and recovers its partitions in the background.
    ///
    /// # Errors
    /// [`Error::BadOption`], [`Error::InUse`], [`Error::ForeignDirectory`] and others that concern
    /// the directory as a whole. Nothing was changed then.
    pub fn recover(dir: impl AsRef<Path>, options: Options) -> Result<Recovery, Error> {
        options.validate()?;
        let dir = dir.as_ref();
        let shared = Self::prepare(dir, options)?;
        Ok(recovery::start(Self { keeper: Arc::default(), shared: Arc::new(shared) }))
    }

    fn prepare(dir: &Path, options: Options) -> Result<Shared, Error> {
        let disk = Arc::clone(&options.world.disk);
        disk.create_dir(dir).map_err(at("create", dir))?;
        let lock_path = dir.join("lock");
        let lock = disk.lock(&lock_path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::WouldBlock {
                Error::InUse { dir: dir.into() }
            } else {
                at("lock", &lock_path)(error)
            }
        })?;
        let identity = Identity::open_or_create(
            disk.as_ref(),
            dir,
            (options.world.entropy.as_ref(), options.cluster),
        )?;
        let device = Device::open(options.world.clone(), dir, wal_options(identity, &options))?;
        let manifests = Manifest::load_all(disk.as_ref(), dir)?;
        let bound = MemoryBound {
            taken: MemoryLimit::physical_memory(),
            maximum: Arc::new(options.maximum_memory.into()),
        };
        let context = Arc::new(Context {
            dir: dir.into(),
            cluster: identity.cluster,
            tuning: RwLock::new(Tuning::of(&options)),
            options,
            device,
            bound,
            snapshot_rate: 0.into(),
            log_rate: 0.into(),
            commits: CommitTimes::default(),
        });
        let mut databases = BTreeMap::new();
        for manifest in manifests {
            databases.insert(manifest.name.clone(), Database::known(&context, manifest));
        }
        let orphans = unclaimed(&context, &databases);
        Ok(Shared { context, databases: RwLock::new(databases), orphans, identity, _lock: lock })
    }

    /// All databases, by name.
    #[must_use]
    pub fn databases(&self) -> Vec<Database> {
        self.shared.databases()
    }

    /// A database by name.
    ///
    /// # Errors
    /// [`Error::NoSuchDatabase`].
    pub fn database(&self, name: &str) -> Result<Database, Error> {
        let databases = self.shared.databases.read().unwrap_or_else(PoisonError::into_inner);
        databases
            .get(name)
            .cloned()
            .ok_or_else(|| Error::NoSuchDatabase { database: name.to_owned() })
    }

    /// Makes a database, online at once. After a crash in the middle there is none.
    ///
    /// # Errors
    /// [`Error::DatabaseExists`], [`Error::BadOption`], [`Error::LogFull`] and disk errors.
    pub fn create_database(&self, name: &str, options: DatabaseOptions) -> Result<Database, Error> {
        check_name(name, MAX_DATABASE_NAME)?;
        check_partitions(options.partitions as usize)?;
        // Held throughout: one database is made or dropped at a time.
        let mut databases = self.shared.databases.write().unwrap_or_else(PoisonError::into_inner);
        if databases.contains_key(name) {
            return Err(Error::DatabaseExists { database: name.to_owned() });
        }
        let context = &self.shared.context;
        let world = context.world();
        let number = databases.values().map(Database::number).max().map_or(1, |max| max + 1);
        let manifest = Manifest {
            name: name.to_owned(),
            database: number,
            sync_durability: options.durability == Durability::Sync,
            instances: (0..options.partitions).map(|_| world.entropy.next().max(1)).collect(),
        };
        self.make_known(&mut databases, &manifest, true)
    }

    /// Makes this node's copies of a database's partitions, which stay PENDING until they are told what
    /// they are: see [`Partition::store_copy`]. After a crash in the middle there is none.
    ///
    /// A leaf of a cluster has some partitions of a database, which come and go one by one: each is made under
    /// a name of its own, with the same number.
    ///
    /// # Errors
    /// As [`Engine::create_database`], with names up to [`MAX_COPIES_NAME`] bytes; [`Error::BadOption`] if one of
    /// these copies is here already, or none is made.
    pub fn create_copies(&self, name: &str, options: &CopyOptions) -> Result<Database, Error> {
        check_name(name, MAX_COPIES_NAME)?;
        check_file_name(name)?;
        check_partitions(options.instances.len())?;
        let mut databases = self.shared.databases.write().unwrap_or_else(PoisonError::into_inner);
        if databases.contains_key(name) {
            return Err(Error::DatabaseExists { database: name.to_owned() });
        }
        let has_one = |other: &&Database| {
            let partitions = other.partitions();
            other.number() == options.number
                && partitions.iter().any(|partition| options.has(partition))
        };
        if let Some(other) = databases.values().find(has_one) {
            let (name, number) = (other.name(), options.number);
            let why = format!("'{name}' of number {number} is one of these copies");
            return Err(Error::BadOption { option: "number", why });
        }
        if options.instances.iter().all(|instance| *instance == NO_INSTANCE) {
            let why = "no copy is to be made".to_owned();
            return Err(Error::BadOption { option: "instances", why });
        }
        let manifest = Manifest {
            name: name.to_owned(),
            database: options.number,
            sync_durability: options.durability == Durability::Sync,
            instances: options.instances.clone(),
        };
        self.remove_left_over(&manifest)?;
        self.make_known(&mut databases, &manifest, false)
    }

    /// The logs that a process left which was killed while it made or dropped just these copies: no database claims them, and
    /// whoever makes a copy of that number knows that it begins empty.
    fn remove_left_over(&self, manifest: &Manifest) -> Result<(), Error> {
        let context = &self.shared.context;
        let ordinals = (0..).take(manifest.instances.len());
        for identity in ordinals.filter_map(|at| manifest.log_identity(context.cluster, at)) {
            if context.device.found().iter().all(|found| found.identity != identity) {
                continue;
            }
            tracing::warn!(log = %identity, "left over from a copy that was half made or half dropped: it is made anew");
            context.device.remove(identity).map_err(|error| Error::Stopped {
                partition: manifest.name.clone(),
                reason: Arc::from(error.to_string()),
            })?;
        }
        Ok(())
    }

    fn make_known(
        &self,
        databases: &mut BTreeMap<String, Database>,
        manifest: &Manifest,
        attach: bool,
    ) -> Result<Database, Error> {
        let made = self.make(manifest, attach);
        if made.is_err() {
            self.unmake(manifest);
        }
        let database = made?;
        databases.insert(manifest.name.clone(), database.clone());
        Ok(database)
    }

    /// Takes back what a failed [`Engine::make`] left. The manifest goes first, durably: a manifest
    /// without its logs would be a damaged database.
    fn unmake(&self, manifest: &Manifest) {
        let context = &self.shared.context;
        let disk = context.world().disk.as_ref();
        let gone = Manifest::is_there(disk, &context.dir, &manifest.name).and_then(|there| {
            if there { Manifest::remove(disk, &context.dir, &manifest.name) } else { Ok(()) }
        });
        if let Err(error) = gone {
            tracing::error!(database = manifest.name, %error, "half made; the next start may find it, empty");
            return;
        }
        for ordinal in 0..u32::try_from(manifest.instances.len()).unwrap_or(u32::MAX) {
            let Some(identity) = manifest.log_identity(context.cluster, ordinal) else { continue };
            if let Err(error) = context.device.remove(identity) {
                tracing::warn!(log = %identity, %error, "an empty log is left");
            }
        }
    }

    fn make(&self, manifest: &Manifest, attach: bool) -> Result<Database, Error> {
        let context = &self.shared.context;
        let disk = context.world().disk.as_ref();
        let database = Database::known(context, manifest.clone());
        for partition in database.partitions() {
            let dir = partition.dir();
            disk.create_dir(dir).map_err(at("create", dir))?;
            // Copies begin alike, before anybody's term.
            recovery::start_empty(partition, Term(u64::from(attach)))?;
        }
        let Some(first) = database.partitions().first() else {
            let why = "it has no partition".to_owned();
            return Err(Error::BadOption { option: "partitions", why });
        };
        for folder in
            first.dir().ancestors().skip(1).take_while(|path| path.starts_with(&context.dir))
        {
            disk.sync_dir(folder).map_err(at("flush directory", folder))?;
        }
        manifest.store(disk, &context.dir)?;
        for partition in database.partitions().iter().filter(|_| attach) {
            partition.attach()?;
        }
        Ok(database)
    }

    /// Drops a database with everything in it. After a crash in the middle it is gone; what is
    /// left of its files goes at the next start.
    ///
    /// # Errors
    /// [`Error::NoSuchDatabase`] and disk errors.
    pub fn drop_database(&self, name: &str) -> Result<(), Error> {
        let mut databases = self.shared.databases.write().unwrap_or_else(PoisonError::into_inner);
        let database = databases
            .get(name)
            .cloned()
            .ok_or_else(|| Error::NoSuchDatabase { database: name.to_owned() })?;
        let context = &self.shared.context;
        let disk = context.world().disk.as_ref();
        if let Err(error) = Manifest::remove(disk, &context.dir, name) {
            // Gone, or perhaps gone: nothing more may be acknowledged in it. Its logs stay; the next
            // start finds the database, or lists them.
            if Manifest::is_there(disk, &context.dir, name).is_ok_and(|there| there) {
                return Err(error);
            }
            databases.remove(name);
            for partition in database.partitions() {
                partition.give_up("whether the database was dropped is unknown");
            }
            return Err(error);
        }
        databases.remove(name);
        for partition in database.partitions() {
            partition.inner.closing.store(true, std::sync::atomic::Ordering::Relaxed);
            partition.give_up("the database was dropped");
            let identity = partition.inner.identity;
            context.device.remove(identity).map_err(|error| Error::Stopped {
                partition: partition.name().to_owned(),
                reason: Arc::from(error.to_string()),
            })?;
            recovery::remove_files(partition)?;
        }
        Ok(())
    }

    /// Its data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.context.dir
    }

    /// The disk that the directory is on, for what else belongs into it.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.shared.context.world().disk)
    }

    /// Where the node stands.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let databases = self.databases();
        let partitions: Vec<PartitionStatus> =
            databases.iter().flat_map(Database::partitions).map(Partition::status).collect();
        let progress: Vec<Progress> = partitions.iter().map(|p| p.progress).collect();
        let context = &self.shared.context;
        NodeStatus {
            dir: context.dir.clone(),
            cluster: self.shared.identity.cluster,
            directory: self.shared.identity.directory,
            backend: context.world().disk.backend(),
            progress: Progress::combined(&progress),
            memory_bytes: context.bound.taken.charged_bytes(),
            maximum_memory: context.bound.maximum(),
            partitions,
            orphans: self.shared.still_unclaimed(),
        }
    }

    /// Flushes and group commits of the log device so far.
    #[must_use]
    pub fn log_counters(&self) -> resprout_wal::Counters {
        self.shared.context.device.counters()
    }

    /// How long commits and flushes took so far, and how long the log's device has been silent.
    #[must_use]
    pub fn times(&self) -> Times {
        let context = &self.shared.context;
        let (sync_commits, async_commits) = context.commits.read();
        Times {
            sync_commits,
            async_commits,
            flushes: context.device.flush_times(),
            log_waiting: context.device.waiting(),
        }
    }

    /// Does what a background thread would do once: ends late lock waits, takes due snapshots.
    /// For engines without threads.
    pub fn tick(&self) {
        crate::keeper::tick(&self.shared, true);
    }

    /// One turn of the log device, for engines without threads.
    ///
    /// # Errors
    /// [`Error::Disk`] if the queue is broken.
    pub fn turn(&self) -> bool {
        self.shared.context.device.turn()
    }

    /// Ends cleanly: what was committed is flushed and the end is noted, so that the next start
    /// resumes in the same term. Transactions that are not committed are gone.
    ///
    /// # Errors
    /// The first log that could not be closed; the others are closed all the same.
    pub fn close(&self) -> Result<(), Error> {
        self.shared.stop_snapshots();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(keeper);
        let mut first_error = Ok(());
        for partition in self.shared.partitions() {
            let Some(core) = partition.core() else { continue };
            let _alone = partition.inner.exclusive.lock().unwrap_or_else(PoisonError::into_inner);
            if partition.state() == State::Unrecoverable {
                continue;
            }
            // The writer's lock keeps half a transaction out of the end.
            let closed = core
                .writer()
                .and_then(|_writer| core.log.close_clean().map_err(|e| core.stop(&e.to_string())));
            match closed {
                Ok(end) => tracing::info!(partition = partition.name(), %end, "closed"),
                Err(error) => {
                    tracing::error!(partition = partition.name(), %error, "not closed cleanly");
                    first_error = first_error.and(Err(error));
                }
            }
        }
        first_error
    }
}

fn wal_options(identity: Identity, options: &Options) -> resprout_wal::Options {
    let mut wal = resprout_wal::Options::new(identity.cluster, identity.directory);
    wal.slot_bytes = options.slot_bytes;
    wal.durable = options.durable;
    if !options.threads {
        wal.driver = DriverMode::Inline;
        wal.slots_ahead = 0;
    }
    wal
}

/// Logs in the arena that no manifest names. Empty ones are what a crash left of a database in
/// the making, and go; others are kept.
fn unclaimed(context: &Arc<Context>, databases: &BTreeMap<String, Database>) -> Vec<LogIdentity> {
    let claimed = |identity: &LogIdentity| {
        databases
            .values()
            .flat_map(Database::partitions)
            .any(|partition| partition.inner.identity == *identity)
    };
    let mut orphans = Vec::new();
    for found in context.device.found() {
        if claimed(&found.identity) {
            continue;
        }
        tracing::warn!(log = %found.identity, "no database claims this log; it is kept");
        orphans.push(found.identity);
    }
    orphans
}

impl Database {
    pub(crate) fn known(context: &Arc<Context>, manifest: Manifest) -> Self {
        let durability = manifest.durability();
        let mut partitions = Vec::with_capacity(manifest.instances.len());
        for ordinal in (0..).take(manifest.instances.len()) {
            let Some(identity) = manifest.log_identity(context.cluster, ordinal) else { continue };
            let dir = partition_dir(&context.dir, &manifest.name, ordinal);
            let database = manifest.name.as_str();
            let new = NewPartition { database, ordinal, identity, dir, durability };
            partitions.push(Partition::new(context, new));
        }
        Self::new(manifest, partitions)
    }
}
