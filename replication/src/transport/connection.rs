//! One connection after its handshake: messages in, messages out, signs of life both ways.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::error::ConnectionError;
use super::handshake::Session;
use super::outbox::Link;
use super::peer::Peer;
use super::reader::MessageReader;
use super::shared::Shared;
use super::{Deliver, TransportOptions};
use crate::wire::Received;

/// Carries messages both ways until something ends it, and says why.
pub(super) async fn run(
    stream: TcpStream,
    session: Session,
    peer: &Arc<Peer>,
    shared: &Shared,
    deliver: &dyn Deliver,
) -> ConnectionError {
    let remote = stream.peer_addr().ok();
    let (reader, writer) = stream.into_split();
    let link = Link::new(writer);
    // What comes in on two connections must not be mixed: the older one ends first.
    peer.outbox.end(ConnectionError::Replaced);
    let _turn = peer.past.turn.lock().await;
    peer.outbox.connect(link.clone());
    let place = Place { peer, link: &link };
    // A third one may have come meanwhile; it could not end this one before it was here.
    if !peer.is_newest(session.number) {
        return ConnectionError::Replaced;
    }
    peer.up(&session, remote);
    let (node, run, version) = (peer.node, session.other.run, session.version);
    tracing::info!(%node, run, version, ?remote, "connected");
    deliver.connected(node, run);
    let error = converse(reader, &link, peer, shared, deliver).await;
    drop(place);
    deliver.disconnected(node, &error);
    error
}

/// The place of the connection that there is: also given up if its task is ended from outside.
/// Else senders would hold the socket open.
struct Place<'a> {
    peer: &'a Peer,
    link: &'a Arc<Link>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.peer.outbox.disconnect(self.link);
        self.peer.ended();
    }
}

async fn converse(
    reader: OwnedReadHalf,
    link: &Arc<Link>,
    peer: &Arc<Peer>,
    shared: &Shared,
    deliver: &dyn Deliver,
) -> ConnectionError {
    let reader = MessageReader::new(reader, shared.options.message_bytes_max);
    // A task of its own: much to be written and much that comes in keep two threads busy.
    let mut writing = JoinSet::new();
    let (of_writer, link_of_writer) = (peer.clone(), link.clone());
    writing.spawn(async move { of_writer.outbox.run(&link_of_writer).await });
    tokio::select! {
        biased;
        ended = link.ended() => ended,
        ended = read(reader, link, peer, shared, deliver) => ended,
        Some(ended) = writing.join_next() => ended.unwrap_or(ConnectionError::Closed),
        ended = watch(peer, &shared.options) => ended,
    }
}

async fn read(
    mut reader: MessageReader<OwnedReadHalf>,
    link: &Arc<Link>,
    peer: &Peer,
    shared: &Shared,
    deliver: &dyn Deliver,
) -> ConnectionError {
    loop {
        let arrived = match reader.fill().await {
            Ok(bytes) => bytes,
            Err(error) => return error,
        };
        peer.received_bytes.fetch_add(arrived as u64, Ordering::Relaxed);
        if let Err(error) = take(&mut reader, link, peer, shared, deliver) {
            return error;
        }
    }
}

/// Hands on what has arrived. Answers to several messages go together; the answer to one goes at
/// once.
fn take(
    reader: &mut MessageReader<OwnedReadHalf>,
    link: &Arc<Link>,
    peer: &Peer,
    shared: &Shared,
    deliver: &dyn Deliver,
) -> Result<(), ConnectionError> {
    let mut is_corked = false;
    let mut next = reader.cut()?;
    let ended = loop {
        let Some(received) = next else { break Ok(()) };
        if let Received::Envelope(envelope) = &received {
            let (expected, found) = (shared.local.cluster, envelope.from.partition.cluster);
            if expected != found {
                break Err(ConnectionError::Foreign { expected, found });
            }
        }
        // A flaw behind this message does not undo it.
        let following = reader.cut();
        if !is_corked && matches!(following, Ok(Some(_))) {
            is_corked = peer.outbox.cork();
        }
        peer.received.fetch_add(1, Ordering::Relaxed);
        match received {
            Received::Envelope(envelope) => deliver.deliver(peer.node, envelope),
            Received::Note(lane, bytes) => deliver.note(peer.node, lane, bytes),
        }
        match following {
            Ok(following) => next = following,
            Err(error) => break Err(error),
        }
    };
    if is_corked {
        peer.outbox.uncork(link);
    }
    ended
}

/// Says and expects signs of life. Looks once in a while, so that messages cost no timers.
async fn watch(peer: &Peer, options: &TransportOptions) -> ConnectionError {
    let mut ticks = interval(options.beat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let received = || peer.received_bytes.load(Ordering::Relaxed);
    let mut said = peer.outbox.counts().sent_bytes;
    let mut heard = (received(), Instant::now());
    loop {
        ticks.tick().await;
        if peer.outbox.counts().sent_bytes == said {
            peer.outbox.beat();
        }
        said = peer.outbox.counts().sent_bytes;
        if received() != heard.0 {
            heard = (received(), Instant::now());
        } else if heard.1.elapsed() >= options.silence {
            return ConnectionError::Silent(options.silence);
        }
    }
}
