//! The doors to what differs from run to run, beside the disk: time and randomness. The rules of
//! the log use nothing else, so a simulation that replaces these decides everything (catalogue
//! section 15).

use std::fmt;
use std::time::Duration;

/// Reads time. Durations only: nothing in the log depends on the date.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some fixed moment of this clock. Never goes back.
    fn now(&self) -> Duration;

    /// Milliseconds since 1970-01-01 UTC, for people who read the log; never for a decision.
    fn wall_ms(&self) -> u64;
}

/// Gives random numbers: identities and nonces.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// The next number.
    fn next(&self) -> u64;
}
