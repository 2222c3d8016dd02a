//! Messages over TCP.
//!
//! ```text
//!   driver ── send ──► Queue of n2 ──► task ═══ connection that n1 opened ═══► listener of n2
//!     ▲                Queue of n3 ──► task ═══                           ═══► listener of n3
//!     └─ Incoming ◄────────────────── listener ◄═══ connection that n2 opened
//! ```
//!
//! - To a member, messages go on the connection that this node opened; so the way there does not
//!   depend on who started first, and a node is reachable where its members say it is.
//! - To a node that is no member here they go on the connection that it has opened, if it has: a
//!   learner answers its first leader that way, before it knows any members, and a removed node is
//!   told so. This node itself connects only to members.
//! - Every queue is bounded, and what does not fit is dropped and counted. Nothing waits for a slow
//!   member but its own queue.
//! - Whoever connects must be of this cluster, mean this node and its directory, and be the
//!   directory and a run of it that are to be expected (`roster.rs`). Nothing is authenticated yet:
//!   the network must keep strangers out.
//!
//! When the transport is dropped, all of its tasks end; when the receiver of what comes in is, each
//! connection ends with the next thing that arrives on it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::{Incoming, Transport};
use crate::{Envelope, Membership, NodeId};

pub use connection::ConnectionError;
pub use options::{Local, TcpOptions};
pub use status::{InboundStatus, PeerStatus, StatusReader};

use peer::Peer;
use shared::Shared;

mod backoff;
mod connection;
mod handshake;
mod listener;
mod options;
mod peer;
mod queue;
mod roster;
mod shared;
mod status;

/// One node's connections to the others. See the module.
#[derive(Debug)]
pub struct TcpTransport {
    shared: Arc<Shared>,
    address: SocketAddr,
    runtime: Handle,
    /// All tasks; they end with it.
    tasks: JoinSet<()>,
    /// Those that keep a connection to a member.
    connecting: BTreeMap<NodeId, AbortHandle>,
    /// The listener goes when this is dropped.
    stop: watch::Sender<()>,
    /// Messages to nodes that are neither members nor connected.
    lost: u64,
}

impl TcpTransport {
    /// Listens. Knows no members yet.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the options make no sense.
    pub async fn bind(
        options: TcpOptions,
        local: Local,
    ) -> io::Result<(Self, mpsc::Receiver<Incoming>)> {
        options.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind(&options.listen).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", options.listen))
        })?;
        let address = listener.local_addr()?;
        let (sender, incoming) = mpsc::channel(options.incoming_max);
        let shared = Shared::new(options, local, sender);
        let (stop, stopped) = watch::channel(());
        let mut tasks = JoinSet::new();
        tasks.spawn(listener::run(listener, shared.clone(), stopped));
        let runtime = Handle::current();
        let connecting = BTreeMap::new();
        let transport = Self { shared, address, runtime, tasks, connecting, stop, lost: 0 };
        Ok((transport, incoming))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For operators.
    #[must_use]
    pub fn status(&self) -> StatusReader {
        StatusReader { shared: Arc::downgrade(&self.shared) }
    }

    /// Messages that were for nodes to which there is no way: neither members nor connected here.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Ends all connections and waits until they have ended: the port is free then.
    pub async fn close(mut self) {
        for task in self.connecting.values() {
            task.abort();
        }
        drop(self.stop);
        while self.tasks.join_next().await.is_some() {}
    }

    fn connect(&mut self, peer: Peer, node: NodeId) {
        let peer = Arc::new(peer);
        self.shared.peers().insert(node, peer.clone());
        let task = self.tasks.spawn_on(peer::run(peer, self.shared.clone()), &self.runtime);
        self.connecting.insert(node, task);
    }

    /// Whether there was a connection.
    fn disconnect(&mut self, node: NodeId) -> bool {
        if let Some(task) = self.connecting.remove(&node) {
            task.abort();
        }
        let peer = self.shared.peers().remove(&node);
        peer.is_some_and(|peer| peer.is_connected())
    }
}

impl Transport for TcpTransport {
    fn send(&mut self, envelope: Envelope) {
        let peer = self.shared.peers().get(&envelope.to).cloned();
        match peer {
            Some(peer) => peer.queue.push(envelope),
            None => self.lost += u64::from(!self.shared.send_to_guest(envelope)),
        }
    }

    fn set_members(&mut self, membership: &Membership) {
        while self.tasks.try_join_next().is_some() {}
        self.shared.roster().set_members(membership);
        let own = self.shared.local.identity.node;
        let known: Vec<_> = self.shared.peers().keys().copied().collect();
        for node in known.iter().filter(|node| membership.get(**node).is_none()) {
            self.disconnect(*node);
        }
        for (node, member) in membership.members.iter().filter(|(node, _)| **node != own) {
            let peer = self.shared.peers().get(node).cloned();
            if peer.is_some_and(|peer| peer.leads_to(member)) {
                continue;
            }
            let moved = self.disconnect(*node);
            self.connect(Peer::new(*node, member, moved, &self.shared), *node);
        }
        self.shared.members_changed.send_modify(|changes| *changes += 1);
    }
}
