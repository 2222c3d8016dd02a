//! Connections between nodes: one for each pair, which carries the messages of all partitions.
//!
//! ```text
//!  any thread ── send ─► Outbox ── vectored write ═══ TCP ═══ read ─► Deliver, in the reading task
//!                          │ socket full, or much
//!                          └──► writing task
//! ```
//!
//! - Of two nodes the one with the lower id connects. Nothing heard for a while ends a connection, and a
//!   newer one ends the older, so both sides come to one that works, whoever starts first.
//! - Both sides prove that they know the cluster's secret (`handshake/`), and that they are who the
//!   other expects. **What follows the handshake is neither authenticated nor encrypted**: whoever can
//!   change packets on the way can change messages, and whoever can read them reads rows. The network
//!   between nodes must keep strangers from its wires; the secret keeps them from its ports.
//! - A message is written by the thread that sends it, if nothing is under way, and handed on by the
//!   task that reads it: between two nodes there is one wake-up each way. Payloads are written from
//!   where they are, and read into memory that they keep.
//! - What waits for a peer is bounded; what does not fit, and what is sent while there is no connection,
//!   is dropped and counted. Of one partition messages keep their order; what is small goes before
//!   other partitions' bulk (`schedule.rs`).
//! - Which copy lives on which node is not known here: the receiver must check that `from` of an envelope
//!   is a copy of the node that it came from.
//!
//! Tried and left: two connections for each pair, one from each side. Either node could then be found
//! by one address, but every message of a stream and its answer would need both of them to live.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::Envelope;

pub use error::ConnectionError;
pub use handshake::{GreetingError, Refusal, Versions};
pub use local::LocalNode;
pub use options::TransportOptions;
pub use secret::{PROOF_BYTES, SECRET_BYTES_MIN, Secret, SecretError};
pub use socket::connect;
pub use status::{Connected, InboundStatus, PeerStatus};

pub use crate::wire::Lane;

use local::Local;
use peer::{Past, Peer};
use shared::{Shared, locked};

mod backoff;
mod batch;
mod connection;
mod error;
mod handshake;
mod lines;
mod listener;
mod local;
mod options;
mod outbox;
mod peer;
mod reader;
mod schedule;
mod secret;
mod shared;
mod socket;
mod status;

/// A node of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// Takes what comes in, in the task that reads it. What these do delays everything from that peer, so
/// they must not wait for anything; they may send. If one panics, the connection is lost, and not
/// made again.
///
/// For one peer the calls come one after the other: `connected`, messages, `disconnected`, and so on.
/// When the transport is dropped, they end without a `disconnected`.
pub trait Deliver: Send + Sync + 'static {
    /// A message from a peer.
    fn deliver(&self, from: NodeId, envelope: Envelope);

    /// A note from a peer.
    fn note(&self, _from: NodeId, _lane: Lane, _bytes: Bytes) {}

    /// There is a connection with that run of a peer: messages to it may arrive from here on.
    fn connected(&self, _node: NodeId, _run: u64) {}

    /// The connection is lost: what was sent may not have arrived.
    fn disconnected(&self, _node: NodeId, _why: &ConnectionError) {}
}

/// One node's connections to the others. See the module. Dropping it ends them all.
#[derive(Debug)]
pub struct Transport {
    sender: Sender,
    address: SocketAddr,
    runtime: Handle,
    tasks: Mutex<Tasks>,
}

/// Sends messages, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

struct Tasks {
    /// They end with it.
    running: JoinSet<()>,
    /// Until the start.
    listener: Option<TcpListener>,
    /// From the start on.
    deliver: Option<Arc<dyn Deliver>>,
    /// Of all nodes that were ever peers.
    pasts: BTreeMap<NodeId, Arc<Past>>,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tasks", self.running.len())
    }
}

impl Transport {
    /// Takes the address, on the runtime that this is called in, and nothing more before
    /// [`Self::start`]. Knows no peers yet.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the options make no sense.
    pub async fn bind(options: TransportOptions, local: LocalNode) -> io::Result<Self> {
        options.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = socket::listen(&options.listen).await?;
        let address = listener.local_addr()?;
        let local = Local::new(local, options.secret.clone())?;
        let shared = Arc::new(Shared::new(options, local));
        let (running, pasts) = Default::default();
        let tasks = Tasks { running, listener: Some(listener), deliver: None, pasts };
        let (sender, runtime) = (Sender { shared }, Handle::current());
        Ok(Self { sender, address, runtime, tasks: Mutex::new(tasks) })
    }

    /// Begins to connect and to take connections. A second call changes nothing.
    ///
    /// `deliver` may own a [`Sender`], but not this: it would keep itself alive.
    pub fn start(&self, deliver: Arc<dyn Deliver>) {
        let mut tasks = locked(&self.tasks);
        let Some(listener) = tasks.listener.take() else { return };
        let shared = &self.sender.shared;
        let listening = listener::run(listener, shared.clone(), deliver.clone());
        tasks.running.spawn_on(listening, &self.runtime);
        tasks.deliver = Some(deliver);
        for peer in shared.all_peers() {
            self.connect(&mut tasks, peer);
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends to peers, also when this is out of reach.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// See [`Sender::send`].
    pub fn send(&self, to: NodeId, envelope: &Envelope) {
        self.sender.send(to, envelope);
    }

    /// Tells whom there is to talk to, and where (`host:port`). Who is not named is let go; who has
    /// moved is connected to anew. This node itself may be among them.
    pub fn set_peers(&self, addresses: &BTreeMap<NodeId, String>) {
        let mut tasks = locked(&self.tasks);
        while tasks.running.try_join_next().is_some() {}
        let shared = &self.sender.shared;
        let own = shared.local.node;
        for peer in shared.all_peers().iter().filter(|peer| !addresses.contains_key(&peer.node)) {
            shared.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&peer.node);
            peer.retire();
        }
        for (node, address) in addresses.iter().filter(|(node, _)| **node != own) {
            if let Some(peer) = shared.peer(*node) {
                if peer.move_to(address) && *node > own {
                    peer.reconnect();
                }
                continue;
            }
            let bytes_max = shared.options.queue_bytes_max;
            let past = tasks.pasts.entry(*node).or_default().clone();
            let peer = Arc::new(Peer::new(*node, address.clone(), bytes_max, past));
            let mut peers = shared.peers.write().unwrap_or_else(PoisonError::into_inner);
            peers.insert(*node, peer.clone());
            drop(peers);
            self.connect(&mut tasks, peer);
        }
    }

    fn connect(&self, tasks: &mut Tasks, peer: Arc<Peer>) {
        let Some(deliver) = tasks.deliver.clone() else { return };
        let shared = &self.sender.shared;
        if peer.node > shared.local.node {
            let connecting = peer::run(peer, shared.clone(), deliver);
            tasks.running.spawn_on(connecting, &self.runtime);
        }
    }

    /// The connections with all peers, in order.
    #[must_use]
    pub fn status(&self) -> Vec<PeerStatus> {
        self.sender.shared.all_peers().iter().map(|peer| peer.status()).collect()
    }

    /// What has come to this node and is no connection with a peer.
    #[must_use]
    pub fn inbound(&self) -> InboundStatus {
        self.sender.shared.inbound_status()
    }

    /// Messages to nodes that are no peers.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sender.shared.lost.load(Ordering::Relaxed)
    }

    /// Ends all connections and waits until they have ended: the port is free then.
    pub async fn close(self) {
        let tasks = self.tasks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Tasks { mut running, listener, .. } = tasks;
        drop(listener);
        running.shutdown().await;
    }
}

impl Sender {
    /// Takes a message on its way. Never waits, and may be called from any thread: it may write to
    /// the peer's socket there and then.
    pub fn send(&self, to: NodeId, envelope: &Envelope) {
        let Some(peer) = self.connected(to, 1) else { return };
        match self.shared.encode(to, envelope) {
            Some(message) => peer.outbox.send([message]),
            None => peer.outbox.drop_messages(1),
        }
    }

    /// The same for a note: a message that is not of copies. What is said in one lane keeps its order, and
    /// little of it waits for no partition's bulk.
    pub fn send_note(&self, to: NodeId, lane: Lane, bytes: Bytes) {
        let Some(peer) = self.connected(to, 1) else { return };
        match self.shared.encode_note(to, lane, bytes) {
            Some(message) => peer.outbox.send([message]),
            None => peer.outbox.drop_messages(1),
        }
    }

    /// The same for several, with one write.
    pub fn send_all(&self, to: NodeId, envelopes: &[Envelope]) {
        let Some(peer) = self.connected(to, envelopes.len()) else { return };
        let encoded = envelopes.iter().filter_map(|envelope| self.shared.encode(to, envelope));
        let encoded: Vec<_> = encoded.collect();
        let too_long = envelopes.len() - encoded.len();
        peer.outbox.send(encoded);
        if too_long > 0 {
            peer.outbox.drop_messages(too_long);
        }
    }

    /// The peer, if it can be sent to; else that many messages are lost.
    fn connected(&self, to: NodeId, messages: usize) -> Option<Arc<Peer>> {
        let Some(peer) = self.shared.peer(to) else {
            self.shared.lost.fetch_add(messages as u64, Ordering::Relaxed);
            return None;
        };
        if peer.outbox.is_connected() {
            return Some(peer);
        }
        peer.outbox.drop_messages(messages);
        None
    }
}
