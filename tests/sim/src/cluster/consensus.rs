//! Consensus on one node: its core, the store, and the metadata as its state machine.

use std::sync::Arc;
use std::time::Duration;

use resprout_cluster::NodeId;
use resprout_cluster::manager;
use resprout_cluster::metadata::Outcome;
use resprout_consensus::machine::Outcome as Applied;
use resprout_consensus::{Entry, Event as Step, Output, ProposalId, Snapshot, WriteId};

use super::mail::Mail;
use super::node::Whose;
use super::simulation::{Own, Simulation};
use crate::Violation;

impl Simulation {
    /// One step of the core, and what comes of it, in the order that [`Output`] demands.
    pub(super) fn raft(&mut self, id: u64, step: Step) -> Result<(), Violation> {
        let now = self.agenda.now();
        let process = self.process(id);
        let output = process.raft.step(now + process.ahead, step);
        self.carry_out_raft(id, output)
    }

    fn carry_out_raft(&mut self, id: u64, mut output: Output) -> Result<(), Violation> {
        let now = self.agenda.now();
        let numbers = [output.messages.len() as u64, output.apply.len() as u64];
        self.trace.note(now, id, "raft", numbers);
        for mark in &output.marks {
            self.coverage.note(mark);
        }
        for alarm in &output.alarms {
            self.says(id, || format!("! {alarm:?}"));
        }
        if let Some(last) = output.writes.last().map(|write| write.id) {
            let node = self.node_mut(id);
            node.store.write(&output.writes).expect("a model");
            node.process.as_mut().expect("it runs").written = last;
            self.begin_flush(id);
        }
        for envelope in output.messages.drain(..) {
            self.send(id, envelope.to.0, Mail::Raft(Box::new(envelope)))?;
        }
        let changes = output.restore.is_some() || !output.apply.is_empty();
        if let Some(snapshot) = output.restore.take() {
            self.coverage.note("metadata came as a snapshot");
            self.process(id).machine.restore(&snapshot).expect("a state that some machine gave");
        }
        for entry in output.apply.drain(..) {
            self.apply(id, &entry)?;
        }
        if let Some(state) = &output.state {
            let (term, role, leader) = (state.term, state.role, state.leader);
            self.says(id, || format!("= {role:?} t{term} leader {leader:?}"));
            let leads = leader == Some(NodeId(id));
            let process = self.process(id);
            if process.manager.is_some() && std::mem::replace(&mut process.leads, leads) != leads {
                self.office(id, manager::Event::Leads(leads))?;
            }
        }
        if changes {
            self.metadata_changed(id)?;
        }
        self.set_raft_tick(id);
        Ok(())
    }

    fn apply(&mut self, id: u64, entry: &Entry) -> Result<(), Violation> {
        let applied = self.process(id).machine.apply(entry);
        self.check_applied(id, entry)?;
        let Some(Applied { id: proposal, applied }) = applied else { return Ok(()) };
        let Some(proposed) = self.process(id).proposals.remove(&proposal) else { return Ok(()) };
        let outcome = applied.ok().and_then(|applied| Outcome::decode(&applied.answer).ok());
        self.proposal_ended(id, proposed.of, outcome)
    }

    /// Whoever goes by the metadata looks at them.
    fn metadata_changed(&mut self, id: u64) -> Result<(), Violation> {
        self.compact(id)?;
        let process = self.process(id);
        if process.leads {
            return self.office(id, manager::Event::Look);
        }
        if process.leaf.is_some() {
            let wait = self.micros(2_000);
            self.own(id, wait, Own::Look { again: false });
        }
        Ok(())
    }

    /// Takes a snapshot, if the metadata are that many entries behind the last.
    fn compact(&mut self, id: u64) -> Result<(), Violation> {
        let every = self.plan.snapshot_every;
        let process = self.process(id);
        let applied = process.machine.applied();
        if applied.index.0 < process.offered.0 + every {
            return Ok(());
        }
        process.offered = applied.index;
        let (last, membership) = process.raft.snapshot_point(applied.index);
        let snapshot = Snapshot::new(last, membership, process.machine.snapshot());
        self.raft(id, Step::Compact(Arc::new(snapshot)))
    }

    /// Begins to flush what is written, if no flush is under way.
    fn begin_flush(&mut self, id: u64) {
        let takes = self.micros(900) + Duration::from_micros(100);
        let node = self.node_mut(id);
        let takes = takes * node.slow;
        let process = node.process.as_mut().expect("it runs");
        if !std::mem::replace(&mut process.flushes, true) {
            let upto = process.written;
            self.own(id, takes, Own::Flushed(upto));
        }
    }

    pub(super) fn raft_flushed(&mut self, id: u64, upto: WriteId) -> Result<(), Violation> {
        let node = self.node_mut(id);
        let (durable, ended) = node.store.flush(upto);
        ended.expect("a model");
        let process = node.process.as_mut().expect("it runs");
        process.flushes = false;
        let is_behind = process.written > upto;
        self.raft(id, Step::Persisted(durable))?;
        if is_behind {
            self.begin_flush(id);
        }
        Ok(())
    }

    fn set_raft_tick(&mut self, id: u64) {
        let process = self.process(id);
        let deadline = process.raft.deadline();
        if deadline == Duration::MAX {
            return;
        }
        let at = deadline.saturating_sub(process.ahead);
        if process.raft_tick.is_none_or(|noted| at < noted) {
            process.raft_tick = Some(at);
            let wait = at.saturating_sub(self.agenda.now());
            self.own(id, wait, Own::RaftTick(at));
        }
    }

    pub(super) fn raft_tick(&mut self, id: u64, at: Duration) -> Result<(), Violation> {
        let now = self.agenda.now();
        let process = self.process(id);
        if process.raft_tick != Some(at) {
            return Ok(());
        }
        process.raft_tick = None;
        if now + process.ahead < process.raft.deadline() {
            self.set_raft_tick(id);
            return Ok(());
        }
        self.raft(id, Step::Tick)
    }

    /// Proposes, again and again until it is applied or nobody waits for it any more.
    pub(super) fn propose(&mut self, id: u64, proposal: ProposalId) -> Result<(), Violation> {
        let (now, again) = (self.agenda.now(), self.plan.election / 4);
        let proposals = &mut self.process(id).proposals;
        let Some(proposed) = proposals.get(&proposal).cloned() else { return Ok(()) };
        if proposed.until <= now {
            proposals.remove(&proposal);
            self.coverage.note("what became of a proposal is not known");
            return self.proposal_ended(id, proposed.of, None);
        }
        self.own(id, again, Own::Propose(proposal));
        self.raft(id, Step::Propose(vec![proposed.proposal]))
    }

    /// What became of a proposal, as far as that is known.
    fn proposal_ended(
        &mut self,
        id: u64,
        of: Whose,
        outcome: Option<Outcome>,
    ) -> Result<(), Violation> {
        match (of, outcome) {
            (Whose::Manager(of), Some(outcome)) => {
                self.office(id, manager::Event::Applied(of, outcome))
            }
            (Whose::Manager(of), None) => self.office(id, manager::Event::Unknown(of)),
            (Whose::Call(number), outcome) => self.command_ended(id, number, outcome),
        }
    }
}
