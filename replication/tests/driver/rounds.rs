//! Rounds of faults under writes, with a checker of what was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use resprout_engine::{Error, Partition};
use resprout_replication::Mode;
use resprout_wal::world::Rng;

use crate::world::{World, put};

/// What a writer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Acknowledged,
    Refused,
    Unknown,
}

type Outcomes = Arc<Mutex<BTreeMap<i64, Told>>>;

/// Writes to whoever is master until told to stop.
fn write(partitions: &Arc<Mutex<Vec<Partition>>>, stop: &AtomicBool, first: i64, told: &Outcomes) {
    let mut id = first;
    while !stop.load(Ordering::SeqCst) {
        let candidates = partitions.lock().expect("not poisoned").clone();
        for partition in candidates {
            id += 4;
            let outcome = match put(&partition, id, "row") {
                Ok(()) => Told::Acknowledged,
                Err(Error::OutcomeUnknown(_) | Error::Stopped { .. }) => Told::Unknown,
                Err(_) => {
                    // Not master, or not any more.
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    Told::Refused
                }
            };
            told.lock().expect("not poisoned").insert(id, outcome);
        }
    }
}

/// Promise (A1, A4, A5): in rounds of kills, cuts and promotions no acknowledged row is lost, no refused one
/// appears, and the copies end as one history.
#[test]
fn rounds_of_faults_lose_nothing() {
    let rounds = std::env::var("RESPROUT_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    for (mode, seed) in [(Mode::Received, 1), (Mode::Durable, 2)] {
        let mut world = World::new(2, mode);
        let told = Outcomes::default();
        let partitions = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..4)
            .map(|first| {
                let (partitions, stop, told) = (partitions.clone(), stop.clone(), told.clone());
                std::thread::spawn(move || write(&partitions, &stop, first, &told))
            })
            .collect();
        let mut rng = Rng::new(seed);
        let mut master = 1;
        for _ in 0..rounds {
            world.show(&partitions);
            std::thread::sleep(std::time::Duration::from_millis(20 + rng.below(60)));
            master = world.disturb(&mut rng, master, &partitions);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        stop.store(true, Ordering::SeqCst);
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        let replica = 3 - master;
        world.until_sync(replica);
        world.until_equal(master, replica);
        let rows = world.rows(master);
        let told = told.lock().expect("not poisoned");
        for (id, outcome) in told.iter() {
            match outcome {
                Told::Acknowledged => assert!(rows.contains_key(id), "{id} is lost"),
                Told::Refused => assert!(!rows.contains_key(id), "{id} was refused and is there"),
                Told::Unknown => {}
            }
        }
        let acknowledged = told.values().filter(|told| **told == Told::Acknowledged).count();
        assert!(acknowledged > 100, "{acknowledged} rows");
    }
}

impl World {
    /// Lets the writers write to all nodes that run.
    fn show(&self, partitions: &Mutex<Vec<Partition>>) {
        let running = self.nodes.values().flatten();
        let all = running.map(|running| running.copy.stored().partition().clone()).collect();
        *partitions.lock().expect("not poisoned") = all;
    }

    /// One fault and what heals it; who is master then.
    fn disturb(&mut self, rng: &mut Rng, master: u64, partitions: &Mutex<Vec<Partition>>) -> u64 {
        let replica = 3 - master;
        // Only a copy that is sync may take over.
        self.until_sync(replica);
        match rng.below(4) {
            0 => {
                self.promote(replica);
                self.until_online(replica);
                replica
            }
            1 => {
                partitions.lock().expect("not poisoned").clear();
                self.kill(replica);
                self.show(partitions);
                std::thread::sleep(std::time::Duration::from_millis(rng.below(600)));
                partitions.lock().expect("not poisoned").clear();
                self.start(replica);
                master
            }
            2 => {
                self.cut(master, true);
                std::thread::sleep(std::time::Duration::from_millis(rng.below(200)));
                if self.try_promote(replica) {
                    self.until_online(replica);
                    self.cut(master, false);
                    return replica;
                }
                self.cut(master, false);
                master
            }
            _ => {
                partitions.lock().expect("not poisoned").clear();
                self.kill(master);
                if !self.try_promote(replica) {
                    // It left meanwhile: only the old master has everything.
                    self.start(master);
                    self.promote(master);
                    self.until_online(master);
                    return master;
                }
                self.until_online(replica);
                self.show(partitions);
                std::thread::sleep(std::time::Duration::from_millis(rng.below(100)));
                self.start(master);
                replica
            }
        }
    }
}
