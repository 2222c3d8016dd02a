//! The right store, once. Rows M06, D11, D38.

use std::sync::Arc;

use resprout_consensus::store::{Store, StoreError};
use resprout_consensus::{Ballot, Content, NodeId, Recovered, StoreId, Term, Write, WriteId};
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::{NoObserver, OpenError};

use crate::harness::*;
use crate::model::{Model, membership};

/// Promise: what is made is what is opened, with its start counted, and is found by its id.
#[test]
fn a_store_comes_back() {
    let disk = SimDisk::new(1);
    let member = membership().members.into_values().next().expect("one");
    let first = Recovered::first(NodeId(1), member);
    {
        let device = device(&disk, 1);
        assert_eq!(Store::find(&device), None);
        drop(try_create(&device, &disk, &first).expect("made"));
    }
    for boot in 2..5 {
        let device = device(&disk, boot);
        assert_eq!(Store::find(&device), Some(STORE));
        let (mut store, recovered) = open(&device, &disk);
        assert_eq!(recovered.boot, boot);
        let mut expected = Model::of(&first);
        expected.ballot = Ballot { term: Term(boot - 1), vote: None };
        assert_eq!(Model::of(&recovered), expected);
        let ballot = Ballot { term: Term(boot), vote: None };
        let content = Content::Vote(ballot);
        commit(&device, &mut store, vec![Write { id: WriteId(1), content }]);
        if boot == 3 {
            store.close_clean().expect("closes");
        }
    }
}

/// Promise (M06): an arena has one metadata log. Another store's, a second one, an open one, and
/// none at all are told apart.
#[test]
fn m06_another_store_is_no_stand_in() {
    let disk = SimDisk::new(1);
    let device = device(&disk, 1);
    let absent = try_open(&device, &disk).expect_err("none yet");
    assert!(matches!(absent, StoreError::Absent { .. }), "{absent}");
    let store = create(&device, &disk);
    let running = try_open(&device, &disk).expect_err("open");
    assert!(matches!(running, StoreError::Running { .. }), "{running}");
    drop((store, device));

    let device = crate::harness::device(&disk, 2);
    let mut other = options();
    other.store = StoreId(1);
    let shared: Arc<SimDisk> = Arc::new(disk.clone());
    let absent = Store::open(&device, shared.clone(), other.clone()).expect_err("another's");
    assert!(matches!(absent, StoreError::Absent { store: StoreId(1), .. }), "{absent}");
    let exists = Store::create(&device, shared, other, &Recovered::default()).expect_err("one is");
    assert!(matches!(exists, StoreError::Exists { store: STORE, .. }), "{exists}");
    open(&device, &disk);
}

/// Promise (D11): the arena of another cluster is refused, with both names.
#[test]
fn d11_the_arena_of_another_cluster_is_refused() {
    let disk = SimDisk::new(1);
    let device = device(&disk, 1);
    drop(create(&device, &disk));
    let mut foreign = options();
    foreign.cluster = 5;
    let shared: Arc<SimDisk> = Arc::new(disk);
    let opened = Store::open(&device, shared.clone(), foreign.clone()).expect_err("foreign");
    let made = Store::create(&device, shared, foreign, &Recovered::default());
    for error in [opened, made.expect_err("foreign")] {
        assert!(
            matches!(error, StoreError::Foreign { expected: 5, found: CLUSTER, .. }),
            "{error}"
        );
    }
}

/// Promise (D38): a second process on the directory is refused while the first lives.
#[test]
fn d38_a_raft_directory_has_one_process() {
    let disk = SimDisk::new(1);
    let device = device(&disk, 1);
    let store = create(&device, &disk);
    let second = try_device(&disk, 2).expect_err("in use");
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    drop((store, device));
    open(&crate::harness::device(&disk, 3), &disk);
}

/// Promise: logs of databases in the same arena are none of a store's business.
#[test]
fn logs_of_databases_are_left_alone() {
    let disk = SimDisk::new(1);
    let device = device(&disk, 1);
    let mut identity = options().identity();
    identity.database = 1;
    let log = device.create(identity, resprout_wal::Term(1), Arc::new(NoObserver));
    log.expect("a log").close_clean().expect("closes");
    drop(device);
    let device = crate::harness::device(&disk, 2);
    assert_eq!(Store::find(&device), None);
    drop(create(&device, &disk));
    assert_eq!(device.found().len(), 1);
}
