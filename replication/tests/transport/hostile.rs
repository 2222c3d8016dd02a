//! Strangers at the port, over real sockets.

use std::time::Duration;

use resprout_replication::transport::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::node::{Node, ack, eventually, local, options, pair, secret};
use crate::proxy::{Mode, Proxy};

/// What the node says to a stranger until it closes.
async fn answer_to(address: &str, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _reset = stream.write_all(said).await;
    let _reset = stream.shutdown().await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    answer
}

/// Promise: a recorded connection, said again to the same node, is refused, and every beginning of it
/// ends cleanly (row S12).
#[tokio::test]
async fn s12_a_recorded_connection_opens_nothing() {
    let (mut one, mut two) = (Node::new(1).await, Node::new(2).await);
    let proxy = Proxy::new(two.address(), Mode::Pass).await;
    two.knows(&[(1, one.address())]);
    one.knows(&[(2, proxy.address.clone())]);
    one.connected().await;
    two.connected().await;
    one.transport.send(NodeId(2), &ack(1, 1));
    two.message().await;
    let recorded = proxy.said(0);
    for length in (0..recorded.len()).step_by(7).chain([recorded.len()]) {
        answer_to(&two.address(), &recorded[..length]).await;
    }
    let wrong = "the cluster secrets differ";
    assert!(two.transport.inbound().last_refusal.unwrap().contains(wrong));
    assert!(two.rest().is_empty(), "nothing was delivered");
    assert_eq!(two.status().connections, 1);
}

/// Promise: bytes of something else, and lengths beyond reason, are let go at once, told by one line,
/// and change nothing.
#[tokio::test]
async fn bytes_of_something_else_are_let_go() {
    let (one, mut two) = pair().await;
    let mut long = b"RSPH\x01\0".to_vec();
    long.extend_from_slice(&u16::MAX.to_le_bytes());
    long.resize(100_000, 7);
    let zeros = vec![0; 1 << 20];
    for (said, why) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "not a handshake of Resprout's replication"),
        (b"RSPR\x01\0\x06\0\xff\xff\xff\x7f\0\0\0\0", "not a handshake"),
        (&long, "record 1 of a handshake with 65535 bytes instead of 96"),
        (b"RSPH\x03\0\x20\0", "record 3 of a handshake where 1 is expected"),
        (b"RSPH\x01\x01\x60\0", "a reserved byte"),
        (&zeros, "not a handshake"),
        (b"", "closed by the other side"),
    ] {
        let before = two.transport.inbound().refused;
        assert_eq!(answer_to(&two.address(), said).await, b"");
        let says = || two.transport.inbound().last_refusal.is_some_and(|last| last.contains(why));
        let is_told = || two.transport.inbound().refused > before && says();
        eventually(is_told, || format!("{why}: {:?}", two.transport.inbound())).await;
    }
    one.transport.send(NodeId(2), &ack(1, 1));
    assert_eq!(two.message().await, ack(1, 1));
}

/// Promise: connections that say nothing have a bounded number of places and a bounded time; nodes
/// that are connected notice nothing, and others still get in (row N14).
#[tokio::test]
async fn n14_a_flood_of_connections_is_bounded() {
    let mut narrow = options(secret());
    narrow.pending_max = 8;
    narrow.handshake_timeout = Duration::from_millis(300);
    let (mut one, mut three) = (Node::new(1).await, Node::with(narrow, local(3, 1)).await);
    let mut two = Node::new(2).await;
    three.knows(&[(1, one.address()), (2, two.address())]);
    one.knows(&[(3, three.address())]);
    one.connected().await;
    three.connected().await;
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(TcpStream::connect(three.address()).await.unwrap());
        assert!(three.transport.inbound().pending <= 9, "{:?}", three.transport.inbound());
    }
    two.knows(&[(3, three.address())]);
    assert_eq!(two.connected().await, (NodeId(3), 1));
    assert_eq!(three.connected().await, (NodeId(2), 1));
    one.transport.send(NodeId(3), &ack(1, 1));
    assert_eq!(three.message().await, ack(1, 1));
    for mut stranger in strangers {
        let mut answer = Vec::new();
        let _reset = stranger.read_to_end(&mut answer).await;
    }
    let is_over = || three.transport.inbound().pending == 0;
    eventually(is_over, || format!("{:?}", three.transport.inbound())).await;
    assert_eq!(three.transport.inbound().refused, 200);
    assert_eq!(one.status().connections, 1);
}
