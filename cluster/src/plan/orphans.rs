//! CLEAR ORPHAN DATABASES: copies that are on a leaf and not in the record, and which of them may go.

use std::fmt;

use crate::{Database, Instance, Leaf, LeafId, Ordinal, Standing};

/// What left an orphan behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The operation, as it is shown: `REBALANCE PARTITIONS 17`, `ATTACH LEAF 'host':3306`.
    pub operation: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// A copy that a leaf has and the record does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Where it is.
    pub leaf: LeafId,
    /// Of which database.
    pub database: String,
    /// Of which partition.
    pub ordinal: Ordinal,
    /// Which copy: dropping names it, so that a later copy of the same partition is never meant (O08).
    pub instance: Instance,
    /// What it takes.
    pub bytes: u64,
    /// Where it comes from, if that is known.
    pub origin: Option<Origin>,
}

/// Why an orphan stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Its partition has no master that is online: it may be the last copy.
    NoMaster,
    /// Its database is not known: nobody can say what it is a copy of.
    NoDatabase,
    /// The record has this copy: it is no orphan, or not any more.
    Recorded,
    /// Its leaf is not online.
    Away,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMaster => "its partition has no master: it may be the last copy",
            Self::NoDatabase => "its database is not known",
            Self::Recorded => "the metadata have this copy",
            Self::Away => "its leaf is not online",
        })
    }
}

/// An orphan, and whether it may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Which one.
    pub orphan: &'a Orphan,
    /// Why it stays; none if it is safe to drop.
    pub keep: Option<Keep>,
}

/// Looks at each orphan. Safe to drop is only what has a master online elsewhere, by the record as it is.
#[must_use]
pub fn clear_orphans<'a>(
    leaves: &[Leaf],
    databases: &[Database],
    orphans: &'a [Orphan],
) -> Vec<Verdict<'a>> {
    let verdict = |orphan| Verdict { orphan, keep: keep(leaves, databases, orphan) };
    orphans.iter().map(verdict).collect()
}

/// Those that may go.
pub fn safe_orphans<'a>(verdicts: &'a [Verdict<'a>]) -> impl Iterator<Item = &'a Orphan> {
    verdicts.iter().filter(|verdict| verdict.keep.is_none()).map(|verdict| verdict.orphan)
}

fn keep(leaves: &[Leaf], databases: &[Database], orphan: &Orphan) -> Option<Keep> {
    let is_there =
        |id: LeafId| leaves.iter().any(|leaf| leaf.id == id && leaf.standing != Standing::Away);
    let database = databases.iter().find(|database| database.name == orphan.database);
    let Some(partition) = database.and_then(|database| database.partition(orphan.ordinal)) else {
        return Some(Keep::NoDatabase);
    };
    let recorded = partition.copies.get(&orphan.leaf);
    if recorded.is_some_and(|copy| copy.instance == orphan.instance) {
        return Some(Keep::Recorded);
    }
    let is_served =
        partition.master.is_some_and(|master| is_there(master) && partition.is_usable_on(master));
    if !is_served {
        return Some(Keep::NoMaster);
    }
    (!is_there(orphan.leaf)).then_some(Keep::Away)
}
