//! One simulated node: what survives, and a process that comes and goes.

use std::collections::BTreeMap;
use std::time::Duration;

use resprout_cluster::manager::{Manager, Phase};
use resprout_cluster::metadata::Metadata;
use resprout_cluster::reconcile::{CopyName, Doing, Held, HeldCopy, Locks, Progress};
use resprout_cluster::{Incarnation, Ordinal};
use resprout_consensus::machine::Applier;
use resprout_consensus::{Index, Proposal, ProposalId, Raft, WriteId};
use resprout_replication::{Decided, Stance};

use super::asked::Carried;
use super::simulation::Event;
use crate::copy::{Disk, Process as CopyProcess};
use crate::raft::store::Store;

/// A partition, by its database's number.
pub(super) type Key = (u32, Ordinal);

/// See the module.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: u64,
    /// What consensus has promised and logged.
    pub(super) store: Box<dyn Store>,
    /// Copies, of a leaf.
    pub(super) rows: BTreeMap<CopyName, Disk>,
    /// Which start of the process was the last: counted durably.
    pub(super) run: u64,
    pub(super) process: Option<Process>,
    pub(super) paused: bool,
    /// What came while it was paused.
    pub(super) kept: Vec<Event>,
    /// Its disk takes so many times as long.
    pub(super) slow: u32,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    /// How far its clock is ahead of time.
    pub(super) ahead: Duration,
    pub(super) raft: Raft,
    pub(super) machine: Applier<Metadata>,
    pub(super) leads: bool,
    /// Of an aggregator.
    pub(super) manager: Option<Manager>,
    pub(super) proposals: BTreeMap<ProposalId, Proposed>,
    pub(super) proposed: u64,
    /// What it was asked to do as master aggregator.
    pub(super) carried: Carried,
    /// The last write that the core gave, and whether some are being flushed.
    pub(super) written: WriteId,
    pub(super) flushes: bool,
    /// The last entry in the newest snapshot that was offered to the core.
    pub(super) offered: Index,
    /// When ticks of consensus and of the office are noted.
    pub(super) raft_tick: Option<Duration>,
    pub(super) office_tick: Option<Duration>,
    /// Of a leaf.
    pub(super) leaf: Option<Leaf>,
}

/// Who waits for a proposal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    /// The manager, by its number.
    Manager(u64),
    /// Somebody who asked, by the number of the call.
    Call(u64),
}

/// What the master aggregator's work proposed, and waits for.
#[derive(Clone, Debug)]
pub(super) struct Proposed {
    pub(super) of: Whose,
    pub(super) proposal: Proposal,
    /// Its fate counts as unknown from then on.
    pub(super) until: Duration,
}

/// A leaf's part of a process.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    pub(super) phase: Phase,
    pub(super) progress: Progress,
    /// Copies that are driven.
    pub(super) copies: BTreeMap<Key, Driven>,
    /// Copies whose files are to go, with the metadata by which that was ordered.
    pub(super) removals: BTreeMap<CopyName, u64>,
    /// Work that waits for a disk is noted.
    pub(super) files_due: bool,
    /// Partitions that stand still, so that another copy can be master.
    pub(super) locks: Locks,
    pub(super) locks_due: bool,
    /// Transactions that hold a partition, until then.
    pub(super) holds: BTreeMap<Key, Duration>,
}

/// A copy that is driven.
#[derive(Debug)]
pub(super) struct Driven {
    pub(super) name: CopyName,
    /// Names it: what is under way of another one is dropped.
    pub(super) serial: u64,
    pub(super) process: CopyProcess,
}

/// Names a driven copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) node: u64,
    pub(super) key: Key,
    pub(super) serial: u64,
}

impl Node {
    pub(super) fn new(id: u64, store: Box<dyn Store>) -> Self {
        Self {
            id,
            store,
            rows: BTreeMap::new(),
            run: 0,
            process: None,
            paused: false,
            kept: Vec::new(),
            slow: 1,
        }
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        Incarnation(self.run)
    }

    /// The process, if it runs and is not stopped.
    pub(super) fn active(&self) -> Option<&Process> {
        self.process.as_ref().filter(|_| !self.paused)
    }

    pub(super) fn metadata(&self) -> Option<&Metadata> {
        self.process.as_ref().map(|process| process.machine.state())
    }

    pub(super) fn leaf(&self) -> Option<&Leaf> {
        self.process.as_ref()?.leaf.as_ref()
    }

    pub(super) fn leaf_mut(&mut self) -> Option<&mut Leaf> {
        self.process.as_mut()?.leaf.as_mut()
    }

    pub(super) fn driven(&self, key: Key) -> Option<&Driven> {
        self.leaf()?.copies.get(&key)
    }

    /// The driven copy of that name, and its disk.
    pub(super) fn copy_mut(&mut self, key: Key) -> Option<(&mut Driven, &mut Disk)> {
        let leaf = self.process.as_mut()?.leaf.as_mut()?;
        let driven = leaf.copies.get_mut(&key)?;
        let disk = self.rows.get_mut(&driven.name)?;
        Some((driven, disk))
    }

    /// What is there, for the control plane.
    pub(super) fn held(&self) -> Held {
        self.rows.keys().map(|name| (*name, self.held_copy(*name))).collect()
    }

    fn held_copy(&self, name: CopyName) -> HeldCopy {
        let driven = self.driven((name.database, name.ordinal));
        let Some(driven) = driven.filter(|driven| driven.name == name) else {
            // Before it is driven it has no run of its own, and nothing can be decided about it.
            return HeldCopy { doing: Doing::Recovering, ..HeldCopy::default() };
        };
        let stance: Stance = driven.process.stance();
        HeldCopy {
            incarnation: stance.incarnation,
            doing: stance.state.into(),
            knows: stance.knows,
            promised: stance.promised,
            last_term: stance.last_term,
            last: stance.end,
            clean: driven.process.is_untouched(),
            ..HeldCopy::default()
        }
    }

    /// What was decided last about the partition of a copy that the metadata have here.
    pub(super) fn recorded(&self, name: CopyName) -> Option<Decided> {
        let entry = self.metadata()?.database_of(name.database)?;
        let partition = entry.map.partition(name.ordinal)?;
        let copy = partition.copies.get(&resprout_cluster::LeafId(self.id))?;
        let mode = entry.replication(name.ordinal);
        (copy.instance == name.instance).then(|| partition.decided(mode))
    }
}
