//! Members that are slow, silent, or gone.

use std::time::Duration;

use resprout_consensus::NodeId;
use resprout_consensus::transport::{Incoming, Transport};
use resprout_consensus::wire::{Encoder, decode};
use tokio::net::TcpListener;

use crate::node::{Node, Raw, deliver, local, members, options, until};
use crate::samples::{long, numbered};

/// Promise: for a member that takes nothing, no more is kept than the bound; the rest is dropped and
/// counted, and other members do not notice.
#[tokio::test]
async fn a_slow_member_costs_its_queue_only() {
    const MESSAGE: usize = 16 << 10;
    const SENT: u64 = 4000;
    let mut bounded = options(1);
    bounded.message_bytes_max = 32 << 10;
    bounded.queue_bytes_max = 128 << 10;
    // The stranger below says nothing more, and that is not what this is about.
    bounded.silence = Duration::from_secs(600);
    let mut one = Node::with(bounded, local(1)).await;
    let mut three = Node::new(3).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let all = members(&[one.at(), (2, listener.local_addr().unwrap()), three.at()]);
    one.transport.set_members(&all);
    let mut two = Raw::accept(&listener, 2).await;
    one.transport.send(numbered(1, 2, 1));
    assert_eq!(decode(&two.frame().await, 1 << 20).unwrap(), numbered(1, 2, 1));
    let status = one.transport.status();
    for _ in 0..SENT {
        one.transport.send(long(1, 2, MESSAGE));
        assert!(status.peer(NodeId(2)).unwrap().queued_bytes <= 128 << 10);
        tokio::task::yield_now().await;
    }
    let peer = status.peer(NodeId(2)).unwrap();
    assert!(peer.dropped > SENT / 4, "{peer:?}");
    assert!(peer.queued > 0 && peer.connected_for.is_some(), "{peer:?}");
    deliver(&mut one, &mut three, &numbered(1, 3, 2)).await;
}

/// Promise: a message that is longer than allowed is not sent and counted; what follows arrives.
#[tokio::test]
async fn a_message_too_long_is_left_out() {
    let mut bounded = options(1);
    bounded.message_bytes_max = 10_000;
    let mut one = Node::with(bounded, local(1)).await;
    let mut two = Node::new(2).await;
    one.transport.set_members(&members(&[one.at(), two.at()]));
    one.transport.send(long(1, 2, 20_000));
    one.transport.send(numbered(1, 2, 1));
    assert_eq!(two.message().await, numbered(1, 2, 1));
    let status = one.transport.status();
    until(|| status.peer(NodeId(2)).is_some_and(|peer| peer.sent == 1)).await;
    assert_eq!(status.peer(NodeId(2)).unwrap().dropped, 1);
}

/// Promise: a member that cannot be reached is told once, not with each attempt or message; what
/// waited for it is forgotten.
#[tokio::test]
async fn a_member_that_is_gone_is_told_once() {
    let mut one = Node::new(1).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = gone.local_addr().unwrap();
    drop(gone);
    one.transport.set_members(&members(&[one.at(), (2, at)]));
    assert_eq!(one.next().await, Incoming::Unreachable(NodeId(2)));
    assert!(one.last_error(2).contains("Connection refused"), "{}", one.last_error(2));
    let status = one.transport.status();
    for number in 0..3 {
        one.transport.send(numbered(1, 2, number));
        until(|| status.peer(NodeId(2)).is_some_and(|peer| peer.dropped > number)).await;
    }
    assert!(one.incoming.try_recv().is_err());
    assert_eq!(status.peer(NodeId(2)).unwrap().queued, 0);
}

/// Promise: a member whose packets vanish is given up after a bounded silence, and until then gets
/// signs of life.
#[tokio::test]
async fn silence_ends_a_connection() {
    let mut quick = options(1);
    quick.beat = Duration::from_millis(20);
    quick.silence = Duration::from_millis(100);
    let mut one = Node::with(quick, local(1)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.transport.set_members(&members(&[one.at(), (2, listener.local_addr().unwrap())]));
    let mut two = Raw::accept(&listener, 2).await;
    let mut beat = Vec::new();
    Encoder::default().put_beat(&mut beat);
    assert_eq!(two.frame().await, beat);
    assert_eq!(one.next().await, Incoming::Unreachable(NodeId(2)));
    assert_eq!(one.last_error(2), "silent for 100 ms");
}

/// Promise: two members that have nothing to say stay connected by signs of life.
#[tokio::test]
async fn signs_of_life_keep_a_connection() {
    let mut nodes = Vec::new();
    for id in 1..=2 {
        let mut quick = options(id);
        quick.beat = Duration::from_millis(10);
        quick.silence = Duration::from_secs(2);
        nodes.push(Node::with(quick, local(id)).await);
    }
    let both = members(&[nodes[0].at(), nodes[1].at()]);
    for node in &mut nodes {
        node.transport.set_members(&both);
    }
    let status = nodes[0].transport.status();
    let longer_than_silence = Duration::from_millis(2100);
    until(|| {
        let peer = status.peer(NodeId(2)).unwrap();
        peer.connected_for.is_some_and(|time| time > longer_than_silence)
    })
    .await;
    assert_eq!(status.peer(NodeId(2)).unwrap().connections, 1);
}
