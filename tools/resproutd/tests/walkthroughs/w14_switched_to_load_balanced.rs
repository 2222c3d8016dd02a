//! W14: a database that is there is switched from pairs to `load_balanced`.
//!
//! The numbers for more leaves, and for many, are tests of placement. That a third more disk is needed meanwhile is what
//! copies take that are there before others are dropped, and is not measured here.

use std::collections::BTreeSet;

use mysql_async::prelude::Queryable;

use crate::steps::{self, beside, copies, counts, explained, load, masters, probe, takers};
use crate::support::cluster::{Cluster, Shape};
use crate::support::directory;

const REBALANCE: &str = "REBALANCE PARTITIONS ON test";
const PARTITIONS: usize = 16;
const LEAVES: usize = 4;
/// The leaves that take over from one: half of all.
const FANOUT: usize = LEAVES / 2;

/// Promise (W14): of `N` replicas `N (f - 1) / f` get a new home and no master moves, as EXPLAIN says before; afterwards each leaf's
/// masters have their replicas spread evenly over the other group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w14_a_database_is_switched_to_load_balanced() {
    let dir = directory();
    let mut cluster =
        Cluster::start(dir.path(), Shape { voters: 1, leaves: LEAVES, redundancy: 2 });
    let mut conn = steps::with_test(&cluster, "PARTITIONS 16").await;
    let before = copies(&mut conn).await;
    let served = masters(&mut conn).await;
    let ports: Vec<_> = (1..=LEAVES).map(|number| cluster.port(cluster.leaf(number))).collect();
    for port in &ports {
        assert_eq!((load(&before, *port), takers(&before, *port).len()), ((4, 4), 1), "{before:?}");
    }
    conn.query_drop("SET GLOBAL leaf_failover_fanout = 'load_balanced'").await.expect("set");
    assert_eq!(copies(&mut conn).await, before, "what is there stays until it is rebalanced");

    let moved = PARTITIONS * (FANOUT - 1) / FANOUT;
    let plan = explained(&mut conn, REBALANCE).await;
    let count = |what: &str| plan.iter().filter(|step| step.0.starts_with(what)).count();
    assert_eq!([count("COPY"), count("DROP"), count("PROMOTE")], [moved, moved, 0], "{plan:?}");
    beside(&cluster, REBALANCE).await.ended().await.expect("rebalanced");

    let after = copies(&mut conn).await;
    let homes = |copies: &[steps::Copy]| -> BTreeSet<(u64, u16)> {
        copies.iter().map(|copy| (copy.ordinal, copy.port)).collect()
    };
    assert_eq!(homes(&after).difference(&homes(&before)).count(), moved, "{after:?}");
    assert_eq!(masters(&mut conn).await, served, "no master has moved");
    assert!(counts(&after).values().all(|count| *count == 2), "{after:?}");
    let group = |port: u16| usize::from(ports[FANOUT..].contains(&port));
    for port in &ports {
        assert_eq!(load(&after, *port), (4, 4), "{after:?}");
        let takers = takers(&after, *port);
        assert!(takers.len() == FANOUT && takers.iter().all(|taker| group(*taker) != group(*port)));
        // Each of them would take half.
        for taker in takers {
            let is_on = |copy: &&steps::Copy, port: u16| copy.port == port;
            let of = after.iter().filter(|copy| is_on(copy, *port) && copy.is_master());
            let ordinals: BTreeSet<_> = of.map(|copy| copy.ordinal).collect();
            let taken = after.iter().filter(|copy| is_on(copy, taker) && !copy.is_master());
            let taken = taken.filter(|copy| ordinals.contains(&copy.ordinal)).count();
            assert_eq!(taken, 4 / FANOUT, "{port} and {taker}: {after:?}");
        }
    }
    assert_eq!(explained(&mut conn, REBALANCE).await, []);
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    cluster.end();
}
