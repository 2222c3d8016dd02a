//! W18: what clients see while the office of the master aggregator moves.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use crate::steps::{self, SMALL, insert, probe};
use crate::support::cluster::{Cluster, connect, open, until};
use crate::support::directory;

async fn tables(conn: &mut Conn) -> Vec<String> {
    conn.query("SHOW TABLES FROM test").await.expect("answered")
}

fn create(mut conn: Conn, name: &str) -> tokio::task::JoinHandle<Result<(), Error>> {
    let statement = format!("CREATE TABLE test.{name} (id BIGINT PRIMARY KEY)");
    tokio::spawn(async move { conn.query_drop(statement).await })
}

/// Promise (W18): a client of a child aggregator waits for the next master aggregator, one of the killed one has to connect
/// again, and rows are read and written meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w18_the_master_aggregator_is_killed() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SMALL);
    drop(steps::with_test(&cluster, "PARTITIONS 4").await);
    let old = cluster.master().await.expect("a master aggregator");
    let others: Vec<_> = (0..SMALL.voters).filter(|at| *at != old).collect();
    let [one, other] = [0, 1].map(|at| [cluster.address(others[at])]);
    let mut of_old = connect(&[cluster.address(old)]).await;
    // Client, child, master: it dies while it executes, or before.
    let under_way = create(connect(&one).await, "a");
    cluster.kill(old);
    // Client, child: the master is down.
    let waits = create(connect(&other).await, "b");
    // Client, master: it is down.
    assert!(of_old.query_drop("CREATE TABLE test.c (id BIGINT)").await.is_err());
    assert!(open(cluster.address(old)).await.is_err());
    // Rows need no master aggregator.
    let mut conn = connect(&one).await;
    insert(&mut conn, 101..=200).await.expect("inserted");
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 200, 200));
    waits.await.expect("no panic").expect("waited for, and done once");
    // Whether it was done or not is asked of the one that has taken over: a client may have to try again.
    if under_way.await.expect("no panic").is_err() {
        let again = "CREATE TABLE IF NOT EXISTS test.a (id BIGINT PRIMARY KEY)";
        conn.query_drop(again).await.expect("done");
    }
    assert_eq!(tables(&mut conn).await, ["a", "b", "x"]);
}

/// Promise (W18): when the office moves while the node that had it goes on, its clients are forwarded to the next one, or told
/// to try again; what was asked of it meanwhile is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w18_the_office_moves_without_a_loss() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SMALL);
    drop(steps::with_test(&cluster, "PARTITIONS 4").await);
    let old = cluster.master().await.expect("a master aggregator");
    let others: Vec<_> = (0..SMALL.voters).filter(|at| *at != old).collect();
    let mut of_old = connect(&[cluster.address(old)]).await;
    let child = [cluster.address(others[0])];
    cluster.signal(old, "STOP");
    // Client, child, master: another is elected while the old one should execute.
    let moved = create(connect(&child).await, "a");
    moved.await.expect("no panic").expect("done by the next one");
    let mut conn = connect(&child).await;
    let now = crate::support::cluster::master(&mut conn).await;
    assert!(now.is_some_and(|now| now != cluster.address(old)), "{now:?}");
    cluster.signal(old, "CONT");
    // Client, old master: forwarded, or told so; a retry is forwarded.
    until("what is asked of the old master aggregator is forwarded", async || {
        let asked = "CREATE TABLE IF NOT EXISTS test.b (id BIGINT PRIMARY KEY)";
        let asked = tokio::time::timeout(Duration::from_secs(20), of_old.query_drop(asked)).await;
        match asked.expect("an answer") {
            Ok(()) => true,
            Err(Error::Server(error)) => {
                let is_told = ["Can't write to replica", "Not the master"]
                    .iter()
                    .any(|text| error.message.contains(text));
                assert!(is_told, "{error}");
                false
            }
            Err(error) => panic!("the connection should live: {error}"),
        }
    })
    .await;
    insert(&mut of_old, 101..=200).await.expect("inserted");
    assert_eq!(probe(&mut of_old).await.expect("answered"), (1, 200, 200));
    assert_eq!(tables(&mut conn).await, ["a", "b", "x"]);
    cluster.end();
}
