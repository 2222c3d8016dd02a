//! What a transport can say of itself to operators.

use std::net::SocketAddr;
use std::time::Duration;

use super::NodeId;

/// The connection with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which.
    pub node: NodeId,
    /// Where it should be.
    pub address: String,
    /// None if there is no connection now.
    pub connected: Option<Connected>,
    /// How many connections there have been.
    pub connections: u64,
    /// Why the last one ended, or was not made.
    pub last_error: Option<String>,
    /// Messages that wait.
    pub queued: usize,
    /// About their bytes.
    pub queued_bytes: usize,
    /// Messages given to a connection.
    pub sent: u64,
    /// Bytes written, signs of life included.
    pub sent_bytes: u64,
    /// Messages that did not fit, had no connection, or waited for one that was lost.
    pub dropped: u64,
    /// Messages received.
    pub received: u64,
    /// Bytes received, signs of life included.
    pub received_bytes: u64,
}

/// A connection that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// For how long.
    pub since: Duration,
    /// With which run of the node.
    pub run: u64,
    /// Where the other end is.
    pub remote: Option<SocketAddr>,
}

/// What has come to this node and is no connection with a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundStatus {
    /// Connections in their handshake.
    pub pending: u64,
    /// Connections that came to nothing.
    pub refused: u64,
    /// Whence the last of those was, and why.
    pub last_refusal: Option<String>,
}
