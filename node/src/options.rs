//! Settings of a node.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use resprout_cluster::manager::Config as Manager;
use resprout_cluster::{Address, Mode};
use resprout_replication::transport::Secret;

use crate::error::StartError;
use crate::member::NodeKind;
use crate::post::{NODE_PORT_ABOVE, node_address};

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its data directory, which is made if it is not there.
    pub dir: PathBuf,
    /// Where it listens for clients, as other nodes and clients reach it. It listens for nodes on the port that is
    /// [`NODE_PORT_ABOVE`] higher.
    pub address: Address,
    /// The address it listens on, with the same ports, and connects from, if it is not the one where others reach it: behind a
    /// proxy, or on a machine with several.
    pub bind: Option<IpAddr>,
    /// What all nodes of the cluster know, and nobody else.
    pub secret: Secret,
    /// What it is to be: whoever adds it as something else is refused. Without it, what it is added as.
    pub kind: Option<NodeKind>,
    /// A new directory begins a new cluster, with copies placed so. Without it a new node waits to be added.
    pub found: Option<Mode>,
    /// `consensus_election_timeout`: another aggregator takes over when nothing was heard of the master aggregator
    /// for so long; the same on all nodes. Default 10 s.
    pub election_timeout: Duration,
    /// What the master aggregator goes by.
    pub manager: Manager,
    /// Of a leaf's engine. Cluster and attaching are set by the node.
    pub engine: resprout_engine::Options,
}

impl Options {
    /// The usual settings.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, address: Address, secret: Secret) -> Self {
        Self {
            dir: dir.into(),
            address,
            bind: None,
            secret,
            kind: None,
            found: None,
            election_timeout: Duration::from_secs(10),
            manager: Manager::default(),
            engine: resprout_engine::Options::default(),
        }
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &std::path::Path {
        &self.dir
    }

    /// Where it listens for clients.
    #[must_use]
    pub fn listens(&self) -> Address {
        let host = self.bind.map_or_else(|| self.address.host.clone(), |bind| bind.to_string());
        Address { host, port: self.address.port }
    }

    /// Where others reach it as a node.
    ///
    /// # Errors
    /// If there is no such port.
    pub(crate) fn node_address(&self) -> Result<String, StartError> {
        self.for_nodes(&self.address)
    }

    /// Where it listens for nodes.
    ///
    /// # Errors
    /// As [`Options::node_address`].
    pub(crate) fn node_listen(&self) -> Result<String, StartError> {
        self.for_nodes(&self.listens())
    }

    fn for_nodes(&self, clients: &Address) -> Result<String, StartError> {
        node_address(clients).ok_or_else(|| StartError::Option {
            option: "port",
            why: format!(
                "{} leaves no port for nodes, which is {NODE_PORT_ABOVE} higher",
                self.address.port
            ),
        })
    }
}
