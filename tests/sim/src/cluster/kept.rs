//! What plans must keep, by what was committed and what is on disks.
//!
//! | promise | check |
//! |---|---|
//! | no plan leaves fewer copies than there were, below the redundancy level | where a change takes a copy out of the record: by the record, and by what copies have |
//! | the last copy is never dropped | where files go: others have everything acknowledged that they have |
//! | nothing is copied twice | after the storm: a copy is made once |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use resprout_cluster::execution::Change;
use resprout_cluster::metadata::Command;
use resprout_cluster::reconcile::CopyName;
use resprout_cluster::{Database, LeafId, NodeId, Partition};

use super::node::{At, Driven, Key};
use super::simulation::{Event, Simulation};
use crate::copy::{Log, Waiting};
use crate::{Violation, hold};

/// What is known of plans and of the copies that they make.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Full copies that a change of the present plan leaves at least.
    least: usize,
    /// When a copy came on record.
    made: BTreeMap<CopyName, Duration>,
    /// Partitions whose lock has lapsed: then.
    lapsed: BTreeMap<Key, Duration>,
    /// Copies that were made since nothing is wrong any more.
    copied: BTreeSet<(u32, LeafId)>,
    counts: bool,
}

impl super::check::Checks {
    /// A plan begins whose changes leave so many full copies.
    pub(super) fn plan_begins(&mut self, least: usize) {
        self.kept.least = least;
    }

    pub(super) fn lock_has_lapsed(&mut self, key: Key, now: Duration) {
        self.kept.lapsed.entry(key).or_insert(now);
    }

    /// From now on no copy is made twice.
    pub(super) fn count_copies(&mut self) {
        self.kept.counts = true;
    }

    pub(super) fn office_holder(&self) -> Option<u64> {
        self.metadata().office().holder.map(|node| node.0)
    }

    /// Whether that node is, or was, one of the cluster.
    pub(super) fn was_added(&self, id: u64) -> bool {
        let nodes = self.metadata().nodes();
        nodes.keys().next_back().is_some_and(|last| last.0 >= id) || self.removed.contains(&id)
    }

    /// Whether commits wait for replicas, by the record.
    pub(super) fn is_sync(&self) -> bool {
        self.metadata().databases().get("db").is_none_or(|entry| entry.map.sync)
    }
}

impl Simulation {
    /// A value was acknowledged. Of a master whom nobody waits for only what it does in the term of the record counts: what it
    /// does afterwards, before it hears of that, is what asynchronous replication may lose.
    pub(super) fn acknowledged(&mut self, at: At, write: Waiting) -> Result<(), Violation> {
        let now = self.agenda.now();
        let is_sync = self.copy(at).copy.mode().is_sync();
        let is_sync = is_sync && self.checks.is_sync();
        let term = self.checks.record(at.key).map(|record| record.term);
        let promises = self.checks.promises(at.key);
        if is_sync || term == Some(write.term) {
            promises.acknowledge(write.value, now)
        } else {
            promises.unknown(write.value);
            Ok(())
        }
    }

    /// A command was committed; before it the partitions were so.
    pub(super) fn check_plan(
        &mut self,
        command: &Command,
        before: &[Partition],
    ) -> Result<(), Violation> {
        let now = self.agenda.now();
        if let Command::RemoveNode { node, .. } = command {
            return self.leaf_is_removed(*node);
        }
        let Command::Execute { change, .. } = command else { return Ok(()) };
        let ordinal = change.ordinal();
        let Some(was) = before.iter().find(|partition| partition.ordinal == ordinal) else {
            return Ok(());
        };
        let Some(map) = self.checks.map().cloned() else { return Ok(()) };
        let Some(is) = map.partition(ordinal) else { return Ok(()) };
        match change {
            Change::AddCopy { leaf, .. } => {
                let instance = is.copies[leaf].instance;
                self.checks.kept.made.insert(CopyName { database: 1, ordinal, instance }, now);
                let kept = &mut self.checks.kept;
                let first = !kept.counts || kept.copied.insert((ordinal.0, *leaf));
                hold(first, "nothing is copied twice", || format!("{command:?}\n{}", self.show()))
            }
            Change::Promote { drop_leaving, to, .. } => {
                let lapsed = self.checks.kept.lapsed.remove(&(1, ordinal));
                if !map.sync
                    && let Some(lapsed) = lapsed
                {
                    self.checks.promises((1, ordinal)).forgive_since(lapsed);
                }
                self.check_heir(is, *to)?;
                if drop_leaving.is_some() { self.check_fewer(&map, was, is) } else { Ok(()) }
            }
            Change::Remove { .. } => self.check_fewer(&map, was, is),
            _ => Ok(()),
        }
    }

    /// Who is promoted has everything that was acknowledged, as long as it is the run that the record knows.
    fn check_heir(&self, partition: &Partition, to: LeafId) -> Result<(), Violation> {
        let Some(copy) = partition.copies.get(&to).filter(|_| self.checks.rules) else {
            return Ok(());
        };
        let key = (1, partition.ordinal);
        let driven = self.node(to.0).driven(key);
        let driven = driven.filter(|driven| driven.name.instance == copy.instance);
        let is_run = |driven: &&Driven| driven.process.identity.incarnation == copy.incarnation;
        let (Some(driven), Some(promises)) = (driven.filter(is_run), self.checks.promises_of(key))
        else {
            return Ok(());
        };
        let log = &driven.process.log;
        let has_all = promises.has_all_before(&log.rows_at(log.end()), self.agenda.now());
        hold(has_all, "who is promoted has everything that was acknowledged", || {
            format!("n{to} at {}: {partition:?}\n{}", log.end(), self.show())
        })
    }

    /// Not below the redundancy level, unless that was asked for: by the record, and by what is there.
    fn check_fewer(
        &self,
        map: &Database,
        was: &Partition,
        is: &Partition,
    ) -> Result<(), Violation> {
        if !self.checks.rules {
            return Ok(());
        }
        let least = self.checks.kept.least.max(1);
        let (before, after) = (map.full_copies(was), map.full_copies(is));
        hold(after >= before.min(least), "no plan leaves too few copies on record", || {
            format!("{before}, then {after} of {least}: {was:?}, {is:?}\n{}", self.show())
        })?;
        if before == after {
            // It did not count, and is not missed: what it has is for the next plan to find out.
            return Ok(());
        }
        let (before, after) = (self.complete_copies(was), self.complete_copies(is));
        hold(after >= before.min(least), "no plan leaves too few complete copies", || {
            format!("{before}, then {after} of {least}: {was:?}, {is:?}\n{}", self.show())
        })
    }

    /// Copies that have what was acknowledged before they came on record.
    fn complete_copies(&self, partition: &Partition) -> usize {
        let is_complete = |leaf: LeafId, name: CopyName| {
            let made = self.checks.kept.made.get(&name).copied().unwrap_or_default();
            let key = (name.database, name.ordinal);
            let Some(log) = self.log_of(leaf.0, name) else { return false };
            let promises = self.checks.promises_of(key);
            promises.is_none_or(|all| all.has_all_before(&log.rows_at(log.end()), made))
        };
        let name = |instance| CopyName { database: 1, ordinal: partition.ordinal, instance };
        partition
            .copies
            .iter()
            .filter(|(leaf, copy)| is_complete(**leaf, name(copy.instance)))
            .count()
    }

    /// The log of a copy, in memory if it runs.
    fn log_of(&self, leaf: u64, name: CopyName) -> Option<&Log> {
        let node = self.nodes.get(&leaf)?;
        let driven = node.driven((name.database, name.ordinal)).filter(|one| one.name == name);
        let on_disk = node.rows.get(&name).map(|disk| &disk.log);
        driven.map(|driven| &driven.process.log).or(on_disk)
    }

    /// Files are about to go: what was acknowledged and is in them is in another copy of the record.
    pub(super) fn check_gone(&self, id: u64, name: CopyName) -> Result<(), Violation> {
        let key = (name.database, name.ordinal);
        let Some(log) = self.log_of(id, name) else { return Ok(()) };
        let Some(promises) = self.checks.promises_of(key) else { return Ok(()) };
        let Some(map) = self.checks.map().filter(|map| map.sync) else { return Ok(()) };
        let Some(partition) = map.partition(name.ordinal) else { return Ok(()) };
        let others = partition.copies.iter().filter_map(|(leaf, copy)| {
            let other = CopyName { instance: copy.instance, ..name };
            self.log_of(leaf.0, other).filter(|_| other != name)
        });
        let elsewhere: BTreeSet<u64> = others.flat_map(|log| log.rows_at(log.end())).collect();
        let lost = promises.acknowledged_of(&log.rows_at(log.end()));
        let lost = lost.into_iter().find(|value| !elsewhere.contains(value));
        hold(lost.is_none(), "the last copy is never dropped", || {
            format!("n{id} {name:?} has {lost:?}: {partition:?}\n{}", self.show())
        })
    }

    /// Its machine is taken away, with whatever it still has.
    fn leaf_is_removed(&mut self, node: NodeId) -> Result<(), Violation> {
        self.coverage.note("a leaf is removed");
        self.checks.removed.insert(node.0);
        let names: Vec<CopyName> = self.node(node.0).rows.keys().copied().collect();
        names.into_iter().try_for_each(|name| self.check_gone(node.0, name))?;
        self.gone.insert(node.0);
        let wait = self.micros(30_000);
        self.agenda.after(wait, Event::Gone(node.0));
        Ok(())
    }

    pub(super) fn is_gone(&mut self, id: u64) {
        self.crash(id);
        self.node_mut(id).rows.clear();
    }
}
