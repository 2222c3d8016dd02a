//! Nodes of one cluster in one process, for tests: real consensus, copies, disks and connections on loopback.
//!
//! ```no_run
//! # async fn example() -> Result<(), resprout_node::testing::Failure> {
//! use resprout_node::testing::Cluster;
//!
//! let mut cluster = Cluster::builder().voters(3).leaves(4).redundancy(2).start().await?;
//! cluster.create_database("shop", Some(8)).await?;
//! let leaf = cluster.leaves()[0];
//! cluster.kill(leaf).await;
//! cluster.until("all partitions have a master again", |metadata| {
//!     metadata.databases().values().all(|entry| {
//!         entry.map.partitions.iter().all(|partition| partition.serving().is_some())
//!     })
//! }).await?;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use resprout_cluster::control::Operation;
use resprout_cluster::manager::Config as Manager;
use resprout_cluster::metadata::{Metadata, NodeState, Role};
use resprout_cluster::{Address, Mode, NodeId, Ordinal, Partition};
use resprout_engine::State;
use resprout_replication::transport::Secret;
use tempfile::TempDir;
use thiserror::Error;

use crate::post::NODE_PORT_ABOVE;
use crate::{CallError, Directory, Node, Options, StartError};

/// What is waited for must come by then.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Why a cluster for tests does not do what it should.
#[derive(Debug, Error)]
pub enum Failure {
    /// A node does not start.
    #[error(transparent)]
    Start(Box<StartError>),
    /// The cluster refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// It did not happen in time.
    #[error("not within {} s: {what}", PATIENCE.as_secs())]
    Late {
        /// What.
        what: String,
    },
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Start(Box::new(error))
    }
}

/// What a cluster begins with.
#[derive(Clone, Debug)]
pub struct Builder {
    voters: u32,
    leaves: u32,
    redundancy: u32,
    election_timeout: Duration,
    manager: Manager,
    leaf_memory_bytes: u64,
}

impl Builder {
    /// Aggregators, all of which vote.
    #[must_use]
    pub fn voters(self, voters: u32) -> Self {
        Self { voters, ..self }
    }

    /// Leaves.
    #[must_use]
    pub fn leaves(self, leaves: u32) -> Self {
        Self { leaves, ..self }
    }

    /// Copies of each partition: 1, or 2 on pairs of leaves.
    #[must_use]
    pub fn redundancy(self, redundancy: u32) -> Self {
        Self { redundancy, ..self }
    }

    /// See [`Options::election_timeout`]; here 500 ms if nothing is said.
    #[must_use]
    pub fn election_timeout(self, election_timeout: Duration) -> Self {
        Self { election_timeout, ..self }
    }

    /// What the master aggregator goes by.
    #[must_use]
    pub fn manager(self, manager: Manager) -> Self {
        Self { manager, ..self }
    }

    /// Starts all nodes, and adds them one after the other, in this order.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn start(self) -> Result<Cluster, Failure> {
        let secret = Secret::new(b"of a cluster for tests").map_err(std::io::Error::other)?;
        let mut cluster = Cluster {
            options: BTreeMap::new(),
            nodes: BTreeMap::new(),
            dirs: BTreeMap::new(),
            builder: self.clone(),
            secret,
        };
        let (dir, mut options) = cluster.place()?;
        options.found = Some(if self.redundancy > 1 { Mode::Paired } else { Mode::Single });
        let first = Node::start(options.clone()).await?;
        cluster.keep(first, dir, options);
        for _ in 1..self.voters {
            cluster.add(Role::Voter).await?;
        }
        for _ in 0..self.leaves {
            cluster.add_leaf().await?;
        }
        Ok(cluster)
    }
}

/// Some nodes. Dropping it ends them as a crash would.
#[derive(Debug)]
pub struct Cluster {
    options: BTreeMap<NodeId, Options>,
    nodes: BTreeMap<NodeId, Node>,
    dirs: BTreeMap<NodeId, TempDir>,
    builder: Builder,
    secret: Secret,
}

/// Ports for clients in tests. They and those for nodes are below what the system gives to connections: a node that is down
/// for a moment finds its own free again.
const PORTS: Range<u16> = 12_000..22_000;

/// A port for clients that is free now, as is the one for nodes. It is given once in this process; other processes begin to
/// look elsewhere.
///
/// # Errors
/// If none is free.
pub fn free_port() -> std::io::Result<u16> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(64);
    for _ in PORTS {
        let place = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let place = place % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(place).unwrap_or(0);
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + NODE_PORT_ABOVE) {
            return Ok(port);
        }
    }
    Err(std::io::ErrorKind::AddrInUse.into())
}

impl Cluster {
    /// One voter, two leaves, one copy of each partition.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            voters: 1,
            leaves: 2,
            redundancy: 1,
            election_timeout: Duration::from_millis(500),
            manager: Manager::default(),
            leaf_memory_bytes: 256 << 20,
        }
    }

    fn place(&self) -> Result<(TempDir, Options), Failure> {
        let dir = tempfile::tempdir()?;
        let address = Address { host: "127.0.0.1".to_owned(), port: free_port()? };
        let mut options = Options::new(dir.path(), address, self.secret.clone());
        options.election_timeout = self.builder.election_timeout;
        options.manager = self.builder.manager;
        options.engine.maximum_memory = self.builder.leaf_memory_bytes;
        Ok((dir, options))
    }

    fn keep(&mut self, node: Node, dir: TempDir, options: Options) {
        let id = node.id();
        self.dirs.insert(id, dir);
        self.options.insert(id, Options { found: None, ..options });
        self.nodes.insert(id, node);
    }

    async fn join(&mut self, operation: impl Fn(Address) -> Operation) -> Result<NodeId, Failure> {
        let (dir, options) = self.place()?;
        let starting = tokio::spawn(Node::start(options.clone()));
        let added = self.call_again(operation(options.address.clone())).await;
        if let Err(error) = added {
            starting.abort();
            return Err(error);
        }
        let node = starting.await.map_err(std::io::Error::other)??;
        let id = node.id();
        self.keep(node, dir, options);
        Ok(id)
    }

    /// The new node may not listen yet when it is added.
    async fn call_again(&self, operation: Operation) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.call(operation.clone()).await {
                Ok(_) => return Ok(()),
                Err(Failure::Call(CallError::Refused(text)))
                    if text.contains("is a node started there") && Instant::now() < end =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One more aggregator.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn add(&mut self, role: Role) -> Result<NodeId, Failure> {
        self.join(|address| Operation::AddAggregator { address, role }).await
    }

    /// One more leaf.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn add_leaf(&mut self) -> Result<NodeId, Failure> {
        self.join(|address| Operation::AddLeaf { address, group: None }).await
    }

    /// Has the master aggregator do something, asked by whichever node is there.
    ///
    /// # Errors
    /// [`Failure::Call`].
    pub async fn call(
        &self,
        operation: Operation,
    ) -> Result<resprout_cluster::metadata::Outcome, Failure> {
        let node = self.nodes.values().next().ok_or(CallError::NoMaster)?;
        Ok(node.call(operation, PATIENCE).await?)
    }

    /// CREATE DATABASE, as durable and synchronous as it is if nothing is said.
    ///
    /// # Errors
    /// [`Failure::Call`].
    pub async fn create_database(
        &self,
        name: &str,
        partitions: Option<u32>,
    ) -> Result<(), Failure> {
        let name = name.to_owned();
        let operation = Operation::CreateDatabase { name, partitions, sync: None, durable: true };
        self.call(operation).await.map(drop)
    }

    /// A node that runs.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }

    /// The cluster for statements, as the node sees it that is asked first, and the way to its leaves: for
    /// [`resprout_sql::session::SingleNode::in_cluster`].
    #[must_use]
    pub fn statements(&self) -> Option<(Arc<Directory>, resprout_access::Client)> {
        self.nodes.values().next().map(Node::statements)
    }

    /// The same as a certain node sees it.
    #[must_use]
    pub fn statements_of(&self, node: NodeId) -> Option<(Arc<Directory>, resprout_access::Client)> {
        self.node(node).map(Node::statements)
    }

    /// The leaves, also those that do not run.
    #[must_use]
    pub fn leaves(&self) -> Vec<NodeId> {
        let Some(node) = self.nodes.values().next() else { return Vec::new() };
        let metadata = node.metadata().read();
        let leaves = metadata.nodes().iter().filter(|(_, found)| found.is_leaf());
        leaves.map(|(node, _)| *node).collect()
    }

    /// The aggregators that run.
    #[must_use]
    pub fn aggregators(&self) -> Vec<NodeId> {
        let leaves = self.leaves();
        self.nodes.keys().copied().filter(|node| !leaves.contains(node)).collect()
    }

    /// The master aggregator, if there is one now.
    #[must_use]
    pub fn master(&self) -> Option<NodeId> {
        self.nodes.values().find(|node| node.is_master()).map(Node::id)
    }

    /// Where the master of a partition is, as far as the node knows that is asked first.
    #[must_use]
    pub fn master_of(
        &self,
        database: &str,
        ordinal: u32,
    ) -> Option<(NodeId, resprout_engine::Partition)> {
        let node = self.nodes.values().next()?;
        let (number, leaf) = {
            let metadata = node.metadata().read();
            let entry = metadata.databases().get(database)?;
            (entry.number, entry.map.partition(Ordinal(ordinal))?.serving()?)
        };
        let leaf = NodeId::from(leaf);
        Some((leaf, self.nodes.get(&leaf)?.copy(number, ordinal)?))
    }

    /// Ends a node as a crash would, as far as that is possible inside of a process.
    pub async fn kill(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.remove(&node) {
            // Its threads are waited for.
            drop(tokio::task::spawn_blocking(move || drop(node)).await);
        }
    }

    /// Stops a node in order.
    pub async fn stop(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.remove(&node) {
            node.stop().await;
        }
    }

    /// Starts a node again.
    ///
    /// # Errors
    /// [`Failure::Start`].
    pub async fn start(&mut self, node: NodeId) -> Result<(), Failure> {
        let Some(options) = self.options.get(&node).cloned() else { return Ok(()) };
        let end = Instant::now() + PATIENCE;
        let started = loop {
            match Node::start(options.clone()).await {
                Ok(started) => break started,
                // What it held before is let go by threads that end a moment later.
                Err(error) if Instant::now() > end => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        self.nodes.insert(node, started);
        Ok(())
    }

    /// The data directory of a node.
    #[must_use]
    pub fn dir(&self, node: NodeId) -> Option<&Path> {
        self.dirs.get(&node).map(TempDir::path)
    }

    /// Waits until the metadata, as some node knows them, are so.
    ///
    /// # Errors
    /// [`Failure::Late`].
    pub async fn until(
        &self,
        what: &str,
        mut is_so: impl FnMut(&Metadata) -> bool,
    ) -> Result<(), Failure> {
        let late = || Failure::Late { what: what.to_owned() };
        let node = self.nodes.values().next().ok_or_else(late)?;
        let mut changes = node.metadata().watch();
        let end = tokio::time::Instant::now() + PATIENCE;
        while !is_so(&node.metadata().read()) {
            match tokio::time::timeout_at(end, changes.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(late()),
            }
        }
        Ok(())
    }

    /// Waits until all leaves are online, and all copies where the record has them do what it says.
    ///
    /// # Errors
    /// [`Failure::Late`].
    pub async fn until_whole(&self) -> Result<(), Failure> {
        self.until("all leaves are online, and all copies follow", |metadata| {
            let is_online =
                |node: &resprout_cluster::metadata::Node| node.state == NodeState::Online;
            let leaves = metadata.nodes().values().filter(|node| node.is_leaf());
            leaves.into_iter().all(is_online)
                && metadata.databases().values().all(|entry| {
                    entry.map.all().all(|partition| {
                        let copies = partition.copies.iter();
                        partition.serving().is_some()
                            && copies.into_iter().all(|(leaf, copy)| {
                                partition.master == Some(*leaf)
                                    || entry.map.is_promotable(partition, copy)
                            })
                    })
                })
        })
        .await?;
        let end = Instant::now() + PATIENCE;
        while !self.masters_serve() {
            if Instant::now() > end {
                return Err(Failure::Late { what: "masters serve".to_owned() });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// By the record a master is one a moment before it serves.
    fn masters_serve(&self) -> bool {
        let Some(node) = self.nodes.values().next() else { return false };
        let metadata = node.metadata().read();
        let serves = |number, partition: &Partition| {
            let leaf = partition.serving().map(NodeId::from)?;
            let copy = self.nodes.get(&leaf)?.copy(number, partition.ordinal.0)?;
            (copy.state() == State::Online).then_some(())
        };
        let mut entries = metadata.databases().values();
        entries
            .all(|entry| entry.map.all().all(|partition| serves(entry.number, partition).is_some()))
    }
}
