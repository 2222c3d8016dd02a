//! Strangers, and members that are not who they should be: refused with a reason, nothing changed.

use resprout_consensus::transport::{Incoming, Local, TcpTransport, Transport};
use resprout_consensus::wire::{Hello, Reject, Versions, encode};
use resprout_consensus::{Identity, NodeId, StoreId};
use tokio::net::TcpListener;

use crate::node::{Node, Raw, deliver, hello, local, members, nodes, options};
use crate::samples::numbered;

/// Node 2 as `local` says joins node 1; both sides' words for what came of it.
async fn joined(local: Local) -> (String, String) {
    let mut one = Node::new(1).await;
    let mut two = Node::with(options(2), local).await;
    let both = members(&[one.at(), two.at()]);
    let mut three = Node::new(3).await;
    one.transport.set_members(&members(&[one.at(), two.at(), three.at()]));
    // Only node 2 speaks first.
    two.transport.set_members(&both);
    assert_eq!(two.next().await, Incoming::Unreachable(NodeId(1)));
    let heard = two.last_error(1);
    let said = one.refusal(1).await;
    deliver(&mut one, &mut three, &numbered(1, 3, 1)).await;
    (said, heard)
}

/// Promise: a node of another cluster is refused, and both sides are told why.
#[tokio::test]
async fn another_cluster_is_refused() {
    let (said, heard) = joined(Local { cluster: 78, ..local(2) }).await;
    let why = "cluster 0000000000000000000000000000004e, here 0000000000000000000000000000004d";
    assert_eq!(said, format!("refused: {why}"));
    assert_eq!(heard, format!("refused by the other side: {why}"));
}

/// Promise: a member that returns with another directory is refused, and both sides are told why
/// (row M06).
#[test]
fn m06_another_directory_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let identity = Identity { node: NodeId(2), store: StoreId(7) };
    let (said, heard) = runtime.block_on(joined(Local { identity, ..local(2) }));
    let why = "n2 has store 0000000000000007 instead of 0000000000000066: its directory was lost \
               or is another one; remove it and add it as a new member";
    assert_eq!(said, format!("refused: {why}"));
    assert_eq!(heard, format!("refused by the other side: {why}"));
}

/// Promise: an older image of a directory that this node has seen is refused (row M07); a later run
/// is let in.
#[test]
fn m07_an_older_image_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let one = Node::new(1).await;
        drop(Raw::greet(2, &one).await);
        let mut raw = Raw::connect(&one).await;
        raw.say(&Hello { boot: 4, ..hello(2, 1) }.encode()).await;
        let reject = Reject::decode(&raw.frame().await).unwrap();
        assert_eq!(reject, Reject::OldBoot { store: StoreId(102), seen: 5, found: 4 });
        raw.closed().await;
        Raw::greet(2, &one).await;
    });
}

/// Promise: a program that speaks no common version is told which there are.
#[tokio::test]
async fn another_version_is_refused() {
    let one = Node::new(1).await;
    for (first, last) in [(0, 0), (2, 9)] {
        let mut raw = Raw::connect(&one).await;
        let versions = Versions { first, last };
        raw.say(&Hello { versions, ..hello(2, 1) }.encode()).await;
        let reject = Reject::decode(&raw.frame().await).unwrap();
        assert_eq!(reject.to_string(), format!("protocol versions {first} to {last}, here 1 to 1"));
        raw.closed().await;
    }
    let mut raw = Raw::connect(&one).await;
    raw.say(&Hello { versions: Versions { first: 0, last: 9 }, ..hello(2, 1) }.encode()).await;
    let welcome = resprout_consensus::wire::Welcome::decode(&raw.frame().await).unwrap();
    assert_eq!(welcome.version, 1, "the newest in common");
}

/// Promise: whatever is no greeting ends its connection, in words, and no other.
#[tokio::test]
async fn garbage_is_refused() {
    let [mut one, mut two] = nodes::<2>().await;
    deliver(&mut one, &mut two, &numbered(1, 2, 1)).await;
    let mut damaged = hello(3, 1).encode();
    damaged[20] ^= 1;
    let beat = {
        let mut beat = Vec::new();
        resprout_consensus::wire::Encoder::default().put_beat(&mut beat);
        beat
    };
    let cases: [(&[u8], &str); 4] = [
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "not a frame of Resprout's Raft: it begins with [47, 45, 54, 20]",
        ),
        (&damaged, "checksum "),
        (&beat, "a frame of kind 2 where 3 (hello) is expected"),
        (&encode(&numbered(3, 1, 1), 1 << 20).unwrap(), "a frame of "),
    ];
    for (number, (bytes, said)) in cases.into_iter().enumerate() {
        let mut raw = Raw::connect(&one).await;
        raw.say(bytes).await;
        raw.closed().await;
        let refusal = one.refusal(number as u64 + 1).await;
        assert!(refusal.starts_with(said), "{refusal:?} instead of {said:?}");
    }
    deliver(&mut one, &mut two, &numbered(1, 2, 2)).await;
    deliver(&mut two, &mut one, &numbered(2, 1, 3)).await;
    assert_eq!(one.transport.status().peer(NodeId(2)).unwrap().connections, 1);
    assert_eq!(one.transport.status().inbound().connections, 1);
}

/// Promise: a member that breaks the rules after its greeting loses its connection, and what it said
/// wrong does not arrive.
#[tokio::test]
async fn a_member_must_follow_the_rules() {
    let mut one = Node::new(1).await;
    let mut long = encode(&numbered(2, 1, 1), 1 << 20).unwrap().to_vec();
    long[8..12].copy_from_slice(&(100_u32 << 20).to_le_bytes());
    let mut newer = encode(&numbered(2, 1, 1), 1 << 20).unwrap().to_vec();
    newer[4] = 2;
    let crc = {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&newer[..12]);
        crc.update(&newer[16..]);
        crc.finalize()
    };
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    let foreign = encode(&numbered(3, 1, 1), 1 << 20).unwrap();
    let astray = encode(&numbered(2, 3, 1), 1 << 20).unwrap();
    let cases: [(&[u8], &str); 5] = [
        (&long, "a frame of 104857616 bytes, at most 8388608 are possible"),
        (&newer, "version 2 where 1 is expected"),
        (&foreign, "a message of n3 to n1 on the connection of n2"),
        (&astray, "a message of n2 to n3 on the connection of n2"),
        (&hello(2, 1).encode(), "a frame of kind 3 where 1 (message) or 2 (beat) is expected"),
    ];
    for (number, (bytes, said)) in cases.into_iter().enumerate() {
        let mut raw = Raw::greet(2, &one).await;
        raw.say(bytes).await;
        raw.closed().await;
        assert_eq!(one.refusal(number as u64 + 1).await, said);
    }
    assert!(one.incoming.try_recv().is_err(), "nothing has arrived");
}

/// Promise: whoever answers at a member's address and is not that member is told so, and gets
/// nothing.
#[tokio::test]
async fn who_answers_must_be_who_was_wanted() {
    let mut one = Node::new(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.transport.set_members(&members(&[one.at(), (2, listener.local_addr().unwrap())]));
    let mut raw = Raw::accept(&listener, 3).await;
    let why = Reject::Node { expected: NodeId(2), found: NodeId(3) };
    assert_eq!(Reject::decode(&raw.frame().await).unwrap(), why);
    raw.closed().await;
    assert_eq!(one.next().await, Incoming::Unreachable(NodeId(2)));
    assert_eq!(one.last_error(2), format!("refused: {why}"));
}

/// Promise: of too many connections that say nothing, the oldest goes; a node that means it gets in.
#[tokio::test]
async fn a_flood_keeps_nobody_out() {
    let mut few = options(1);
    few.pending_max = 3;
    let mut one = Node::with(few, local(1)).await;
    let mut two = Node::new(2).await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(Raw::connect(&one).await);
    }
    flood[0].closed().await;
    flood[16].closed().await;
    let both = members(&[one.at(), two.at()]);
    two.transport.set_members(&both);
    deliver(&mut two, &mut one, &numbered(2, 1, 1)).await;
    flood[17].closed().await;
}

/// Promise: a node whose place was taken by another directory is let go when that is known.
#[tokio::test]
async fn a_connection_follows_the_members() {
    let mut one = Node::new(1).await;
    let mut two = Raw::greet(2, &one).await;
    let nowhere = (2, ([127, 0, 0, 1], 1).into());
    let mut changed = members(&[one.at(), nowhere]);
    one.transport.set_members(&changed);
    two.say(&encode(&numbered(2, 1, 1), 1 << 20).unwrap()).await;
    assert_eq!(one.message().await, numbered(2, 1, 1));
    changed.members.get_mut(&NodeId(2)).unwrap().store = StoreId(7);
    one.transport.set_members(&changed);
    two.closed().await;
    assert!(one.refusal(1).await.starts_with("refused: n2 has store 0000000000000066 instead of"));
}

/// Promise: an address that cannot be used and options that make no sense are named.
#[tokio::test]
async fn bad_options_are_named() {
    let one = Node::new(1).await;
    let mut taken = options(2);
    taken.listen = one.transport.address().to_string();
    let said = TcpTransport::bind(taken.clone(), local(2)).await.unwrap_err().to_string();
    assert!(said.starts_with(&format!("cannot listen on {}: ", taken.listen)), "{said}");
    let mut small = options(2);
    small.queue_bytes_max = 5;
    let said = TcpTransport::bind(small, local(2)).await.unwrap_err().to_string();
    assert_eq!(said, "queue_bytes_max is 5, must be at least 8388608");
}
