//! When nothing has changed for long enough, masters go back to where they were before failovers moved them.
//!
//! A leaf that comes and goes begins the wait anew each time, so nothing moves to and fro with it (row O13).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Manager, plans};
use crate::execution;
use crate::metadata::{DatabaseEntry, Metadata, NodeState};
use crate::plan::{Plan, Step};
use crate::{Incarnation, NodeId, Partition};

/// Failures after which long transactions are ended rather than waited for.
const FAILURES_BEFORE_KILL: u32 = 3;

/// How long a partition stands still for it: nobody asked, and another time will do.
const LOCK_LIMIT_MS: u64 = 5_000;

/// What is waited for.
#[derive(Clone, Debug, Default)]
pub(super) struct Back {
    /// Leaves as they were when the wait began.
    leaves: BTreeMap<NodeId, (NodeState, Incarnation)>,
    since: Duration,
    failures: u32,
}

impl Back {
    /// Another try when it has been quiet for as long again.
    pub(super) fn ended(&mut self, well: bool, now: Duration) {
        self.failures = if well { 0 } else { self.failures + 1 };
        if !well {
            self.since = now;
        }
    }
}

impl Manager {
    pub(super) fn bring_masters_back(&mut self, metadata: &Metadata) {
        let leaves = metadata.nodes().iter().filter(|(_, node)| node.is_leaf());
        let leaves: BTreeMap<_, _> =
            leaves.map(|(id, node)| (*id, (node.state, node.incarnation))).collect();
        if leaves != self.back.leaves {
            (self.back.leaves, self.back.since) = (leaves, self.now.at);
        }
        let is_quiet = self.now.at.saturating_sub(self.back.since) >= self.config.stable;
        if !is_quiet || !self.plans.is_idle() {
            return;
        }
        for entry in metadata.databases().values() {
            let steps = steps(metadata, entry);
            if steps.is_empty() {
                continue;
            }
            let plan = Plan { database: entry.map.name.clone(), steps, ..Plan::default() };
            let kill = self.back.failures >= FAILURES_BEFORE_KILL;
            let limits =
                execution::Config { lock_limit_ms: LOCK_LIMIT_MS, ..execution::Config::default() };
            let config = execution::Config { kill, ..limits };
            return self.begin_plan(entry.number, None, plan, config);
        }
    }
}

/// Promotions that bring masters back.
fn steps(metadata: &Metadata, entry: &DatabaseEntry) -> Vec<Step> {
    let back = entry.map.partitions.iter().filter_map(|partition: &Partition| {
        let former = partition.former?;
        let master = partition.serving().filter(|master| *master != former)?;
        let copy = partition.copies.get(&former)?;
        let is_online = |leaf| {
            let node = metadata.nodes().get(&NodeId::from(leaf));
            node.is_some_and(|node| node.state == NodeState::Online)
        };
        let may = entry.map.is_promotable(copy) && is_online(former) && is_online(master);
        may.then(|| plans::promotion(partition, former))
    });
    back.collect()
}
