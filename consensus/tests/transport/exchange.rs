//! Nodes that talk to each other.

use resprout_consensus::NodeId;
use resprout_consensus::transport::{Incoming, Local, Transport};
use resprout_consensus::wire::decode;

use crate::node::{Node, Raw, deliver, local, members, nodes, options, until, within};
use crate::samples::{envelopes, long, numbered};

/// Promise: every kind of message arrives as it was sent, in order, between all of three nodes in
/// both directions.
#[tokio::test]
async fn three_nodes_exchange_everything() {
    let mut nodes = nodes::<3>().await;
    for from in 1..=3 {
        for to in (1..=3).filter(|to| *to != from) {
            for (_, envelope) in envelopes(from, to) {
                nodes[from as usize - 1].transport.send(envelope);
            }
        }
    }
    for to in 1..=3 {
        let mut expected: Vec<_> = (1..=3)
            .filter(|from| *from != to)
            .map(|from| (from, envelopes(from, to).into_iter()))
            .collect();
        for _ in 0..2 * envelopes(1, 2).len() {
            let Incoming::Message(found) = nodes[to as usize - 1].next().await else {
                panic!("nobody is lost");
            };
            let sender = expected.iter_mut().find(|(from, _)| found.from == NodeId(*from));
            assert_eq!(Some(found), sender.unwrap().1.next().map(|(_, envelope)| envelope));
        }
    }
}

/// Promise: long messages arrive whole beside short ones, in order, and are counted.
#[tokio::test]
async fn long_messages_arrive() {
    let [mut one, mut two] = nodes::<2>().await;
    let sizes = [4 << 20, 0, 100_000, 1, 1 << 20];
    for bytes in sizes {
        one.transport.send(long(1, 2, bytes));
    }
    for bytes in sizes {
        assert!(two.message().await == long(1, 2, bytes), "{bytes} bytes");
    }
    let status = one.transport.status();
    until(|| status.peer(NodeId(2)).is_some_and(|peer| peer.sent == 5)).await;
    let peer = status.peer(NodeId(2)).unwrap();
    assert_eq!((peer.queued, peer.queued_bytes, peer.dropped, peer.connections), (0, 0, 0, 1));
    assert!(peer.connected_for.is_some() && peer.last_error.is_none());
}

/// Promise: after a restart on the same port a member is reached again in both directions; its loss
/// is told once.
#[tokio::test]
async fn a_restarted_member_is_reached_again() {
    let [mut one, mut two] = nodes::<2>().await;
    deliver(&mut one, &mut two, &numbered(1, 2, 1)).await;
    deliver(&mut two, &mut one, &numbered(2, 1, 1)).await;
    let (both, address) = (members(&[one.at(), two.at()]), two.transport.address());
    two.transport.close().await;
    assert_eq!(one.unreachable().await, NodeId(2));
    let mut again = options(2);
    again.listen = address.to_string();
    let mut two = Node::with(again, Local { boot: 6, ..local(2) }).await;
    two.transport.set_members(&both);
    deliver(&mut two, &mut one, &numbered(2, 1, 2)).await;
    deliver(&mut one, &mut two, &numbered(1, 2, 2)).await;
    while let Ok(more) = one.incoming.try_recv() {
        assert!(matches!(more, Incoming::Message(_)), "told once: {more:?}");
    }
    assert_eq!(one.transport.status().peer(NodeId(2)).unwrap().connections, 2);
}

/// Promise: a member that comes back is connected to at once, without anything to send and however
/// long the wait before the next attempt is.
#[tokio::test]
async fn who_comes_back_is_not_waited_for() {
    let mut patient = options(1);
    patient.retry_first = std::time::Duration::from_secs(3600);
    patient.retry_max = patient.retry_first;
    let mut one = Node::with(patient, local(1)).await;
    let two = Node::new(2).await;
    let (both, address) = (members(&[one.at(), two.at()]), two.transport.address());
    two.transport.close().await;
    one.transport.set_members(&both);
    assert_eq!(one.unreachable().await, NodeId(2));
    let mut again = options(2);
    again.listen = address.to_string();
    let mut two = Node::with(again, local(2)).await;
    two.transport.set_members(&both);
    let status = one.transport.status();
    until(|| status.peer(NodeId(2)).is_some_and(|peer| peer.connected_for.is_some())).await;
}

/// Promise: a member that moves is reached at its new address, and what may have been lost on the
/// way is told once.
#[tokio::test]
async fn a_member_moves() {
    let [mut one, mut two] = nodes::<2>().await;
    deliver(&mut one, &mut two, &numbered(1, 2, 1)).await;
    let mut moved = Node::with(options(2), Local { boot: 6, ..local(2) }).await;
    let both = members(&[one.at(), moved.at()]);
    one.transport.set_members(&both);
    moved.transport.set_members(&both);
    deliver(&mut one, &mut moved, &numbered(1, 2, 2)).await;
    deliver(&mut moved, &mut one, &numbered(2, 1, 3)).await;
    let status = one.transport.status().peer(NodeId(2)).unwrap();
    assert_eq!(status.address, moved.transport.address().to_string());
}

/// Promise: who moves while connected is told to be unreachable once.
#[tokio::test]
async fn a_move_is_told_once() {
    let [mut one, mut two] = nodes::<2>().await;
    deliver(&mut one, &mut two, &numbered(1, 2, 1)).await;
    let nowhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = nowhere.local_addr().unwrap();
    drop(nowhere);
    one.transport.set_members(&members(&[one.at(), (2, at)]));
    assert_eq!(one.next().await, Incoming::Unreachable(NodeId(2)));
    let status = one.transport.status();
    until(|| status.peer(NodeId(2)).is_some_and(|peer| peer.last_error.is_some())).await;
    assert!(one.incoming.try_recv().is_err(), "it was down already");
}

/// Promise: a learner that knows nobody answers its first leader on the leader's connection; to
/// others there is no way, and that is counted.
#[tokio::test]
async fn who_knows_nobody_can_answer() {
    let (mut leader, mut learner) = (Node::new(1).await, Node::new(2).await);
    leader.transport.set_members(&members(&[leader.at(), learner.at()]));
    deliver(&mut leader, &mut learner, &numbered(1, 2, 1)).await;
    learner.transport.send(numbered(2, 1, 2));
    assert_eq!(leader.message().await, numbered(2, 1, 2));
    learner.transport.send(numbered(2, 3, 3));
    assert_eq!(learner.transport.lost(), 1);
    assert!(learner.transport.status().peers().is_empty());
}

/// Promise: a member that is removed has no connection from here any more.
#[tokio::test]
async fn a_removed_member_is_let_go() {
    let mut one = Node::new(1).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.transport.set_members(&members(&[one.at(), (2, listener.local_addr().unwrap())]));
    let mut two = Raw::accept(&listener, 2).await;
    one.transport.send(numbered(1, 2, 1));
    assert_eq!(decode(&two.frame().await, 1 << 20).unwrap(), numbered(1, 2, 1));
    one.transport.set_members(&members(&[one.at()]));
    two.closed().await;
    assert!(one.transport.status().peers().is_empty());
}

/// Promise: dropping a transport ends all of its tasks, whatever they wait for; closing it waits for
/// that, and frees its port.
#[tokio::test]
async fn no_task_is_left() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let [mut one, mut two] = nodes::<2>().await;
    let stranger = Raw::connect(&one).await;
    one.transport.set_members(&members(&[one.at(), two.at(), (3, ([127, 0, 0, 1], 1).into())]));
    deliver(&mut one, &mut two, &numbered(1, 2, 1)).await;
    assert!(alive() > before);
    let address = one.transport.address();
    one.transport.close().await;
    while within(one.incoming.recv()).await.is_some() {}
    drop(two);
    until(|| alive() == before).await;
    drop(stranger);
    tokio::net::TcpListener::bind(address).await.unwrap();
}
