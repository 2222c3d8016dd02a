//! Errors of the device end a store, once and for good. Rows D19, D20, D21.

use std::sync::Arc;

use resprout_consensus::store::{Store, StoreError};
use resprout_consensus::{Ballot, Content, EntryId, Index, Recovered, Term, Write, WriteId};
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::{Device, DurableMode, LogError, NoObserver, Options};

use crate::harness::{options as options_of_store, *};
use crate::model::{entry, snapshot};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn vote(id: u64) -> Vec<Write> {
    let ballot = Ballot { term: Term(id), vote: None };
    vec![Write { id: WriteId(id), content: Content::Vote(ballot) }]
}

fn entries(id: u64, index: u64, len: usize) -> Vec<Write> {
    vec![Write { id: WriteId(id), content: Content::Entries(vec![entry(1, index, len)]) }]
}

fn failed(store: &Store) -> Option<Arc<StoreError>> {
    store.progress().borrow().failed.clone()
}

/// Promise (D19): after a failed flush of the metadata log the member takes no part: nothing more
/// is told durable, nothing is tried again, every further write gets the first reason. What was
/// told durable comes back with the next start.
#[test]
fn d19_a_failed_flush_ends_participation() {
    for nth in 0..6 {
        let disk = SimDisk::new(nth);
        let mut options = Options::small(CLUSTER);
        options.durable = DurableMode::BatchFlush;
        options.slots_ahead = 4;
        let device = Device::open(world(&disk, 1), "/data".as_ref(), options).expect("opens");
        let mut store = create(&device, &disk);
        // Where the device has one write at a time it needs no flush: so there is another log.
        let mut identity = options_of_store().identity();
        identity.database = 1;
        let other = device.create(identity, resprout_wal::Term(1), Arc::new(NoObserver));
        let other = other.expect("a log");
        // A growth that fails is told as a full arena.
        device.grow_if_needed();
        disk.fail(Fault::on(OpKind::Flush, nth, Effect::Error(EIO)));
        let mut acknowledged = 0;
        for id in 1.. {
            let space = other.reserve(8).expect("space");
            other.lock().expect("runs").append(&[1; 8], space).expect("appended");
            store.write(vote(id)).expect("taken");
            device.turn_until_idle();
            if durable(&store) < WriteId(id) {
                break;
            }
            acknowledged = id;
        }
        assert_eq!(acknowledged, nth);
        let told = failed(&store).expect("told");
        assert!(matches!(*told, StoreError::Log(LogError::Flush { .. })), "{told}");
        let before = disk.operations();
        let error = store.write(vote(acknowledged + 2)).expect_err("it has ended");
        assert_eq!(error.to_string(), told.to_string());
        assert!(error.to_string().contains("takes no part until it is started anew"), "{error}");
        device.turn_until_idle();
        assert!(store.close_clean().is_err());
        assert_eq!(disk.operations(), before, "nothing is tried again");
        drop((other, device));
        let disk = disk.crash(nth);
        let (_, recovered) = open(&crate::harness::device(&disk, 2), &disk);
        assert!((nth..=nth + 1).contains(&recovered.ballot.term.0), "{:?}", recovered.ballot);
    }
}

/// Promise (D20): a write that fails or is short ends the store the same way.
#[test]
fn d20_a_failed_write_ends_the_store() {
    for effect in [Effect::Error(EIO), Effect::Short(700), Effect::Error(ENOSPC)] {
        let disk = SimDisk::new(1);
        let device = device(&disk, 1);
        let mut store = create(&device, &disk);
        commit(&device, &mut store, vote(1));
        disk.fail(Fault::on(OpKind::Write, 0, effect));
        store.write(vote(2)).expect("taken");
        device.turn_until_idle();
        assert_eq!(durable(&store), WriteId(1));
        let told = failed(&store).expect("told");
        assert!(matches!(*told, StoreError::Log(LogError::Write { .. })), "{told}");
        assert!(store.write(vote(3)).is_err());
        drop((store, device));
        let disk = disk.crash(7);
        let device = crate::harness::device(&disk, 2);
        let (mut store, recovered) = open(&device, &disk);
        let term = recovered.ballot.term.0;
        assert!((1..=2).contains(&term), "{term}");
        let mut again = vote(1);
        again[0].content = Content::Vote(Ballot { term: Term(term + 1), vote: None });
        commit(&device, &mut store, again);
    }
}

/// Promise (D20): errors while a snapshot lets the log go end the store too, whatever the operation;
/// the next start has all that was told durable.
#[test]
fn d20_an_error_at_every_operation_loses_nothing() {
    let run = |disk: &SimDisk| {
        let device = try_device(disk, 1).ok();
        let mut acknowledged = (0, 0);
        let mut go = || {
            let device = device.as_ref()?;
            let mut store = try_create(device, disk, &Recovered::default()).ok()?;
            store.write(vote(1)).ok()?;
            for n in 1..=12 {
                store.write(entries(2 * n, n, 17_000)).ok()?;
                device.turn_until_idle();
                (durable(&store) == WriteId(2 * n)).then_some(())?;
                acknowledged.0 = n;
                let at = EntryId::new(Term(1), Index(n));
                let (snapshot, base, installed) = (snapshot(at, 5000), at, false);
                let content = Content::Snapshot { snapshot, base, installed };
                store.write(vec![Write { id: WriteId(2 * n + 1), content }]).ok()?;
                device.turn_until_idle();
                (durable(&store) == WriteId(2 * n + 1)).then_some(())?;
                acknowledged.1 = n;
            }
            store.close_clean().ok()
        };
        (go(), acknowledged)
    };
    let disk = SimDisk::new(1);
    run(&disk).0.expect("no faults");
    for k in 0..disk.operations() as u64 {
        let disk = SimDisk::new(1);
        disk.fail(Fault::at(k, Effect::Error(EIO)));
        let (_, (entries, snapshot)) = run(&disk);
        let disk = disk.crash(k);
        disk.heal();
        let device = device(&disk, 2);
        let Some(_) = Store::find(&device) else {
            assert_eq!(entries, 0, "operation {k}");
            continue;
        };
        let (_, recovered) = open(&device, &disk);
        let last = recovered.snapshot.map_or(0, |snapshot| snapshot.meta.last.index.0);
        let log = recovered.entries.last().map_or(recovered.base.index.0, |last| last.id.index.0);
        assert!(last >= snapshot && log >= entries, "operation {k}: {last}, {log}");
    }
}

/// Promise (D21): an arena that is full ends the store with a text that says so; nothing of the
/// refused write is there. With space and a new start it goes on.
#[test]
fn d21_a_full_arena_ends_the_store() {
    let disk = SimDisk::new(1);
    let mut options = Options::small(CLUSTER);
    options.slots_max = 3;
    let full = Device::open(world(&disk, 1), "/data".as_ref(), options).expect("opens");
    let mut store = create(&full, &disk);
    commit(&full, &mut store, vote(1));
    let mut last = 0;
    let error = loop {
        // Two in one: neither is taken if the second does not fit.
        let mut both = entries(last + 2, last + 1, 9000);
        both.extend(entries(last + 3, last + 2, 9000));
        match store.write(both) {
            Ok(()) => last += 2,
            Err(error) => break error,
        }
        full.turn_until_idle();
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("no space in the log at /data/wal.arena"), "{text}");
    assert!(text.contains("until there is space and it is started anew"), "{text}");
    let again = store.write(vote(last + 9)).expect_err("it has ended");
    assert_eq!(again.to_string(), text);
    assert_eq!(durable(&store), WriteId(last + 1), "what was taken before is durable");
    drop((store, full));

    let device = device(&disk, 2);
    let (mut store, recovered) = open(&device, &disk);
    assert_eq!(recovered.entries.len() as u64, last);
    commit(&device, &mut store, entries(1, last + 1, 9000));
}

/// Promise (D24): a snapshot that cannot be written changes nothing: the store goes on, and it may be
/// tried again. One that the device has not written as it was given never counts.
#[test]
fn d24_a_snapshot_that_cannot_be_written_may_be_tried_again() {
    for effect in [Effect::Error(ENOSPC), Effect::Lost, Effect::Flipped(40_000)] {
        let disk = SimDisk::new(1);
        let device = device(&disk, 1);
        let mut store = create(&device, &disk);
        commit(&device, &mut store, vote(1));
        commit(&device, &mut store, entries(2, 1, 100));
        let at = EntryId::new(Term(1), Index(1));
        let (state, base, installed) = (snapshot(at, 9000), at, false);
        let writer = store.snapshot_writer();
        disk.fail(Fault::on(OpKind::Write, 0, effect).in_path("raft-"));
        let error = writer.write(&state).expect_err("not written");
        assert!(error.to_string().contains("raft-0000"), "{error}");
        assert!(failed(&store).is_none());
        assert_eq!(disk.files().iter().filter(|path| path.starts_with(raft_dir())).count(), 0);
        writer.write(&state).expect("written now");
        let written = disk.operations();
        writer.write(&state).expect("there already");
        assert_eq!(disk.operations(), written, "nothing is done twice");
        let content = Content::Snapshot { snapshot: state, base, installed };
        commit(&device, &mut store, vec![Write { id: WriteId(3), content }]);
    }
}
