//! Which snapshots there are, which stay, which go.

use std::path::{Path, PathBuf};

use resprout_snapshot::{PAGE, file_name, list, remove_leftovers, retain};
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::{LogIdentity, Lsn};

use crate::sample::{DIR, IDENTITY, Sample, disk};

fn with(lsns: &[u64]) -> SimDisk {
    let disk = disk(1);
    for lsn in lsns {
        Sample::small(*lsn).write(&disk).unwrap();
    }
    disk
}

fn path(lsn: u64) -> PathBuf {
    Path::new(DIR).join(file_name(Lsn(lsn)))
}

fn lsns(disk: &SimDisk) -> Vec<u64> {
    list(disk, Path::new(DIR)).unwrap().iter().map(|found| found.lsn.0).collect()
}

/// Guards: the list is newest first, whatever the order of writing, and knows lengths.
#[test]
fn the_list_is_newest_first() {
    let disk = with(&[12288, 4096, 8192]);
    assert_eq!(lsns(&disk), [12288, 8192, 4096]);
    let found = list(&disk, Path::new(DIR)).unwrap();
    assert!(found.iter().all(|found| found.bytes == 9 * PAGE as u64));
    assert!(list(&disk, Path::new("/nowhere")).is_err());
}

/// Guards rule 18: as many as asked for stay, and the log is needed from the oldest of them.
#[test]
fn the_newest_stay_and_tell_which_log_is_needed() {
    let disk = with(&[4096, 8192, 12288, 16384]);
    let retained = retain(&disk, Path::new(DIR), IDENTITY, 2).unwrap();
    assert_eq!(lsns(&disk), [16384, 12288]);
    assert_eq!(retained.log_needed_from, Some(Lsn(12288)));
    assert_eq!(retained.removed, [path(8192), path(4096)]);
    assert_eq!(retained.kept.len(), 2);
}

/// Guards rule 18: with fewer than asked for, nothing goes and no log may be released.
#[test]
fn too_few_snapshots_release_nothing() {
    for count in 0..3 {
        let disk = with(&[4096, 8192, 12288][..count]);
        let retained = retain(&disk, Path::new(DIR), IDENTITY, 3).unwrap();
        assert_eq!((retained.kept.len(), retained.log_needed_from), (count, None));
        assert!(retained.removed.is_empty());
        assert_eq!(lsns(&disk).len(), count);
    }
}

/// Guards D30: a damaged snapshot does not count, so the last good ones are not removed for it.
#[test]
fn d30_a_damaged_snapshot_does_not_count() {
    let disk = with(&[4096, 8192, 12288]);
    disk.flip(&path(12288), 50, 1);
    let retained = retain(&disk, Path::new(DIR), IDENTITY, 2).unwrap();
    assert_eq!(lsns(&disk), [12288, 8192, 4096], "the damaged one is left for inspection");
    assert_eq!(retained.log_needed_from, Some(Lsn(4096)));
    let retained = retain(&disk, Path::new(DIR), IDENTITY, 1).unwrap();
    assert_eq!(retained.removed, [path(4096)]);
    assert_eq!(retained.log_needed_from, Some(Lsn(8192)));
}

/// Guards D11: snapshots of another instance in the folder do not push out our own.
#[test]
fn d11_foreign_snapshots_do_not_count() {
    let disk = with(&[4096]);
    let mut foreign = Sample::small(1 << 40);
    foreign.header.identity = LogIdentity { instance: 99, ..IDENTITY };
    foreign.write(&disk).unwrap();
    let retained = retain(&disk, Path::new(DIR), IDENTITY, 1).unwrap();
    assert_eq!(retained.log_needed_from, Some(Lsn(4096)));
    assert!(retained.removed.is_empty());
}

/// Guards D29: only files with the exact name of an unfinished snapshot are removed.
#[test]
fn d29_only_leftovers_are_removed() {
    let disk = with(&[4096]);
    let (good, dir) = (path(4096), Path::new(DIR));
    let leftover = dir.join(file_name(Lsn(8192)) + ".tmp");
    let others = ["wal.arena", "notes.tmp", "snapshot-1.rsnap.tmp"].map(|name| dir.join(name));
    others.iter().chain([&leftover]).for_each(|path| disk.copy(&good, path));
    assert_eq!(remove_leftovers(&disk, dir).unwrap(), std::slice::from_ref(&leftover));
    assert!(others.iter().all(|path| disk.files().contains(path)));
    assert!(!disk.files().contains(&leftover) && disk.files().contains(&good));
    let disk = disk.crash(1);
    assert!(!disk.files().contains(&leftover), "the removal is durable");
    assert_eq!(remove_leftovers(&disk, dir).unwrap(), Vec::<PathBuf>::new());
}

/// Guards D20: an error while removing is reported with its path; nothing newer is lost.
#[test]
fn d20_a_failed_removal_is_reported() {
    let disk = with(&[4096, 8192]);
    disk.fail(Fault::on(OpKind::Remove, 0, Effect::Error(5)));
    let error = retain(&disk, Path::new(DIR), IDENTITY, 1).unwrap_err();
    assert!(error.to_string().contains(path(4096).to_str().unwrap()), "{error}");
    assert_eq!(lsns(&disk), [8192, 4096]);
    retain(&disk, Path::new(DIR), IDENTITY, 1).unwrap();
    assert_eq!(lsns(&disk), [8192]);
}
