//! Raft under faults, on seeds that every change must pass.

use resprout_sim::raft::{self, Plan, REGRESSIONS, WANTED};
use resprout_sim::seeds::{self, Failure};

/// Seeds of every change. `RESPROUT_SEEDS` asks for more.
const SEEDS: u64 = 2400;

/// How often each fault and each moment of the core must occur over these seeds.
const LEAST: u64 = 10;

fn seeds_asked_for() -> u64 {
    let asked = std::env::var("RESPROUT_SEEDS").ok();
    asked.map_or(SEEDS, |text| text.parse().expect("RESPROUT_SEEDS is a number"))
}

/// Promise: whatever the network, the disks, the clocks and the operators do, there is one leader in a
/// term and one log, nothing acknowledged is lost or applied twice, reads see what they must, and
/// a cluster whose faults end serves in time; and the seeds really do all of it.
#[test]
fn clusters_from_seeds_keep_their_promises() {
    let run = |seed| raft::run(Plan::new(seed), false).map(|summary| summary.coverage);
    let report = seeds::run(0..seeds_asked_for(), false, run);
    for Failure { seed, violation } in &report.failures {
        println!("seed {seed}: {violation}\n  {} --trace", raft::replay_command(*seed));
    }
    assert!(report.failures.is_empty(), "{} seeds failed", report.failures.len());
    println!("{}", report.coverage);
    let rare = report.coverage.missing(&WANTED, LEAST);
    assert!(rare.is_empty(), "rarer than {LEAST} times in {} runs: {rare:?}", report.runs);
}

/// Promise: seeds that once found a bug of the core find none.
#[test]
fn seeds_that_found_bugs_pass() {
    for (seed, found) in REGRESSIONS {
        let result = seeds::guarded(|| raft::run(Plan::new(seed), false));
        assert!(result.is_ok(), "{found}: {result:?}, {}", raft::replay_command(seed));
    }
}

/// Promise: a seed is a run: twice the same one gives the same trace, another one another.
#[test]
fn one_seed_one_trace() {
    let digest = |seed| raft::run(Plan::new(seed), false).unwrap().digest;
    for seed in 0..40 {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
        assert_ne!(digest(seed), digest(seed + 1), "seed {seed}");
    }
}
