//! Looking at an arena offline, and the fixture of format version 1.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use resprout_wal::disk::sim::SimDisk;
use resprout_wal::disk::{Disk, PlainDisk};
use resprout_wal::frame::Flaw;
use resprout_wal::inspect::{Arena, Behind, Verdict};
use resprout_wal::{ARENA_FILE, Damage, Evidence, Lsn, NoObserver, SECTOR, Term};

use crate::harness::*;

const NOTHING: Evidence = Evidence { durable: Lsn::ZERO };

fn inspect(disk: &SimDisk) -> Arena {
    Arena::open(Arc::new(disk.clone()), &arena()).expect("an arena")
}

fn frames(arena: &Arena, partition: u32) -> (usize, usize) {
    let (mut frames, mut entries) = (0, 0);
    let mut walk = arena.walk(identity(partition), Some(Lsn::ZERO), NOTHING);
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
        let mut walk = arena.walk(identity(partition), Some(Lsn::ZERO), NOTHING);
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
    let verdict = |partition| found.walk(identity(partition), Some(Lsn::ZERO), NOTHING).verdict();
    assert!(matches!(verdict(0), Verdict::Clean { closed: true, .. }));
    assert!(matches!(verdict(1), Verdict::Torn { at, .. } if at == torn));
    assert!(matches!(verdict(2), Verdict::Damaged(_)));
    assert!(matches!(verdict(3), Verdict::Damaged(_)), "a log that is not there");
    assert_eq!(frames(&found, 0), (20, 20));
    assert_eq!(frames(&found, 1), (19, 19));
    assert_eq!(frames(&found, 2).0, 7);
    assert_eq!((disk.operations(), disk.contents(&arena())), before);
}

/// A log whose first slot begins inside a group; where that group ends, and the log's first
/// position. Entries 4 and 5 are whole behind it.
fn begun_inside_a_group(disk: &SimDisk) -> (Lsn, Lsn) {
    let device = open(disk, 1);
    let log = create(&device, 0);
    commit(&log, 0..3, 3000);
    let behind = commit(&log, 3..4, 80_000);
    commit(&log, 4..6, 3000);
    let first = log.release_before(behind).expect("released");
    assert!(first > Lsn::ZERO && first < behind, "{first} lies inside the group before {behind}");
    (first, behind)
}

/// Promise: a walk shows every frame that is there, also what remains of a group whose beginning
/// was released, and gives whole groups only; whether the next start finds what it needs is told
/// from where it begins.
#[test]
fn a_released_log_is_walked_from_its_first_slot() {
    let disk = SimDisk::new(1);
    let (first, behind) = begun_inside_a_group(&disk);
    let disk = disk.restart();
    let found = inspect(&disk);
    assert_eq!(found.logs()[0].first_lsn, first);
    for start in [None, Some(behind), Some(behind.advanced(SECTOR as u64))] {
        let mut walk = found.walk(identity(0), start, NOTHING);
        let (mut passed, mut entries) = (Vec::new(), Vec::new());
        while let Some((frames, groups)) = walk.next() {
            passed.extend(frames);
            let all = groups.iter().flat_map(|group| group.entries());
            entries.extend(all.map(|entry| number(entry.bytes)));
        }
        assert_eq!(passed[0].header.lsn, first, "{start:?}");
        assert_eq!(passed.last().map(|frame| frame.header.end()), Some(behind.advanced(8192)));
        assert_eq!(entries, [4, 5], "{start:?}");
        assert!(walk.chain_at_start().is_some(), "{start:?}");
        assert!(matches!(walk.verdict(), Verdict::Clean { .. }), "{start:?}");
    }
    let refused = |start| match found.walk(identity(0), Some(start), NOTHING).verdict() {
        Verdict::Damaged(damage) => damage,
        other => panic!("from {start}: {other:?}"),
    };
    assert!(matches!(refused(Lsn::ZERO), Damage::Missing { .. }));
    assert!(matches!(refused(first), Damage::Frame { .. } | Damage::NotABoundary { .. }));
    let inside = first.advanced(SECTOR as u64);
    assert!(matches!(refused(inside), Damage::NotABoundary { .. }));
}

/// Promise: behind damage all good frames are found, in later slots too, and the entries of whole
/// groups are counted; the damaged group's other frames are frames, and no entry.
#[test]
fn good_frames_behind_damage_are_found() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    commit(&log, 0..3, 3000);
    let group = commit(&log, 3..4, 80_000);
    let end = commit(&log, 4..30, 3000);
    drop((log, device));
    let whole = inspect(&disk);
    let all = whole.behind(identity(0), Lsn::ZERO);
    assert_eq!((all.groups, all.entries, all.unreadable), (29, 29, 0), "the first is left out");
    let damaged = all.frames[2];
    assert!(damaged.header.lsn < group && damaged.header.continues());
    disk.flip(&arena(), damaged.offset + 1000, 3);
    let found = inspect(&disk.restart());
    let Verdict::Damaged(Damage::Frame { lsn, offset, .. }) =
        found.walk(identity(0), Some(Lsn::ZERO), NOTHING).verdict()
    else {
        panic!("a flip below later frames is damage");
    };
    assert_eq!((lsn, offset), (damaged.header.lsn, damaged.offset));
    let behind = found.behind(identity(0), lsn);
    assert_eq!(behind.frames, all.frames[3..]);
    assert_eq!((behind.groups, behind.entries), (26, 26), "entries 4 to 29");
    assert_eq!(behind.frames.last().map(|frame| frame.header.end()), Some(end));
    assert_eq!(found.behind(identity(1), Lsn::ZERO), Behind::default(), "no such log");
}

/// Promise: of a torn end it is told which frame is not whole, and why.
#[test]
fn a_torn_end_says_at_which_frame() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let last = commit(&log, 0..5, 3000);
    commit(&log, 5..6, 3000);
    let offset = offset_of(&device, last);
    drop((log, device));
    disk.flip(&arena(), offset + 500, 3);
    let Verdict::Torn { at, stop: Some(stop), .. } =
        inspect(&disk.restart()).walk(identity(0), Some(Lsn::ZERO), NOTHING).verdict()
    else {
        panic!("nobody knows that the last frame was durable");
    };
    assert_eq!((at, stop.lsn, stop.offset), (last, last, offset));
    assert!(matches!(stop.flaw, Flaw::PayloadSum { .. }), "{stop:?}");
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
