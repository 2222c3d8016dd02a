//! Whole clusters in one thread, from one seed: time, networks, disks and clocks are simulated, the
//! rules are those that run in production.
//!
//! ```text
//!   seed ─► Plan ─► Agenda (virtual time) ─► node: core + store + state machine ─► Network ─┐
//!                      ▲                        │ every step                               │
//!                      └────────── faults       ▼                                          │
//!                                            checkers, one per promise        ◄────────────┘
//! ```
//!
//! What is of no protocol is here: [`agenda`] (time), [`clock`], [`network`], [`trace`],
//! [`coverage`], [`seeds`]. [`raft`] is the simulation of the crate `consensus`, [`cluster`] that of everything together;
//! [`copy`] is a copy of a partition with a modelled disk, which the simulation of `replication` alone uses, too.
//!
//! A run that breaks a promise prints the command that replays it. The README has the legend of
//! the trace.

pub mod agenda;
pub mod clock;
pub mod cluster;
pub mod copy;
pub mod coverage;
pub mod network;
pub mod raft;
pub mod seeds;
pub mod trace;

use std::fmt;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which, as a sentence that should be true.
    pub promise: &'static str,
    /// What was seen instead.
    pub seen: String,
}

impl Violation {
    /// A promise and what was seen instead.
    #[must_use]
    pub fn new(promise: &'static str, seen: String) -> Self {
        Self { promise, seen }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.seen)
    }
}

impl std::error::Error for Violation {}

/// Holds a promise to be kept.
///
/// # Errors
/// [`Violation`] if it is not.
pub fn hold(
    kept: bool,
    promise: &'static str,
    seen: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if kept { Ok(()) } else { Err(Violation::new(promise, seen())) }
}
