//! What waits for a disk: copies are made, taken up, replaced, closed and removed, one after the other, on a thread of their own.

use std::sync::atomic::Ordering;
use std::time::Instant;

use resprout_cluster::metadata::Metadata;
use resprout_cluster::reconcile::{Action, CopyName, MayGo, first_run, may_go, reconcile};
use resprout_cluster::{Incarnation, Ordinal};
use resprout_engine::{CopyOptions, Durability, Engine, State as Stored};
use resprout_replication::driver::last_run;
use resprout_replication::{Config, Decided, Mode};

use super::{AGAIN_AFTER, Copies, TELLING, locked, name_of, stored_name};
use crate::error::StartError;
use crate::settings::of_copy;

impl Copies {
    /// Until the node stops. It is woken when there is something to do; what failed is looked at again now and then.
    pub(super) fn run_files(&self) {
        while !self.is_stopping.load(Ordering::Acquire) {
            if self.is_recovered.load(Ordering::Acquire)
                && let Some(engine) = self.engine()
            {
                *locked(&self.filing) = Some(self.metadata.read().applied());
                self.look_at_files(engine);
                *locked(&self.filing) = None;
            }
            std::thread::park_timeout(AGAIN_AFTER);
        }
    }

    fn look_at_files(&self, engine: &Engine) {
        let to_take_up = self.to_take_up(&self.metadata.read());
        let any_taken_up = !to_take_up.is_empty();
        for (name, stored, config) in to_take_up {
            self.attempt(name, "take up", || {
                // One that older metadata had here gives way: they were the newest that were known when this run began.
                self.driver.remove(self.partition(name));
                self.driver.add(&stored, config)?;
                Ok(())
            });
        }
        if any_taken_up {
            self.wake_thread(TELLING);
        }
        let pass = reconcile(&self.metadata.read(), (self.node.into(), self.run), &self.held());
        let mut actions = pass.actions;
        // Who is to do nothing any more does not wait for files of others.
        actions.sort_by_key(|action| !matches!(action, Action::Close { .. }));
        for action in &actions {
            self.act(engine, action);
        }
        self.remove_orphans(engine);
    }

    /// What was asked for. That a copy left the record may be known here a moment after whoever asks knows it.
    fn remove_orphans(&self, engine: &Engine) {
        let asked = std::mem::take(&mut *locked(&self.removals));
        for (copy, known) in asked {
            let may_go = may_go(&self.metadata.read(), self.node.into(), copy, known);
            match may_go {
                MayGo::NotYet => drop(locked(&self.removals).insert(copy, known)),
                MayGo::No => tracing::warn!(?copy, "not removed: it may be needed"),
                MayGo::Yes => {
                    // What fails is asked for again, while the copy is here.
                    self.attempt(copy, "drop", || self.remove(engine, copy));
                }
            }
        }
    }

    /// Copies that were recovered and that the record has here, which nobody drives.
    pub(super) fn to_take_up(
        &self,
        metadata: &Metadata,
    ) -> Vec<(CopyName, resprout_engine::Partition, Config)> {
        let stored = self.stored().into_iter();
        let waiting = stored
            .filter(|(name, stored)| stored.state() == Stored::Pending && !self.is_driven(*name));
        let known = waiting.filter_map(|(name, stored)| {
            let (mode, _) = self.recorded(metadata, name)?;
            Some((name, stored, of_copy(metadata, mode)))
        });
        known.collect()
    }

    /// The mode of a copy that the record has here, and what was decided last about its partition.
    fn recorded(&self, metadata: &Metadata, name: CopyName) -> Option<(Mode, Decided)> {
        let entry = metadata.database_of(name.database)?;
        let partition = entry.map.partition(name.ordinal)?;
        let copy = partition.copies.get(&self.node.into())?;
        let mode = entry.replication(name.ordinal);
        (copy.instance == name.instance).then(|| (mode, partition.decided(mode)))
    }

    /// Does something that may fail, and is tried again later then.
    fn attempt(
        &self,
        name: CopyName,
        what: &'static str,
        act: impl FnOnce() -> Result<(), StartError>,
    ) {
        let waits = locked(&self.failed).get(&name).is_some_and(|at| at.elapsed() < AGAIN_AFTER);
        if waits {
            return;
        }
        match act() {
            Ok(()) => drop(locked(&self.failed).remove(&name)),
            Err(error) => {
                tracing::error!(copy = ?name, %error, "cannot {what} a copy; it is tried again");
                locked(&self.failed).insert(name, Instant::now());
            }
        }
    }

    fn act(&self, engine: &Engine, action: &Action) {
        match *action {
            Action::Create { copy, .. } => {
                self.attempt(copy, "make", || self.make(engine, copy, Incarnation(0)));
            }
            Action::Provision { copy, .. } => self.attempt(copy, "replace", || {
                let stored = self.stored().into_iter().find(|(name, _)| *name == copy);
                let before = stored.map_or(Incarnation(0), |(_, stored)| last_run(&stored));
                self.remove(engine, copy)?;
                self.make(engine, copy, before)
            }),
            Action::Close { copy } => {
                if self.is_driven(copy) {
                    self.driver.give_up(self.partition(copy));
                }
            }
            Action::Drop { copy } => self.attempt(copy, "drop", || self.remove(engine, copy)),
            // The other thread's.
            Action::Tell { .. } => {}
        }
    }

    /// A copy begins its life, in place of one whose last run was `before`.
    fn make(&self, engine: &Engine, copy: CopyName, before: Incarnation) -> Result<(), StartError> {
        let (name, config, durable, decided) = {
            let metadata = self.metadata.read();
            // Dropped or taken out by now: the next look says so.
            let Some(entry) = metadata.database_of(copy.database) else { return Ok(()) };
            let Some((mode, decided)) = self.recorded(&metadata, copy) else { return Ok(()) };
            let config = of_copy(&metadata, mode);
            (stored_name(&entry.map.name, copy), config, entry.is_durable(copy.ordinal), decided)
        };
        let durability = if durable { Durability::Sync } else { Durability::Async };
        let CopyName { database, ordinal: Ordinal(ordinal), instance } = copy;
        let options = CopyOptions::one(database, ordinal, instance.0, durability);
        let made = engine.create_copies(&name, &options)?;
        // One that was here before, and left the record, may not be closed yet.
        self.driver.remove(self.partition(copy));
        let least = first_run(decided.record.copy(instance).incarnation, before);
        for partition in made.partitions() {
            self.driver.add_run(partition, config, least)?;
        }
        self.driver.record(self.partition(copy), decided);
        Ok(())
    }

    /// A copy is not driven any more. Another one of its partition, which may have come since, is left alone.
    fn undrive(&self, copy: CopyName) {
        if self.is_driven(copy) {
            self.driver.remove(self.partition(copy));
        }
    }

    /// Whether just this copy is, and not another one of its partition.
    fn is_driven(&self, copy: CopyName) -> bool {
        let driven = self.driver.copy(self.partition(copy));
        driven.is_some_and(|driven| driven.identity().instance == copy.instance)
    }

    fn remove(&self, engine: &Engine, copy: CopyName) -> Result<(), StartError> {
        self.undrive(copy);
        let databases = engine.databases();
        let is_it = |database: &&resprout_engine::Database| {
            database.partitions().iter().any(|partition| name_of(partition) == copy)
        };
        match databases.iter().find(is_it) {
            Some(database) => {
                engine.drop_database(database.name())?;
                tracing::info!(?copy, "removed from this leaf");
                Ok(())
            }
            None => Ok(()),
        }
    }
}
