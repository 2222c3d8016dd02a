//! The fault model of the simulated disk: each fault strikes as described, and a seed names what
//! happens.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use resprout_wal::SECTOR;
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk, is_crash};
use resprout_wal::disk::{AlignedBuf, Cache, Disk, FileRef, Open, Request};

fn dir() -> &'static Path {
    Path::new("/data")
}

fn file() -> &'static Path {
    Path::new("/data/file")
}

/// A disk with one durable, empty file.
fn disk_with_file(seed: u64) -> (SimDisk, FileRef) {
    let disk = SimDisk::new(seed);
    disk.create_dir(dir()).unwrap();
    let file = disk.open(file(), Open::Create, Cache::Buffered).unwrap();
    disk.sync_dir(dir()).unwrap();
    (disk, file)
}

fn sector(byte: u8) -> AlignedBuf {
    AlignedBuf::copied(&[byte; SECTOR]).unwrap()
}

/// For each sector of the file its byte, if it is the same all over the sector.
fn sectors(disk: &SimDisk, path: &Path) -> Vec<Option<u8>> {
    let contents = disk.contents(path).unwrap();
    let whole = |part: &[u8]| part.iter().all(|byte| *byte == part[0]).then_some(part[0]);
    contents.chunks(SECTOR).map(whole).collect()
}

/// Promise: what was flushed survives every crash; what was not has every fate, sector by sector.
#[test]
fn d01_unflushed_writes_survive_vanish_or_tear() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let (disk, file) = disk_with_file(1);
        file.write_at(&[1; 2 * SECTOR], 0).unwrap();
        file.flush().unwrap();
        file.write_at(&[2; 2 * SECTOR], 0).unwrap();
        let disk = disk.crash(seed);
        seen.insert(sectors(&disk, crate::file()));
    }
    let all = [[1, 1], [1, 2], [2, 1], [2, 2]].map(|pair| pair.map(Some).to_vec());
    assert_eq!(seen, BTreeSet::from(all));
}

/// Promise: with 512-byte sectors a 4 KiB write may tear inside.
#[test]
fn small_sectors_tear_inside_a_page() {
    let torn = (0..50).any(|seed| {
        let (disk, file) = disk_with_file(1);
        disk.set_tear(512);
        file.write_at(&[1; SECTOR], 0).unwrap();
        file.flush().unwrap();
        file.write_at(&[2; SECTOR], 0).unwrap();
        sectors(&disk.crash(seed), crate::file()) == [None]
    });
    assert!(torn);
}

/// Promise: a durable write is not undone by an older one that was still on its way.
#[test]
fn d16_an_older_pending_write_never_covers_a_durable_one() {
    for seed in 0..100 {
        let (disk, file) = disk_with_file(seed);
        file.write_at(&[1; 3 * SECTOR], 0).unwrap();
        let mut queue = disk.queue(1).unwrap();
        let buf = sector(2).into_io();
        queue.push(0, write(&file, SECTOR as u64, buf, true));
        queue.wait(1, &mut Vec::new()).unwrap();
        let disk = disk.crash(seed);
        assert_eq!(sectors(&disk, crate::file())[1], Some(2), "seed {seed}");
    }
}

fn write(file: &FileRef, offset: u64, buf: resprout_wal::disk::IoBuf, durable: bool) -> Request {
    Request::Write { file: Arc::clone(file), offset, buf, durable }
}

/// Promise: a flush covers the writes that had completed when it was pushed, and no others.
#[test]
fn a_flush_covers_only_completed_writes() {
    let (mut lost_late, mut lost_early) = (false, false);
    for seed in 0..100 {
        let (disk, file) = disk_with_file(seed);
        let mut queue = disk.queue(8).unwrap();
        let mut done = Vec::new();
        queue.push(0, write(&file, 0, sector(1).into_io(), false));
        queue.wait(1, &mut done).unwrap();
        queue.push(1, write(&file, SECTOR as u64, sector(2).into_io(), false));
        queue.push(2, Request::Flush { file: Arc::clone(&file) });
        queue.wait(2, &mut done).unwrap();
        assert_eq!(done.len(), 3);
        let disk = disk.crash(seed);
        let contents = disk.contents(crate::file()).unwrap();
        lost_early |= contents[0] != 1;
        lost_late |= contents.get(SECTOR) != Some(&2);
    }
    assert!(!lost_early, "a completed write is covered");
    assert!(lost_late, "a write in flight is not");
}

/// Promise: names are lost or kept as a prefix per directory, and kept after `sync_dir`.
#[test]
fn d17_names_survive_as_a_prefix() {
    let names = ["a", "b", "c"].map(|name| dir().join(name));
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(1);
        disk.create_dir(dir()).unwrap();
        for name in &names {
            disk.open(name, Open::Create, Cache::Buffered).unwrap();
        }
        let files = disk.crash(seed).files();
        assert!(names.starts_with(&files), "{files:?} is no prefix");
        seen.insert(files.len());
        let disk = SimDisk::new(1);
        disk.create_dir(dir()).unwrap();
        disk.open(&names[0], Open::Create, Cache::Buffered).unwrap();
        disk.sync_dir(dir()).unwrap();
        assert_eq!(disk.crash(seed).files(), [names[0].clone()]);
    }
    assert_eq!(seen, BTreeSet::from([0, 1, 2, 3]));
}

/// Promise: a rename is atomic: after a crash exactly one of the old and new file has the name.
#[test]
fn d17_a_rename_is_atomic_but_not_durable() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let (disk, old) = disk_with_file(1);
        old.write_at(&[1], 0).unwrap();
        old.flush().unwrap();
        let aside = dir().join("aside");
        let new = disk.open(&aside, Open::Create, Cache::Buffered).unwrap();
        new.write_at(&[2], 0).unwrap();
        new.flush().unwrap();
        disk.rename(&aside, file()).unwrap();
        seen.insert(disk.after_crash(seed).contents(file()).unwrap());
        disk.sync_dir(dir()).unwrap();
        assert_eq!(disk.crash(seed).contents(file()).unwrap(), [2]);
    }
    assert_eq!(seen, BTreeSet::from([vec![1], vec![2]]));
}

/// Promise: a rename without a flush of the file may leave the name with other bytes.
#[test]
fn a_rename_does_not_flush_the_file() {
    let lost = (0..100).any(|seed| {
        let (disk, handle) = disk_with_file(1);
        handle.write_at(&[1; 10], 0).unwrap();
        let to = dir().join("named");
        disk.rename(file(), &to).unwrap();
        disk.sync_dir(dir()).unwrap();
        disk.crash(seed).contents(&to).unwrap() != [1; 10]
    });
    assert!(lost);
}

/// Promise: after a crash every older handle, queue, lock and the disk itself refuse to work, and
/// the next run finds the lock free.
#[test]
fn d38_a_crash_ends_the_run_and_frees_its_locks() {
    let (old, handle) = disk_with_file(1);
    let lock_path = dir().join("LOCK");
    let lock = old.lock(&lock_path).unwrap();
    assert_eq!(old.lock(&lock_path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let mut queue = old.queue(4).unwrap();
    queue.push(7, write(&handle, 0, sector(1).into_io(), true));
    let disk = old.crash(1);
    let mut done = Vec::new();
    queue.wait(1, &mut done).unwrap();
    assert_eq!(done[0].token, 7);
    assert!(done[0].buf.is_some(), "the buffer comes back");
    assert!(is_crash(done[0].result.as_ref().unwrap_err()));
    assert!(is_crash(&queue.wait(1, &mut done).unwrap_err()));
    assert!(is_crash(&handle.write_at(&[1], 0).unwrap_err()));
    assert!(is_crash(&handle.flush().unwrap_err()));
    assert!(is_crash(&old.open(file(), Open::Read, Cache::Buffered).unwrap_err()));
    let again = disk.lock(&lock_path).unwrap();
    drop(lock);
    assert!(disk.lock(&lock_path).is_err(), "a dead run's guard must not free the lock");
    drop(again);
    disk.lock(&lock_path).unwrap();
}

/// Promise: a killed process loses nothing that it wrote.
#[test]
fn p03_a_kill_keeps_what_was_written() {
    let (disk, handle) = disk_with_file(1);
    handle.write_at(&[1; 5], 0).unwrap();
    let disk = disk.restart();
    assert_eq!(disk.contents(file()).unwrap(), [1; 5]);
    assert!(is_crash(&handle.len().unwrap_err()));
}

/// Promise: what a killed process had in flight is covered by a flush of the next one.
#[test]
fn p03_a_flush_after_a_kill_covers_requests_in_flight() {
    for seed in 0..20 {
        let (disk, handle) = disk_with_file(seed);
        let mut queue = disk.queue(1).unwrap();
        queue.push(0, write(&handle, 0, sector(1).into_io(), false));
        let disk = disk.restart();
        disk.open(file(), Open::Write, Cache::Buffered).unwrap().flush().unwrap();
        assert_eq!(sectors(&disk.crash(seed), file()), [Some(1)]);
    }
}

/// Promise: a file closes with the last request that has it, whatever thread that happens in.
#[test]
fn a_request_may_hold_the_last_handle() {
    for crashes in [false, true] {
        let (disk, handle) = disk_with_file(1);
        let mut queue = disk.queue(1).unwrap();
        queue.push(0, write(&handle, 0, sector(1).into_io(), false));
        drop(handle);
        let disk = if crashes { disk.crash(1) } else { disk };
        queue.wait(1, &mut Vec::new()).unwrap();
        disk.remove(file()).unwrap();
    }
}

/// Promise: a crash before, during or after a durable write leaves nothing, any part, everything.
#[test]
fn a_crash_strikes_before_during_or_after() {
    let outcomes = |effect| -> BTreeSet<Vec<u8>> {
        let outcome = |seed| {
            let (disk, file) = disk_with_file(seed);
            disk.fail(Fault::at(0, effect));
            let mut queue = disk.queue(1).unwrap();
            queue.push(0, write(&file, 0, sector(3).into_io(), true));
            let mut done = Vec::new();
            queue.wait(1, &mut done).unwrap();
            assert!(is_crash(done[0].result.as_ref().unwrap_err()));
            assert!(disk.crashed());
            let mut bytes = disk.restart().contents(crate::file()).unwrap();
            bytes.dedup();
            bytes
        };
        (0..60).map(outcome).collect()
    };
    assert_eq!(outcomes(Effect::CrashBefore), BTreeSet::from([vec![]]));
    assert_eq!(outcomes(Effect::CrashDuring), BTreeSet::from([vec![], vec![3]]));
    assert_eq!(outcomes(Effect::CrashAfter), BTreeSet::from([vec![3]]));
}

/// Promise: after a failed flush readers see the data, a second flush says fine, and the medium
/// may still not have it (catalogue rule 17).
#[test]
fn d18_a_failed_flush_is_never_made_good_by_another() {
    let lost = (0..50).any(|seed| {
        let (disk, handle) = disk_with_file(seed);
        handle.write_at(&[1; SECTOR], 0).unwrap();
        disk.fail(Fault::on(OpKind::Flush, 0, Effect::Error(libc::EIO)));
        assert_eq!(handle.flush().unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(disk.contents(file()).unwrap(), [1; SECTOR]);
        handle.flush().unwrap();
        disk.crash(seed).contents(file()).unwrap() != [1; SECTOR]
    });
    assert!(lost);
}

/// Promise: short, lost and misdirected writes do what their names say.
#[test]
fn d12_d13_d20_writes_go_short_astray_or_missing() {
    let (disk, handle) = disk_with_file(1);
    disk.fail(Fault::on(OpKind::Write, 0, Effect::Short(10)));
    assert_eq!(handle.write_at(&[1; 20], 0).unwrap_err().kind(), io::ErrorKind::WriteZero);
    assert_eq!(disk.contents(file()).unwrap(), [1; 10]);
    disk.fail(Fault::on(OpKind::Write, 0, Effect::Lost));
    handle.write_at(&[2; 10], 0).unwrap();
    assert_eq!(disk.contents(file()).unwrap(), [1; 10]);
    disk.fail(Fault::on(OpKind::Write, 0, Effect::Misdirected(10)));
    handle.write_at(&[3; 5], 0).unwrap();
    assert_eq!(disk.contents(file()).unwrap(), [[1; 5], [1; 5], [3; 5]].concat());
}

/// Promise: a fault counts only what it is for, and strikes once.
#[test]
fn faults_count_by_kind_and_path() {
    let (disk, handle) = disk_with_file(1);
    let other = disk.open(&dir().join("other"), Open::Create, Cache::Buffered).unwrap();
    disk.fail(Fault::on(OpKind::Write, 1, Effect::Error(libc::EIO)).in_path("other"));
    handle.write_at(&[1], 0).unwrap();
    other.flush().unwrap();
    other.write_at(&[1], 0).unwrap();
    handle.write_at(&[1], 0).unwrap();
    other.write_at(&[1], 0).unwrap_err();
    other.write_at(&[1], 0).unwrap();
}

/// Promise: reads fail when told, and are not counted with the operations that change something.
#[test]
fn d25_the_nth_read_fails() {
    let (disk, handle) = disk_with_file(1);
    handle.write_at(&[1; 8], 0).unwrap();
    let before = disk.operations();
    disk.fail(Fault::on(OpKind::Read, 1, Effect::Error(libc::EIO)));
    handle.read_at(&mut [0; 8], 0).unwrap();
    let error = handle.read_at(&mut [0; 8], 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert_eq!(disk.operations(), before);
}

/// Promise: a full disk says so, keeps what it has, and takes writes again when there is room.
#[test]
fn d21_a_full_disk_refuses_growth_only() {
    let (disk, handle) = disk_with_file(1);
    disk.set_capacity(Some(10));
    handle.write_at(&[1; 10], 0).unwrap();
    let error = handle.write_at(&[2; 10], 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.contents(file()).unwrap(), [1; 10]);
    handle.write_at(&[3; 10], 0).unwrap();
    handle.write_at(&[3; 5], 0).unwrap();
    disk.set_capacity(None);
    handle.write_at(&[2; 10], 10).unwrap();
}

/// Promise: damage from outside is seen by readers and survives a crash.
#[test]
fn damage_is_durable() {
    let (disk, handle) = disk_with_file(1);
    handle.write_at(&[0; 3], 0).unwrap();
    handle.flush().unwrap();
    disk.flip(file(), 1, 7);
    disk.copy(file(), &dir().join("copy"));
    disk.truncate(file(), 2);
    disk.overwrite(file(), 0, &[9]);
    assert_eq!(disk.contents(file()).unwrap(), [9, 128]);
    let disk = disk.crash(3);
    assert_eq!(disk.contents(file()).unwrap(), [9, 128]);
    assert_eq!(disk.contents(&dir().join("copy")).unwrap(), [0, 128, 0]);
}

/// Promise: a delayed completion comes later, but a wait for it does not hang.
#[test]
fn d27_a_delayed_completion_comes_later() {
    let (disk, handle) = disk_with_file(1);
    let mut queue = disk.queue(2).unwrap();
    disk.fail(Fault::on(OpKind::Write, 0, Effect::Delay(3)));
    queue.push(0, write(&handle, 0, sector(1).into_io(), true));
    let mut done = Vec::new();
    queue.wait(0, &mut done).unwrap();
    queue.wait(0, &mut done).unwrap();
    assert!(done.is_empty());
    queue.wait(1, &mut done).unwrap();
    assert_eq!(done.len(), 1);
}

/// Promise: completions come in orders and groups that callers cannot rely on.
#[test]
fn completions_come_in_any_order_and_number() {
    let (mut orders, mut counts) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..100 {
        let (disk, handle) = disk_with_file(seed);
        let mut queue = disk.queue(3).unwrap();
        for token in 0..3 {
            let buf = sector(1).into_io();
            queue.push(token, write(&handle, token * SECTOR as u64, buf, false));
        }
        let mut done = Vec::new();
        queue.wait(1, &mut done).unwrap();
        counts.insert(done.len());
        queue.wait(queue.in_flight(), &mut done).unwrap();
        orders.insert(done.iter().map(|end| end.token).collect::<Vec<_>>());
    }
    assert_eq!(counts, BTreeSet::from([1, 2, 3]));
    assert!(orders.len() == 6, "{orders:?}");
}

/// What a small workload with a fault did, as one value.
fn trace(seed: u64) -> String {
    let (disk, handle) = disk_with_file(seed);
    let mut queue = disk.queue(8).unwrap();
    let mut done = Vec::new();
    disk.fail(Fault::at(9, Effect::CrashDuring));
    for token in 0..12_u64 {
        let buf = sector(u8::try_from(token).unwrap() + 1).into_io();
        queue.push(token, write(&handle, token * SECTOR as u64, buf, token % 3 == 0));
        if queue.in_flight() > 4 && queue.wait(1, &mut done).is_err() {
            break;
        }
    }
    let order: Vec<_> = done.iter().map(|end| (end.token, end.result.is_ok())).collect();
    format!("{order:?} {:?} {:?}", disk.log(), sectors(&disk.restart(), file()))
}

/// Promise: the same seed gives the same trace, other seeds give others.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let traces: BTreeSet<String> = (0..20).map(trace).collect();
    assert!(traces.len() > 10, "seeds make a difference");
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed));
    }
}

/// Promise: a crash at every operation of a workload is reachable by counting.
#[test]
fn every_operation_can_be_the_last() {
    let workload = |disk: &SimDisk| -> io::Result<()> {
        disk.create_dir(dir())?;
        let file = disk.open(file(), Open::Create, Cache::Buffered)?;
        file.write_at(&[1; 100], 0)?;
        file.flush()?;
        disk.sync_dir(dir())?;
        disk.rename(crate::file(), &dir().join("renamed"))?;
        disk.sync_dir(dir())?;
        disk.remove(&dir().join("renamed"))?;
        disk.remove_dir(dir()).or_else(|error| if is_crash(&error) { Err(error) } else { Ok(()) })
    };
    let disk = SimDisk::new(1);
    workload(&disk).unwrap();
    assert_eq!(disk.operations(), 9);
    for last in 0..9 {
        for effect in [Effect::CrashBefore, Effect::CrashDuring, Effect::CrashAfter] {
            let disk = SimDisk::new(1);
            disk.fail(Fault::at(last, effect));
            assert!(is_crash(&workload(&disk).unwrap_err()), "at {last}");
            assert_eq!(disk.operations() as u64, last + 1);
            let disk = disk.restart();
            let named = disk.files();
            if last > 4 {
                assert!(named.len() <= 1, "{named:?}");
            }
        }
    }
}
