//! Partitions that are on other nodes: how an aggregator reads and writes them.
//!
//! ```text
//!   sql ── Transaction ──► Connection ══ TCP ══ Server ── Channel ──► engine transaction
//!            (a channel)     (one for each leaf)          (a task)
//! ```
//!
//! - What stands alone is one message there and one back: rows that are [fetched](fetch), a write that commits itself.
//! - A transaction in a partition is a channel; it ends with the connection, unless it has promised.
//! - Rows travel as they are stored: who asked decodes them by the table as it knows it, which is checked with
//!   each request.
//! - What is to be done with rows is said with a scan ([pushdown]): then what comes of them travels, not they.
//! - What was never sent is [`Error::Unreachable`](resprout_engine::Error::Unreachable), and safe to be done again; a
//!   commit that was sent and not answered has an unknown outcome.
//!
//! `docs/protocols/access.md` has the messages.

pub use client::Client;
pub use definition::{Definition, NoDefinition};
pub use fetch::{Fetched, Looked, fetch};
pub use message::{Assign, Place};
pub use packed::{Packed, Unpacking};
pub use partition::{FarPartition, FarPosition, RawRow};
pub use server::{Locate, Server};
pub use transaction::{Changed, FarPromise, FarTransaction, FarView};

mod channel;
mod client;
mod definition;
mod fault;
mod fetch;
mod frame;
mod greeting;
mod message;
mod offices;
mod out;
mod packed;
mod partition;
mod pushed;
mod server;
mod transaction;

/// What is done with rows where they are, instead of sending them.
pub mod pushdown {
    pub use crate::pushed::{
        Call, Comparator, Evaluator, Gives, Input, Limits, Piece, Pushdown, Rule, Sink, Step,
        WholeNumbers,
    };
}
