//! Consensus over the connections that nodes have with each other anyway: authenticated, one for each pair.
//!
//! ```text
//!   consensus ── Carrier::send ──► notes of one lane ══ connection ══► Incomings::note ──► consensus
//! ```

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use resprout_consensus::transport::{Incoming, Transport};
use resprout_consensus::{Envelope, Membership, NodeId, wire};
use resprout_replication::transport::{self, Lane, Sender};
use tokio::sync::mpsc;

/// Most bytes of a message: several times what consensus puts into one.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Messages that wait for consensus; of more, some are lost, as any message may be.
const WAITING_MAX: usize = 4096;

/// Sends consensus' messages as notes.
pub struct Carrier {
    sender: Sender,
    lane: Lane,
    members: BTreeSet<NodeId>,
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Carrier({} members)", self.members.len())
    }
}

/// Hands notes to consensus. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Incomings {
    own: NodeId,
    incoming: mpsc::Sender<Incoming>,
}

impl Carrier {
    /// For the node of that number, and what it brings: for the consensus node and for whoever gets notes. Where
    /// members listen is the business of the connections.
    #[must_use]
    pub fn new(
        own: NodeId,
        sender: Sender,
        lane: Lane,
    ) -> (Self, mpsc::Receiver<Incoming>, Incomings) {
        let (incoming, receiver) = mpsc::channel(WAITING_MAX);
        let carrier = Self { sender, lane, members: BTreeSet::new() };
        (carrier, receiver, Incomings { own, incoming })
    }
}

impl Transport for Carrier {
    fn send(&mut self, envelope: Envelope) {
        match wire::encode(&envelope, MESSAGE_BYTES_MAX) {
            Ok(bytes) => self.sender.send_note(transport::NodeId(envelope.to.0), self.lane, bytes),
            Err(error) => tracing::error!(to = %envelope.to, %error, "not sent"),
        }
    }

    fn set_members(&mut self, membership: &Membership) {
        self.members = membership.members.keys().copied().collect();
    }
}

impl Incomings {
    /// A note of consensus' lane. Whose it is, the connection has proved.
    pub fn note(&self, from: transport::NodeId, bytes: &Bytes) {
        match wire::decode(bytes, MESSAGE_BYTES_MAX) {
            Ok(envelope) if envelope.from.0 == from.0 && envelope.to == self.own => {
                // Full, or it ends: lost, as any message may be.
                drop(self.incoming.try_send(Incoming::Message(envelope)));
            }
            Ok(envelope) => {
                tracing::warn!(%from, said = %envelope.from, to = %envelope.to, "not of who sent it, or not for this node");
            }
            Err(error) => tracing::warn!(%from, %error, "a message of consensus that is none"),
        }
    }

    /// The connection with a node is lost.
    pub fn disconnected(&self, node: transport::NodeId) {
        drop(self.incoming.try_send(Incoming::Unreachable(NodeId(node.0))));
    }
}
