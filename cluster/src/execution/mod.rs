//! A plan under way: a core without I/O.
//!
//! ```text
//!   metadata ──record──►┌───────────┐──changes──► metadata (compare-and-set, see `change`)
//!   leaves ───events───►│ Execution │──lock, unlock, remove files──► leaves
//!   operator ─cancel───►│           │──outcome──► operator
//!                       └───────────┘
//! ```
//!
//! It looks at the record as it is committed and at its steps, and says what is to be done. It knows nothing but
//! that: an execution that is made anew from the plan, on another master aggregator, finds by the record what is
//! done already and goes on with the rest. Copies follow their masters by themselves (replication); here one waits
//! for the record to say that they do.
//!
//! A step:
//!
//! ```text
//!   COPY     scheduled ─► asked ─► follows ─────────────────────────► success
//!   PROMOTE  scheduled ─► locking ─► asked (no return) ─► unlocked ─► success
//!   DROP     scheduled ─► asked ─► removing files ──────────────────► success
//! ```
//!
//! If a step fails, or the plan is cancelled, what is locked is unlocked, copies that are not complete leave
//! the record with their files, complete ones stay for the next plan, and what has not begun never does.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::plan::{Awaited, Live, Plan, Progress, Status, Step};
use crate::{Database, Instance, Leaf, LeafId, Ordinal, Term};

pub use change::{Change, Refused, apply};

mod change;
mod running;
mod starting;

/// Bounds of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Steps that may run at once on a leaf, as source or target.
    pub steps_per_leaf: u32,
    /// How long a promotion waits for running transactions and for the copy to have everything, in
    /// milliseconds. The partition takes no writes meanwhile.
    pub lock_limit_ms: u64,
    /// How long a step waits for a partition that has no master, in milliseconds.
    pub master_limit_ms: u64,
    /// KILL: transactions that hold up a promotion for that long are ended, and waited for once more.
    pub kill: bool,
    /// A bug, for the tests that must find it.
    #[cfg(any(test, feature = "testing"))]
    pub planted: Option<crate::testing::Planted>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            steps_per_leaf: 2,
            lock_limit_ms: 60_000,
            master_limit_ms: 60_000,
            kill: false,
            #[cfg(any(test, feature = "testing"))]
            planted: None,
        }
    }
}

/// What a step may go by.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Leaves as they stand.
    pub leaves: &'a [Leaf],
    /// The record as it is committed.
    pub database: &'a Database,
    /// Free space by leaf; who is not listed is not asked.
    pub free: &'a BTreeMap<LeafId, u64>,
}

/// Something happened. Steps are named by their place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed, or the record or a leaf has changed.
    Look,
    /// How far a step is.
    Live(usize, Live),
    /// A copy of a database with asynchronous replication has everything that its master has; the record does
    /// not say so. Of a step that takes a copy out: all others have.
    CaughtUp(usize),
    /// A copy cannot be made.
    CopyFailed(usize, Failure),
    /// The partition is locked, nothing is running, and the copy has everything.
    Drained(usize),
    /// It cannot be locked.
    LockFailed(usize, Failure),
    /// The record has taken the step's change; the record that is given shows it, unless something else has
    /// followed.
    Committed(usize),
    /// The record did not take the step's change, and is as it was.
    Refused(usize, Refused),
    /// The files of a copy that left the record are gone.
    FilesGone(usize),
    /// They cannot be removed: they stay, as an orphan.
    FilesStay(usize),
    /// The operator, or their lost connection, ends it.
    Cancel,
}

/// Why a step ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The leaf that is copied to, or that shall be master, is gone.
    #[error("{0} is not online")]
    TargetLost(LeafId),
    /// The partition has no master, for longer than is waited for.
    #[error("the partition has no master")]
    SourceLost,
    /// There is no space.
    #[error("{leaf} has {free} bytes free and needs {needed}")]
    NoSpace {
        /// Where.
        leaf: LeafId,
        /// What the copy takes.
        needed: u64,
        /// What is there.
        free: u64,
    },
    /// Reading, sending or writing failed.
    #[error("reading, sending or writing failed")]
    Broken,
    /// A lock was not had in time, or not at all: long transactions, a change of a table.
    #[error("the partition could not be locked in time")]
    Timeout,
    /// The record has changed in the meantime and does not allow the step any more.
    #[error("the partition has changed: {0}")]
    Changed(#[from] Refused),
    /// Files could not be removed.
    #[error("files of the copy could not be removed")]
    FilesStay,
}

/// What to do. Whoever carries it out answers by an event or by the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Propose this change of the record: [`Event::Committed`] or [`Event::Refused`], as long as this leadership
    /// lasts.
    Commit(usize, Change),
    /// Stop new writes to the partition until [`Output::Unlock`], or until the leadership of the master
    /// aggregator that asked for it ends; wait for running ones (or end them), and for the copy on that leaf to have
    /// everything. [`Event::Drained`], or [`Event::LockFailed`].
    Lock {
        /// The step.
        step: usize,
        /// The partition.
        ordinal: Ordinal,
        /// Whose copy must have everything.
        to: LeafId,
        /// End running transactions.
        kill: bool,
    },
    /// Writes go on.
    Unlock(Ordinal),
    /// Remove the files of a copy. [`Event::FilesGone`] or [`Event::FilesStay`].
    RemoveFiles {
        /// The step.
        step: usize,
        /// Where.
        leaf: LeafId,
        /// Of which partition.
        ordinal: Ordinal,
        /// Which copy.
        instance: Instance,
    },
    /// It is over; nothing follows.
    Done(Outcome),
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every step succeeded.
    Success,
    /// A step failed, and with it the rest.
    Failed(usize, Failure),
    /// It was cancelled.
    Canceled,
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Scheduled,
    /// A change is proposed, and the record does not show it yet.
    Asked,
    /// The copy follows its master.
    Follows,
    /// The partition is being locked.
    Locking,
    /// The copy was not completed, and shall leave the record.
    Discarding,
    /// The record is changed; files are being removed.
    Removing,
    Success,
    Failed,
    Canceled,
}

/// A step's state.
#[derive(Clone, Copy, Debug)]
struct Run {
    stage: Stage,
    began_ms: Option<u64>,
    ended_ms: Option<u64>,
    live: Option<Live>,
    /// It waits for a leaf that is being attached.
    attaches: bool,
    /// Since when its partition has no master.
    bereft_ms: Option<u64>,
    caught_up: bool,
    /// The mastership that a promotion locked, until it is unlocked.
    locked: Option<Term>,
    /// Since when it waits for the lock.
    locking_ms: u64,
    /// Running transactions are being ended.
    kills: bool,
    /// Nothing is running in the locked partition, and the copy has everything.
    drained: bool,
    /// The leaf whose mastership it ends.
    old_master: Option<LeafId>,
    /// The copy that it has proposed to discard.
    discards: Option<Instance>,
    /// How it ends when files are gone.
    verdict: Stage,
}

/// A plan under way.
#[derive(Clone, Debug)]
pub struct Execution {
    plan: Plan,
    config: Config,
    runs: Vec<Run>,
    /// Why it ends, once it does.
    ending: Option<Outcome>,
    done: bool,
}

impl Execution {
    /// A plan that begins, or goes on after another execution of it ended without an outcome.
    #[must_use]
    pub fn new(plan: Plan, config: Config) -> Self {
        let run = Run {
            stage: Stage::Scheduled,
            began_ms: None,
            ended_ms: None,
            live: None,
            attaches: false,
            bereft_ms: None,
            caught_up: false,
            locked: None,
            locking_ms: 0,
            kills: false,
            drained: false,
            old_master: None,
            discards: None,
            verdict: Stage::Success,
        };
        let runs = vec![run; plan.steps.len()];
        Self { plan, config, runs, ending: None, done: false }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How far each step is.
    #[must_use]
    pub fn progress(&self, now_ms: u64) -> Vec<Progress> {
        let open = self.plan.steps.iter().zip(&self.runs).find(|(_, run)| !run.has_ended());
        let phase = open.map(|(step, _)| step.phase);
        let progress = |(step, run): (&Step, &Run)| Progress {
            status: run.status(),
            running_ms: run.began_ms.map(|began| run.ended_ms.unwrap_or(now_ms) - began),
            live: run.live,
            awaits: run.awaits(Some(step.phase) == phase),
        };
        self.plan.steps.iter().zip(&self.runs).map(progress).collect()
    }

    /// Takes an event and says what is to be done. Nothing is said twice, and nothing after [`Output::Done`].
    pub fn step(&mut self, now_ms: u64, world: &World<'_>, event: Event) -> Vec<Output> {
        let mut out = Vec::new();
        if self.done {
            return out;
        }
        self.take(event, now_ms, &mut out);
        self.look(now_ms, world, &mut out);
        if self.ending.is_none() {
            self.begin(now_ms, world, &mut out);
        }
        // What others have is known for the moment only.
        let waits = |run: &&mut Run| run.stage == Stage::Scheduled;
        self.runs.iter_mut().filter(waits).for_each(|run| run.caught_up = false);
        // What has just failed ends the others too.
        self.look(now_ms, world, &mut out);
        self.end_if_all_ended(now_ms, &mut out);
        self.check();
        out
    }

    fn take(&mut self, event: Event, now_ms: u64, out: &mut Vec<Output>) {
        match event {
            Event::Look => {}
            Event::Live(step, live) => self.runs[step].live = Some(live),
            Event::CaughtUp(step) => self.runs[step].caught_up = true,
            Event::CopyFailed(step, failure) if self.runs[step].stage == Stage::Follows => {
                self.discard_for(step, failure);
            }
            Event::CopyFailed(..) => {}
            Event::LockFailed(step, failure) if self.runs[step].stage == Stage::Locking => {
                self.kill_or_fail(step, failure, now_ms, out);
            }
            Event::LockFailed(..) => {}
            Event::Drained(step) if self.runs[step].stage == Stage::Locking => {
                self.runs[step].drained = true;
            }
            Event::Drained(_) => {}
            Event::Committed(step) => self.committed(step, now_ms, out),
            Event::Refused(step, refused) => self.refused(step, refused, now_ms),
            Event::FilesGone(step) if self.runs[step].stage == Stage::Removing => {
                let verdict = self.runs[step].verdict;
                self.runs[step].end(verdict, now_ms);
            }
            Event::FilesGone(_) => {}
            Event::FilesStay(step) => {
                self.fail_in(step, &[Stage::Removing], Failure::FilesStay, now_ms);
            }
            Event::Cancel => {
                self.ending.get_or_insert(Outcome::Canceled);
            }
        }
    }

    /// Late news of a step that is elsewhere by now change nothing.
    fn fail_in(&mut self, step: usize, stages: &[Stage], failure: Failure, now_ms: u64) {
        if stages.contains(&self.runs[step].stage) {
            self.fail(step, failure, now_ms);
        }
    }

    fn fail(&mut self, step: usize, failure: Failure, now_ms: u64) {
        self.runs[step].end(Stage::Failed, now_ms);
        self.ending.get_or_insert(Outcome::Failed(step, failure));
    }

    fn check(&self) {
        for run in &self.runs {
            assert!(
                run.locked.is_none() || !run.has_ended(),
                "what has ended is unlocked: {run:?}"
            );
            assert_eq!(run.ended_ms.is_some(), run.has_ended(), "{run:?}");
        }
    }
}

impl Run {
    fn status(&self) -> Status {
        match self.stage {
            Stage::Scheduled => Status::Scheduled,
            Stage::Success => Status::Success,
            Stage::Failed => Status::Failed,
            Stage::Canceled => Status::Canceled,
            _ => Status::Running,
        }
    }

    /// What it waits for, in a phase that has its turn or not; nothing, if it has ended.
    fn awaits(&self, has_turn: bool) -> Option<Awaited> {
        Some(match self.stage {
            Stage::Scheduled if self.attaches => Awaited::Attach,
            Stage::Scheduled if has_turn => Awaited::Turn,
            Stage::Scheduled => Awaited::Phase,
            Stage::Asked | Stage::Discarding => Awaited::Record,
            Stage::Follows => self.live.map_or(Awaited::Contact, |live| live.awaits),
            Stage::Locking => self.live.map_or(Awaited::Transactions, |live| live.awaits),
            Stage::Removing => Awaited::Files,
            Stage::Success | Stage::Failed | Stage::Canceled => return None,
        })
    }

    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Success | Stage::Failed | Stage::Canceled)
    }

    fn begin(&mut self, stage: Stage, now_ms: u64) {
        self.stage = stage;
        self.began_ms.get_or_insert(now_ms);
    }

    fn end(&mut self, stage: Stage, now_ms: u64) {
        self.stage = stage;
        self.ended_ms = Some(now_ms);
    }
}
