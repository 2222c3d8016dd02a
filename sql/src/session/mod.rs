//! Sessions on an engine: what a connection knows, and what it wrote and did not commit yet.
//!
//! | to | see |
//! |---|---|
//! | serve an engine to clients | [`SingleNode`] |
//! | end what a crash left in doubt | [`recover`] |
//!
//! Isolation is read committed: a statement sees what was committed when it began in each
//! partition, and the session's own writes. Every statement is whole or not at all, also inside
//! of a transaction.

mod client;
mod sequences;
mod service;
mod state;
mod transaction;
mod waiting;

pub use client::{Client, Prepared};
pub use service::SingleNode;
pub use state::VERSION;
pub use transaction::recover;

pub(crate) use state::Surroundings;
pub(crate) use transaction::{Open, Part};
