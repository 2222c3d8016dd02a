//! Bugs that the simulation must find: one that finds none of them proves nothing.

use resprout_consensus::testing::Planted;
use resprout_sim::raft::planted::FOUND_WITHIN;
use resprout_sim::raft::{self, Plan};
use resprout_sim::seeds;

/// Promise: each planted bug of the core is found within its number of seeds.
#[test]
fn planted_bugs_are_caught() {
    let mut missed = Vec::new();
    for (bug, within) in FOUND_WITHIN {
        let run = |seed| {
            let plan = Plan { planted: Some(bug), ..Plan::new(seed) };
            raft::run(plan, false).map(|summary| summary.coverage)
        };
        let report = seeds::run(0..within, true, run);
        match report.failures.first() {
            Some(found) => println!("{bug:?}: seed {}, {}", found.seed, found.violation),
            None => missed.push((bug, within)),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Promise: no planted bug is forgotten here.
#[test]
fn every_planted_bug_is_listed() {
    let listed: Vec<Planted> = FOUND_WITHIN.iter().map(|(bug, _)| *bug).collect();
    assert_eq!(listed, Planted::ALL);
}
