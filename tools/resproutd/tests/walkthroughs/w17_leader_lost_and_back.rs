//! W17: the master aggregator is lost, another takes over, and the lost one comes back as a voter.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::steps::{self, SMALL, copies, insert, probe, until_leaf};
use crate::support::cluster::{Cluster, connect, master, open, until};
use crate::support::directory;

/// The roles of all aggregators, in order.
async fn roles(conn: &mut Conn) -> Vec<String> {
    let rows: Vec<Row> = conn.query("SHOW AGGREGATORS EXTENDED").await.expect("answered");
    let mut roles: Vec<String> = rows.iter().map(|row| row.get("Role").expect("one")).collect();
    roles.sort();
    roles
}

/// Waits until all of these name the same master aggregator, which is not `before`.
async fn until_agreed(doors: &[SocketAddr], before: SocketAddr) -> SocketAddr {
    let mut found = None;
    until("all that are left name the same master aggregator", async || {
        let mut named = BTreeSet::new();
        for door in doors {
            named.insert(match open(*door).await {
                Ok(mut conn) => master(&mut conn).await,
                Err(_) => None,
            });
        }
        found = named.pop_first().flatten();
        named.is_empty() && found.is_some_and(|found| found != before)
    })
    .await;
    found.expect("it was found")
}

/// Transactions of two rows each on a reference table, one after the other; those that were acknowledged.
async fn write(mut conn: Conn, stop: Arc<AtomicBool>) -> BTreeSet<i64> {
    let mut acknowledged = BTreeSet::new();
    for n in 1.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let statements = [
            "BEGIN".to_owned(),
            format!("INSERT INTO test.r VALUES ({n}, 'one')"),
            format!("INSERT INTO test.r VALUES ({n}, 'two')"),
            "COMMIT".to_owned(),
        ];
        let mut done = true;
        for statement in statements {
            done = done && conn.query_drop(statement).await.is_ok();
        }
        if done {
            acknowledged.insert(n);
        } else {
            drop(conn.query_drop("ROLLBACK").await);
        }
    }
    acknowledged
}

/// Transactions on the reference table are there whole, at least those that were acknowledged; and joins find them.
async fn are_whole(conn: &mut Conn, acknowledged: &BTreeSet<i64>) {
    let asked = "SELECT n, COUNT(*) FROM test.r GROUP BY n ORDER BY n";
    let found: Vec<(i64, u64)> = conn.query(asked).await.expect("answered");
    assert!(found.iter().all(|(_, rows)| *rows == 2), "half of a transaction: {found:?}");
    let found: BTreeSet<i64> = found.into_iter().map(|(n, _)| n).collect();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty() && !acknowledged.is_empty(), "lost: {lost:?}");
    let joined = "SELECT COUNT(*) FROM test.x x JOIN test.r r ON r.n = x.id";
    let joined: Option<u64> = conn.query_first(joined).await.expect("answered");
    // Rows 1 to 100 are in the other.
    let both = found.iter().filter(|n| (1..=100).contains(*n)).count() as u64;
    assert_eq!(joined, Some(2 * both));
}

/// Promise (W17): one of two voters takes over, with what clients of child aggregators have asked for meanwhile; it fails
/// leaves over; the aggregator that was lost votes again when it is back, and can be elected; or another takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w17_a_leader_is_lost_and_comes_back() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SMALL);
    drop(steps::with_test(&cluster, "PARTITIONS 4").await);
    let old = cluster.master().await.expect("a master aggregator");
    let others: Vec<_> = (0..SMALL.voters).filter(|at| *at != old).collect();
    let doors: Vec<_> = others.iter().map(|at| cluster.address(*at)).collect();
    let mut child = connect(&doors[..1]).await;
    child
        .query_drop(
            "CREATE REFERENCE TABLE test.r (n BIGINT, what VARCHAR(8), PRIMARY KEY (n, what))",
        )
        .await
        .expect("made");
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(connect(&doors[..1]).await, stop.clone()));
    // 1, 2: asked for in the gap, done by the one that takes over.
    cluster.kill(old);
    child.query_drop("CREATE TABLE test.y (id BIGINT PRIMARY KEY)").await.expect("made");
    let tables: Vec<String> = child.query("SHOW TABLES FROM test").await.expect("answered");
    assert_eq!(tables, ["r", "x", "y"]);
    let new = until_agreed(&doors, cluster.address(old)).await;
    // 3
    assert!(open(cluster.address(old)).await.is_err(), "nobody listens where it was");
    let mut conn = connect(&cluster.doors()).await;
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    // 4: here a leaf is their master, so they are written meanwhile; the kill that cuts them is its.
    // 5
    let lost = cluster.leaf(1);
    let port = cluster.port(lost);
    cluster.kill(lost);
    until("the other leaf is master of all", async || {
        copies(&mut conn).await.iter().all(|copy| copy.is_master() != (copy.port == port))
    })
    .await;
    stop.store(true, Ordering::Release);
    are_whole(&mut conn, &writing.await.expect("it ended")).await;
    insert(&mut conn, 101..=200).await.expect("inserted");
    cluster.run(lost);
    until_leaf(&mut conn, port, "online").await;
    // 6
    cluster.run(old);
    until("the old master aggregator votes", async || {
        let Ok(mut back) = open(cluster.address(old)).await else { return false };
        roles(&mut back).await == ["Leader", "Voting Member", "Voting Member"]
            && master(&mut back).await == Some(new)
    })
    .await;
    // What the third has missed keeps it from being elected: only the old one can be.
    let new = others.iter().copied().find(|at| cluster.address(*at) == new).expect("one of two");
    let third = others.iter().copied().find(|at| *at != new).expect("two");
    cluster.kill(third);
    let mut conn = connect(&[cluster.address(new)]).await;
    conn.query_drop("CREATE DATABASE e PARTITIONS 1").await.expect("two of three are a quorum");
    cluster.kill(new);
    cluster.run(third);
    let doors = [old, third].map(|at| cluster.address(at));
    assert_eq!(until_agreed(&doors, cluster.address(new)).await, cluster.address(old));
    let mut conn = connect(&doors[..1]).await;
    conn.query_drop("CREATE TABLE e.z (id BIGINT PRIMARY KEY)").await.expect("it decides");
    // 7
    let remove = format!("REMOVE AGGREGATOR {}", cluster.named(new));
    conn.query_drop(remove).await.expect("removed");
    let added = cluster.run_another();
    let add = format!("ADD AGGREGATOR root@{} AS VOTING MEMBER", cluster.named(added));
    until(&add, async || conn.query_drop(&add).await.is_ok()).await;
    until("three vote again", async || {
        let Ok(mut added) = open(cluster.address(added)).await else { return false };
        roles(&mut added).await == ["Leader", "Voting Member", "Voting Member"]
    })
    .await;
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 200, 200));
}
