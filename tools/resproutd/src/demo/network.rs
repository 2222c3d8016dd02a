//! The network between the nodes of a demo cluster: each node listens on a loopback address of its own, and is reached through a
//! relay of this process, which can stop to pass on what other nodes say.
//!
//! ```text
//!   node 2 at 127.77.0.2 ──► 127.0.0.1:3307 ─ relay of node 3 ─► 127.77.0.3:3307   passed on, unless 2 or 3 is cut off
//!   client at 127.0.0.1 ───►       "                                    "            passed on always
//! ```
//!
//! A node that is cut off is silent, as behind a cable that was pulled: connections stay open, and what is said in them waits, as TCP
//! has it, until the network heals.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use resprout_tools::failure::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 64 << 10;

/// After a connection that could not be taken.
const BREATHER: Duration = Duration::from_millis(20);

/// Where a node listens and connects from: its number, from 1, in two bytes.
pub(super) fn address(node: usize) -> Ipv4Addr {
    let [.., high, low] = node.to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

/// The node that has an address, if one has.
fn node_at(address: IpAddr) -> Option<usize> {
    let IpAddr::V4(address) = address else { return None };
    let [first, second, high, low] = address.octets();
    (first == 127 && second == 77).then(|| usize::from(high) << 8 | usize::from(low))
}

/// All relays. They end with it.
#[derive(Debug)]
pub(super) struct Network {
    cut: watch::Sender<BTreeSet<usize>>,
    /// Of each node that is there.
    relays: BTreeMap<usize, JoinSet<()>>,
}

impl Network {
    pub(super) fn new() -> Self {
        Self { cut: watch::Sender::default(), relays: BTreeMap::new() }
    }

    /// Passes on what comes to these ports of this machine, to those of the node, on the current runtime.
    ///
    /// # Errors
    /// If a port is taken.
    pub(super) fn relay(&mut self, node: usize, ports: [u16; 2]) -> Result<(), Failure> {
        let mut relays = JoinSet::new();
        for port in ports {
            let listener = listen(port).map_err(|error| {
                let what = format!("cannot listen on 127.0.0.1:{port} for node {node}");
                Failure::new(what, error, "choose another --port")
            })?;
            let to = SocketAddr::from((address(node), port));
            relays.spawn(take(listener, (node, to), self.cut.subscribe()));
        }
        self.relays.insert(node, relays);
        Ok(())
    }

    /// A node is not there any more: nobody listens on its ports, so that others are refused.
    pub(super) fn is_gone(&mut self, node: usize) {
        self.relays.remove(&node);
    }

    /// Nothing goes between this node and the others from now on. Whether it did before.
    pub(super) fn cut(&self, node: usize) -> bool {
        self.cut.send_if_modified(|cut| cut.insert(node))
    }

    /// All nodes that are cut off reach each other again: their numbers.
    pub(super) fn heal(&self) -> Vec<usize> {
        self.cut.send_replace(BTreeSet::new()).into_iter().collect()
    }

    pub(super) fn is_cut(&self, node: usize) -> bool {
        self.cut.borrow().contains(&node)
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Takes connections for a node.
async fn take(
    listener: TcpListener,
    (node, to): (usize, SocketAddr),
    cut: watch::Receiver<BTreeSet<usize>>,
) {
    let mut ways = JoinSet::new();
    loop {
        while ways.try_join_next().is_some() {}
        let Ok((near, from)) = listener.accept().await else {
            // Without descriptors there will be none in the next moment either.
            tokio::time::sleep(BREATHER).await;
            continue;
        };
        let gate = Gate { ends: [node_at(from.ip()), Some(node)], cut: cut.clone() };
        ways.spawn(async move {
            // A node that has just ended, or does not listen yet.
            let Ok(far) = TcpStream::connect(to).await else { return };
            let _slower = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let gate = Arc::new(gate);
            tokio::select! {
                () = pass(near_in, far_out, gate.clone()) => {}
                () = pass(far_in, near_out, gate) => {}
            }
        });
    }
}

/// Whether something goes between two ends.
struct Gate {
    /// None for a client.
    ends: [Option<usize>; 2],
    cut: watch::Receiver<BTreeSet<usize>>,
}

impl Gate {
    fn is_open(&self, cut: &BTreeSet<usize>) -> bool {
        match self.ends {
            [Some(from), Some(to)] => !cut.contains(&from) && !cut.contains(&to),
            _ => true,
        }
    }

    /// Waits until something may pass.
    async fn opens(&self) {
        let mut cut = self.cut.clone();
        // The sender is gone when all ends.
        let _ended = cut.wait_for(|cut| self.is_open(cut)).await;
    }
}

/// One direction, until either end is closed.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gate: Arc<Gate>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match from.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        gate.opens().await;
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
    // That it ended is said through the same network.
    gate.opens().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: addresses name nodes, and nothing else does.
    #[test]
    fn addresses_name_nodes() {
        for node in [1, 2, 255, 256, 1000] {
            assert_eq!(node_at(address(node).into()), Some(node));
        }
        assert_eq!(node_at(Ipv4Addr::LOCALHOST.into()), None);
    }

    /// Promise: a node that is cut off hears nothing from others and loses nothing; a client hears it all the time.
    #[tokio::test]
    async fn what_is_cut_waits() {
        let echo = TcpListener::bind((address(9), 0)).await.expect("a loopback address");
        let port = echo.local_addr().expect("bound").port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = echo.accept().await.expect("a connection");
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ended = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let mut network = Network::new();
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let unused = other.local_addr().expect("bound").port();
        drop(other);
        network.relay(9, [port, unused]).expect("free ports");
        let from = |ip: Ipv4Addr| async move {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind((ip, 0).into()).expect("bound");
            socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.expect("connected")
        };
        let (mut node, mut client) = (from(address(2)).await, from(Ipv4Addr::LOCALHOST).await);
        let mut byte = [0];
        assert!(network.cut(9) && !network.cut(9) && network.is_cut(9));
        for stream in [&mut node, &mut client] {
            stream.write_all(b"x").await.expect("taken");
        }
        client.read_exact(&mut byte).await.expect("an answer");
        let silence = tokio::time::timeout(Duration::from_millis(100), node.read_exact(&mut byte));
        assert!(silence.await.is_err(), "it is cut off");
        assert_eq!(network.heal(), [9]);
        node.read_exact(&mut byte).await.expect("what was said arrives");
        network.is_gone(9);
        assert_eq!(node.read(&mut byte).await.ok().unwrap_or_default(), 0, "its connections end");
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        assert!(refused.is_err(), "nobody listens");
    }
}
