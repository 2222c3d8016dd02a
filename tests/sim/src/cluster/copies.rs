//! One copy, driven: what its core says is carried out on a model of disk and tree, and what must hold there.

use std::time::Duration;

use resprout_cluster::Ordinal;
use resprout_cluster::control::Control;
use resprout_cluster::reconcile::CopyName;
use resprout_replication::testing::Planted as OfCopy;
use resprout_replication::{
    Envelope, Event as Input, Frame, Output, PageWork, Promise, Report, Request, Role, State, Write,
};
use resprout_wal::Lsn;

use super::mail::Mail;
use super::node::At;
use super::simulation::{Event, Simulation};
use crate::Violation;
use crate::copy::{Op, Paged, Process, Waiting};

impl Simulation {
    /// Whether what is under way is of the copy that is driven now.
    pub(super) fn is_driven(&self, at: At) -> bool {
        let driven = self.node(at.node).driven(at.key);
        driven.is_some_and(|driven| driven.serial == at.serial)
    }

    pub(super) fn copy(&mut self, at: At) -> &mut Process {
        let (driven, _) = self.node_mut(at.node).copy_mut(at.key).expect("it is driven");
        &mut driven.process
    }

    /// A message of another copy: taken from its node only.
    pub(super) fn copy_receives(
        &mut self,
        from: u64,
        to: u64,
        envelope: Envelope,
    ) -> Result<(), Violation> {
        let sender = envelope.from;
        if self.home(to, sender.partition, sender.instance) != Some(from) {
            self.coverage.note("a message of a copy that does not live there");
            return Ok(());
        }
        let key = (sender.partition.database, Ordinal(sender.partition.ordinal));
        let Some(driven) = self.node(to).driven(key) else { return Ok(()) };
        let at = At { node: to, key, serial: driven.serial };
        self.says(to, || format!("< {}", line(&envelope)));
        self.step_copy(at, Input::Receive(envelope))
    }

    /// Hands an event to a copy and carries out what comes of it.
    pub(super) fn step_copy(&mut self, at: At, input: Input) -> Result<(), Violation> {
        let now = self.agenda.now();
        let process = self.copy(at);
        if let Input::Record(decided) = &input {
            process.heard = process.heard.max(decided.record.term);
        }
        let outputs = process.copy.step(now + process.ahead, input);
        let deadline = process.copy.deadline();
        if deadline > process.deadline {
            process.deadline = deadline;
            let when = deadline.saturating_sub(process.ahead);
            self.agenda.at(when, Event::Copy(at, Box::new(Input::Tick)));
        }
        outputs.into_iter().try_for_each(|output| self.carry_out(at, output))
    }

    fn carry_out(&mut self, at: At, output: Output) -> Result<(), Violation> {
        let (now, id) = (self.agenda.now(), at.node);
        let committed = output.committed.map_or(0, |lsn| lsn.0);
        self.trace.note(now, id, "copy", [output.messages.len() as u64, committed]);
        for mark in &output.marks {
            self.coverage.note(mark);
            self.says(id, || format!("# {} {mark}", at.key.1));
        }
        for alarm in &output.alarms {
            self.says(id, || format!("! {} {alarm:?}", at.key.1));
        }
        if let Some(state) = output.state {
            self.told_state(at, state)?;
        }
        for write in output.writes {
            self.write(at, write)?;
        }
        for envelope in output.messages {
            self.check_message(at, &envelope)?;
            self.says(id, || format!("> {}", line(&envelope)));
            if let Some(home) = self.home(id, envelope.from.partition, envelope.to) {
                self.send(id, home, Mail::Copy(Box::new(envelope)))?;
            }
        }
        if let Some(lsn) = output.committed {
            self.committed(at, lsn)?;
        }
        for request in output.requests {
            self.request(at, request)?;
        }
        if let Some(report) = output.report {
            self.report(at, report)?;
        }
        for lookup in output.lookups {
            let chain = self.copy(at).log.chain_at(lookup.0);
            self.local(at, Input::Chain { at: lookup.0, chain });
        }
        for read in output.reads {
            let frames = self.copy(at).log.read(read.from, read.bytes_max);
            self.local(at, Input::Read { read, frames });
        }
        for work in output.pages {
            self.page_work(at, work);
        }
        Ok(())
    }

    /// An answer of the node's own disk or tree, a little later.
    fn local(&mut self, at: At, input: Input) {
        let wait = self.micros(2_000) + Duration::from_micros(50);
        self.agenda.after(wait, Event::Copy(at, Box::new(input)));
    }

    fn told_state(&mut self, at: At, state: State) -> Result<(), Violation> {
        self.says(at.node, || format!("= {} {state:?}", at.key.1));
        let process = self.copy(at);
        process.state = state;
        if matches!(state, State::Fenced(_) | State::Halted(_)) {
            let waiting = std::mem::take(&mut process.waiting);
            let promises = self.checks.promises(at.key);
            waiting.iter().for_each(|write| promises.unknown(write.value));
        }
        self.check_state(at, state)
    }

    /// Puts a write on its way to the disk; memory has it at once.
    fn write(&mut self, at: At, write: Write) -> Result<(), Violation> {
        match &write {
            Write::BeginTerm(term) => {
                let process = self.copy(at);
                let frame = process.log.next(*term, &[], 0, process.visible);
                return self.append_own(at, vec![frame]);
            }
            Write::Promise(promise) => {
                // A file of its own: neither before nor behind what the log writes.
                let wait = self.micros(2_500) + Duration::from_micros(100);
                self.agenda.after(wait, Event::PromiseDone(at, *promise));
                return Ok(());
            }
            Write::Append(frames) => self.log(at, frames)?,
            Write::Cut { to, .. } => {
                let process = self.copy(at);
                process.log.cut(*to);
                process.visible = process.visible.min(*to);
                self.coverage.note("cut");
            }
        }
        self.queue(at, Op::Write(write));
        Ok(())
    }

    fn log(&mut self, at: At, frames: &[Frame]) -> Result<(), Violation> {
        for frame in frames {
            self.checks.promises(at.key).logged(frame)?;
            self.copy(at).log.push(frame.clone());
        }
        Ok(())
    }

    /// Frames that a master's engine appends.
    pub(super) fn append_own(&mut self, at: At, frames: Vec<Frame>) -> Result<(), Violation> {
        self.log(at, &frames)?;
        self.queue(at, Op::Write(Write::Append(frames.clone())));
        frames.into_iter().try_for_each(|frame| self.step_copy(at, Input::Appended(frame)))
    }

    fn queue(&mut self, at: At, op: Op) {
        let (now, slow) = (self.agenda.now(), self.node(at.node).slow);
        let wait = (self.micros(1_500) + Duration::from_micros(100)) * slow;
        let process = self.copy(at);
        process.queue.push_back(op);
        process.disk_free = process.disk_free.max(now) + wait;
        let done = process.disk_free;
        self.agenda.at(done, Event::DiskDone(at));
    }

    pub(super) fn promise_done(&mut self, at: At, promise: Promise) -> Result<(), Violation> {
        if !self.is_driven(at) {
            return Ok(());
        }
        let (_, disk) = self.node_mut(at.node).copy_mut(at.key).expect("it is driven");
        disk.promise = disk.promise.joined(promise);
        self.agenda.after(Duration::ZERO, Event::Copy(at, Box::new(Input::Promised(promise))));
        Ok(())
    }

    /// The first operation of the queue is on the disk.
    pub(super) fn disk_done(&mut self, at: At) -> Result<(), Violation> {
        if !self.is_driven(at) {
            return Ok(());
        }
        let (driven, disk) = self.node_mut(at.node).copy_mut(at.key).expect("it is driven");
        let Some(input) = driven.process.disk_done(disk) else { return Ok(()) };
        if matches!(input, Input::Installed { .. }) {
            self.coverage.note("installed");
        }
        self.agenda.after(Duration::ZERO, Event::Copy(at, Box::new(input)));
        Ok(())
    }

    /// The committed position moved: readers see it, and writes are acknowledged.
    fn committed(&mut self, at: At, lsn: Lsn) -> Result<(), Violation> {
        let process = self.copy(at);
        process.visible = lsn;
        let Role::Master(master) = process.copy.role() else { return Ok(()) };
        let lsn = lsn.min(master.committed());
        let (done, waiting): (Vec<Waiting>, _) =
            process.waiting.iter().partition(|write| write.end <= lsn);
        process.waiting = waiting;
        for write in done {
            self.says(at.node, || format!("* {} acknowledges {}", at.key.1, write.value));
            self.coverage.note("acknowledged");
            self.acknowledged(at, write)?;
            self.check_acknowledged(at, write)?;
        }
        Ok(())
    }

    /// What copies ask is passed on, in the name of the copy that is master by what is known here.
    fn request(&mut self, at: At, request: Request) -> Result<(), Violation> {
        self.says(at.node, || format!("> {} {request:?}", at.key.1));
        let (database, ordinal) = at.key;
        let asks = self.node(at.node).metadata();
        let asks = asks.and_then(|metadata| metadata.master_of(database, ordinal));
        let instance = asks.unwrap_or(request.instance);
        let copy = CopyName { database, ordinal, instance };
        self.tell_office(at.node, Control::Requested { copy, request })
    }

    fn report(&mut self, at: At, report: Report) -> Result<(), Violation> {
        self.says(at.node, || format!("> {} {report:?}", at.key.1));
        self.check_report(at, report)?;
        let (database, ordinal) = at.key;
        let copy = CopyName { database, ordinal, instance: report.instance };
        self.tell_office(at.node, Control::Reported { copy, report })
    }

    fn page_work(&mut self, at: At, work: PageWork) {
        self.says(at.node, || format!("% {} {work:?}", at.key.1));
        self.images += 1;
        let bug = self.plan.copies().planted;
        let how = (self.images, bug == Some(OfCopy::InstallWithoutPages));
        let node = self.nodes.get_mut(&at.node).expect("nodes are never taken away");
        let (driven, disk) = node.copy_mut(at.key).expect("it is driven");
        match driven.process.page_work(disk, work, how, &mut self.coverage) {
            Paged::Nothing => {}
            Paged::Answer(input) => self.local(at, input),
            Paged::Write(op) => self.queue(at, op),
        }
    }
}

/// A message in one line.
fn line(envelope: &Envelope) -> String {
    use resprout_replication::Message;
    let Envelope { from, to, term, stream, message } = envelope;
    let said = match message {
        Message::Frames { frames, committed } => {
            let ends = frames.first().zip(frames.last());
            let range = ends.map(|(a, b)| format!("{}..{}", a.header.lsn, b.header.end()));
            format!("Frames {} committed {committed}", range.unwrap_or_default())
        }
        other => format!("{other:?}"),
    };
    let (ordinal, instance, run) = (from.partition.ordinal, from.instance, from.incarnation);
    format!("{ordinal} {instance}.{run} → {to} term {term} {stream} {said}")
}
