//! How long a plan takes to be made in a large cluster: 62 leaves with 1,024 partitions get two more.

use std::time::Instant;

use resprout_cluster::placement::{Request, initial, target};
use resprout_cluster::plan::plan;
use resprout_cluster::{Copy, Database, Following, Group, Leaf, LeafId, Mode, Partition};
use serde::Serialize;

use crate::bench::statistics::median;
use crate::failure::Failure;

const LEAVES: u64 = 64;
const PARTITIONS: u32 = 1_024;
/// The median of so many.
const RUNS: usize = 5;

/// A plan, and how long it took.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PlanTime {
    leaves: u64,
    partitions: u32,
    steps: usize,
    pub(super) p50_ms: f64,
}

fn leaves(count: u64) -> Vec<Leaf> {
    let leaf = |id: u64| Leaf {
        id: LeafId(id),
        group: if id % 2 == 1 { Group::One } else { Group::Two },
        ..Leaf::default()
    };
    (1..=count).map(leaf).collect()
}

/// A database as it is made on these leaves.
fn created(leaves: &[Leaf]) -> Result<Database, Failure> {
    let first = initial(leaves, Mode::LoadBalanced, PARTITIONS).map_err(unplaceable)?;
    let partition = |new: &resprout_cluster::placement::NewPartition| {
        let copy = |instance| Copy { instance, following: Following::Sync, ..Copy::default() };
        let mut partition = Partition {
            ordinal: new.ordinal,
            master: Some(new.home.master),
            term: new.term,
            ..Partition::default()
        };
        partition.copies.insert(new.home.master, copy(new.master));
        if let (Some(leaf), Some(instance)) = (new.home.replica, new.replica) {
            partition.copies.insert(leaf, copy(instance));
        }
        partition
    };
    let partitions = first.partitions.iter().map(partition).collect();
    let name = "bench".to_owned();
    let (next_instance, next_term) = (first.next_instance, first.next_term);
    let (sync, reference) = (true, None);
    Ok(Database { name, sync, partitions, next_instance, next_term, reference })
}

fn unplaceable(error: resprout_cluster::placement::Unplaceable) -> Failure {
    Failure::new("cannot place a large database", error, "report it")
}

/// Makes the plan.
pub(super) fn plan_time() -> Result<PlanTime, Failure> {
    let (few, all) = (leaves(LEAVES - 2), leaves(LEAVES));
    let database = created(&few)?;
    let mut steps = 0;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let began = Instant::now();
        let request = Request {
            leaves: &all,
            database: &database,
            mode: Mode::LoadBalanced,
            full: None,
            force: false,
        };
        let placement = target(&request).map_err(unplaceable)?;
        steps = plan(&all, &database, &placement).steps.len();
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let p50_ms = median(times);
    Ok(PlanTime { leaves: LEAVES, partitions: PARTITIONS, steps, p50_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: the plan that is timed is one that moves something.
    #[test]
    fn a_large_cluster_has_a_plan() {
        let found = plan_time().expect("a plan");
        assert!(found.steps >= 2 * 1_024 / 32, "{found:?}");
    }
}
