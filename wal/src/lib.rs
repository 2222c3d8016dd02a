//! The log of Resprout: frames, arena, group commit.

pub mod disk;
mod position;
pub mod world;

pub use position::{History, LogIdentity, Lsn, SECTOR, Term, TermStart};
