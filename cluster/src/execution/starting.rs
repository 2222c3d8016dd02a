//! Steps that begin: one phase after the other, so many at once on a leaf, and nothing that cannot end well.

use std::collections::BTreeMap;

use super::{Change, Execution, Failure, Outcome, Output, Refused, Stage, World};
use crate::LeafId;
use crate::plan::{Action, Step};

impl Execution {
    /// Begins what may begin.
    pub(super) fn begin(&mut self, now_ms: u64, world: &World<'_>, out: &mut Vec<Output>) {
        loop {
            let open = (0..self.runs.len()).find(|at| !self.runs[*at].has_ended());
            let Some(phase) = open.map(|at| self.plan.steps[at].phase) else { return };
            let mut busy = self.busy(world);
            for at in 0..self.runs.len() {
                let step = self.plan.steps[at];
                if step.phase != phase || self.runs[at].stage != Stage::Scheduled {
                    continue;
                }
                let leaves = touched(&step, world);
                let is_free = |leaf: &LeafId| {
                    busy.get(leaf).is_none_or(|running| *running < self.config.steps_per_leaf)
                };
                if !leaves.iter().all(is_free) {
                    continue;
                }
                self.begin_step(at, &step, (now_ms, world), out);
                if self.ending.is_some() {
                    return;
                }
                if !self.runs[at].has_ended() && self.runs[at].stage != Stage::Scheduled {
                    for leaf in leaves {
                        *busy.entry(leaf).or_default() += 1;
                    }
                }
            }
            // If all of the phase was done already, the next one begins.
            let is_over = |at: usize| self.runs[at].has_ended();
            let mut of_phase =
                (0..self.runs.len()).filter(|at| self.plan.steps[*at].phase == phase);
            if !of_phase.all(is_over) {
                return;
            }
        }
    }

    /// Steps that run, by leaf.
    fn busy(&self, world: &World<'_>) -> BTreeMap<LeafId, u32> {
        let mut busy = BTreeMap::new();
        for (step, run) in self.plan.steps.iter().zip(&self.runs) {
            if run.stage != Stage::Scheduled && !run.has_ended() {
                for leaf in touched(step, world) {
                    *busy.entry(leaf).or_default() += 1;
                }
            }
        }
        busy
    }

    fn begin_step(
        &mut self,
        at: usize,
        step: &Step,
        (now_ms, world): (u64, &World<'_>),
        out: &mut Vec<Output>,
    ) {
        let Some(partition) = world.partition(step) else {
            self.runs[at].begin(Stage::Scheduled, now_ms);
            return self.fail(at, Failure::Changed(Refused::NoPartition), now_ms);
        };
        if self.is_done_already(step, world) {
            self.runs[at].begin(Stage::Success, now_ms);
            return self.runs[at].end(Stage::Success, now_ms);
        }
        self.runs[at].attaches = world.is_attaching_for(step);
        if self.runs[at].attaches {
            return;
        }
        let needs_master = step.action.is_copy() || step.action.is_promotion();
        if needs_master && partition.master.is_none() {
            if self.is_bereft_too_long(at, partition, now_ms) {
                self.runs[at].begin(Stage::Scheduled, now_ms);
                self.fail(at, Failure::SourceLost, now_ms);
            }
            return;
        }
        if !step.action.takes_out() && !world.is_online(step.target) {
            self.runs[at].begin(Stage::Scheduled, now_ms);
            return self.fail(at, Failure::TargetLost(step.target), now_ms);
        }
        if self.waits_for_others(at, step, world) {
            return;
        }
        let (ordinal, leaf) = (step.ordinal, step.target);
        let change = match step.action {
            Action::Promote | Action::PromoteWithDrop => {
                return self.lock(at, step, (now_ms, world), out);
            }
            Action::Copy | Action::CopyForce if world.copy(step).is_some() => {
                // Left behind by whoever ran this plan before: it goes on.
                return self.runs[at].begin(Stage::Follows, now_ms);
            }
            Action::Copy | Action::CopyForce => {
                let free = world.free.get(&leaf).copied().unwrap_or(u64::MAX);
                if free < step.bytes {
                    self.runs[at].begin(Stage::Scheduled, now_ms);
                    let failure = Failure::NoSpace { leaf, needed: step.bytes, free };
                    return self.fail(at, failure, now_ms);
                }
                Change::AddCopy { ordinal, leaf }
            }
            Action::Create => Change::Create { ordinal, leaf },
            Action::Attach => {
                let instance = step.instance.expect("what is attached has a number");
                Change::Attach { ordinal, leaf, instance }
            }
            Action::Drop => {
                let instance = step.instance.expect("a drop names its copy");
                Change::Remove { ordinal, leaf, instance, leaving: self.plan.least_copies }
            }
            Action::Detach => {
                let instance = step.instance.expect("what is detached has a number");
                Change::Detach { ordinal, leaf, instance }
            }
        };
        self.runs[at].begin(Stage::Asked, now_ms);
        out.push(Output::Commit(at, change));
    }

    /// Whether a copy is to go while it is not known that enough others have everything. In a database with asynchronous
    /// replication the record does not say so: another execution, with another office, may have begun those that are there.
    fn waits_for_others(&self, at: usize, step: &Step, world: &World<'_>) -> bool {
        let Some(partition) = world.partition(step).filter(|one| !world.database.is_sync(one))
        else {
            return false;
        };
        let goes = match step.action {
            Action::Drop => step.target,
            Action::PromoteWithDrop => partition.master.unwrap_or(step.target),
            _ => return false,
        };
        // The master stays, or its heir, which has everything when the partition stands still.
        let stays = if goes == step.target { partition.master } else { Some(step.target) };
        let copied = |leaf: LeafId| {
            let mut steps = self.plan.steps.iter().zip(&self.runs);
            steps.any(|(other, run)| {
                let is_it = (other.ordinal, other.target) == (step.ordinal, leaf);
                is_it && other.action.is_copy() && run.stage == Stage::Success
            })
        };
        let known = partition.usable().filter(|leaf| *leaf != goes);
        let known = known.filter(|leaf| stays == Some(*leaf) || copied(*leaf)).count();
        let is_told = self.runs[at].caught_up || planted!(self.config, CountBegun);
        known < self.plan.least_copies && !is_told
    }

    /// What an execution before this one has done is not done again.
    fn is_done_already(&self, step: &Step, world: &World<'_>) -> bool {
        let Some(partition) = world.partition(step) else { return false };
        let recorded = partition.copies.get(&step.target).map(|copy| copy.instance);
        match step.action {
            Action::Copy | Action::CopyForce => {
                world.database.is_sync(partition)
                    && world
                        .copy(step)
                        .is_some_and(|copy| world.database.is_promotable(partition, copy))
                    && world.is_online(step.target)
            }
            Action::Promote | Action::PromoteWithDrop | Action::Create => {
                partition.master == Some(step.target)
            }
            Action::Attach => recorded == step.instance,
            Action::Drop | Action::Detach => recorded != step.instance,
        }
    }

    fn lock(
        &mut self,
        at: usize,
        step: &Step,
        (now_ms, world): (u64, &World<'_>),
        out: &mut Vec<Output>,
    ) {
        let partition = world.partition(step).expect("it was found");
        let master = partition.master.and_then(|leaf| partition.copies.get(&leaf));
        self.runs[at].begin(Stage::Locking, now_ms);
        // The master that was to be dropped is not master any more, or there was none when the plan was made: it is of another
        // cluster.
        let drops = step.action == Action::PromoteWithDrop;
        if drops && master.map(|copy| copy.instance) != step.instance {
            return self.fail(at, Failure::Changed(Refused::OtherTerm), now_ms);
        }
        if world.copy(step).is_none() {
            return self.fail(at, Failure::Changed(Refused::NoCopy), now_ms);
        }
        self.runs[at].locked = Some(partition.term);
        self.runs[at].old_master = partition.master;
        self.runs[at].locking_ms = now_ms;
        let (ordinal, to) = (step.ordinal, step.target);
        out.push(Output::Lock { step: at, ordinal, to, kill: false });
    }

    /// When it ends, what has not begun never will; when all has ended, it is over.
    pub(super) fn end_if_all_ended(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        if self.ending.is_some() {
            for run in self.runs.iter_mut().filter(|run| run.stage == Stage::Scheduled) {
                run.end(Stage::Canceled, now_ms);
            }
        }
        if self.runs.iter().all(super::Run::has_ended) {
            self.done = true;
            out.push(Output::Done(self.ending.unwrap_or(Outcome::Success)));
        }
    }
}

/// Leaves that a step keeps busy: its own, and the master's.
fn touched(step: &Step, world: &World<'_>) -> Vec<LeafId> {
    let master = world.partition(step).and_then(|partition| partition.master);
    let needs_master = !step.action.takes_out();
    let master = master.filter(|leaf| needs_master && *leaf != step.target);
    [Some(step.target), master].into_iter().flatten().collect()
}
