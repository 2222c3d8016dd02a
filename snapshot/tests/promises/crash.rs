//! Power fails at every single operation of writing and retaining; afterwards the old or the new
//! snapshot is there, whole.

use std::path::Path;

use resprout_snapshot::{Retained, SnapshotError, file_name, list, remove_leftovers, retain};
use resprout_wal::Lsn;
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};

use crate::sample::{DIR, IDENTITY, Sample, disk, open_and_load};

const OLD: u64 = 4096;
const NEW: u64 = 8192;

/// Writes the new snapshot beside the old one, then removes the old one.
fn step(disk: &SimDisk) -> (Result<(), SnapshotError>, Option<Retained>) {
    if let Err(error) = Sample::small(NEW).write(disk) {
        return (Err(error), None);
    }
    (Ok(()), retain(disk, Path::new(DIR), IDENTITY, 1).ok())
}

fn with_old(seed: u64) -> SimDisk {
    let disk = disk(seed);
    Sample::small(OLD).write(&disk).unwrap();
    disk
}

/// The newest good snapshot of the next run, after it has tidied up.
fn recovered(disk: &SimDisk) -> Lsn {
    let dir = Path::new(DIR);
    remove_leftovers(disk, dir).unwrap();
    let found = list(disk, dir).unwrap();
    assert_eq!(disk.files().len(), found.len(), "leftovers: {:?}", disk.files());
    for found in &found {
        let whole = open_and_load(disk, &found.path);
        assert!(whole.is_ok(), "{}: {}", found.path.display(), whole.unwrap_err());
        Sample::small(found.lsn.0).assert_is_at(disk, &found.path);
    }
    found.first().expect("neither the old nor the new snapshot is left").lsn
}

/// Guards D15, D17, D29: power fails before, during and after every operation; the final name is
/// never on anything but a whole snapshot, and what was reported is there.
#[test]
fn d17_d29_old_or_new_is_whole_after_a_crash_at_every_operation() {
    let mut crashes = 0;
    for seed in 0..12 {
        let clean = with_old(seed);
        let before = clean.operations();
        step(&clean).0.unwrap();
        let operations = (clean.operations() - before) as u64;
        assert!(operations > 8, "the workload has its writes, flush, rename, removal");
        for at in 0..operations {
            for effect in [Effect::CrashBefore, Effect::CrashDuring, Effect::CrashAfter] {
                let disk = with_old(seed);
                disk.fail(Fault::at(at, effect));
                let (written, retained) = step(&disk);
                crashes += u32::from(disk.crashed());
                let disk = disk.restart();
                let newest = recovered(&disk);
                if written.is_ok() {
                    assert_eq!(newest, Lsn(NEW), "crash at {at}: reported but gone");
                }
                if let Some(needed) = retained.and_then(|retained| retained.log_needed_from) {
                    assert!(needed <= newest, "crash at {at}: the log was released too early");
                }
            }
        }
    }
    assert!(crashes > 300, "only {crashes} crashes");
}

/// Guards D29: a crash while leftovers are removed leaves at worst the leftovers, and the next
/// start removes them.
#[test]
fn d29_tidying_up_may_crash_too() {
    for seed in 0..8 {
        for at in 0..4 {
            let disk = with_old(seed);
            // The writes of the new one, then power fails at its rename.
            disk.fail(Fault::on(OpKind::Rename, 0, Effect::CrashBefore));
            step(&disk).0.unwrap_err();
            let disk = disk.restart();
            disk.fail(Fault::at(at, Effect::CrashDuring));
            let _ = remove_leftovers(&disk, Path::new(DIR));
            let disk = disk.restart();
            disk.heal();
            assert_eq!(recovered(&disk), Lsn(OLD), "seed {seed}, crash at {at}");
        }
    }
}

/// Guards D32: while the new snapshot is not published, not one byte of the old one changes.
#[test]
fn d32_the_old_snapshot_is_untouched_until_the_new_one_is_durable() {
    let disk = with_old(3);
    let path = Path::new(DIR).join(file_name(Lsn(OLD)));
    let before = disk.contents(&path).unwrap();
    disk.fail(Fault::on(OpKind::SyncDir, 0, Effect::CrashBefore));
    step(&disk).0.unwrap_err();
    let disk = disk.restart();
    assert!(disk.contents(&path).unwrap() == before);
    recovered(&disk);
}
