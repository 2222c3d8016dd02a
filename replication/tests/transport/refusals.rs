//! Nodes that must not talk, over real sockets: both say why, and go on.

use resprout_replication::transport::{NodeId, Secret, Transport, TransportOptions};

use crate::node::{Node, ack, eventually, local, options, pair, secret};

/// Waits until node 1 is told this, and node 2 says so of itself too.
async fn refused(one: &Node, two: &Node, why: &str) {
    one.fails_with(&format!("refused by the other side: {why}")).await;
    let says = || two.transport.inbound().last_refusal.is_some_and(|last| last.ends_with(why));
    eventually(says, || format!("{:?}", two.transport.inbound())).await;
    assert!(two.transport.inbound().last_refusal.unwrap().contains(": refused: "));
    assert!(one.status().connected.is_none());
}

/// Promise: nodes with different secrets, or of different clusters, do not talk; both say why, and
/// nothing is delivered (rows I01, S11).
#[tokio::test]
async fn i01_s11_strangers_do_not_talk() {
    let mut two = Node::new(2).await;
    two.knows(&[(1, "127.0.0.1:1".to_owned())]);
    let other = Secret::new(b"the secret of another cluster").unwrap();
    let one = Node::with(options(other), local(1, 1)).await;
    one.knows(&[(2, two.address())]);
    refused(&one, &two, "the cluster secrets differ: set the same one on all nodes").await;
    one.transport.close().await;
    let mut elsewhere = local(1, 1);
    elsewhere.cluster = 78;
    let one = Node::with(options(secret()), elsewhere).await;
    one.knows(&[(2, two.address())]);
    let why = "cluster 0000000000000000000000000000004e, here 0000000000000000000000000000004d: one \
               of the two addresses is wrong";
    refused(&one, &two, why).await;
    one.transport.send(NodeId(2), &ack(1, 1));
    assert!(two.rest().is_empty());
}

/// Promise: somebody else at an address, and a node's own address given for a peer, are noticed
/// (row N17).
#[tokio::test]
async fn n17_another_node_at_the_address_is_noticed() {
    let (one, three) = (Node::new(1).await, Node::new(3).await);
    three.knows(&[(1, one.address())]);
    one.knows(&[(2, three.address())]);
    refused(&one, &three, "n3 is where n2 was expected: an address that is not up to date").await;
    one.knows(&[(2, one.address())]);
    refused(&one, &one, "n1 has reached itself: the address of a peer is its own").await;
}

/// Promise: of two processes with one id and run the later one is refused, again and again, and the
/// connection of the first one goes on (row I02).
#[tokio::test]
async fn i02_a_copied_directory_does_not_take_over() {
    let (one, mut two) = pair().await;
    let copy = Node::new(1).await;
    copy.knows(&[(2, two.address())]);
    let why = "two processes are n1 in run 1: its directory was copied, stop one of them";
    refused(&copy, &two, why).await;
    let before = two.transport.inbound().refused;
    eventually(|| two.transport.inbound().refused > before + 3, || "attempts".to_owned()).await;
    one.transport.send(NodeId(2), &ack(1, 1));
    assert_eq!(two.message().await, ack(1, 1));
    assert_eq!((one.status().connections, two.status().connections), (1, 1));
}

/// Promise: options that make no sense are refused by name, and an address in use is named.
#[tokio::test]
async fn impossible_options_are_refused() {
    let bind = async |change: fn(&mut TransportOptions)| {
        let mut options = options(secret());
        change(&mut options);
        Transport::bind(options, local(1, 1)).await.unwrap_err().to_string()
    };
    let said = bind(|options| options.beat = std::time::Duration::from_secs(1)).await;
    assert_eq!(said, "silence must be at least four beats");
    let said = bind(|options| options.queue_bytes_max = 1).await;
    assert_eq!(said, "queue_bytes_max is 1, must be at least four messages");
    assert_eq!(bind(|options| options.pending_max = 0).await, "pending_max must not be 0");
    let one = Node::new(1).await;
    let mut taken = options(secret());
    taken.listen = one.address();
    let said = Transport::bind(taken, local(2, 1)).await.unwrap_err().to_string();
    assert!(said.starts_with(&format!("cannot listen on {}: ", one.address())), "{said}");
}
