//! Nodes of one process.

use resprout_consensus::NodeId;
use resprout_consensus::transport::local::{Hub, LocalTransport};
use resprout_consensus::transport::{Incoming, Transport};
use tokio::sync::mpsc::Receiver;

use crate::samples::{envelopes, numbered};

const ROOM: usize = 32;

fn two(hub: &Hub) -> [(LocalTransport, Receiver<Incoming>); 2] {
    [1, 2].map(|id| hub.join(NodeId(id), ROOM))
}

/// Promise: messages arrive in order, in both directions.
#[test]
fn messages_arrive() {
    let hub = Hub::new();
    let [(mut one, mut to_one), (mut two, mut to_two)] = two(&hub);
    for (_, envelope) in envelopes(1, 2) {
        one.send(envelope.clone());
        assert_eq!(to_two.try_recv().unwrap(), Incoming::Message(envelope));
    }
    two.send(numbered(2, 1, 1));
    assert_eq!(to_one.try_recv().unwrap(), Incoming::Message(numbered(2, 1, 1)));
}

/// Promise: a link is cut one way and heals; its loss is told to the sender once each time.
#[test]
fn links_are_cut_one_way() {
    let hub = Hub::new();
    let [(mut one, mut to_one), (mut two, mut to_two)] = two(&hub);
    for round in 1..=2 {
        hub.cut(NodeId(1), NodeId(2));
        one.send(numbered(1, 2, 1));
        one.send(numbered(1, 2, 2));
        assert_eq!(to_one.try_recv().unwrap(), Incoming::Unreachable(NodeId(2)));
        assert!(to_one.try_recv().is_err() && to_two.try_recv().is_err());
        assert_eq!(hub.dropped(), 2 * round);
        two.send(numbered(2, 1, 3));
        assert_eq!(to_one.try_recv().unwrap(), Incoming::Message(numbered(2, 1, 3)));
        hub.heal(NodeId(1), NodeId(2));
        one.send(numbered(1, 2, 4));
        assert_eq!(to_two.try_recv().unwrap(), Incoming::Message(numbered(1, 2, 4)));
    }
}

/// Promise: an inbox is bounded; what does not fit is dropped and counted, and is no broken link.
#[test]
fn a_full_inbox_drops() {
    let hub = Hub::new();
    let [(mut one, mut to_one), (_two, _full)] = two(&hub);
    for number in 0..ROOM as u64 + 3 {
        one.send(numbered(1, 2, number));
    }
    assert_eq!(hub.dropped(), 3);
    assert!(to_one.try_recv().is_err());
}

/// Promise: a node that leaves is told to be unreachable, and one that joins under its id is reached;
/// the end of the earlier one does not take its place.
#[test]
fn nodes_leave_and_return() {
    let hub = Hub::new();
    let [(mut one, mut to_one), (two, to_two)] = two(&hub);
    drop(to_two);
    one.send(numbered(1, 2, 1));
    assert_eq!(to_one.try_recv().unwrap(), Incoming::Unreachable(NodeId(2)));
    let (again, mut to_again) = hub.join(NodeId(2), ROOM);
    drop(two);
    one.send(numbered(1, 2, 2));
    assert_eq!(to_again.try_recv().unwrap(), Incoming::Message(numbered(1, 2, 2)));
    drop(again);
    one.send(numbered(1, 2, 3));
    assert_eq!(to_one.try_recv().unwrap(), Incoming::Unreachable(NodeId(2)));
}
