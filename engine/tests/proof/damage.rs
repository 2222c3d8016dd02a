//! Every byte of a small data directory is damaged in turn, files are cut, deleted, doubled and
//! swapped. The outcome is the committed rows, or an error that names the place; never other rows,
//! a panic, or memory that a damaged number asked for. Rows D03 to D14, D30, D31, D34, D35, I12.

use std::path::{Path, PathBuf};

use resprout_engine::table::{TableSchema, Value};
use resprout_engine::{DatabaseOptions, Durability, Engine, Partition, State};
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::world::Rng;

use crate::allocations;
use crate::contents::{Node, contents, node};
use crate::harness::{open, options, seeds, try_open};

/// No file of the directory is larger than this; what is read of it may be held a few times.
const MEMORY_MAX: usize = 8 << 20;

fn put(partition: &Partition, keys: std::ops::Range<i64>) {
    let table = partition.table("t").expect("it was made");
    for key in keys {
        let mut txn = partition.begin().expect("online");
        let row = [Value::Int(key), Value::Text(format!("row {key} of {}", partition.name()))];
        txn.insert(&table, &row).expect("a new row");
        txn.commit().expect("a commit");
    }
}

/// A directory with two partitions; the first has two snapshots and the log behind the older one.
/// Ended clean: after a crash in the very moment of an acknowledgement a damaged last frame cannot be
/// told from a torn one.
struct Directory {
    disk: SimDisk,
    whole: Node,
}

fn directory() -> Directory {
    let disk = SimDisk::new(5);
    let engine = Engine::open("/data", two_snapshots(&disk, 1)).expect("a new directory");
    let one = DatabaseOptions { partitions: 2, durability: Durability::Sync };
    let database = engine.create_database("d", one).expect("a new database");
    let schema = TableSchema::builder("t")
        .column("id", "bigint")
        .column("name", "varchar(100)")
        .primary_key(&["id"])
        .index("by_name", &["name"])
        .build();
    database.create_table(&schema.expect("a sound schema")).expect("a new table");
    let (first, second) = (&database.partitions()[0], &database.partitions()[1]);
    put(second, 0..4);
    put(first, 0..4);
    first.snapshot().expect("a snapshot");
    put(first, 4..8);
    first.snapshot().expect("a snapshot");
    put(first, 8..11);
    put(second, 4..6);
    let whole = node(&engine);
    engine.close().expect("a clean end");
    Directory { disk: disk.restart(), whole }
}

fn two_snapshots(disk: &SimDisk, run: u64) -> resprout_engine::Options {
    resprout_engine::Options { snapshots_to_keep: 2, ..options(disk, run) }
}

/// What became of a damaged directory.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    online: usize,
    unrecoverable: usize,
    refused: bool,
}

/// Opens a damaged directory and checks that nothing in it is wrong without being said.
fn judge(whole: &Node, disk: &SimDisk, what: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let (opened, most) = allocations::largest(|| try_open(disk, 2));
    assert!(most < MEMORY_MAX, "{what}: {most} bytes were asked for at once");
    let engine = match opened {
        Ok(engine) => engine,
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains("/data"), "{what}: {error} names no file");
            outcome.refused = true;
            return outcome;
        }
    };
    for partition in engine.databases().iter().flat_map(|database| database.partitions()) {
        if partition.state() == State::Online {
            assert_eq!(contents(partition), whole[partition.name()], "{what}");
            outcome.online += 1;
            continue;
        }
        assert_eq!(partition.state(), State::Unrecoverable, "{what}");
        let error = partition.status().error.expect("a reason");
        assert!(error.contains("/data"), "{what}: {error} names no file");
        outcome.unrecoverable += 1;
    }
    outcome
}

/// Whether damage there can concern only one of the partitions.
fn is_private(path: &Path, offset: u64) -> bool {
    path.ends_with("wal.arena") && offset >= 64 << 10 || path.to_string_lossy().contains("/d/")
}

/// D03 to D06, D14, D30, I12: one flipped bit anywhere.
#[test]
fn d03_to_d06_d30_every_byte_flipped() {
    let Directory { disk, whole } = directory();
    let mut rng = Rng::new(1);
    let (mut flips, mut seen, mut fallbacks) = (0, 0, 0);
    for path in disk.files() {
        let bytes = disk.contents(&path).expect("it is listed");
        // Bytes of zero sectors are many and all alike: some of them stand for the rest.
        let mut at = rng.below(7);
        while at < bytes.len() as u64 {
            let sector = (at / 4096 * 4096) as usize;
            let end = bytes.len().min(sector + 4096);
            let zeros = bytes[sector..end].iter().all(|byte| *byte == 0);
            let damaged = disk.after_crash(0);
            damaged.flip(&path, at, rng.below(8) as u8);
            let what = format!("bit of byte {at} of {}", path.display());
            let outcome = judge(&whole, &damaged, &what);
            if is_private(&path, at) {
                assert!(!outcome.refused && outcome.online >= 1, "{what}: {outcome:?}");
            }
            if path.extension().is_some_and(|extension| extension == "rsnap") {
                // An older snapshot, or the beginning, and the longer log.
                assert_eq!(outcome.online, 2, "{what}: no way around a damaged snapshot");
                fallbacks += 1;
            }
            flips += 1;
            seen += usize::from(outcome.online < 2);
            at += if zeros { 2000 + rng.below(4000) } else { 1 + rng.below(step(&path)) };
        }
    }
    assert!(flips > 2000 && seen > 500 && fallbacks > 100, "{flips} {seen} {fallbacks}");
}

/// How far apart flips are: everything small is flipped byte by byte.
fn step(path: &Path) -> u64 {
    let thinned = path.ends_with("wal.arena") || path.extension().is_some_and(|e| e == "rsnap");
    let more = seeds(1).end.clamp(1, 50);
    if thinned { (51 - more).max(1) } else { 4 }
}

fn snapshots(disk: &SimDisk) -> Vec<PathBuf> {
    let is_snapshot = |path: &PathBuf| path.extension().is_some_and(|e| e == "rsnap");
    disk.files().into_iter().filter(is_snapshot).collect()
}

/// D07 to D09, D31: files that are shorter or gone.
#[test]
fn d07_d08_d09_d31_files_cut_and_deleted() {
    let Directory { disk, whole } = directory();
    for path in disk.files() {
        let len = disk.contents(&path).expect("it is listed").len() as u64;
        for part in 0..16 {
            let damaged = disk.after_crash(0);
            damaged.truncate(&path, len * part / 16);
            judge(&whole, &damaged, &format!("{} cut to {part}/16", path.display()));
        }
        let damaged = disk.after_crash(0);
        resprout_wal::disk::Disk::remove(&damaged, &path).expect("it is there");
        let what = format!("{} deleted", path.display());
        let outcome = judge(&whole, &damaged, &what);
        let harmless = path.to_string_lossy().ends_with("lock");
        let manifest = path.extension().is_some_and(|extension| extension == "db");
        if manifest {
            // No file says that there was a database; its logs are kept, and listed.
            assert_eq!(outcome, Outcome::default());
            assert_eq!(open(&damaged.restart(), 3).status().orphans.len(), 2, "M16");
        } else if !harmless && snapshots(&disk).contains(&path) {
            assert_eq!(outcome.online, 2, "{what}");
        } else if !harmless {
            assert!(outcome.online < 2, "{what} went unnoticed");
        }
    }
}

/// D10 to D12: files and slots in places where they do not belong.
#[test]
fn d10_d11_d12_files_and_slots_swapped() {
    let Directory { disk, whole } = directory();
    let files = disk.files();
    for from in &files {
        for to in &files {
            let damaged = disk.after_crash(0);
            damaged.copy(from, to);
            let what = format!("{} over {}", from.display(), to.display());
            let outcome = judge(&whole, &damaged, &what);
            assert!(outcome.refused || outcome.online + outcome.unrecoverable == 2, "{what}");
        }
    }
    let arena = Path::new("/data/wal.arena");
    let bytes = disk.contents(arena).expect("there is one");
    let slots = bytes.len() / (64 << 10);
    for (from, to) in (1..slots).flat_map(|from| (1..slots).map(move |to| (from, to))) {
        let damaged = disk.after_crash(0);
        let slot = &bytes[from << 16..(from + 1) << 16];
        damaged.overwrite(arena, (to << 16) as u64, slot);
        judge(&whole, &damaged, &format!("slot {from} over slot {to}"));
    }
    for (at, sector) in bytes.chunks(4096).enumerate().skip(16) {
        if sector.iter().all(|byte| *byte == 0) {
            continue;
        }
        // A write that landed one sector further on.
        let damaged = disk.after_crash(0);
        damaged.overwrite(arena, (at as u64 + 1) * 4096, sector);
        judge(&whole, &damaged, &format!("sector {at} over the next"));
    }
}

/// D30, D35: with the newest snapshot damaged, the one before and the longer log give the same
/// rows; with both damaged, the whole log does, as long as it is there.
#[test]
fn d30_d35_newest_snapshot_damaged() {
    let Directory { disk, whole } = directory();
    let found = snapshots(&disk);
    assert_eq!(found.len(), 2);
    for count in 1..=2 {
        let damaged = disk.after_crash(0);
        for path in &found[2 - count..] {
            damaged.flip(path, 100, 3);
        }
        let outcome = judge(&whole, &damaged, "damaged snapshots");
        assert_eq!(outcome, Outcome { online: 2, ..Outcome::default() });
    }
}
