//! What operators ask for, and the plan that does it.

use std::collections::BTreeSet;

use thiserror::Error;

use super::{Action, Phase, Plan, Removal, RemovalError, Step, plan, remove, restore};
use crate::placement::{Request, Unplaceable, load_elsewhere, target};
use crate::{Database, Instance, Leaf, LeafId, Mode, Ordinal, Partition, Standing};

/// What is asked for. Each is about one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `REBALANCE PARTITIONS ON db [FULL] [FORCE]`.
    Rebalance {
        /// Which database.
        database: String,
        /// Other databases count too.
        full: bool,
        /// Partitions without any copy begin anew, empty.
        force: bool,
    },
    /// `RESTORE REDUNDANCY ON db`.
    Restore {
        /// Which database.
        database: String,
    },
    /// Leaves go: what they have is served elsewhere.
    Free {
        /// Which database.
        database: String,
        /// Which leaves.
        leaves: Vec<LeafId>,
        /// Their copies stay in the record, and masters go back to them, if there are pairs.
        detach: bool,
    },
    /// A leaf stops for a while: others are masters meanwhile, as far as there are any.
    HandOver {
        /// Which database.
        database: String,
        /// Which leaf.
        leaf: LeafId,
    },
    /// One copy of one partition: `COPY`, `PROMOTE`, `DROP`, `ATTACH`, `DETACH`, `CREATE PARTITION`.
    One {
        /// Which database.
        database: String,
        /// Which partition.
        ordinal: Ordinal,
        /// The leaf that gets, promotes or loses it.
        leaf: LeafId,
        /// What is done.
        one: One,
    },
}

/// What is done with one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum One {
    /// It is made.
    Copy,
    /// It becomes master, and the master a replica.
    Promote,
    /// It becomes master, and the master's copy goes.
    PromoteWithDrop,
    /// It goes.
    Drop,
    /// It is on the leaf, and becomes a copy of the partition.
    Attach {
        /// Which copy.
        instance: Instance,
    },
    /// It leaves the record, and stays on its leaf.
    Detach,
    /// It is made empty, where the partition has no copy.
    Create,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AskedError {
    /// No such database.
    #[error("unknown database '{0}'")]
    Unknown(String),
    /// No such partition.
    #[error("database '{0}' has no partition {1}")]
    NoPartition(String, Ordinal),
    /// The partition has no copy there.
    #[error("partition {0}:{1} has no copy there")]
    NoCopy(String, Ordinal),
    /// It has one.
    #[error("partition {0}:{1} has copies: DETACH PARTITION takes one out that is lost")]
    HasCopies(String, Ordinal),
    /// No other copy could serve the partition.
    #[error("the last online copy of partition {0}:{1}")]
    LastCopy(String, Ordinal),
    /// Nowhere to place copies.
    #[error(transparent)]
    Unplaceable(#[from] Unplaceable),
    /// The leaves cannot go.
    #[error(transparent)]
    Removal(#[from] RemovalError),
}

/// Another leaf whose copy could be master.
fn heir(
    leaves: &[Leaf],
    database: &Database,
    (partition, leaf): (&Partition, LeafId),
) -> Option<LeafId> {
    let is_online = |id: LeafId| {
        leaves.iter().any(|other| other.id == id && other.standing == Standing::Online)
    };
    let mut copies = partition.copies.iter();
    let heir = copies.find(|(id, copy)| {
        **id != leaf && is_online(**id) && database.is_promotable(partition, copy)
    });
    heir.map(|(heir, _)| *heir)
}

/// Masters on a leaf pass to replicas that have everything; what has none stays.
fn hand_over(leaves: &[Leaf], database: &Database, leaf: LeafId) -> Plan {
    let steps = database.all().filter(|one| one.serving() == Some(leaf));
    let steps = steps.filter_map(|partition| {
        let heir = heir(leaves, database, (partition, leaf))?;
        Some(Step::new(partition, Phase::Promote, heir, Action::Promote))
    });
    Plan { returns: true, ..Plan::new(leaves, database, steps.collect(), 1) }
}

impl Asked {
    /// The database that it is about.
    #[must_use]
    pub fn database(&self) -> &str {
        match self {
            Self::Rebalance { database, .. }
            | Self::Restore { database }
            | Self::Free { database, .. }
            | Self::HandOver { database, .. }
            | Self::One { database, .. } => database,
        }
    }

    /// Whether it evens copies out, so that leaves that are being attached are counted on: all but those that are to go.
    fn awaited(&self, mode: Mode) -> Option<BTreeSet<LeafId>> {
        match self {
            Self::Rebalance { .. } | Self::Restore { .. } => Some(BTreeSet::new()),
            Self::Free { leaves, .. } if mode != Mode::Paired => {
                Some(leaves.iter().copied().collect())
            }
            Self::Free { .. } | Self::HandOver { .. } | Self::One { .. } => None,
        }
    }

    /// The plan; empty if nothing is to be done. Leaves that are being attached count with what is taken back of theirs: its steps
    /// there wait until they are online.
    ///
    /// # Errors
    /// [`AskedError`].
    pub fn plan(
        &self,
        leaves: &[Leaf],
        databases: &[Database],
        mode: Mode,
    ) -> Result<Plan, AskedError> {
        let attached = self
            .awaited(mode)
            .map(|going| super::coming::when_attached((leaves, mode), databases, &going));
        let (leaves, databases) = match &attached {
            Some((leaves, databases)) => (&leaves[..], &databases[..]),
            None => (leaves, databases),
        };
        let found = databases.iter().find(|database| database.name == self.database());
        let database = found.ok_or_else(|| AskedError::Unknown(self.database().to_owned()))?;
        match self {
            Self::Rebalance { full, force, .. } => {
                let load = full.then(|| load_elsewhere(databases, &database.name));
                let full = load.as_ref();
                let request = Request { leaves, database, mode, full, force: *force };
                Ok(plan(leaves, database, &target(&request)?))
            }
            Self::Restore { .. } => Ok(restore(leaves, database, mode)?),
            Self::Free { leaves: going, detach, .. } => {
                let going: BTreeSet<_> = going.iter().copied().collect();
                let removal = if *detach { Removal::Detach } else { Removal::Remove };
                let plan = remove(leaves, (database, mode), &going, removal)?;
                Ok(Plan { returns: *detach, ..plan })
            }
            Self::HandOver { leaf, .. } => Ok(hand_over(leaves, database, *leaf)),
            Self::One { ordinal, leaf, one, .. } => {
                let unknown = || AskedError::NoPartition(database.name.clone(), *ordinal);
                let partition = database.partition(*ordinal).ok_or_else(unknown)?;
                let steps = one_step(leaves, database, partition, (*leaf, *one))?;
                Ok(Plan::new(leaves, database, steps, 1))
            }
        }
    }
}

/// The step for one copy; two if a master is to leave.
fn one_step(
    leaves: &[Leaf],
    database: &Database,
    partition: &Partition,
    (leaf, one): (LeafId, One),
) -> Result<Vec<Step>, AskedError> {
    let named = || (database.name.clone(), partition.ordinal);
    let step = |phase, action| Step::new(partition, phase, leaf, action);
    let (phase, action) = match one {
        One::Copy => (Phase::Redundancy, Action::Copy),
        One::Promote => (Phase::Promote, Action::Promote),
        One::PromoteWithDrop => (Phase::Promote, Action::PromoteWithDrop),
        One::Drop => {
            check_leaves(partition, leaf, named)?;
            (Phase::Drop, Action::Drop)
        }
        One::Attach { instance } => {
            let step = step(Phase::Attach, Action::Attach);
            return Ok(vec![Step { instance: Some(instance), ..step }]);
        }
        One::Create if !partition.copies.is_empty() => {
            let (name, ordinal) = named();
            return Err(AskedError::HasCopies(name, ordinal));
        }
        One::Create => (Phase::Attach, Action::Create),
        One::Detach => {
            check_leaves(partition, leaf, named)?;
            let mut steps = vec![step(Phase::Drop, Action::Detach)];
            if partition.serving() == Some(leaf) {
                let (name, ordinal) = named();
                let heir = heir(leaves, database, (partition, leaf));
                let heir = heir.ok_or(AskedError::LastCopy(name, ordinal))?;
                steps.push(Step::new(partition, Phase::Promote, heir, Action::Promote));
            }
            return Ok(steps);
        }
    };
    Ok(vec![step(phase, action)])
}

/// A copy that is there leaves only while another one serves.
fn check_leaves(
    partition: &Partition,
    leaf: LeafId,
    named: impl Fn() -> (String, Ordinal),
) -> Result<(), AskedError> {
    let (name, ordinal) = named();
    match partition.copies.get(&leaf) {
        None => Err(AskedError::NoCopy(name, ordinal)),
        Some(copy) if !copy.offline && partition.serving().is_none() => {
            Err(AskedError::LastCopy(name, ordinal))
        }
        Some(_) => Ok(()),
    }
}
