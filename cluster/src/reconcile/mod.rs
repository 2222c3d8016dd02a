//! What a node does: committed metadata beside what it has, and actions until they match.
//!
//! ```text
//!   metadata at index n ─┐
//!                        ├─► reconcile ─► actions ─► copies ─► what it has ─┐
//!   what the node has ───┘         ▲                                        │
//!                                  └────────────────────────────────────────┘
//! ```
//!
//! A pure function of the two: an action that was carried out halfway, twice, or by an earlier run of the process is
//! found done or is asked for again. Nobody is told anything but what is committed (catalogue rule 1). Copies that
//! the metadata do not know are listed and left alone (row M16); removed is only what belongs to a database that
//! the metadata know to have been dropped.

use resprout_replication::Decided;

use crate::metadata::{DatabaseEntry, Metadata, NodeState};
use crate::{Copy, Following, Incarnation, LeafId, NodeId, Partition, Term};

pub use held::{CopyName, Doing, Held, HeldCopy};
pub use locks::{Locks, Standstill};
pub use removal::{MayGo, may_go};

mod held;
mod locks;
mod removal;

/// What a copy becomes by a record that it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nobody is master: it promises, and reports.
    Fence,
    /// It becomes master of the record's term.
    Promote,
    /// It was master, and is not any more.
    Demote,
    /// It follows the copy there: log, or pages where the log does not do.
    Follow {
        /// Where its master is.
        master: LeafId,
    },
    /// Its role stays; others stand differently.
    Learn,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A copy begins its life, empty, and is told this.
    Create {
        /// Which.
        copy: CopyName,
        /// What it is told.
        decided: Decided,
    },
    /// A copy is told what was decided.
    Tell {
        /// Which.
        copy: CopyName,
        /// What it becomes.
        turn: Turn,
        /// What it is told.
        decided: Decided,
    },
    /// What is there is of no use: pages are fetched from that master.
    Provision {
        /// Which.
        copy: CopyName,
        /// Where its master is.
        master: LeafId,
        /// What it is told.
        decided: Decided,
    },
    /// The copy does nothing any more; its files stay: the record does not have it.
    Close {
        /// Which.
        copy: CopyName,
    },
    /// The copy's files go: its database was dropped.
    Drop {
        /// Which.
        copy: CopyName,
    },
}

/// What is between what is and what shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Nothing.
    #[default]
    None,
    /// Something harmless: an asynchronous copy that does not follow yet.
    Soft,
    /// Something that somebody waits for.
    Hard,
}

/// One look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// What is to be done.
    pub actions: Vec<Action>,
    /// Copies that the metadata do not have: listed, left alone.
    pub orphans: Vec<CopyName>,
    /// How far off it is.
    pub difference: Difference,
}

/// How a node's state is described, for clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Success {
    /// No look yet, or it is not a node of these metadata.
    #[default]
    NoSelf,
    /// The last look found no difference, or a harmless one.
    Found(Difference),
}

impl Success {
    /// The text that clients read.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NoSelf => "Node has no self-id",
            Self::Found(Difference::None) => "Success",
            Self::Found(Difference::Soft) => "Soft Failure",
            Self::Found(Difference::Hard) => "Hard Failure",
        }
    }
}

/// How far a node is with the metadata: what it reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The index that it works on: `CURRENT_CLUSTER_LSN`.
    pub working: u64,
    /// The newest for which everything matched: `SUCCESSFUL_CLUSTER_LSN`.
    pub fulfilled: u64,
    /// What the last look found.
    pub success: Success,
}

impl Progress {
    /// Looks, as this run of the node, and notes how far it is.
    pub fn look(
        &mut self,
        metadata: &Metadata,
        (node, run): (NodeId, Incarnation),
        held: &Held,
    ) -> Pass {
        self.working = self.working.max(metadata.applied());
        if !metadata.nodes().contains_key(&node) {
            self.success = Success::NoSelf;
            return Pass::default();
        }
        let pass = reconcile(metadata, (node.into(), run), held);
        self.success = Success::Found(pass.difference);
        if pass.difference < Difference::Hard {
            self.fulfilled = self.fulfilled.max(metadata.applied());
        }
        pass
    }
}

/// What a leaf has to do in that run of its process. Until the metadata know the run they are about the one before: what it
/// had waits to be taken back, or for ATTACH LEAF.
#[must_use]
pub fn reconcile(metadata: &Metadata, (leaf, run): (LeafId, Incarnation), held: &Held) -> Pass {
    let mut pass = Pass::default();
    let known = metadata.nodes().get(&leaf.into());
    let is_unknown_run = known.is_some_and(|node| node.incarnation < run);
    for (entry, partition, copy) in metadata.copies_on(leaf.into()) {
        let name = CopyName {
            database: entry.number,
            ordinal: partition.ordinal,
            instance: copy.instance,
        };
        let waits = copy.offline || is_unknown_run;
        let difference = match held.get(&name) {
            Some(held) => pass.compare((name, held), (leaf, waits), (entry, partition)),
            None => pass.missing(name, waits, (entry, partition)),
        };
        let waited_for = is_waited_for(entry, partition, leaf, copy);
        pass.note(difference.min(if waited_for { Difference::Hard } else { Difference::Soft }));
    }
    for (name, copy) in held {
        pass.surplus(metadata, leaf, *name, copy);
    }
    if known.is_some_and(|node| node.state != NodeState::Online) {
        // What is not taken back holds nobody up.
        pass.difference = pass.difference.min(Difference::Soft);
    }
    pass
}

/// The least number of the first run of a copy whose files are new here. The record may know runs of it, of files that are gone:
/// what was said of those is not true of this one (catalogue rule 15). And its master may have heard of more of them than the
/// record: `before` is the last one of the files that it replaces, 0 if there were none.
#[must_use]
pub fn first_run(recorded: Incarnation, before: Incarnation) -> Incarnation {
    let known = recorded.max(before);
    if known > Incarnation(1) || before > Incarnation(0) { Incarnation(known.0 + 1) } else { known }
}

/// Whether anybody waits for what this copy does.
fn is_waited_for(entry: &DatabaseEntry, of: &Partition, leaf: LeafId, copy: &Copy) -> bool {
    let may_follow_late = copy.following == Following::Async || !entry.map.is_sync(of);
    of.master.is_none_or(|master| master == leaf) || !may_follow_late
}

impl Pass {
    fn note(&mut self, difference: Difference) {
        self.difference = self.difference.max(difference);
    }

    /// The record has it and the node has not.
    fn missing(
        &mut self,
        name: CopyName,
        waits: bool,
        (entry, partition): (&DatabaseEntry, &Partition),
    ) -> Difference {
        // One that was there before and is not taken back is lost: another takes its place (row I03). Made here by a run that is
        // not known yet it would be master, with nothing, of the term in which it was lost. That its database is still being
        // created is no excuse: what a node knows when it starts may be old.
        if !waits {
            let decided = partition.decided(entry.replication(partition.ordinal));
            self.actions.push(Action::Create { copy: name, decided });
        }
        Difference::Hard
    }

    fn compare(
        &mut self,
        (name, held): (CopyName, &HeldCopy),
        (leaf, waits): (LeafId, bool),
        (entry, partition): (&DatabaseEntry, &Partition),
    ) -> Difference {
        let is_acting = !matches!(held.doing, Doing::Recovering | Doing::Pending);
        if held.doing == Doing::Recovering || waits && !is_acting {
            return Difference::Hard;
        }
        let decided = partition.decided(entry.replication(partition.ordinal));
        let master = partition.master;
        if held.doing == Doing::Unrecoverable {
            // Nothing is thrown away of a copy that is not taken back, or that may be elected by the record.
            let may_go = partition
                .copies
                .get(&leaf)
                .is_some_and(|copy| !waits && copy.following == Following::Async);
            let master = partition.serving().filter(|master| *master != leaf && may_go);
            if let Some(master) = master {
                self.actions.push(Action::Provision { copy: name, master, decided });
            }
            return Difference::Hard;
        }
        if held.knows < decided.stamp {
            let turn = turn(held, leaf, partition);
            self.actions.push(Action::Tell { copy: name, turn, decided });
            return Difference::Hard;
        }
        let matches = match (master, held.doing) {
            (None, _) => held.promised >= partition.term,
            (Some(master), Doing::Online(term)) => master == leaf && term == partition.term,
            (Some(master), doing) => master != leaf && doing == Doing::Following,
        };
        if matches { Difference::None } else { Difference::Hard }
    }

    /// The node has it; has the record?
    fn surplus(&mut self, metadata: &Metadata, leaf: LeafId, name: CopyName, copy: &HeldCopy) {
        let Some(entry) = metadata.database_of(name.database) else {
            if metadata.was_dropped(name.database) {
                self.actions.push(Action::Drop { copy: name });
                self.note(Difference::Hard);
            } else {
                self.orphans.push(name);
            }
            return;
        };
        let partition = entry.map.partition(name.ordinal);
        let recorded = partition.and_then(|partition| partition.copies.get(&leaf));
        if recorded.is_some_and(|recorded| recorded.instance == name.instance) {
            return;
        }
        self.orphans.push(name);
        if let (Some(term), Some(partition)) = (masters(copy), partition)
            && term < partition.term
        {
            // Who waits for it to write hears so now, and not when it is closed.
            let decided = partition.decided(entry.replication(partition.ordinal));
            self.actions.push(Action::Tell { copy: name, turn: Turn::Demote, decided });
        }
        if !matches!(copy.doing, Doing::Recovering | Doing::Pending | Doing::Unrecoverable) {
            self.actions.push(Action::Close { copy: name });
            self.note(Difference::Hard);
        }
    }
}

/// The term in which it takes itself for master.
fn masters(held: &HeldCopy) -> Option<Term> {
    match held.doing {
        Doing::Transitioning(term) | Doing::Online(term) => Some(term),
        _ => None,
    }
}

fn turn(held: &HeldCopy, leaf: LeafId, partition: &Partition) -> Turn {
    let masters = masters(held);
    match partition.master {
        None => Turn::Fence,
        Some(master) if master == leaf && masters == Some(partition.term) => Turn::Learn,
        Some(master) if master == leaf => Turn::Promote,
        Some(_) if masters.is_some() => Turn::Demote,
        // Whom it follows, the copy knows by the term.
        Some(_) if held.doing == Doing::Following && held.promised == partition.term => Turn::Learn,
        Some(master) => Turn::Follow { master },
    }
}
