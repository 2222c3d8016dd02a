//! Connections to this node. Strangers get a bounded number of places and a bounded time to prove
//! themselves; what they can make this node keep is one record each.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Deliver;
use super::connection;
use super::error::ConnectionError;
use super::handshake::{self, Refusal, Session};
use super::shared::Shared;

/// Wait after an error of `accept`: out of descriptors, it would come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections for as long as the transport lives.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>, deliver: Arc<dyn Deliver>) {
    let mut connections = JoinSet::new();
    // Dropping one asks its connection to go, if it is in its handshake still.
    let mut pending: VecDeque<oneshot::Sender<()>> = VecDeque::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    make_room(&mut pending, shared.options.pending_max);
                    let (place, evicted) = oneshot::channel();
                    pending.push_back(place);
                    let served = serve((stream, address), evicted, shared.clone(), deliver.clone());
                    connections.spawn(served);
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Forgets who is through its handshake; of too many that are not, the oldest goes.
fn make_room(pending: &mut VecDeque<oneshot::Sender<()>>, pending_max: usize) {
    pending.retain(|place| !place.is_closed());
    while pending.len() >= pending_max {
        pending.pop_front();
    }
}

async fn serve(
    (mut stream, address): (TcpStream, SocketAddr),
    evicted: oneshot::Receiver<()>,
    shared: Arc<Shared>,
    deliver: Arc<dyn Deliver>,
) {
    shared.pending.fetch_add(1, Ordering::Relaxed);
    let greeted = greet(&mut stream, evicted, &shared).await;
    shared.pending.fetch_sub(1, Ordering::Relaxed);
    let session = match greeted {
        Ok(session) => session,
        Err(error) => return shared.note_refused(address, &error),
    };
    let Some(peer) = shared.peer(session.other.node) else { return };
    let ended = connection::run(stream, session, &peer, &shared, &*deliver).await;
    if !matches!(ended, ConnectionError::Replaced) {
        shared.note_down(&peer, &ended);
    }
}

/// The handshake, within its time, and only while there is a place for it.
async fn greet(
    stream: &mut TcpStream,
    evicted: oneshot::Receiver<()>,
    shared: &Shared,
) -> Result<Session, ConnectionError> {
    stream.set_nodelay(true)?;
    let bound = shared.options.handshake_timeout;
    tokio::select! {
        greeted = timeout(bound, handshake::answer(stream, &shared.local, shared)) => {
            return greeted.unwrap_or(Err(ConnectionError::HandshakeTimeout(bound)));
        }
        _evicted = evicted => {}
    }
    // It fits into the socket, if that takes anything at all.
    let refused = timeout(bound, handshake::refuse(stream, Refusal::Busy)).await;
    Err(refused.unwrap_or(ConnectionError::Refused(Refusal::Busy)))
}
