//! Transactions over several partitions, and a node that is killed in the middle of them.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use support::{Node, directory};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const ACCOUNTS: u64 = 40;
const BALANCE: i64 = 100;
const CLIENTS: u64 = 4;
const KILLS: u64 = 5;

/// A node with its SQL port.
fn start(data: &std::path::Path) -> (Node, u16) {
    let mut node = Node::start(data, &[]);
    let said = node.until("sql on ");
    let port = said.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    node.until("recovery node done");
    (node, port)
}

async fn connect(port: u16, database: Option<&str>) -> Result<Conn, Error> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some("root"))
        .db_name(database)
        .prefer_socket(false);
    Conn::new(options).await
}

async fn make(port: u16) -> Result<(), Error> {
    let mut conn = connect(port, None).await?;
    conn.query_drop("CREATE DATABASE bank PARTITIONS 4").await?;
    conn.query_drop("USE bank").await?;
    conn.query_drop("CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)")
        .await?;
    conn.query_drop("CREATE TABLE clients (id BIGINT PRIMARY KEY, done BIGINT NOT NULL)").await?;
    let rows = (0..ACCOUNTS).map(|id| format!("({id},{BALANCE})")).collect::<Vec<_>>();
    conn.query_drop(format!("INSERT INTO accounts VALUES {}", rows.join(","))).await?;
    let rows = (0..CLIENTS).map(|id| format!("({id},0)")).collect::<Vec<_>>();
    conn.query_drop(format!("INSERT INTO clients VALUES {}", rows.join(","))).await?;
    conn.disconnect().await
}

/// One transfer, and in the same transaction the number of it.
async fn transfer(conn: &mut Conn, client: u64, number: u64) -> Result<(), Error> {
    // Lower ids first, so that no two wait for each other.
    let (from, to) = (number * 7 % ACCOUNTS, (number * 13 + client + 1) % ACCOUNTS);
    let (first, second) = (from.min(to), from.max(to));
    conn.query_drop("BEGIN").await?;
    for (id, by) in [(first, -1), (second, 1)] {
        let update = "UPDATE accounts SET balance = balance + ? WHERE id = ?";
        conn.exec_drop(update, (by, id)).await?;
    }
    conn.exec_drop("UPDATE clients SET done = ? WHERE id = ?", (number, client)).await?;
    conn.query_drop("COMMIT").await
}

/// Transfers until the node is gone; notes what was acknowledged.
async fn work(port: u16, client: u64, acknowledged: Arc<AtomicU64>, told: UnboundedSender<()>) {
    let Ok(mut conn) = connect(port, Some("bank")).await else { return };
    let mut number = acknowledged.load(Ordering::Relaxed);
    loop {
        number += 1;
        if transfer(&mut conn, client, number).await.is_err() {
            return;
        }
        acknowledged.store(number, Ordering::Relaxed);
        // Nobody counts any more once the node is to be killed.
        let _ = told.send(());
    }
}

/// Waits for so many acknowledgements.
async fn count(told: &mut UnboundedReceiver<()>, transfers: u64) {
    for _ in 0..transfers {
        told.recv().await.expect("the node serves until it is killed");
    }
}

/// P01: after SIGKILL under load each acknowledged transaction is there with all its
/// parts, and none is half there; again and again on the same directory.
#[tokio::test(flavor = "multi_thread")]
async fn p01_killed_transfers_are_whole() {
    let dir = directory();
    let data = dir.path().join("d");
    let acknowledged: Vec<_> = (0..CLIENTS).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let (mut node, mut port) = start(&data);
    make(port).await.expect("a new database");
    for round in 0..KILLS {
        let (tell, mut told) = unbounded_channel();
        let work = |(client, acknowledged): (u64, &Arc<AtomicU64>)| {
            tokio::spawn(work(port, client, Arc::clone(acknowledged), tell.clone()))
        };
        let clients: Vec<_> = (0..).zip(&acknowledged).map(work).collect();
        count(&mut told, 20 + 13 * round).await;
        node.signal("KILL");
        for client in clients {
            client.await.expect("clients do not panic");
        }
        assert_eq!(node.end(), -1);
        (node, port) = start(&data);
        check(port, &acknowledged).await;
    }
    node.signal("TERM");
    assert_eq!(node.end(), 0);
}

async fn check(port: u16, acknowledged: &[Arc<AtomicU64>]) {
    let mut conn = connect(port, Some("bank")).await.expect("it listens");
    let sum: Option<i64> =
        conn.query_first("SELECT SUM(balance) FROM accounts").await.expect("readable");
    assert_eq!(sum, Some(BALANCE * ACCOUNTS as i64), "a transfer is half there");
    let done: Vec<u64> =
        conn.query("SELECT done FROM clients ORDER BY id").await.expect("readable");
    for (client, (found, acknowledged)) in done.iter().zip(acknowledged).enumerate() {
        let told = acknowledged.load(Ordering::Relaxed);
        assert!(*found >= told, "client {client} was told {told}, found {found}");
        // The one whose answer never came may be there or not.
        assert!(*found <= told + 1, "client {client} was told {told}, found {found}");
        acknowledged.store(*found, Ordering::Relaxed);
    }
    conn.disconnect().await.expect("it listens");
}
