//! Two nodes find each other, and stay together.

use std::sync::Arc;

use resprout_replication::transport::{Deliver, NodeId, Sender, Transport};
use resprout_replication::{Envelope, Message};
use tokio::sync::mpsc;

use crate::node::{Node, ack, addresses, envelope, frames, local, number, options, pair, secret};

/// Promise: a pair finds each other whoever starts first, on one connection, which carries messages
/// both ways.
#[tokio::test]
async fn a_pair_finds_each_other_whoever_starts_first() {
    for lower_first in [true, false] {
        let (mut one, mut two) = (Node::new(1).await, Node::new(2).await);
        let (to_one, to_two) = (one.address(), two.address());
        if lower_first {
            two.transport.close().await;
            one.knows(&[(2, to_two.clone())]);
            one.fails_with("refused").await;
            let mut again = options(secret());
            again.listen = to_two;
            two = Node::with(again, local(2, 1)).await;
            two.knows(&[(1, to_one)]);
        } else {
            two.knows(&[(1, to_one)]);
            one.knows(&[(2, to_two)]);
        }
        assert_eq!(one.connected().await, (NodeId(2), 1));
        assert_eq!(two.connected().await, (NodeId(1), 1));
        one.transport.send(NodeId(2), &ack(1, 11));
        two.transport.send(NodeId(1), &frames(1, 22, 5_000));
        assert_eq!(two.message().await, ack(1, 11));
        assert_eq!(one.message().await, frames(1, 22, 5_000));
        for node in [&one, &two] {
            let status = node.status();
            assert_eq!((status.connections, status.dropped), (1, 0), "{status:?}");
            assert!(status.connected.is_some() && status.sent == 1 && status.received == 1);
        }
    }
}

/// Promise: all partitions share one connection, and every message arrives as it was sent, in the
/// order of its partition, from several threads at once and of any length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_a_partition_is_kept() {
    const PARTITIONS: u32 = 6;
    const MESSAGES: u64 = 800;
    let (one, mut two) = pair().await;
    let senders: Vec<_> = (0..PARTITIONS)
        .map(|ordinal| {
            let sender = one.transport.sender();
            std::thread::spawn(move || {
                for number in 0..MESSAGES {
                    match (number + u64::from(ordinal)) % 5 {
                        0 => sender.send(NodeId(2), &frames(ordinal, number, 9_000)),
                        1 => sender.send_all(NodeId(2), &[ack(ordinal, number)]),
                        _ => sender.send(NodeId(2), &ack(ordinal, number)),
                    }
                }
            })
        })
        .collect();
    let mut next = [0; PARTITIONS as usize];
    for _ in 0..u64::from(PARTITIONS) * MESSAGES {
        let envelope = two.message().await;
        let place = envelope.from.partition.ordinal as usize;
        assert_eq!(number(&envelope), next[place], "of partition {place}");
        next[place] += 1;
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let status = one.status();
    assert_eq!((status.queued, status.dropped), (0, 0), "{status:?}");
    assert_eq!(status.sent, u64::from(PARTITIONS) * MESSAGES);
}

/// Answers in the task that reads.
struct Echo {
    sender: std::sync::OnceLock<Sender>,
    seen: mpsc::UnboundedSender<NodeId>,
}

impl Deliver for Echo {
    fn deliver(&self, from: NodeId, envelope: Envelope) {
        if let Some(sender) = self.sender.get() {
            sender.send(from, &ack(1, number(&envelope)));
        }
        let _gone = self.seen.send(from);
    }
}

/// Promise: who takes messages may answer there and then; answers to many that came together arrive
/// all the same, in order.
#[tokio::test]
async fn answers_may_be_sent_where_messages_are_taken() {
    let mut one = Node::new(1).await;
    let two = Transport::bind(options(secret()), local(2, 1)).await.unwrap();
    let (seen, _rest) = mpsc::unbounded_channel();
    let sender = std::sync::OnceLock::new();
    assert!(sender.set(two.sender()).is_ok());
    two.set_peers(&addresses(&[(1, one.address())]));
    two.start(Arc::new(Echo { sender, seen }));
    one.knows(&[(2, two.address().to_string())]);
    one.connected().await;
    for size in [1, 2, 100, 1_000] {
        let messages: Vec<_> = (0..size).map(|number| ack(1, number)).collect();
        one.transport.sender().send_all(NodeId(2), &messages);
        for expected in 0..size {
            assert_eq!(number(&one.message().await), expected);
        }
    }
}

/// Promise: when a node is back in another run, it is found again; each side learns of the run and of
/// the loss, although somebody still has the means to send.
#[tokio::test]
async fn a_restarted_node_is_found_again() {
    for restarted in [1, 2] {
        let (one, two) = pair().await;
        let (mut stays, goes) = if restarted == 2 { (one, two) } else { (two, one) };
        let (address, stayed) = (goes.address(), 3 - restarted);
        let forgotten = goes.transport.sender();
        goes.transport.close().await;
        let why = stays.disconnected().await;
        assert!(!why.starts_with("silent"), "{why}: the socket was closed at once");
        forgotten.send(NodeId(stayed), &ack(1, 1));
        let mut again = options(secret());
        again.listen = address;
        let mut back = Node::with(again, local(restarted, 2)).await;
        back.knows(&[(stayed, stays.address())]);
        assert_eq!(stays.connected().await, (NodeId(restarted), 2));
        assert_eq!(back.connected().await, (NodeId(stayed), 1));
    }
}

/// Promise: a node that has another address is found there, and not where it was (row N17).
#[tokio::test]
async fn n17_a_node_that_moved_is_found_by_its_identity() {
    let (mut one, two) = pair().await;
    let mut moved = Node::with(options(secret()), local(2, 2)).await;
    moved.knows(&[(1, one.address())]);
    one.knows(&[(2, moved.address())]);
    one.disconnected().await;
    assert_eq!(one.connected().await, (NodeId(2), 2));
    moved.connected().await;
    one.transport.send(NodeId(2), &ack(1, 5));
    assert_eq!(moved.message().await, ack(1, 5));
    // Its older process is refused from then on, although its address is given again, and also if
    // it was no peer for a while.
    for _ in 0..2 {
        one.knows(&[(2, two.address())]);
        one.fails_with("says it is in run 1 and was seen in run 2").await;
        one.knows(&[]);
    }
}

/// Promise: who is no peer any more is let go on both sides, refused, and taken again when it is one.
#[tokio::test]
async fn a_node_that_is_no_peer_is_let_go() {
    let (mut one, mut two) = pair().await;
    two.knows(&[]);
    two.disconnected().await;
    one.disconnected().await;
    one.fails_with("n1 is not a node of this cluster, as far as is known here").await;
    let lost = two.transport.lost();
    two.transport.send(NodeId(1), &ack(1, 1));
    assert_eq!(two.transport.lost(), lost + 1);
    two.knows(&[(1, one.address())]);
    assert_eq!(one.connected().await, (NodeId(2), 1));
    two.connected().await;
    one.knows(&[]);
    one.disconnected().await;
    assert_eq!(two.disconnected().await, "closed by the other side");
    assert!(one.rest().is_empty());
}

/// Promise: what is sent without a connection, or is too long, is counted as dropped.
#[tokio::test]
async fn what_cannot_be_sent_is_counted() {
    let mut one = Node::new(1).await;
    one.knows(&[(2, "127.0.0.1:1".to_owned())]);
    one.transport.send(NodeId(2), &ack(1, 1));
    one.transport.sender().send_all(NodeId(2), &[ack(1, 1), ack(1, 2)]);
    assert_eq!((one.status().dropped, one.status().queued), (3, 0));
    assert!(one.rest().is_empty());
    let (one, mut two) = pair().await;
    let pages = vec![(1, bytes::Bytes::from(vec![0; 9 << 20]))];
    one.transport.send(NodeId(2), &envelope(1, Message::Pages { image: 1, pages }));
    one.transport.send(NodeId(2), &ack(1, 1));
    assert_eq!(two.message().await, ack(1, 1));
    assert_eq!((one.status().dropped, one.status().sent), (1, 1));
}
