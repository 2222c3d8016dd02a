//! Power fails at every operation of a history, and again inside the recovery that follows.
//! Rows P03, P04, D15 to D17, D29.

use resprout_wal::disk::sim::{Effect, Fault, SimDisk};

use crate::contents::node;
use crate::harness::{open, try_open};
use crate::workload::{STEPS, Undisturbed, go_on, run_until_crash};

const CRASHES: [Effect; 3] = [Effect::CrashBefore, Effect::CrashDuring, Effect::CrashAfter];

/// A disk that has crashed at operation `k`, and the steps acknowledged before.
fn crashed_at(k: usize, effect: Effect) -> (SimDisk, usize) {
    let disk = SimDisk::new(k as u64);
    disk.fail(Fault::at(k as u64, effect));
    let done = run_until_crash(&disk);
    assert!(disk.crashed() || done == STEPS.len(), "step {done} failed without a crash");
    (disk.restart(), done)
}

/// P03, D15 to D17, D29: whatever operation the power fails at, every acknowledged commit is
/// there, the one on its way is whole or absent, and the node goes on.
#[test]
fn p03_power_fails_at_every_operation() {
    let history = Undisturbed::run();
    let operations = history.disk.operations();
    for k in 0..operations {
        for effect in CRASHES {
            let (disk, done) = crashed_at(k, effect);
            let engine = open(&disk, 1);
            let found = node(&engine);
            history.check(&found, done);
            go_on(&engine, 1000);
            let grown = node(&engine);
            let disk = disk.crash(k as u64);
            drop(engine);
            let engine = open(&disk, 2);
            assert_eq!(node(&engine), grown, "after going on, {effect:?} at {k}");
        }
    }
}

/// P04: recovery may itself be interrupted at any of its operations; undisturbed, it arrives at
/// the same state.
#[test]
fn p04_power_fails_again_at_every_operation_of_recovery() {
    let history = Undisturbed::run();
    for k in (0..history.disk.operations()).step_by(2) {
        let (disk, done) = crashed_at(k, CRASHES[k % 3]);
        let before = disk.operations();
        let probe = disk.after_crash(0);
        drop(open(&probe, 1));
        for j in 0..probe.operations() - before {
            let disk = disk.after_crash(0);
            disk.fail(Fault::at(j as u64, CRASHES[(k + j) % 3]));
            let again = try_open(&disk, 1).is_ok();
            assert!(again || disk.crashed(), "recovery failed without a crash");
            let disk = disk.restart();
            let engine = open(&disk, 2);
            history.check(&node(&engine), done);
            go_on(&engine, 1000);
        }
    }
}
