//! What a driver does: inputs to the core, and its outputs to the disk, the network, the state
//! machine and whoever asked, in the order that [`Output`] demands.

use std::sync::Arc;
use std::time::Duration;

use resprout_consensus::machine::Outcome;
use resprout_consensus::{
    Entry, Envelope, Event as Step, Index, Message, Output, Proposal, ReadId, Role, Snapshot,
    WriteId,
};

use super::client::Answer;
use super::node::{Asker, Input, Question, SENT_TRANSFER, Work};
use super::simulation::{Event, Simulation};
use crate::Violation;
use crate::network::{Fate, between};

impl Simulation {
    /// Something arrives at a node.
    pub(super) fn input(
        &mut self,
        id: u64,
        run: Option<u64>,
        input: Input,
    ) -> Result<(), Violation> {
        let node = self.node_mut(id);
        let takes_part = node.process.as_ref().is_some_and(|process| !process.failed);
        if !takes_part || run.is_some_and(|run| run != node.run()) {
            return Ok(());
        }
        let Some(input) = node.keep(input) else { return Ok(()) };
        match input {
            Input::Receive(envelope) => {
                self.note_received(id, &envelope);
                self.step(id, Step::Receive(envelope))
            }
            Input::Unreachable(peer) => self.step(id, Step::Unreachable(peer)),
            Input::Tick(at) => self.tick(id, at),
            Input::Flushed(upto) => self.flushed(id, upto),
            Input::Work => {
                self.process(id).works = false;
                let some = 1 + self.rng.below(4);
                self.work(id, some)
            }
            Input::Propose => {
                let batch = std::mem::take(&mut self.process(id).batch);
                self.propose(id, batch)
            }
            Input::Ask(asker, question) => self.ask(id, asker, question),
        }
    }

    pub(super) fn process(&mut self, id: u64) -> &mut super::node::Process {
        self.node_mut(id).process.as_mut().expect("inputs are for running processes")
    }

    fn note_received(&mut self, id: u64, envelope: &Envelope) {
        let now = self.agenda.now();
        let name = envelope.message.name();
        self.trace.note(now, id, name, [envelope.from.0, envelope.term.0]);
        self.trace.line(now, id, || {
            format!("< {} t{} {:?}", envelope.from, envelope.term, Brief(&envelope.message))
        });
    }

    /// One step of the core and everything that it asks for; none of a node whose store has ended.
    pub(super) fn step(&mut self, id: u64, step: Step) -> Result<(), Violation> {
        let now = self.agenda.now();
        let node = self.nodes.get_mut(&id).expect("nodes are never taken away");
        let own_time = node.clock.shows(now);
        let process = node.process.as_mut().expect("only what runs steps");
        if process.failed {
            return Ok(());
        }
        let led = process.leads.is_some();
        let mut output = process.raft.step(own_time, step);
        let status = process.raft.status();
        process.leads = (status.state.role == Role::Leader).then_some(status.state.term);
        self.promises.wrote(&mut node.ledger, &output, &status)?;
        let written = node.store.write(&output.writes);
        self.tell(id, &output);
        self.promises.stepped(&self.nodes, (id, &status), led)?;
        for alarm in output.alarms.drain(..) {
            self.note_alarm(id, alarm)?;
        }
        self.begin_flush(id);
        for envelope in output.messages.drain(..) {
            self.send(id, &envelope)?;
        }
        self.answer_refused(id, &output);
        let process = self.process(id);
        process.proven.append(&mut output.reads);
        process.work.extend(output.restore.take().map(Work::Restore));
        process.work.extend(output.apply.drain(..).map(Work::Apply));
        self.set_tick(id);
        self.schedule_work(id)?;
        for mark in output.marks {
            self.passed(id, mark);
        }
        if written.is_err() {
            self.store_ends(id);
        }
        Ok(())
    }

    /// A node whose store has ended takes no part: it steps no more, and somebody starts it again.
    fn store_ends(&mut self, id: u64) {
        let (now, run) = (self.agenda.now(), self.nodes[&id].run());
        self.process(id).failed = true;
        self.trace.note(now, id, "store ends", [0, 0]);
        self.trace.line(now, id, || "! the store ends");
        self.agenda.after(Duration::ZERO, Event::StoreEnded { node: id, run });
    }

    /// Notes what is new in the trace.
    fn tell(&mut self, id: u64, output: &Output) {
        let now = self.agenda.now();
        if let Some(state) = &output.state {
            self.trace.note(now, id, "state", [state.term.0, state.membership.0.0]);
            self.trace.line(now, id, || {
                let voters = state.membership.1.voters().map(|voter| voter.to_string());
                let voters = voters.collect::<Vec<_>>().join(" ");
                let (term, role, leader) = (state.term, state.role, state.leader);
                format!("= {role:?} t{term} leader {leader:?} voters {voters}")
            });
        }
        for write in &output.writes {
            self.trace.note(now, id, "write", [write.id.0, 0]);
        }
        for entry in &output.apply {
            self.trace.note(now, id, "apply", [entry.id.term.0, entry.id.index.0]);
            self.trace.line(now, id, || format!("* apply {}", entry.id));
        }
        for mark in &output.marks {
            self.trace.line(now, id, || format!("# {mark}"));
        }
    }

    fn note_alarm(&mut self, id: u64, alarm: resprout_consensus::Alarm) -> Result<(), Violation> {
        self.trace.line(self.agenda.now(), id, || format!("! {alarm:?}"));
        if self.plan.outcomes_only {
            return Ok(());
        }
        let committed = &self.promises.committed;
        super::check::rules::alarmed(&self.nodes, committed, (id, alarm))
    }

    fn send(&mut self, id: u64, envelope: &Envelope) -> Result<(), Violation> {
        let now = self.agenda.now();
        self.promises.sent(&self.nodes[&id], envelope)?;
        let (to, peer) = (envelope.to.0, envelope.to);
        let transfers = matches!(envelope.message, Message::TransferNow);
        let fate = self.network.send(id, to, || Input::Receive(envelope.clone()));
        self.trace.line(now, id, || {
            let (term, brief) = (envelope.term, Brief(&envelope.message));
            let lost = if fate == Fate::Lost { "lost " } else { "" };
            format!("> {lost}{peer} t{term} {brief:?}")
        });
        match fate {
            Fate::Lost if self.rng.chance(1, 8) => {
                let (input, wait) = (Input::Unreachable(peer), self.tenths(0, 5));
                let run = Some(self.nodes[&id].run());
                self.agenda.after(wait, Event::Input { node: id, run, input });
            }
            Fate::Lost | Fate::Kept => {}
            Fate::Sent(delay, again) => {
                for delay in again.into_iter().chain([delay]) {
                    let input = Input::Receive(envelope.clone());
                    self.agenda.after(delay, Event::Input { node: to, run: None, input });
                }
            }
        }
        if transfers {
            self.passed(id, SENT_TRANSFER);
        }
        Ok(())
    }

    /// Looks at the clock: ticks of the agenda may be early, where a clock was slowed down since.
    fn tick(&mut self, id: u64, at: Duration) -> Result<(), Violation> {
        let now = self.agenda.now();
        let own_time = self.nodes[&id].clock.shows(now);
        let process = self.process(id);
        if process.tick_at != Some(at) {
            return Ok(());
        }
        process.tick_at = None;
        if own_time < process.raft.deadline() {
            self.set_tick(id);
            return Ok(());
        }
        self.trace.note(now, id, "tick", [0, 0]);
        self.step(id, Step::Tick)
    }

    /// Notes the next tick, if none is due before it is needed.
    pub(super) fn set_tick(&mut self, id: u64) {
        let late = between(&mut self.rng, Duration::ZERO, self.plan.election / 200);
        let node = self.nodes.get_mut(&id).expect("nodes are never taken away");
        let run = Some(node.run());
        let Some(process) = &mut node.process else { return };
        let deadline = process.raft.deadline();
        if deadline == Duration::MAX {
            return;
        }
        let at = node.clock.when(deadline) + late;
        if process.tick_at.is_none_or(|noted| at < noted) {
            process.tick_at = Some(at);
            self.agenda.at(at, Event::Input { node: id, run, input: Input::Tick(at) });
        }
    }

    /// Begins to flush what is written, if no flush is under way.
    fn begin_flush(&mut self, id: u64) {
        let (from, to) = self.plan.flush;
        let takes = between(&mut self.rng, from, to);
        let node = self.nodes.get_mut(&id).expect("nodes are never taken away");
        let (run, takes) = (Some(node.run()), takes * node.disk_slowness);
        let Some(process) = &mut node.process else { return };
        if let Some(upto) = node.ledger.newest_pending().filter(|_| !process.flushes) {
            process.flushes = true;
            let input = Input::Flushed(upto);
            self.agenda.after(takes, Event::Input { node: id, run, input });
        }
    }

    fn flushed(&mut self, id: u64, upto: WriteId) -> Result<(), Violation> {
        let node = self.node_mut(id);
        let (durable, ended) = node.store.flush(upto);
        node.ledger.flush(durable);
        self.process(id).flushes = false;
        self.trace.note(self.agenda.now(), id, "flushed", [durable.0, 0]);
        self.step(id, Step::Persisted(durable))?;
        if ended.is_err() {
            self.store_ends(id);
        }
        Ok(())
    }

    fn schedule_work(&mut self, id: u64) -> Result<(), Violation> {
        if self.plan.apply_lag.is_zero() {
            return self.work(id, u64::MAX);
        }
        let wait = between(&mut self.rng, Duration::ZERO, self.plan.apply_lag);
        let node = self.node_mut(id);
        let run = Some(node.run());
        let Some(process) = &mut node.process else { return Ok(()) };
        if !process.work.is_empty() && !process.works {
            process.works = true;
            self.agenda.after(wait, Event::Input { node: id, run, input: Input::Work });
            return Ok(());
        }
        self.serve_reads(id)
    }

    /// Lets the state machine take some of its work.
    fn work(&mut self, id: u64, some: u64) -> Result<(), Violation> {
        let run = (id, self.nodes[&id].run());
        for _ in 0..some {
            let process = self.process(id);
            let Some(work) = process.work.pop_front() else { break };
            match work {
                Work::Restore(snapshot) => {
                    process.machine.restore(&snapshot);
                    let process = self.nodes[&id].process.as_ref().expect("it works");
                    self.promises.committed.applied(run, &process.machine, None)?;
                }
                Work::Apply(entry) => self.apply(run, &entry)?,
            }
        }
        self.serve_reads(id)?;
        self.compact(id, self.plan.snapshot_every)?;
        if self.process(id).work.is_empty() { Ok(()) } else { self.schedule_work(id) }
    }

    fn apply(&mut self, run: (u64, u64), entry: &Entry) -> Result<(), Violation> {
        let node = self.nodes.get_mut(&run.0).expect("nodes are never taken away");
        let process = node.process.as_mut().expect("only what runs applies");
        let outcome = process.machine.apply(entry);
        self.promises.committed.applied(run, &process.machine, Some(entry))?;
        let Some(Outcome { id, applied }) = outcome else { return Ok(()) };
        if let Ok(applied) = &applied
            && applied.index < entry.id.index
        {
            self.coverage.note("window: repetition known");
        }
        let Some(asker) = process.proposals.remove(&id) else { return Ok(()) };
        match applied {
            Ok(applied) => {
                self.promises.history.end_write(id, applied.index)?;
                self.answer(asker, Answer::Written(applied.index));
            }
            Err(_) => {
                self.coverage.note("window: too old to be known");
                self.answer(asker, Answer::Unknown);
            }
        }
        Ok(())
    }

    /// Serves the reads that are proven and whose entry is applied.
    fn serve_reads(&mut self, id: u64) -> Result<(), Violation> {
        let process = self.process(id);
        let applied = process.machine.applied().index;
        let mut served: Vec<(Asker, u8, Index)> = Vec::new();
        let reads = &mut process.reads;
        process.proven.retain(|(read, index)| {
            if *index <= applied {
                served.extend(reads.remove(read));
            }
            *index > applied
        });
        for (asker, key, after) in served {
            let saw = self.process(id).machine.register(key);
            let now = self.agenda.now();
            self.trace.note(now, id, "read", [saw.index.0, after.0]);
            self.trace.line(now, id, || format!("* read {key}: {} of {applied}", saw.index));
            self.promises.history.end_read(key, after, saw)?;
            self.answer(asker, Answer::Read(saw));
        }
        Ok(())
    }

    /// Takes a snapshot, if the machine is that many entries behind the last.
    pub(super) fn compact(&mut self, id: u64, every: u64) -> Result<(), Violation> {
        let process = self.process(id);
        let applied = process.machine.applied();
        let stored = process.raft.status().snapshot.map_or(Index(0), |last| last.index);
        let newest = process.offered.max(stored);
        if applied.index.0 < newest.0 + every {
            return Ok(());
        }
        process.offered = applied.index;
        let (last, membership) = process.raft.snapshot_point(applied.index);
        assert_eq!(last, applied, "the core knows what was applied");
        let snapshot = Snapshot::new(last, membership, process.machine.encode());
        self.step(id, Step::Compact(Arc::new(snapshot)))
    }

    fn ask(&mut self, id: u64, asker: Asker, question: Question) -> Result<(), Violation> {
        let now = self.agenda.now();
        match question {
            Question::Write(proposal) => {
                self.trace.note(now, id, "propose", [asker.client as u64, asker.attempt]);
                self.trace.line(now, id, || format!("? write {}", proposal.id));
                let process = self.process(id);
                process.proposals.insert(proposal.id, asker);
                process.batch.push(proposal);
                if process.batch.len() == 1 {
                    let wait = between(&mut self.rng, Duration::ZERO, self.plan.gather);
                    let run = Some(self.nodes[&id].run());
                    let input = Input::Propose;
                    self.agenda.after(wait, Event::Input { node: id, run, input });
                }
                Ok(())
            }
            Question::Read(key, proof) => {
                self.trace.note(now, id, "ask", [asker.client as u64, asker.attempt]);
                let after = self.promises.history.begin_read(key);
                // A directory that was put back counts its starts anew. What keeps answers to reads
                // of that run away are its connections, which ended with it; here are none.
                let past = u64::from(self.nodes[&id].restored) << 63;
                let process = self.process(id);
                process.last_read += 1;
                let read = ReadId(past | process.last_read);
                process.reads.insert(read, (asker, key, after));
                self.trace.line(now, id, || format!("? read {key} {proof:?} must see {after}"));
                self.step(id, Step::Read { ids: vec![read], proof })
            }
        }
    }

    fn propose(&mut self, id: u64, batch: Vec<Proposal>) -> Result<(), Violation> {
        if batch.len() > 1 {
            self.coverage.note("several proposals at once");
        }
        self.step(id, Step::Propose(batch))
    }

    fn answer_refused(&mut self, id: u64, output: &Output) {
        for (proposal, _) in &output.refused {
            if let Some(asker) = self.process(id).proposals.remove(proposal) {
                self.answer(asker, Answer::Refused);
            }
        }
        for read in &output.reads_refused {
            if let Some((asker, ..)) = self.process(id).reads.remove(read) {
                self.answer(asker, Answer::Refused);
            }
        }
    }
}

/// A message without the bytes of its commands.
struct Brief<'a>(&'a Message);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Message::Append { previous, entries, commit, round } => {
                let last = entries.last().map(|entry| entry.id.to_string()).unwrap_or_default();
                let count = entries.len();
                write!(f, "Append {previous} +{count} {last} commit {commit} round {round}")
            }
            Message::Snapshot { meta, offset, data, round } => {
                let (last, bytes, has) = (meta.last, meta.bytes, data.len());
                write!(f, "Snapshot {last} {offset}+{has} of {bytes} round {round}")
            }
            Message::Propose { proposals } => write!(f, "Propose {}", proposals.len()),
            other => other.fmt(f),
        }
    }
}
