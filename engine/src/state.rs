//! The states of a stored copy and the steps between them.
//!
//! ```text
//!  start ─► RECOVERING ─► PENDING ─► TRANSITIONING ─► ONLINE
//!               │           ▲  ▲         ▲   ▲  │        │
//!               │           │  └─────────┼───┼──┘        │   rewind, role change
//!               │           ▼            ▼   └───────────┤
//!               │     PROVISIONING ─► REPLICATING        │   one of several copies
//!               ▼                                        │
//!         UNRECOVERABLE ◄────────────────────────────────┘
//! ```
//!
//! An online copy reads and writes, one that replicates reads what is acknowledged. An unrecoverable one stays so until it is opened anew
//! or provisioned; the other partitions of the node go on (catalogue D04, AV).

use std::fmt;

/// State of a copy; shown in capitals as operators know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Loading the snapshot and replaying the log.
    Recovering,
    /// Recovered; waits to be attached.
    Pending,
    /// Gets the pages that it lacks from its master.
    Provisioning,
    /// Follows its master.
    Replicating,
    /// Its role is being changed, or it is being rewound.
    Transitioning,
    /// Reads and writes.
    Online,
    /// Damaged or failed: this copy answers "unknown", never "I do not have it".
    Unrecoverable,
}

impl State {
    /// All states, for metrics.
    pub const ALL: [Self; 7] = [
        Self::Recovering,
        Self::Pending,
        Self::Provisioning,
        Self::Replicating,
        Self::Transitioning,
        Self::Online,
        Self::Unrecoverable,
    ];

    /// Whether a copy may step from this state to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use State::{
            Online, Pending, Provisioning, Recovering, Replicating, Transitioning, Unrecoverable,
        };
        match (self, next) {
            (Unrecoverable, _) => false,
            (_, Unrecoverable) => true,
            (Recovering, Pending) | (Transitioning, Online) | (Online, Transitioning) => true,
            (
                Pending | Provisioning | Replicating | Transitioning,
                Pending | Provisioning | Replicating | Transitioning,
            ) => self != next,
            _ => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recovering => "RECOVERING",
            Self::Pending => "PENDING",
            Self::Provisioning => "PROVISIONING",
            Self::Replicating => "REPLICATING",
            Self::Transitioning => "TRANSITIONING",
            Self::Online => "ONLINE",
            Self::Unrecoverable => "UNRECOVERABLE",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    /// A copy serves only after all the steps before, and nothing revives an unrecoverable one.
    #[test]
    fn online_is_reached_only_through_transitioning() {
        for from in State::ALL {
            assert_eq!(from.may_become(State::Online), from == State::Transitioning);
            assert!(!State::Unrecoverable.may_become(from));
        }
    }
}
