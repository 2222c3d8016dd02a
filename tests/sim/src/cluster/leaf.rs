//! A leaf: what it has beside what the metadata say, and actions until they match. What `node` does in its `Copies`: copies are
//! told at once; what waits for a disk comes a little later.

use std::time::Duration;

use resprout_cluster::control::Control;
use resprout_cluster::manager::{Lock, Phase};
use resprout_cluster::reconcile::{
    Action, CopyName, Difference, MayGo, Standstill, first_run, may_go, reconcile,
};
use resprout_cluster::{Incarnation, LeafId, NodeId};
use resprout_replication::{Decided, Event as Input, Partition, Role, State};

use super::kills::Moment;
use super::mail::Mail;
use super::node::{At, Driven, Key};
use super::simulation::{Own, Simulation};
use crate::Violation;
use crate::copy::{Disk, Process, Start};

/// Between two looks when nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// Between two looks at partitions that are to stand still.
const LOCKS_EVERY: Duration = Duration::from_millis(3);

impl Simulation {
    /// Compares, and tells. Everything else comes later.
    pub(super) fn look(&mut self, id: u64, again: bool) -> Result<(), Violation> {
        if again {
            self.own(id, LOOK_EVERY, Own::Look { again: true });
        }
        let node = self.node_mut(id);
        let (run, held) = (node.incarnation(), node.held());
        let process = node.process.as_mut().expect("it runs");
        let Some(leaf) = &mut process.leaf else { return Ok(()) };
        if leaf.phase != Phase::Ready {
            return Ok(());
        }
        let pass = leaf.progress.look(process.machine.state(), (NodeId(id), run), &held);
        let mut any_files = !leaf.removals.is_empty();
        if pass.difference > Difference::None {
            any_files |= !self.to_take_up(id).is_empty();
        }
        for action in pass.actions {
            match action {
                Action::Tell { copy, decided, .. } => self.tell(id, copy, decided)?,
                _ => any_files = true,
            }
        }
        let wait = self.micros(6_000);
        if any_files
            && let Some(leaf) = self.node_mut(id).leaf_mut()
            && !std::mem::replace(&mut leaf.files_due, true)
        {
            self.own(id, wait, Own::Files);
        }
        Ok(())
    }

    /// A decision that a copy is to act on, also once more.
    pub(super) fn tell(
        &mut self,
        id: u64,
        copy: CopyName,
        decided: Decided,
    ) -> Result<(), Violation> {
        let key = (copy.database, copy.ordinal);
        match self.node(id).driven(key).filter(|driven| driven.name == copy) {
            Some(driven) => {
                let at = At { node: id, key, serial: driven.serial };
                self.step_copy(at, Input::Record(decided))
            }
            None => Ok(()),
        }
    }

    /// Copies that were recovered and that the record has here, which nobody drives.
    fn to_take_up(&self, id: u64) -> Vec<CopyName> {
        let node = self.node(id);
        let waits = |name: &&CopyName| {
            let driven = node.driven((name.database, name.ordinal));
            driven.is_none_or(|driven| driven.name != **name) && node.recorded(**name).is_some()
        };
        node.rows.keys().filter(waits).copied().collect()
    }

    /// What waits for a disk.
    pub(super) fn files(&mut self, id: u64) -> Result<(), Violation> {
        if let Some(leaf) = self.node_mut(id).leaf_mut() {
            leaf.files_due = false;
        }
        for name in self.to_take_up(id) {
            // One that older metadata had here gives way: they were the newest that were known when this run began.
            if let Some(before) =
                self.node(id).driven((name.database, name.ordinal)).map(|driven| driven.name)
            {
                self.coverage.note("a copy of older metadata gives way");
                self.undrive(id, before)?;
            }
            self.drive(id, name, Incarnation(1))?;
            self.own(id, Duration::ZERO, Own::Look { again: false });
        }
        let node = self.node(id);
        let who = (LeafId(id), node.incarnation());
        let metadata = node.metadata().expect("it runs");
        let mut actions = reconcile(metadata, who, &node.held()).actions;
        // Who is to do nothing any more does not wait for files of others.
        actions.sort_by_key(|action| !matches!(action, Action::Close { .. }));
        for action in actions {
            self.act(id, &action)?;
        }
        self.remove_orphans(id)
    }

    fn act(&mut self, id: u64, action: &Action) -> Result<(), Violation> {
        match *action {
            Action::Create { copy, .. } => self.make(id, copy, Incarnation(0)),
            Action::Provision { copy, .. } => {
                self.coverage.note("a copy is replaced");
                let before = Incarnation(self.node(id).rows[&copy].incarnation);
                self.remove(id, copy)?;
                self.make(id, copy, before)
            }
            Action::Close { copy } => self.undrive(id, copy),
            Action::Drop { copy } => self.remove(id, copy),
            // Of the other part.
            Action::Tell { .. } => Ok(()),
        }
    }

    fn remove_orphans(&mut self, id: u64) -> Result<(), Violation> {
        let Some(leaf) = self.node_mut(id).leaf_mut() else { return Ok(()) };
        for (copy, known) in std::mem::take(&mut leaf.removals) {
            let metadata = self.node(id).metadata().expect("it runs");
            match may_go(metadata, LeafId(id), copy, known) {
                MayGo::NotYet => {
                    let leaf = self.node_mut(id).leaf_mut();
                    leaf.expect("a leaf").removals.insert(copy, known);
                }
                MayGo::No => {}
                MayGo::Yes => {
                    self.coverage.note("files of a copy are removed");
                    self.check_gone(id, copy)?;
                    self.remove(id, copy)?;
                }
            }
        }
        Ok(())
    }

    /// A copy begins its life, empty, in place of one whose last run was `before`.
    fn make(&mut self, id: u64, copy: CopyName, before: Incarnation) -> Result<(), Violation> {
        // Dropped or taken out by now: the next look says so.
        let Some(decided) = self.node(id).recorded(copy) else { return Ok(()) };
        let key = (copy.database, copy.ordinal);
        // One that was here before, and left the record, may not be closed yet.
        if let Some(before) = self.node(id).driven(key).map(|driven| driven.name) {
            self.undrive(id, before)?;
        }
        self.coverage.note("a copy is made");
        self.node_mut(id).rows.insert(copy, Disk::default());
        let recorded = decided.record.copy(copy.instance).incarnation;
        self.drive(id, copy, first_run(recorded, before))?;
        self.tell(id, copy, decided)
    }

    fn drive(&mut self, id: u64, name: CopyName, least: Incarnation) -> Result<(), Violation> {
        self.serial += 1;
        let (config, now, serial) = (self.plan.copies(), self.agenda.now(), self.serial);
        let node = self.node_mut(id);
        let process = node.process.as_mut().expect("it runs");
        let (cluster, ahead) = (process.machine.state().cluster(), process.ahead);
        let leaf = process.leaf.as_mut().expect("a leaf");
        let disk = node.rows.get_mut(&name).expect("it is here");
        let partition = Partition { cluster, database: name.database, ordinal: name.ordinal.0 };
        let start = Start { partition, instance: name.instance, least, config, now, ahead };
        let process = Process::start(disk, start);
        let run = process.identity.incarnation;
        let key: Key = (name.database, name.ordinal);
        leaf.copies.insert(key, Driven { name, serial, process });
        self.says(id, || format!("+ {}.{} run {run}", name.ordinal, name.instance));
        self.step_copy(At { node: id, key, serial }, Input::Tick)
    }

    /// A copy stops in order; its files stay. Another one of its partition, which may have come since, is left alone.
    pub(super) fn undrive(&mut self, id: u64, copy: CopyName) -> Result<(), Violation> {
        let key = (copy.database, copy.ordinal);
        let Some(driven) = self.node(id).driven(key).filter(|driven| driven.name == copy) else {
            return Ok(());
        };
        let at = At { node: id, key, serial: driven.serial };
        self.says(id, || format!("x {}.{}", copy.ordinal, copy.instance));
        self.step_copy(at, Input::Stopping)?;
        let node = self.node_mut(id);
        let leaf = node.process.as_mut().and_then(|process| process.leaf.as_mut());
        let Some(driven) = leaf.and_then(|leaf| leaf.copies.remove(&key)) else { return Ok(()) };
        let disk = node.rows.get_mut(&copy).expect("it is here");
        let waiting = driven.process.stop(disk);
        let promises = self.checks.promises(key);
        waiting.iter().for_each(|write| promises.unknown(write.value));
        Ok(())
    }

    fn remove(&mut self, id: u64, copy: CopyName) -> Result<(), Violation> {
        self.undrive(id, copy)?;
        self.node_mut(id).rows.remove(&copy);
        Ok(())
    }

    /// A partition is closed to writers, if its master is here.
    pub(super) fn lock(&mut self, (from, office): (u64, u64), id: u64, database: u32, lock: Lock) {
        let now = self.agenda.now();
        if self.online(id, (database, lock.ordinal)).is_none() {
            return;
        }
        let Some(leaf) = self.node_mut(id).leaf_mut() else { return };
        if lock.kill {
            leaf.holds.remove(&(database, lock.ordinal));
        }
        if leaf.locks.lock(now, (NodeId(from), office), database, lock) {
            let is_due = std::mem::replace(&mut leaf.locks_due, true);
            self.coverage.note("a partition is to stand still");
            self.step_is_at(Moment::Lock, (id, lock.to.0));
            if !is_due {
                self.own(id, LOCKS_EVERY, Own::Locks);
            }
        }
    }

    /// Whether partitions stand still that are to.
    pub(super) fn look_at_locks(&mut self, id: u64) -> Result<(), Violation> {
        let now = self.agenda.now();
        let present = self.node(id).metadata().map_or(0, |metadata| metadata.office().number);
        let Some(leaf) = self.node(id).leaf() else { return Ok(()) };
        for (key, (office, lock)) in leaf.locks.held().collect::<Vec<_>>() {
            let serves = self.online(id, key).is_some();
            let drained = serves && self.is_drained(id, key, lock);
            let Some(leaf) = self.node_mut(id).leaf_mut() else { return Ok(()) };
            let which = (key, office, lock.number);
            match leaf.locks.look(now, which, present, (serves, drained)) {
                Standstill::Gone | Standstill::Holds => {}
                Standstill::Lapsed => {
                    self.coverage.note("a lock has lapsed");
                    self.checks.lock_has_lapsed(key, now);
                }
                Standstill::Drained { from, office, lock } => {
                    self.coverage.note("a partition stands still");
                    let to = self.node(id).leaf().and_then(|leaf| leaf.locks.of(key));
                    let to = to.map_or(id, |lock| lock.to.0);
                    self.step_is_at(Moment::Drained, (id, to));
                    let control = Box::new(Control::Drained { office, lock });
                    self.send(id, from.0, Mail::Control(control))?;
                }
            }
        }
        let Some(leaf) = self.node_mut(id).leaf_mut() else { return Ok(()) };
        leaf.locks_due = leaf.locks.held().next().is_some();
        if leaf.locks_due {
            self.own(id, LOCKS_EVERY, Own::Locks);
        }
        Ok(())
    }

    /// Whether nobody writes any more, and the copy that shall be master has everything.
    fn is_drained(&self, id: u64, (database, ordinal): Key, lock: Lock) -> bool {
        let node = self.node(id);
        let entry = node.metadata().and_then(|metadata| metadata.database_of(database));
        let partition = entry.and_then(|entry| entry.map.partition(ordinal));
        let to = partition.and_then(|partition| partition.copies.get(&lock.to));
        let to = to.map(|copy| copy.instance);
        let Some(driven) = node.driven((database, ordinal)) else { return false };
        let Role::Master(master) = driven.process.copy.role() else { return false };
        let (end, status) = (driven.process.log.end(), master.status());
        let member = status.members.iter().find(|member| Some(member.instance) == to);
        let now = self.agenda.now();
        let holds = node.leaf().and_then(|leaf| leaf.holds.get(&(database, ordinal)));
        let is_idle = driven.process.waiting.is_empty() && holds.is_none_or(|until| *until <= now);
        is_idle && member.is_some_and(|member| member.position >= end)
    }

    /// All copies of a leaf stop in order.
    pub(super) fn stop_copies(&mut self, id: u64) -> Result<(), Violation> {
        let Some(leaf) = self.node(id).leaf() else { return Ok(()) };
        let names: Vec<CopyName> = leaf.copies.values().map(|driven| driven.name).collect();
        names.into_iter().try_for_each(|name| self.undrive(id, name))
    }

    /// The state of a driven copy that serves, by its key.
    pub(super) fn online(&self, id: u64, key: Key) -> Option<resprout_wal::Term> {
        match self.node(id).driven(key)?.process.state {
            State::Online(term) => Some(term),
            _ => None,
        }
    }
}
