//! Steps that run: answers to their changes, what the record says of them, and what follows.

use super::{Change, Execution, Failure, Outcome, Output, Refused, Stage, World};
use crate::plan::{Action, Step};
use crate::{Copy, Instance, LeafId, Partition, Standing};

impl World<'_> {
    pub(super) fn is_online(&self, leaf: LeafId) -> bool {
        self.leaves.iter().any(|other| other.id == leaf && other.standing == Standing::Online)
    }

    /// Whether a leaf that the step needs is being attached: the one where something becomes, or where its partition's master comes
    /// back.
    pub(super) fn is_attaching_for(&self, step: &Step) -> bool {
        let attaches = |leaf: LeafId| {
            let mut leaves = self.leaves.iter();
            leaves.any(|other| other.id == leaf && other.standing == Standing::Attaching)
        };
        let partition = self.partition(step).filter(|partition| partition.serving().is_none());
        let source = partition.and_then(|partition| partition.master);
        !step.action.takes_out() && (attaches(step.target) || source.is_some_and(attaches))
    }

    /// The partition of a step. Databases that are dropped end their plans.
    pub(super) fn partition(&self, step: &Step) -> Option<&Partition> {
        self.database.partition(step.ordinal)
    }

    /// The copy on the step's leaf, if it can be used.
    pub(super) fn copy(&self, step: &Step) -> Option<&Copy> {
        self.partition(step)?.copies.get(&step.target).filter(|copy| !copy.offline)
    }
}

impl Execution {
    /// The record has a step's change.
    pub(super) fn committed(&mut self, at: usize, now_ms: u64, out: &mut Vec<Output>) {
        let step = self.plan.steps[at];
        let run = &mut self.runs[at];
        match (run.stage, step.action) {
            (Stage::Asked, Action::Copy | Action::CopyForce) => run.stage = Stage::Follows,
            (Stage::Asked, Action::Attach | Action::Create | Action::Promote | Action::Detach) => {
                run.end(Stage::Success, now_ms);
            }
            (Stage::Asked, Action::PromoteWithDrop) => {
                let leaf = run.old_master.expect("a promotion knows whom it replaces");
                let instance = step.instance.expect("a drop names its copy");
                self.unlock(at, &step, out);
                self.remove_files(at, (leaf, instance), out);
            }
            (Stage::Asked, Action::Drop) => {
                let instance = step.instance.expect("a drop names its copy");
                self.remove_files(at, (step.target, instance), out);
            }
            (Stage::Discarding, _) => {
                let instance = run.discards.expect("it was proposed");
                self.remove_files(at, (step.target, instance), out);
            }
            _ => {}
        }
    }

    /// The record does not take a step's change, and is as it was.
    pub(super) fn refused(&mut self, at: usize, refused: Refused, now_ms: u64) {
        match self.runs[at].stage {
            Stage::Asked => self.fail(at, Failure::Changed(refused), now_ms),
            // The copy counts by now, or is gone: either way there is nothing to discard.
            Stage::Discarding => {
                let verdict = self.runs[at].verdict;
                self.runs[at].end(verdict, now_ms);
            }
            _ => {}
        }
    }

    fn remove_files(
        &mut self,
        at: usize,
        (leaf, instance): (LeafId, Instance),
        out: &mut Vec<Output>,
    ) {
        self.runs[at].stage = Stage::Removing;
        let ordinal = self.plan.steps[at].ordinal;
        out.push(Output::RemoveFiles { step: at, leaf, ordinal, instance });
    }

    /// Moves on what runs, by the record and the leaves as they are.
    pub(super) fn look(&mut self, now_ms: u64, world: &World<'_>, out: &mut Vec<Output>) {
        for at in 0..self.runs.len() {
            let step = self.plan.steps[at];
            match self.runs[at].stage {
                Stage::Follows => self.look_at_copy(at, &step, now_ms, world),
                Stage::Locking => self.look_at_locking(at, &step, (now_ms, world), out),
                _ => {}
            }
            if self.runs[at].stage == Stage::Discarding && self.runs[at].discards.is_none() {
                self.propose_discard(at, &step, (now_ms, world), out);
            }
            if self.runs[at].has_ended() {
                self.unlock(at, &step, out);
            }
        }
    }

    fn look_at_copy(&mut self, at: usize, step: &Step, now_ms: u64, world: &World<'_>) {
        let copy = world.copy(step).filter(|_| world.is_online(step.target));
        let (Some(partition), Some(copy)) = (world.partition(step), copy) else {
            let failure = Failure::TargetLost(step.target);
            return self.discard_for(at, failure);
        };
        let is_full = if world.database.is_sync(partition) {
            world.database.is_promotable(partition, copy)
        } else {
            self.runs[at].caught_up
        };
        let is_full = is_full || planted!(self.config, DropBeforeComplete);
        if is_full || partition.master == Some(step.target) {
            self.runs[at].end(Stage::Success, now_ms);
        } else if self.ending.is_some() {
            (self.runs[at].stage, self.runs[at].verdict) = (Stage::Discarding, Stage::Canceled);
        } else if self.is_bereft_too_long(at, partition, now_ms) {
            self.discard_for(at, Failure::SourceLost);
        }
    }

    /// A copy that cannot be completed leaves the record, and its files go.
    pub(super) fn discard_for(&mut self, at: usize, failure: Failure) {
        (self.runs[at].stage, self.runs[at].verdict) = (Stage::Discarding, Stage::Failed);
        self.ending.get_or_insert(Outcome::Failed(at, failure));
    }

    /// Counts how long the partition has had no master.
    pub(super) fn is_bereft_too_long(&mut self, at: usize, of: &Partition, now_ms: u64) -> bool {
        let run = &mut self.runs[at];
        if of.master.is_some() {
            run.bereft_ms = None;
            return false;
        }
        now_ms - *run.bereft_ms.get_or_insert(now_ms) >= self.config.master_limit_ms
    }

    /// Out of the record first, its files afterwards.
    fn propose_discard(
        &mut self,
        at: usize,
        step: &Step,
        (now_ms, world): (u64, &World<'_>),
        out: &mut Vec<Output>,
    ) {
        let partition = world.partition(step);
        let recorded = partition.and_then(|partition| partition.copies.get(&step.target));
        let run = &mut self.runs[at];
        let Some(instance) = recorded.map(|copy| copy.instance) else {
            // Somebody else took it out of the record.
            let verdict = run.verdict;
            return run.end(verdict, now_ms);
        };
        run.discards = Some(instance);
        let (ordinal, leaf, leaving) = (step.ordinal, step.target, self.plan.least_copies);
        out.push(Output::Commit(at, Change::Remove { ordinal, leaf, instance, leaving }));
    }

    fn look_at_locking(
        &mut self,
        at: usize,
        step: &Step,
        (now_ms, world): (u64, &World<'_>),
        out: &mut Vec<Output>,
    ) {
        let waits_for_nobody =
            planted!(self.config, PromoteBehind) || planted!(self.config, PromoteUndrained);
        self.runs[at].drained |= waits_for_nobody;
        let run = &self.runs[at];
        let locked = run.locked.expect("a partition that is being locked");
        let waited = now_ms - run.locking_ms;
        let partition = world.partition(step);
        let Some(partition) = partition.filter(|partition| partition.term == locked) else {
            return self.fail(at, Failure::Changed(Refused::OtherTerm), now_ms);
        };
        if self.ending.is_some() {
            self.runs[at].end(Stage::Canceled, now_ms);
        } else if world.copy(step).is_none() || !world.is_online(step.target) {
            self.fail(at, Failure::TargetLost(step.target), now_ms);
        } else if self.runs[at].drained {
            self.runs[at].stage = Stage::Asked;
            let drops = step.action == Action::PromoteWithDrop;
            let change = Change::Promote {
                ordinal: partition.ordinal,
                term: locked,
                to: step.target,
                drop_leaving: drops.then_some(self.plan.least_copies),
                returns: self.plan.returns,
            };
            out.push(Output::Commit(at, change));
        } else if waited >= self.config.lock_limit_ms {
            self.kill_or_fail(at, Failure::Timeout, now_ms, out);
        }
    }

    /// A lock that is not had is asked for once more with KILL, if that is wanted.
    pub(super) fn kill_or_fail(
        &mut self,
        at: usize,
        failure: Failure,
        now_ms: u64,
        out: &mut Vec<Output>,
    ) {
        let step = self.plan.steps[at];
        let run = &mut self.runs[at];
        if run.kills || !self.config.kill {
            return self.fail(at, failure, now_ms);
        }
        (run.kills, run.locking_ms) = (true, now_ms);
        let (ordinal, to) = (step.ordinal, step.target);
        out.push(Output::Lock { step: at, ordinal, to, kill: true });
    }

    fn unlock(&mut self, at: usize, step: &Step, out: &mut Vec<Output>) {
        if self.runs[at].locked.take().is_some() {
            out.push(Output::Unlock(step.ordinal));
        }
    }
}
