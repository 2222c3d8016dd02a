//! Databases, partitions and transactions as sessions have them: in the engine of this process, or on other nodes.
//!
//! ```text
//!            ┌─ Near: resprout_engine, as it is
//!   session ─┤
//!            └─ Far: resprout_access, over a connection to the leaf that has the master
//! ```
//!
//! Nothing outside of this module knows which of the two it has, but where it says so. What is far blocks the thread
//! where the engine's own call would not wait for anything but memory.

mod database;
mod directory;
mod partition;
mod transaction;

pub use database::{Database, FarDatabase};
pub(crate) use directory::blocking;
pub use directory::{
    Cluster, ClusterView, Create, Databases, Directory, Home, Listed, Map, Shown, Work,
};
pub use partition::{Partition, Position};
pub(crate) use transaction::fetch;
pub use transaction::{Promise, Savepoint, Transaction, View};
