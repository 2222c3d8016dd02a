//! CLEAR ORPHAN DATABASES: copies that are on a leaf and not in the record, and which of them may go.
//!
//! ```text
//!   what leaves say they have ─┐                      ┌─► shown, with where it comes from
//!   the record ────────────────┼─► orphans ─► verdict ┤
//!   what masters say they have ┘                      └─► safe: nothing that it has is only there
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use resprout_replication::last_common;
use resprout_wal::{History, Lsn, TermStart};

use crate::metadata::{DatabaseEntry, Left, Metadata, NodeState};
use crate::reconcile::{CopyName, Doing};
use crate::survey::{CopyReport, Survey};
use crate::{Address, Database, Instance, Leaf, LeafId, NodeId, Ordinal, Term};

/// What left an orphan behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The operation, as it is shown: `DROP PARTITION`.
    pub operation: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl From<&Left> for Origin {
    fn from(left: &Left) -> Self {
        Self { operation: left.by.text().to_owned(), at_ms: left.at_ms }
    }
}

/// What a log has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Its terms.
    pub history: History,
    /// Where it ends.
    pub end: Lsn,
}

impl Extent {
    /// Of a copy; none if its log cannot be read.
    #[must_use]
    pub fn of(said: &CopyReport) -> Option<Self> {
        let terms = said.terms.iter().map(|(term, start)| TermStart { term: *term, start: *start });
        let history = History::from_entries(terms.collect())?;
        let can_be_read = !history.entries().is_empty()
            && !matches!(said.doing, Doing::Recovering | Doing::Unrecoverable);
        can_be_read.then_some(Self { history, end: said.end })
    }

    /// Whether it has everything of the other log.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let common = last_common((&other.history, other.end), (&self.history, self.end));
        common.is_some_and(|common| common >= other.end)
    }
}

/// What the masters of partitions have that said so.
pub type Masters = BTreeMap<(String, Ordinal), Extent>;

/// A copy that a leaf has and the record does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Where it is.
    pub leaf: LeafId,
    /// Of which database; as its leaf calls it, if the record does not have it.
    pub database: String,
    /// That database's number.
    pub number: u32,
    /// Of which partition.
    pub ordinal: Ordinal,
    /// Which copy: dropping names it, so that a later copy of the same partition is never meant (O08).
    pub instance: Instance,
    /// What it takes on disk.
    pub bytes: u64,
    /// What it has; none if it cannot be read.
    pub extent: Option<Extent>,
    /// The newest term that it knows.
    pub term: Term,
    /// Where it comes from, if that is known.
    pub origin: Option<Origin>,
}

impl Orphan {
    /// Its name for ever.
    #[must_use]
    pub fn name(&self) -> CopyName {
        CopyName { database: self.number, ordinal: self.ordinal, instance: self.instance }
    }

    /// How much it has, to be compared with others of the same partition.
    #[must_use]
    pub fn reach(&self) -> (Term, Lsn) {
        let extent = self.extent.as_ref();
        extent.map_or((Term(0), Lsn::ZERO), |extent| (extent.history.term(), extent.end))
    }
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
    /// The master of its partition does not say what it has.
    Silent,
    /// What it has cannot be read.
    Unread,
    /// It has what its master does not have.
    Ahead,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMaster => "its partition has no master: it may be the last copy",
            Self::NoDatabase => "its database is not known",
            Self::Recorded => "the metadata have this copy",
            Self::Away => "its leaf is not online",
            Self::Silent => "the master of its partition does not answer",
            Self::Unread => "what it has cannot be read",
            Self::Ahead => "it has what the master of its partition does not have",
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

/// Looks at each orphan. Safe to drop is only what has a master online elsewhere, by the record as it is, which has
/// everything that it has.
#[must_use]
pub fn clear_orphans<'a>(
    leaves: &[Leaf],
    databases: &[Database],
    masters: &Masters,
    orphans: &'a [Orphan],
) -> Vec<Verdict<'a>> {
    let verdict = |orphan| Verdict { orphan, keep: keep(leaves, databases, masters, orphan) };
    orphans.iter().map(verdict).collect()
}

/// Those that may go.
pub fn safe_orphans<'a>(verdicts: &'a [Verdict<'a>]) -> impl Iterator<Item = &'a Orphan> {
    verdicts.iter().filter(|verdict| verdict.keep.is_none()).map(|verdict| verdict.orphan)
}

fn keep(
    leaves: &[Leaf],
    databases: &[Database],
    masters: &Masters,
    orphan: &Orphan,
) -> Option<Keep> {
    let is_there =
        |id: LeafId| leaves.iter().any(|leaf| leaf.id == id && leaf.standing.is_present());
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
    if !is_there(orphan.leaf) {
        return Some(Keep::Away);
    }
    let Some(master) = masters.get(&(orphan.database.clone(), orphan.ordinal)) else {
        return Some(Keep::Silent);
    };
    match &orphan.extent {
        None => Some(Keep::Unread),
        Some(own) => (!master.covers(own)).then_some(Keep::Ahead),
    }
}

/// The orphans that leaves say they have, by leaf, database and partition. What belongs to a database that was
/// dropped is none: its leaf removes it by itself.
#[must_use]
pub fn orphans<'a>(
    metadata: &Metadata,
    surveys: impl IntoIterator<Item = (NodeId, &'a Survey)>,
) -> Vec<Orphan> {
    let mut found = Vec::new();
    for (node, survey) in surveys {
        for (name, said) in &survey.copies {
            let entry = metadata.database_of(name.database);
            let partition = entry.and_then(|entry| entry.map.partition(name.ordinal));
            let recorded = partition.and_then(|partition| partition.copies.get(&node.into()));
            let is_recorded = recorded.is_some_and(|copy| copy.instance == name.instance);
            if is_recorded || entry.is_none() && metadata.was_dropped(name.database) {
                continue;
            }
            let left = entry.and_then(|entry| entry.left(name.instance));
            let named = entry.map(|entry| entry.map.name.clone());
            found.push(Orphan {
                leaf: node.into(),
                database: named.unwrap_or_else(|| said.database().to_owned()),
                number: name.database,
                ordinal: name.ordinal,
                instance: name.instance,
                bytes: said.disk_bytes,
                extent: Extent::of(said),
                term: said.term,
                origin: left.map(Origin::from),
            });
        }
    }
    found
}

/// A copy on a leaf that was removed from the cluster by force: what is left of it nobody can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfReach {
    /// Of which database.
    pub database: String,
    /// Which copy, and when it left.
    pub left: Left,
    /// Where its leaf listened.
    pub address: Address,
}

/// Copies on leaves that were removed, but for those that a leaf says it has: these are orphans like any other.
#[must_use]
pub fn out_of_reach<'a>(
    metadata: &Metadata,
    surveys: impl IntoIterator<Item = (NodeId, &'a Survey)>,
) -> Vec<OutOfReach> {
    let surveys = surveys.into_iter();
    let held: BTreeSet<CopyName> =
        surveys.flat_map(|(_, survey)| survey.copies.keys().copied()).collect();
    let of = |entry: &DatabaseEntry, left: &Left| {
        let (database, ordinal, instance) = (entry.number, left.ordinal, left.instance);
        let is_held = held.contains(&CopyName { database, ordinal, instance });
        let address = metadata.removed().get(&left.leaf.into()).filter(|_| !is_held)?.clone();
        Some(OutOfReach { database: entry.map.name.clone(), left: *left, address })
    };
    let databases = metadata.databases().values();
    databases.flat_map(|entry| entry.left.iter().filter_map(move |left| of(entry, left))).collect()
}

/// What those masters have that said so, in the mastership that the record has.
#[must_use]
pub fn masters<'a>(
    metadata: &Metadata,
    surveys: impl IntoIterator<Item = (NodeId, &'a Survey)>,
) -> Masters {
    let mut found = Masters::new();
    for (node, survey) in surveys {
        for (name, said) in &survey.copies {
            let entry = metadata.database_of(name.database);
            let partition = entry.and_then(|entry| entry.map.partition(name.ordinal));
            let (Some(entry), Some(partition)) = (entry, partition) else { continue };
            let is_it = partition.serving() == Some(node.into())
                && partition.leaf_of(name.instance) == Some(node.into())
                && said.doing == Doing::Online(partition.term);
            let extent = Extent::of(said).filter(|_| is_it);
            let key = (entry.map.name.clone(), name.ordinal);
            found.extend(extent.map(|extent| (key, extent)));
        }
    }
    found
}

/// Copies of a partition that left the record, and whose leaf cannot say whether it still has them.
#[must_use]
pub fn left_behind(metadata: &Metadata, database: &str, ordinal: Ordinal) -> Vec<Left> {
    let is_away = |leaf: LeafId| {
        let node = metadata.nodes().get(&leaf.into());
        node.map_or_else(
            || metadata.removed().contains_key(&leaf.into()),
            |node| node.state != NodeState::Online,
        )
    };
    let left = metadata.databases().get(database).map(|entry| &entry.left);
    let left = left.into_iter().flatten().filter(|left| left.ordinal == ordinal);
    left.filter(|left| is_away(left.leaf)).copied().collect()
}
