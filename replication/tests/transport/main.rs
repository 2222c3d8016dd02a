//! Connections between nodes over real sockets on this machine.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::print_stdout, reason = "what the bench has measured")]

mod bench;
mod faults;
mod flow;
mod hostile;
mod node;
mod pairs;
mod proxy;
mod refusals;
