//! What all tasks of one transport share. Each lock is held for one look or change, never across a
//! wait; a roster's lock may be held when the inbound connections' is taken, never the other way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::connection::ConnectionError;
use super::options::{Local, TcpOptions};
use super::peer::Peer;
use super::queue::Queue;
use super::roster::Roster;
use super::status::InboundStatus;
use crate::transport::Incoming;
use crate::wire::{Hello, Reject, Welcome};
use crate::{Envelope, NodeId};

/// So many lines about refused connections within [`LINES_WITHIN`]; others are only counted.
const LINES_MAX: u32 = 10;
const LINES_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: TcpOptions,
    pub(super) local: Local,
    pub(super) incoming: mpsc::Sender<Incoming>,
    /// Changes whenever the members do.
    pub(super) members_changed: watch::Sender<u64>,
    roster: Mutex<Roster>,
    /// Connections to this node, by who is at the other end: one each.
    inbound: Mutex<BTreeMap<NodeId, Arc<Queue>>>,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    refusals: Mutex<Refusals>,
}

/// Connections to this node that came to nothing.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    last: Option<String>,
    window: Option<Instant>,
    lines: u32,
    silenced: u64,
}

/// The place of one connection to this node, free again when dropped.
#[derive(Debug)]
pub(super) struct Admission {
    shared: Arc<Shared>,
    pub(super) hello: Hello,
    pub(super) queue: Arc<Queue>,
}

/// Nothing that these locks guard is ever half changed: each change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        options: TcpOptions,
        local: Local,
        incoming: mpsc::Sender<Incoming>,
    ) -> Arc<Self> {
        Arc::new(Self {
            options,
            local,
            incoming,
            members_changed: watch::Sender::new(0),
            roster: Mutex::new(Roster::new(local)),
            inbound: Mutex::default(),
            peers: Mutex::default(),
            refusals: Mutex::default(),
        })
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        locked(&self.roster)
    }

    pub(super) fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Peer>>> {
        locked(&self.peers)
    }

    pub(super) fn queue(&self) -> Queue {
        Queue::new(self.options.queue_messages_max, self.options.queue_bytes_max)
    }

    /// Lets somebody in, or says why not. Its earlier connection, if there is one, ends: it may be
    /// one that only this side believes in.
    pub(super) fn admit(self: &Arc<Self>, hello: &Hello) -> Result<(Welcome, Admission), Reject> {
        let mut roster = self.roster();
        let welcome = roster.judge(hello)?;
        let mut inbound = locked(&self.inbound);
        let is_guest = |node: &NodeId| !roster.is_member(*node);
        let guests = inbound.keys().filter(|node| is_guest(node)).count();
        let has_place = inbound.contains_key(&hello.node) || !is_guest(&hello.node);
        if !has_place && guests >= self.options.guests_max {
            return Err(Reject::Busy);
        }
        let queue = Arc::new(self.queue());
        if let Some(older) = inbound.insert(hello.node, queue.clone()) {
            older.close();
        }
        drop(inbound);
        roster.note(hello.node, hello.store, hello.boot);
        Ok((welcome, Admission { shared: self.clone(), hello: *hello, queue }))
    }

    /// Takes the answer to a greeting, or says what is wrong with it.
    pub(super) fn accept_answer(&self, to: NodeId, welcome: &Welcome) -> Result<(), Reject> {
        let mut roster = self.roster();
        roster.judge_answer(to, welcome)?;
        roster.note(welcome.node, welcome.store, welcome.boot);
        Ok(())
    }

    /// To somebody who is no member here: only on the connection that it has opened. Whether there
    /// is one.
    pub(super) fn send_to_guest(&self, envelope: Envelope) -> bool {
        let queue = locked(&self.inbound).get(&envelope.to).cloned();
        queue.map(|queue| queue.push(envelope)).is_some()
    }

    pub(super) fn inbound_count(&self) -> usize {
        locked(&self.inbound).len()
    }

    /// A connection to this node came to nothing, or was lost: counted, and told in one line, but
    /// not more often than a log can bear.
    pub(super) fn note_refused(&self, address: SocketAddr, error: &ConnectionError) {
        let mut refusals = locked(&self.refusals);
        refusals.count += 1;
        refusals.last = Some(format!("{address}: {error}"));
        let now = Instant::now();
        if refusals.window.is_none_or(|begun| now - begun > LINES_WITHIN) {
            refusals.window = Some(now);
            refusals.lines = 0;
        }
        if refusals.lines == LINES_MAX {
            refusals.silenced += 1;
            return;
        }
        refusals.lines += 1;
        let silenced = std::mem::take(&mut refusals.silenced);
        drop(refusals);
        tracing::warn!(%address, %error, silenced, "a connection was refused");
    }

    pub(super) fn inbound_status(&self) -> InboundStatus {
        let connections = self.inbound_count();
        let refusals = locked(&self.refusals);
        let (refused, last_refusal) = (refusals.count, refusals.last.clone());
        InboundStatus { connections, refused, last_refusal }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut inbound = locked(&self.shared.inbound);
        // A newer connection of that node may be there.
        if inbound.get(&self.hello.node).is_some_and(|queue| Arc::ptr_eq(queue, &self.queue)) {
            inbound.remove(&self.hello.node);
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::raft::Identity;
    use crate::{Member, Membership, StoreId, Vote};

    /// What the tasks of node `id` share, in a cluster of `members`. What comes in is lost.
    pub(in crate::transport::tcp) fn shared(id: u64, members: &[u64]) -> Arc<Shared> {
        let identity = Identity { node: NodeId(id), store: StoreId(id + 100) };
        let local = Local { identity, boot: 5, cluster: 77 };
        let (incoming, _lost) = mpsc::channel(1);
        let shared = Shared::new(TcpOptions::new("127.0.0.1:0", id), local, incoming);
        let member = |id: &u64| {
            let address = String::new();
            (NodeId(*id), Member { store: StoreId(*id + 100), address, vote: Vote::Voter })
        };
        let members = members.iter().map(member).collect();
        shared.roster().set_members(&Membership { members });
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::testing::shared;
    use super::*;
    use crate::StoreId;

    fn stranger(id: u64) -> Hello {
        let mut hello = shared(2, &[]).roster().hello(NodeId(1));
        hello.node = NodeId(id);
        hello.store = StoreId(id + 100);
        hello
    }

    /// Promise: nodes that are no members here have bounded room, which they cannot take from
    /// members; who goes makes room.
    #[test]
    fn guests_are_bounded() {
        let shared = shared(1, &[1, 2]);
        let places: Vec<_> = (10..26).map(|id| shared.admit(&stranger(id)).unwrap().1).collect();
        assert_eq!(shared.admit(&stranger(26)).unwrap_err(), Reject::Busy);
        assert!(shared.admit(&stranger(2)).is_ok(), "a member has its place");
        assert!(shared.admit(&stranger(10)).is_ok(), "who is in may come again");
        drop(places);
        assert!(shared.admit(&stranger(26)).is_ok());
    }

    /// Promise: a node has one connection here; the newer one ends the older, whose end does not
    /// take the newer one's place.
    #[test]
    fn the_newer_connection_stays() {
        let shared = shared(1, &[1, 2]);
        let (_, older) = shared.admit(&stranger(2)).unwrap();
        let (_, newer) = shared.admit(&stranger(2)).unwrap();
        drop(older);
        assert_eq!(shared.inbound_count(), 1);
        drop(newer);
        assert_eq!(shared.inbound_count(), 0);
    }
}
