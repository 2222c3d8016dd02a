//! Raft for the metadata of Resprout: who is master of what.
//!
//! The rules are a core without I/O, [`Raft`]: it takes an [`Event`] and the time, changes, and
//! says what is to be done in an [`Output`]. Time, disks, sockets and randomness are at the edge:
//!
//! ```text
//!   client ─► Node ──Event──► Raft ──Output──┬─ writes ───► Store      (a log in the arena)
//!               ▲    (driver)                ├─ messages ─► Transport  (TCP)
//!               └────────────────────────────┴─ apply ────► StateMachine
//! ```
//!
//! What may be relied on (`docs/protocols/raft.md` says where each is held and tested):
//! - Two leaders of one term are impossible, and so are two entries with one name.
//! - What was acknowledged is in the log of every later leader.
//! - Nothing is promised before it is durable: the core itself holds back what promises.
//! - A proposal is applied once, however often it is sent.
//! - A read sees every write that was acknowledged before it began.
//!
//! Source of the rules: Ongaro and Ousterhout, "In Search of an Understandable Consensus
//! Algorithm" (the paper), and Ongaro, "Consensus: Bridging Theory and Practice" (the
//! dissertation).

pub use config::{Config, ConfigError, Limits, Timing};
pub use entry::{Entry, Payload, Proposal};
pub use id::{EntryId, Index, NodeId, ProposalId, ReadId, Round, StoreId, Term, WriteId};
pub use log::Snapshot;
pub use membership::{Change, ChangeError, Member, Membership, Vote};
pub use message::{AppendResult, Envelope, Message, Refusal, SnapshotMeta};
pub use output::{
    Alarm, Ballot, Content, Event, Output, ProposeError, ReadProof, Recovered, Role, State,
    TakeOverError, TransferError, Write,
};
pub use raft::{Identity, MemberStatus, Raft, Status};

mod config;
mod entry;
mod id;
mod log;
pub mod machine;
mod membership;
mod message;
pub mod node;
mod output;
mod progress;
pub mod quorum;
mod raft;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;
pub mod wire;
