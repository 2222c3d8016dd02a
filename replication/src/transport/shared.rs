//! What all tasks of one transport share. Each lock is held for one look or change, never across a
//! wait.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::time::Instant;

use super::error::ConnectionError;
use super::handshake::{Greeting, Known, Refusal};
use super::lines::LineLimit;
use super::local::Local;
use super::options::TransportOptions;
use super::peer::Peer;
use super::schedule::Encoded;
use super::status::InboundStatus;
use super::{Lane, NodeId};
use crate::{Envelope, Partition, wire};

/// Stands for notes where a database is named, which no database has.
const NOTES: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: TransportOptions,
    pub(super) local: Local,
    pub(super) peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    /// Messages to nodes that are no peers.
    pub(super) lost: AtomicU64,
    pub(super) pending: AtomicU64,
    refusals: Mutex<Refusals>,
    lines: Mutex<LineLimit>,
}

/// Connections to this node that came to nothing.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    last: Option<String>,
}

/// Nothing that these locks guard is ever half changed: each change is one call.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(options: TransportOptions, local: Local) -> Self {
        Self {
            options,
            local,
            peers: RwLock::default(),
            lost: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            refusals: Mutex::default(),
            lines: Mutex::default(),
        }
    }

    pub(super) fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    pub(super) fn all_peers(&self) -> Vec<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A message as it travels; nothing if it is too long, which is told.
    pub(super) fn encode(&self, to: NodeId, envelope: &Envelope) -> Option<Encoded> {
        let parts = wire::encode_parts(envelope);
        self.bounded(to, envelope.message.name(), (envelope.from.partition, parts))
    }

    /// The same of a note. Each lane has its own order.
    pub(super) fn encode_note(
        &self,
        to: NodeId,
        lane: Lane,
        bytes: bytes::Bytes,
    ) -> Option<Encoded> {
        let flow =
            Partition { cluster: self.local.cluster, database: NOTES, ordinal: u32::from(lane.0) };
        self.bounded(to, "note", (flow, wire::encode_note(lane, bytes)))
    }

    fn bounded(
        &self,
        to: NodeId,
        message: &'static str,
        (partition, parts): (Partition, Vec<bytes::Bytes>),
    ) -> Option<Encoded> {
        let bytes = parts.iter().map(bytes::Bytes::len).sum();
        let max = self.options.message_bytes_max;
        if bytes <= max {
            return Some(Encoded { partition, parts, bytes });
        }
        if let Some(silenced) = locked(&self.lines).allow(Instant::now()) {
            tracing::error!(%to, message, bytes, max, silenced, "a message is too long to be sent");
        }
        None
    }

    /// A connection to this node came to nothing: counted, and told in one line, but not more often
    /// than a log can bear.
    pub(super) fn note_refused(&self, address: SocketAddr, error: &ConnectionError) {
        let mut refusals = locked(&self.refusals);
        refusals.count += 1;
        refusals.last = Some(format!("{address}: {error}"));
        drop(refusals);
        if let Some(silenced) = locked(&self.lines).allow(Instant::now()) {
            tracing::warn!(%address, %error, silenced, "a connection was refused");
        }
    }

    /// A connection to a peer could not be made, or is lost.
    pub(super) fn note_down(&self, peer: &Peer, error: &ConnectionError) {
        let Some(address) = peer.down(error) else { return };
        if let Some(silenced) = locked(&self.lines).allow(Instant::now()) {
            tracing::warn!(node = %peer.node, address, %error, silenced, "no connection");
        }
    }

    pub(super) fn inbound_status(&self) -> InboundStatus {
        let refusals = locked(&self.refusals);
        let (refused, last_refusal) = (refusals.count, refusals.last.clone());
        InboundStatus { pending: self.pending.load(Ordering::Relaxed), refused, last_refusal }
    }
}

impl Known for Shared {
    fn judge(&self, other: &Greeting) -> Result<(), Refusal> {
        let peer = self.peer(other.node).ok_or(Refusal::Unknown { node: other.node })?;
        peer.judge(other)
    }

    fn note(&self, other: &Greeting) -> Result<u64, Refusal> {
        let peer = self.peer(other.node).ok_or(Refusal::Unknown { node: other.node })?;
        peer.note(other)
    }
}
