//! W07: a cluster is stopped in order and started again, in both orders.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::steps::{self, SMALL, copies, events, leaves, probe};
use crate::support::cluster::{Cluster, connect, until};
use crate::support::directory;

const PARTITIONS: usize = 4;

/// When the master aggregator is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Leaves, child aggregators, master aggregator.
    Last,
    /// Leaves, master aggregator, child aggregators.
    BeforeOthers,
}

/// Stops everything, the master aggregator first, and starts it again when leaves have recovered.
async fn restart(cluster: &mut Cluster, order: Order) {
    let master = cluster.master().await.expect("a master aggregator");
    let others: Vec<_> = (0..SMALL.voters).filter(|at| *at != master).collect();
    let leaves: Vec<_> = (1..=SMALL.leaves).map(|number| cluster.leaf(number)).collect();
    for at in [master].iter().chain(&others).chain(&leaves) {
        cluster.stop(*at);
    }
    let logged: Vec<_> = leaves.iter().map(|leaf| cluster.log(*leaf).len()).collect();
    leaves.iter().for_each(|leaf| cluster.run(*leaf));
    for (leaf, before) in leaves.iter().zip(logged) {
        // A leaf says so of each copy; how far it is meanwhile it does not say yet.
        until("the leaf has recovered all copies", async || {
            // Also of that of reference tables.
            let recovered = cluster.log(*leaf)[before..].matches("\"msg\":\"recovered\"").count();
            recovered == PARTITIONS + 1
        })
        .await;
    }
    let aggregators: Vec<_> = match order {
        Order::Last => others.into_iter().chain([master]).collect(),
        Order::BeforeOthers => [master].into_iter().chain(others).collect(),
    };
    aggregators.into_iter().for_each(|at| cluster.run(at));
}

/// How often leaves have come online.
async fn times_online(conn: &mut Conn) -> usize {
    events(conn).await.iter().filter(|(what, ..)| what == "NODE_ONLINE").count()
}

/// Promise (W07): whichever of the two orders, with and without a snapshot before, each partition comes back where it was, in
/// the role and the term that it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w07_a_restart_in_order_changes_nothing() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SMALL);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 4").await;
    // 1
    let before = copies(&mut conn).await;
    // 3a with a snapshot, 3b without (5).
    for (order, has_snapshot) in [(Order::Last, true), (Order::BeforeOthers, false)] {
        // 2
        if has_snapshot {
            conn.query_drop("SNAPSHOT DATABASE test").await.expect("written");
        }
        let online = times_online(&mut conn).await;
        restart(&mut cluster, order).await;
        // 4
        conn = connect(&cluster.doors()).await;
        // Until they are taken in the metadata say what was so before.
        until("all leaves are taken in and online", async || {
            let leaves = leaves(&mut conn).await;
            let is_online = leaves.iter().all(|leaf| leaf.state == "online");
            is_online && times_online(&mut conn).await == online + SMALL.leaves
        })
        .await;
        cluster.whole("test").await;
        assert_eq!(copies(&mut conn).await, before);
        assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    }
    cluster.end();
}
