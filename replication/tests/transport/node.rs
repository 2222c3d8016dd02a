//! A node of a test: a transport, and what it brings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use resprout_replication::transport::{
    ConnectionError, Deliver, LocalNode, NodeId, PeerStatus, Secret, Transport, TransportOptions,
};
use resprout_replication::{
    Ack, Envelope, Frame, Identity, Incarnation, Instance, Message, Partition, StreamId,
};
use resprout_wal::frame::Header;
use resprout_wal::{Lsn, Term};
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(crate) const CLUSTER: u128 = 77;
/// Nothing here takes so long, on any machine.
const BOUND: Duration = Duration::from_secs(30);

/// What a transport has brought.
#[derive(Debug)]
pub(crate) enum News {
    Message(Envelope),
    Connected(NodeId, u64),
    Disconnected(String),
}

struct Inbox(mpsc::UnboundedSender<News>);

impl Deliver for Inbox {
    fn deliver(&self, _from: NodeId, envelope: Envelope) {
        let _gone = self.0.send(News::Message(envelope));
    }

    fn connected(&self, node: NodeId, run: u64) {
        let _gone = self.0.send(News::Connected(node, run));
    }

    fn disconnected(&self, _node: NodeId, why: &ConnectionError) {
        let _gone = self.0.send(News::Disconnected(why.to_string()));
    }
}

pub(crate) struct Node {
    pub(crate) transport: Transport,
    news: mpsc::UnboundedReceiver<News>,
}

pub(crate) fn secret() -> Secret {
    Secret::new(b"the secret of the tests' cluster").unwrap()
}

/// Short times, and a free port.
pub(crate) fn options(secret: Secret) -> TransportOptions {
    let mut options = TransportOptions::new("127.0.0.1:0", secret, 7);
    options.retry_max = Duration::from_millis(20);
    options.beat = Duration::from_millis(50);
    options.silence = Duration::from_millis(1_000);
    options
}

pub(crate) fn local(node: u64, run: u64) -> LocalNode {
    LocalNode { node: NodeId(node), cluster: CLUSTER, run }
}

/// Addresses as a transport takes them.
pub(crate) fn addresses(nodes: &[(u64, String)]) -> BTreeMap<NodeId, String> {
    nodes.iter().map(|(node, address)| (NodeId(*node), address.clone())).collect()
}

impl Node {
    /// A node that nobody can reach yet, in its first run.
    pub(crate) async fn new(node: u64) -> Self {
        Self::with(options(secret()), local(node, 1)).await
    }

    pub(crate) async fn with(options: TransportOptions, local: LocalNode) -> Self {
        let transport = Transport::bind(options, local).await.unwrap();
        let (sender, news) = mpsc::unbounded_channel();
        transport.start(Arc::new(Inbox(sender)));
        Self { transport, news }
    }

    pub(crate) fn address(&self) -> String {
        self.transport.address().to_string()
    }

    pub(crate) fn knows(&self, nodes: &[(u64, String)]) {
        self.transport.set_peers(&addresses(nodes));
    }

    pub(crate) async fn news(&mut self) -> News {
        timeout(BOUND, self.news.recv()).await.expect("news").expect("a transport that lives")
    }

    /// Waits for a connection with that node; its run. Losses before it are passed over.
    pub(crate) async fn connected(&mut self) -> (NodeId, u64) {
        loop {
            match self.news().await {
                News::Connected(node, run) => return (node, run),
                News::Disconnected(..) => {}
                News::Message(envelope) => panic!("{envelope:?}"),
            }
        }
    }

    /// Waits for the loss of a connection, and says why.
    pub(crate) async fn disconnected(&mut self) -> String {
        loop {
            match self.news().await {
                News::Disconnected(why) => return why,
                News::Message(..) => {}
                News::Connected(node, _) => panic!("connected to {node}"),
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Envelope {
        match self.news().await {
            News::Message(envelope) => envelope,
            other => panic!("{other:?}"),
        }
    }

    /// What has come and was not taken.
    pub(crate) fn rest(&mut self) -> Vec<News> {
        std::iter::from_fn(|| self.news.try_recv().ok()).collect()
    }

    pub(crate) fn status(&self) -> PeerStatus {
        self.transport.status().remove(0)
    }

    /// Waits until the only peer's last error is one that says this.
    pub(crate) async fn fails_with(&self, said: &str) {
        let says = || self.status().last_error.is_some_and(|error| error.contains(said));
        eventually(says, || format!("{said:?} in {:?}", self.status())).await;
    }
}

/// Waits until something is so that nobody tells.
pub(crate) async fn eventually(is_so: impl Fn() -> bool, what: impl Fn() -> String) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < BOUND, "not in time: {}", what());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Two nodes, 1 and 2, that are connected.
pub(crate) async fn pair() -> (Node, Node) {
    let (mut one, mut two) = (Node::new(1).await, Node::new(2).await);
    one.knows(&[(2, two.address())]);
    two.knows(&[(1, one.address())]);
    assert_eq!(one.connected().await, (NodeId(2), 1));
    assert_eq!(two.connected().await, (NodeId(1), 1));
    (one, two)
}

pub(crate) fn envelope(ordinal: u32, message: Message) -> Envelope {
    let partition = Partition { cluster: CLUSTER, database: 1, ordinal };
    let from = Identity { partition, instance: Instance(1), incarnation: Incarnation(1) };
    let stream = StreamId { run: Incarnation(1), number: 1 };
    Envelope { from, to: Instance(2), term: Term(1), stream, message }
}

/// An acknowledgement that says which it is.
pub(crate) fn ack(ordinal: u32, number: u64) -> Envelope {
    envelope(ordinal, Message::Ack(Ack { end: Lsn(number), ..Ack::default() }))
}

/// One frame with a payload of so many bytes, which says which it is.
pub(crate) fn frames(ordinal: u32, number: u64, bytes: usize) -> Envelope {
    let payload = Bytes::from(vec![number as u8; bytes]);
    let header = Header {
        lsn: Lsn(number * 4096),
        term: Term(1),
        chain: 0,
        flags: 0,
        payload_len: bytes as u32,
        payload_crc: crc32fast::hash(&payload),
        committed: Lsn(0),
        durable: Lsn(0),
    };
    let frames = vec![Frame::new(header, payload).unwrap()];
    envelope(ordinal, Message::Frames { frames, committed: Lsn(number) })
}

/// The number that [`ack`] or [`frames`] was given.
pub(crate) fn number(envelope: &Envelope) -> u64 {
    match &envelope.message {
        Message::Ack(ack) => ack.end.0,
        Message::Frames { committed, .. } => committed.0,
        other => panic!("{other:?}"),
    }
}
