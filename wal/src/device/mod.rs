//! One data directory's logs: opening, finding, making, removing.
//!
//! ```text
//!  Device ── Core ─┬─ Space    free slots of the arena, growth
//!                  ├─ Driver   queue, what is in flight        (behind a lock: one leader)
//!                  ├─ Signal   bells of the threads
//!                  └─ logs ─── Shared, one per running log
//! ```

use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::arena::{ARENA_FILE, Geometry, Superblock};
use crate::disk::{AlignedBuf, Cache, Disk, FileRef, Open};
use crate::driver::Driver;
use crate::lock::lock;
use crate::log::Observer;
use crate::recovery::{Chain, Survey, Unreadable, read_patiently, survey};
use crate::{
    Anchor, Damage, Evidence, HistogramReading, History, Log, LogError, LogIdentity, Lsn,
    OpenError, Recovery, SECTOR, Term,
};

pub use options::{Counters, DriverMode, Options, World};

pub(crate) use core::Core;
pub(crate) use options::count;

use options::Counting;
use signal::Signal;
use space::Space;
use timing::{TimedQueue, Timing};

mod change;
mod core;
mod options;
mod rewrite;
mod signal;
mod space;
mod timing;

/// Name of the lock file beside the arena.
pub const LOCK_FILE: &str = "wal.lock";

/// A log that lies in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLog {
    /// Whose it is.
    pub identity: LogIdentity,
    /// The first position that is still there.
    pub first_lsn: Lsn,
    /// Everything below was durable, say its marks. The log may go on behind.
    pub durable: Lsn,
    /// Its terms up to its newest slot.
    pub history: History,
    /// Slots it has.
    pub slots: u32,
}

/// Where a new log begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStart {
    /// Its first position: a multiple of [`SECTOR`].
    pub lsn: Lsn,
    /// Chain there.
    pub chain: u64,
    /// Terms up to there.
    pub history: History,
}

impl LogStart {
    /// A log from nothing.
    #[must_use]
    pub fn new(term: Term) -> Self {
        Self { lsn: Lsn::ZERO, chain: 0, history: History::starting(term) }
    }
}

/// The logs of one directory. Dropping it stops its threads; logs still held end.
#[derive(Debug)]
pub struct Device {
    core: Arc<Core>,
    unreadable: Vec<Unreadable>,
    threads: Vec<JoinHandle<()>>,
    /// Keeps other processes out for as long as the device lives (catalogue row D38).
    _lock: Box<dyn Send + Sync + std::fmt::Debug>,
}

impl Device {
    /// Opens the arena in `dir`, or makes one. Reads the head of every slot, changes nothing of
    /// what is there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(world: World, dir: &Path, options: Options) -> Result<Self, OpenError> {
        let disk = world.disk.clone();
        disk.create_dir(dir).map_err(|error| OpenError::io("making", dir, error))?;
        let guard = take_lock(&*disk, dir)?;
        let path = dir.join(ARENA_FILE);
        let file = open_or_create(&*disk, dir, &options)?;
        let superblock = read_superblock(&file, &path)?;
        if superblock.cluster != options.cluster {
            let (expected, found) = (options.cluster, superblock.cluster);
            return Err(OpenError::Foreign { path, expected, found });
        }
        let geometry = superblock.geometry;
        let survey = survey(&*disk, &file, geometry, options.cluster)
            .map_err(|error| OpenError::io("reading", &path, error))?;
        rewrite::settle_length(&*file, geometry, survey.slots)
            .map_err(|error| OpenError::io("settling the length of", &path, error))?;
        let queue = disk
            .queue(options.queue_depth.max(2))
            .map_err(|error| OpenError::io("making a queue to", &path, error))?;
        let signal = Signal::default();
        signal.set_waker(queue.waker());
        let timing = Arc::new(Timing::new(world.clock.clone()));
        let queue = Box::new(TimedQueue::new(queue, timing.clone()));
        let Survey { slots, free, logs, unreadable, .. } = survey;
        let core = Arc::new(Core {
            driver: Mutex::new(Driver::new(queue, options.durable, geometry.frame_bytes_max())),
            space: Space::new(free, slots, options.slots_max),
            counting: Counting::default(),
            timing,
            stuck: Mutex::default(),
            world,
            options,
            path,
            file,
            geometry,
            signal,
            found: Mutex::new(logs),
            running: Mutex::default(),
            numbers: AtomicU32::new(0),
        });
        let threads = start_threads(&core)?;
        Ok(Self { core, unreadable, threads, _lock: guard })
    }

    /// The logs that were found at opening and were not opened or removed since.
    #[must_use]
    pub fn found(&self) -> Vec<FoundLog> {
        lock(&self.core.found).iter().map(|(identity, chain)| found_log(*identity, chain)).collect()
    }

    /// Slots that were found to be neither free nor of a log of this cluster.
    #[must_use]
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Makes a log that begins at [`Lsn::ZERO`].
    ///
    /// # Errors
    /// If there is no space or the device refuses.
    ///
    /// # Panics
    /// If such a log is there already.
    pub fn create(
        &self,
        identity: LogIdentity,
        term: Term,
        observer: Arc<dyn Observer>,
    ) -> Result<Log, LogError> {
        self.create_at(identity, LogStart::new(term), observer)
    }

    /// Makes a log that begins somewhere: behind a snapshot that was received.
    ///
    /// # Errors
    /// As [`Device::create`].
    ///
    /// # Panics
    /// As [`Device::create`].
    pub fn create_at(
        &self,
        identity: LogIdentity,
        start: LogStart,
        observer: Arc<dyn Observer>,
    ) -> Result<Log, LogError> {
        let known =
            lock(&self.core.found).contains_key(&identity) || self.running(identity).is_some();
        assert!(!known, "log {identity} exists");
        assert!(identity.cluster == self.core.options.cluster, "a log of another cluster");
        self.core.create(identity, start, observer)
    }

    /// Begins to read a log from `from`, where a group must begin: the position of a snapshot, or
    /// the log's first. Different logs can be recovered at the same time from different threads.
    ///
    /// # Errors
    /// [`Damage`], for this log only.
    ///
    /// # Panics
    /// If the log runs.
    pub fn recover(
        &self,
        identity: LogIdentity,
        from: Lsn,
        evidence: Evidence,
    ) -> Result<Recovery, Damage> {
        let chain = self.chain_of(identity)?;
        Recovery::new(self.core.clone(), identity, chain, (from, evidence))
    }

    /// As [`Device::recover`], from where a snapshot stands. What lies before is not read if the first
    /// frame behind proves that snapshot and log are of one history.
    ///
    /// # Errors
    /// As [`Device::recover`].
    ///
    /// # Panics
    /// As [`Device::recover`].
    pub fn recover_behind(
        &self,
        identity: LogIdentity,
        anchor: &Anchor,
        evidence: Evidence,
    ) -> Result<Recovery, Damage> {
        let chain = self.chain_of(identity)?;
        Recovery::behind(self.core.clone(), identity, chain, (anchor, evidence))
    }

    /// The slots of a log that is to be recovered.
    fn chain_of(&self, identity: LogIdentity) -> Result<Chain, Damage> {
        assert!(self.running(identity).is_none(), "log {identity} runs");
        self.core.find(identity)?.ok_or_else(|| {
            let (path, unreadable) = (self.core.path.clone(), self.unreadable.len());
            Damage::Absent { path, identity, unreadable }
        })
    }

    /// Frees all slots of a log, running or not. Nothing happens if there is none.
    ///
    /// # Errors
    /// If the device refuses. Called again, it goes on.
    pub fn remove(&self, identity: LogIdentity) -> Result<(), LogError> {
        self.core.remove(identity)
    }

    /// The log of that identity, if it runs.
    #[must_use]
    pub fn running(&self, identity: LogIdentity) -> Option<Log> {
        self.core.driver().running(identity).map(|shared| Log { shared })
    }

    /// Writes what is there and waits for one completion. False if nothing was to be done.
    pub fn turn(&self) -> bool {
        self.core.turn_once()
    }

    /// Turns until everything appended is durable.
    pub fn turn_until_idle(&self) {
        self.core.turn_until_idle();
    }

    /// Writes the marks of logs that have been idle for [`Options::idle`]; for
    /// [`DriverMode::Inline`], where no thread does so.
    pub fn idle(&self) {
        self.core.mark_idle();
    }

    /// Grows the arena until as many slots are free as the options say. Whether it grew.
    pub fn grow_if_needed(&self) -> bool {
        self.core.space.grow_ahead(&self.core)
    }

    /// What was done since opening.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.core.counting.read()
    }

    /// How long flushes took, and writes that are durable by themselves: from handing them to the
    /// system until they were on the medium.
    #[must_use]
    pub fn flush_times(&self) -> HistogramReading {
        self.core.timing.flushes.read()
    }

    /// How long the oldest request has been with the device by now; `None` if it has none.
    #[must_use]
    pub fn waiting(&self) -> Option<Duration> {
        self.core.timing.waiting()
    }

    /// The watchdog (catalogue row D28): if a request has been with the device for `limit`, ends
    /// all its logs with [`LogError::Stuck`] and tells all who wait. Whether it has. The thread
    /// that is inside the system with that request stays there until the system lets it go.
    pub fn give_up_if_stuck(&self, limit: Duration) -> bool {
        self.core.give_up_if_stuck(limit)
    }

    /// Slots in the arena, and how many of them are free.
    #[must_use]
    pub fn slots_and_free(&self) -> (u32, u32) {
        (self.core.space.slots(), self.core.space.free())
    }

    /// How the arena is cut.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.core.geometry
    }

    /// The arena's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.core.path
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.core.signal.stop();
        for thread in self.threads.drain(..) {
            // A panic there was reported when it happened.
            drop(thread.join());
        }
        self.core.close();
    }
}

fn found_log(identity: LogIdentity, chain: &Chain) -> FoundLog {
    let slots = chain.slots.iter().chain(&chain.leftovers);
    let (first, last) = (chain.slots.first(), chain.slots.last());
    FoundLog {
        identity,
        first_lsn: first.map_or(Lsn::ZERO, |slot| slot.header.base),
        durable: chain.slots.iter().map(crate::recovery::Found::durable).max().unwrap_or_default(),
        history: last.map_or_else(History::default, |slot| slot.header.history.clone()),
        slots: slots.count() as u32,
    }
}

fn take_lock(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Box<dyn Send + Sync + std::fmt::Debug>, OpenError> {
    let path = dir.join(LOCK_FILE);
    disk.lock(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => OpenError::InUse { path },
        _ => OpenError::io("locking", &path, error),
    })
}

fn open_or_create(disk: &dyn Disk, dir: &Path, options: &Options) -> Result<FileRef, OpenError> {
    let path = dir.join(ARENA_FILE);
    match disk.open(&path, Open::Write, Cache::Direct) {
        Ok(file) => return Ok(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(OpenError::io("opening", &path, error)),
    }
    let slot_bytes = options.slot_bytes;
    let geometry = Geometry::new(slot_bytes).ok_or(OpenError::SlotBytes { slot_bytes })?;
    let superblock =
        Superblock { geometry, cluster: options.cluster, directory: options.directory };
    // Written beside and renamed: an arena that is there has its superblocks (D17).
    let aside = dir.join("wal.arena.tmp");
    let made = (|| {
        match disk.remove(&aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.open(&aside, Open::Create, Cache::Direct)?;
        let mut head = AlignedBuf::new(geometry.file_bytes(0) as usize)?;
        head[..SECTOR].copy_from_slice(&superblock.encode());
        head[SECTOR..2 * SECTOR].copy_from_slice(&superblock.encode());
        file.write_at(&head, 0)?;
        file.flush()?;
        disk.rename(&aside, &path)?;
        disk.sync_dir(dir)?;
        disk.open(&path, Open::Write, Cache::Direct)
    })();
    made.map_err(|error| OpenError::io("making", &path, error))
}

/// Reads the superblock: the first copy, or the second if that is bad.
pub(crate) fn read_superblock(file: &FileRef, path: &Path) -> Result<Superblock, OpenError> {
    let failed = |error| OpenError::io("reading", path, error);
    let mut head = AlignedBuf::new(2 * SECTOR).map_err(failed)?;
    read_patiently(&**file, &mut head, 0).map_err(failed)?;
    let copy = |at: usize| {
        let sector = head[at * SECTOR..].first_chunk::<SECTOR>();
        Superblock::decode(sector.expect("two sectors were read"))
    };
    copy(0)
        .or_else(|flaw| copy(1).map_err(|_| flaw))
        .map_err(|flaw| OpenError::Superblock { path: path.to_owned(), flaw })
}

fn start_threads(core: &Arc<Core>) -> Result<Vec<JoinHandle<()>>, OpenError> {
    if core.options.driver == DriverMode::Inline {
        return Ok(Vec::new());
    }
    let start = |name: &str, run: fn(&Core)| {
        let core = core.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&core))
    };
    let failed = |error| OpenError::io("starting the threads of", &core.path, error);
    let driver = start("wal-driver", Core::run_driver).map_err(failed)?;
    core.signal.set_driver(driver.thread().clone());
    let keeper = start("wal-keeper", Core::run_keeper).map_err(failed)?;
    core.signal.set_keeper(keeper.thread().clone());
    Ok(vec![driver, keeper])
}
