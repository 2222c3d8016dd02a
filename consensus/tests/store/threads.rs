//! A store on a real disk, with the threads of the device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use resprout_consensus::store::{Store, StoreOptions};
use resprout_consensus::{Ballot, Content, Recovered, Term, Write, WriteId};
use resprout_wal::disk::{Disk, open_default};
use resprout_wal::world::{OsEntropy, SystemClock};
use resprout_wal::{Device, LogIdentity, NoObserver, Options, World};

use crate::harness::{CLUSTER, STORE};
use crate::model::{Model, entry};

fn device(dir: &std::path::Path) -> (Device, Arc<dyn Disk>) {
    let disk: Arc<dyn Disk> = open_default();
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(OsEntropy));
    let world = World { disk: disk.clone(), clock, entropy };
    (Device::open(world, dir, Options::new(CLUSTER, 1)).expect("opens"), disk)
}

fn options(dir: &std::path::Path) -> StoreOptions {
    StoreOptions { cluster: CLUSTER, store: STORE, dir: dir.join("raft") }
}

fn ballot() -> Write {
    let ballot = Ballot { term: Term(1), vote: None };
    Write { id: WriteId(1), content: Content::Vote(ballot) }
}

/// Promise: with the device's threads, who awaits the progress is told of every write, in order,
/// while more are handed in; and all come back.
#[tokio::test]
async fn progress_is_told_from_the_threads_of_the_device() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut expected = Model::default();
    {
        let (device, disk) = device(dir.path());
        let made = Store::create(&device, disk, options(dir.path()), &Recovered::default());
        let mut store = made.expect("made");
        let mut progress = store.progress();
        let last = WriteId(400);
        let told = tokio::spawn(async move {
            let mut durable = WriteId(0);
            while durable < last {
                progress.changed().await.expect("the store lives");
                let now = progress.borrow_and_update().clone();
                assert!(now.failed.is_none() && now.durable > durable, "{now:?}");
                durable = now.durable;
            }
        });
        for id in 1..=last.0 {
            let content = Content::Entries(vec![entry(1, id - 1, 2000)]);
            let write = if id == 1 { ballot() } else { Write { id: WriteId(id), content } };
            expected.take(&write.content);
            store.write(vec![write]).expect("taken");
            tokio::task::yield_now().await;
        }
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("told").expect("in order");
        store.close_clean().expect("closes");
    }
    let (device, disk) = device(dir.path());
    let (_, recovered) = Store::open(&device, disk, options(dir.path())).expect("opens");
    assert_eq!(Model::of(&recovered), expected);
}

fn median(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// How long one write takes until it is durable, beside a commit of the bare log: to be read, not
/// judged.
#[test]
#[ignore = "a measurement"]
fn latency_beside_the_bare_log() {
    const ROUNDS: u64 = 1000;
    let dir = tempfile::tempdir_in(".").expect("a directory");
    let (device, disk) = device(dir.path());
    let made = Store::create(&device, disk, options(dir.path()), &Recovered::default());
    let mut store = made.expect("made");
    store.write(vec![ballot()]).expect("taken");
    let identity = LogIdentity { database: 1, ..options(dir.path()).identity() };
    let log = device.create(identity, resprout_wal::Term(1), Arc::new(NoObserver)).expect("a log");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut progress = store.progress();
    let (mut ours, mut bare, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for n in 1..=ROUNDS {
        let begun = Instant::now();
        let content = Content::Entries(vec![entry(1, n, 256)]);
        let id = WriteId(n + 1);
        store.write(vec![Write { id, content }]).expect("taken");
        told.push(begun.elapsed());
        let wait = progress.wait_for(|now| now.durable >= id);
        runtime.block_on(wait).expect("durable");
        ours.push(begun.elapsed());

        let begun = Instant::now();
        let space = log.reserve(320).expect("space");
        let position = log.lock().expect("runs").append(&[7; 320], space).expect("appended");
        runtime.block_on(log.durable(position)).expect("durable");
        bare.push(begun.elapsed());
    }
    println!("store (median, p99) {:?}", median(ours));
    println!("log   (median, p99) {:?}", median(bare));
    println!("write (median, p99) {:?}", median(told));
}
