//! One peer, and the way to it: made, used, lost, made again.
//!
//! Of two nodes the one with the lower id connects, again and again until it has succeeded; the
//! other one waits for it. So there is one connection, whoever starts first. If the two sides do
//! not agree that there is one, the one that connects has noticed (by silence) and comes again,
//! and the newer connection ends the older.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use super::connection;
use super::error::ConnectionError;
use super::handshake::{self, Greeting, Refusal, Seen, Session};
use super::outbox::Outbox;
use super::shared::{Shared, locked};
use super::socket;
use super::status::{Connected, PeerStatus};
use super::{Deliver, NodeId};

/// The number of a peer's connections when it is none any more: no connection has it.
const RETIRED: u64 = u64::MAX;

/// What is remembered of a node, also while it is no peer.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Held by the connection that there is: what comes in on two of them is never mixed.
    pub(super) turn: tokio::sync::Mutex<()>,
    seen: Mutex<Seen>,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) outbox: Outbox,
    /// Messages and bytes.
    pub(super) received: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) past: Arc<Past>,
    state: Mutex<State>,
    /// Another address, or no peer any more.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    address: String,
    /// The number of the newest connection that has proved itself.
    newest: u64,
    connected: Option<(Instant, u64, Option<std::net::SocketAddr>)>,
    connections: u64,
    last_error: Option<String>,
    /// The loss of the last connection, or that there is none yet.
    is_told: bool,
}

impl Peer {
    pub(super) fn new(
        node: NodeId,
        address: String,
        queue_bytes_max: usize,
        past: Arc<Past>,
    ) -> Self {
        let state = State {
            address,
            newest: 0,
            connected: None,
            connections: 0,
            last_error: None,
            is_told: false,
        };
        Self {
            node,
            outbox: Outbox::new(queue_bytes_max),
            received: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            past,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    pub(super) fn judge(&self, other: &Greeting) -> Result<(), Refusal> {
        locked(&self.past.seen).judge(other)
    }

    /// Judges and notes in one step: of two runs that come together the older one never gets the
    /// higher number.
    pub(super) fn note(&self, other: &Greeting) -> Result<u64, Refusal> {
        let mut state = locked(&self.state);
        if state.newest == RETIRED {
            return Err(Refusal::Unknown { node: self.node });
        }
        let mut seen = locked(&self.past.seen);
        seen.judge(other)?;
        seen.note(other);
        state.newest += 1;
        Ok(state.newest)
    }

    pub(super) fn is_newest(&self, number: u64) -> bool {
        locked(&self.state).newest == number
    }

    pub(super) fn up(&self, session: &Session, remote: Option<std::net::SocketAddr>) {
        let mut state = locked(&self.state);
        state.connected = Some((Instant::now(), session.other.run, remote));
        state.connections += 1;
        state.is_told = false;
    }

    pub(super) fn ended(&self) {
        locked(&self.state).connected = None;
    }

    /// Its address, if that is news: the same error again is no line in the log.
    pub(super) fn down(&self, error: &ConnectionError) -> Option<String> {
        let error = error.to_string();
        let mut state = locked(&self.state);
        let is_news = !state.is_told || state.last_error.as_ref() != Some(&error);
        state.is_told = true;
        state.last_error = Some(error);
        is_news.then(|| state.address.clone())
    }

    /// Sets where it is; whether that is elsewhere.
    pub(super) fn move_to(&self, address: &str) -> bool {
        let mut state = locked(&self.state);
        let is_elsewhere = state.address != address;
        if is_elsewhere {
            address.clone_into(&mut state.address);
        }
        is_elsewhere
    }

    /// The connection that there is goes to an address that is out of date: it ends, and the next
    /// one is made.
    pub(super) fn reconnect(&self) {
        self.outbox.end(ConnectionError::Removed);
        self.changed.notify_one();
    }

    /// It is no peer any more.
    pub(super) fn retire(&self) {
        locked(&self.state).newest = RETIRED;
        self.reconnect();
    }

    fn is_retired(&self) -> bool {
        self.is_newest(RETIRED)
    }

    pub(super) fn status(&self) -> PeerStatus {
        let counts = self.outbox.counts();
        let state = locked(&self.state);
        let connected = state.connected.map(|(since, run, remote)| Connected {
            since: since.elapsed(),
            run,
            remote,
        });
        PeerStatus {
            node: self.node,
            address: state.address.clone(),
            connected,
            connections: state.connections,
            last_error: state.last_error.clone(),
            queued: counts.queued,
            queued_bytes: counts.queued_bytes,
            sent: counts.sent,
            sent_bytes: counts.sent_bytes,
            dropped: counts.dropped,
            received: self.received.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
        }
    }
}

/// Keeps a connection to the peer for as long as it is one.
pub(super) async fn run(peer: Arc<Peer>, shared: Arc<Shared>, deliver: Arc<dyn Deliver>) {
    let options = &shared.options;
    let seed = options.seed ^ peer.node.0.rotate_left(32);
    let mut backoff = Backoff::new(seed, options.retry_first, options.retry_max);
    while !peer.is_retired() {
        let begun = Instant::now();
        let connected = tokio::select! {
            connected = connect(&peer, &shared) => connected,
            () = peer.changed.notified() => continue,
        };
        let (error, lived) = match connected {
            Ok((stream, session)) => {
                let ended = connection::run(stream, session, &peer, &shared, &*deliver).await;
                (ended, begun.elapsed())
            }
            Err(error) => (error, Duration::ZERO),
        };
        shared.note_down(&peer, &error);
        tokio::select! {
            () = tokio::time::sleep(backoff.after(lived)) => {}
            () = peer.changed.notified() => {}
        }
    }
}

async fn connect(peer: &Peer, shared: &Shared) -> Result<(TcpStream, Session), ConnectionError> {
    let options = &shared.options;
    let address = locked(&peer.state).address.clone();
    let bound = options.connect_timeout;
    let connected = timeout(bound, socket::connect(&address, options.source)).await;
    let mut stream = connected.map_err(|_| ConnectionError::ConnectTimeout(bound))??;
    let bound = options.handshake_timeout;
    let greeting = handshake::dial(&mut stream, &shared.local, peer.node, shared);
    let greeted = timeout(bound, greeting).await;
    let session = greeted.map_err(|_| ConnectionError::HandshakeTimeout(bound))??;
    Ok((stream, session))
}
