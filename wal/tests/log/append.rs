//! Appending, group commit, waiting, and the same entries back.

use std::sync::{Arc, Mutex};

use resprout_wal::disk::sim::SimDisk;
use resprout_wal::{
    Device, DurableMode, LogError, Lsn, Observer, Options, Position, SECTOR, Tail, Term,
};

use crate::harness::*;

/// Promise: what was durable is there after a clean close, in order, and the end is clean.
#[test]
fn entries_come_back_after_a_clean_close() {
    for mode in [DurableMode::EachWrite, DurableMode::BatchFlush] {
        let disk = SimDisk::new(1);
        let mut wanted = options();
        wanted.durable = mode;
        let device = Device::open(world(&disk, 1), &dir(), wanted).expect("opens");
        let log = create(&device, 0);
        let end = commit(&log, 0..300, 500);
        assert_eq!(log.close_clean().expect("closes"), end);
        drop((log, device));
        let device = open(&disk, 2);
        let read = read(&device, 0).expect("no damage");
        assert_eq!(read.entries.len(), 300);
        check_prefix(&read.entries);
        assert_eq!((read.recovered.end, read.recovered.tail), (end, Tail::Clean));
        assert!(read.recovered.clean);
        assert_eq!(read.recovered.term, Term(1));
    }
}

/// Promise: entries longer than a frame, and longer than a slot, come back whole.
#[test]
fn long_entries_span_frames_and_slots() {
    let disk = SimDisk::new(2);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let lens = [10, 70_000, 5, 200_000, SECTOR, 0, 53_000];
    for (n, len) in lens.iter().enumerate() {
        let position = append(&log, n as u64, *len);
        log.wait_durable(position).expect("durable");
    }
    drop((log, device));
    let device = open(&disk.crash(3), 2);
    let read = read(&device, 0).expect("no damage");
    assert_eq!(read.entries.len(), lens.len());
    check_prefix(&read.entries);
    assert!(!read.recovered.clean);
}

/// Promise: entries appended while a write is in flight share the next one.
#[test]
fn entries_gather_in_groups() {
    let disk = SimDisk::new(3);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let last: Vec<Position> = (0..100).map(|n| append(&log, n, 100)).collect();
    log.wait_durable(last[99]).expect("durable");
    assert_eq!(device.counters().groups, 1);
    assert_eq!(device.counters().entries, 100);
    assert_eq!(last[0], last[99]);
}

/// Promise: several logs share one flush when batches are flushed.
#[test]
fn logs_share_a_flush() {
    let disk = SimDisk::new(4);
    let mut wanted = options();
    wanted.durable = DurableMode::BatchFlush;
    let device = Device::open(world(&disk, 1), &dir(), wanted).expect("opens");
    let logs: Vec<_> = (0..8).map(|partition| create(&device, partition)).collect();
    let before = device.counters().flushes;
    for log in &logs {
        append(log, 0, 100);
    }
    device.turn_until_idle();
    assert_eq!(device.counters().flushes - before, 1);
    assert!(logs.iter().all(|log| log.durable_generation() == 1));
}

#[derive(Default)]
struct Told(Mutex<Vec<(&'static str, u64, Lsn)>>);

impl Observer for Told {
    fn sealed(&self, generation: u64, end: Lsn, _frames: &[resprout_wal::Frame]) {
        self.0.lock().expect("not poisoned").push(("sealed", generation, end));
    }
    fn durable(&self, generation: u64, end: Lsn) {
        self.0.lock().expect("not poisoned").push(("durable", generation, end));
    }
    fn failed(&self, _error: &LogError) {
        self.0.lock().expect("not poisoned").push(("failed", 0, Lsn::ZERO));
    }
}

/// Promise: the observer hears of each group once, sealed before durable, in order of LSN.
#[test]
fn the_observer_hears_in_order() {
    let disk = SimDisk::new(5);
    let device = open(&disk, 1);
    let told = Arc::new(Told::default());
    let log = device.create(identity(0), Term(1), told.clone()).expect("creates");
    let end = commit(&log, 0..50, 3000);
    let told = told.0.lock().expect("not poisoned").clone();
    assert_eq!(told.len(), 100);
    for (at, pair) in told.chunks(2).enumerate() {
        let generation = at as u64 + 1;
        assert_eq!((pair[0].0, pair[0].1), ("sealed", generation));
        assert_eq!((pair[1].0, pair[1].1), ("durable", generation));
        assert_eq!(pair[0].2, pair[1].2);
    }
    assert_eq!(told[99].2, end);
}

/// Promise: a term begun is durable with its position and seen after a crash; the group before
/// stays in its own term.
#[test]
fn a_term_begins_with_a_frame() {
    let disk = SimDisk::new(6);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let start = commit(&log, 0..3, 10);
    let position = log.begin_term(Term(7)).expect("begins");
    log.wait_durable(position).expect("durable");
    drop((log, device));
    let device = open(&disk.crash(1), 2);
    let read = read(&device, 0).expect("no damage");
    assert_eq!(read.recovered.term, Term(7));
    let entries = read.recovered.history.entries().to_vec();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].start, start);
}

/// Promise: a future of a durable position resolves without a thread, also when polled late.
#[test]
fn futures_resolve_inline() {
    let disk = SimDisk::new(7);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let position = append(&log, 0, 10);
    let mut future = std::pin::pin!(log.durable(position));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(outcome) = future.as_mut().poll(&mut context) else {
        panic!("polling drives the device inline");
    };
    assert_eq!(outcome.expect("durable"), log.positions().durable);
}

/// Promise: one seed, one run: the same operations reach the disk in the same order.
#[test]
fn the_same_seed_gives_the_same_operations() {
    let run = || {
        let disk = SimDisk::new(8);
        let device = open(&disk, 1);
        let logs: Vec<_> = (0..3).map(|partition| create(&device, partition)).collect();
        for n in 0..200 {
            let position = append(&logs[n as usize % 3], n, 100 + (n as usize * 37) % 9000);
            if n % 7 == 0 {
                logs[n as usize % 3].wait_durable(position).expect("durable");
            }
        }
        device.turn_until_idle();
        device.idle();
        disk.log()
    };
    assert_eq!(run(), run());
}

/// Promise (D21): without space a reservation is refused, nothing changes, and it succeeds by
/// itself when there is space again.
#[test]
fn d21_full_is_refused_and_heals() {
    let disk = SimDisk::new(9);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    disk.set_capacity(Some(192 << 10));
    let mut n = 0;
    let full = loop {
        match log.reserve(20_000) {
            Ok(space) => {
                let position = log.lock().expect("runs").append(&entry(n, 20_000), space);
                log.wait_durable(position.expect("appends")).expect("durable");
                n += 1;
            }
            Err(full) => break full,
        }
    };
    assert!(full.needed > full.available, "{full}");
    assert!(full.reason.is_some(), "{full}");
    let before = log.positions();
    commit(&log, n..n + 1, 0);
    assert!(log.positions().end > before.end, "a small entry still fits");
    disk.set_capacity(None);
    commit(&log, n + 1..n + 10, 20_000);
    drop((log, device));
    let read = read(&open(&disk.crash(1), 2), 0).expect("no damage");
    assert_eq!(read.entries.len() as u64, n + 10);
    check_prefix(&read.entries);
}

/// Promise: a reservation not used gives its space back.
#[test]
fn reservations_are_given_back() {
    let disk = SimDisk::new(10);
    let mut wanted: Options = options();
    wanted.slots_max = 4;
    let device = Device::open(world(&disk, 1), &dir(), wanted).expect("opens");
    let log = create(&device, 0);
    for _ in 0..100 {
        let held = log.reserve(150_000).expect("space for one");
        log.reserve(100_000).expect_err("no space for another");
        drop(held);
    }
    commit(&log, 0..1, 150_000);
}

/// Promise: appending without waiting is bounded: reserving waits for the device.
#[test]
fn the_backlog_is_bounded() {
    let disk = SimDisk::new(11);
    let mut wanted: Options = options();
    (wanted.backlog_bytes, wanted.seal_bytes) = (300_000, 50_000);
    let device = Device::open(world(&disk, 1), &dir(), wanted).expect("opens");
    let log = create(&device, 0);
    for n in 0..200 {
        append(&log, n, 20_000);
        let positions = log.positions();
        assert!(positions.end.since(positions.durable) < 400_000, "{positions:?}");
    }
    assert!(log.positions().durable > Lsn::ZERO);
}

/// Promise: a lone write takes one step to the medium, several share one flush.
#[test]
fn a_lone_write_needs_no_flush() {
    let disk = SimDisk::new(12);
    let mut wanted = options();
    wanted.durable = DurableMode::BatchFlush;
    let device = Device::open(world(&disk, 1), &dir(), wanted).expect("opens");
    let log = create(&device, 0);
    let before = disk.operations();
    commit(&log, 0..1, 100);
    assert_eq!(disk.operations() - before, 1);
}

/// Promise (P07, rule 14): a log that was opened again is no longer clean, also if nothing that
/// was appended since survives: its positions may have been seen elsewhere.
#[test]
fn p07_a_reopened_log_is_not_clean() {
    let disk = SimDisk::new(13);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let end = commit(&log, 0..3, 100);
    log.close_clean().expect("closes");
    let log = reopen(read(&device, 0).expect("found again in the same process"));
    append(&log, 3, 100);
    drop((log, device));
    let read = read(&open(&disk.crash(1), 2), 0).expect("no damage");
    assert_eq!((read.recovered.end, read.recovered.clean), (end, false));
}

/// Promise: every flush, and every write that is durable by itself, is timed once.
#[test]
fn flushes_are_timed() {
    for mode in [DurableMode::EachWrite, DurableMode::BatchFlush] {
        let disk = SimDisk::new(1);
        let mut options = options();
        options.durable = mode;
        let device = Device::open(world(&disk, 1), &dir(), options).expect("opens");
        let logs = [create(&device, 0), create(&device, 1)];
        // What the logs did to begin with was not all done through the queue.
        let before = (device.flush_times().count(), device.counters().flushes);
        for n in 0..10 {
            let positions = logs.each_ref().map(|log| append(log, n, 3000));
            for (log, position) in logs.iter().zip(positions) {
                log.wait_durable(position).expect("durable");
            }
        }
        let timed = device.flush_times().count() - before.0;
        assert_eq!(timed, device.counters().flushes - before.1, "{mode:?}");
        assert!(timed >= 10 && device.waiting().is_none(), "{mode:?}");
    }
}
