//! What nodes say to each other, as bytes and over connections.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod exchange;
mod faults;
mod local;
mod node;
mod refusals;
mod samples;
mod wire;
