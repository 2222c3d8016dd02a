//! Giving space back behind snapshots, keeping what is still needed, reading while writing. Rows D26,
//! D35.

use resprout_wal::disk::sim::{Effect, Fault, SimDisk};
use resprout_wal::{Damage, Lsn, ReadError, SECTOR, Term};

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
