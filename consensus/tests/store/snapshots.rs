//! The files of the snapshots. Rows M08, D29, D30, D32.

use std::path::PathBuf;

use resprout_consensus::store::{SnapshotFlaw, Store, StoreError};
use resprout_consensus::{Ballot, Content, EntryId, Index, Term, Write, WriteId};
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::disk::{Cache, Disk, Open};

use crate::harness::*;
use crate::model::{Model, entry, snapshot};

fn id(index: u64) -> EntryId {
    EntryId::new(Term(1), Index(index))
}

fn file(index: u64) -> PathBuf {
    raft_dir().join(format!("raft-{index:020}-{:020}.snapshot", 1))
}

fn taken(at: u64, base: u64) -> Content {
    Content::Snapshot { snapshot: snapshot(id(at), 6000), base: id(base), installed: false }
}

/// A store with twelve entries and the snapshots of 5 and 10; the log begins behind `base`.
fn two_snapshots(disk: &SimDisk, base: u64) {
    let device = device(disk, 1);
    let mut store = create(&device, disk);
    let ballot = Ballot { term: Term(1), vote: None };
    let some = |range: std::ops::RangeInclusive<u64>| {
        Content::Entries(range.map(|index| entry(1, index, 100)).collect())
    };
    let contents = [Content::Vote(ballot), some(1..=7), taken(5, 2), some(8..=12), taken(10, base)];
    for (n, content) in (1..).zip(contents) {
        commit(&device, &mut store, vec![Write { id: WriteId(n), content }]);
    }
    store.close_clean().expect("closes");
}

/// Promise (D30): a damaged newest snapshot is replaced by the one before if the log holds what
/// lies between; nothing is lost.
#[test]
fn d30_an_older_snapshot_and_the_log_stand_in() {
    let disk = SimDisk::new(1);
    two_snapshots(&disk, 4);
    disk.flip(&file(10), 9000, 3);
    let device = device(&disk, 2);
    let (store, recovered) = open(&device, &disk);
    assert_eq!(recovered.snapshot.as_ref().expect("the older").meta.last, id(5));
    assert_eq!(recovered.base, id(4));
    assert_eq!(Model::of(&recovered).last(), id(12));
    // Starting again finds the same.
    store.close_clean().expect("closes");
    drop(device);
    let device = crate::harness::device(&disk, 3);
    let (mut store, recovered) = open(&device, &disk);
    assert_eq!(recovered.snapshot.expect("the older").meta.last, id(5));
    // And the same snapshot may be taken once more.
    commit(&device, &mut store, vec![Write { id: WriteId(1), content: taken(10, 4) }]);
    drop((store, device));
    let device = crate::harness::device(&disk, 4);
    assert_eq!(open(&device, &disk).1.snapshot.expect("the newest").meta.last, id(10));
}

/// Promise (D30): where the log begins later, a damaged or missing snapshot is an error that says
/// which file and what to do, and nothing is changed.
#[test]
fn d30_a_gap_behind_the_older_snapshot_is_an_error() {
    for missing in [false, true] {
        let disk = SimDisk::new(1);
        two_snapshots(&disk, 6);
        if missing {
            disk.remove(&file(10)).expect("removed");
        } else {
            disk.flip(&file(10), 9000, 3);
        }
        let device = device(&disk, 2);
        let before = disk.operations();
        let error = try_open(&device, &disk).expect_err("no state");
        assert_eq!(disk.operations(), before, "nothing is changed");
        let StoreError::Snapshot { flaw, base, .. } = &error else { panic!("{error}") };
        assert_eq!(matches!(flaw, SnapshotFlaw::Missing), missing);
        assert_eq!(*base, id(6));
        let text = error.to_string();
        assert!(text.contains("raft-00000000000000000010-"), "{text}");
        assert!(text.contains("remove this member"), "{text}");
    }
}

/// Promise (D30): no byte of a snapshot can change unnoticed, and none makes the start panic.
#[test]
fn d30_every_byte_of_a_metadata_snapshot_counts() {
    let disk = SimDisk::new(1);
    two_snapshots(&disk, 4);
    let len = disk.contents(&file(10)).expect("there").len() as u64;
    assert_eq!(len, 4096 + 4096 + 8192);
    let dense = (0..64).chain(4090..4400).chain(len - 3000..len - 2000);
    for at in dense.chain((0..len).step_by(97)) {
        let disk = disk.after_crash(0);
        disk.flip(&file(10), at, (at % 8) as u8);
        let (_, recovered) = open(&device(&disk, 2), &disk);
        let found = recovered.snapshot.expect("the older").meta.last;
        assert_eq!(found, id(5), "byte {at} does not count");
    }
    for to in [0, 1, 4095, 4096, 8192, len - 4096, len + 4096] {
        let disk = disk.after_crash(0);
        disk.truncate(&file(10), to);
        let (_, recovered) = open(&device(&disk, 2), &disk);
        assert_eq!(recovered.snapshot.expect("the older").meta.last, id(5), "cut at {to}");
    }
}

/// Promise (D11): a snapshot of another entry or another store under a good name is not taken for
/// it, and a foreign one is left where it is.
#[test]
fn d11_a_snapshot_of_another_store_or_entry_is_refused() {
    let disk = SimDisk::new(1);
    two_snapshots(&disk, 4);
    let other = SimDisk::new(2);
    let mut options = options();
    options.store = resprout_consensus::StoreId(99);
    let device = device(&other, 1);
    let store =
        Store::create(&device, std::sync::Arc::new(other.clone()), options, &Default::default());
    store.expect("another store").snapshot_writer().write(&snapshot(id(10), 6000)).expect("done");
    let foreign = other.contents(&file(10)).expect("there");
    drop(device);

    for (content, at) in [(disk.contents(&file(5)).expect("there"), 10), (foreign.clone(), 10)] {
        let disk = disk.after_crash(0);
        disk.overwrite(&file(at), 0, &content);
        let (_, recovered) = open(&crate::harness::device(&disk, 2), &disk);
        assert_eq!(recovered.snapshot.expect("the older").meta.last, id(5));
    }
    let path = file(77);
    disk.open(&path, Open::Create, Cache::Buffered).expect("made");
    disk.overwrite(&path, 0, &foreign);
    let (_, recovered) = open(&crate::harness::device(&disk, 2), &disk);
    assert_eq!(recovered.snapshot.expect("the newest").meta.last, id(10));
    assert!(disk.files().contains(&path), "it is not ours to remove");
}

/// Promise (D29): what a crash has left of a snapshot goes with the next start: an unfinished file,
/// and one that was finished and never counted.
#[test]
fn d29_leftovers_of_raft_go_with_the_next_start() {
    let disk = SimDisk::new(1);
    two_snapshots(&disk, 4);
    let unfinished = raft_dir().join(format!("raft-{:020}-{:020}.snapshot.tmp", 11, 1));
    disk.open(&unfinished, Open::Create, Cache::Buffered).expect("made");
    let device = device(&disk, 2);
    let (store, _) = open(&device, &disk);
    assert!(!disk.files().contains(&unfinished));
    store.snapshot_writer().write(&snapshot(id(12), 100)).expect("written");
    assert!(disk.files().contains(&file(12)));
    drop((store, device));
    let device = crate::harness::device(&disk, 3);
    let (_, recovered) = open(&device, &disk);
    assert_eq!(recovered.snapshot.expect("the one that counts").meta.last, id(10));
    assert!(!disk.files().contains(&file(12)));
    assert!(disk.files().contains(&file(5)) && disk.files().contains(&file(10)));
}

/// Promise (M08, D32): a leader's snapshot replaces log and state at one moment, when its record is
/// durable. Before, everything old is there, whatever of the new one is.
#[test]
fn m08_d32_an_install_is_atomic() {
    let disk = SimDisk::new(1);
    two_snapshots(&disk, 4);
    let device = device(&disk, 2);
    let (mut store, old) = open(&device, &disk);
    let old = Model::of(&old);
    let (snapshot, base, installed) = (snapshot(id(50), 30_000), id(50), true);
    let found = |seed: u64| {
        let disk = disk.after_crash(seed);
        disk.forget_unflushed();
        let (_, recovered) = open(&crate::harness::device(&disk, 90 + seed), &disk);
        Model::of(&recovered)
    };
    store.snapshot_writer().write(&snapshot).expect("written");
    assert_eq!(found(1), old, "the file alone does not count");
    let content = Content::Snapshot { snapshot: snapshot.clone(), base, installed };
    store.write(vec![Write { id: WriteId(1), content }]).expect("taken");
    assert_eq!(found(2), old, "nor does a record that is not durable");
    device.turn_until_idle();
    let (ballot, entries) = (old.ballot, Vec::new());
    let new = Model { ballot, snapshot: Some(snapshot), base, entries };
    assert_eq!(found(3), new);
    store.tidy().expect("given up");
    assert_eq!(found(4), new);
}
