//! What the crate promises, checked from outside on the simulated disk.

#![expect(clippy::unwrap_used, reason = "a failed step of a test should end it where it is")]

mod crash;
mod damage;
mod fixture;
mod folder;
mod load;
mod real_disk;
mod round_trip;
mod sample;
mod write_faults;
