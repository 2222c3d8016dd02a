//! What a driver does: outputs carried out on a model of disk and tree, and what must hold there.

use std::time::Duration;

use resprout_replication::{
    Event as Input, Message, Mode, Output, PageWork, Report, Role, State, Write,
};
use resprout_sim::copy::Paged;
use resprout_sim::{Violation, hold};
use resprout_wal::{Lsn, Term};

use crate::authority::Said;
use crate::node::{Op, Process, Waiting};
use crate::world::{Event, MS, Mail, World};

/// The term that it is master of, for comparing masters.
pub(crate) fn state_term(process: &Process) -> Term {
    match process.state {
        State::Online(term) | State::Transitioning(term) => term,
        _ => Term(0),
    }
}

impl World {
    pub(crate) fn process(&mut self, number: u64) -> &mut Process {
        let node = self.nodes.get_mut(&number).expect("a node");
        node.process.as_mut().expect("a running process")
    }

    /// Hands an event to a copy and carries out what comes of it.
    pub(crate) fn step(&mut self, number: u64, input: Input) -> Result<(), Violation> {
        let now = self.agenda.now();
        let run = self.nodes[&number].run;
        let process = self.process(number);
        if let Input::Record(decided) = &input {
            process.heard = process.heard.max(decided.record.term);
        }
        let outputs = process.copy.step(now + process.ahead, input);
        let deadline = process.copy.deadline();
        if deadline > process.deadline {
            process.deadline = deadline;
            let at = deadline.saturating_sub(process.ahead);
            self.agenda.at(at, Event::Deadline(number, run));
        }
        for output in outputs {
            self.carry_out(number, output)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, number: u64, output: Output) -> Result<(), Violation> {
        let now = self.agenda.now();
        self.trace.note(
            now,
            number,
            "step",
            [output.messages.len() as u64, output.committed.map_or(0, |lsn| lsn.0)],
        );
        for mark in &output.marks {
            self.coverage.note(mark);
            self.trace.line(now, number, || format!("# {mark}"));
        }
        for alarm in &output.alarms {
            self.trace.line(now, number, || format!("! {alarm:?}"));
        }
        if let Some(state) = output.state {
            self.told_state(number, state)?;
        }
        for write in output.writes {
            self.write(number, write)?;
        }
        for envelope in output.messages {
            self.check_message(number, &envelope)?;
            let to = envelope.to.0;
            self.trace.line(now, number, || format!("> {}", crate::line(&envelope)));
            self.send(number, to, Mail::Peer(Box::new(envelope)))?;
        }
        if let Some(lsn) = output.committed {
            self.committed(number, lsn)?;
        }
        for request in output.requests {
            self.trace.line(now, number, || format!("> {request:?}"));
            let said = Said::Request(request);
            self.send(number, 0, Mail::Said(resprout_replication::Instance(number), said))?;
        }
        if let Some(report) = output.report {
            self.report(number, report)?;
        }
        for lookup in output.lookups {
            let chain = self.process(number).log.chain_at(lookup.0);
            self.local(number, Input::Chain { at: lookup.0, chain });
        }
        for read in output.reads {
            let frames = self.process(number).log.read(read.from, read.bytes_max);
            self.local(number, Input::Read { read, frames });
        }
        for work in output.pages {
            self.page_work(number, work);
        }
        Ok(())
    }

    /// An answer of the node's own disk or tree, a little later.
    fn local(&mut self, number: u64, input: Input) {
        let run = self.nodes[&number].run;
        let wait = Duration::from_micros(50 + self.rng.below(2000));
        self.agenda.after(wait, Event::Local(number, run, Box::new(input)));
    }

    fn told_state(&mut self, number: u64, state: State) -> Result<(), Violation> {
        let now = self.agenda.now();
        self.trace.line(now, number, || format!("= {state:?}"));
        let (lossy, lax) = (self.authority.may_have_lost, !self.plan.rules);
        let process = self.process(number);
        process.state = state;
        if let State::Online(term) = state {
            // Rule 10: writable only with the record that starts the term, and that acknowledged.
            let begun = process.log.frames().iter().find(|frame| frame.header.term == term);
            let end = begun.map(|frame| frame.header.end());
            let Role::Master(master) = process.copy.role() else { unreachable!("online") };
            let committed = master.committed();
            hold(
                lax || end.is_some_and(|end| committed >= end),
                "a master's term has begun",
                || format!("n{number} {state:?}: {end:?}, committed {committed}"),
            )?;
        }
        if matches!(state, State::Fenced(_) | State::Halted(_)) {
            let waiting = std::mem::take(&mut process.waiting);
            waiting.iter().for_each(|write| self.promises.unknown(write.value));
        }
        let halted = matches!(state, State::Halted(_));
        hold(!halted || lossy, "no copy halts", || format!("n{number} {state:?}"))
    }

    /// Puts a write on its way to the disk; memory has it at once.
    fn write(&mut self, number: u64, write: Write) -> Result<(), Violation> {
        let write = match write {
            Write::BeginTerm(term) => {
                let process = self.process(number);
                let frame = process.log.next(term, &[], 0, process.visible);
                return self.append_own(number, vec![frame]);
            }
            other => other,
        };
        match &write {
            Write::Append(frames) => {
                for frame in frames {
                    self.promises.logged(frame)?;
                    self.process(number).log.push(frame.clone());
                }
            }
            Write::Cut { to, .. } => {
                let process = self.process(number);
                process.log.cut(*to);
                process.visible = process.visible.min(*to);
                self.coverage.note("cut");
            }
            _ => {}
        }
        self.queue(number, Op::Write(write));
        Ok(())
    }

    /// Frames that a master's engine appends.
    pub(crate) fn append_own(
        &mut self,
        number: u64,
        frames: Vec<resprout_replication::Frame>,
    ) -> Result<(), Violation> {
        for frame in &frames {
            self.promises.logged(frame)?;
            self.process(number).log.push(frame.clone());
        }
        self.queue(number, Op::Write(Write::Append(frames.clone())));
        for frame in frames {
            self.step(number, Input::Appended(frame))?;
        }
        Ok(())
    }

    pub(crate) fn queue(&mut self, number: u64, op: Op) {
        if let Op::Write(Write::Promise(promise)) = op {
            // A file of its own: neither before nor behind what the log writes.
            let run = self.nodes[&number].run;
            let wait = Duration::from_micros(100 + self.rng.below(2500));
            self.agenda.after(wait, Event::PromiseDone(number, run, promise));
            return;
        }
        let (now, run) = (self.agenda.now(), self.nodes[&number].run);
        let slow = self.nodes[&number].slow.max(1);
        let wait =
            Duration::from_micros(100 + self.rng.below(1500)) * u32::try_from(slow).expect("few");
        let process = self.process(number);
        process.queue.push_back(op);
        process.disk_free = process.disk_free.max(now) + wait;
        let at = process.disk_free;
        self.agenda.at(at, Event::DiskDone(number, run));
    }

    pub(crate) fn promise_done(
        &mut self,
        number: u64,
        promise: resprout_replication::Promise,
    ) -> Result<(), Violation> {
        let disk = &mut self.nodes.get_mut(&number).expect("a node").disk;
        disk.promise = disk.promise.joined(promise);
        let run = self.nodes[&number].run;
        let input = Box::new(Input::Promised(promise));
        self.agenda.after(Duration::ZERO, Event::Local(number, run, input));
        Ok(())
    }

    /// The first operation of the queue is on the disk.
    pub(crate) fn disk_done(&mut self, number: u64) -> Result<(), Violation> {
        let node = self.nodes.get_mut(&number).expect("a node");
        let process = node.process.as_mut().expect("it runs");
        let Some(input) = process.disk_done(&mut node.disk) else { return Ok(()) };
        if matches!(input, Input::Installed { .. }) {
            self.coverage.note("installed");
        }
        let run = self.nodes[&number].run;
        self.agenda.after(Duration::ZERO, Event::Local(number, run, Box::new(input)));
        Ok(())
    }

    /// The committed position moved: readers see it, and writes are acknowledged.
    fn committed(&mut self, number: u64, lsn: Lsn) -> Result<(), Violation> {
        let now = self.agenda.now();
        let process = self.process(number);
        process.visible = lsn;
        let Role::Master(master) = process.copy.role() else { return Ok(()) };
        let lsn = lsn.min(master.committed());
        let (done, waiting) = process.waiting.iter().partition(|write| write.end <= lsn);
        process.waiting = waiting;
        let done: Vec<Waiting> = done;
        for write in done {
            self.trace.line(now, number, || format!("* acknowledges {}", write.value));
            self.coverage.note("acknowledged");
            self.promises.acknowledge(write.value, now)?;
            self.check_acknowledged(number, write)?;
        }
        Ok(())
    }

    /// Rules 4 and 5: unfenced, on the own disk if the mode says so, and at everybody who may be
    /// promoted.
    fn check_acknowledged(&self, number: u64, write: Waiting) -> Result<(), Violation> {
        if !self.plan.rules {
            return Ok(());
        }
        let (mode, own) = (self.mode(), &self.nodes[&number]);
        let heard = own.process.as_ref().map_or(Term(0), |process| process.heard);
        hold(heard <= write.term, "who heard of a newer term acknowledges nothing", || {
            format!("n{number} {write:?}, heard of {heard}")
        })?;
        let on_disk = own.disk.log.end() >= write.end;
        hold(mode != Mode::Durable || on_disk, "acknowledged means on the own disk", || {
            format!("n{number} {write:?}")
        })?;
        self.check_runs(number, write)?;
        if write.term < self.authority.unwaited {
            return Ok(());
        }
        let record = &self.authority.decided.record;
        for (other, node) in self.nodes.iter().filter(|(other, _)| **other != number) {
            let copy = record.copy(resprout_replication::Instance(*other));
            let sync = copy.state == resprout_replication::CopyState::Sync && mode.is_sync();
            let same = node.disk.incarnation == copy.incarnation.0;
            let Some(process) = node.process.as_ref().filter(|_| sync) else { continue };
            let has = if mode == Mode::Durable { &node.disk.log } else { &process.log };
            let lacks = has.end() < write.end && (same || mode == Mode::Durable);
            hold(!lacks, "acknowledged means at all who may be promoted", || {
                format!("n{number} {write:?}, n{other} has {}", has.end())
            })?;
        }
        Ok(())
    }

    /// The database's, as it is on record.
    fn mode(&self) -> Mode {
        self.authority.decided.record.mode.unwrap_or(self.plan.config.mode)
    }

    /// Rule 15: where acknowledgements do not follow a flush, only the run counts that the record
    /// names.
    fn check_runs(&self, number: u64, write: Waiting) -> Result<(), Violation> {
        let record = &self.authority.decided.record;
        let Some(process) = &self.nodes[&number].process else { return Ok(()) };
        let Role::Master(master) = process.copy.role() else { return Ok(()) };
        if self.mode() != Mode::Received || master.cfg() != record.cfg {
            return Ok(());
        }
        for member in master.status().members {
            let named = record.copy(member.instance);
            let sync = named.state == resprout_replication::CopyState::Sync;
            let other = member.incarnation.is_some_and(|run| run != named.incarnation);
            hold(!sync || !other, "acknowledgements are of the run on record", || {
                format!("n{number} {write:?}: {member:?}, {named:?}")
            })?;
        }
        Ok(())
    }

    /// Rules 2 and 17: nothing of a term that is over, and nothing durable that is not.
    fn check_message(
        &self,
        number: u64,
        envelope: &resprout_replication::Envelope,
    ) -> Result<(), Violation> {
        let node = &self.nodes[&number];
        let heard = node.process.as_ref().map_or(Term(0), |process| process.heard);
        let Message::Ack(ack) = &envelope.message else { return Ok(()) };
        if !self.plan.rules {
            return Ok(());
        }
        hold(envelope.term >= heard, "a fenced copy acknowledges nothing", || {
            format!("n{number} heard of {heard}: {envelope:?}")
        })?;
        let disk = node.disk.log.end();
        hold(ack.durable <= disk, "durable means on the disk", || {
            format!("n{number} has {disk}: {ack:?}")
        })
    }

    /// Rule 9: a report is of a stored promise and of what cannot go away.
    fn report(&mut self, number: u64, report: Report) -> Result<(), Violation> {
        let now = self.agenda.now();
        self.trace.line(now, number, || format!("> {report:?}"));
        let (disk, lax) = (&self.nodes[&number].disk, !self.plan.rules);
        hold(lax || disk.promise.term >= report.promised, "a report follows its promise", || {
            format!("n{number} {:?}: {report:?}", disk.promise)
        })?;
        hold(lax || disk.log.end() >= report.last, "a report is of what is on the disk", || {
            format!("n{number} has {}: {report:?}", disk.log.end())
        })?;
        self.send(number, 0, Mail::Said(report.instance, Said::Report(report)))
    }

    fn page_work(&mut self, number: u64, work: PageWork) {
        let now = self.agenda.now();
        self.trace.line(now, number, || format!("% {work:?}"));
        if matches!(work, PageWork::Hold { .. }) {
            self.images += 1;
        }
        let lax = self.plan.config.planted
            == Some(resprout_replication::testing::Planted::InstallWithoutPages);
        let node = self.nodes.get_mut(&number).expect("a node");
        let process = node.process.as_mut().expect("it runs");
        let how = (self.images, lax);
        match process.page_work(&node.disk, work, how, &mut self.coverage) {
            Paged::Nothing => {}
            Paged::Answer(input) => self.local(number, input),
            Paged::Write(op) => self.queue(number, op),
        }
    }

    /// A client writes somewhere.
    pub(crate) fn client(&mut self) -> Result<(), Violation> {
        let most = if self.healed.is_some() { 150_000 } else { 12_000 };
        let wait = Duration::from_micros(500 + self.rng.below(most));
        self.agenda.after(wait, Event::Client);
        let number = self.writer();
        let value = self.next_value;
        let node = &self.nodes[&number];
        let Some(process) = node.process.as_ref().filter(|_| !node.paused) else { return Ok(()) };
        let State::Online(term) = process.state else {
            self.next_value += 1;
            self.promises.refuse(value);
            return Ok(());
        };
        if process.waiting.len() > 40 {
            return Ok(());
        }
        let count = if self.rng.chance(1, 5) { 1 + self.rng.below(4) } else { 1 };
        let values: Vec<u64> = (value..value + count).collect();
        self.next_value += count;
        self.promises.group(&values);
        let process = self.process(number);
        let Role::Master(master) = process.copy.role() else { unreachable!("online") };
        let frames = process.log.group(term, &values, master.committed());
        let end = frames.last().expect("one at least").header.end();
        process.waiting.extend(values.iter().map(|value| Waiting { value: *value, term, end }));
        let now = self.agenda.now();
        self.trace.line(now, number, || format!("? writes {values:?} up to {end}"));
        self.append_own(number, frames)
    }

    /// Mostly a master; sometimes anybody.
    fn writer(&mut self) -> u64 {
        let online = self.nodes.iter().filter(|(_, node)| {
            node.process.as_ref().is_some_and(|process| matches!(process.state, State::Online(_)))
        });
        let online: Vec<u64> = online.map(|(number, _)| *number).collect();
        if online.is_empty() || self.rng.chance(1, 10) {
            return 1 + self.rng.below(self.plan.copies);
        }
        online[self.rng.below(online.len() as u64) as usize]
    }

    /// A reader reads somewhere, and logs are given up if the plan says so.
    pub(crate) fn reader(&mut self) -> Result<(), Violation> {
        self.agenda.after(MS * 7, Event::Reader);
        let number = 1 + self.rng.below(self.plan.copies);
        if self.plan.trims {
            self.trim(number)?;
        }
        let (now, lease) = (self.agenda.now(), self.plan.config.timing.lease);
        let node = &self.nodes[&number];
        let Some(process) = node.process.as_ref().filter(|_| !node.paused) else { return Ok(()) };
        let stale = match (process.copy.role(), process.state) {
            (Role::Master(master), State::Online(_)) => {
                if master.lease().is_none_or(|until| until < now + process.ahead) {
                    self.coverage.note("no lease");
                    return Ok(());
                }
                Some(now.saturating_sub(lease))
            }
            (Role::Replica(_), State::Replicating) => None,
            _ => return Ok(()),
        };
        self.coverage.note(if stale.is_some() { "read at a master" } else { "read at a replica" });
        let rows = process.rows();
        self.promises.read(&rows, stale)
    }

    /// A snapshot lets the log before it go, unless a root is held for somebody.
    fn trim(&mut self, number: u64) -> Result<(), Violation> {
        let node = self.nodes.get_mut(&number).expect("a node");
        let Some(process) = node.process.as_mut() else { return Ok(()) };
        let Role::Master(master) = process.copy.role() else { return Ok(()) };
        let to = process.visible.min(master.needed_from());
        let idle = process.queue.is_empty() && process.held.is_empty() && !node.paused;
        let master = matches!(process.state, State::Online(_));
        if !idle || !master || to <= process.log.first() || process.log.chain_at(to).is_none() {
            return Ok(());
        }
        process.log.trim(to);
        node.disk.log.trim(to);
        self.coverage.note("trimmed");
        self.step(number, Input::Trimmed(to))
    }
}
