//! What a transport can say of itself to operators.

use std::sync::Weak;
use std::time::Duration;

use super::shared::Shared;
use crate::NodeId;

/// The connection to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which.
    pub node: NodeId,
    /// Where it should be.
    pub address: String,
    /// For how long there has been a connection; none now if not.
    pub connected_for: Option<Duration>,
    /// How many connections there have been.
    pub connections: u64,
    /// Why the last one ended, or was not made.
    pub last_error: Option<String>,
    /// Messages that wait.
    pub queued: usize,
    /// About their bytes.
    pub queued_bytes: usize,
    /// Messages written since the member has this address.
    pub sent: u64,
    /// Messages that did not fit, or waited for a connection that was lost.
    pub dropped: u64,
}

/// The connections to this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundStatus {
    /// That there are, in or after their handshake.
    pub connections: usize,
    /// That were refused or lost.
    pub refused: u64,
    /// Whence the last of those was, and why.
    pub last_refusal: Option<String>,
}

/// Looks at a transport from elsewhere. When that is dropped, there is nothing to be seen any more.
#[derive(Clone, Debug)]
pub struct StatusReader {
    pub(super) shared: Weak<Shared>,
}

impl StatusReader {
    /// The connections to all members, in order.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let Some(shared) = self.shared.upgrade() else { return Vec::new() };
        let peers = shared.peers();
        peers.values().map(|peer| peer.status()).collect()
    }

    /// The connection to one member.
    #[must_use]
    pub fn peer(&self, node: NodeId) -> Option<PeerStatus> {
        let shared = self.shared.upgrade()?;
        let peer = shared.peers().get(&node).cloned();
        peer.map(|peer| peer.status())
    }

    /// The connections to this node.
    #[must_use]
    pub fn inbound(&self) -> InboundStatus {
        self.shared.upgrade().map(|shared| shared.inbound_status()).unwrap_or_default()
    }
}
