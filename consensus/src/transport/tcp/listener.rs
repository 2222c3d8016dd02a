//! Connections to this node. Strangers get a bounded number of places and a bounded time to say
//! who they are; what they can make this node keep is one greeting each.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::connection::ConnectionError;
use super::handshake::{self, Halves};
use super::shared::{Admission, Shared};

/// Wait after an error of `accept`: out of descriptors, it would come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that may be in its handshake still.
#[derive(Debug)]
struct Pending {
    task: AbortHandle,
    is_greeted: Arc<AtomicBool>,
}

/// Takes connections until the transport is closed; then all of them have ended.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    let mut pending = VecDeque::new();
    loop {
        tokio::select! {
            // The sender says nothing: it is dropped.
            _stopped = stop.changed() => break,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    make_room(&mut pending, shared.options.pending_max);
                    let is_greeted = Arc::new(AtomicBool::new(false));
                    let serving = serve(stream, address, shared.clone(), is_greeted.clone());
                    let task = connections.spawn(serving);
                    pending.push_back(Pending { task, is_greeted });
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Forgets who is through its handshake; of too many that are not, the oldest goes.
fn make_room(pending: &mut VecDeque<Pending>, pending_max: usize) {
    let is_open =
        |one: &Pending| !one.task.is_finished() && !one.is_greeted.load(Ordering::Relaxed);
    pending.retain(is_open);
    while pending.len() >= pending_max {
        let Some(oldest) = pending.pop_front() else { break };
        oldest.task.abort();
    }
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    shared: Arc<Shared>,
    is_greeted: Arc<AtomicBool>,
) {
    let error = match greet(stream, &shared).await {
        Ok((connection, admission)) => {
            is_greeted.store(true, Ordering::Relaxed);
            let node = admission.hello.node;
            tracing::info!(%node, %address, "a node has connected");
            if let Some(peer) = shared.peers().get(&node) {
                peer.came_back();
            }
            converse(connection, &admission, &shared).await
        }
        Err(error) => error,
    };
    shared.note_refused(address, &error);
}

async fn greet(
    stream: TcpStream,
    shared: &Arc<Shared>,
) -> Result<(Halves<TcpStream>, Admission), ConnectionError> {
    stream.set_nodelay(true)?;
    handshake::answer(stream, shared).await
}

/// Carries messages until something ends it: also members that change so that this node would not
/// be let in any more.
async fn converse(
    connection: Halves<TcpStream>,
    admission: &Admission,
    shared: &Shared,
) -> ConnectionError {
    let mut changes = shared.members_changed.subscribe();
    let running = connection.run(&admission.queue, &shared.incoming, &shared.options);
    tokio::pin!(running);
    loop {
        // Judged once more after subscribing: the members may have changed since the handshake.
        if let Err(reject) = shared.roster().judge(&admission.hello) {
            return ConnectionError::Refused(reject);
        }
        tokio::select! {
            ended = &mut running => return ended,
            changed = changes.changed() => {
                if changed.is_err() {
                    return ConnectionError::Stopped;
                }
            }
        }
    }
}
