//! A cluster of real processes: aggregators that vote come first, then leaves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Row};
use resprout_node::testing::free_port;

use super::network::Network;
use super::send;

/// How much of a node's log a failed test shows.
const LAST_LINES: usize = 60;
/// Whatever is waited for is there by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Root's, where clients do not come from the node's own machine.
const PASSWORD: &str = "the password of a cluster for tests";

/// What a cluster begins with.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Aggregators, all of which vote.
    pub(crate) voters: usize,
    /// Leaves; with redundancy 2 the second half of them is group 2.
    pub(crate) leaves: usize,
    /// Copies of each partition.
    pub(crate) redundancy: usize,
}

/// A node: where clients reach it, and its process if it runs.
struct Member {
    address: SocketAddr,
    child: Option<Child>,
}

pub(crate) struct Cluster {
    dir: PathBuf,
    shape: Shape,
    members: Vec<Member>,
    network: Option<Network>,
}

impl Cluster {
    /// Starts all nodes on loopback. They are not joined yet.
    pub(crate) fn start(dir: &Path, shape: Shape) -> Self {
        let address = |_| {
            let port = free_port().expect("a port");
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
        };
        let addresses = (0..shape.voters + shape.leaves).map(address).collect();
        Self::start_at(dir, shape, addresses, None)
    }

    /// The same with a network that can be cut: each node is a host of its own.
    pub(crate) fn start_in(dir: &Path, shape: Shape, network: Network) -> Self {
        let addresses = network.hosts().map(|host| SocketAddr::new(IpAddr::V4(host), 3306));
        let addresses: Vec<_> = addresses.collect();
        assert_eq!(addresses.len(), shape.voters + shape.leaves, "a host for each node");
        Self::start_at(dir, shape, addresses, Some(network))
    }

    fn start_at(
        dir: &Path,
        shape: Shape,
        addresses: Vec<SocketAddr>,
        network: Option<Network>,
    ) -> Self {
        std::fs::write(dir.join("secret"), "the secret of a cluster for tests").expect("written");
        let members = addresses.into_iter().map(|address| Member { address, child: None });
        let mut cluster = Self { dir: dir.to_owned(), shape, members: members.collect(), network };
        (0..cluster.members.len()).for_each(|at| cluster.run(at));
        cluster
    }

    /// Starts a node that does not run.
    pub(crate) fn run(&mut self, at: usize) {
        let program = env!("CARGO_BIN_EXE_resproutd");
        let mut command = match &self.network {
            Some(network) => network.command(at, program),
            None => Command::new(program),
        };
        command.args(["member", "--consensus-election-timeout", "1000", "--until-eof"]);
        command.args(["--log-level", "info", "--maximum-memory", "268435456"]);
        command.arg("--data").arg(self.data(at));
        command.arg("--secret-file").arg(self.dir.join("secret"));
        command.args(["--listen", &self.members[at].address.to_string()]);
        if self.network.is_some() {
            command.env("RESPROUT_ROOT_PASSWORD", PASSWORD);
        }
        if at == 0 {
            command.args(["--found", "--redundancy", &self.shape.redundancy.to_string()]);
        }
        let log = self.dir.join(format!("node-{at}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log).expect("a log");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn();
        self.members[at].child = Some(child.expect("the binary runs"));
    }

    /// Starts one more node on loopback, which waits to be added; where it is in the list.
    pub(crate) fn run_another(&mut self) -> usize {
        let port = free_port().expect("a port");
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        self.members.push(Member { address, child: None });
        self.run(self.members.len() - 1);
        self.members.len() - 1
    }

    /// A node's data directory.
    pub(crate) fn data(&self, at: usize) -> PathBuf {
        self.dir.join(format!("node-{at}"))
    }

    /// What a node has logged so far.
    pub(crate) fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.dir.join(format!("node-{at}.log"))).unwrap_or_default()
    }

    pub(crate) fn kill(&mut self, at: usize) {
        let mut child = self.members[at].child.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    /// Ends a node in order.
    pub(crate) fn stop(&mut self, at: usize) {
        let mut child = self.members[at].child.take().expect("it runs");
        drop(child.stdin.take());
        let ended = child.wait().expect("ended");
        assert!(ended.success(), "the node on {} ends in order", self.members[at].address);
    }

    /// Ends all nodes that run, in order.
    pub(crate) fn end(&mut self) {
        for at in 0..self.members.len() {
            if self.members[at].child.is_some() {
                self.stop(at);
            }
        }
    }

    pub(crate) fn signal(&self, at: usize, signal: &str) {
        send(self.members[at].child.as_ref().expect("it runs"), signal);
    }

    /// The network, of a cluster that was started in one.
    pub(crate) fn network(&self) -> &Network {
        self.network.as_ref().expect("started in a network")
    }

    /// Whether it was started in one.
    pub(crate) fn has_network(&self) -> bool {
        self.network.is_some()
    }

    /// Where in the list the leaf of this number is, from 1.
    pub(crate) fn leaf(&self, number: usize) -> usize {
        self.shape.voters + number - 1
    }

    /// Where clients reach a node.
    pub(crate) fn address(&self, at: usize) -> SocketAddr {
        self.members[at].address
    }

    pub(crate) fn port(&self, at: usize) -> u16 {
        self.members[at].address.port()
    }

    /// A node as statements name it.
    pub(crate) fn named(&self, at: usize) -> String {
        let address = self.members[at].address;
        format!("'{}':{}", address.ip(), address.port())
    }

    /// Where clients reach aggregators.
    pub(crate) fn doors(&self) -> Vec<SocketAddr> {
        self.members[..self.shape.voters].iter().map(|member| member.address).collect()
    }

    /// Where in the list a node with that port is; on loopback each has its own.
    pub(crate) fn at(&self, port: u16) -> usize {
        self.members.iter().position(|member| member.address.port() == port).expect("one of ours")
    }

    /// Adds all nodes to the first.
    pub(crate) async fn join(&self) {
        let mut conn = connect(&self.doors()[..1]).await;
        for at in 1..self.members.len() {
            let node = self.named(at);
            let statement = match at.checked_sub(self.shape.voters) {
                None => format!("ADD AGGREGATOR root@{node} AS VOTING MEMBER"),
                Some(leaf) => {
                    let group = 1 + self.shape.redundancy * leaf / self.shape.leaves;
                    format!("ADD LEAF root@{node} INTO GROUP {group}")
                }
            };
            until(&statement, async || conn.query_drop(&statement).await.is_ok()).await;
        }
    }

    /// Waits until all leaves are online, and every partition of the database has all its copies in step.
    pub(crate) async fn whole(&self, database: &str) {
        let doors = self.doors();
        until("the cluster is whole", async || {
            is_whole(&mut connect(&doors).await, database).await
        })
        .await;
    }

    /// Where the master aggregator is in the list, as some aggregator says.
    pub(crate) async fn master(&self) -> Option<usize> {
        let address = master(&mut connect(&self.doors()).await).await?;
        self.members.iter().position(|member| member.address == address)
    }

    /// Waits until another node than `before` is master aggregator; where it is in the list.
    pub(crate) async fn master_other_than(&self, before: usize) -> usize {
        let mut found = None;
        until("another aggregator takes over", async || {
            found = self.master().await.filter(|found| *found != before);
            found.is_some()
        })
        .await;
        found.expect("it was found")
    }
}

impl Drop for Cluster {
    /// A test that failed shows what the nodes had to say. No node stays: one that was stopped by a signal would.
    #[expect(clippy::print_stderr, reason = "for whoever reads why a test failed")]
    fn drop(&mut self) {
        for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !std::thread::panicking() {
            return;
        }
        for (at, member) in self.members.iter().enumerate() {
            let log = self.log(at);
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
            eprintln!("node {at} on {}:\n{last}", member.address);
        }
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A client of the node at that address.
pub(crate) async fn open(address: SocketAddr) -> Result<Conn, Error> {
    let options = OptsBuilder::default().ip_or_hostname(address.ip().to_string());
    let options = options.tcp_port(address.port()).user(Some("root")).prefer_socket(false);
    let password = (!address.ip().is_loopback()).then_some(PASSWORD);
    let opening = Conn::new(options.pass(password));
    match tokio::time::timeout(Duration::from_secs(5), opening).await {
        Ok(opened) => opened,
        Err(late) => Err(Error::from(std::io::Error::from(late))),
    }
}

/// A client of some aggregator that answers.
pub(crate) async fn connect(doors: &[SocketAddr]) -> Conn {
    let end = Instant::now() + PATIENCE;
    loop {
        for door in doors {
            if let Ok(conn) = open(*door).await {
                return conn;
            }
        }
        assert!(Instant::now() < end, "no aggregator answers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The master aggregator, as this one knows it.
pub(crate) async fn master(conn: &mut Conn) -> Option<SocketAddr> {
    let rows: Vec<Row> = conn.query("SHOW AGGREGATORS").await.ok()?;
    let is_master = |row: &&Row| row.get::<u64, _>("Master_Aggregator") == Some(1);
    let found = rows.iter().find(is_master)?;
    let host: String = found.get("Host")?;
    Some(SocketAddr::new(host.parse().ok()?, found.get("Port")?))
}

async fn is_whole(conn: &mut Conn, database: &str) -> bool {
    let leaves: Result<Vec<Row>, Error> = conn.query("SHOW LEAVES").await;
    let copies: Result<Vec<Row>, Error> =
        conn.query(format!("SHOW PARTITIONS EXTENDED ON {database}")).await;
    let sync = "SELECT is_sync FROM information_schema.distributed_databases \
                WHERE database_name = ?";
    let sync: Result<Option<u64>, Error> = conn.exec_first(sync, (database,)).await;
    let (Ok(leaves), Ok(copies), Ok(Some(sync))) = (leaves, copies, sync) else { return false };
    let is_online = |row: &Row| row.get::<String, _>("State").is_some_and(|s| s == "online");
    let in_step = if sync == 1 { "sync" } else { "async" };
    let is_in_step = |row: &Row| {
        let how: String = row.get("Replication_Status").unwrap_or_default();
        (how.is_empty() || how == in_step) && row.get::<u64, _>("Online") == Some(1)
    };
    leaves.iter().all(is_online) && copies.iter().all(is_in_step)
}
