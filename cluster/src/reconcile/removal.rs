//! Whether a leaf may remove a copy's files, when it is told to.

use super::CopyName;
use crate::LeafId;
use crate::metadata::Metadata;

/// Whether files may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayGo {
    /// They may.
    Yes,
    /// The leaf does not know the metadata yet by which that was ordered.
    NotYet,
    /// They stay: the record has the copy, or had it again since that was ordered, or nobody serves its partition, so that
    /// it may be the last copy.
    No,
}

/// Whether a leaf may remove a copy that left the record, ordered by whoever knew the metadata up to `known`.
#[must_use]
pub fn may_go(metadata: &Metadata, leaf: LeafId, copy: CopyName, known: u64) -> MayGo {
    if metadata.applied() < known {
        return MayGo::NotYet;
    }
    let Some(entry) = metadata.database_of(copy.database) else {
        return if metadata.was_dropped(copy.database) { MayGo::Yes } else { MayGo::No };
    };
    let Some(partition) = entry.map.partition(copy.ordinal) else { return MayGo::No };
    let recorded = partition.copies.get(&leaf);
    let is_recorded = recorded.is_some_and(|recorded| recorded.instance == copy.instance);
    let left_since = entry.left(copy.instance).is_some_and(|left| left.index > known);
    if is_recorded || left_since || partition.serving().is_none() {
        return MayGo::No;
    }
    MayGo::Yes
}
