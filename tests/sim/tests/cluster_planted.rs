//! Bugs that the simulation of whole clusters must find: one that finds none of them proves nothing.

use resprout_sim::cluster::{self, FOUND_WITHIN, Plan};
use resprout_sim::seeds;

/// Promise (R06): each planted bug, of the rules 3, 5, 6, 8, 9, 11, 14 and 15, is found within its number of seeds.
#[test]
fn planted_bugs_of_the_cluster_are_caught() {
    let mut missed = Vec::new();
    for (bug, within) in FOUND_WITHIN {
        let run =
            |seed| cluster::run(Plan::new(seed).with(bug), false).map(|summary| summary.coverage);
        let report = seeds::run(0..within, true, run);
        match report.failures.first() {
            Some(found) => println!("{bug}: seed {}, {}", found.seed, found.violation.promise),
            None => missed.push((bug, within)),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
