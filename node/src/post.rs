//! Messages of the control plane to other nodes, and to this one without a detour; and what comes in, to whom it
//! is for.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use resprout_cluster::carrier::Incomings;
use resprout_cluster::control::Control;
use resprout_cluster::{Address, NodeId};
use resprout_replication::Envelope;
use resprout_replication::transport::{self, ConnectionError, Deliver, Lane, Sender};
use tokio::sync::mpsc;

/// Consensus' messages.
pub(crate) const CONSENSUS: Lane = Lane(0);
/// [`Control`].
pub(crate) const CONTROL: Lane = Lane(1);

/// Nodes listen for each other so far above where they listen for clients.
pub const NODE_PORT_ABOVE: u16 = 10_000;

/// Where a node listens for others, by where it listens for clients; none if there is no such port.
#[must_use]
pub fn node_address(clients: &Address) -> Option<String> {
    let port = clients.port.checked_add(NODE_PORT_ABOVE)?;
    // Names and numbers of version 6 as they are written with a port.
    let is_six = clients.host.contains(':');
    let host = &clients.host;
    Some(if is_six { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// Something came for the control plane.
#[derive(Debug)]
pub(crate) enum News {
    /// A message.
    Message(NodeId, Control),
    /// The connection to a node is lost.
    Lost(NodeId),
}

/// Sends [`Control`] messages. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    own: NodeId,
    sender: Sender,
    back: mpsc::UnboundedSender<News>,
}

impl Post {
    pub(crate) fn new(own: NodeId, sender: Sender, back: mpsc::UnboundedSender<News>) -> Self {
        Self { own, sender, back }
    }

    /// Sends to a node, which may be this one.
    pub(crate) fn send(&self, to: NodeId, control: Control) {
        if to == self.own {
            // Nobody takes it any more while the node stops.
            drop(self.back.send(News::Message(to, control)));
        } else {
            let bytes = Bytes::from(control.encode());
            self.sender.send_note(transport::NodeId(to.0), CONTROL, bytes);
        }
    }
}

/// Takes what comes in.
pub(crate) struct Inbox {
    /// Of consensus.
    pub(crate) consensus: Incomings,
    /// Of the control plane.
    pub(crate) control: mpsc::UnboundedSender<News>,
    /// Of copies, as soon as there are any.
    pub(crate) copies: Arc<OnceLock<Arc<dyn Deliver>>>,
}

impl Deliver for Inbox {
    fn deliver(&self, from: transport::NodeId, envelope: Envelope) {
        if let Some(copies) = self.copies.get() {
            copies.deliver(from, envelope);
        }
    }

    fn note(&self, from: transport::NodeId, lane: Lane, bytes: Bytes) {
        match lane {
            CONSENSUS => self.consensus.note(from, &bytes),
            CONTROL => match Control::decode(&bytes) {
                Ok(control) => {
                    drop(self.control.send(News::Message(NodeId(from.0), control)));
                }
                Err(error) => tracing::warn!(%from, %error, "a message that is not understood"),
            },
            other => tracing::warn!(%from, lane = other.0, "a message of a kind that is not known"),
        }
    }

    fn connected(&self, node: transport::NodeId, run: u64) {
        if let Some(copies) = self.copies.get() {
            copies.connected(node, run);
        }
    }

    fn disconnected(&self, node: transport::NodeId, _why: &ConnectionError) {
        self.consensus.disconnected(node);
        drop(self.control.send(News::Lost(NodeId(node.0))));
    }
}

/// Where all other nodes listen for nodes, by their numbers.
pub(crate) fn addresses(
    metadata: &resprout_cluster::metadata::Metadata,
    but: NodeId,
) -> BTreeMap<transport::NodeId, String> {
    let others = metadata.nodes().iter().filter(|(node, _)| **node != but);
    let address = |(node, found): (&NodeId, &resprout_cluster::metadata::Node)| {
        Some((transport::NodeId(node.0), node_address(&found.address)?))
    };
    others.filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: nodes find each other by the addresses of clients, whatever those look like.
    #[test]
    fn ports_of_nodes_are_above_those_of_clients() {
        let at = |host: &str, port| node_address(&Address { host: host.to_owned(), port });
        assert_eq!(at("db1", 3306).as_deref(), Some("db1:13306"));
        assert_eq!(at("::1", 3307).as_deref(), Some("[::1]:13307"));
        assert_eq!(at("db1", 60_000), None);
    }
}
