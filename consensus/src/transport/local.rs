//! Nodes of one process: messages go through channels. For tests, and for whoever embeds a whole
//! cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{Incoming, Transport};
use crate::{Envelope, Membership, NodeId};

/// Where the nodes meet. Links may be cut one way, as real ones are.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    links: Arc<Mutex<Links>>,
}

#[derive(Debug, Default)]
struct Links {
    /// Each node's inbox, and which joining of that node it is of.
    inboxes: BTreeMap<NodeId, (u64, mpsc::Sender<Incoming>)>,
    joined: u64,
    cut: BTreeSet<(NodeId, NodeId)>,
    dropped: u64,
}

/// One node's way to the others. Leaves the hub when dropped.
#[derive(Debug)]
pub struct LocalTransport {
    hub: Hub,
    node: NodeId,
    joined: u64,
    /// Nodes that could not be reached when last tried, so that it is told once.
    unreachable: BTreeSet<NodeId>,
}

impl Hub {
    /// A hub without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A node joins, with room for so many messages; more are dropped. One that had joined under
    /// this id gets nothing any more.
    ///
    /// # Panics
    /// If there is no room at all.
    #[must_use]
    pub fn join(
        &self,
        node: NodeId,
        incoming_max: usize,
    ) -> (LocalTransport, mpsc::Receiver<Incoming>) {
        let (inbox, incoming) = mpsc::channel(incoming_max);
        let mut links = self.links();
        links.joined += 1;
        let joined = links.joined;
        links.inboxes.insert(node, (joined, inbox));
        drop(links);
        let hub = self.clone();
        (LocalTransport { hub, node, joined, unreachable: BTreeSet::new() }, incoming)
    }

    /// Nothing goes from one node to the other any more; the other way is as before.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.links().cut.insert((from, to));
    }

    /// Messages go from one node to the other again.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.links().cut.remove(&(from, to));
    }

    /// All links work again.
    pub fn heal_all(&self) {
        self.links().cut.clear();
    }

    /// Messages that did not arrive: cut links, absent nodes, full inboxes.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.links().dropped
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        // Each change is one call on a collection: whole also if a test has panicked since.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links {
    /// Whether the link is there at all; a full inbox is no broken link.
    fn carry(&mut self, from: NodeId, to: NodeId, envelope: Envelope) -> bool {
        let link = self.inboxes.get(&to).filter(|_| !self.cut.contains(&(from, to)));
        let (there, arrived) = match link {
            Some((_, inbox)) => match inbox.try_send(Incoming::Message(envelope)) {
                Ok(()) => (true, true),
                Err(TrySendError::Full(_)) => (true, false),
                Err(TrySendError::Closed(_)) => (false, false),
            },
            None => (false, false),
        };
        self.dropped += u64::from(!arrived);
        there
    }
}

impl Transport for LocalTransport {
    fn send(&mut self, envelope: Envelope) {
        let to = envelope.to;
        let mut links = self.hub.links();
        if links.carry(self.node, to, envelope) {
            self.unreachable.remove(&to);
            return;
        }
        if self.unreachable.contains(&to) {
            return;
        }
        // If its own inbox is full, it is told with the next message.
        let told = links
            .inboxes
            .get(&self.node)
            .is_some_and(|(_, own)| own.try_send(Incoming::Unreachable(to)).is_ok());
        if told {
            self.unreachable.insert(to);
        }
    }

    /// Everybody in the hub can be reached by id, member or not.
    fn set_members(&mut self, _membership: &Membership) {}
}

impl Drop for LocalTransport {
    fn drop(&mut self) {
        let mut links = self.hub.links();
        // Its successor under the same id stays.
        if links.inboxes.get(&self.node).is_some_and(|(joined, _)| *joined == self.joined) {
            links.inboxes.remove(&self.node);
        }
    }
}
