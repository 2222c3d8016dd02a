//! Power fails at every operation of a member's life, and again inside the start that follows.
//! Rows M01, M08, D32, P03, P04.

use resprout_consensus::WriteId;
use resprout_consensus::store::{Store, StoreError};
use resprout_wal::disk::sim::{Effect, Fault, SimDisk};

use crate::harness::*;
use crate::model::{Life, Model};

/// What may come back: the state after the last write that was told durable, or after a later one
/// that was handed in.
struct Possible {
    states: Vec<Model>,
    /// Starts that were told durable.
    boots: u64,
}

/// Writes that are handed in during one run.
const BATCHES: u64 = 14;

/// Goes on with what the store holds, for a while.
fn live(
    disk: &SimDisk,
    (device, mut store): (resprout_wal::Device, Store),
    mut life: Life,
    possible: &mut Possible,
) -> Option<()> {
    let writer = store.snapshot_writer();
    for _ in 0..BATCHES {
        let writes = life.batch();
        let acknowledged = |life: &Life, durable: WriteId| {
            let states = life.states.iter().filter(|(id, _)| *id >= durable);
            states.map(|(_, model)| model.clone()).collect()
        };
        possible.states = acknowledged(&life, durable(&store));
        if life.rng.chance(1, 2) {
            for write in &writes {
                if let resprout_consensus::Content::Snapshot { snapshot, .. } = &write.content {
                    writer.write(snapshot).ok()?;
                }
            }
        }
        let taken = store.write(writes);
        for _ in 0..life.rng.below(4) {
            device.turn();
        }
        possible.states = acknowledged(&life, durable(&store));
        taken.ok()?;
        if disk.crashed() {
            return None;
        }
    }
    store.close_clean().ok()?;
    possible.states = vec![life.now];
    Some(())
}

fn first_life(disk: &SimDisk, seed: u64, possible: &mut Possible) -> Option<()> {
    let device = try_device(disk, 1).ok()?;
    let store = try_create(&device, disk, &Default::default()).ok()?;
    possible.boots = 1;
    live(disk, (device, store), Life::new(seed, Model::default()), possible)
}

/// Starts again, checks what is there, and goes on. `None` if power fails once more.
fn next_life(disk: &SimDisk, seed: u64, possible: &mut Possible) -> Option<()> {
    let opened = try_device(disk, seed).map_err(|error| error.to_string());
    if disk.crashed() {
        return None;
    }
    let device = opened.expect("a crash is no damage");
    let made = Store::find(&device).is_some();
    let opened = if made {
        try_open(&device, disk)
    } else {
        assert_eq!(possible.boots, 0, "a store that was made is not there");
        try_create(&device, disk, &Default::default()).map(|store| (store, Default::default()))
    };
    if disk.crashed() {
        return None;
    }
    let (store, recovered) = opened.expect("a crash is no damage");
    assert!(!made || recovered.boot > possible.boots, "boots are counted");
    possible.boots = recovered.boot.max(1);
    let now = Model::of(&recovered);
    let known = possible.states.contains(&now);
    assert!(known, "{now:?} is none of {:?}", possible.states);
    possible.states = vec![now.clone()];
    live(disk, (device, store), Life::new(seed, now), possible)
}

fn nothing() -> Possible {
    Possible { states: vec![Model::default()], boots: 0 }
}

fn operations(seed: u64) -> u64 {
    let disk = SimDisk::new(seed);
    first_life(&disk, seed, &mut nothing()).expect("no faults");
    next_life(&disk.restart(), seed + 1, &mut nothing_is_known(&disk)).expect("no faults");
    disk.operations() as u64
}

fn nothing_is_known(disk: &SimDisk) -> Possible {
    let device = device(&disk.after_crash(0), 77);
    let (_, recovered) = open(&device, &disk.after_crash(0));
    Possible { states: vec![Model::of(&recovered)], boots: 0 }
}

fn crash_at_every_operation(effect: Effect, tear: usize, seed: u64) {
    let total = operations(seed);
    for k in 0..total {
        let disk = SimDisk::new(seed);
        disk.set_tear(tear);
        disk.fail(Fault::at(k, effect));
        let mut possible = nothing();
        let mut running = disk.clone();
        if first_life(&running, seed, &mut possible).is_some() {
            running = disk.restart();
            let second = next_life(&running, seed + 1, &mut possible);
            assert!(second.is_none(), "operation {k} of {total} was reached");
        }
        let disk = running.crash(seed ^ k);
        disk.heal();
        next_life(&disk, seed + 2, &mut possible).expect("no faults any more");
        let disk = disk.restart();
        next_life(&disk, seed + 3, &mut possible).expect("still none");
    }
}

/// Promise (M01, D32, P03): power fails before, during and after each operation. What comes back is
/// the state after some write that was handed in, whole, and at least the newest that was told
/// durable: term and vote together, no entry that was taken back, a snapshot with the log that
/// belongs to it.
#[test]
fn m01_m08_d32_p03_power_fails_at_every_operation_of_raft() {
    for seed in 0..3 {
        crash_at_every_operation(Effect::CrashBefore, 4096, seed);
        crash_at_every_operation(Effect::CrashDuring, 4096, seed + 10);
        crash_at_every_operation(Effect::CrashAfter, 4096, seed + 20);
    }
}

/// Promise: the same where the device tears within a sector.
#[test]
fn m01_torn_within_a_sector() {
    for seed in 0..3 {
        crash_at_every_operation(Effect::CrashDuring, 512, seed + 30);
    }
}

/// Promise (P04): power fails again at each operation of the start that follows a crash; starting
/// converges and loses nothing.
#[test]
fn p04_power_fails_again_while_raft_starts() {
    let total = operations(50);
    for k in (0..total).step_by(7) {
        let disk = SimDisk::new(50);
        disk.fail(Fault::at(k, Effect::CrashDuring));
        let mut possible = nothing();
        if first_life(&disk, 50, &mut possible).is_some() {
            continue;
        }
        let crashed = disk.crash(k);
        for again in (0..).step_by(3) {
            let mut possible = Possible { states: possible.states.clone(), boots: possible.boots };
            let disk = crashed.after_crash(k ^ again << 20);
            disk.heal();
            disk.fail(Fault::at(again, Effect::CrashDuring));
            let done = next_life(&disk, 60, &mut possible).is_some();
            let disk = disk.crash(again);
            disk.heal();
            next_life(&disk, 61, &mut possible).expect("no faults any more");
            if done {
                break;
            }
        }
    }
}

/// Promise: the making of a store that was interrupted is no store, and is made again.
#[test]
fn a_store_that_was_not_finished_is_made_again() {
    let first = resprout_consensus::Recovered::first(
        resprout_consensus::NodeId(1),
        crate::model::membership().members.into_values().next().expect("one"),
    );
    let mut unfinished = 0;
    for k in 0..30 {
        let disk = SimDisk::new(k);
        let device = device(&disk, 1);
        disk.fail(Fault::at(k, Effect::CrashDuring));
        let made = try_create(&device, &disk, &first).is_ok();
        drop(device);
        let disk = disk.crash(k);
        disk.heal();
        let device = crate::harness::device(&disk, 2);
        if Store::find(&device).is_none() {
            assert!(!made, "operation {k}");
            let opened = try_open(&device, &disk).expect_err("there is none");
            let told = matches!(opened, StoreError::Absent { .. } | StoreError::Unfinished { .. });
            assert!(told, "{opened}");
            unfinished += u64::from(matches!(opened, StoreError::Unfinished { .. }));
            try_create(&device, &disk, &first).expect("made now");
            drop(device);
        }
        let disk = disk.restart();
        let device = crate::harness::device(&disk, 3);
        let (_, recovered) = open(&device, &disk);
        assert_eq!(Model::of(&recovered), Model::of(&first));
    }
    assert!(unfinished > 0, "no crash came between");
}
