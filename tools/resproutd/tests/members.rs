//! Nodes of a cluster that start from configuration files, and what they say over HTTP.

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use resprout_node::testing::free_port;
use serde_json::Value;
use support::{directory, file, get};

const PATIENCE: Duration = Duration::from_secs(60);

/// A node: its ports and its process. Dropped, it is killed.
struct Member {
    port: u16,
    http: SocketAddr,
    child: Child,
    config: PathBuf,
}

impl Member {
    /// Starts a node of that role from a file; `how` is the command and its flags.
    fn start(dir: &Path, role: &str, how: &[&str]) -> Self {
        let (port, http) = (free_port().expect("a port"), free_port().expect("a port"));
        let data = dir.join(format!("node-{port}"));
        let text = format!(
            "role = \"{role}\"\nlisten = \"127.0.0.1:{port}\"\ndata = \"{}\"\n\
             http = \"127.0.0.1:{http}\"\n[cluster]\nsecret_file = \"{}\"\n\
             consensus_election_timeout = 1000\n[memory]\nmaximum = \"256MiB\"\n",
            data.display(),
            dir.join("secret").display(),
        );
        let config = file(dir, &format!("{port}.toml"), text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_resproutd"));
        command.args(how).arg("--config").arg(&config).stdin(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn().expect("the binary runs");
        Self { port, http: SocketAddr::from(([127, 0, 0, 1], http)), child, config }
    }

    /// What it answers, once it listens.
    fn get(&self, path: &str) -> (u16, String) {
        until("it listens", || std::net::TcpStream::connect(self.http).is_ok());
        get(self.http, path)
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/status").1).expect("JSON")
    }

    fn is_ready(&self) -> bool {
        self.get("/readyz").0 == 200
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // A failed test leaves no node behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn connect(port: u16) -> Conn {
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port);
    let options = options.user(Some("root")).prefer_socket(false);
    let end = Instant::now() + PATIENCE;
    loop {
        match Conn::new(options.clone()).await {
            Ok(conn) => return conn,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Promise: nodes start from files; over HTTP each says who it is, who the master aggregator is, what its copies do and
/// how far replicas are; a node is ready once the cluster uses it, and one that waits to be added says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_start_from_files_and_say_what_they_are() {
    let dir = directory();
    file(dir.path(), "secret", "the secret of a cluster for tests");
    let first = Member::start(dir.path(), "aggregator", &["member", "--found"]);
    let leaves = [(), ()].map(|()| Member::start(dir.path(), "leaf", &["node"]));
    assert_eq!(leaves[0].status()["state"], "WAITING");
    let (code, why) = leaves[0].get("/readyz");
    assert!(code == 503 && why.contains("waits to be added"), "{code} {why}");
    assert_eq!(leaves[0].get("/startupz").0, 200, "a probe lets it wait");
    let mut conn = connect(first.port).await;
    // Its file says that it is a leaf.
    let wrong = format!("ADD AGGREGATOR root@'127.0.0.1':{}", leaves[0].port);
    assert!(conn.query_drop(wrong).await.is_err());
    for leaf in &leaves {
        conn.query_drop(format!("ADD LEAF root@'127.0.0.1':{}", leaf.port)).await.expect("added");
    }
    conn.query_drop("CREATE DATABASE shop PARTITIONS 2").await.expect("made");
    conn.query_drop("CREATE TABLE shop.t (id BIGINT PRIMARY KEY)").await.expect("made");
    conn.query_drop("INSERT INTO shop.t VALUES (1), (2), (3), (4)").await.expect("written");
    until("all are ready", || first.is_ready() && leaves.iter().all(Member::is_ready));
    assert_eq!(first.get("/readyz?master").0, 200);
    assert_eq!(leaves[0].get("/readyz?master").0, 503);
    let status = first.status();
    assert_eq!(status["member"]["role"], "aggregator");
    assert_eq!(status["member"]["is_master_aggregator"], true);
    assert_eq!(status["member"]["databases"][0]["database"], "shop");
    let copies = |leaf: &Member| leaf.status()["member"]["copies"].as_array().cloned();
    until("each leaf has a copy of each partition, also of reference tables", || {
        leaves.iter().all(|leaf| {
            let copies = copies(leaf).unwrap_or_default();
            let is_so = |copy: &Value| {
                let state = copy["state"].as_str();
                copy["database"] == "shop" && matches!(state, Some("online" | "replicating"))
            };
            copies.len() == 3 && copies.iter().all(is_so)
        })
    });
    let status = leaves[0].status();
    assert_eq!(status["member"]["state"], "online");
    assert_eq!(
        status["member"]["master_aggregator"]["address"],
        format!("127.0.0.1:{}", first.port)
    );
    assert_eq!(status["partitions"][0]["database"], "shop");
    let text = leaves.iter().map(|leaf| leaf.get("/metrics").1).collect::<Vec<_>>().join("\n");
    for part in [
        "resprout_member_state{state=\"online\"} 1",
        "resprout_replication_lag_bytes{db=\"shop\"",
        "role=\"replica\",state=\"replicating\"} 1",
        "resprout_partition_entries{db=\"shop\"",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let text = first.get("/metrics").1;
    assert!(text.contains("resprout_partitions_without_master{db=\"shop\"} 0"), "{text}");
}

/// Promise: a file that mixes two kinds of node is refused with its line, and a directory of another kind of node is
/// not taken.
#[test]
fn what_does_not_fit_is_refused() {
    let dir = directory();
    file(dir.path(), "secret", "the secret of a cluster for tests");
    let text = "role = \"leaf\"\nlisten = \"127.0.0.1:1\"\ndata = \"x\"\nsql = \"off\"\n";
    let config = file(dir.path(), "bad.toml", text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_resproutd"));
    let ran: support::Ran =
        command.arg("node").arg("--config").arg(config).output().expect("it runs").into();
    assert!(ran.code == 2 && ran.is_three_lines(), "{}", ran.err);
    assert!(ran.err.contains("bad.toml:4: sql"), "{}", ran.err);
    let first = Member::start(dir.path(), "aggregator", &["member", "--found"]);
    until("it has founded a cluster", || first.get("/readyz?master").0 == 200);
    let config = first.config.clone();
    drop(first);
    let text = std::fs::read_to_string(&config).expect("ours").replace("aggregator", "leaf");
    let config = file(dir.path(), "other.toml", text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_resproutd"));
    let ran: support::Ran =
        command.arg("node").arg("--config").arg(config).output().expect("it runs").into();
    assert!(ran.code == 1 && ran.err.contains("role"), "{}", ran.err);
}
