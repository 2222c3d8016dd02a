//! The nodes, and what may become of each.

use std::fmt;

use crate::{Address, Group, Incarnation, NodeId};

/// How an aggregator takes part in consensus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It votes, and may lead: a voting member.
    Voter,
    /// It follows.
    #[default]
    Learner,
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It routes, and may decide.
    Aggregator {
        /// Its part in consensus.
        role: Role,
    },
    /// It has copies.
    Leaf {
        /// Its availability group.
        group: Group,
        /// Its pair, mutually.
        pair: Option<NodeId>,
    },
}

/// Whether a node is there, as far as the master aggregator has decided.
///
/// ```text
///            silent                   reachable, replaying
///   Online ─────────► Offline ─────────────────────────────► Recovering ──► RecoveryFailed
///     ▲                 │  ▲ silent                            │
///     │ everything is   │  └───────── (any of these) ──────────┤
///     │ taken back      ▼ reachable and recovered              ▼
///   Attaching ◄─────────┴── auto_attach on, ATTACH LEAF ───────┤
///       ▲                                                      │ auto_attach off, DETACH LEAF
///       └───────────────────────────────────────────────── Detached
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Used.
    #[default]
    Online,
    /// It cannot be reached.
    Offline,
    /// It runs, and replays snapshots and logs.
    Recovering,
    /// It is being taken in again.
    Attaching,
    /// Known, not used, until somebody or `auto_attach` wants it.
    Detached,
    /// It says that its recovery failed.
    RecoveryFailed,
}

impl NodeState {
    /// The word that people see.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Recovering => "recovering",
            Self::Attaching => "attaching",
            Self::Detached => "detached",
            Self::RecoveryFailed => "recovery_failed",
        }
    }

    /// Whether a node can go from here to there.
    #[must_use]
    pub fn leads_to(self, to: Self) -> bool {
        use NodeState::{Attaching, Detached, Offline, Online, Recovering, RecoveryFailed};
        match (self, to) {
            // Only what is being taken in again is online afterwards.
            (from, Online) => from == Attaching,
            (from, Offline) => !matches!(from, Offline | Detached),
            (from, Recovering) => matches!(from, Online | Offline | Attaching | RecoveryFailed),
            (from, RecoveryFailed) => matches!(from, Offline | Recovering),
            (from, Attaching | Detached) => from != to,
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it listens.
    pub address: Address,
    /// What it is for.
    pub kind: Kind,
    /// Whether it is there.
    pub state: NodeState,
    /// The newest run of its process that was taken in (row I02).
    pub incarnation: Incarnation,
}

impl Node {
    /// Whether it is a leaf.
    #[must_use]
    pub fn is_leaf(&self) -> bool {
        matches!(self.kind, Kind::Leaf { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: the leaf's life is as the table of states has it: nobody is online without having been
    /// attached, and who was detached stays so until somebody wants it.
    #[test]
    fn a_leaf_is_online_only_by_attaching() {
        use NodeState::{Attaching, Detached, Offline, Online, Recovering, RecoveryFailed};
        for from in [Online, Offline, Recovering, Attaching, Detached, RecoveryFailed] {
            assert_eq!(from.leads_to(Online), from == Attaching, "{from}");
            assert!(!from.leads_to(from), "{from}");
        }
        assert!(!Detached.leads_to(Offline) && !Detached.leads_to(Recovering));
        assert!(Offline.leads_to(Recovering) && Recovering.leads_to(RecoveryFailed));
        assert!(Detached.leads_to(Attaching) && Attaching.leads_to(Detached));
    }
}
