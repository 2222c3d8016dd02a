//! W09: a rebalance ends while it copies, because somebody kills the statement, or the leaf that gets the copies.
//!
//! Steps 4 and 6, what is left on leaves and cleared there, are W24's. An I/O error and a lock of DDL are not provoked here:
//! copies take no locks, and what a plan does about a copy that fails is tested in its core.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::steps::{
    self, PAIR, Status, add_leaf, beside, copies, counts, explained, insert, masters, probe,
    refused, statuses, until_leaf, until_over, until_step,
};
use crate::support::cluster::Cluster;
use crate::support::directory;

const REBALANCE: &str = "REBALANCE PARTITIONS ON test";
const ALL: &str = "REBALANCE ALL DATABASES";

fn is_copying(row: &Status, to: u16) -> bool {
    row.action == "COPY PARTITION" && row.port == to && row.status == "running"
}

/// 2, 3: masters are who they were, in their terms; rows are there, and more are taken.
async fn unharmed(conn: &mut Conn, before: &[(u64, u16, u64)], rows: i64) {
    assert_eq!(masters(conn).await, before);
    assert!(counts(&copies(conn).await).values().all(|count| *count >= 2));
    assert_eq!(probe(conn).await.expect("answered"), (1, rows, rows.unsigned_abs()));
    insert(conn, rows + 1..=rows + 50).await.expect("inserted");
}

/// Promise (W09, O01, O04): whatever ends a rebalance that copies, nothing that served is touched, and the next one brings the
/// cluster to where it was to be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w09_o01_o04_a_rebalance_that_ends_in_its_copies_harms_nothing() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), PAIR);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 4").await;
    let target = add_leaf(&mut cluster, &mut conn, 1).await;
    add_leaf(&mut cluster, &mut conn, 2).await;
    let before = masters(&mut conn).await;

    // 1: killed by KILL QUERY, while the leaf that is copied to takes its time.
    cluster.signal(cluster.at(target), "STOP");
    let running = beside(&cluster, REBALANCE).await;
    until_step(&mut conn, "it copies", |row| is_copying(row, target)).await;
    conn.query_drop(format!("KILL QUERY {}", running.id)).await.expect("killed");
    assert_eq!(refused(running.ended().await).0, 1317);
    unharmed(&mut conn, &before, 100).await;
    cluster.signal(cluster.at(target), "CONT");
    until_over(&mut conn).await;
    unharmed(&mut conn, &before, 150).await;
    let left = statuses(&mut conn, "test").await;
    assert!(left.iter().any(|row| row.status == "canceled"), "{left:?}");

    // 1: the leaf that is copied to is killed.
    cluster.signal(cluster.at(target), "STOP");
    let running = beside(&cluster, REBALANCE).await;
    until_step(&mut conn, "it copies", |row| is_copying(row, target)).await;
    cluster.kill(cluster.at(target));
    let (_, _, text) = refused(running.ended().await);
    assert!(text.starts_with("COPY PARTITION test:") && text.contains("not online"), "{text}");
    unharmed(&mut conn, &before, 200).await;
    cluster.run(cluster.at(target));
    until_leaf(&mut conn, target, "online").await;

    // 5
    assert!(!explained(&mut conn, REBALANCE).await.is_empty());
    beside(&cluster, ALL).await.ended().await.expect("rebalanced");
    assert_eq!(explained(&mut conn, REBALANCE).await, []);
    let after = copies(&mut conn).await;
    assert!(counts(&after).values().all(|count| *count == 2), "{after:?}");
    assert!(after.iter().any(|copy| copy.port == target));
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 250, 250));
    cluster.end();
}
