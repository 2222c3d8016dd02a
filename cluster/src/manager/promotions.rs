//! When nothing has changed for long enough, masters go back to where they were before failovers moved them.
//!
//! A leaf that comes and goes begins the wait anew each time, so nothing moves to and fro with it (row O13).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{About, Manager, Message};
use crate::execution::{self, Execution, World};
use crate::metadata::{Command, DatabaseEntry, Metadata, NodeState, Outcome, Refusal};
use crate::plan::{Action, Phase, Plan, Step};
use crate::{Incarnation, NodeId, Partition};

/// Failures after which long transactions are ended rather than waited for.
const FAILURES_BEFORE_KILL: u32 = 3;

/// What goes back, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Promotions {
    /// Leaves as they were when the wait began.
    leaves: BTreeMap<NodeId, (NodeState, Incarnation)>,
    since: Duration,
    running: Option<Running>,
    heard: Vec<execution::Event>,
    failures: u32,
}

#[derive(Clone, Debug)]
struct Running {
    database: u32,
    name: String,
    execution: Execution,
}

impl Promotions {
    pub(super) fn hear(&mut self, event: execution::Event) {
        if self.running.is_some() {
            self.heard.push(event);
        }
    }

    pub(super) fn answered(&mut self, step: usize, outcome: &Outcome) {
        self.hear(match outcome {
            Outcome::Refused { refusal: Refusal::Step { refused } } => {
                execution::Event::Refused(step, *refused)
            }
            Outcome::Refused { .. } => {
                execution::Event::Refused(step, execution::Refused::OtherTerm)
            }
            _ => execution::Event::Committed(step),
        });
    }
}

impl Manager {
    pub(super) fn promote_back(&mut self, metadata: &Metadata) {
        let now = self.now.at;
        let leaves = metadata.nodes().iter().filter(|(_, node)| node.is_leaf());
        let leaves: BTreeMap<_, _> =
            leaves.map(|(id, node)| (*id, (node.state, node.incarnation))).collect();
        if leaves != self.promotions.leaves {
            (self.promotions.leaves, self.promotions.since) = (leaves, now);
        }
        if self.promotions.running.is_none() {
            let is_stable = now.saturating_sub(self.promotions.since) >= self.config.stable;
            let next = metadata.databases().values().find_map(|entry| {
                let steps = steps(metadata, entry);
                (!steps.is_empty()).then_some((entry, steps))
            });
            let Some((entry, steps)) = next.filter(|_| is_stable) else { return };
            self.begin(entry, steps);
        }
        self.go_on(metadata);
    }

    fn begin(&mut self, entry: &DatabaseEntry, steps: Vec<Step>) {
        let (database, name) = (entry.number, entry.map.name.clone());
        let plan = Plan { database: name.clone(), steps, ..Plan::default() };
        let kill = self.promotions.failures >= FAILURES_BEFORE_KILL;
        let config = execution::Config { kill, ..execution::Config::default() };
        let execution = Execution::new(plan, config);
        self.promotions.heard.clear();
        self.promotions.running = Some(Running { database, name, execution });
    }

    fn go_on(&mut self, metadata: &Metadata) {
        let Some(mut running) = self.promotions.running.take() else { return };
        let Some(entry) = metadata.databases().get(&running.name) else { return };
        let (leaves, free) = (metadata.leaves(), BTreeMap::new());
        let world = World { leaves: &leaves, database: &entry.map, free: &free };
        let now_ms = u64::try_from(self.now.at.as_millis()).unwrap_or(u64::MAX);
        let heard = std::mem::take(&mut self.promotions.heard);
        let mut done = None;
        for event in heard.into_iter().chain([execution::Event::Look]) {
            for output in running.execution.step(now_ms, &world, event) {
                match output {
                    execution::Output::Done(outcome) => done = Some(outcome),
                    other => self.order(&running, entry, other),
                }
            }
        }
        match done {
            None => self.promotions.running = Some(running),
            Some(execution::Outcome::Success) => self.promotions.failures = 0,
            Some(_) => {
                // Another try when it has been quiet for as long again.
                self.promotions.failures += 1;
                self.promotions.since = self.now.at;
            }
        }
    }

    /// Gives up what is under way: nothing stays locked, and it is begun anew from the record later.
    pub(super) fn abandon_promotions(&mut self, metadata: &Metadata) {
        let Some(running) = self.promotions.running.take() else { return };
        self.promotions.since = self.now.at;
        let Some(entry) = metadata.databases().get(&running.name) else { return };
        let ordinals: Vec<_> = running.execution.plan().steps.iter().map(|s| s.ordinal).collect();
        for ordinal in ordinals {
            self.order(&running, entry, execution::Output::Unlock(ordinal));
        }
    }

    fn order(&mut self, running: &Running, entry: &DatabaseEntry, order: execution::Output) {
        let ordinal = match order {
            execution::Output::Commit(step, change) => {
                let command = Command::Execute { database: running.name.clone(), change };
                return self.propose(About::Step(step), command);
            }
            execution::Output::Lock { ordinal, .. } | execution::Output::Unlock(ordinal) => ordinal,
            execution::Output::RemoveFiles { .. } | execution::Output::Done(_) => return,
        };
        let (office, database) = (self.office.unwrap_or(0), running.database);
        let message = Message::Execution { office, database, order };
        // Whoever has it: an unlock must reach the old master too.
        let copies = entry.map.partition(ordinal).map(|partition| &partition.copies);
        for leaf in copies.into_iter().flat_map(BTreeMap::keys) {
            self.out.messages.push(((*leaf).into(), message.clone()));
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
        may.then(|| Step::new(partition, Phase::Promote, former, Action::Promote))
    });
    back.collect()
}
