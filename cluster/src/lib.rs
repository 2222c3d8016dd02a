//! The control plane of Resprout: where copies belong.
//!
//! Everything here is a function of what it is given: no I/O, no clock, no random source.
//!
//! - [`placement`]: where the copies of a database belong, with the fewest copies and promotions.
//! - [`plan`]: the steps from what is to what shall be, what they take, and the questions around them.
//! - [`execution`]: a plan as a core without I/O, and the changes of the record that it is made of.
//!
//! `docs/protocols/placement.md` has the rules, where each is held, and how it is proven.
#![forbid(unsafe_code)]

pub use copies::{Copy, Database, Following, Partition};
pub use id::{Address, Instance, LeafId, Ordinal, Term};
pub use leaf::{Group, Leaf, Mode, Standing};

mod copies;
pub mod execution;
mod flow;
mod id;
mod leaf;
pub mod placement;
pub mod plan;
