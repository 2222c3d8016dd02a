//! Giving space back behind snapshots, keeping what is still needed, reading while writing. Rows D26,
//! D35.

use resprout_wal::disk::sim::{Effect, Fault, SimDisk};
use resprout_wal::{Anchor, Damage, Evidence, History, Lsn, ReadError, SECTOR, Term};

use crate::harness::*;

const CAPACITY: u64 = (64 << 10) - 3 * SECTOR as u64;

/// Promise: only whole slots below the position go, and their space is used again.
#[test]
fn released_slots_are_used_again() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    for round in 0..20 {
        let end = commit(&log, round * 15..(round + 1) * 15, 3000);
        let first = log.release_before(end).expect("released");
        // A full last slot stays: it is what the log goes on from.
        assert_eq!(first.0, (end.0 - 1) / CAPACITY * CAPACITY);
    }
    assert!(device.slots_and_free().0 <= 4, "{:?}", device.slots_and_free());
    let first = log.first_lsn();
    drop((log, device));
    let device = open(&disk.crash(1), 2);
    assert_eq!(device.found()[0].first_lsn, first);
    assert!(read(&device, 0).is_err(), "what was released is not read as if it were there");
    assert!(!read_from(&device, 0, first).expect("no damage").entries.is_empty());
}

/// Promise: a log whose first slot begins in the middle of a group is read from any boundary in
/// that slot, and from nowhere inside the group.
#[test]
fn a_log_may_begin_in_the_middle_of_a_group() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    commit(&log, 0..3, 3000);
    let behind = commit(&log, 3..4, 80_000);
    commit(&log, 4..6, 3000);
    let first = log.release_before(behind).expect("released");
    assert!(first > Lsn::ZERO && first < behind, "{first} lies inside the group before {behind}");
    log.begin_term(Term(2)).and_then(|at| log.wait_durable(at)).expect("term 2");
    drop((log, device));
    let device = open(&disk.crash(1), 2);
    for inside in [first, first.advanced(SECTOR as u64)] {
        assert!(read_from(&device, 0, inside).is_err(), "{inside} is inside a group");
    }
    let read = read_from(&device, 0, behind).expect("no damage");
    assert_eq!(read.entries.iter().map(|bytes| number(bytes)).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(read.recovered.term, Term(2));
}

/// Promise (D35): a hold keeps the log from its position on until it is dropped or moved.
#[test]
fn d35_holds_keep_the_log() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let end = commit(&log, 0..60, 3000);
    let hold = log.hold(Lsn(CAPACITY + 5 * SECTOR as u64)).expect("it is there");
    assert_eq!(log.release_before(end).expect("released"), Lsn(CAPACITY));
    hold.advance(Lsn(3 * CAPACITY));
    assert_eq!(log.release_before(end).expect("released"), Lsn(3 * CAPACITY));
    drop(hold);
    assert_eq!(log.release_before(end).expect("released"), Lsn(4 * CAPACITY));
    let error = log.hold(Lsn::ZERO).expect_err("gone");
    assert!(matches!(error, ReadError::Released { first, .. } if first == Lsn(4 * CAPACITY)));
}

/// Promise: a reader gets each frame, verbatim and in order, while more is appended.
#[test]
fn a_reader_follows_the_writer() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let mut reader = log.read_from(Lsn::ZERO).expect("starts");
    let mut seen = 0;
    let mut chain = 0;
    for n in 0..40 {
        commit(&log, n..n + 1, if n % 9 == 0 { 60_000 } else { 2000 });
        while let Some(frame) = reader.next().expect("good frames") {
            assert_eq!(frame.header.chain, chain, "frames follow each other");
            chain = frame.header.next_chain();
            for bytes in frame.entries().into_iter().flatten() {
                assert_eq!(bytes, entry(number(bytes), bytes.len()));
                seen += 1;
            }
        }
        assert_eq!(reader.position(), log.positions().written);
    }
    assert!(seen >= 35, "{seen}");
}

/// Promise: a reader starts where a frame begins, at any that is retained, and nowhere else.
#[test]
fn a_reader_starts_at_a_frame() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    commit(&log, 0..10, 6000);
    let mut reader = log.read_from(Lsn(2 * SECTOR as u64)).expect("held");
    let frame = reader.next().expect("good").expect("there");
    assert_eq!(number(frame.entries().expect("whole").next().expect("one")), 1);
    for wrong in [SECTOR as u64, 5, 3 * SECTOR as u64] {
        let error = log.read_from(Lsn(wrong)).expect("held").next().expect_err("no frame");
        assert!(matches!(error, ReadError::NotAFrame { .. }), "{error}");
    }
    let end = log.positions().written;
    assert!(log.read_from(end).expect("held").next().expect("good").is_none());
}

/// Promise (D26): damage in the log never reaches a reader, who would ship it. Wherever a bit of a
/// frame flips, the frames before it are given as they were written, and at the frame it is said
/// that it is damaged, and where.
#[test]
fn d26_a_reader_never_hands_on_damage() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let end = commit(&log, 0..20, 3000);
    for n in 0..20 {
        // The header's bytes one by one, the payload's with some distance.
        for at in (0..64).chain((64..3068).step_by(97)) {
            let lsn = Lsn(n * SECTOR as u64);
            let offset = offset_of(&device, lsn);
            disk.flip(&arena(), offset + at, (at % 8) as u8);
            let mut reader = log.read_from(Lsn::ZERO).expect("held");
            let mut read = 0;
            let error = loop {
                match reader.next() {
                    Ok(frame) => {
                        let frame = frame.expect("the end came without damage");
                        let bytes = frame.entries().expect("whole").next().expect("one");
                        assert_eq!(bytes, entry(read, 3000), "frame {read}, byte {at} of {n}");
                        read += 1;
                    }
                    Err(error) => break error,
                }
            };
            assert_eq!(read, n, "byte {at}: {error}");
            match error {
                ReadError::Damage(Damage::Frame { offset: found, lsn: at_lsn, .. }) => {
                    assert_eq!((found, at_lsn), (offset, lsn));
                }
                // The very first position was the caller's idea.
                ReadError::NotAFrame { lsn: at_lsn, .. } if n == 0 => assert_eq!(at_lsn, lsn),
                other => panic!("byte {at} of frame {n}: {other}"),
            }
            disk.flip(&arena(), offset + at, (at % 8) as u8);
        }
    }
    let mut reader = log.read_from(Lsn::ZERO).expect("held");
    while reader.next().expect("whole again").is_some() {}
    assert_eq!(reader.position(), end);
}

/// Promise: a reader whose place was cut away is told that no frame begins there, which is no
/// damage.
#[test]
fn a_reader_behind_a_cut_meets_no_damage() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let to = commit(&log, 0..5, 3000);
    commit(&log, 5..8, 3000);
    let mut reader = log.read_from(Lsn::ZERO).expect("held");
    while reader.next().expect("good frames").is_some() {}
    let begun = log.cut(to, Term(2)).expect("cut");
    log.wait_durable(begun).expect("term 2");
    assert!(reader.next().expect("nothing is written there").is_none());
    commit(&log, 5..6, 30_000);
    let error = reader.next().expect_err("inside of another frame");
    assert!(matches!(error, ReadError::NotAFrame { .. }), "{error}");
}

/// Promise (P03): power fails at every operation of a release; what remains is a whole tail.
#[test]
fn p03_crash_inside_a_release() {
    for (k, seed) in (0..20).flat_map(|k| (0..20).map(move |seed| (k, seed))) {
        let disk = SimDisk::new(seed);
        let device = open(&disk, 1);
        let log = create(&device, 0);
        let end = commit(&log, 0..60, 3000);
        disk.fail(Fault::at(k, Effect::CrashDuring));
        let released = log.release_before(end);
        drop((log, device));
        let disk = disk.crash(k);
        disk.heal();
        let device = open(&disk, 2);
        let first = device.found()[0].first_lsn;
        let read = read_from(&device, 0, first).expect("no damage");
        assert_eq!(read.recovered.end, end);
        assert_eq!(released.is_ok(), k >= 16, "operation {k}");
    }
}

/// Promise: behind a snapshot a log is read from where the snapshot stands, so that frames before it,
/// even damaged ones, cost nothing; but only if the frame there proves that both are of one history.
#[test]
fn a_log_is_read_from_behind_a_snapshot() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let lsn = commit(&log, 0..5, 100);
    commit(&log, 5..9, 100);
    drop((log, device));
    let device = open(&disk, 2);
    let mut first = device.recover(identity(0), lsn, Evidence::default()).expect("a chain");
    while first.next().expect("good frames").is_some() {}
    let chain = first.chain_at_from().expect("passed");
    let history = first.finish().expect("a good log").history;
    drop(device);

    let offset = offset_of(&open(&disk, 3), Lsn::ZERO);
    disk.flip(&arena(), offset + 100, 3);
    let device = open(&disk, 4);
    let anchor = Anchor { lsn, chain, history };
    let mut recovery =
        device.recover_behind(identity(0), &anchor, Evidence::default()).expect("one");
    let mut numbers = Vec::new();
    while let Some(batch) = recovery.next().expect("what lies before is not read") {
        numbers.extend(batch.entries().map(|entry| number(entry.bytes)));
    }
    assert_eq!(numbers, [5, 6, 7, 8]);
    assert_eq!(recovery.chain_at_from(), Some(chain));
    assert_eq!(recovery.finish().expect("a good log").history, anchor.history);

    let foreign = Anchor { chain: chain ^ 1, ..anchor };
    let mut recovery =
        device.recover_behind(identity(0), &foreign, Evidence::default()).expect("one");
    recovery.next().expect_err("begins at the slot's base, and finds the flip");
}

/// Promise: at the end of a log, where no frame can prove anything, the chain is computed.
#[test]
fn a_snapshot_at_the_end_of_a_log_is_compared() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let lsn = commit(&log, 0..5, 100);
    drop((log, device));
    let device = open(&disk, 2);
    let history = History::starting(Term(1));
    let anchor = Anchor { lsn, chain: 1, history };
    let mut recovery =
        device.recover_behind(identity(0), &anchor, Evidence::default()).expect("one");
    assert!(recovery.next().expect("good frames").is_none());
    assert_ne!(recovery.chain_at_from().expect("passed"), anchor.chain);
}

/// Promise: more slots than are looked at together are all found.
#[test]
fn every_slot_of_a_large_arena_is_looked_at() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let slots = 70;
    while log.positions().end.0 < slots * device.geometry().capacity() {
        let n = log.positions().end.0;
        log.wait_durable(append(&log, n, 60_000)).expect("a durable entry");
    }
    let end = log.positions().end;
    drop((log, device));
    let read = read(&open(&disk.restart(), 2), 0).expect("whole");
    assert_eq!(read.recovered.end, end);
}
