//! Power fails at every operation of a workload, and again inside the recovery that follows.
//! Rows D01, D02, D14 to D17, P03, P04.

use std::collections::BTreeMap;

use resprout_wal::disk::sim::{Effect, Fault, SimDisk};
use resprout_wal::{Device, Log, Term};

use crate::harness::*;

/// What was acknowledged, per log: so many entries at least must come back.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    durable: BTreeMap<u32, u64>,
    appended: BTreeMap<u32, u64>,
}

const LOGS: u32 = 2;

/// Two logs, several slots each, entries of all sizes, a slot released, a clean close at the end.
/// Ends early when the power fails.
fn workload(disk: &SimDisk, acked: &mut Acknowledged) -> Option<()> {
    let device = try_open(disk, 1).ok()?;
    let mut logs: Vec<Log> = Vec::new();
    for partition in 0..LOGS {
        let observer = std::sync::Arc::new(resprout_wal::NoObserver);
        acked.appended.insert(partition, 0);
        logs.push(device.create(identity(partition), Term(1), observer).ok()?);
        acked.durable.insert(partition, 0);
    }
    for n in 0..24u64 {
        for (partition, log) in (0..).zip(&logs) {
            let len = [60, 9000, 300, 30_000][(n as usize + partition as usize) % 4];
            acked.appended.insert(partition, n + 1);
            let position = try_append(log, &entry(n, len)).ok()?;
            if n % 3 != 1 {
                log.wait_durable(position).ok()?;
                acked.durable.insert(partition, n + 1);
            }
        }
        if n == 7 {
            device.idle();
        }
    }
    for (partition, log) in (0..).zip(&logs) {
        log.close_clean().ok()?;
        acked.durable.insert(partition, 24);
    }
    Some(())
}

/// Recovers all logs, checks them, and commits one more entry to each. `None` if the power fails
/// again.
fn recover_and_go_on(disk: &SimDisk, seed: u64, acked: &mut Acknowledged) -> Option<()> {
    let device = match try_open(disk, seed) {
        Ok(device) => device,
        Err(error) => {
            assert!(disk.crashed(), "the arena opens after a crash: {error}");
            return None;
        }
    };
    for partition in 0..LOGS {
        let found = device.found().iter().any(|found| found.identity == identity(partition));
        if !found {
            let lost = acked.durable.contains_key(&partition);
            assert!(!lost || disk.crashed(), "log {partition} was made and is not there");
            continue;
        }
        recover_one(disk, &device, partition, acked)?;
    }
    Some(())
}

fn recover_one(
    disk: &SimDisk,
    device: &Device,
    partition: u32,
    acked: &mut Acknowledged,
) -> Option<()> {
    let read = match read(device, partition) {
        Ok(read) => read,
        Err(damage) => {
            assert!(disk.crashed(), "a crash is no damage: {damage}");
            return None;
        }
    };
    let count = read.entries.len() as u64;
    check_prefix(&read.entries);
    let least = acked.durable.get(&partition).copied().unwrap_or(0);
    assert!(count >= least, "log {partition}: {count} entries, {least} were acknowledged");
    assert!(count <= acked.appended[&partition], "log {partition}: {count} entries");
    let term = Term(read.recovered.term.0 + 1);
    let log = read.recovered.open(std::sync::Arc::new(resprout_wal::NoObserver)).ok()?;
    log.begin_term(term).ok()?;
    acked.appended.insert(partition, count + 1);
    let position = try_append(&log, &entry(count, 700)).ok()?;
    log.wait_durable(position).ok()?;
    acked.durable.insert(partition, count + 1);
    Some(())
}

fn operations_of_workload() -> u64 {
    let disk = SimDisk::new(1);
    workload(&disk, &mut Acknowledged::default()).expect("no faults");
    disk.operations() as u64
}

fn crash_at_every_operation(effect: Effect, tear: usize, seed: u64) {
    for k in 0..operations_of_workload() {
        let disk = SimDisk::new(seed);
        disk.set_tear(tear);
        disk.fail(Fault::at(k, effect));
        let mut acked = Acknowledged::default();
        assert!(workload(&disk, &mut acked).is_none(), "operation {k} was reached");
        let disk = disk.crash(seed ^ k);
        disk.heal();
        recover_and_go_on(&disk, 2, &mut acked).expect("no faults any more");
        let disk = disk.crash(seed ^ k ^ 99);
        recover_and_go_on(&disk, 3, &mut acked).expect("still none");
    }
}

/// Promise (D01, D15, D16, P03): power fails before, during and after each operation; everything
/// acknowledged comes back, nothing else but a prefix of what was appended.
#[test]
fn p03_crash_at_every_operation() {
    for seed in 0..4 {
        crash_at_every_operation(Effect::CrashBefore, 4096, seed);
        crash_at_every_operation(Effect::CrashDuring, 4096, seed + 10);
        crash_at_every_operation(Effect::CrashAfter, 4096, seed + 20);
    }
}

/// Promise (D01, D02): the same where the device tears within a sector.
#[test]
fn d01_d02_torn_within_a_sector() {
    for seed in 0..6 {
        crash_at_every_operation(Effect::CrashDuring, 512, seed + 30);
    }
}

/// Promise (P04): power fails again at each operation of the recovery; recovery converges, and
/// nothing acknowledged in between is lost.
#[test]
fn p04_crash_inside_recovery() {
    let total = operations_of_workload();
    for k in (0..total).step_by(3) {
        let disk = SimDisk::new(50);
        disk.fail(Fault::at(k, Effect::CrashDuring));
        let mut acked = Acknowledged::default();
        assert!(workload(&disk, &mut acked).is_none());
        let crashed = disk.crash(k);
        for again in 0.. {
            let disk = crashed.after_crash(k ^ again << 20);
            disk.heal();
            let mut acked = acked.clone();
            disk.fail(Fault::at(again, Effect::CrashDuring));
            let done = recover_and_go_on(&disk, 2, &mut acked).is_some();
            let disk = disk.crash(again);
            disk.heal();
            recover_and_go_on(&disk, 3, &mut acked).expect("no faults any more");
            if done {
                break;
            }
        }
    }
}
