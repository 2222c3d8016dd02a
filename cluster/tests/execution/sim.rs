//! A cluster that carries a plan out: leaves with files, a record, replication, and faults.
//!
//! May happen: a leaf goes away and comes back with its files, or is to be emptied (REMOVE LEAF); copying, locking and removing fail; changes are
//! committed late; the master aggregator changes, and what was proposed is committed or not; the plan is
//! cancelled. May not: a committed change is lost; a copy that was sync loses what it has.

use std::collections::{BTreeMap, BTreeSet};

use resprout_cluster::execution::{
    Change, Config, Event, Execution, Failure, Outcome, Output, World, apply,
};
use resprout_cluster::plan::{Extent, Masters, Origin, Orphan, Plan, Status};
use resprout_cluster::{
    Database, Following, Instance, Leaf, LeafId, Ordinal, Partition, Standing, Term,
};

use crate::world::Rng;

/// Milliseconds of one round.
const ROUND_MS: u64 = 100;

/// Rounds that a copy takes.
const COPY_ROUNDS: u32 = 4;

/// What goes wrong: one chance in so many for each round or answer; 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) leaf: usize,
    pub(crate) step: usize,
    pub(crate) leader: usize,
    pub(crate) cancel: usize,
}

/// Something owed to the execution, or to the record.
#[derive(Clone, Copy, Debug)]
enum Owed {
    Change(usize, Change),
    Event(Event),
}

pub(crate) struct Sim {
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) database: Database,
    pub(crate) files: BTreeMap<(LeafId, Ordinal, Instance), Origin>,
    pub(crate) free: BTreeMap<LeafId, u64>,
    pub(crate) faults: Faults,
    pub(crate) locks: BTreeSet<Ordinal>,
    /// Copies that were begun.
    pub(crate) copies: u32,
    level: usize,
    rng: Rng,
    now_ms: u64,
    owed: Vec<(u64, Owed)>,
    copied: BTreeMap<Instance, u32>,
    last_master: BTreeMap<Ordinal, LeafId>,
}

impl Sim {
    pub(crate) fn new(leaves: Vec<Leaf>, database: Database, level: usize, seed: u64) -> Self {
        let origin = Origin { operation: "CREATE DATABASE".to_owned(), at_ms: 0 };
        let mut files = BTreeMap::new();
        let mut copied = BTreeMap::new();
        for partition in &database.partitions {
            for (leaf, copy) in &partition.copies {
                files.insert((*leaf, partition.ordinal, copy.instance), origin.clone());
                copied.insert(copy.instance, COPY_ROUNDS);
            }
        }
        Self {
            leaves,
            database,
            files,
            free: BTreeMap::new(),
            faults: Faults::default(),
            locks: BTreeSet::new(),
            copies: 0,
            level,
            rng: Rng(seed),
            now_ms: 0,
            owed: Vec::new(),
            copied,
            last_master: BTreeMap::new(),
        }
    }

    fn chance(&mut self, of: usize) -> bool {
        of > 0 && self.rng.chance(of)
    }

    /// Carries a plan out to its end.
    pub(crate) fn run(&mut self, plan: &Plan, config: Config) -> Outcome {
        let mut execution = Execution::new(plan.clone(), config);
        for _ in 0..20_000 {
            self.now_ms += ROUND_MS;
            self.replicate();
            if self.chance(self.faults.leaf) {
                self.turn_a_leaf();
            }
            if self.chance(self.faults.leader) {
                self.change_leader();
                execution = Execution::new(plan.clone(), config);
            }
            let mut events = vec![Event::Look];
            if self.chance(self.faults.cancel) {
                events.push(Event::Cancel);
            }
            if self.chance(self.faults.step) {
                let step = self.rng.below(plan.steps.len());
                events.push(Event::CopyFailed(step, Failure::Broken));
            }
            for event in events {
                if let Some(outcome) = self.feed(&mut execution, event, config) {
                    return outcome;
                }
            }
            let due: Vec<Owed> = {
                let now = self.now_ms;
                let due = |owed: &(u64, Owed)| owed.0 <= now;
                let ready = self.owed.iter().filter(|owed| due(owed)).map(|owed| owed.1).collect();
                self.owed.retain(|owed| !due(owed));
                ready
            };
            for owed in due {
                let event = self.pay(owed);
                if let Some(outcome) = self.feed(&mut execution, event, config) {
                    return outcome;
                }
            }
        }
        panic!("it never ends: {:?}", execution.progress(self.now_ms));
    }

    fn feed(&mut self, execution: &mut Execution, event: Event, config: Config) -> Option<Outcome> {
        let world = World { leaves: &self.leaves, database: &self.database, free: &self.free };
        let outputs = execution.step(self.now_ms, &world, event);
        self.check_running(execution, config);
        let mut outcome = None;
        for output in outputs {
            assert_eq!(outcome, None, "nothing follows the end");
            match output {
                Output::Done(done) => outcome = Some(done),
                Output::Commit(step, change) => self.owe(Owed::Change(step, change)),
                Output::Unlock(ordinal) => {
                    assert!(self.locks.remove(&ordinal), "unlocked twice: {ordinal}");
                }
                Output::Lock { step, ordinal, to, kill } => {
                    let is_new = self.locks.insert(ordinal);
                    assert!(is_new != kill, "locked twice, or killed before: {ordinal}");
                    let partition = self.partition(ordinal);
                    let copy = partition.copies.get(&to);
                    let is_full =
                        copy.is_some_and(|copy| self.database.is_promotable(partition, copy));
                    if is_full && !self.chance(self.faults.step) {
                        self.owe(Owed::Event(Event::Drained(step)));
                    } else if self.rng.chance(2) {
                        self.owe(Owed::Event(Event::LockFailed(step, Failure::Timeout)));
                    }
                }
                Output::RemoveFiles { step, leaf, ordinal, instance } => {
                    let stays = self.is_away(leaf) || self.chance(self.faults.step);
                    if stays {
                        self.owe(Owed::Event(Event::FilesStay(step)));
                    } else {
                        self.files.remove(&(leaf, ordinal, instance));
                        self.owe(Owed::Event(Event::FilesGone(step)));
                    }
                }
            }
        }
        if outcome.is_some() {
            assert_eq!(self.locks, BTreeSet::new(), "everything is unlocked");
            assert_eq!(execution.step(self.now_ms, &self.world(), Event::Look), []);
            let changes = self.owed.iter().filter(|owed| matches!(owed.1, Owed::Change(..)));
            assert_eq!(changes.count(), 0, "no change is under way");
            self.owed.clear();
        }
        outcome
    }

    fn world(&self) -> World<'_> {
        World { leaves: &self.leaves, database: &self.database, free: &self.free }
    }

    /// Promise: what runs is of one phase, and no more than so much on a leaf.
    fn check_running(&self, execution: &Execution, config: Config) {
        let mut by_leaf: BTreeMap<LeafId, u32> = BTreeMap::new();
        let mut phases = BTreeSet::new();
        let progress = execution.progress(self.now_ms);
        for (step, progress) in execution.plan().steps.iter().zip(progress) {
            if progress.status == Status::Running {
                *by_leaf.entry(step.target).or_default() += 1;
                phases.insert(step.phase);
            }
            assert_eq!(
                progress.running_ms.is_none(),
                progress.status == Status::Scheduled || progress.running_ms.is_none()
            );
        }
        assert!(phases.len() <= 1, "{phases:?}");
        assert!(by_leaf.values().all(|running| *running <= config.steps_per_leaf), "{by_leaf:?}");
    }

    fn owe(&mut self, owed: Owed) {
        let delay = ROUND_MS * self.rng.below(4) as u64;
        self.owed.push((self.now_ms + delay, owed));
    }

    fn pay(&mut self, owed: Owed) -> Event {
        match owed {
            Owed::Event(event) => event,
            Owed::Change(step, change) => match self.commit(&change) {
                Ok(()) => Event::Committed(step),
                Err(refused) => Event::Refused(step, refused),
            },
        }
    }

    /// Promise: because of a plan no partition loses its master, or has fewer full copies than the
    /// redundancy level, or than before if that was less.
    fn commit(&mut self, change: &Change) -> Result<(), resprout_cluster::execution::Refused> {
        let before = self.partition(change.ordinal()).clone();
        let had = self.database.full_copies(&before);
        apply(&mut self.database, change)?;
        let after = self.partition(change.ordinal());
        let has = self.database.full_copies(after);
        assert!(has >= had.min(self.level), "{had} full copies, then {has}: {change:?} {before:?}");
        assert!(after.master.is_some() || before.master.is_none(), "{change:?} {before:?}");
        assert!(after.term >= before.term);
        if let Change::Promote { to, .. } = change {
            let promoted = before.copies[to];
            assert_eq!(promoted.following, Following::Sync, "{change:?} {before:?}");
            assert!(after.term > before.term);
        }
        if let Change::AddCopy { ordinal, leaf } = *change {
            let instance = self.partition(ordinal).copies[&leaf].instance;
            self.copies += 1;
            let origin =
                Origin { operation: "REBALANCE PARTITIONS".to_owned(), at_ms: self.now_ms };
            if self.is_away(leaf) {
                // It went away between the proposal and the commit: the record says so of all it has.
                let at = ordinal.0 as usize;
                let copy = self.database.partitions[at].copies.get_mut(&leaf);
                copy.expect("just added").offline = true;
            } else {
                self.files.insert((leaf, ordinal, instance), origin);
            }
        }
        Ok(())
    }

    fn partition(&self, ordinal: Ordinal) -> &Partition {
        self.database.partition(ordinal).expect("it exists")
    }

    pub(crate) fn is_away(&self, leaf: LeafId) -> bool {
        let found = self.leaves.iter().find(|other| other.id == leaf);
        found.is_none_or(|leaf| leaf.standing == Standing::Away)
    }

    /// Copies whose master is there come nearer to it.
    fn replicate(&mut self) {
        for partition in &mut self.database.partitions {
            let master = partition.master;
            for (leaf, copy) in &mut partition.copies {
                if master.is_none() || copy.offline || master == Some(*leaf) {
                    continue;
                }
                let rounds = self.copied.entry(copy.instance).or_default();
                *rounds += 1;
                if *rounds >= COPY_ROUNDS {
                    copy.following = match copy.following {
                        Following::Async => Following::Ready,
                        Following::Ready | Following::Sync => Following::Sync,
                    };
                }
            }
        }
    }

    /// A leaf goes away or is to be emptied, or is as before again.
    fn turn_a_leaf(&mut self) {
        let at = self.rng.below(self.leaves.len());
        let leaf = self.leaves[at].id;
        match self.leaves[at].standing {
            Standing::Away | Standing::Attaching => {
                self.leaves[at].standing = Standing::Online;
                self.come_back(leaf);
            }
            Standing::Leaving => self.leaves[at].standing = Standing::Online,
            Standing::Online if self.rng.chance(4) => {
                self.leaves[at].standing = Standing::Leaving;
            }
            Standing::Online => {
                self.leaves[at].standing = Standing::Away;
                self.fail_over(leaf);
            }
        }
    }

    fn fail_over(&mut self, lost: LeafId) {
        let is_sync = self.database.clone();
        for partition in &mut self.database.partitions {
            let Some(copy) = partition.copies.get_mut(&lost) else { continue };
            (copy.offline, copy.following) = (true, Following::Async);
            if partition.master == Some(lost) {
                let heir = partition
                    .copies
                    .iter()
                    .find(|(_, copy)| is_sync.is_promotable(partition, copy));
                let heir = heir.map(|(leaf, _)| *leaf);
                if heir.is_none() {
                    self.last_master.insert(partition.ordinal, lost);
                }
                partition.master = heir;
                partition.term = self.database.next_term;
                self.database.next_term = Term(partition.term.0 + 1);
            }
        }
    }

    fn come_back(&mut self, leaf: LeafId) {
        for partition in &mut self.database.partitions {
            let Some(copy) = partition.copies.get_mut(&leaf) else { continue };
            copy.offline = false;
            // What the record says and the leaf does not have, it makes.
            let origin = Origin { operation: "ATTACH LEAF".to_owned(), at_ms: self.now_ms };
            self.files.entry((leaf, partition.ordinal, copy.instance)).or_insert(origin);
            if partition.master.is_none() && self.last_master.get(&partition.ordinal) == Some(&leaf)
            {
                partition.master = Some(leaf);
                partition.term = self.database.next_term;
                self.database.next_term = Term(partition.term.0 + 1);
            }
        }
    }

    /// Another master aggregator: what was proposed is committed or not, and nobody is told; locks end.
    fn change_leader(&mut self) {
        let proposed = std::mem::take(&mut self.owed);
        for (_, owed) in proposed {
            if let Owed::Change(_, change) = owed
                && self.rng.chance(2)
            {
                // What the record does not take is nobody's business any more.
                let _refused = self.commit(&change);
            }
        }
        self.locks.clear();
    }

    /// Everybody is back, and everything follows.
    pub(crate) fn heal(&mut self) {
        self.faults = Faults::default();
        self.free.clear();
        for at in 0..self.leaves.len() {
            let before = std::mem::take(&mut self.leaves[at].standing);
            if before == Standing::Away {
                self.come_back(self.leaves[at].id);
            }
        }
        for _ in 0..4 * COPY_ROUNDS {
            self.replicate();
        }
    }

    /// What masters say they have: everything.
    pub(crate) fn masters(&self) -> Masters {
        let served = self.database.partitions.iter().filter(|one| one.serving().is_some());
        let named = |one: &Partition| (self.database.name.clone(), one.ordinal);
        served.map(|one| (named(one), Extent::default())).collect()
    }

    /// Files that the record does not have.
    pub(crate) fn orphans(&self) -> Vec<Orphan> {
        let is_recorded = |(leaf, ordinal, instance): &(LeafId, Ordinal, Instance)| {
            let copy = self.partition(*ordinal).copies.get(leaf);
            copy.is_some_and(|copy| copy.instance == *instance)
        };
        let orphans = self.files.iter().filter(|(file, _)| !is_recorded(file));
        let orphan = |(file, origin): (&(LeafId, Ordinal, Instance), &Origin)| Orphan {
            leaf: file.0,
            database: self.database.name.clone(),
            number: 1,
            ordinal: file.1,
            instance: file.2,
            bytes: 1,
            extent: Some(Extent::default()),
            term: Term(0),
            origin: Some(origin.clone()),
        };
        orphans.map(orphan).collect()
    }
}
