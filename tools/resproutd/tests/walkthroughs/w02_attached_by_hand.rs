//! W02: redundancy 1, `auto_attach` off: a leaf that was lost waits for ATTACH LEAF.

use mysql_async::prelude::Queryable;

use crate::steps::{self, no_master, probe, refused, statuses, until_leaf};
use crate::support::cluster::{Cluster, Shape};
use crate::support::directory;

const LEAVES: usize = 4;

/// Promise (W02): a leaf that came back serves nothing before somebody attaches it; ATTACH LEAF returns when it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w02_a_lost_leaf_waits_for_attach_leaf() {
    let dir = directory();
    let shape = Shape { voters: 1, leaves: LEAVES, redundancy: 1 };
    let mut cluster = Cluster::start(dir.path(), shape);
    let mut conn = steps::with_test(&cluster, "WITH ASYNC REPLICATION PARTITIONS 8").await;
    let lost = cluster.port(cluster.leaf(4));

    // 1
    let set = conn.query_iter("SET GLOBAL auto_attach = Off").await.expect("set");
    assert_eq!(set.affected_rows(), 0);
    set.drop_result().await.expect("read");
    // 2
    cluster.kill(cluster.leaf(4));
    until_leaf(&mut conn, lost, "offline").await;
    cluster.run(cluster.leaf(4));
    // Left out: one connection, and a latency. Aggregators have no connection to a leaf that serves nothing.
    until_leaf(&mut conn, lost, "detached").await;
    // 3
    assert_eq!(refused(probe(&mut conn).await), no_master(3));
    // 4: with a space after the colon.
    let attach = format!("ATTACH LEAF '127.0.0.1': {lost}");
    let attached = conn.query_iter(attach).await.expect("attached");
    assert_eq!(attached.affected_rows(), 1);
    attached.drop_result().await.expect("read");
    // 5
    let found = steps::leaves(&mut conn).await.into_iter().find(|leaf| leaf.port == lost);
    assert_eq!(found.expect("it is listed").state, "online");
    // 6
    let shown = statuses(&mut conn, "test").await;
    let expected = [3, 7].map(|ordinal| ("ATTACH PARTITION".to_owned(), ordinal, lost, 1));
    assert_eq!(shown.iter().map(steps::Status::step).collect::<Vec<_>>(), expected);
    for row in shown {
        assert_eq!((row.status.as_str(), row.remaining_ms), ("success", Some(0)));
        assert!(row.running_ms.is_some());
    }
    // 7
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    cluster.end();
}
