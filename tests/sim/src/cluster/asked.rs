//! The master aggregator carries out what people ask for, as `node` does in its `Operations`: plans are made from the record as it
//! is there, and what is under way ends with the office.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use resprout_cluster::execution;
use resprout_cluster::manager::{Ended, Errand, Event, Manager};
use resprout_cluster::metadata::{Command, Decree, Outcome};
use resprout_cluster::plan::{Asked, Keep};
use resprout_cluster::reconcile::CopyName;
use resprout_cluster::survey::Survey;
use resprout_cluster::{Database, LeafId, Mode, NodeId};

use super::mail::Mail;
use super::node::Whose;
use super::orphans::Clearing;
use super::simulation::Simulation;
use crate::Violation;

/// How long a partition stands still, and waits for a master.
const LOCK_LIMIT_MS: u64 = 1_500;
const MASTER_LIMIT_MS: u64 = 4_000;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// A plan; with KILL.
    Plan(Asked, bool),
    /// One command.
    Command(Command),
    /// CLEAR ORPHAN DATABASES.
    ClearOrphans,
    /// DROP PARTITION of an orphan.
    DropOrphan(LeafId, CopyName),
}

/// What somebody is told.
#[derive(Clone, Debug)]
pub(super) enum Returned {
    /// It is done, or the metadata have refused it.
    Done(Outcome),
    /// Done, and these orphans are not safe to drop.
    Cleared(Vec<(LeafId, CopyName, Keep)>),
    /// Its plan ended so.
    Ended(Ended),
    /// There is no plan for it.
    NoPlan,
    /// Whoever was asked is not the master aggregator, or not any more.
    NotMaster,
}

/// Between whoever asks and whoever carries it out.
#[derive(Clone, Debug)]
pub(super) enum AskedMail {
    /// Somebody asks; said again with the same number it is the same.
    Call(u64, Request),
    /// And is told.
    Return(u64, Returned),
    /// The plan of a database shall end.
    Cancel(String),
    /// What does a leaf have?
    Survey(u64),
    /// That.
    Surveyed(u64, Survey),
}

/// What a master aggregator has been asked.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// By whom, and how it ended.
    calls: BTreeMap<u64, (u64, Option<Returned>)>,
    pub(super) clearing: Option<Clearing>,
}

/// How many full copies a plan for it leaves at least.
fn redundancy(asked: &Asked, mode: Mode) -> usize {
    match asked {
        // The partner goes on alone: that is what was asked for.
        Asked::Free { .. } if mode == Mode::Paired => 1,
        Asked::One { .. } => 1,
        Asked::Rebalance { .. }
        | Asked::Restore { .. }
        | Asked::Free { .. }
        | Asked::HandOver { .. } => 2,
    }
}

impl Simulation {
    pub(super) fn asked_mail(
        &mut self,
        from: u64,
        to: u64,
        mail: AskedMail,
    ) -> Result<(), Violation> {
        match mail {
            AskedMail::Call(number, request) => self.called(from, to, number, request),
            AskedMail::Return(number, returned) => self.returned(number, returned),
            AskedMail::Cancel(database) => self.office(to, Event::Cancel(database)),
            AskedMail::Survey(number) => {
                let survey = self.node(to).survey();
                self.send_asked(to, from, AskedMail::Surveyed(number, survey))
            }
            AskedMail::Surveyed(number, survey) => {
                self.surveyed(to, from, number, survey);
                Ok(())
            }
        }
    }

    pub(super) fn send_asked(
        &mut self,
        from: u64,
        to: u64,
        mail: AskedMail,
    ) -> Result<(), Violation> {
        self.send(from, to, Mail::Asked(Box::new(mail)))
    }

    /// Whether a node has the office, as far as it knows itself.
    pub(super) fn is_in_office(&self, id: u64) -> bool {
        let Some(process) = &self.node(id).process else { return false };
        let is_in = process.manager.as_ref().is_some_and(Manager::is_in_office);
        is_in && process.leads && process.machine.state().office().holder == Some(NodeId(id))
    }

    /// Whether somebody asks for something, or a node carries it out.
    pub(super) fn is_asked(&self) -> bool {
        let mut processes = self.nodes.values().filter_map(|node| node.process.as_ref());
        let carries = |carried: &Carried| carried.calls.values().any(|(_, ended)| ended.is_none());
        self.operator.is_waiting() || processes.any(|process| carries(&process.carried))
    }

    fn called(
        &mut self,
        from: u64,
        id: u64,
        number: u64,
        request: Request,
    ) -> Result<(), Violation> {
        if !self.is_in_office(id) {
            return self.send_asked(id, from, AskedMail::Return(number, Returned::NotMaster));
        }
        let calls = &mut self.process(id).carried.calls;
        if let Some((asker, ended)) = calls.get_mut(&number) {
            *asker = from;
            return match ended.clone() {
                Some(ended) => self.send_asked(id, from, AskedMail::Return(number, ended)),
                None => Ok(()),
            };
        }
        calls.insert(number, (from, None));
        match request {
            Request::Plan(asked, kill) => self.begin_plan(id, number, (&asked, kill)),
            Request::Command(command) => {
                let office = self.process(id).machine.state().office().number;
                let decree = Decree { office, at_ms: 0, command };
                self.propose_for(id, Whose::Call(number), &decree);
                Ok(())
            }
            Request::ClearOrphans => self.clear_orphans(id, number, None),
            Request::DropOrphan(leaf, copy) => self.clear_orphans(id, number, Some((leaf, copy))),
        }
    }

    fn begin_plan(
        &mut self,
        id: u64,
        number: u64,
        (asked, kill): (&Asked, bool),
    ) -> Result<(), Violation> {
        let metadata = self.process(id).machine.state();
        let databases: Vec<Database> =
            metadata.databases().values().map(|entry| entry.map.clone()).collect();
        let (leaves, mode) = (metadata.leaves(), metadata.mode());
        let plan = match asked.plan(&leaves, &databases, mode) {
            Ok(plan) => plan,
            Err(error) => {
                self.coverage.note("no plan for what was asked");
                self.says(id, || format!("@ {number} no plan: {error}"));
                return self.end_call(id, number, Returned::NoPlan);
            }
        };
        if plan.steps.is_empty() {
            self.coverage.note("asked, and nothing to be done");
            return self.end_call(id, number, Returned::Done(Outcome::Done));
        }
        self.says(id, || format!("@ {number} begins {:?}", plan.steps));
        let config = execution::Config {
            kill,
            lock_limit_ms: LOCK_LIMIT_MS,
            master_limit_ms: MASTER_LIMIT_MS,
            planted: self.plan.planted.and_then(super::Planted::of_record),
            ..execution::Config::default()
        };
        self.checks.plan_begins(redundancy(asked, mode));
        self.office(id, Event::Run(Errand { number, plan, config }))
    }

    /// It is over here: whoever asked is told, and told again if that is lost.
    pub(super) fn end_call(
        &mut self,
        id: u64,
        number: u64,
        returned: Returned,
    ) -> Result<(), Violation> {
        self.says(id, || format!("@ {number} ended {returned:?}"));
        let calls = &mut self.process(id).carried.calls;
        let Some(from) = calls.get(&number).map(|(from, _)| *from) else { return Ok(()) };
        match &returned {
            Returned::NotMaster => drop(calls.remove(&number)),
            returned => drop(calls.insert(number, (from, Some(returned.clone())))),
        }
        self.send_asked(id, from, AskedMail::Return(number, returned))
    }

    pub(super) fn errand_ended(
        &mut self,
        id: u64,
        number: u64,
        ended: Ended,
    ) -> Result<(), Violation> {
        let returned = match ended {
            Ended::NotMaster => Returned::NotMaster,
            ended => Returned::Ended(ended),
        };
        self.end_call(id, number, returned)
    }

    /// What became of a command; without an outcome nobody knows, and it is asked for again.
    pub(super) fn command_ended(
        &mut self,
        id: u64,
        number: u64,
        outcome: Option<Outcome>,
    ) -> Result<(), Violation> {
        let returned = outcome.map_or(Returned::NotMaster, Returned::Done);
        self.end_call(id, number, returned)
    }
}

/// The leaves that a survey is asked of.
pub(super) fn surveyed(metadata: &resprout_cluster::metadata::Metadata) -> BTreeSet<u64> {
    metadata.nodes().iter().filter(|(_, node)| node.is_leaf()).map(|(id, _)| id.0).collect()
}

/// Between two rounds of removing.
pub(super) const ROUND: Duration = Duration::from_millis(100);
