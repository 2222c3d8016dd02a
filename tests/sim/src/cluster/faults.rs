//! What goes wrong. Never more than the promises cover: a disk that says "done" has it, and rows are lost only where another
//! synchronous copy has them.

use std::time::Duration;

use super::node::At;
use super::plan::VOTERS;
use super::simulation::{Event, Own, Simulation};
use crate::Violation;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process ends; unflushed writes are lost, or all but a prefix.
    Crash,
    /// And is back before anybody could notice.
    QuickCrash,
    /// All leaves end at once.
    CrashLeaves,
    /// All nodes end at once.
    CrashAll,
    /// A leaf ends in order, and comes back.
    Stop,
    /// A process stands still, its clock does not, and its messages wait.
    Pause,
    /// A node is cut off.
    Isolate,
    /// The nodes are cut into two.
    Split,
    /// A way is cut in one direction.
    OneWay,
    /// A link keeps what is sent, and releases it in any order.
    Clog,
    /// A disk is slow.
    SlowDisk,
    /// A leaf has lost all its rows.
    Wipe,
}

/// The end of a fault.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    Start(u64),
    Resume(u64),
    Mend(Vec<(u64, u64)>),
    Release(u64, u64),
    Fast(u64),
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Crash,
        Self::QuickCrash,
        Self::CrashLeaves,
        Self::CrashAll,
        Self::Stop,
        Self::Pause,
        Self::Isolate,
        Self::Split,
        Self::OneWay,
        Self::Clog,
        Self::SlowDisk,
        Self::Wipe,
    ];

    /// As it is counted.
    fn text(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::QuickCrash => "quick crash",
            Self::CrashLeaves => "crash of all leaves",
            Self::CrashAll => "crash of all",
            Self::Stop => "orderly stop",
            Self::Pause => "pause",
            Self::Isolate => "isolation",
            Self::Split => "partition of the network",
            Self::OneWay => "one way cut",
            Self::Clog => "clogged link",
            Self::SlowDisk => "slow disk",
            Self::Wipe => "rows lost",
        }
    }
}

impl Simulation {
    /// The next fault, while the storm lasts.
    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        if self.lull.is_some() || self.healed.is_some() {
            return Ok(());
        }
        let wait = self.up_to(2 * self.plan.calm);
        self.agenda.after(wait, Event::Fault);
        if self.wiped {
            // The only copies that have everything are left alone until there are others.
            self.wiped = !self.is_settled();
            return Ok(());
        }
        let count = self.plan.faults.len() as u64;
        if count == 0 {
            return Ok(());
        }
        let which = usize::try_from(self.rng.below(count)).expect("few");
        let fault = self.plan.faults[which];
        let long = if self.rng.chance(1, 3) { 1_500 } else { 250 };
        let time = Duration::from_millis(10 + self.rng.below(long));
        self.inflict(fault, time)
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        self.micros(u64::try_from(most.as_micros()).expect("short"))
    }

    fn inflict(&mut self, fault: Fault, time: Duration) -> Result<(), Violation> {
        let node = self.somebody();
        if fault == Fault::Wipe {
            return self.wipe(time);
        }
        // Where all copies crash, an election may say that something is gone: then little is promised.
        if matches!(fault, Fault::CrashLeaves | Fault::CrashAll) && self.rng.chance(3, 4) {
            return Ok(());
        }
        self.coverage.note(fault.text());
        self.says(node, || format!("~ {} for {time:?}", fault.text()));
        match fault {
            Fault::Crash => self.crash_for(node, time),
            Fault::QuickCrash => {
                let time = self.micros(3_000);
                self.crash_for(node, time);
            }
            Fault::CrashLeaves => self.leaves().for_each(|leaf| self.crash_for(leaf, time)),
            Fault::CrashAll => (1..=self.plan.nodes()).for_each(|one| self.crash_for(one, time)),
            Fault::Stop => return self.stop(time),
            Fault::Pause => {
                let one = self.node_mut(node);
                one.paused = one.process.is_some();
                self.agenda.after(time, Event::Undo(Undo::Resume(node)));
            }
            Fault::Isolate => {
                let others = (1..=self.plan.nodes()).filter(|other| *other != node);
                let ways = others.flat_map(|other| [(node, other), (other, node)]).collect();
                self.cut(ways, time);
            }
            Fault::Split => self.split(time),
            Fault::OneWay => {
                let other = 1 + self.rng.below(self.plan.nodes());
                let way = if self.rng.chance(1, 2) { (node, other) } else { (other, node) };
                self.cut(vec![way], time);
            }
            Fault::Clog => {
                let other = 1 + self.rng.below(self.plan.nodes());
                self.network.clog(node, other);
                self.agenda.after(time, Event::Undo(Undo::Release(node, other)));
            }
            Fault::SlowDisk => {
                self.node_mut(node).slow = 20 + u32::try_from(self.rng.below(150)).expect("few");
                self.agenda.after(time, Event::Undo(Undo::Fast(node)));
            }
            Fault::Wipe => {}
        }
        Ok(())
    }

    /// Mostly a master, or who leads: faults there matter most.
    fn somebody(&mut self) -> u64 {
        match self.rng.below(8) {
            0..4 => {
                let ordinal = self.rng.below(u64::from(self.plan.partitions));
                let master = self.checks.master(usize::try_from(ordinal).expect("few"));
                master.unwrap_or_else(|| self.any_leaf())
            }
            4 => {
                let leads =
                    |id: &u64| self.node(*id).process.as_ref().is_some_and(|process| process.leads);
                (1..=VOTERS).find(leads).unwrap_or(1)
            }
            5 => self.any_leaf(),
            _ => 1 + self.rng.below(self.plan.nodes()),
        }
    }

    fn cut(&mut self, ways: Vec<(u64, u64)>, time: Duration) {
        ways.iter().for_each(|(from, to)| self.network.cut(*from, *to));
        self.agenda.after(time, Event::Undo(Undo::Mend(ways)));
    }

    fn split(&mut self, time: Duration) {
        let nodes = 1..=self.plan.nodes();
        let one: Vec<u64> = nodes.clone().filter(|_| self.rng.chance(1, 2)).collect();
        let others: Vec<u64> = nodes.filter(|node| !one.contains(node)).collect();
        let pairs = one.iter().flat_map(|a| others.iter().map(move |b| (*a, *b)));
        let ways = pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect();
        self.cut(ways, time);
    }

    /// Ends a process as power does.
    pub(super) fn crash(&mut self, id: u64) {
        let now = self.agenda.now();
        let node = self.nodes.get_mut(&id).expect("nodes are never taken away");
        let Some(process) = node.process.take() else { return };
        node.paused = false;
        node.kept.clear();
        node.store.crash(&mut self.rng);
        for (key, driven) in process.leaf.map(|leaf| leaf.copies).unwrap_or_default() {
            let disk = node.rows.get_mut(&driven.name).expect("it is here");
            let waiting = driven.process.crash(disk, &mut self.rng);
            let promises = self.checks.promises(key);
            waiting.iter().for_each(|write| promises.unknown(write.value));
        }
        self.trace.note(now, id, "crash", [0, 0]);
        self.says(id, || "x crash");
    }

    pub(super) fn crash_for(&mut self, id: u64, time: Duration) {
        self.crash(id);
        let more = self.micros(40_000);
        self.agenda.after(time + more, Event::Undo(Undo::Start(id)));
    }

    /// A leaf ends in order, as a restart of it does.
    fn stop(&mut self, time: Duration) -> Result<(), Violation> {
        let id = self.any_leaf();
        if self.node(id).active().is_none() {
            return Ok(());
        }
        self.stop_copies(id)?;
        self.crash_for(id, time);
        Ok(())
    }

    /// A leaf ends and comes back without rows: only while all copies are what the record says.
    fn wipe(&mut self, time: Duration) -> Result<(), Violation> {
        // Nor while somebody may be dropping the other copy.
        if !self.is_settled() || self.is_asked() {
            return Ok(());
        }
        let id = self.any_leaf();
        self.coverage.note(Fault::Wipe.text());
        self.says(id, || "~ loses its rows");
        self.crash_for(id, time);
        self.node_mut(id).rows.clear();
        (self.wiped, self.wiped_at) = (true, self.agenda.now());
        Ok(())
    }

    /// A paused process goes on with what had arrived.
    pub(super) fn resume(&mut self, id: u64) {
        let node = self.node_mut(id);
        if std::mem::take(&mut node.paused) {
            for event in std::mem::take(&mut node.kept) {
                self.agenda.after(Duration::ZERO, event);
            }
        }
    }

    pub(super) fn release(&mut self, from: u64, to: u64) {
        for event in self.network.release(from, to) {
            let wait = self.micros(20_000);
            self.agenda.after(wait, event);
        }
    }

    /// A slow disk is a usual one again, also for what waits for it.
    pub(super) fn fast(&mut self, id: u64) {
        let now = self.agenda.now();
        let node = self.nodes.get_mut(&id).expect("nodes are never taken away");
        if std::mem::replace(&mut node.slow, 1) == 1 {
            return;
        }
        let Some(process) = &mut node.process else { return };
        let ms = Duration::from_millis(1);
        if process.flushes {
            let own = Own::Flushed(process.written);
            self.agenda.after(ms, Event::Own { node: id, run: node.run, own });
        }
        let copies = process.leaf.as_mut().map(|leaf| leaf.copies.iter_mut());
        for (key, driven) in copies.into_iter().flatten() {
            let at = At { node: id, key: *key, serial: driven.serial };
            for place in 1..=u32::try_from(driven.process.queue.len()).expect("few") {
                driven.process.disk_free = now + ms * place;
                self.agenda.at(driven.process.disk_free, Event::DiskDone(at));
            }
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) -> Result<(), Violation> {
        match undo {
            Undo::Start(id) if self.stays_away(id) => {}
            Undo::Start(id) => return self.start(id),
            Undo::Resume(id) => self.resume(id),
            Undo::Mend(ways) => self.network.mend(&ways),
            Undo::Release(from, to) => self.release(from, to),
            Undo::Fast(id) => self.fast(id),
        }
        Ok(())
    }
}
