//! A node of a Resprout cluster at work: consensus, the master aggregator's decisions, and the copies of a leaf,
//! joined with disks, connections and clocks.
//!
//! ```text
//!            ┌───────────────────────────── Node ─────────────────────────────┐
//!  nodes ◄──►│ connections ─┬─ consensus ──applied──► Shared (metadata)         │
//!            │              ├─ control ──► Office: Manager, while it leads      │
//!            │              │          └─► Operations, Calls                    │
//!            │              └─ copies ───► driver ◄── Copies: reconcile, engine │
//!            └────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Rules are in the cores of `resprout_cluster`, `resprout_consensus` and `resprout_replication`; here is what they
//! need of the world. [`testing::Cluster`] runs some nodes in one process, for tests.

pub use calls::Calls;
pub use directory::Directory;
pub use error::{CallError, JoinError, StartError};
pub use member::{MEMBER_FILE, NodeKind};
pub use node::Node;
pub use options::Options;
pub use post::{NODE_PORT_ABOVE, node_address};
pub use state::Shared;

mod aligned;
mod asked;
mod attach;
mod authority;
mod calls;
mod copies;
mod directory;
mod doubts;
mod errands;
mod error;
mod join;
mod member;
mod node;
mod office;
mod operations;
mod options;
mod orders;
mod orphans;
mod pace;
mod pings;
mod plans;
mod post;
mod settings;
mod state;
mod statements;
pub mod status;
mod survey;
mod surveyed;
mod takeover;
pub mod testing;
mod views;
mod voters;
