//! The same on the disks of this machine, through each backend that its kernel allows.

use std::path::Path;
use std::sync::Arc;

use resprout_snapshot::{PAGE, Snapshot, WriteOptions, list, remove_leftovers, retain};
use resprout_wal::disk::{Backend, Disk};

use crate::sample::{IDENTITY, Sample, load};

fn disks() -> Vec<Arc<dyn Disk>> {
    let opened = [Backend::IoUring, Backend::Pwritev2].map(Backend::open);
    let disks: Vec<_> = opened.into_iter().flatten().collect();
    assert!(!disks.is_empty(), "plain calls are always allowed");
    disks
}

/// Guards: what was written comes back through every backend, around the page cache and, once the
/// file is cached, through it.
#[test]
fn every_backend_writes_and_loads() {
    for disk in disks() {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let sample = Sample::new(4096, &[1, 3, 700, 1, 1, 2000, 1]);
        let options = WriteOptions { buffer_bytes: 64 * PAGE, ..WriteOptions::default() };
        let written = sample.write_with(&disk, dir.path(), options).unwrap();
        sample.assert_is_at(disk.as_ref(), &written.path);
        let cached = std::fs::read(&written.path).unwrap();
        assert_eq!(cached.len() as u64, written.bytes);
        sample.assert_is_at(disk.as_ref(), &written.path);
    }
}

/// Guards: a bit that flips in a file of a real file system is found, and the folder is tidied.
#[test]
fn every_backend_notices_damage_and_tidies() {
    for disk in disks() {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let write = |lsn| Sample::small(lsn).write_with(&disk, dir.path(), WriteOptions::default());
        let paths: Vec<_> = [4096, 8192, 12288].map(|lsn| write(lsn).unwrap().path).into();
        let mut bytes = std::fs::read(&paths[2]).unwrap();
        bytes[3 * PAGE + 9] ^= 1;
        std::fs::write(&paths[2], bytes).unwrap();
        let damaged = Snapshot::open(disk.as_ref(), &paths[2], Some(IDENTITY)).unwrap();
        assert!(load(disk.as_ref(), &damaged).unwrap_err().is_bad_file());
        let leftover = paths[2].with_extension("rsnap.tmp");
        std::fs::copy(&paths[0], &leftover).unwrap();
        assert_eq!(remove_leftovers(disk.as_ref(), dir.path()).unwrap(), [leftover]);
        retain(disk.as_ref(), dir.path(), IDENTITY, 2).unwrap();
        let left = list(disk.as_ref(), dir.path()).unwrap();
        let left: Vec<&Path> = left.iter().map(|found| found.path.as_path()).collect();
        assert_eq!(left, [paths[2].as_path(), paths[1].as_path()]);
    }
}
