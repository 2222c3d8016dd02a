//! The simulation of whole clusters: voters, leaves with copies, clients, under faults.
//!
//! The cores are those of production: consensus (`Raft` with the metadata as its state machine), the control plane
//! (`Manager`, `reconcile`), replication (`PartitionCopy`). Consensus' store, the copies' logs, trees and disks, networks and clocks
//! are models; the glue between them is that of the crate `node`, without I/O.
//!
//! | part | file |
//! |---|---|
//! | what a seed decides | `plan` |
//! | one node: its disks, and its process | `node` |
//! | consensus, driven | `consensus` |
//! | the master aggregator's work | `office` |
//! | a leaf: what is there beside what the metadata say | `leaf` |
//! | a copy, driven | `copies` |
//! | messages | `mail` |
//! | clients | `traffic` |
//! | what people ask for, how, and who carries it out | `asks`, `operator`, `asked`, `orphans` |
//! | faults, in the middle of steps too, and their end | `faults`, `kills`, `heal` |
//! | what must be true | `check` |
//! | bugs that must be found; what runs must contain | `planted`, `expected` |

mod asked;
mod asks;
mod check;
mod consensus;
mod copies;
mod expected;
mod faults;
mod heal;
mod kept;
mod kills;
mod leaf;
mod mail;
mod node;
mod office;
mod operator;
mod orphans;
mod plan;
mod planted;
mod simulation;
mod traffic;

pub use asks::Asks;
pub use expected::{REGRESSIONS, WANTED};
pub use faults::Fault;
pub use heal::{BEREFT_WITHIN, HEALED_WITHIN};
pub use plan::Plan;
pub use planted::{FOUND_WITHIN, Planted};
pub use simulation::{Summary, run};

/// The command that replays a seed with its trace.
#[must_use]
pub fn replay_command(seed: u64) -> String {
    format!("cargo run --release -p resprout-sim -- cluster --seed {seed}")
}
