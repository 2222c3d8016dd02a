//! Looking at an arena offline, and the fixture of format version 1.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use resprout_wal::disk::sim::SimDisk;
use resprout_wal::disk::{Disk, PlainDisk};
use resprout_wal::inspect::{Arena, Verdict};
use resprout_wal::{ARENA_FILE, Lsn, NoObserver, SECTOR, Term};

use crate::harness::*;

fn inspect(disk: &SimDisk) -> Arena {
    Arena::open(Arc::new(disk.clone()), &arena()).expect("an arena")
}

fn frames(arena: &Arena, partition: u32) -> (usize, usize) {
    let (mut frames, mut entries) = (0, 0);
    let mut walk = arena.walk(identity(partition));
    while let Some((passed, groups)) = walk.next() {
        for frame in &passed {
            assert!(frame.offset.is_multiple_of(SECTOR as u64));
        }
        frames += passed.len();
        entries += groups.iter().map(|group| group.entries().count()).sum::<usize>();
    }
    (frames, entries)
}

/// Promise: inspection says clean, torn or damaged as recovery would, and changes nothing.
#[test]
fn inspection_tells_the_three_apart() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let logs: Vec<_> = (0..3).map(|partition| create(&device, partition)).collect();
    for log in &logs {
        commit(log, 0..20, 3000);
    }
    logs[0].close_clean().expect("closes");
    let torn = Lsn(19 * SECTOR as u64);
    let last = (1..3).map(|partition| {
        let arena = inspect(&disk);
        let mut walk = arena.walk(identity(partition));
        let mut at = Vec::new();
        while let Some((passed, _)) = walk.next() {
            at.extend(passed);
        }
        at
    });
    let last: Vec<_> = last.collect();
    drop((logs, device));
    disk.flip(&arena(), last[0][19].offset + 100, 0);
    disk.flip(&arena(), last[1][7].offset + 100, 0);
    let disk = disk.restart();
    let before = (disk.operations(), disk.contents(&arena()));
    let found = inspect(&disk);
    assert_eq!(found.logs().len(), 3);
    assert_eq!(found.cluster(), CLUSTER);
    let verdict = |partition| found.walk(identity(partition)).verdict();
    assert!(matches!(verdict(0), Verdict::Clean { closed: true, .. }));
    assert!(matches!(verdict(1), Verdict::Torn { at, .. } if at == torn));
    assert!(matches!(verdict(2), Verdict::Damaged(_)));
    assert!(matches!(verdict(3), Verdict::Damaged(_)), "a log that is not there");
    assert_eq!(frames(&found, 0), (20, 20));
    assert_eq!(frames(&found, 1), (19, 19));
    assert_eq!(frames(&found, 2).0, 7);
    assert_eq!((disk.operations(), disk.contents(&arena())), before);
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1.arena")
}

/// What the fixture holds: two logs, the second closed in order.
fn write_fixture() -> Vec<u8> {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let (first, second) = (create(&device, 0), create(&device, 1));
    for (n, len) in [8, 3000, 60_000, 0].into_iter().enumerate() {
        first.wait_durable(append(&first, n as u64, len)).expect("durable");
    }
    let begun = second.begin_term(Term(3)).expect("begins");
    second.wait_durable(begun).expect("durable");
    commit(&second, 0..3, 100);
    device.idle();
    second.close_clean().expect("closes");
    disk.contents(&arena()).expect("the arena")
}

/// Promise: arenas of format version 1 are read by every later program.
#[test]
fn the_fixture_of_version_1_is_read() {
    let kept = std::fs::read(fixture()).expect("the fixture");
    let disk = SimDisk::new(2);
    disk.create_dir(&dir()).expect("a directory");
    let file = disk
        .open(&dir().join(ARENA_FILE), resprout_wal::disk::Open::Create, BUFFERED)
        .expect("creates");
    file.write_at(&kept, 0).expect("writes");
    let device = open(&disk, 2);
    let first = read(&device, 0).expect("no damage");
    check_prefix(&first.entries);
    assert_eq!((first.entries.len(), first.recovered.clean), (4, false));
    let second = read(&device, 1).expect("no damage");
    check_prefix(&second.entries);
    assert_eq!((second.entries.len(), second.recovered.clean), (3, true));
    assert_eq!(second.recovered.term, Term(3));
    let log = second.recovered.open(Arc::new(NoObserver)).expect("opens");
    commit(&log, 3..5, 100);
    let real = Arena::open(Arc::new(PlainDisk), &fixture()).expect("an arena");
    assert_eq!(real.logs().len(), 2);
}

const BUFFERED: resprout_wal::disk::Cache = resprout_wal::disk::Cache::Buffered;

/// Promise: this program still writes what the fixture holds, byte for byte. A change of format
/// makes a new version and a new fixture; run with `--ignored` to write one.
#[test]
fn the_fixture_of_version_1_is_still_written() {
    let kept = std::fs::read(fixture()).expect("the fixture");
    assert!(kept == write_fixture(), "the format has changed");
    assert!(kept.len() < 300 << 10);
}

#[test]
#[ignore = "writes the fixture of a new format version"]
fn write_the_fixture() {
    std::fs::create_dir_all(fixture().parent().expect("a directory")).expect("made");
    std::fs::write(fixture(), write_fixture()).expect("written");
}
