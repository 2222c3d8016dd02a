//! Copies that left the record while their leaf still has them: what becomes an orphan has a note of where it comes from
//! before it is one.
//!
//! ```text
//!   a change takes a copy out of the record ──► noted, in the same command
//!   its leaf says that it does not have it ───► forgotten; also another one at the address of a leaf that was removed
//!   DROP PARTITION on a leaf that was removed ► forgotten
//!   it is attached again ─────────────────────► forgotten
//! ```

use std::collections::BTreeMap;

use super::{Command, DatabaseEntry, Metadata, News, Refusal};
use crate::execution::Change;
use crate::{Copy, Instance, LeafId, NodeId, Ordinal};

/// Notes that a database keeps at most; the oldest go first, and their copies are of unknown origin from then on.
pub const LEFT_MAX: usize = 4096;

/// What took a copy out of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftBy {
    /// A copy was dropped, by a plan or by name.
    Drop,
    /// A promotion dropped the master before.
    PromoteWithDrop,
    /// Its leaf was away, and another copy was made there.
    Copy,
    /// Its partition began anew, empty.
    Create,
    /// DETACH PARTITION.
    Detach,
    /// Another copy on its leaf was attached.
    Attach,
    /// Its leaf came back, and others served.
    AttachLeaf,
    /// Its leaf was removed by force.
    RemoveLeaf,
}

impl LeftBy {
    /// The operation, as clients read it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Drop => "DROP PARTITION",
            Self::PromoteWithDrop => "PROMOTE PARTITION WITH DROP",
            Self::Copy => "COPY PARTITION",
            Self::Create => "CREATE PARTITION",
            Self::Detach => "DETACH PARTITION",
            Self::Attach => "ATTACH PARTITION",
            Self::AttachLeaf => "ATTACH LEAF",
            Self::RemoveLeaf => "REMOVE LEAF FORCE",
        }
    }
}

impl From<&Change> for LeftBy {
    fn from(change: &Change) -> Self {
        match change {
            Change::AddCopy { .. } => Self::Copy,
            Change::Attach { .. } => Self::Attach,
            Change::Create { .. } => Self::Create,
            Change::Promote { .. } => Self::PromoteWithDrop,
            Change::Remove { .. } => Self::Drop,
            Change::Detach { .. } => Self::Detach,
        }
    }
}

/// A copy that left the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Of which partition.
    pub ordinal: Ordinal,
    /// Where it is.
    pub leaf: LeafId,
    /// Which copy.
    pub instance: Instance,
    /// By what.
    pub by: LeftBy,
    /// By which command: the office's numbers and these grow together.
    pub index: u64,
    /// When that was proposed, milliseconds since 1970; for people only.
    pub at_ms: u64,
}

impl DatabaseEntry {
    /// The note of a copy that left the record, if there is one.
    #[must_use]
    pub fn left(&self, instance: Instance) -> Option<&Left> {
        self.left.iter().find(|left| left.instance == instance)
    }

    /// Notes which copies a change took out of a partition's record, and forgets those that it took into it.
    pub(super) fn note_left(
        &mut self,
        ordinal: Ordinal,
        before: &BTreeMap<LeafId, Copy>,
        (by, news): (LeftBy, News),
    ) {
        let Some(partition) = self.map.partition(ordinal) else { return };
        let is_recorded =
            |instance| partition.copies.values().any(|copy| copy.instance == instance);
        self.left.retain(|left| !is_recorded(left.instance));
        let gone = before.iter().filter(|(_, copy)| !is_recorded(copy.instance));
        let (News { index, at_ms }, left) = (news, &mut self.left);
        left.extend(gone.map(|(leaf, copy)| {
            let (leaf, instance) = (*leaf, copy.instance);
            Left { ordinal, leaf, instance, by, index, at_ms }
        }));
        left.drain(..left.len().saturating_sub(LEFT_MAX));
    }
}

impl Metadata {
    /// Leaves do not have these copies any more.
    pub(super) fn forget_left(
        &mut self,
        database: &str,
        copies: &[Instance],
    ) -> Result<(), Refusal> {
        let entry = self.database_mut(database)?;
        entry.left.retain(|left| !copies.contains(&left.instance));
        self.forget_removed();
        Ok(())
    }

    /// Where a removed leaf listened is of use as long as something says what it has.
    pub(super) fn forget_removed(&mut self) {
        let databases = &self.databases;
        let named = |node: NodeId| {
            let mut notes = databases.values().flat_map(|entry| &entry.left);
            notes.any(|left| NodeId::from(left.leaf) == node)
        };
        self.removed.retain(|node, _| named(*node));
    }

    /// The node that can say what is left of what a leaf had: itself or, after it was removed, one at the same address.
    #[must_use]
    pub fn holder_of(&self, leaf: LeafId) -> Option<NodeId> {
        let node = NodeId::from(leaf);
        if self.nodes.contains_key(&node) {
            return Some(node);
        }
        let address = self.removed.get(&node)?;
        let mut leaves = self.nodes.iter().filter(|(_, node)| node.is_leaf());
        leaves.find(|(_, found)| found.address == *address).map(|(node, _)| *node)
    }
}

impl Command {
    /// Leaves do not have these copies any more.
    pub(crate) fn forget(database: &str, copies: Vec<Instance>) -> Self {
        Self::ForgetLeft { database: database.to_owned(), copies }
    }
}
