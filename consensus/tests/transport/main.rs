//! What nodes say to each other, as bytes and over connections.

mod exchange;
mod faults;
mod local;
mod node;
mod refusals;
mod samples;
mod wire;
