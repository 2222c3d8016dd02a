//! W22: voters are cut from each other, half and half, or two and one.

use std::net::SocketAddr;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use crate::steps::{self, probe};
use crate::support::cluster::{Cluster, Shape, connect, master, open, until};
use crate::support::directory;
use crate::support::network::{Network, Zone};

/// Longer than any election takes.
const UNDECIDED: Duration = Duration::from_secs(6);

/// Asks for a database, with a client of its own; the answer may be long in coming.
fn ask_for(door: SocketAddr, name: &str) -> tokio::task::JoinHandle<Result<(), Error>> {
    let statement = format!("CREATE DATABASE {name} PARTITIONS 1");
    tokio::spawn(async move {
        let mut conn = open(door).await?;
        conn.query_drop(statement).await
    })
}

async fn has_database(conn: &mut Conn, name: &str) -> bool {
    let shown: Result<Vec<String>, _> = conn.query("SHOW DATABASES").await;
    shown.is_ok_and(|shown| shown.iter().any(|shown| shown == name))
}

/// Promise (W22): with two voters on each side nothing is decided on either, and rows are read where their masters are;
/// when the sides meet again there is one master aggregator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w22_half_and_half_decide_nothing() {
    let zones = [Zone::A, Zone::A, Zone::B, Zone::B, Zone::A, Zone::A];
    let Some(network) = Network::or_skip("w22", &zones) else { return };
    let dir = directory();
    let shape = Shape { voters: 4, leaves: 2, redundancy: 2 };
    let cluster = Cluster::start_in(dir.path(), shape, network);
    drop(steps::with_test(&cluster, "PARTITIONS 2").await);
    cluster.network().cut();
    let asked = [ask_for(cluster.address(1), "a"), ask_for(cluster.address(2), "b")];
    tokio::time::sleep(UNDECIDED).await;
    let mut conn = connect(&[cluster.address(0)]).await;
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    for at in 0..shape.voters {
        let mut conn = connect(&[cluster.address(at)]).await;
        assert!(!has_database(&mut conn, "a").await && !has_database(&mut conn, "b").await);
    }
    cluster.network().heal();
    for asked in asked {
        // What was asked without a quorum fails, or waits for one.
        drop(asked.await.expect("no panic"));
    }
    let mut conn = connect(&[cluster.address(3)]).await;
    until("there is a quorum that decides", async || {
        conn.query_drop("CREATE DATABASE IF NOT EXISTS c PARTITIONS 1").await.is_ok()
    })
    .await;
    let mut masters = std::collections::BTreeSet::new();
    for at in 0..shape.voters {
        let mut conn = connect(&[cluster.address(at)]).await;
        until("all know what was decided", async || has_database(&mut conn, "c").await).await;
        masters.insert(master(&mut conn).await);
    }
    assert!(masters.len() == 1 && masters.first().is_some_and(Option::is_some), "{masters:?}");
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
}

/// Promise (W22): of three voters the two that reach each other decide, also if the master aggregator is the third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w22_two_of_three_decide() {
    // The first founds the cluster, and is its master aggregator.
    let zones = [Zone::B, Zone::A, Zone::A, Zone::A, Zone::A];
    let Some(network) = Network::or_skip("w22", &zones) else { return };
    let dir = directory();
    let shape = Shape { voters: 3, leaves: 2, redundancy: 2 };
    let cluster = Cluster::start_in(dir.path(), shape, network);
    drop(steps::with_test(&cluster, "PARTITIONS 2").await);
    assert_eq!(cluster.master().await, Some(0));
    cluster.network().cut();
    let alone = ask_for(cluster.address(0), "b");
    let asked = ask_for(cluster.address(1), "a");
    asked.await.expect("no panic").expect("two of three are a quorum");
    let mut conn = connect(&[cluster.address(1)]).await;
    let found = master(&mut conn).await;
    assert!([cluster.address(1), cluster.address(2)].map(Some).contains(&found), "{found:?}");
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    assert!(!has_database(&mut conn, "b").await, "one of three decides nothing");
    cluster.network().heal();
    // What was asked of one without a quorum has failed, or is forwarded by now.
    let alone = alone.await.expect("no panic");
    let mut conn = connect(&[cluster.address(0)]).await;
    if alone.is_err() {
        conn.query_drop("CREATE DATABASE IF NOT EXISTS b PARTITIONS 1").await.expect("forwarded");
    }
    until("the one that was alone knows both databases", async || {
        has_database(&mut conn, "a").await && has_database(&mut conn, "b").await
    })
    .await;
}
