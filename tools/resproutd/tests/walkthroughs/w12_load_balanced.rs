//! W12, and W15 in the same cluster: `load_balanced` spreads what a lost leaf served, and RESTORE REDUNDANCY makes its
//! copies anew elsewhere.
//!
//! Step 1 over a change of the master aggregator is a test of settings; step 5, 16 leaves, one of placement.

use std::collections::BTreeMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::steps::{
    beside, copies, counts, explained, load, make_test, masters, probe, refused, takers, until_leaf,
};
use crate::support::cluster::{Cluster, Shape, connect, until};
use crate::support::directory;

const SHAPE: Shape = Shape { voters: 1, leaves: 4, redundancy: 2 };
const RESTORE: &str = "RESTORE REDUNDANCY ON test";

/// Masters of each leaf.
async fn by_leaf(conn: &mut Conn) -> BTreeMap<u16, usize> {
    let mut by_leaf = BTreeMap::new();
    for (_, port, _) in masters(conn).await {
        *by_leaf.entry(port).or_default() += 1;
    }
    by_leaf
}

/// Kills the first leaf; its port, once all partitions have masters elsewhere.
async fn lose_the_first(cluster: &mut Cluster, conn: &mut Conn) -> u16 {
    let lost = cluster.port(cluster.leaf(1));
    cluster.kill(cluster.leaf(1));
    until_leaf(conn, lost, "offline").await;
    until("all is served", async || {
        let by_leaf = by_leaf(conn).await;
        !by_leaf.contains_key(&lost) && by_leaf.values().sum::<usize>() == 8
    })
    .await;
    lost
}

/// Promise (W12, W15): with `load_balanced`, what a leaf served goes to two leaves, half each; RESTORE REDUNDANCY then
/// makes a second copy of what has one, in the other group, and moves no master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w12_w15_load_balanced_spreads_what_is_lost_and_is_restored() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SHAPE);
    cluster.join().await;
    let mut conn = connect(&cluster.doors()).await;
    let ports = [1, 2, 3, 4].map(|number| cluster.port(cluster.leaf(number)));
    // W12, 1
    refused(conn.query_drop("SET GLOBAL leaf_failover_fanout = 'x'").await);
    conn.query_drop("SET GLOBAL leaf_failover_fanout = 'load_balanced'").await.expect("set");
    let fanout: Option<String> =
        conn.query_first("SELECT @@leaf_failover_fanout").await.expect("answered");
    assert_eq!(fanout.as_deref(), Some("load_balanced"));
    // 2
    make_test(&cluster, &mut conn, "PARTITIONS 8").await;
    let before = copies(&mut conn).await;
    let group = |port: u16| usize::from(ports[2..].contains(&port));
    for port in ports {
        assert_eq!(load(&before, port), (2, 2), "{before:?}");
        let takers = takers(&before, port);
        assert!(takers.len() == 2 && takers.iter().all(|taker| group(*taker) != group(port)));
    }
    // 3
    let lost = lose_the_first(&mut cluster, &mut conn).await;
    let expected = BTreeMap::from([(ports[1], 2), (ports[2], 3), (ports[3], 3)]);
    assert_eq!(by_leaf(&mut conn).await, expected);
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));

    // W15, 2
    let degraded = copies(&mut conn).await;
    let single: Vec<_> =
        counts(&degraded).into_iter().filter(|(_, count)| *count == 1).map(|one| one.0).collect();
    assert_eq!(single.len(), 4, "{degraded:?}");
    let mut plan = explained(&mut conn, RESTORE).await;
    plan.sort_by_key(|step| step.1);
    assert!(plan.iter().all(|(action, ..)| action == "COPY PARTITION FORCE"), "{plan:?}");
    assert_eq!(plan.iter().map(|step| step.1).collect::<Vec<_>>(), single);
    // 3
    let served = masters(&mut conn).await;
    beside(&cluster, RESTORE).await.ended().await.expect("restored");
    assert_eq!(masters(&mut conn).await, served);
    let after = copies(&mut conn).await;
    for ordinal in 0..8 {
        let online = after.iter().filter(|copy| copy.ordinal == ordinal && !copy.is_offline);
        let groups: Vec<_> = online.map(|copy| group(copy.port)).collect();
        assert!(groups == [0, 1] || groups == [1, 0], "{ordinal}: {after:?}");
    }
    assert!(after.iter().all(|copy| copy.port != lost || copy.is_offline));
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    cluster.end();
}

/// Promise (W12 step 4, W15 step 4): in pairs the other of the pair takes all that its leaf served; a REBALANCE without
/// that leaf empties it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w12_w15_in_pairs_the_partner_takes_all_and_is_emptied() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SHAPE);
    cluster.join().await;
    let mut conn = connect(&cluster.doors()).await;
    make_test(&cluster, &mut conn, "PARTITIONS 8").await;
    let ports = [1, 2, 3, 4].map(|number| cluster.port(cluster.leaf(number)));
    // W12, 4: pairs are the first and the third, the second and the fourth.
    lose_the_first(&mut cluster, &mut conn).await;
    let expected = BTreeMap::from([(ports[1], 2), (ports[2], 4), (ports[3], 2)]);
    assert_eq!(by_leaf(&mut conn).await, expected);
    // W15, 4
    beside(&cluster, "REBALANCE PARTITIONS ON test").await.ended().await.expect("rebalanced");
    let after = copies(&mut conn).await;
    assert_eq!(load(&after, ports[2]), (0, 0), "{after:?}");
    assert_eq!([load(&after, ports[1]), load(&after, ports[3])], [(4, 4); 2], "{after:?}");
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    cluster.end();
}
