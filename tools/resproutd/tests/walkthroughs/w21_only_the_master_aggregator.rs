//! W21: only the master aggregator may turn a replica asynchronous.

use std::time::{Duration, Instant};

use mysql_async::Conn;

use crate::steps::{
    self, BLOCKED, Copy, SMALL, copies, insert, master_and_replica, probe, until_async,
};
use crate::support::cluster::{Cluster, connect, until};
use crate::support::directory;

async fn replica(conn: &mut Conn) -> Copy {
    master_and_replica(&copies(conn).await, 0).1
}

/// Promise (W21): a commit that a replica does not acknowledge waits until the metadata say that nobody waits for that
/// replica. While nobody can decide that, it stays blocked; and the replica that is back is waited for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w21_only_the_master_aggregator_turns_a_replica_asynchronous() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SMALL);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 1").await;
    let silent = cluster.at(replica(&mut conn).await.port);
    assert_eq!(replica(&mut conn).await.state, "sync");
    // 1
    cluster.signal(silent, "STOP");
    let began = Instant::now();
    insert(&mut conn, 101..=101).await.expect("inserted");
    let waited = began.elapsed();
    until_async(&mut conn).await;
    assert!(waited > Duration::from_secs(1), "it waits for a silent replica: {waited:?}");
    // 3
    cluster.signal(silent, "CONT");
    cluster.whole("test").await;
    // 2: without a quorum of voters nobody decides.
    let master = cluster.master().await.expect("a master aggregator");
    let others: Vec<_> = (0..SMALL.voters).filter(|at| *at != master).collect();
    cluster.kill(master);
    cluster.kill(others[0]);
    let child = [cluster.address(others[1])];
    let mut conn = connect(&child).await;
    insert(&mut conn, 102..=102).await.expect("rows are written without a master aggregator");
    cluster.signal(silent, "STOP");
    let mut other = connect(&child).await;
    let mut blocked = tokio::spawn(async move { insert(&mut other, 103..=103).await });
    let waited = tokio::time::timeout(BLOCKED, &mut blocked).await;
    assert!(waited.is_err(), "the commit is not blocked: {waited:?}");
    assert_eq!(replica(&mut conn).await.state, "sync");
    assert_eq!(probe(&mut conn).await.expect("answered").1, 102);
    // 3
    cluster.signal(silent, "CONT");
    blocked.await.expect("no panic").expect("acknowledged once the replica has it");
    cluster.run(master);
    cluster.run(others[0]);
    until("there is a master aggregator", async || {
        let mut conn = connect(&child).await;
        steps::try_copies(&mut conn).await.is_ok() && cluster.master().await.is_some()
    })
    .await;
    cluster.whole("test").await;
    // Waited for again, by whoever is the master aggregator now.
    cluster.signal(silent, "STOP");
    let mut conn = connect(&child).await;
    insert(&mut conn, 104..=104).await.expect("inserted");
    until_async(&mut conn).await;
    cluster.signal(silent, "CONT");
    cluster.whole("test").await;
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 104, 104));
    cluster.end();
}
