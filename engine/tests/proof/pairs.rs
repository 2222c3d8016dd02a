//! A position and the data that it describes are one. Row D34.

use std::collections::BTreeMap;
use std::path::Path;

use resprout_engine::{Engine, Options};
use resprout_snapshot::{Digest, Snapshot};
use resprout_wal::disk::sim::{Effect, Fault, SimDisk};

use crate::harness::{DIR, options};
use crate::workload::{Run, STEPS, run_until_error};

/// What a partition held at a position of a term, as the digest of all its rows, those that it
/// keeps of itself included. By instance, since names are used again.
type Pairs = BTreeMap<(u64, u64, u64), Digest>;

fn digest(partition: &resprout_engine::Partition) -> Digest {
    let view = partition.view().expect("online");
    let (mut digest, mut key) = (Digest::EMPTY, Vec::new());
    let mut scan = view.range(&[], None);
    while scan.next() {
        scan.key_into(&mut key);
        digest.add_row(&key, scan.value());
    }
    digest
}

fn note(engine: &Engine, pairs: &mut Pairs) {
    for partition in engine.databases().iter().flat_map(|database| database.partitions()) {
        let status = partition.status();
        let at = (status.instance, status.term.0, status.committed.0);
        let found = digest(partition);
        let before = pairs.insert(at, found);
        assert!(before.is_none_or(|before| before == found), "{at:?} describes two states");
    }
}

/// All pairs of an undisturbed history, and how many operations it has.
fn undisturbed() -> (Pairs, usize) {
    let disk = SimDisk::new(0);
    let engine = Engine::open(DIR, options(&disk, 0)).expect("a new directory");
    let mut run = Run::new(engine);
    let mut pairs = Pairs::new();
    for step in STEPS {
        run.step(*step).unwrap_or_else(|error| panic!("{step:?}: {error}"));
        note(&run.engine, &mut pairs);
    }
    (pairs, disk.operations())
}

/// Every snapshot that can be opened holds exactly what the history held at its position.
fn check_snapshots(disk: &SimDisk, pairs: &Pairs, what: &str) -> usize {
    let is_snapshot = |path: &Path| path.extension().is_some_and(|e| e == "rsnap");
    let mut checked = 0;
    for path in disk.files().into_iter().filter(|path| is_snapshot(path)) {
        let Ok(snapshot) = Snapshot::open(disk, &path, None) else { continue };
        let header = snapshot.header();
        let at = (header.identity.instance, header.term.0, header.lsn.0);
        assert_eq!(pairs.get(&at), Some(&snapshot.digest()), "{what}: {}", path.display());
        checked += 1;
    }
    checked
}

/// D34: whatever operation the power fails at, between writing data and noting how far they
/// reach, a start finds a pair of both that the history had: in each snapshot file, and in what
/// it recovers.
#[test]
fn d34_position_and_data_are_one() {
    let (pairs, operations) = undisturbed();
    let (mut snapshots, mut recovered) = (0, 0);
    for k in 0..operations {
        let disk = SimDisk::new(0);
        disk.forget_unflushed();
        let effect = [Effect::CrashBefore, Effect::CrashDuring, Effect::CrashAfter][k % 3];
        disk.fail(Fault::at(k as u64, effect));
        if let Ok(engine) = Engine::open(DIR, options(&disk, 0)) {
            run_until_error(&mut Run::new(engine));
        }
        let what = format!("{effect:?} at {k}");
        let disk = disk.restart();
        snapshots += check_snapshots(&disk, &pairs, &what);
        // Left as recovered: being attached begins a term, which moves the position.
        let pending = Options { attach: false, ..options(&disk, 1) };
        let engine = Engine::open(DIR, pending).unwrap_or_else(|error| panic!("{what}: {error}"));
        for partition in engine.databases().iter().flat_map(|database| database.partitions()) {
            let status = partition.status();
            let at = (status.instance, status.term.0, status.committed.0);
            partition.attach().unwrap_or_else(|error| panic!("{what}: {error}"));
            let name = partition.name();
            assert_eq!(pairs.get(&at), Some(&digest(partition)), "{what}: {name} at {at:?}");
            recovered += 1;
        }
    }
    assert!(snapshots > operations / 2 && recovered > operations, "{snapshots} {recovered}");
}
