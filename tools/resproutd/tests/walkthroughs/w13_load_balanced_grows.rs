//! W13: a cluster in pairs becomes `load_balanced`, grows and shrinks.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::steps::{
    self, add_leaf, beside, copies, counts, explained, leaves, load, probe, takers,
};
use crate::support::cluster::{Cluster, Shape};
use crate::support::directory;

const REBALANCE: &str = "REBALANCE PARTITIONS ON test";

fn is_even(numbers: &[usize]) -> bool {
    let (least, most) = (numbers.iter().min(), numbers.iter().max());
    most.zip(least).is_some_and(|(most, least)| most - least <= 1)
}

/// Masters of all leaves differ by one at most, as do the copies on leaves of one group, which has one of each partition;
/// and no leaf alone would take over for another.
async fn is_balanced(conn: &mut Conn) {
    let leaves = leaves(conn).await;
    let copies = copies(conn).await;
    assert!(counts(&copies).values().all(|count| *count == 2), "{copies:?}");
    let loads: Vec<_> = leaves.iter().map(|leaf| (leaf.group, load(&copies, leaf.port))).collect();
    let masters: Vec<_> = loads.iter().map(|(_, load)| load.0).collect();
    assert!(is_even(&masters), "{loads:?}");
    for group in [1, 2] {
        let of = loads.iter().filter(|(of, _)| *of == group);
        let all: Vec<_> = of.map(|(_, (masters, replicas))| masters + replicas).collect();
        assert!(all.iter().sum::<usize>() == 8 && is_even(&all), "{loads:?}");
    }
    for (leaf, masters) in leaves.iter().zip(masters) {
        assert!(masters < 2 || takers(&copies, leaf.port).len() > 1, "{leaf:?}: {copies:?}");
    }
}

/// Promise (W13): neither new leaves nor the variable move anything; REBALANCE does, and keeps the scheme, as REMOVE
/// LEAF does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w13_load_balanced_grows_and_shrinks() {
    let dir = directory();
    let shape = Shape { voters: 1, leaves: 2, redundancy: 2 };
    let mut cluster = Cluster::start(dir.path(), shape);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 8").await;
    let before = copies(&mut conn).await;
    // 1
    for group in [1, 2, 1, 2] {
        add_leaf(&mut cluster, &mut conn, group).await;
    }
    assert_eq!(copies(&mut conn).await, before);
    // 2
    conn.query_drop("SET GLOBAL leaf_failover_fanout = 'load_balanced'").await.expect("set");
    assert_eq!(copies(&mut conn).await, before);
    // 3
    beside(&cluster, REBALANCE).await.ended().await.expect("rebalanced");
    is_balanced(&mut conn).await;
    assert_eq!(explained(&mut conn, REBALANCE).await, []);
    // 4
    let gone = cluster.named(cluster.leaf(1));
    conn.query_drop(format!("REMOVE LEAF {gone}")).await.expect("removed");
    assert_eq!(leaves(&mut conn).await.len(), 5);
    is_balanced(&mut conn).await;
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    cluster.end();
}
