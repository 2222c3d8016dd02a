//! W06: redundancy 2 in pairs is expanded by two leaves. With one pair and five partitions: 5/2 instead of 16/5.

use std::collections::BTreeSet;

use crate::steps::{self, PAIR, add_leaf, beside, copies, explained, leaves, load, probe};
use crate::support::cluster::Cluster;
use crate::support::directory;

const REBALANCE: &str = "REBALANCE PARTITIONS ON test";

/// Promise (W06): new leaves are a pair, and get nothing by themselves; REBALANCE evens out partitions by pair, and masters
/// inside each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w06_two_new_leaves_take_their_part() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), PAIR);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 5").await;
    // 1
    let before = copies(&mut conn).await;
    let old = [1, 2].map(|number| cluster.port(cluster.leaf(number)));
    let new =
        [add_leaf(&mut cluster, &mut conn, 1).await, add_leaf(&mut cluster, &mut conn, 2).await];
    let shown = leaves(&mut conn).await.into_iter().map(|leaf| (leaf.port, leaf.group, leaf.pair));
    let expected = [old, new].map(|[one, other]| [(one, 1, Some(other)), (other, 2, Some(one))]);
    assert_eq!(shown.collect::<Vec<_>>(), expected.as_flattened());
    assert_eq!(copies(&mut conn).await, before);
    // 2
    assert!(!explained(&mut conn, REBALANCE).await.is_empty());
    // 3
    let rebalanced = beside(&cluster, REBALANCE).await.ended().await;
    assert_eq!(rebalanced.expect("rebalanced"), 1);
    let after = copies(&mut conn).await;
    let mut by_pair = Vec::new();
    for pair in [old, new] {
        let [(masters, replicas), (others_masters, others_replicas)] =
            pair.map(|port| load(&after, port));
        assert_eq!((masters, others_masters), (others_replicas, replicas), "each has the other's");
        assert!(masters.abs_diff(others_masters) <= 1, "{after:?}");
        by_pair.push(masters + others_masters);
    }
    assert_eq!(by_pair, [3, 2]);
    let instances: BTreeSet<_> = after.iter().map(|copy| copy.instance).collect();
    assert_eq!(instances.len(), 10, "two copies of each, by numbers of their own");
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    // 4
    assert_eq!(explained(&mut conn, REBALANCE).await, []);
    cluster.end();
}
