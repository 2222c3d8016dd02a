//! What the store of Raft promises, on the simulated disk and on a real one.

mod compaction;
mod crash;
mod failure;
mod harness;
mod hostile;
mod identity;
mod model;
mod snapshots;
mod threads;
