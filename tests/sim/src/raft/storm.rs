//! Inflicting the faults of the plan.

use std::time::Duration;

use resprout_consensus::{Event as Step, NodeId};

use super::faults::Fault;
use super::image::Image;
use super::node::Input;
use super::simulation::{Event, Simulation, new_store, skewed};
use super::store::DiskFault;
use crate::Violation;

impl Simulation {
    /// The next fault of the storm.
    pub(super) fn next_fault(&mut self) -> Result<(), Violation> {
        if self.healed.is_some() || self.plan.faults.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.plan.faults.len() as u64);
        let fault = self.plan.faults[usize::try_from(at).expect("less than a length")];
        let wait = crate::network::between(&mut self.rng, Duration::ZERO, self.plan.calm * 2);
        self.agenda.after(wait, Event::Fault);
        self.inflict(fault, None)
    }

    /// A moment of the core has passed.
    pub(super) fn passed(&mut self, id: u64, mark: &'static str) {
        self.coverage.note(mark);
        let Some((moment, fault)) = self.plan.ambush.filter(|_| self.healed.is_none()) else {
            return;
        };
        if moment == mark && self.rng.chance(1, 3) {
            self.agenda.after(Duration::ZERO, Event::Ambush(id, fault));
        }
    }

    /// Inflicts one, on this node or on one that is drawn: a leader more often than others.
    pub(super) fn inflict(&mut self, fault: Fault, on: Option<u64>) -> Result<(), Violation> {
        if self.healed.is_some() {
            return Ok(());
        }
        let id = on.unwrap_or_else(|| self.victim());
        let now = self.agenda.now();
        self.trace.note(now, id, fault.name(), [0, 0]);
        self.trace.line(now, id, || format!("~ {}", fault.name()));
        let done = match fault {
            Fault::Crash => self.crash_for_a_while(id),
            Fault::CrashAll => {
                (1..=self.plan.nodes()).for_each(|node| {
                    self.crash_for_a_while(node);
                });
                true
            }
            Fault::Pause => self.stop(id),
            Fault::Isolate | Fault::Deafen | Fault::Mute | Fault::Partition | Fault::OneWay => {
                self.cut(fault, id)
            }
            Fault::Clog => self.clog(id),
            Fault::SlowDisk => self.slow_disk(id),
            Fault::ClockRate => {
                let rate = skewed(&mut self.rng, self.plan.skew);
                self.node_mut(id).clock.set_rate(now, rate);
                self.set_tick(id);
                true
            }
            Fault::Disconnect => {
                let peer = NodeId(1 + self.rng.below(self.plan.nodes()));
                self.agenda.after(
                    Duration::ZERO,
                    Event::Input { node: id, run: None, input: Input::Unreachable(peer) },
                );
                true
            }
            Fault::Transfer => self.hand_over()?,
            Fault::Churn => self.churn()?,
            Fault::Compact if self.nodes[&id].active().is_some() => {
                self.compact(id, 1)?;
                true
            }
            Fault::Compact => false,
            Fault::Wipe => self.wipe(id),
            Fault::Restore => self.restore(id),
            Fault::DiskError => self.spoil(id, DiskFault::Error),
            Fault::DiskPower => self.spoil(id, DiskFault::PowerLoss),
            Fault::DiskFull => self.spoil(id, DiskFault::Full) && self.crash_for_a_while(id),
        };
        if done {
            self.coverage.note(fault.name());
        }
        Ok(())
    }

    fn victim(&mut self) -> u64 {
        let any = 1 + self.rng.below(self.plan.nodes());
        let leader = self.promises.elections.newest_leader().map_or(any, |(_, node)| node);
        if self.rng.chance(2, 5) { leader } else { any }
    }

    fn crash_for_a_while(&mut self, id: u64) -> bool {
        if self.nodes[&id].process.is_none() {
            return false;
        }
        if self.nodes[&id].process.as_ref().is_some_and(|process| process.leads.is_some()) {
            self.coverage.note("crash of a leader");
        }
        if self.nodes[&id].ledger.newest_pending().is_some() {
            self.coverage.note("crash with writes under way");
        }
        if self.nodes[&id].ledger.is_installing() {
            self.coverage.note("crash while a snapshot is stored");
        }
        self.crash(id);
        let wait = self.short_or_long();
        self.agenda.after(wait, Event::Start(id));
        true
    }

    /// A disk will go wrong; those of a minority at once, as far as these faults go.
    fn spoil(&mut self, id: u64, fault: DiskFault) -> bool {
        let bad = self.nodes.values().filter(|node| node.store.is_at_fault()).count();
        let bad_max = usize::try_from(self.plan.voters - 1).expect("few voters") / 2;
        let runs = self.nodes[&id].active().is_some();
        if !runs || bad >= bad_max || self.nodes[&id].store.is_at_fault() {
            return false;
        }
        self.node_mut(id).store.inflict(fault);
        true
    }

    /// Ends a node whose store has ended; it starts again later.
    pub(super) fn end_failed(&mut self, id: u64, run: u64) {
        let node = &self.nodes[&id];
        if node.process.is_none() || node.run() != run {
            return;
        }
        self.crash(id);
        let wait = if self.healed.is_some() { Duration::ZERO } else { self.short_or_long() };
        self.agenda.after(wait, Event::Start(id));
    }

    /// Mostly well below an election timeout, sometimes several.
    fn short_or_long(&mut self) -> Duration {
        if self.rng.chance(1, 2) { self.tenths(0, 5) } else { self.tenths(5, 50) }
    }

    fn stop(&mut self, id: u64) -> bool {
        let wait = self.short_or_long();
        let node = self.node_mut(id);
        let Some(process) = &node.process else { return false };
        let (run, leads) = (node.run(), process.leads.is_some());
        node.stopped += 1;
        self.agenda.after(wait, Event::Resume { node: id, run });
        if leads {
            self.coverage.note("pause of a leader");
        }
        true
    }

    /// A stopped process goes on, and finds what has come meanwhile, and its clock where it is.
    pub(super) fn resume(&mut self, id: u64, run: u64) -> Result<(), Violation> {
        let node = self.node_mut(id);
        if node.run() != run || node.process.is_none() || node.stopped == 0 {
            return Ok(());
        }
        node.stopped -= 1;
        if node.stopped > 0 {
            return Ok(());
        }
        let mut inbox: Vec<Input> = node.take_inbox().into();
        if self.rng.chance(1, 2) {
            // The timer may be looked at before the sockets.
            inbox.sort_by_key(|input| !matches!(input, Input::Tick(_)));
        }
        for input in inbox {
            self.input(id, Some(run), input)?;
        }
        Ok(())
    }

    fn cut(&mut self, fault: Fault, id: u64) -> bool {
        let nodes = self.plan.nodes();
        let mut ways = Vec::new();
        let half: Vec<bool> = (0..=nodes).map(|_| self.rng.chance(1, 2)).collect();
        let other = 1 + self.rng.below(nodes);
        let side = |node: u64| half[usize::try_from(node).expect("few nodes")];
        for from in 1..=nodes {
            for to in 1..=nodes {
                let cut = match fault {
                    Fault::Isolate => from == id || to == id,
                    Fault::Deafen => to == id,
                    Fault::Mute => from == id,
                    Fault::OneWay => (from, to) == (id, other),
                    _ => side(from) != side(to),
                };
                if cut && from != to {
                    self.network.cut(from, to);
                    ways.push((from, to));
                }
            }
        }
        let wait = self.short_or_long();
        let done = !ways.is_empty();
        self.agenda.after(wait, Event::Mend(ways));
        done
    }

    fn clog(&mut self, id: u64) -> bool {
        for peer in 1..=self.plan.nodes() {
            if peer != id && self.rng.chance(1, 2) {
                let (from, to) = if self.rng.chance(1, 2) { (id, peer) } else { (peer, id) };
                self.network.clog(from, to);
                let wait = self.short_or_long();
                self.agenda.after(wait, Event::Release(from, to));
            }
        }
        true
    }

    /// What a clogged way has kept arrives, in any order.
    pub(super) fn release(&mut self, from: u64, to: u64) {
        for input in self.network.release(from, to) {
            let delay = self.network.delay();
            self.agenda.after(delay, Event::Input { node: to, run: None, input });
        }
    }

    fn slow_disk(&mut self, id: u64) -> bool {
        let slowness = u32::try_from(super::plan::pick(&mut self.rng, &[5, 20, 100])).unwrap_or(5);
        let wait = self.short_or_long();
        self.node_mut(id).disk_slowness = slowness;
        self.agenda.after(wait, Event::DiskFast(id));
        true
    }

    fn hand_over(&mut self) -> Result<bool, Violation> {
        let Some(leader) = self.some_leader() else { return Ok(false) };
        let to = NodeId(1 + self.rng.below(self.plan.nodes()));
        self.step(leader, Step::Transfer(to))?;
        Ok(true)
    }

    /// A node that believes that it leads.
    pub(super) fn some_leader(&mut self) -> Option<u64> {
        let leads = |id: &u64| self.nodes[id].active().is_some_and(|one| one.leads.is_some());
        let leaders: Vec<u64> = self.nodes.keys().copied().filter(leads).collect();
        if leaders.is_empty() {
            return None;
        }
        let at = self.rng.below(leaders.len() as u64);
        Some(leaders[usize::try_from(at).expect("less than a length")])
    }

    /// A directory is lost: only as many as the promise covers, a minority of every membership that
    /// anybody goes by.
    fn wipe(&mut self, id: u64) -> bool {
        if !self.survives_without(id) {
            return false;
        }
        self.crash(id);
        self.wipe_directory(id);
        let wait = self.short_or_long();
        self.agenda.after(wait, Event::Start(id));
        true
    }

    /// Gives a node an empty directory.
    pub(super) fn wipe_directory(&mut self, id: u64) {
        let (kind, seed) = (self.plan.store, self.rng.next());
        let node = self.node_mut(id);
        let store = super::node::store_id(id, node.stores + 1);
        node.wipe(new_store(kind, store, &Image::default(), seed));
    }

    /// A directory is put back to what it was when it was copied; or, the first time, copied.
    fn restore(&mut self, id: u64) -> bool {
        let node = self.node_mut(id);
        let Some((store_id, ..)) = &node.copy else {
            if node.process.is_none() {
                // What a crash has kept is known when it starts again.
                return false;
            }
            let copy = node.store.copy();
            node.copy = copy.map(|store| (node.store_id, store, node.ledger.clone()));
            return false;
        };
        if *store_id != node.store_id || !self.may_forget(id) {
            return false;
        }
        self.crash(id);
        let node = self.node_mut(id);
        let Some((store_id, store, ledger)) = node.copy.take() else { return false };
        (node.store, node.ledger) = (store, ledger);
        node.restored = true;
        self.promises.elections.forget(store_id);
        let wait = self.short_or_long();
        self.agenda.after(wait, Event::Start(id));
        true
    }

    /// Whether nothing depends on the memory of this node: everybody else has the leader's whole log
    /// on the medium, and is of its term. Otherwise what it has acknowledged, or its vote, could be
    /// what an election turns on, and no protocol survives that.
    fn may_forget(&self, id: u64) -> bool {
        let Some((term, leader)) = self.promises.elections.newest_leader() else { return false };
        let none_restored = self.nodes.values().all(|node| !node.restored);
        let last = self.nodes[&leader].ledger.written.last();
        let membership = &self.nodes[&leader].ledger.written.membership().1;
        let follows = |node: &super::node::Node| {
            let durable = &node.ledger.durable;
            let whole = durable.ballot.term == term && durable.last() == last;
            whole && node.ledger.newest_pending().is_none()
        };
        // Nor may it decide by members of the past, some of whom may be gone.
        let same = self.nodes[&id].copy.as_ref().is_some_and(|(_, _, ledger)| {
            ledger.durable.membership().1.members == membership.members
        });
        none_restored
            && same
            && self.survives_without(id)
            && membership.voters().all(|voter| follows(&self.nodes[&voter.0]))
    }
}
