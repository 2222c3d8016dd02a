//! W08: masters go back when nothing has changed for `attach_rebalance_delay_seconds`; whatever changes begins the wait anew.
//!
//! Step 4, redundancy 1, is W01: a leaf is attached at once, and nothing is promoted.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::steps::{self, copies, leaves, load, master_and_replica, probe, until_leaf};
use crate::support::cluster::{Cluster, Shape, until};
use crate::support::directory;

/// `attach_rebalance_delay_seconds`.
const DELAY: u64 = 4;

/// Kills a leaf, and waits until no master is there.
async fn lose(cluster: &mut Cluster, conn: &mut Conn, port: u16) {
    cluster.kill(cluster.at(port));
    until_leaf(conn, port, "offline").await;
    until("the other of the pair is master", async || {
        let copies = copies(conn).await;
        copies.iter().filter(|copy| copy.is_master()).all(|copy| copy.port != port)
            && copies.iter().filter(|copy| copy.is_master()).count() == 4
    })
    .await;
}

/// Starts it again, until it is online; a moment just before that.
async fn bring_back(cluster: &mut Cluster, conn: &mut Conn, port: u16) -> Instant {
    cluster.run(cluster.at(port));
    let mut before = Instant::now();
    until("the leaf is online", async || {
        let asked = Instant::now();
        let leaves = leaves(conn).await;
        let is_online = leaves.iter().any(|leaf| leaf.port == port && leaf.state == "online");
        if !is_online {
            before = asked;
        }
        is_online
    })
    .await;
    before
}

/// Promise (W08, O13): a leaf that came back gets its masters when it has been quiet for the delay; another that goes and comes
/// begins the wait anew, and then both get theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w08_o13_what_changes_begins_the_wait_anew() {
    let dir = directory();
    let shape = Shape { voters: 1, leaves: 4, redundancy: 2 };
    let mut cluster = Cluster::start(dir.path(), shape);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 4").await;
    let set = format!("SET GLOBAL attach_rebalance_delay_seconds = {DELAY}");
    conn.query_drop(set).await.expect("set");
    // Partitions 0 and 1 are on two pairs.
    let before = copies(&mut conn).await;
    let [first, second] = [0, 1].map(|ordinal| master_and_replica(&before, ordinal).0.port);
    let masters_on = |copies: &[steps::Copy], port| load(copies, port).0;

    // 1
    lose(&mut cluster, &mut conn, first).await;
    bring_back(&mut cluster, &mut conn, first).await;
    assert_eq!(masters_on(&copies(&mut conn).await, first), 0, "it waits");
    // 2, 3: at once, which is before half of the delay is over.
    lose(&mut cluster, &mut conn, second).await;
    let quiet_since = bring_back(&mut cluster, &mut conn, second).await;
    until("a master is back", async || {
        let copies = copies(&mut conn).await;
        masters_on(&copies, first) + masters_on(&copies, second) > 0
    })
    .await;
    let waited = quiet_since.elapsed();
    assert!(waited >= Duration::from_secs(DELAY), "masters went back after {waited:?}");
    until("all masters are back", async || {
        let now = copies(&mut conn).await;
        let places = |copies: &[steps::Copy]| -> Vec<_> {
            copies.iter().map(|copy| (copy.ordinal, copy.port, copy.is_master())).collect()
        };
        places(&now) == places(&before)
    })
    .await;
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    cluster.end();
}
