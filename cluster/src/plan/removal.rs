//! REMOVE LEAF, DETACH LEAF: may these leaves go, and what has to move before.

use std::collections::BTreeSet;

use thiserror::Error;

use super::{Action, Phase, Plan, Step, plan};
use crate::placement::{Request, Unplaceable, target};
use crate::{Address, Database, Leaf, LeafId, Mode, Ordinal, Partition, Standing};

/// A partition whose last copy would be gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsafe {
    /// Of which database.
    pub database: String,
    /// Which partition.
    pub ordinal: Ordinal,
}

/// These leaves cannot go so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RemovalError {
    /// There is no such leaf.
    #[error("{0} is not a leaf of this cluster")]
    Unknown(LeafId),
    /// Several leaves go together only if they are of one group.
    #[error("the leaves are of different availability groups")]
    MixedGroups,
    /// They have the last copy that is online of some partitions, the first of which is named.
    #[error("the last copy of {}:{} that is online would be gone", .0[0].database, .0[0].ordinal)]
    LastCopy(Vec<Unsafe>),
    /// Leaves that have to be online are not.
    #[error("not online: {}", listed(.0))]
    NotOnline(Vec<Address>),
    /// The rest of the cluster has no place for copies.
    #[error(transparent)]
    Unplaceable(#[from] Unplaceable),
}

fn listed(addresses: &[Address]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// ENSURE_PARTITION_SAFETY: whether each partition that is served now keeps a copy that could serve it if
/// these leaves were gone at once.
///
/// # Errors
/// [`RemovalError::LastCopy`] with all partitions that would not.
pub fn ensure_safety(
    leaves: &[Leaf],
    databases: &[Database],
    going: &BTreeSet<LeafId>,
) -> Result<(), RemovalError> {
    let stays = |leaf: LeafId| {
        !going.contains(&leaf)
            && leaves.iter().any(|other| other.id == leaf && other.standing.is_present())
    };
    let mut found = Vec::new();
    for database in databases {
        for partition in &database.partitions {
            let serves = |(leaf, copy): (&LeafId, &crate::Copy)| {
                let is_master = partition.master == Some(*leaf) && !copy.offline;
                stays(*leaf) && (is_master || database.is_promotable(partition, copy))
            };
            let touched = partition.usable().any(|leaf| going.contains(&leaf));
            if touched && !partition.copies.iter().any(serves) {
                let database = database.name.clone();
                found.push(Unsafe { database, ordinal: partition.ordinal });
            }
        }
    }
    if found.is_empty() { Ok(()) } else { Err(RemovalError::LastCopy(found)) }
}

/// ENSURE_ONLINE_NODES.
///
/// # Errors
/// [`RemovalError::NotOnline`] with the leaves that are not.
pub fn ensure_online(leaves: &[Leaf]) -> Result<(), RemovalError> {
    let away = leaves.iter().filter(|leaf| leaf.standing != Standing::Online);
    let away: Vec<Address> = away.map(|leaf| leaf.address.clone()).collect();
    if away.is_empty() { Ok(()) } else { Err(RemovalError::NotOnline(away)) }
}

/// What becomes of the copies on leaves that go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// REMOVE LEAF: they are dropped once they are not needed.
    Remove,
    /// DETACH LEAF: in pairs they stay in the record, to catch up when the leaf is attached again.
    Detach,
}

/// The plan that frees some leaves of a database. In pairs their partners take over, alone; else everything
/// moves to the other leaves, evened out. Of reference tables another leaf becomes master; that a leaf has a copy of them holds
/// nothing up.
///
/// # Errors
/// [`RemovalError`] if a leaf is not known, several are not of one group, or there is no place left.
pub fn remove(
    leaves: &[Leaf],
    (database, mode): (&Database, Mode),
    going: &BTreeSet<LeafId>,
    removal: Removal,
) -> Result<Plan, RemovalError> {
    let spread = remove_spread(leaves, (database, mode), going, removal)?;
    let Some(step) = reference_passes(leaves, database, going)? else { return Ok(spread) };
    let least = spread.least_copies;
    let steps = spread.steps.into_iter().chain([step]).collect();
    Ok(Plan::new(leaves, database, steps, least))
}

/// The promotion for reference tables, if their master goes.
fn reference_passes(
    leaves: &[Leaf],
    database: &Database,
    going: &BTreeSet<LeafId>,
) -> Result<Option<Step>, RemovalError> {
    let partition = database.reference.as_ref().map(|reference| &reference.partition);
    let is_going = |one: &&Partition| one.serving().is_some_and(|leaf| going.contains(&leaf));
    let Some(partition) = partition.filter(is_going) else { return Ok(None) };
    let stays = |leaf: &LeafId| {
        let is_it = |other: &Leaf| other.id == *leaf && other.standing == Standing::Online;
        !going.contains(leaf) && leaves.iter().any(is_it)
    };
    let mut copies = partition.copies.iter();
    let heir = copies.find(|(leaf, copy)| stays(leaf) && database.is_promotable(partition, copy));
    let Some((heir, _)) = heir else {
        let (database, ordinal) = (database.name.clone(), partition.ordinal);
        return Err(RemovalError::LastCopy(vec![Unsafe { database, ordinal }]));
    };
    Ok(Some(Step::new(partition, Phase::Promote, *heir, Action::Promote)))
}

fn remove_spread(
    leaves: &[Leaf],
    (database, mode): (&Database, Mode),
    going: &BTreeSet<LeafId>,
    removal: Removal,
) -> Result<Plan, RemovalError> {
    let find = |id: &LeafId| leaves.iter().find(|leaf| leaf.id == *id);
    let unknown = going.iter().find(|id| find(id).is_none());
    if let Some(unknown) = unknown {
        return Err(RemovalError::Unknown(*unknown));
    }
    let groups: BTreeSet<_> = going.iter().filter_map(find).map(|leaf| leaf.group).collect();
    if groups.len() > 1 {
        return Err(RemovalError::MixedGroups);
    }
    if mode == Mode::Paired {
        return taken_over(leaves, database, going, removal);
    }
    let mut rest = leaves.to_vec();
    for leaf in rest.iter_mut().filter(|leaf| going.contains(&leaf.id)) {
        if leaf.standing == Standing::Online {
            leaf.standing = Standing::Leaving;
        }
    }
    let request = Request { leaves: &rest, database, mode, full: None, force: false };
    let placement = target(&request)?;
    Ok(plan(&rest, database, &placement))
}

/// In pairs: replicas on the partners are promoted, and that is all that moves.
fn taken_over(
    leaves: &[Leaf],
    database: &Database,
    going: &BTreeSet<LeafId>,
    removal: Removal,
) -> Result<Plan, RemovalError> {
    let stays = |leaf: &LeafId| {
        !going.contains(leaf)
            && leaves.iter().any(|other| other.id == *leaf && other.standing.is_present())
    };
    let mut steps = Vec::new();
    let mut last = Vec::new();
    for partition in &database.partitions {
        let mut step = |phase, target, action| {
            steps.push(Step::new(partition, phase, target, action));
        };
        let leaving: Vec<LeafId> = partition.usable().filter(|leaf| going.contains(leaf)).collect();
        let Some(heir) = partition.usable().find(stays) else {
            if !leaving.is_empty() {
                let (database, ordinal) = (database.name.clone(), partition.ordinal);
                last.push(Unsafe { database, ordinal });
            }
            continue;
        };
        let is_master = partition.master.is_some_and(|master| going.contains(&master));
        if is_master {
            let action = match removal {
                Removal::Remove => Action::PromoteWithDrop,
                Removal::Detach => Action::Promote,
            };
            step(Phase::Promote, heir, action);
        }
        if removal == Removal::Remove {
            let rest = leaving.into_iter().filter(|leaf| partition.master != Some(*leaf));
            rest.for_each(|leaf| step(Phase::Drop, leaf, Action::Drop));
        }
    }
    if last.is_empty() {
        // The partner goes on alone: that is what was asked for.
        Ok(Plan::new(leaves, database, steps, 1))
    } else {
        Err(RemovalError::LastCopy(last))
    }
}
