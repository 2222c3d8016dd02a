//! Who this node is to others.

use std::io;

use super::NodeId;
use super::secret::{Secret, random};

/// Who this node is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalNode {
    /// Its id in the cluster.
    pub node: NodeId,
    /// The cluster.
    pub cluster: u128,
    /// Which start of the process this is, counted durably: two processes never have the same, or
    /// they are taken for a copied directory (row I02).
    pub run: u64,
}

/// The same, with what nobody else may know or choose.
#[derive(Clone, Debug)]
pub(super) struct Local {
    pub(super) node: NodeId,
    pub(super) cluster: u128,
    pub(super) run: u64,
    /// See [`super::handshake::Greeting::token`].
    pub(super) token: u128,
    pub(super) secret: Secret,
}

impl Local {
    pub(super) fn new(local: LocalNode, secret: Secret) -> io::Result<Self> {
        let LocalNode { node, cluster, run } = local;
        Ok(Self { node, cluster, run, token: u128::from_le_bytes(random()?), secret })
    }
}
