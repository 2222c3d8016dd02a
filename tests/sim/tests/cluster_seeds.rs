//! Whole clusters under faults, on seeds that every change must pass.

use resprout_sim::cluster::{self, Plan, REGRESSIONS, WANTED};
use resprout_sim::seeds::{self, Failure};

/// Seeds of every change. `RESPROUT_SEEDS` asks for more.
const SEEDS: u64 = 2000;

/// How often each fault, each moment of the cores and each decision must occur over these seeds.
const LEAST: u64 = 10;

fn seeds_asked_for() -> u64 {
    let asked = std::env::var("RESPROUT_SEEDS").ok();
    asked.map_or(SEEDS, |text| text.parse().expect("RESPROUT_SEEDS is a number"))
}

/// Promise (A1 to A5, A7, A9, R06): whatever the network, the disks and the processes do, the metadata are one log, a term has
/// one master, copies are one history, nothing acknowledged is lost and nothing seen vanishes, but for what an election says
/// may be gone; nobody is without a master for long that could have one; and without faults all is well again in time. And
/// the seeds really do all of it.
#[test]
fn whole_clusters_keep_their_promises() {
    let run = |seed| cluster::run(Plan::new(seed), false).map(|summary| summary.coverage);
    let report = seeds::run(0..seeds_asked_for(), false, run);
    for Failure { seed, violation } in report.failures.iter().take(20) {
        println!("seed {seed}: {violation}\n  {} --trace", cluster::replay_command(*seed));
    }
    println!("{}", report.coverage);
    assert!(report.failures.is_empty(), "{} seeds failed", report.failures.len());
    let rare = report.coverage.missing(&WANTED, LEAST);
    assert!(rare.is_empty(), "rarer than {LEAST} times in {} runs: {rare:?}", report.runs);
}

/// Promise: seeds that once found a bug of a core find none.
#[test]
fn seeds_that_found_bugs_of_the_cluster_pass() {
    for (seed, found) in REGRESSIONS {
        let result = seeds::guarded(|| cluster::run(Plan::new(seed), false));
        assert!(result.is_ok(), "{found}: {result:?}, {}", cluster::replay_command(seed));
    }
}

/// Promise: a seed is a run: twice the same one gives the same trace, another one another.
#[test]
fn one_seed_one_cluster() {
    let digest = |seed| cluster::run(Plan::new(seed), false).unwrap().digest;
    for seed in 0..10 {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
        assert_ne!(digest(seed), digest(seed + 1), "seed {seed}");
    }
}
