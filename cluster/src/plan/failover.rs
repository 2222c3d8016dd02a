//! EXPLAIN FAILOVER LEAF: who would take over, and what it means for the others.

use std::collections::BTreeMap;

use crate::{Address, Copy, Database, Leaf, LeafId, Ordinal, Partition};

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
    let is_there =
        |leaf: LeafId| leaves.iter().any(|other| other.id == leaf && other.standing.is_present());
    let mut failover = Failover::default();
    for partition in database.partitions.iter().filter(|p| p.is_usable_on(lost)) {
        let others = partition.copies.iter().filter(|(leaf, _)| **leaf != lost && is_there(**leaf));
        let others: Vec<(LeafId, &Copy)> = others.map(|(leaf, copy)| (*leaf, copy)).collect();
        if partition.master == Some(lost) {
            let heir = heir((database, partition), &others, &failover.gains);
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
    (database, partition): (&Database, &Partition),
    others: &[(LeafId, &Copy)],
    gains: &BTreeMap<LeafId, u64>,
) -> Option<LeafId> {
    let eligible = others.iter().filter(|(_, copy)| database.is_promotable(partition, copy));
    let best = eligible.min_by_key(|(leaf, copy)| {
        let gained = gains.get(leaf).copied().unwrap_or(0);
        (std::cmp::Reverse(copy.following), gained, *leaf)
    });
    best.map(|(leaf, _)| *leaf)
}

fn is_last_replica(partition: &Partition, others: &[(LeafId, &Copy)]) -> bool {
    others.iter().all(|(leaf, copy)| copy.offline || partition.master == Some(*leaf))
}

/// A row of EXPLAIN FAILOVER LEAF: a partition that the loss of the leaf would concern. `From_Host` and `From_Port` are the
/// leaf's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailoverRow {
    /// `Database`.
    pub database: String,
    /// `Ordinal`.
    pub ordinal: u32,
    /// `Effect`: `another master`, `no master`, or `one copy less` where the master stays.
    pub effect: &'static str,
    /// `Target_Host` and `Target_Port`: who is master then, NULL if nobody.
    pub target: Option<Address>,
    /// `Masters_Before`: partitions of all databases that are mastered there now.
    pub masters_before: Option<u64>,
    /// `Masters_After`: the same when all of the lost leaf's are taken over.
    pub masters_after: Option<u64>,
}

impl FailoverRow {
    /// The columns, in their order.
    pub const COLUMNS: [&str; 9] = [
        "Database",
        "Ordinal",
        "Effect",
        "From_Host",
        "From_Port",
        "Target_Host",
        "Target_Port",
        "Masters_Before",
        "Masters_After",
    ];
}

/// The rows of all databases, by ordinal; partitions that the leaf has nothing of have none.
#[must_use]
pub fn failover_rows(leaves: &[Leaf], databases: &[&Database], lost: LeafId) -> Vec<FailoverRow> {
    let all = databases.iter().map(|database| (*database, failover(leaves, database, lost)));
    let all: Vec<(&Database, Failover)> = all.collect();
    let mut before: BTreeMap<LeafId, u64> = BTreeMap::new();
    let partitions = databases.iter().flat_map(|database| &database.partitions);
    for master in partitions.filter_map(Partition::serving) {
        *before.entry(master).or_default() += 1;
    }
    let mut after = before.clone();
    for (leaf, gained) in all.iter().flat_map(|(_, failover)| &failover.gains) {
        *after.entry(*leaf).or_default() += gained;
    }
    let count = |of: &BTreeMap<LeafId, u64>, leaf| of.get(&leaf).copied().unwrap_or(0);
    let mut rows = Vec::new();
    for (database, failover) in all {
        let bereft = failover.bereft.iter().filter_map(|ordinal| {
            let master = database.partition(*ordinal)?.serving();
            Some((*ordinal, master, "one copy less"))
        });
        let takeovers = failover.takeovers.iter().map(|takeover| {
            let effect = if takeover.heir.is_some() { "another master" } else { "no master" };
            (takeover.ordinal, takeover.heir, effect)
        });
        let mut concerned: Vec<_> = takeovers.chain(bereft).collect();
        concerned.sort_by_key(|(ordinal, ..)| *ordinal);
        rows.extend(concerned.into_iter().map(|(ordinal, target, effect)| FailoverRow {
            database: database.name.clone(),
            ordinal: ordinal.0,
            effect,
            target: target.and_then(|target| {
                let leaf = leaves.iter().find(|leaf| leaf.id == target);
                leaf.map(|leaf| leaf.address.clone())
            }),
            masters_before: target.map(|target| count(&before, target)),
            masters_after: target.map(|target| count(&after, target)),
        }));
    }
    rows
}
