//! When nothing has changed for long enough, masters go back to where they were before failovers moved them; with `load_balanced`, after
//! a leaf has come back, whatever is uneven then is evened out over all leaves as well.
//!
//! A leaf that comes and goes begins the wait anew each time, so nothing moves to and fro with it (row O13). That a leaf was added moves
//! nothing: whoever adds some rebalances when all are there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{About, Manager};
use crate::execution;
use crate::metadata::{Command, Event, Happened, Metadata, NodeState};
use crate::plan::{Asked, Plan, bring_back};
use crate::{Database, Incarnation, Mode, NodeId};

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
    /// Databases that have been evened out since then, or need not be.
    evened: BTreeSet<u32>,
}

impl Back {
    /// Another try when it has been quiet for as long again.
    pub(super) fn ended(&mut self, database: u32, well: bool, now: Duration) {
        self.failures = if well { 0 } else { self.failures + 1 };
        if !well {
            self.since = now;
            self.evened.remove(&database);
        }
    }
}

impl Manager {
    /// Brings back what failovers and returns have moved, if it is quiet.
    pub(super) fn settle(&mut self, metadata: &Metadata) {
        let leaves = metadata.nodes().iter().filter(|(_, node)| node.is_leaf());
        let leaves: BTreeMap<_, _> =
            leaves.map(|(id, node)| (*id, (node.state, node.incarnation))).collect();
        if leaves != self.back.leaves {
            (self.back.leaves, self.back.since) = (leaves, self.now.at);
            self.back.evened.clear();
        }
        let is_quiet = self.now.at.saturating_sub(self.back.since) >= self.config.stable;
        if !is_quiet || !self.plans.is_idle() {
            return;
        }
        if !self.bring_masters_back(metadata) && self.is_uneven(metadata) {
            self.even_out(metadata);
        }
    }

    /// Whether there was something to bring back.
    fn bring_masters_back(&mut self, metadata: &Metadata) -> bool {
        let leaves = metadata.leaves();
        for entry in metadata.databases().values() {
            let plan = bring_back(&leaves, &entry.map, None);
            if !plan.steps.is_empty() {
                self.begin_by_itself(entry.number, plan);
                return true;
            }
        }
        false
    }

    fn begin_by_itself(&mut self, database: u32, plan: Plan) {
        let kill = self.back.failures >= FAILURES_BEFORE_KILL;
        let limits =
            execution::Config { lock_limit_ms: LOCK_LIMIT_MS, ..execution::Config::default() };
        self.begin_plan(database, None, plan, execution::Config { kill, ..limits });
    }

    /// Whether everything is to be looked at for what a return has left uneven. Leaves on their way are waited for.
    fn is_uneven(&self, metadata: &Metadata) -> bool {
        let is_coming = |state| matches!(state, NodeState::Recovering | NodeState::Attaching);
        metadata.mode() == Mode::LoadBalanced
            && !self.back.leaves.values().any(|(state, _)| is_coming(*state))
            && has_returned(metadata)
    }

    /// One database after the other, by name, with regard to all others.
    fn even_out(&mut self, metadata: &Metadata) {
        let next = metadata.databases().values();
        let mut next = next.filter(|entry| !self.back.evened.contains(&entry.number)).peekable();
        if next.peek().is_none() {
            let (node, happened) = (None, Happened::Rebalanced);
            return self.propose(About::Rebalanced, Command::Record { node, happened });
        }
        let (leaves, mode) = (metadata.leaves(), metadata.mode());
        let maps: Vec<Database> =
            metadata.databases().values().map(|entry| entry.map.clone()).collect();
        for entry in next.map(|entry| (entry.number, entry.map.name.clone())).collect::<Vec<_>>() {
            let (number, database) = entry;
            self.back.evened.insert(number);
            let asked = Asked::Rebalance { database, full: true, force: false };
            // Where there is no place nothing can be evened out.
            let plan = asked.plan(&leaves, &maps, mode).unwrap_or_default();
            if !plan.steps.is_empty() {
                return self.begin_by_itself(number, plan);
            }
        }
    }
}

/// Whether a leaf has come back since everything was evened out last. The list of events says so to whoever is in office. A leaf that
/// was added after that is not to get its share by this.
fn has_returned(metadata: &Metadata) -> bool {
    let is_leaf = |event: &Event| {
        let node = event.node.and_then(|node| metadata.nodes().get(&node));
        node.is_some_and(crate::metadata::Node::is_leaf)
    };
    let said = |event: &Event| match &event.happened {
        Happened::Rebalanced => Some(false),
        Happened::NodeAdded if is_leaf(event) => Some(false),
        Happened::NodeState { state } if is_leaf(event) => {
            (state == NodeState::Online.text()).then_some(true)
        }
        _ => None,
    };
    metadata.events().iter().rev().find_map(said).unwrap_or(false)
}
