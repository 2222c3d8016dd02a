//! Damage stays where it is: it does not get into the next snapshot. Row D26.

use resprout_engine::table::{TableSchema, Value};
use resprout_engine::{DatabaseOptions, Durability, Engine, Error, Options, Partition, State};
use resprout_snapshot::Snapshot;
use resprout_wal::disk::Disk;
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::world::Rng;

use crate::contents::{Contents, contents};
use crate::harness::{DIR, open, options, seeds, try_open};

fn put(partition: &Partition, ids: std::ops::Range<i64>) {
    let table = partition.table("t").expect("it was made");
    for id in ids {
        let mut txn = partition.begin().expect("online");
        let pad = Value::Text(format!("{id} ").repeat(300));
        txn.insert(&table, &[Value::Int(id), pad]).expect("a new row");
        txn.commit().expect("a commit");
    }
}

/// A node with two snapshots, some log behind them, and rows in all three.
fn node(disk: &SimDisk) -> Engine {
    let options = Options { snapshots_to_keep: 2, ..options(disk, 0) };
    let engine = Engine::open(DIR, options).expect("a new directory");
    let one = DatabaseOptions { partitions: 1, durability: Durability::Sync };
    let database = engine.create_database("d", one).expect("a new database");
    let schema = TableSchema::builder("t").column("id", "bigint").column("pad", "text");
    let schema = schema.primary_key(&["id"]).build().expect("a sound schema");
    database.create_table(&schema).expect("a new table");
    let partition = &database.partitions()[0];
    put(partition, 0..20);
    partition.snapshot().expect("a snapshot");
    put(partition, 20..40);
    partition.snapshot().expect("a snapshot");
    put(partition, 40..50);
    engine
}

fn first(engine: &Engine) -> Partition {
    engine.database("d").expect("it was made").partitions()[0].clone()
}

/// What a start from the newest snapshot alone finds: the others, which might help, are gone.
fn from_newest_snapshot(disk: &SimDisk) -> Contents {
    let snapshots =
        disk.files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "rsnap"));
    let mut snapshots: Vec<_> = snapshots
        .filter_map(|path| Some((Snapshot::open(disk, &path, None).ok()?.lsn(), path)))
        .collect();
    snapshots.sort();
    let (_, newest) = snapshots.pop().expect("one was taken");
    for (_, older) in snapshots {
        disk.remove(&older).expect("it is there");
    }
    let engine = open(disk, 9);
    let used = first(&engine).status().snapshot_lsn.map(resprout_snapshot::file_name);
    assert!(used.is_some_and(|name| newest.ends_with(name)), "{} is used", newest.display());
    contents(&first(&engine))
}

/// D26: a bit of the files that a node recovers from flips. Either the copy says that it cannot
/// be read, or what it recovers is right, and so is the snapshot that it takes next, which then
/// is all that is left.
#[test]
fn d26_damage_does_not_reach_the_next_snapshot() {
    let disk = SimDisk::new(1);
    node(&disk).close().expect("a clean end");
    let disk = disk.restart();
    // The rows that are added after the damage.
    let added = {
        let engine = open(&disk.after_crash(0), 1);
        put(&first(&engine), 100..102);
        contents(&first(&engine))
    };
    let data = |path: &std::path::PathBuf| {
        path.ends_with("wal.arena") || path.extension().is_some_and(|e| e == "rsnap")
    };
    let files: Vec<_> = disk.files().into_iter().filter(data).collect();
    let (mut refused, mut recovered) = (0, 0);
    for seed in seeds(400) {
        let mut rng = Rng::new(seed);
        let path = &files[rng.below(files.len() as u64) as usize];
        let damaged = disk.after_crash(0);
        let bytes = damaged.contents(path).expect("it is listed");
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let at = used[rng.below(used.len() as u64) as usize] as u64;
        damaged.flip(path, at, rng.below(8) as u8);
        let Ok(engine) = try_open(&damaged, 1) else { continue };
        let partition = first(&engine);
        if partition.state() != State::Online {
            assert!(matches!(partition.snapshot(), Err(Error::NotOnline { .. })));
            refused += 1;
            continue;
        }
        put(&partition, 100..102);
        partition.snapshot().expect("a snapshot");
        drop((partition, engine));
        let what = format!("seed {seed}: byte {at} of {}", path.display());
        assert!(from_newest_snapshot(&damaged.restart()) == added, "{what}");
        recovered += 1;
    }
    let few = seeds(400).end - seeds(400).start < 400;
    assert!(few || refused > 10 && recovered > 100, "{refused} refused, {recovered} recovered");
}

/// D26: what reaches the disk other than it was written never becomes a snapshot, because each is
/// read back before it counts; the one before and the log stay, and the next attempt is whole.
#[test]
fn d26_a_snapshot_that_was_not_written_right_does_not_count() {
    let (mut refused, mut written) = (0, 0);
    for seed in seeds(120) {
        let mut rng = Rng::new(seed);
        let k = rng.below(4);
        let effect = match rng.below(4) {
            0 => [Effect::Lost, Effect::Misdirected(4096), Effect::Misdirected(-4096)]
                [rng.below(3) as usize],
            _ => Effect::Flipped(rng.next()),
        };
        let disk = SimDisk::new(seed);
        let engine = node(&disk);
        let partition = first(&engine);
        let whole = contents(&partition);
        let before = disk.files();
        disk.fail(Fault::on(OpKind::Write, k, effect).in_path("snapshot"));
        let taken = partition.snapshot();
        disk.heal();
        let what = format!("seed {seed}, {effect:?} of write {k}");
        written += usize::from(taken.is_ok());
        if taken.is_err() {
            refused += 1;
            assert_eq!(disk.files(), before, "{what}: what was there stays, and nothing else");
            partition.snapshot().unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        drop((partition, engine));
        assert!(from_newest_snapshot(&disk.restart()) == whole, "{what}");
    }
    // There are fewer writes than the largest `k`, so some are not hit.
    let few = seeds(120).end - seeds(120).start < 120;
    assert!(few || refused > 20 && written > 0, "{refused} refused, {written} written");
}
