//! When nothing has changed for long enough, masters go back to where they were before failovers moved them.
//!
//! A leaf that comes and goes begins the wait anew each time, so nothing moves to and fro with it (row O13).

use std::collections::BTreeMap;
use std::time::Duration;

use super::Manager;
use crate::execution;
use crate::metadata::{Metadata, NodeState};
use crate::plan::bring_back;
use crate::{Incarnation, NodeId};

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
        let leaves = metadata.leaves();
        for entry in metadata.databases().values() {
            let plan = bring_back(&leaves, &entry.map, None);
            if plan.steps.is_empty() {
                continue;
            }
            let kill = self.back.failures >= FAILURES_BEFORE_KILL;
            let limits =
                execution::Config { lock_limit_ms: LOCK_LIMIT_MS, ..execution::Config::default() };
            let config = execution::Config { kill, ..limits };
            return self.begin_plan(entry.number, None, plan, config);
        }
    }
}
