//! What networks do to connections.

use std::time::Duration;

use resprout_replication::transport::NodeId;

use crate::node::{News, Node, ack, frames, local, number, options, secret};
use crate::proxy::{Mode, Proxy};

/// Nodes 1 and 2, connected through a proxy.
async fn through(mode: Mode) -> (Node, Node, Proxy) {
    let (one, two) = (Node::new(1).await, Node::new(2).await);
    let proxy = Proxy::new(two.address(), mode).await;
    two.knows(&[(1, one.address())]);
    one.knows(&[(2, proxy.address.clone())]);
    (one, two, proxy)
}

/// Promise: a connection that is cut anywhere, also within a message, is made again, and no part of a
/// message arrives.
#[tokio::test]
async fn a_cut_within_a_message_is_recovered_from() {
    for after in [144, 150, 160, 200, 5_000, 70_000, 199_999] {
        let (mut one, mut two, proxy) = through(Mode::CutAfter(after)).await;
        one.connected().await;
        two.connected().await;
        one.transport.send(NodeId(2), &frames(1, 1, 200_000));
        one.disconnected().await;
        proxy.set(Mode::Pass);
        one.connected().await;
        let mut news = two.news().await;
        while !matches!(news, News::Connected(..)) {
            assert!(matches!(news, News::Disconnected(..)), "{news:?}");
            news = two.news().await;
        }
        one.transport.send(NodeId(2), &frames(1, 2, 200_000));
        assert_eq!(two.message().await, frames(1, 2, 200_000));
    }
}

/// Promise: packets that vanish without a reset are noticed on both sides by silence, and the
/// connection is made again when they pass (row N13).
#[tokio::test]
async fn n13_a_black_hole_is_noticed_by_silence() {
    let (mut one, mut two, proxy) = through(Mode::Pass).await;
    one.connected().await;
    two.connected().await;
    let begun = std::time::Instant::now();
    proxy.set(Mode::Swallow);
    assert_eq!(one.disconnected().await, "silent for 1000 ms");
    assert_eq!(two.disconnected().await, "silent for 1000 ms");
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    proxy.set(Mode::Pass);
    one.connected().await;
    two.connected().await;
    two.transport.send(NodeId(1), &ack(1, 1));
    assert_eq!(one.message().await, ack(1, 1));
}

/// Promise: an idle connection lives on signs of life alone.
#[tokio::test]
async fn an_idle_connection_lives() {
    let (mut one, mut two) = (Node::new(1).await, Node::new(2).await);
    two.knows(&[(1, one.address())]);
    one.knows(&[(2, two.address())]);
    one.connected().await;
    two.connected().await;
    let idle = || one.status().connected.is_some_and(|up| up.since > Duration::from_millis(2_500));
    crate::node::eventually(idle, || format!("{:?}", one.status())).await;
    assert!(one.rest().is_empty() && two.rest().is_empty());
    assert!(one.status().received_bytes >= 16 * 10, "{:?}", one.status());
}

/// Promise: a connection that only the listening side still believes in is ended by the next one of the
/// same node, long before silence would.
#[tokio::test]
async fn a_half_open_connection_is_replaced() {
    let mut patient = options(secret());
    patient.silence = Duration::from_secs(600);
    let (mut one, mut two) = (Node::new(1).await, Node::with(patient, local(2, 1)).await);
    let proxy = Proxy::new(two.address(), Mode::Pass).await;
    two.knows(&[(1, one.address())]);
    one.knows(&[(2, proxy.address.clone())]);
    one.connected().await;
    two.connected().await;
    proxy.set(Mode::Swallow);
    one.knows(&[(2, two.address())]);
    assert_eq!(one.disconnected().await, "no peer any more, or at another address");
    one.connected().await;
    assert_eq!(two.disconnected().await, "replaced by a newer connection");
    assert_eq!(two.connected().await, (NodeId(1), 1));
    one.transport.send(NodeId(2), &ack(1, 9));
    assert_eq!(two.message().await, ack(1, 9));
    assert_eq!(two.status().connections, 2);
}

/// Promise: a flipped bit closes the connection and is not delivered; the next connection carries
/// messages again (row N15).
#[tokio::test]
async fn n15_a_flipped_bit_closes_the_connection() {
    for at in [150, 160, 250, 1_000, 5_000] {
        let (mut one, mut two, proxy) = through(Mode::FlipAt(at)).await;
        one.connected().await;
        two.connected().await;
        for number in 0..20 {
            one.transport.send(NodeId(2), &frames(1, number, 500));
        }
        one.disconnected().await;
        proxy.set(Mode::Pass);
        one.connected().await;
        one.transport.send(NodeId(2), &ack(1, 100));
        let mut last = None;
        loop {
            match two.news().await {
                News::Message(envelope) if number(&envelope) == 100 => break,
                News::Message(envelope) => {
                    let number = number(&envelope);
                    assert!(last.is_none_or(|last| last < number));
                    assert_eq!(envelope, frames(1, number, 500));
                    last = Some(number);
                }
                News::Connected(..) | News::Disconnected(..) => {}
            }
        }
        assert!(last.is_none_or(|last| last < 19), "one of them was changed");
    }
}

/// Promise: a message of a partition of another cluster ends the connection and is not delivered
/// (row I01).
#[tokio::test]
async fn i01_a_message_of_another_cluster_ends_the_connection() {
    let (one, mut two) = crate::node::pair().await;
    let mut foreign = ack(1, 1);
    foreign.from.partition.cluster = 78;
    one.transport.send(NodeId(2), &ack(1, 0));
    one.transport.send(NodeId(2), &foreign);
    assert_eq!(two.message().await, ack(1, 0));
    let why = "a message of cluster 0000000000000000000000000000004e, here \
               0000000000000000000000000000004d";
    assert_eq!(two.disconnected().await, why);
    assert_eq!(two.connected().await, (NodeId(1), 1));
}
