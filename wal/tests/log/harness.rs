//! A log on a simulated disk, and entries whose content follows from their number.

use std::path::PathBuf;
use std::sync::Arc;

use resprout_wal::disk::sim::SimDisk;
use resprout_wal::world::{Rng, SimClock, SimEntropy};
use resprout_wal::{
    ARENA_FILE, Damage, Device, Evidence, Log, LogError, LogIdentity, Lsn, NoObserver, OpenError,
    Options, Position, Recovered, Term, World,
};

pub(crate) const CLUSTER: u128 = 0x00c1_0573;

pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/data")
}

pub(crate) fn arena() -> PathBuf {
    dir().join(ARENA_FILE)
}

pub(crate) fn identity(partition: u32) -> LogIdentity {
    LogIdentity { cluster: CLUSTER, database: 1, partition, instance: 77 + u64::from(partition) }
}

pub(crate) fn world(disk: &SimDisk, seed: u64) -> World {
    World {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::default()),
        entropy: Arc::new(SimEntropy::new(seed)),
    }
}

pub(crate) fn try_open(disk: &SimDisk, seed: u64) -> Result<Device, OpenError> {
    Device::open(world(disk, seed), &dir(), options())
}

pub(crate) fn options() -> Options {
    let mut options = Options::small(CLUSTER);
    options.idle = std::time::Duration::ZERO;
    options
}

/// `seed` must differ between openings of one disk, as a real random source would.
pub(crate) fn open(disk: &SimDisk, seed: u64) -> Device {
    try_open(disk, seed).expect("the arena opens")
}

pub(crate) fn create(device: &Device, partition: u32) -> Log {
    device.create(identity(partition), Term(1), Arc::new(NoObserver)).expect("a new log")
}

/// Entry number `n`: its number, then bytes that follow from it.
pub(crate) fn entry(n: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(n);
    let mut bytes: Vec<u8> = n.to_le_bytes().to_vec();
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(len.max(8));
    bytes
}

pub(crate) fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("an entry starts with its number"))
}

pub(crate) fn try_append(log: &Log, bytes: &[u8]) -> Result<Position, LogError> {
    let space = log.reserve(bytes.len())?;
    log.lock()?.append(bytes, space)
}

pub(crate) fn append(log: &Log, n: u64, len: usize) -> Position {
    try_append(log, &entry(n, len)).expect("an append")
}

/// Appends entries `numbers`, each durable before the next.
pub(crate) fn commit(log: &Log, numbers: std::ops::Range<u64>, len: usize) -> Lsn {
    let mut end = log.positions().end;
    for n in numbers {
        end = log.wait_durable(append(log, n, len)).expect("a durable entry");
    }
    end
}

/// Everything that a log holds.
pub(crate) struct Read {
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) recovered: Recovered,
}

pub(crate) fn read(device: &Device, partition: u32) -> Result<Read, Damage> {
    read_from(device, partition, Lsn::ZERO)
}

pub(crate) fn read_from(device: &Device, partition: u32, from: Lsn) -> Result<Read, Damage> {
    let mut recovery = device.recover(identity(partition), from, Evidence::default())?;
    let mut entries = Vec::new();
    while let Some(batch) = recovery.next()? {
        entries.extend(batch.entries().map(|entry| entry.bytes.to_vec()));
    }
    Ok(Read { entries, recovered: recovery.finish()? })
}

pub(crate) fn reopen(read: Read) -> Log {
    read.recovered.open(Arc::new(NoObserver)).expect("a recovered log opens")
}

/// Checks that `entries` are numbers `0..` in order with the content of their number.
pub(crate) fn check_prefix(entries: &[Vec<u8>]) {
    for (n, bytes) in entries.iter().enumerate() {
        assert_eq!(*bytes, entry(n as u64, bytes.len()), "entry {n}");
    }
}

/// Where a frame of LSN `lsn` lies if the log has slots 0, 1, 2 … in order.
pub(crate) fn offset_of(device: &Device, lsn: Lsn) -> u64 {
    let geometry = device.geometry();
    let slot = (lsn.0 / geometry.capacity()) as u32;
    geometry.frame_offset(slot, Lsn(u64::from(slot) * geometry.capacity()), lsn)
}
