//! Taking back the end of a log, for rewinding. Rule 2, rows P03, P04.

use resprout_wal::disk::sim::{Effect, Fault, SimDisk};
use resprout_wal::{CutError, Lsn, SECTOR, Term};

use crate::harness::*;

/// Promise: after a cut the log goes on from there in a newer term, and nothing that was cut is
/// seen again.
#[test]
fn what_is_cut_is_gone() {
    for keep in [1, 13, 14, 30] {
        let disk = SimDisk::new(1);
        let device = open(&disk, 1);
        let log = create(&device, 0);
        commit(&log, 0..60, 3000);
        let to = Lsn(keep * SECTOR as u64);
        log.wait_durable(log.cut(to, Term(2)).expect("cut")).expect("durable");
        commit(&log, keep..keep + 3, 3000);
        drop((log, device));
        let read = read(&open(&disk.crash(1), 2), 0).expect("no damage");
        check_prefix(&read.entries);
        assert_eq!(read.entries.len() as u64, keep + 3);
        assert_eq!(read.recovered.term, Term(2));
        assert_eq!(read.recovered.history.entries()[1].start, to);
    }
}

/// Promise: the slots behind a cut are free again.
#[test]
fn a_cut_frees_slots() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    commit(&log, 0..60, 3000);
    let before = device.slots_and_free();
    log.cut(Lsn(SECTOR as u64), Term(2)).expect("cut");
    assert_eq!(device.slots_and_free().1 - before.1, 4);
}

/// Promise: a cut is refused where no group ends, and in a term that is not newer.
#[test]
fn a_cut_needs_a_boundary_and_a_new_term() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let end = commit(&log, 0..5, 9000);
    let refused = |to: u64, term| log.cut(Lsn(to), Term(term)).expect_err("refused");
    assert!(matches!(refused(3 * SECTOR as u64, 1), CutError::Term { .. }));
    let beyond = refused(end.0 + SECTOR as u64, 2);
    assert!(matches!(beyond, CutError::NotABoundary { .. }), "{beyond}");
    for inside in [SECTOR as u64, 5 * SECTOR as u64] {
        refused(inside, 2);
    }
    commit(&log, 5..6, 100);
    assert_eq!(log.positions().end, end.advanced(SECTOR as u64), "nothing was changed");
}

/// Promise (P03, P04): power fails at every operation of a cut: the log is as before or cut, and
/// recovery, interrupted at every operation too, agrees.
#[test]
fn p03_crash_inside_a_cut() {
    for k in 0..40 {
        let disk = SimDisk::new(k);
        let device = open(&disk, 1);
        let log = create(&device, 0);
        commit(&log, 0..60, 3000);
        disk.fail(Fault::at(k, Effect::CrashDuring));
        let done =
            log.cut(Lsn(5 * SECTOR as u64), Term(2)).map(|position| log.wait_durable(position));
        let done = matches!(done, Ok(Ok(_)));
        drop((log, device));
        let crashed = disk.crash(k);
        crashed.heal();
        for again in 0..12 {
            let disk = crashed.after_crash(again).restart();
            disk.fail(Fault::at(again, Effect::CrashDuring));
            // The crash may strike the opening of the arena, the reading or the cut.
            let device = try_open(&disk, 2);
            if let Ok(Ok(first)) = device.as_ref().map(|device| read(device, 0)) {
                drop(first.recovered.open(std::sync::Arc::new(resprout_wal::NoObserver)));
            }
            drop(device);
            let disk = disk.crash(again ^ k);
            disk.heal();
            let read = read(&open(&disk, 3), 0).expect("no damage");
            check_prefix(&read.entries);
            let count = read.entries.len();
            assert!(count == 5 || (count == 60 && !done), "{count} entries, cut done: {done}");
            commit(&reopen(read), count as u64..count as u64 + 2, 3000);
        }
    }
}
