//! The log on a real disk, with its own threads and many clients.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use resprout_wal::disk::{Disk, PlainDisk, open_default};
use resprout_wal::world::{OsEntropy, SystemClock};
use resprout_wal::{
    Device, DriverMode, DurableMode, Evidence, Log, LogError, LogIdentity, Lsn, NoObserver,
    Observer, Options, Term, World,
};

fn identity(partition: u32) -> LogIdentity {
    LogIdentity { cluster: 5, database: 1, partition, instance: 9 }
}

fn open(disk: Arc<dyn Disk>, dir: &Path, driver: DriverMode, durable: DurableMode) -> Device {
    let world =
        World { disk, clock: Arc::new(SystemClock::default()), entropy: Arc::new(OsEntropy) };
    let mut options = Options::new(5, 1);
    options.slot_bytes = 1 << 20;
    options.driver = driver;
    options.durable = durable;
    Device::open(world, dir, options).expect("opens")
}

#[derive(Default)]
struct Last(AtomicU64);

impl Observer for Last {
    fn sealed(&self, _generation: u64, _end: Lsn, _frames: &[resprout_wal::Frame]) {}
    fn durable(&self, _generation: u64, end: Lsn) {
        assert!(self.0.swap(end.0, Ordering::SeqCst) < end.0, "durable positions grow");
    }
    fn failed(&self, _error: &LogError) {}
}

fn append(log: &Log, client: u64, n: u64) -> resprout_wal::Position {
    let mut entry = [0; 120];
    entry[..8].copy_from_slice(&client.to_le_bytes());
    entry[8..16].copy_from_slice(&n.to_le_bytes());
    let space = log.reserve(entry.len()).expect("space");
    let mut appender = log.lock().expect("runs");
    let position = appender.append(&entry, space).expect("appends");
    if n.is_multiple_of(2) {
        appender.leave_to_waiter();
    }
    position
}

/// Each client commits `each` entries to one of the logs, and checks that the observer knew.
fn run_clients(logs: &[(Log, Arc<Last>)], clients: std::ops::Range<u64>, each: u64) {
    std::thread::scope(|scope| {
        for client in clients {
            let (log, last) = &logs[client as usize % logs.len()];
            scope.spawn(move || {
                for n in 0..each {
                    let position = append(log, client, n);
                    let end = log.wait_durable(position).expect("durable");
                    assert!(end > position.start && last.0.load(Ordering::SeqCst) >= end.0);
                }
            });
        }
    });
}

fn check(device: &Device, partition: u32, expected: u64) {
    let mut recovery =
        device.recover(identity(partition), Lsn::ZERO, Evidence::default()).expect("a chain");
    let (mut count, mut next) = (0, std::collections::BTreeMap::new());
    while let Some(batch) = recovery.next().expect("no damage") {
        for entry in batch.entries() {
            let client = u64::from_le_bytes(*entry.bytes.first_chunk().expect("eight bytes"));
            let n = u64::from_le_bytes(*entry.bytes[8..].first_chunk().expect("eight bytes"));
            assert_eq!(*next.entry(client).or_insert(0), n, "entries of one client in order");
            next.insert(client, n + 1);
            count += 1;
        }
    }
    assert_eq!(count, expected);
    assert!(!recovery.finish().expect("no damage").clean);
}

fn commit_and_recover(disk: &Arc<dyn Disk>, driver: DriverMode, durable: DurableMode) {
    let dir = tempfile::tempdir().expect("a directory");
    let device = open(disk.clone(), dir.path(), driver, durable);
    let logs: Vec<(Log, Arc<Last>)> = (0..4)
        .map(|partition| {
            let last = Arc::new(Last::default());
            let log = device.create(identity(partition), Term(1), last.clone());
            (log.expect("a new log"), last)
        })
        .collect();
    run_clients(&logs, 100..101, 50);
    run_clients(&logs, 0..16, 100);
    let counters = device.counters();
    assert_eq!(counters.entries, 50 + 1600);
    assert!(counters.groups <= counters.entries);
    drop((logs, device));
    let device = open(disk.clone(), dir.path(), driver, durable);
    std::thread::scope(|scope| {
        for partition in 0..4 {
            let device = &device;
            scope.spawn(move || check(device, partition, if partition == 0 { 450 } else { 400 }));
        }
    });
}

/// Promise: many clients, with the thread or without, by each way of making writes durable, on
/// each backend: every wait ends, in order, and every entry comes back.
#[test]
fn clients_commit_and_recover() {
    for disk in [open_default(), Arc::new(PlainDisk) as Arc<dyn Disk>] {
        for driver in [DriverMode::Thread, DriverMode::Inline] {
            for durable in [DurableMode::EachWrite, DurableMode::BatchFlush] {
                commit_and_recover(&disk, driver, durable);
            }
        }
    }
}

/// Promise: the thread writes what nobody waits for, and marks an idle log, so that its last
/// entry is guarded.
#[test]
fn the_thread_writes_and_marks_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = open_default();
    let device = open(disk, dir.path(), DriverMode::Thread, DurableMode::EachWrite);
    let log = device.create(identity(0), Term(1), Arc::new(NoObserver)).expect("a new log");
    let started = std::time::Instant::now();
    let patience = std::time::Duration::from_secs(20);
    append(&log, 0, 1);
    while log.durable_generation() < 1 || device.counters().marks < 1 {
        assert!(started.elapsed() < patience, "{:?}", device.counters());
        std::thread::yield_now();
    }
    // Also when a client drove by itself.
    log.wait_durable(append(&log, 0, 2)).expect("durable");
    while device.counters().marks < 2 {
        assert!(started.elapsed() < patience, "{:?}", device.counters());
        std::thread::yield_now();
    }
}

/// Promise: tasks are woken without a runtime.
#[test]
fn tasks_are_woken() {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let device = open(open_default(), dir.path(), DriverMode::Thread, DurableMode::EachWrite);
    let log = device.create(identity(0), Term(1), Arc::new(NoObserver)).expect("a new log");
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    for n in 0..100 {
        let mut future = std::pin::pin!(log.durable(append(&log, 0, n)));
        while future.as_mut().poll(&mut context).is_pending() {
            std::thread::park();
        }
    }
    assert_eq!(log.durable_generation(), 100);
}
