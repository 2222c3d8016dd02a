//! Leaves that are being taken in again: what of theirs is taken back, and the cluster as it is when that is done.
//!
//! A plan that is made meanwhile goes by that cluster: their copies are where the record has them, and stay there. Its steps on
//! such a leaf wait until it is online ([`crate::execution`]).

use std::collections::BTreeSet;

use crate::{Database, Leaf, LeafId, Mode, Partition, Standing};

/// Whether the copy that a leaf has when it returns is taken back. It is not if somebody serves whose counterpart it is not, and enough
/// others have everything without it: the partition is never left with fewer copies than the redundancy level while the data are there
/// (rule 19).
#[must_use]
pub fn is_taken_back(
    (leaves, mode): (&[Leaf], Mode),
    (database, partition): (&Database, &Partition),
    leaf: LeafId,
) -> bool {
    let Some(master) = partition.serving() else { return true };
    // Of reference tables each leaf has a copy, whoever serves.
    database.is_reference(partition.ordinal)
        || are_counterparts(leaves, mode, (master, leaf))
        || database.full_copies(partition) < mode.copies()
}

/// Whether the copies of one partition belong on these two leaves.
fn are_counterparts(leaves: &[Leaf], mode: Mode, (one, other): (LeafId, LeafId)) -> bool {
    let find = |id: LeafId| leaves.iter().find(|leaf| leaf.id == id);
    let (Some(one), Some(other)) = (find(one), find(other)) else { return false };
    match mode {
        Mode::Single => false,
        Mode::Paired => one.pair == Some(other.id),
        Mode::LoadBalanced => one.group != other.group,
    }
}

/// The cluster when the leaves that are being attached are online with what is taken back. Of those that are to go nothing is
/// waited for.
#[must_use]
pub(super) fn when_attached(
    (leaves, mode): (&[Leaf], Mode),
    databases: &[Database],
    going: &BTreeSet<LeafId>,
) -> (Vec<Leaf>, Vec<Database>) {
    let comes = |leaf: &Leaf| leaf.standing == Standing::Attaching && !going.contains(&leaf.id);
    let coming: BTreeSet<LeafId> =
        leaves.iter().filter(|leaf| comes(leaf)).map(|leaf| leaf.id).collect();
    let mut attached = leaves.to_vec();
    for leaf in attached.iter_mut().filter(|leaf| coming.contains(&leaf.id)) {
        leaf.standing = Standing::Online;
    }
    let with_theirs = |database: &Database| {
        let mut with = database.clone();
        for (partition, as_it_is) in with.partitions.iter_mut().zip(&database.partitions) {
            for (leaf, copy) in &mut partition.copies {
                let comes = copy.offline && coming.contains(leaf);
                if comes && is_taken_back((leaves, mode), (database, as_it_is), *leaf) {
                    copy.offline = false;
                }
            }
        }
        with
    };
    (attached, databases.iter().map(with_theirs).collect())
}
