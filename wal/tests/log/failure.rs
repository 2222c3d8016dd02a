//! Errors of the device end a log, once and for good. Rows D18, D20, D36.

use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::{Device, DurableMode, LogError};

use crate::harness::*;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn batching(disk: &SimDisk) -> Device {
    let mut wanted = options();
    wanted.durable = DurableMode::BatchFlush;
    Device::open(world(disk, 1), &dir(), wanted).expect("opens")
}

/// Promise (D18): a flush that fails once ends every log of the device; no second flush is tried,
/// all waiters get the same error, and what was acknowledged before comes back.
#[test]
fn d18_a_failed_flush_is_final() {
    for nth in 0..6 {
        let disk = SimDisk::new(nth);
        let device = batching(&disk);
        let logs = [create(&device, 0), create(&device, 1)];
        disk.fail(Fault::on(OpKind::Flush, nth, Effect::Error(EIO)));
        let mut durable = 0;
        let error = loop {
            append(&logs[1], durable, 50);
            match logs[0].wait_durable(append(&logs[0], durable, 50)) {
                Ok(_) => durable += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(durable, nth);
        assert!(matches!(error, LogError::Flush { .. }), "{error}");
        assert!(error.to_string().contains("wal.arena"), "{error}");
        let before = disk.operations();
        for log in &logs {
            let again = try_append(log, &entry(0, 8)).expect_err("the log has ended");
            assert!(matches!(again, LogError::Flush { .. }));
            assert!(log.flush().is_err());
        }
        device.turn_until_idle();
        assert_eq!(disk.operations(), before, "nothing is tried again");
        drop((logs, device));
        let entries = read(&open(&disk.crash(nth), 2), 0).expect("no damage").entries;
        check_prefix(&entries);
        assert!(entries.len() as u64 >= durable);
    }
}

/// Promise (D18): what a flush that failed left in a cache only, where the next process still reads
/// it, is durable once that process has opened the log: it is written again, since no flush would.
#[test]
fn d18_what_is_read_after_a_failed_flush_is_written_again() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let device = batching(&disk);
        let log = create(&device, 0);
        // Also over the end of a slot.
        commit(&log, 0..seed % 20, 4000);
        disk.fail(Fault::on(OpKind::Flush, seed % 2, Effect::Error(EIO)));
        for n in seed % 20..seed % 20 + 3 {
            let appended = try_append(&log, &entry(n, 4000));
            if appended.and_then(|position| log.wait_durable(position)).is_err() {
                break;
            }
        }
        drop((log, device));
        disk.heal();
        let disk = disk.restart();
        let found = read(&open(&disk, 2), 0).expect("the process was killed, no power lost");
        let entries = found.entries.clone();
        let end = found.recovered.end;
        drop(reopen(found));
        let disk = disk.crash(seed);
        let again = read(&open(&disk, 3), 0).expect("no damage");
        assert_eq!(again.entries, entries, "seed {seed}, up to {end}");
    }
}

/// Promise (D18): an arena whose growth was not flushed does not end within a slot that the next
/// process uses.
#[test]
fn d18_a_length_after_a_failed_flush_is_settled() {
    for seed in 0..400 {
        let disk = SimDisk::new(seed);
        let device = batching(&disk);
        let log = create(&device, 0);
        disk.fail(Fault::on(OpKind::Flush, seed % 40, Effect::Error(EIO)));
        let fails = |n: &u64| {
            let appended = try_append(&log, &entry(*n, 4000));
            appended.and_then(|position| log.wait_durable(position)).is_err()
        };
        // That of a growth fails no entry.
        let _failed = (0..60).find(fails);
        drop((log, device));
        disk.heal();
        let disk = disk.restart();
        let device = open(&disk, 2);
        let found = read(&device, 0).expect("the process was killed, no power lost");
        let begin = found.entries.len() as u64;
        let log = reopen(found);
        // To an end in each place of a slot.
        let entries = begin + 1 + seed / 40;
        commit(&log, begin..entries, 4000);
        drop((log, device));
        let disk = disk.crash(seed);
        let again = read(&open(&disk, 3), 0).expect("no damage");
        assert_eq!(again.entries.len() as u64, entries, "seed {seed}");
        check_prefix(&again.entries);
    }
}

/// Promise (D20): a write that fails or is short ends its log and no other; recovery cuts what it
/// left.
#[test]
fn d20_a_failed_write_ends_one_log() {
    for effect in [Effect::Error(EIO), Effect::Short(700), Effect::Error(ENOSPC)] {
        let disk = SimDisk::new(1);
        let device = open(&disk, 1);
        let (bad, good) = (create(&device, 0), create(&device, 1));
        commit(&bad, 0..3, 3000);
        commit(&good, 0..3, 3000);
        disk.fail(Fault::on(OpKind::Write, 0, effect));
        let error = bad.wait_durable(append(&bad, 3, 3000)).expect_err("the write failed");
        assert!(matches!(error, LogError::Write { .. }), "{error}");
        assert!(try_append(&bad, &entry(4, 8)).is_err());
        commit(&good, 3..6, 3000);
        drop((bad, good, device));
        let device = open(&disk.crash(7), 2);
        let first = read(&device, 0).expect("no damage");
        assert!(first.entries.len() >= 3);
        check_prefix(&first.entries);
        assert_eq!(read(&device, 1).expect("no damage").entries.len(), 6);
        let log = reopen(first);
        commit(&log, 4..6, 3000);
    }
}

/// Promise (D24): a growth that fails leaves the arena as it was, and a later one succeeds.
#[test]
fn d24_a_failed_growth_leaves_no_trace() {
    for effect in [Effect::Error(ENOSPC), Effect::Error(EIO)] {
        let disk = SimDisk::new(1);
        let device = open(&disk, 1);
        let log = create(&device, 0);
        disk.fail(Fault::on(OpKind::Write, 0, effect));
        let full = log.reserve(200_000).expect_err("no growth, no space");
        assert!(full.needed > full.available);
        commit(&log, 0..8, 60_000);
        drop((log, device));
        let entries = read(&open(&disk.crash(7), 2), 0).expect("no damage").entries;
        assert_eq!(entries.len(), 8);
    }
}

/// Promise (D38): a second opening of the directory is refused while the first lives.
#[test]
fn d38_a_directory_has_one_device() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let error = try_open(&disk, 2).expect_err("in use");
    assert!(matches!(error, resprout_wal::OpenError::InUse { .. }), "{error}");
    drop(device);
    open(&disk, 3);
}

/// Promise: a panic while appending ends the log for the others, who learn of it.
#[test]
fn p16_a_panic_while_appending_is_told() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let position = append(&log, 0, 10);
    let held = log.clone();
    let panicked = std::thread::spawn(move || {
        let _appender = held.lock().expect("runs");
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    let error = log.wait_durable(position).expect_err("unknown");
    assert!(matches!(error, LogError::Interrupted), "{error}");
    drop(device);
}
