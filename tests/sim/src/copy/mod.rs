//! One copy of a partition with a model of its log, its tree and its disk, around the core of production: for the
//! simulation of replication alone (`replication/tests/sim`) and for that of whole clusters ([`crate::cluster`]).
//!
//! ```text
//!   PartitionCopy ─► outputs ─► Process: memory ── queue of operations ──► Disk: what survives
//! ```
//!
//! Who drives it decides when an operation is on the disk, carries messages, and holds the promises.

mod disk;
mod log;
mod process;
mod promises;

pub use disk::{Disk, Op};
pub use log::{Log, PAGE_VALUES, digest, pages, values};
pub use process::{Held, Paged, Process, Start, Waiting};
pub use promises::Promises;
