//! Files of released format versions stay readable.

use std::path::{Path, PathBuf};

use resprout_wal::disk::sim::SimDisk;
use resprout_wal::disk::{Cache, Disk, Open};

use crate::sample::{DIR, Sample, disk};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1.rsnap")
}

/// What is in the fixture.
fn sample() -> Sample {
    Sample::new(4096 * 1000, &[1, 3, 1, 1, 2, 1])
}

fn placed() -> (SimDisk, PathBuf) {
    let disk = disk(1);
    let path = Path::new(DIR).join("v1.rsnap");
    let file = disk.open(&path, Open::Create, Cache::Buffered).unwrap();
    file.write_at(&std::fs::read(fixture()).unwrap(), 0).unwrap();
    (disk, path)
}

/// Guards: a file of format version 1, written when that version was released, opens and loads.
#[test]
fn version_1_opens() {
    let (disk, path) = placed();
    sample().assert_is_at(&disk, &path);
}

/// Guards: this program still writes version 1 byte for byte; a difference needs a new version.
#[test]
fn version_1_is_what_is_written() {
    let disk = disk(1);
    let written = sample().write(&disk).unwrap();
    let bytes = disk.contents(&written.path).unwrap();
    if std::env::var_os("RESPROUT_WRITE_FIXTURES").is_some() {
        std::fs::write(fixture(), &bytes).unwrap();
    }
    assert!(bytes.len() < 100 << 10);
    assert!(bytes == std::fs::read(fixture()).unwrap(), "the format has changed");
}
