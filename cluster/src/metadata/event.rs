//! What happened, for people: a bounded list.

use std::collections::VecDeque;

use crate::{Instance, LeafId, NodeId, Ordinal, Term};

/// Events that are kept; the oldest go first.
pub const EVENTS_MAX: usize = 1024;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A node was added.
    NodeAdded,
    /// A node was removed; by force if it still had copies.
    NodeRemoved {
        /// Copies that were given up.
        copies_lost: u64,
    },
    /// A node went to another state.
    NodeState {
        /// The word for it.
        state: String,
    },
    /// Another aggregator is master aggregator.
    Office,
    /// A partition is looked for another master.
    Fenced {
        /// Of which database.
        database: String,
        /// Which.
        ordinal: Ordinal,
        /// The term that begins.
        term: Term,
    },
    /// A copy became master.
    Elected {
        /// Of which database.
        database: String,
        /// Which.
        ordinal: Ordinal,
        /// In this term.
        term: Term,
        /// On that leaf.
        leaf: LeafId,
        /// Writes that were acknowledged may be gone.
        may_have_lost: bool,
        /// An operator insisted; then also up to where its log reaches (row O18).
        forced: bool,
        /// Term of its last record.
        last_term: Term,
        /// End of its log.
        last: u64,
    },
    /// No copy of a partition can be promoted.
    NobodyEligible {
        /// Of which database.
        database: String,
        /// Which.
        ordinal: Ordinal,
    },
    /// A copy knows a newer term than the metadata: nothing is decided for its partition (row M15).
    MetadataStale {
        /// Of which database.
        database: String,
        /// Which.
        ordinal: Ordinal,
        /// Who says so.
        instance: Instance,
        /// What it knows.
        term: Term,
    },
    /// A leaf came back with copies of databases that are others now.
    Conflict {
        /// Their names.
        databases: Vec<String>,
    },
    /// A copy left the record; its files stay as an orphan.
    Orphaned {
        /// Of which database.
        database: String,
        /// Which.
        ordinal: Ordinal,
        /// Which copy.
        instance: Instance,
    },
    /// ALTER DATABASE: commits wait for replicas from now on, or do not any more.
    Replication {
        /// Of which database.
        database: String,
        /// They wait.
        sync: bool,
    },
    /// After leaves had come back everything was evened out, by itself; whoever is in office next does not do it again.
    Rebalanced,
    /// An orphan is a copy of its partition again.
    Attached {
        /// Of which database.
        database: String,
        /// Which.
        ordinal: Ordinal,
        /// Which copy.
        instance: Instance,
    },
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The command that recorded it.
    pub index: u64,
    /// When it was proposed, milliseconds since 1970; for people only.
    pub at_ms: u64,
    /// About which node.
    pub node: Option<NodeId>,
    /// What.
    pub happened: Happened,
}

/// Adds one, and lets go of the oldest.
pub(super) fn record(events: &mut VecDeque<Event>, event: Event) {
    while events.len() >= EVENTS_MAX {
        events.pop_front();
    }
    events.push_back(event);
}
