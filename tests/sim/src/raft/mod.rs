//! The simulation of Raft: clusters of the crate `consensus` with clients, under faults.
//!
//! | part | file |
//! |---|---|
//! | what a seed decides | `plan` |
//! | one node: store (a model, or the real one), state machine, process | `node`, `store`, `disk_store`, `machine` |
//! | what a driver does | `drive` |
//! | clients | `client`, `traffic` |
//! | faults, and what an operator does | `faults`, `storm`, `churn`, `heal` |
//! | what must be true | `check` |
//! | what runs must contain, and seeds that are kept | `expected` |
//! | bugs that must be found | `planted` |

pub mod check;
mod churn;
pub mod client;
pub mod disk_store;
mod drive;
mod expected;
pub mod faults;
mod heal;
pub mod image;
pub mod ledger;
pub mod machine;
pub mod node;
pub mod plan;
pub mod planted;
mod simulation;
pub mod store;
mod storm;
mod traffic;

pub use expected::{REGRESSIONS, WANTED};
pub use heal::{EQUAL_WITHIN, SERVED_WITHIN};
pub use plan::Plan;
pub use simulation::{Simulation, Summary, run};

/// The command that replays a seed with its trace.
#[must_use]
pub fn replay_command(seed: u64) -> String {
    format!("cargo run --release -p resprout-sim -- raft --seed {seed}")
}
