//! What goes wrong. Never more than the promises cover: a disk that says "done" has it.

use resprout_replication::Event as Input;
use resprout_sim::Violation;

use crate::world::{Event, MS, World};

/// The end of a fault.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    Start(u64),
    Resume(u64),
    Mend(Vec<(u64, u64)>),
    Release(u64, u64),
    Fast(u64),
    SpaceBack(u64),
    Authority,
}

impl World {
    pub(crate) fn fault(&mut self) -> Result<(), Violation> {
        if self.healed.is_some() {
            return Ok(());
        }
        let every = u64::try_from(self.plan.faults_every.as_millis()).expect("short");
        let wait = 1 + self.rng.below(2 * every);
        self.agenda.after(MS * u32::try_from(wait).expect("short"), Event::Fault);
        let which = self.rng.below(8) as usize;
        if !self.plan.faults[which] {
            return Ok(());
        }
        let node = self.somebody();
        let time =
            MS * (5 + self.rng.below(if self.rng.clone().chance(1, 3) { 900 } else { 150 })) as u32;
        match which {
            0 => self.crash(node, time),
            1 => self.crash_all(time),
            2 => self.pause(node, time),
            3 => self.isolate(node, time),
            4 => self.cut_one_way(node, time),
            5 => self.slow_or_full(node, time)?,
            6 => self.authority_fault(time),
            _ => self.clog(node, time),
        }
        Ok(())
    }

    /// Mostly the master: faults there matter most.
    fn somebody(&mut self) -> u64 {
        let master = self.authority.decided.record.master;
        match master.filter(|_| self.rng.chance(1, 2)) {
            Some(master) => master.0,
            None => 1 + self.rng.below(self.plan.copies),
        }
    }

    fn says(&self, number: u64, text: &'static str) {
        self.trace.line(self.agenda.now(), number, || format!("~ {text}"));
    }

    fn crash(&mut self, number: u64, time: std::time::Duration) {
        self.says(number, "crashes");
        let node = self.nodes.get_mut(&number).expect("a node");
        let state = node.process.as_ref().map(|process| process.state);
        let fetches = matches!(state, Some(resprout_replication::State::Provisioning { .. }));
        let waiting = node.crash(&mut self.rng);
        waiting.iter().for_each(|write| self.promises.unknown(write.value));
        self.coverage.note("crash");
        if fetches {
            self.coverage.note("a copy restarted while it fetched");
        }
        self.agenda.after(time, Event::Undo(Undo::Start(number)));
    }

    fn crash_all(&mut self, time: std::time::Duration) {
        if self.rng.chance(2, 3) {
            return;
        }
        self.coverage.note("crash of all");
        for number in 1..=self.plan.copies {
            let more = MS * self.rng.below(60) as u32;
            self.crash(number, time + more);
        }
    }

    fn pause(&mut self, number: u64, time: std::time::Duration) {
        self.says(number, "is paused");
        self.coverage.note("pause");
        let node = self.nodes.get_mut(&number).expect("a node");
        node.paused = node.process.is_some();
        self.agenda.after(time, Event::Undo(Undo::Resume(number)));
    }

    /// A paused process goes on with what had arrived.
    pub(crate) fn resume(&mut self, number: u64) {
        let node = self.nodes.get_mut(&number).expect("a node");
        if std::mem::take(&mut node.paused) {
            for event in std::mem::take(&mut node.kept) {
                self.agenda.after(std::time::Duration::ZERO, event);
            }
        }
    }

    /// From everybody, from all but the authority, or from the authority only.
    fn isolate(&mut self, number: u64, time: std::time::Duration) {
        self.says(number, "is cut off");
        self.coverage.note("isolation");
        let all: Vec<u64> = match self.rng.below(3) {
            0 => (0..=self.plan.copies).collect(),
            1 => (1..=self.plan.copies).collect(),
            _ => vec![0],
        };
        let others = all.into_iter().filter(|other| *other != number);
        let ways: Vec<_> = others.flat_map(|other| [(number, other), (other, number)]).collect();
        ways.iter().for_each(|(from, to)| self.network.cut(*from, *to));
        self.agenda.after(time, Event::Undo(Undo::Mend(ways)));
    }

    fn cut_one_way(&mut self, number: u64, time: std::time::Duration) {
        let other = self.rng.below(self.plan.copies + 1);
        let way = if self.rng.chance(1, 2) { (number, other) } else { (other, number) };
        self.says(number, "a way is cut");
        self.coverage.note("one way cut");
        self.network.cut(way.0, way.1);
        self.agenda.after(time, Event::Undo(Undo::Mend(vec![way])));
    }

    fn slow_or_full(&mut self, number: u64, time: std::time::Duration) -> Result<(), Violation> {
        let node = self.nodes.get_mut(&number).expect("a node");
        if self.rng.chance(1, 2) || node.process.is_none() || node.paused {
            node.slow = 20 + self.rng.below(200);
            self.coverage.note("slow disk");
            self.agenda.after(time, Event::Undo(Undo::Fast(number)));
            return Ok(());
        }
        node.full = true;
        self.says(number, "its device is full");
        self.coverage.note("full device");
        self.agenda.after(time, Event::Undo(Undo::SpaceBack(number)));
        self.step(number, Input::Full)
    }

    pub(crate) fn space_back(&mut self, number: u64) -> Result<(), Violation> {
        let node = self.nodes.get_mut(&number).expect("a node");
        let was = std::mem::take(&mut node.full);
        if was && node.process.is_some() {
            return self.step(number, Input::SpaceBack);
        }
        Ok(())
    }

    /// Unreachable, another leader of the metadata, or a planned promotion.
    fn authority_fault(&mut self, time: std::time::Duration) {
        match self.rng.below(3) {
            0 => {
                self.says(0, "is unreachable");
                self.coverage.note("authority unreachable");
                self.authority_down = true;
                self.agenda.after(time, Event::Undo(Undo::Authority));
            }
            1 => {
                self.coverage.note("another metadata leader");
                self.authority.change_leader();
            }
            _ => {
                self.says(0, "a planned promotion");
                self.coverage.note("planned promotion");
                self.authority.intend(self.agenda.now());
            }
        }
    }

    fn clog(&mut self, number: u64, time: std::time::Duration) {
        let other = self.rng.below(self.plan.copies + 1);
        if other == number {
            return;
        }
        let way = if self.rng.chance(1, 2) { (number, other) } else { (other, number) };
        self.coverage.note("clogged link");
        self.network.clog(way.0, way.1);
        self.agenda.after(time, Event::Undo(Undo::Release(way.0, way.1)));
    }

    /// A slow disk is a usual one again, also for what waits for it.
    pub(crate) fn fast(&mut self, number: u64) {
        let now = self.agenda.now();
        let node = self.nodes.get_mut(&number).expect("a node");
        node.slow = 1;
        let Some(process) = &mut node.process else { return };
        for place in 1..=process.queue.len() as u32 {
            process.disk_free = now + MS * place;
            self.agenda.at(process.disk_free, Event::DiskDone(number, node.run));
        }
    }

    pub(crate) fn undo(&mut self, undo: Undo) -> Result<(), Violation> {
        match undo {
            Undo::Start(number) => return self.start(number),
            Undo::Resume(number) => self.resume(number),
            Undo::Mend(ways) => self.network.mend(&ways),
            Undo::Release(from, to) => {
                for event in self.network.release(from, to) {
                    let wait = MS * self.rng.below(20) as u32;
                    self.agenda.after(wait, event);
                }
            }
            Undo::Fast(number) => self.fast(number),
            Undo::SpaceBack(number) => return self.space_back(number),
            Undo::Authority => self.authority_down = false,
        }
        Ok(())
    }
}
