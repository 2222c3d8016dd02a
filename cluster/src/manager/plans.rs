//! Plans under way: those that an operator asked for, and the one that brings masters back by itself.
//!
//! ```text
//!   REBALANCE … ──Run──► ┌───────┐──Execute──► metadata
//!   quiet for long ────► │ plans │──Lock, Unlock, Remove──► leaves (said again until they answer)
//!   leaves ──Drained───► └───────┘──ended──► whoever asked
//! ```
//!
//! An [`Execution`] says what its steps need; here that becomes proposals and messages, and answers become its events.
//! Nothing of it outlives the office: who takes over finds in the record what is done, and whoever asked asks again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::figures::Figures;
use super::{About, Lock, Manager, Message, copy_name};
use crate::execution::{self, Execution, World};
use crate::metadata::{Command, DatabaseEntry, Metadata, Outcome, Refusal};
use crate::plan::{Action, Averages, Phase, Plan, Progress, Status, Step};
use crate::reconcile::{CopyName, Doing};
use crate::{LeafId, NodeId, Ordinal};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Names it in [`super::Output::ended`].
    pub number: u64,
    /// What is to be done.
    pub plan: Plan,
    /// Its bounds.
    pub config: execution::Config,
}

/// How an errand ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// So.
    With(execution::Outcome),
    /// Not begun: a plan for the database is under way.
    Busy,
    /// Its database was dropped.
    Dropped,
    /// The office was lost. Whoever has it now finds in the record what was done.
    NotMaster,
}

/// A plan as far as it is, or as it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The plan.
    pub plan: Plan,
    /// How far each step is.
    pub progress: Vec<Progress>,
}

/// Plans of this office, by the number of their database.
#[derive(Clone, Debug, Default)]
pub(super) struct Plans {
    running: BTreeMap<u32, Running>,
    last: BTreeMap<u32, Over>,
    averages: Averages,
    locks: u64,
}

/// A plan that has ended, in a database of that name.
#[derive(Clone, Debug)]
struct Over {
    shown: Shown,
    figures: Figures,
}

#[derive(Clone, Debug)]
struct Running {
    /// Whoever asked for it; nobody, if it brings masters back.
    number: Option<u64>,
    name: String,
    execution: Execution,
    config: execution::Config,
    heard: Vec<execution::Event>,
    locks: BTreeMap<Ordinal, (usize, Lock)>,
    /// Copies whose files are to go, and the metadata that do not have them any more.
    removals: BTreeMap<usize, (LeafId, CopyName, u64)>,
    /// Since when a copy is to be removed whose partition nobody serves.
    bereft: Option<Duration>,
    figures: Figures,
    /// Steps whose time was taken down.
    noted: BTreeSet<usize>,
    /// When locks and removals were said last.
    said: Duration,
}

impl Plans {
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn answered(&mut self, (database, step): (u32, usize), outcome: &Outcome) {
        let event = match outcome {
            Outcome::Refused { refusal: Refusal::Step { refused } } => {
                execution::Event::Refused(step, *refused)
            }
            Outcome::Refused { .. } => {
                execution::Event::Refused(step, execution::Refused::OtherTerm)
            }
            _ => execution::Event::Committed(step),
        };
        if let Some(running) = self.running.get_mut(&database) {
            running.heard.push(event);
        }
    }

    /// The partition under that lock stands still; of a lock that was given up it means nothing.
    pub(super) fn drained(&mut self, lock: u64) {
        for running in self.running.values_mut() {
            let step = running.locks.values().find(|(_, held)| held.number == lock);
            if let Some((step, _)) = step {
                running.heard.push(execution::Event::Drained(*step));
            }
        }
    }

    /// The office is over, and with it what was under way: whoever asked, and what they are told.
    pub(super) fn lose(&mut self) -> Vec<(u64, Ended)> {
        let running = std::mem::take(&mut self.running);
        let asked = running.values().filter_map(|running| running.number);
        asked.map(|number| (number, Ended::NotMaster)).collect()
    }

    pub(super) fn cancel(&mut self, metadata: &Metadata, database: &str) {
        let number = metadata.databases().get(database).map(|entry| entry.number);
        if let Some(running) = number.and_then(|number| self.running.get_mut(&number)) {
            running.heard.push(execution::Event::Cancel);
        }
    }
}

impl Manager {
    /// What is known of the times that steps took.
    #[must_use]
    pub fn averages(&self) -> &Averages {
        &self.plans.averages
    }

    /// The plan of a database that runs, or the last one that ran in this office.
    #[must_use]
    pub fn shown(&self, database: u32) -> Option<Shown> {
        let now_ms = self.now_ms();
        let running = self.plans.running.get(&database).map(|running| Shown {
            plan: running.execution.plan().clone(),
            progress: running.execution.progress(now_ms),
        });
        running.or_else(|| self.plans.last.get(&database).map(|over| over.shown.clone()))
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.now.at.as_millis()).unwrap_or(u64::MAX)
    }

    /// A leaf was taken in, with these copies: shown as the last plan of each database that they belong to.
    pub(super) fn show_attached(&mut self, metadata: &Metadata, node: NodeId, running_ms: u64) {
        let leaf = LeafId::from(node);
        let mut steps: BTreeMap<u32, (String, Vec<Step>)> = BTreeMap::new();
        let copies = metadata.copies_on(node);
        let spread = copies.filter(|(entry, one, _)| !entry.map.is_reference(one.ordinal));
        for (entry, partition, _) in spread {
            let step = Step::new(partition, Phase::Attach, leaf, Action::Attach);
            let of = steps.entry(entry.number).or_insert_with(|| (entry.map.name.clone(), vec![]));
            of.1.push(step);
        }
        for (number, (database, steps)) in steps {
            let running_ms = Some(running_ms);
            let (status, live, awaits) = (Status::Success, None, None);
            let attached = Progress { status, running_ms, live, awaits };
            let progress = vec![attached; steps.len()];
            let plan = Plan { database, steps, ..Plan::default() };
            let shown = Shown { plan, progress };
            self.plans.last.insert(number, Over { shown, figures: Figures::default() });
        }
    }

    pub(super) fn run_errand(&mut self, metadata: &Metadata, errand: Errand) {
        let Errand { number, plan, config } = errand;
        let ended = match metadata.databases().get(&plan.database) {
            _ if self.office.is_none() => Ended::NotMaster,
            None => Ended::Dropped,
            Some(entry) if self.plans.running.contains_key(&entry.number) => Ended::Busy,
            Some(entry) => return self.begin_plan(entry.number, Some(number), plan, config),
        };
        self.out.ended.push((number, ended));
    }

    pub(super) fn begin_plan(
        &mut self,
        database: u32,
        number: Option<u64>,
        plan: Plan,
        config: execution::Config,
    ) {
        let name = plan.database.clone();
        let execution = Execution::new(plan, config);
        let running = Running {
            number,
            name,
            execution,
            config,
            heard: Vec::new(),
            locks: BTreeMap::new(),
            removals: BTreeMap::new(),
            bereft: None,
            figures: Figures::default(),
            noted: BTreeSet::new(),
            said: self.now.at,
        };
        self.plans.running.insert(database, running);
    }

    pub(super) fn go_on_with_plans(&mut self, metadata: &Metadata) {
        self.look_at_last(metadata);
        for (database, mut running) in std::mem::take(&mut self.plans.running) {
            let entry = metadata.databases().get(&running.name);
            let Some(entry) = entry.filter(|entry| entry.number == database) else {
                self.end_errand(running.number, Ended::Dropped);
                continue;
            };
            match self.go_on(metadata, entry, &mut running) {
                None => drop(self.plans.running.insert(database, running)),
                Some(outcome) => self.end_plan(database, &running, outcome),
            }
        }
    }

    fn go_on(
        &mut self,
        metadata: &Metadata,
        entry: &DatabaseEntry,
        running: &mut Running,
    ) -> Option<execution::Outcome> {
        let (leaves, free) = (metadata.leaves(), BTreeMap::new());
        let world = World { leaves: &leaves, database: &entry.map, free: &free };
        let now_ms = self.now_ms();
        self.look_at_copies(metadata, entry, running);
        let progress = running.execution.progress(now_ms);
        let shown = (running.execution.plan(), &progress[..]);
        let lives = running.figures.look(self, (metadata, entry), shown);
        running
            .heard
            .extend(lives.into_iter().map(|(step, live)| execution::Event::Live(step, live)));
        let mut done = None;
        let heard = std::mem::take(&mut running.heard);
        for event in heard.into_iter().chain([execution::Event::Look]) {
            if let execution::Event::FilesGone(step) | execution::Event::FilesStay(step) = event {
                running.removals.remove(&step);
            }
            for output in running.execution.step(now_ms, &world, event) {
                match output {
                    execution::Output::Done(outcome) => done = Some(outcome),
                    other => self.carry_out(entry, running, other),
                }
            }
        }
        self.note_times(running);
        if self.now.at.saturating_sub(running.said) >= self.config.retry {
            self.say_again(entry, running);
        }
        done
    }

    /// What is known of copies only after their plan has ended.
    fn look_at_last(&mut self, metadata: &Metadata) {
        let mut last = std::mem::take(&mut self.plans.last);
        for (database, Over { shown, figures }) in &mut last {
            let Some(entry) = metadata.database_of(*database) else { continue };
            let lives = figures.look(self, (metadata, entry), (&shown.plan, &shown.progress));
            for (step, live) in lives {
                shown.progress[step].live = Some(live);
            }
        }
        self.plans.last = last;
    }

    /// Steps that have just ended well say how long the next of their kind will take.
    fn note_times(&mut self, running: &mut Running) {
        let plan = running.execution.plan();
        let progress = running.execution.progress(self.now_ms());
        for (at, (step, progress)) in plan.steps.iter().zip(progress).enumerate() {
            if let (Status::Success, Some(took)) = (progress.status, progress.running_ms)
                && running.noted.insert(at)
            {
                self.plans.averages.note(&plan.database, step.action, took);
            }
        }
    }

    /// What heartbeats tell of copies that are made, and of those that are removed.
    fn look_at_copies(&self, metadata: &Metadata, entry: &DatabaseEntry, running: &mut Running) {
        // A leaf does not remove what may be the last copy: it waits for a master, as long as other steps do.
        let is_served = |copy: &CopyName| {
            let partition = entry.map.partition(copy.ordinal);
            partition.is_some_and(|partition| partition.serving().is_some())
        };
        let now = self.now.at;
        let all_served = running.removals.values().all(|(_, copy, _)| is_served(copy));
        running.bereft = (!all_served).then(|| running.bereft.unwrap_or(now));
        let limit = Duration::from_millis(running.config.master_limit_ms);
        let is_over = running.bereft.is_some_and(|since| now.saturating_sub(since) >= limit);
        for (step, (leaf, copy, known)) in &running.removals {
            let is_kept = is_over && !is_served(copy);
            if self.detector.is_lost((*leaf).into()) || is_kept {
                running.heard.push(execution::Event::FilesStay(*step));
            } else if let Some(answer) = self.heard_as_known(metadata, (*leaf).into())
                && answer.looked >= *known
                && !answer.held.contains_key(copy)
            {
                running.heard.push(execution::Event::FilesGone(*step));
            }
        }
        let steps = running.execution.plan().steps.iter().enumerate();
        let caught_up = steps.filter(|(_, step)| {
            let partition = entry.map.partition(step.ordinal);
            let is_sync = partition.is_none_or(|partition| entry.map.is_sync(partition));
            !is_sync && self.have_caught_up(metadata, entry, step)
        });
        running.heard.extend(caught_up.map(|(step, _)| execution::Event::CaughtUp(step)));
    }

    /// Whether the copy that a step makes has caught up, or all others, if it takes one out.
    fn have_caught_up(&self, metadata: &Metadata, entry: &DatabaseEntry, step: &Step) -> bool {
        let Some(partition) = entry.map.partition(step.ordinal) else { return false };
        let dropped = match step.action {
            Action::Copy | Action::CopyForce => {
                return self.has_caught_up(metadata, entry, (partition, step.target));
            }
            Action::Drop => Some(step.target),
            Action::PromoteWithDrop => None,
            _ => return false,
        };
        let mut others = partition
            .usable()
            .filter(|leaf| partition.master != Some(*leaf) && dropped != Some(*leaf));
        others.all(|leaf| self.has_caught_up(metadata, entry, (partition, leaf)))
    }

    /// Whether a copy follows, and had all that its master had when that was heard of. Without acknowledgements that is
    /// all there is to know; a promotion waits for the rest.
    fn has_caught_up(
        &self,
        metadata: &Metadata,
        entry: &DatabaseEntry,
        (partition, leaf): (&crate::Partition, LeafId),
    ) -> bool {
        let held = |leaf: LeafId| {
            let copy = partition.copies.get(&leaf).filter(|copy| !copy.offline)?;
            let answer = self.heard_as_known(metadata, leaf.into())?;
            answer.held.get(&copy_name(entry, partition, copy.instance))
        };
        let (Some(master), Some(copy)) = (partition.serving().and_then(held), held(leaf)) else {
            return false;
        };
        copy.doing == Doing::Following && copy.last >= master.last
    }

    fn carry_out(
        &mut self,
        entry: &DatabaseEntry,
        running: &mut Running,
        output: execution::Output,
    ) {
        match output {
            execution::Output::Commit(step, change) => {
                let command = Command::Execute { database: running.name.clone(), change };
                self.propose(About::Step(entry.number, step), command);
            }
            execution::Output::Lock { step, ordinal, to, kill } => {
                self.plans.locks += 1;
                let lock = Lock { number: self.plans.locks, ordinal, to, kill };
                running.locks.insert(ordinal, (step, lock));
                self.say_lock(entry, lock);
            }
            execution::Output::Unlock(ordinal) => {
                running.locks.remove(&ordinal);
                self.say_unlock(entry, ordinal);
            }
            execution::Output::RemoveFiles { step, leaf, ordinal, instance } => {
                let copy = CopyName { database: entry.number, ordinal, instance };
                running.removals.insert(step, (leaf, copy, self.known));
                self.say_remove(leaf, copy);
            }
            execution::Output::Done(_) => {}
        }
    }

    /// What was lost on the way is said once more; a lock that is not said again lapses.
    fn say_again(&mut self, entry: &DatabaseEntry, running: &mut Running) {
        running.said = self.now.at;
        for (_, lock) in running.locks.values() {
            self.say_lock(entry, *lock);
        }
        for (leaf, copy, _) in running.removals.values() {
            self.say_remove(*leaf, *copy);
        }
    }

    fn say_lock(&mut self, entry: &DatabaseEntry, lock: Lock) {
        let (office, database) = (self.office.unwrap_or(0), entry.number);
        let master = entry.map.partition(lock.ordinal).and_then(|partition| partition.master);
        if let Some(master) = master {
            self.out.messages.push((master.into(), Message::Lock { office, database, lock }));
        }
    }

    /// Whoever has a copy: the old master is to hear it too.
    fn say_unlock(&mut self, entry: &DatabaseEntry, ordinal: Ordinal) {
        let (office, database) = (self.office.unwrap_or(0), entry.number);
        let copies = entry.map.partition(ordinal).map(|partition| &partition.copies);
        for leaf in copies.into_iter().flat_map(BTreeMap::keys) {
            let message = Message::Unlock { office, database, ordinal };
            self.out.messages.push((NodeId::from(*leaf), message));
        }
    }

    fn say_remove(&mut self, leaf: LeafId, copy: CopyName) {
        let (office, known) = (self.office.unwrap_or(0), self.known);
        self.out.messages.push((leaf.into(), Message::Remove { office, copy, known }));
    }

    fn end_plan(&mut self, database: u32, running: &Running, outcome: execution::Outcome) {
        let (plan, now_ms) = (running.execution.plan().clone(), self.now_ms());
        let progress = running.execution.progress(now_ms);
        let over = Over { shown: Shown { plan, progress }, figures: running.figures.clone() };
        self.plans.last.insert(database, over);
        match running.number {
            Some(_) => self.end_errand(running.number, Ended::With(outcome)),
            None => {
                let well = outcome == execution::Outcome::Success;
                self.back.ended(database, well, self.now.at);
            }
        }
    }

    fn end_errand(&mut self, number: Option<u64>, ended: Ended) {
        self.out.ended.extend(number.map(|number| (number, ended)));
    }

    /// What became of a step's change is not known, and cannot be waited for: nothing stays locked, and the plan begins
    /// anew with the record as it is.
    pub(super) fn begin_anew(&mut self, metadata: &Metadata, database: u32) {
        let Some(mut running) = self.plans.running.remove(&database) else { return };
        if let Some(entry) = metadata.database_of(database) {
            for ordinal in std::mem::take(&mut running.locks).into_keys() {
                self.say_unlock(entry, ordinal);
            }
        }
        let plan = running.execution.plan().clone();
        self.begin_plan(database, running.number, plan, running.config);
    }
}
