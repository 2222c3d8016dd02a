//! When a commit counts.
//!
//! The committed root follows the log through this one rule. Local durability is all it knows
//! today; replication will bring the position that its wait set has acknowledged, and nothing
//! else here changes (design, section 3: "the least of what the database's mode demands").

use std::fmt;

use resprout_wal::Lsn;

/// Whether an acknowledged commit must be on the local disk. Fixed for a database's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged when flushed: survives power loss.
    Sync,
    /// Acknowledged when applied in memory; flushed soon after.
    Async,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::Async => "async",
        })
    }
}

/// Positions of one log that a commit rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Appended.
    pub end: Lsn,
    /// On local disk.
    pub durable: Lsn,
    /// Acknowledged by the whole wait set; the end of the log where there is none.
    pub replicated: Lsn,
}

impl Durability {
    /// Up to where the log is committed.
    ///
    /// # Panics
    /// If a position lies beyond the end: an acknowledgement for what was never written.
    #[must_use]
    pub fn committed(self, at: Positions) -> Lsn {
        assert!(at.durable <= at.end, "durable {} beyond the end {}", at.durable, at.end);
        assert!(at.replicated <= at.end, "replicated {} beyond the end {}", at.replicated, at.end);
        match self {
            Self::Sync => at.durable.min(at.replicated),
            Self::Async => at.replicated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is committed before everybody who must have it has it (rule 13).
    #[test]
    fn committed_is_the_least_of_what_the_mode_demands() {
        let at = |end, durable, replicated| Positions {
            end: Lsn(end),
            durable: Lsn(durable),
            replicated: Lsn(replicated),
        };
        assert_eq!(Durability::Sync.committed(at(9, 5, 9)), Lsn(5));
        assert_eq!(Durability::Sync.committed(at(9, 7, 3)), Lsn(3));
        assert_eq!(Durability::Async.committed(at(9, 5, 9)), Lsn(9));
        assert_eq!(Durability::Async.committed(at(9, 5, 6)), Lsn(6));
    }
}
