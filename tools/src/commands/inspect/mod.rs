//! `resprout inspect`: looks inside a data directory, offline and without changing anything.
//!
//! Three findings, in three words and three exit codes: a log that ends cleanly (0), one whose
//! last frame the crash left incomplete (torn, 3: normal, recovery drops it), and bytes that once
//! were durable and are not there any more (damaged, 4).

mod arena;
mod damage;
mod place;
mod snapshot;
mod tables;
mod verify;
mod wal;

use clap::Subcommand;

use crate::failure::{Exit, Failure};

/// What is looked at.
#[derive(Clone, Debug, Subcommand)]
pub enum InspectCommand {
    /// Frames and operations of a log
    Wal(wal::WalArgs),
    /// Header, counts and verdict of a snapshot, or of all in a directory
    Snapshot(snapshot::SnapshotArgs),
    /// Everything in a data directory, byte by byte
    Verify(verify::VerifyArgs),
}

/// Runs an inspection.
///
/// # Errors
/// If the files cannot be reached; damage is an exit code.
pub fn run(command: &InspectCommand) -> Result<Exit, Failure> {
    match command {
        InspectCommand::Wal(args) => wal::run(args),
        InspectCommand::Snapshot(args) => snapshot::run(args),
        InspectCommand::Verify(args) => verify::run(args),
    }
}

/// The worse of two findings.
#[must_use]
fn worse(a: Exit, b: Exit) -> Exit {
    if (a as u8) >= (b as u8) { a } else { b }
}
