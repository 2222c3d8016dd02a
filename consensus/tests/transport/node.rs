//! Nodes on loopback, and strangers that speak byte by byte.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use resprout_consensus::transport::{Incoming, Local, TcpOptions, TcpTransport, Transport};
use resprout_consensus::wire::{HEADER_BYTES, Header, Hello, VERSIONS, Welcome};
use resprout_consensus::{Envelope, Identity, Member, Membership, NodeId, StoreId, Vote};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

pub(crate) const CLUSTER: u128 = 77;

/// No event of these tests takes so long; if it does, it does not come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) transport: TcpTransport,
    pub(crate) incoming: mpsc::Receiver<Incoming>,
}

pub(crate) fn local(id: u64) -> Local {
    let identity = Identity { node: NodeId(id), store: StoreId(id + 100) };
    Local { identity, boot: 5, cluster: CLUSTER }
}

pub(crate) fn options(id: u64) -> TcpOptions {
    TcpOptions::new("127.0.0.1:0", id)
}

/// Members and where they are.
pub(crate) fn members(at: &[(u64, SocketAddr)]) -> Membership {
    let member = |(id, address): &(u64, SocketAddr)| {
        let (store, address) = (StoreId(id + 100), address.to_string());
        (NodeId(*id), Member { store, address, vote: Vote::Voter })
    };
    Membership { members: at.iter().map(member).collect::<BTreeMap<_, _>>() }
}

impl Node {
    pub(crate) async fn new(id: u64) -> Self {
        Self::with(options(id), local(id)).await
    }

    pub(crate) async fn with(options: TcpOptions, local: Local) -> Self {
        let id = local.identity.node.0;
        let (transport, incoming) = TcpTransport::bind(options, local).await.unwrap();
        Self { id, transport, incoming }
    }

    pub(crate) fn at(&self) -> (u64, SocketAddr) {
        (self.id, self.transport.address())
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> Incoming {
        within(self.incoming.recv()).await.expect("the transport lives")
    }

    /// The next message.
    pub(crate) async fn message(&mut self) -> Envelope {
        loop {
            if let Incoming::Message(envelope) = self.next().await {
                return envelope;
            }
        }
    }

    /// Waits until a member is said not to be reached. Messages before are passed over.
    pub(crate) async fn unreachable(&mut self) -> NodeId {
        loop {
            if let Incoming::Unreachable(node) = self.next().await {
                return node;
            }
        }
    }

    pub(crate) fn last_error(&self, node: u64) -> String {
        let status = self.transport.status().peer(NodeId(node)).expect("a member");
        status.last_error.expect("an error")
    }

    /// Waits for the refusal of a connection to this node, without its address.
    pub(crate) async fn refusal(&self, number: u64) -> String {
        let status = self.transport.status();
        until(|| status.inbound().refused >= number).await;
        let last = status.inbound().last_refusal.unwrap();
        last.split_once(": ").unwrap().1.to_owned()
    }
}

/// Waits for an event.
pub(crate) async fn within<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.expect("the event comes")
}

/// Waits until something is so, giving way to all tasks each time.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    within(async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Nodes that know each other.
pub(crate) async fn nodes<const N: usize>() -> [Node; N] {
    let mut nodes = Vec::new();
    for id in 1..=N as u64 {
        nodes.push(Node::new(id).await);
    }
    let membership = members(&nodes.iter().map(Node::at).collect::<Vec<_>>());
    for node in &mut nodes {
        node.transport.set_members(&membership);
    }
    nodes.try_into().unwrap_or_else(|_| unreachable!("there are N"))
}

/// Sends a message until it arrives: messages may be lost when a connection is made anew.
pub(crate) async fn deliver(from: &mut Node, to: &mut Node, envelope: &Envelope) {
    within(async {
        loop {
            from.transport.send(envelope.clone());
            let next = tokio::time::timeout(Duration::from_millis(20), to.incoming.recv()).await;
            match next {
                Ok(Some(Incoming::Message(found))) if found == *envelope => return,
                Ok(None) => panic!("the transport lives"),
                Ok(Some(_)) | Err(_) => {}
            }
        }
    })
    .await;
}

/// Somebody who speaks byte by byte.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

/// What node `from` says to `to`.
pub(crate) fn hello(from: u64, to: u64) -> Hello {
    Hello {
        versions: VERSIONS,
        node: NodeId(from),
        cluster: CLUSTER,
        store: StoreId(from + 100),
        boot: 5,
        to: NodeId(to),
        to_store: StoreId(0),
    }
}

impl Raw {
    pub(crate) async fn connect(node: &Node) -> Self {
        let stream = TcpStream::connect(node.transport.address()).await.unwrap();
        Self { stream }
    }

    /// Node `from` connects, and is welcome.
    pub(crate) async fn greet(from: u64, node: &Node) -> Self {
        let mut raw = Self::connect(node).await;
        raw.say(&hello(from, node.id).encode()).await;
        Welcome::decode(&raw.frame().await).unwrap();
        raw
    }

    /// Node `id` is connected to, and welcomes whoever comes.
    pub(crate) async fn accept(listener: &tokio::net::TcpListener, id: u64) -> Self {
        let mut raw = Self { stream: within(listener.accept()).await.unwrap().0 };
        Hello::decode(&raw.frame().await).unwrap();
        let (node, store) = (NodeId(id), StoreId(id + 100));
        let welcome = Welcome { version: 1, node, cluster: CLUSTER, store, boot: 5 };
        raw.say(&welcome.encode()).await;
        raw
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn frame(&mut self) -> Vec<u8> {
        within(async {
            let mut frame = vec![0; HEADER_BYTES];
            self.stream.read_exact(&mut frame).await.unwrap();
            let header = Header::decode(frame[..].try_into().unwrap(), 1 << 24).unwrap();
            frame.resize(HEADER_BYTES + header.length, 0);
            self.stream.read_exact(&mut frame[HEADER_BYTES..]).await.unwrap();
            frame
        })
        .await
    }

    /// Waits until the other side has closed the connection.
    pub(crate) async fn closed(&mut self) {
        within(async {
            let mut lost = [0; 4096];
            while self.stream.read(&mut lost).await.is_ok_and(|read| read > 0) {}
        })
        .await;
    }
}
