//! A store on a simulated disk.

use std::path::PathBuf;
use std::sync::Arc;

use resprout_consensus::store::{Store, StoreError, StoreOptions};
use resprout_consensus::{Recovered, StoreId, Write, WriteId};
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::world::{SimClock, SimEntropy};
use resprout_wal::{Device, OpenError, Options, World};

pub(crate) const CLUSTER: u128 = 0x00c1_0573;
pub(crate) const STORE: StoreId = StoreId(0xfeed);

pub(crate) fn raft_dir() -> PathBuf {
    PathBuf::from("/data/raft")
}

pub(crate) fn options() -> StoreOptions {
    StoreOptions { cluster: CLUSTER, store: STORE, dir: raft_dir() }
}

pub(crate) fn world(disk: &SimDisk, seed: u64) -> World {
    World {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::default()),
        entropy: Arc::new(SimEntropy::new(seed)),
    }
}

/// `seed` must differ between openings of one disk, as a real random source would.
pub(crate) fn try_device(disk: &SimDisk, seed: u64) -> Result<Device, OpenError> {
    Device::open(world(disk, seed), "/data".as_ref(), Options::small(CLUSTER))
}

pub(crate) fn device(disk: &SimDisk, seed: u64) -> Device {
    try_device(disk, seed).expect("the arena opens")
}

pub(crate) fn try_create(
    device: &Device,
    disk: &SimDisk,
    first: &Recovered,
) -> Result<Store, StoreError> {
    Store::create(device, Arc::new(disk.clone()), options(), first)
}

pub(crate) fn create(device: &Device, disk: &SimDisk) -> Store {
    try_create(device, disk, &Recovered::default()).expect("a new store")
}

pub(crate) fn try_open(device: &Device, disk: &SimDisk) -> Result<(Store, Recovered), StoreError> {
    Store::open(device, Arc::new(disk.clone()), options())
}

pub(crate) fn open(device: &Device, disk: &SimDisk) -> (Store, Recovered) {
    try_open(device, disk).expect("the store opens")
}

/// Writes, and drives the device until all is durable.
pub(crate) fn commit(device: &Device, store: &mut Store, writes: Vec<Write>) {
    let last = writes.last().expect("something to write").id;
    store.write(writes).expect("taken");
    device.turn_until_idle();
    assert_eq!(durable(store), last);
}

pub(crate) fn durable(store: &Store) -> WriteId {
    store.progress().borrow().durable
}
