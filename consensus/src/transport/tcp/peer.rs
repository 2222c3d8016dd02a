//! The connection to one member: made, used, lost, made again.
//!
//! ```text
//!             ┌──────────── wait (back-off, or the member has connected to us) ◄─┐
//!             ▼                                                                  │
//!   start ─► connect ── handshake ──► Connected ── broken ──► Down ──────────────┤
//!             └──── not made, refused ──────────────────────► Down ──────────────┘
//! ```
//!
//! After a loss the next attempt waits until there is something to send, or the member comes back
//! by itself. Going down empties the queue and is told once, with [`Incoming::Unreachable`]: the
//! core then knows that what it sent may not have arrived, and what it sends later is not behind
//! what is out of date.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use super::connection::ConnectionError;
use super::handshake::{self, Halves};
use super::queue::Queue;
use super::shared::Shared;
use super::status::PeerStatus;
use crate::transport::Incoming;
use crate::{Member, NodeId, StoreId};

/// One member, as far as the way to it goes.
#[derive(Debug)]
pub(super) struct Peer {
    node: NodeId,
    store: StoreId,
    address: String,
    pub(super) queue: Queue,
    state: Mutex<State>,
    came_back: Notify,
}

#[derive(Debug)]
struct State {
    link: Link,
    connections: u64,
    last_error: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Link {
    /// Nothing is known yet.
    New,
    /// Another transport's task was connected to it at another address.
    Moved,
    Connected(Instant),
    /// And that was told.
    Down,
}

impl Peer {
    /// A member to be connected to. `moved`: it had a connection that was given up for this one.
    pub(super) fn new(node: NodeId, member: &Member, moved: bool, shared: &Shared) -> Self {
        let link = if moved { Link::Moved } else { Link::New };
        Self {
            node,
            store: member.store,
            address: member.address.clone(),
            queue: shared.queue(),
            state: Mutex::new(State { link, connections: 0, last_error: None }),
            came_back: Notify::new(),
        }
    }

    /// Whether this is the way to that member.
    pub(super) fn leads_to(&self, member: &Member) -> bool {
        self.address == member.address && self.store == member.store
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state().link, Link::Connected(_))
    }

    /// The member has connected to this node, so it can be reached again in all likelihood.
    pub(super) fn came_back(&self) {
        if !self.is_connected() {
            self.came_back.notify_one();
        }
    }

    pub(super) fn status(&self) -> PeerStatus {
        let counts = self.queue.counts();
        let state = self.state();
        let connected_for = match state.link {
            Link::Connected(since) => Some(since.elapsed()),
            Link::New | Link::Moved | Link::Down => None,
        };
        PeerStatus {
            node: self.node,
            address: self.address.clone(),
            connected_for,
            connections: state.connections,
            last_error: state.last_error.clone(),
            queued: counts.messages,
            queued_bytes: counts.bytes,
            sent: counts.sent,
            dropped: counts.dropped,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // For operators and for telling once; a value is replaced whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self) {
        let mut state = self.state();
        state.link = Link::Connected(Instant::now());
        state.connections += 1;
        drop(state);
        tracing::info!(node = %self.node, address = self.address, "connected");
    }

    /// Whether that is news. The same error again is no line in the log.
    fn down(&self, error: &ConnectionError) -> bool {
        let error = error.to_string();
        let mut state = self.state();
        let is_news = state.link != Link::Down;
        if is_news || state.last_error.as_ref() != Some(&error) {
            tracing::warn!(node = %self.node, address = self.address, error, "no connection");
        }
        state.link = Link::Down;
        state.last_error = Some(error);
        is_news
    }
}

/// Keeps a connection to the peer for as long as it is a member at that address. Ends when nobody
/// takes what comes in.
pub(super) async fn run(peer: Arc<Peer>, shared: Arc<Shared>) {
    let options = &shared.options;
    let seed = options.seed ^ peer.node.0.rotate_left(32);
    let mut backoff = Backoff::new(seed, options.retry_first, options.retry_max);
    let moved = peer.state().link == Link::Moved;
    if moved {
        if tell_unreachable(&peer, &shared).await.is_err() {
            return;
        }
        peer.state().link = Link::Down;
    }
    loop {
        let (error, lived) = attempt(&peer, &shared).await;
        let is_news = peer.down(&error);
        // First forgotten, then told: what the core sends when it knows is not thrown away.
        peer.queue.clear();
        if is_news && tell_unreachable(&peer, &shared).await.is_err() {
            return;
        }
        let wait = backoff.after(lived);
        tokio::select! {
            () = peer.came_back.notified() => {}
            () = async { tokio::time::sleep(wait).await; peer.queue.wait().await } => {}
        }
    }
}

/// One connection from its beginning to its end, and how long it lived.
async fn attempt(peer: &Peer, shared: &Shared) -> (ConnectionError, Duration) {
    match connect(peer, shared).await {
        Ok(connection) => {
            peer.connected();
            let since = Instant::now();
            let ended = connection.run(&peer.queue, &shared.incoming, &shared.options).await;
            (ended, since.elapsed())
        }
        Err(error) => (error, Duration::ZERO),
    }
}

async fn connect(peer: &Peer, shared: &Shared) -> Result<Halves<TcpStream>, ConnectionError> {
    let bound = shared.options.connect_timeout;
    let connected = timeout(bound, TcpStream::connect(&peer.address)).await;
    let stream = connected.map_err(|_| ConnectionError::ConnectTimeout(bound))??;
    stream.set_nodelay(true)?;
    handshake::dial(stream, peer.node, shared).await
}

async fn tell_unreachable(peer: &Peer, shared: &Shared) -> Result<(), ConnectionError> {
    let told = shared.incoming.send(Incoming::Unreachable(peer.node)).await;
    told.map_err(|_| ConnectionError::Stopped)
}
