//! What the benches share: rows that follow from a seed, the device as the physical bound, the
//! page cache, and the arithmetic of runs.
//!
//! A bench that does not verify its data does not count, so each checks every row it made.

pub mod bandwidth;
pub mod cache;
pub mod dataset;
pub mod device;
pub mod folder;
pub mod memory;
pub mod statistics;
pub mod testbed;
pub mod verify;
