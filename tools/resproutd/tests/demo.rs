//! The demo and the SQL port, from outside.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use support::{Node, directory};

/// A demo that runs.
struct Demo {
    child: Child,
    ready: serde_json::Value,
}

impl Demo {
    fn start(more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resproutd"));
        command.args(["demo", "--json", "--port", "0", "--rows", "2000"]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut line).expect("readable");
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { child, ready }
    }

    async fn connect(&self) -> Conn {
        let port = self.ready["port"].as_u64().expect("a number");
        connect(u16::try_from(port).expect("a port"), "demo").await
    }

    /// Ends it in order; its exit code.
    fn stop(mut self) -> Option<i32> {
        support::send(&self.child, "TERM");
        self.child.wait().expect("it ends").code()
    }

    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

async fn connect(port: u16, database: &str) -> Conn {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some("root"))
        .db_name(Some(database))
        .prefer_socket(false);
    Conn::new(options).await.expect("it listens")
}

/// Promise: the demo has data that a client can read and change; without `--data` nothing stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_has_data_and_leaves_none() {
    let demo = Demo::start(&[]);
    let data = demo.ready["data"].as_str().expect("a path").to_owned();
    assert_eq!(demo.ready["temporary"], true);
    let mut conn = demo.connect().await;
    let orders: u64 = conn.query_first("SELECT COUNT(*) FROM orders").await.unwrap().unwrap();
    assert_eq!(orders, 2000);
    let suggestion = demo.ready["try_statement"].as_str().expect("a text");
    let paid: Option<(u64, String, String)> = conn.query_first(suggestion).await.unwrap();
    assert!(paid.is_some_and(|(count, ..)| count > 100), "what is suggested works");
    conn.query_drop("DELETE FROM orders WHERE id <= 10").await.unwrap();
    assert_eq!(conn.affected_rows(), 10);
    conn.disconnect().await.unwrap();
    assert_eq!(demo.stop(), Some(0));
    assert!(!std::path::Path::new(&data).exists());
}

/// P01: with `--data`, what was acknowledged is there after SIGKILL, and the sample data is not
/// made a second time.
#[tokio::test(flavor = "multi_thread")]
async fn p01_a_killed_demo_comes_back() {
    let dir = directory();
    let data = dir.path().join("d");
    let data = data.to_str().expect("text");
    let demo = Demo::start(&["--data", data]);
    let mut conn = demo.connect().await;
    conn.query_drop("UPDATE orders SET status = 'lost' WHERE id BETWEEN 100 AND 199")
        .await
        .unwrap();
    demo.kill();
    let demo = Demo::start(&["--data", data]);
    let mut conn = demo.connect().await;
    let lost = "SELECT COUNT(*) FROM orders WHERE status = 'lost'";
    let lost: u64 = conn.query_first(lost).await.unwrap().unwrap();
    let all: u64 = conn.query_first("SELECT COUNT(*) FROM orders").await.unwrap().unwrap();
    assert_eq!((lost, all), (100, 2000));
    assert_eq!(demo.stop(), Some(0));
}

/// Promise: a node serves SQL at the address that it logs; SIGTERM ends it while clients are
/// connected.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_sql() {
    let dir = directory();
    let data = dir.path().join("d");
    support::make_numbers(&data, 20);
    let mut node = Node::start(&data, &[]);
    let said = node.until("sql on ");
    let port = said.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    node.until("recovery node done");
    let mut conn = connect(port, "demo").await;
    let name: Option<String> = conn.query_first("SELECT name FROM t WHERE id = 7").await.unwrap();
    assert_eq!(name.as_deref(), Some("name-7"));
    node.signal("TERM");
    assert_eq!(node.end(), 0);
}

/// Promise: a cluster is shown by its orders, also without a terminal: a leaf dies, comes back, is cut off, another one comes in and takes
/// its share, one is stopped in order, and nothing that was acknowledged is lost; what is no order ends it with an error.
#[test]
fn a_drill_loses_nothing() {
    let run = |orders: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resproutd"));
        let shape = ["--leaves", "2", "--voters", "1", "--partitions", "2", "--rows", "500"];
        // With the ports for nodes below those that the system gives out.
        command.args(["demo", "--port", "21300"]).args(shape).args(["--run", orders]);
        let done = command.stdin(Stdio::null()).output().expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let (code, told, errors) = run("\\drill; \\stop 4; \\status; SELECT COUNT(*) FROM orders");
    assert_eq!(code, Some(0), "{told}\n{errors}");
    assert!(told.contains("node 2 is killed"), "{told}");
    assert!(told.contains("node 2 is cut off from the others"), "{told}");
    assert!(told.contains("2 was cut off, and is not any more"), "{told}");
    assert!(told.contains("node 4 is a leaf at 127.0.0.1:"), "{told}");
    assert!(told.contains("drill: 0 acknowledged rows lost"), "{told}");
    assert!(told.contains("node 4 has stopped after"), "{told}");
    assert!(told.contains("500"), "{told}");
    let (code, told, errors) = run("\\dril");
    assert_eq!(code, Some(1), "{told}\n{errors}");
    assert!(errors.contains("'\\dril' is no order"), "{errors}");
    let (code, told, errors) = run("SELECT nothing FROM orders");
    assert_eq!(code, Some(1), "{told}\n{errors}");
    assert!(told.contains("ERROR 1054"), "{told}");
}
