//! A replicated register: three nodes agree on one number, whatever happens to any of them.
//!
//! ```text
//! cargo run --release --example register
//! ```
//!
//! Each node has a data directory, a log on disk and a TCP port, as in production; only that all three
//! live in this process. One begins alone, two join. Then the leader is killed, another takes
//! over, and the killed one comes back. Everything said is checked.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use resprout_consensus::machine::{RestoreError, StateMachine};
use resprout_consensus::node::{Node, Options, Parts};
use resprout_consensus::store::{Store, StoreOptions};
use resprout_consensus::transport::{Local, TcpOptions, TcpTransport};
use resprout_consensus::{
    Config, Identity, Index, Member, NodeId, Recovered, StoreId, Timing, Vote,
};
use resprout_wal::disk::{Disk, open_default};
use resprout_wal::world::{BootClock, OsEntropy};
use resprout_wal::{Device, World};

type Failure = Box<dyn Error>;

/// What is replicated: a number. A command adds to it, and is answered with the sum.
#[derive(Debug, Default)]
struct Register(i64);

impl StateMachine for Register {
    fn apply(&mut self, _index: Index, command: &[u8]) -> Bytes {
        // A command that is no number must not stop the nodes that find it in their log.
        let text = std::str::from_utf8(command).unwrap_or_default();
        self.0 += text.parse::<i64>().unwrap_or(0);
        Bytes::from(self.0.to_string())
    }

    fn snapshot(&self) -> Bytes {
        Bytes::from(self.0.to_string())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        let text = std::str::from_utf8(state).unwrap_or_default();
        self.0 = text.parse().map_err(|_| RestoreError(format!("'{text}' is no number")))?;
        Ok(())
    }
}

const CLUSTER: u128 = 0x5eed;

/// A node and the device that its log lies on, which must live as long.
struct Server {
    node: Node<Register>,
    address: String,
    _device: Device,
}

/// Starts a node on its directory, which is made if it is new; `begins` makes it the first node of
/// a new cluster.
async fn start(dir: &Path, id: u64, listen: &str, begins: bool) -> Result<Server, Failure> {
    let disk: Arc<dyn Disk> = open_default();
    let world =
        World { disk: disk.clone(), clock: Arc::new(BootClock), entropy: Arc::new(OsEntropy) };
    let device = Device::open(world, dir, resprout_wal::Options::new(CLUSTER, id))?;
    // A real node draws a random number when its directory is made.
    let store_id = Store::find(&device).unwrap_or(StoreId(1000 + id));
    let identity = Identity { node: NodeId(id), store: store_id };
    let options = StoreOptions { cluster: CLUSTER, store: store_id, dir: dir.join("raft") };
    if Store::find(&device).is_none() {
        let member = Member { store: store_id, address: listen.to_owned(), vote: Vote::Voter };
        let first = Recovered::first(identity.node, member);
        let first = if begins { first } else { Recovered::default() };
        Store::create(&device, disk.clone(), options.clone(), &first)?.close_clean()?;
    }
    let (storage, recovered) = Store::open(&device, disk, options)?;
    let local = Local { identity, boot: recovered.boot, cluster: CLUSTER };
    let (transport, incoming) = TcpTransport::bind(TcpOptions::new(listen, id), local).await?;
    let address = transport.address().to_string();
    let timing = Timing::new(Duration::from_millis(300))?;
    let parts = Parts { state: Register::default(), storage, recovered, transport, incoming };
    let node = Node::start(Options::new(identity, Config::new(timing)), parts)?;
    Ok(Server { node, address, _device: device })
}

/// A port that is free now: members know each other by address, so it must stay the same.
fn free_address() -> Result<String, Failure> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

#[expect(clippy::print_stdout, reason = "an example talks")]
async fn run() -> Result<(), Failure> {
    let dirs = [tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?];
    let address = free_address()?;
    let first = start(dirs[0].path(), 1, &address, true).await?;
    let mut others = Vec::new();
    for (id, dir) in [(2, &dirs[1]), (3, &dirs[2])] {
        let server = start(dir.path(), id, &free_address()?, false).await?;
        let leader = first.node.handle();
        leader.add_learner(NodeId(id), StoreId(1000 + id), server.address.clone()).await?;
        leader.promote(NodeId(id)).await?;
        println!("node {id} has joined and votes");
        others.push(server);
    }

    let at_two = others[0].node.handle().clone();
    let sum = at_two.propose("40").await?;
    println!("node 2 adds 40: the register is {}", String::from_utf8_lossy(&sum.answer));
    let seen = others[1].node.handle().read(|register| register.0).await?;
    println!("node 3 reads {seen}");
    assert_eq!(seen, 40);

    println!("node 1, the leader, is killed");
    drop(first);
    let killed = Instant::now();
    let sum = at_two.propose("2").await?;
    println!(
        "node 2 adds 2: the register is {}, {:.0} ms after the kill",
        String::from_utf8_lossy(&sum.answer),
        killed.elapsed().as_secs_f64() * 1e3
    );
    assert_eq!(sum.answer, "42");

    let back = start(dirs[0].path(), 1, &address, false).await?;
    let seen = back.node.handle().read(|register| register.0).await?;
    println!("node 1 is back and reads {seen}");
    assert_eq!(seen, 42);
    for server in others.into_iter().chain([back]) {
        server.node.stop().await;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}
