//! The control plane's messages, and the master aggregator's work: what `node` does in its `Desk` and `Office`.

use std::time::Duration;

use resprout_cluster::control::{Control, Order};
use resprout_cluster::manager::{Answer, Event, Now, Output, Phase, Proposal};
use resprout_cluster::metadata::Decree;
use resprout_cluster::reconcile::CopyName;
use resprout_cluster::{Incarnation, NodeId};
use resprout_consensus::{Proposal as Command, ProposalId};

use super::kills::Moment;
use super::mail::Mail;
use super::node::{Node, Proposed, Whose};
use super::simulation::{Own, Simulation};
use crate::Violation;

/// A proposal whose fate is not known by then counts as unknown.
const PROPOSAL_PATIENCE: Duration = Duration::from_millis(2_000);

impl Simulation {
    /// One step of the manager. Events are dropped on a node that has no office to hear them.
    pub(super) fn office(&mut self, id: u64, event: Event) -> Result<(), Violation> {
        let now = self.agenda.now();
        let process = self.process(id);
        let Some(manager) = &mut process.manager else { return Ok(()) };
        let wall_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let time = Now { at: now + process.ahead, wall_ms };
        let Output { proposals, messages, ended } =
            manager.step(time, process.machine.state(), event);
        let numbers = [proposals.len() as u64, messages.len() as u64];
        self.trace.note(now, id, "office", numbers);
        for proposal in proposals {
            self.begin_to_propose(id, proposal);
        }
        for (to, message) in messages {
            self.send(id, to.0, Mail::Control(Box::new(message.into())))?;
        }
        for (number, ended) in ended {
            self.errand_ended(id, number, ended)?;
        }
        self.set_office_tick(id);
        Ok(())
    }

    fn begin_to_propose(&mut self, id: u64, Proposal { id: of, decree }: Proposal) {
        self.propose_for(id, Whose::Manager(of), &decree);
    }

    pub(super) fn propose_for(&mut self, id: u64, of: Whose, decree: &Decree) {
        let (now, run) = (self.agenda.now(), self.node(id).run);
        self.says(id, || format!("? {:?}", decree.command));
        let process = self.process(id);
        process.proposed += 1;
        let name =
            ProposalId(u128::from(id) << 96 | u128::from(run) << 64 | u128::from(process.proposed));
        let (since, command) = (process.machine.applied().index, decree.encode().into());
        let proposal = Command { id: name, since, command };
        let proposed = Proposed { of, proposal, until: now + PROPOSAL_PATIENCE };
        process.proposals.insert(name, proposed);
        let wait = self.micros(300);
        self.own(id, wait, Own::Propose(name));
    }

    fn set_office_tick(&mut self, id: u64) {
        let now = self.agenda.now();
        let process = self.process(id);
        let Some(manager) = process.manager.as_ref().filter(|_| process.leads) else { return };
        let at = manager.deadline().saturating_sub(process.ahead).max(now);
        if process.office_tick.is_none_or(|noted| noted <= now || at < noted) {
            process.office_tick = Some(at);
            self.own(id, at - now, Own::OfficeTick(at));
        }
    }

    pub(super) fn office_tick(&mut self, id: u64, at: Duration) -> Result<(), Violation> {
        let process = self.process(id);
        if process.office_tick != Some(at) {
            return Ok(());
        }
        process.office_tick = None;
        if process.leads { self.office(id, Event::Look) } else { Ok(()) }
    }

    /// A message of the control plane.
    pub(super) fn control(
        &mut self,
        from: u64,
        to: u64,
        control: Control,
    ) -> Result<(), Violation> {
        let sender = NodeId(from);
        match control {
            Control::Beat => {
                let answer = self.node(to).answer();
                let control = Control::Answered { answer };
                self.send(to, from, Mail::Control(Box::new(control)))
            }
            Control::Answered { answer } => self.office(to, Event::Answered(sender, answer)),
            Control::AskReport { copy, decided } => self.tell(to, copy, decided),
            Control::Reported { copy, report } => self.office(to, Event::Reported(copy, report)),
            Control::Requested { copy, request } => {
                self.office(to, Event::Requested(copy, request))
            }
            Control::Drained { office, lock } => self.office(to, Event::Drained { office, lock }),
            Control::Order { office, database, order } => {
                self.order(from, to, (office, database), order);
                Ok(())
            }
            Control::Call { .. } | Control::Return { .. } => Ok(()),
        }
    }

    /// Orders of an office that is over are void.
    fn order(&mut self, from: u64, id: u64, (office, database): (u64, u32), order: Order) {
        let present = self.node(id).metadata().map_or(0, |metadata| metadata.office().number);
        if office < present {
            self.coverage.note("an order of an office that is over");
            return;
        }
        match order {
            Order::Lock { lock } => self.lock((from, office), id, database, lock),
            Order::Unlock { ordinal } => {
                if let Some(leaf) = self.node_mut(id).leaf_mut() {
                    leaf.locks.unlock((database, ordinal));
                }
            }
            Order::Remove { ordinal, instance, known } => {
                self.step_is_at(Moment::Files, (from, id));
                if let Some(leaf) = self.node_mut(id).leaf_mut() {
                    leaf.removals.insert(CopyName { database, ordinal, instance }, known);
                    self.own(id, Duration::ZERO, Own::Look { again: false });
                }
            }
        }
    }

    /// To the master aggregator, as far as a node knows who that is.
    pub(super) fn tell_office(&mut self, id: u64, control: Control) -> Result<(), Violation> {
        let holder = self.node(id).metadata().and_then(|metadata| metadata.office().holder);
        match holder {
            Some(holder) => self.send(id, holder.0, Mail::Control(Box::new(control))),
            None => Ok(()),
        }
    }
}

impl Node {
    /// What is answered to a heartbeat.
    fn answer(&self) -> Answer {
        let incarnation: Incarnation = self.incarnation();
        let Some(leaf) = self.leaf() else {
            return Answer { incarnation, phase: Phase::Ready, ..Answer::default() };
        };
        Answer {
            incarnation,
            phase: leaf.phase,
            held: self.held(),
            fulfilled: leaf.progress.fulfilled,
            looked: leaf.progress.working,
        }
    }
}
