//! Settings of an engine. Each has a default that is safe; [`Options::validate`] names the first
//! impossible one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use resprout_wal::disk::{open_default, probe_durable_write};
use resprout_wal::world::{OsEntropy, SystemClock};
use resprout_wal::{DurableMode, World};

use crate::error::{Error, at};
use crate::tree::MemoryLimit;

/// Settings of an engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most bytes of page memory, over all partitions. Recovery may exceed it: rows once
    /// accepted are never refused. Default: 90 % of the machine's memory.
    pub maximum_memory: u64,
    /// Log bytes since the last snapshot that cause a new one. Default 2 GiB.
    pub snapshot_trigger_size: u64,
    /// A snapshot is also taken when a restart is predicted to take longer than this. Default
    /// 30 s; `None` switches it off.
    pub recovery_time_target: Option<Duration>,
    /// Snapshots kept per partition, at least 1. The log is kept behind the oldest. Default 2.
    pub snapshots_to_keep: usize,
    /// Most bytes per second that a snapshot writes, and then reads back, beside a running workload. Default
    /// 48 MiB: with 64 writers on two processors, 64 MiB cost them 9 to 11 %, 128 MiB 19 %.
    pub snapshot_bytes_per_s: u64,
    /// Bytes of one slot of the arena, a power of two. Default 16 MiB.
    pub slot_bytes: u64,
    /// Partitions recovered at the same time. Default: two per processor, so that while one of them is
    /// opened, indexed or attached the device has reads of another.
    pub recovery_threads: usize,
    /// How long a statement waits for a row's lock. Default 60 s.
    pub lock_wait_limit: Duration,
    /// How long a write or flush of the log may take before its logs are given up: who waits for
    /// a commit is then told that its outcome is unknown. Default 30 s.
    pub stuck_after: Duration,
    /// Positions kept for rewinding, per partition. Default 8.
    pub rewind_roots: usize,
    /// Log bytes between two such positions. Default 4 MiB.
    pub rewind_spacing: u64,
    /// How writes to the log are made durable. Default: one flush for a batch of them, a lone
    /// write by itself; [`Options::probed`] measures the device instead.
    pub durable: DurableMode,
    /// The cluster that a new directory belongs to. Default: one of its own, drawn at random. A
    /// directory that is there keeps its own, and is refused if this is another.
    pub cluster: Option<u128>,
    /// Whether partitions attach themselves after recovery (a node that stands alone) or stay
    /// PENDING until told. Default: they do.
    pub attach: bool,
    /// Threads of its own, or none: then waiting callers do the work, and one seed decides
    /// everything. Default: threads.
    pub threads: bool,
    /// The outside world. Default: the real one.
    pub world: World,
}

impl Default for Options {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            maximum_memory: MemoryLimit::physical_memory().limit_bytes() / 10 * 9,
            snapshot_trigger_size: 2 << 30,
            recovery_time_target: Some(Duration::from_secs(30)),
            snapshots_to_keep: 2,
            snapshot_bytes_per_s: 48 << 20,
            slot_bytes: 16 << 20,
            recovery_threads: 2 * processors,
            lock_wait_limit: Duration::from_secs(60),
            stuck_after: Duration::from_secs(30),
            rewind_roots: 8,
            rewind_spacing: 4 << 20,
            durable: DurableMode::BatchFlush,
            cluster: None,
            attach: true,
            threads: true,
            world: World {
                disk: open_default(),
                clock: Arc::new(SystemClock::default()),
                entropy: Arc::new(OsEntropy),
            },
        }
    }
}

impl Options {
    /// Measures how the device of `dir` makes writes durable faster, in well under a second, and
    /// takes that way. Not done at each start, since it would delay coming back.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn probed(mut self, dir: &Path) -> Result<Self, Error> {
        let disk = self.world.disk.as_ref();
        disk.create_dir(dir).map_err(at("create", dir))?;
        self.durable = probe_durable_write(disk, dir).map_err(at("measure", dir))?.mode;
        Ok(self)
    }

    /// The default settings on a disk, clock and entropy of the caller's, without threads: for
    /// simulation, where one seed decides everything.
    #[must_use]
    pub fn simulated(world: World) -> Self {
        Self {
            maximum_memory: 1 << 30,
            slot_bytes: 64 << 10,
            recovery_threads: 1,
            threads: false,
            world,
            ..Self::default()
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::BadOption`] with the first impossible one.
    pub fn validate(&self) -> Result<(), Error> {
        let bad = |option, why: String| Err(Error::BadOption { option, why });
        if self.snapshots_to_keep == 0 {
            return bad("snapshots_to_keep", "must be at least 1".into());
        }
        if self.recovery_threads == 0 {
            return bad("recovery_threads", "must be at least 1".into());
        }
        let slot = self.slot_bytes;
        if !slot.is_power_of_two() || !(64 << 10..=1 << 30).contains(&slot) {
            let why = format!("{slot} is not a power of two between 64 KiB and 1 GiB");
            return bad("slot_bytes", why);
        }
        if self.maximum_memory < 8 << 20 {
            let why = format!("{} bytes are too few; at least 8 MiB", self.maximum_memory);
            return bad("maximum_memory", why);
        }
        if self.snapshot_trigger_size < 4096 {
            return bad("snapshot_trigger_size", "must be at least 4096 bytes".into());
        }
        if self.stuck_after.is_zero() {
            return bad("stuck_after", "must not be 0".into());
        }
        if self.snapshot_bytes_per_s == 0 {
            return bad("snapshot_bytes_per_s", "must not be 0".into());
        }
        Ok(())
    }
}
