//! What is compared: each library in three nodes of one process, on its own log file each, with
//! channels between them.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;

use crate::ledger::Ledger;

pub mod etcd;
pub mod openraft;
pub mod ours;
pub mod raft_rs;

/// Of every library.
pub const ELECTION_TIMEOUT: Duration = Duration::from_millis(300);

/// Most that waits between two nodes or before one.
pub const QUEUE_MAX: usize = 8192;

/// Three nodes, one of which leads.
pub trait Cluster: Send + Sync + 'static {
    /// Proposes at the leader, and comes back when the command is applied there.
    fn propose(&self, number: u64, command: Vec<u8>) -> impl Future<Output = Result<()>> + Send;

    /// What each node has applied.
    fn ledgers(&self) -> impl Future<Output = Result<Vec<Ledger>>> + Send;

    /// How often the logs were flushed, over all nodes, where that is counted.
    fn flushes(&self) -> Option<u64>;

    /// The first number that no command has had.
    fn first_free(&self) -> u64;

    /// Numbers before were used.
    fn set_first_free(&self, number: u64);
}
