//! EXPLAIN FAILOVER LEAF: who would take over, and what it means for the others.

use std::collections::BTreeMap;

use crate::{Copy, Database, Leaf, LeafId, Ordinal, Partition, Standing};

/// A partition of the lost leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Takeover {
    /// Which partition.
    pub ordinal: Ordinal,
    /// Who becomes master; nobody if no copy may be promoted: the partition would be offline.
    pub heir: Option<LeafId>,
}

/// What the loss of a leaf would do to a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failover {
    /// Partitions that are mastered there, by ordinal.
    pub takeovers: Vec<Takeover>,
    /// Partitions whose replica is there: their masters go on alone.
    pub bereft: Vec<Ordinal>,
    /// Masters that each leaf would have more.
    pub gains: BTreeMap<LeafId, u64>,
}

/// What would happen if that leaf were lost now. The real choice also goes by what each copy has; here copies
/// are taken for caught up. Among several the one that follows most closely, then the one on the leaf with
/// the fewest gains, then the first.
#[must_use]
pub fn failover(leaves: &[Leaf], database: &Database, lost: LeafId) -> Failover {
    let is_there = |leaf: LeafId| {
        leaves.iter().any(|other| other.id == leaf && other.standing != Standing::Away)
    };
    let mut failover = Failover::default();
    for partition in database.partitions.iter().filter(|p| p.is_usable_on(lost)) {
        let others = partition.copies.iter().filter(|(leaf, _)| **leaf != lost && is_there(**leaf));
        let others: Vec<(LeafId, &Copy)> = others.map(|(leaf, copy)| (*leaf, copy)).collect();
        if partition.master == Some(lost) {
            let heir = heir(database, &others, &failover.gains);
            failover.takeovers.push(Takeover { ordinal: partition.ordinal, heir });
            if let Some(heir) = heir {
                *failover.gains.entry(heir).or_default() += 1;
            }
        } else if is_last_replica(partition, &others) {
            failover.bereft.push(partition.ordinal);
        }
    }
    failover
}

fn heir(
    database: &Database,
    others: &[(LeafId, &Copy)],
    gains: &BTreeMap<LeafId, u64>,
) -> Option<LeafId> {
    let eligible = others.iter().filter(|(_, copy)| database.is_promotable(copy));
    let best = eligible.min_by_key(|(leaf, copy)| {
        let gained = gains.get(leaf).copied().unwrap_or(0);
        (std::cmp::Reverse(copy.following), gained, *leaf)
    });
    best.map(|(leaf, _)| *leaf)
}

fn is_last_replica(partition: &Partition, others: &[(LeafId, &Copy)]) -> bool {
    others.iter().all(|(leaf, copy)| copy.offline || partition.master == Some(*leaf))
}
