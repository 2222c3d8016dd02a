//! How a device is opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::disk::{Disk, DurableMode};
use crate::world::{Clock, Entropy};

/// Everything outside the log's rules.
#[derive(Clone, Debug)]
pub struct World {
    /// Storage.
    pub disk: Arc<dyn Disk>,
    /// Time, for idle marks.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for nonces.
    pub entropy: Arc<dyn Entropy>,
}

/// Who drives the device. The code that does is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverMode {
    /// A thread of the device's own; a caller that blocks helps when the thread is idle, which
    /// saves it two hand-offs.
    Thread,
    /// Nobody but the callers that wait, and [`crate::Device::turn`]. Deterministic if there is
    /// one caller.
    Inline,
}

/// How a device is opened. `Options::new` gives the usual values.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster, for a new arena and to recognise a foreign one.
    pub cluster: u128,
    /// Names the data directory in a new arena.
    pub directory: u64,
    /// Bytes of a slot in a new arena: a power of two from 64 KiB to 1 GiB.
    pub slot_bytes: u64,
    /// Most slots of the arena.
    pub slots_max: u32,
    /// Slots kept free ahead of need.
    pub slots_ahead: u32,
    /// Who drives.
    pub driver: DriverMode,
    /// How writes are made durable.
    pub durable: DurableMode,
    /// Writes in flight on the device.
    pub queue_depth: u32,
    /// Writes in flight of one log.
    pub log_depth: usize,
    /// A group of that many bytes is sealed although the device is busy.
    pub seal_bytes: usize,
    /// Most bytes of a log that are appended and not durable, before reserving waits.
    pub backlog_bytes: u64,
    /// A log without appends for this long gets a durable mark (catalogue row D03).
    pub idle: Duration,
}

impl Options {
    /// The usual values.
    #[must_use]
    pub fn new(cluster: u128, directory: u64) -> Self {
        Self {
            cluster,
            directory,
            slot_bytes: 16 << 20,
            slots_max: u32::MAX,
            slots_ahead: 2,
            driver: DriverMode::Thread,
            durable: DurableMode::EachWrite,
            queue_depth: 32,
            log_depth: 4,
            seal_bytes: 1 << 20,
            backlog_bytes: 64 << 20,
            idle: Duration::from_millis(20),
        }
    }

    /// For tests: small slots, driven by the callers.
    #[must_use]
    pub fn small(cluster: u128) -> Self {
        Self {
            slot_bytes: 64 << 10,
            slots_ahead: 0,
            driver: DriverMode::Inline,
            ..Self::new(cluster, 1)
        }
    }
}

/// What a device has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times that the device was made to put data on the medium: flushes, and durable writes.
    pub flushes: u64,
    /// Frames written.
    pub frames: u64,
    /// Groups written.
    pub groups: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes of frames written, padding counted.
    pub bytes: u64,
    /// Marks written.
    pub marks: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counting {
    pub(crate) flushes: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) marks: AtomicU64,
}

impl Counting {
    pub(crate) fn read(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            flushes: read(&self.flushes),
            frames: read(&self.frames),
            groups: read(&self.groups),
            entries: read(&self.entries),
            bytes: read(&self.bytes),
            marks: read(&self.marks),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
