//! W11: a rebalance ends while it drops what is not needed any more: the statement is killed after the promotions, and
//! the leaf with the old copy dies before its files are gone.
//!
//! What is left on the leaf then, and its end by CLEAR ORPHAN DATABASES, is W24's.

use mysql_async::prelude::Queryable;

use crate::steps::{
    self, PAIR, add_leaf, beside, copies, counts, explained, masters, probe, refused, until_leaf,
    until_step,
};
use crate::support::cluster::{Cluster, until};
use crate::support::directory;

const REBALANCE: &str = "REBALANCE PARTITIONS ON test";

/// Promise (W11, O03, O04): once the promotions are done the new masters serve, whatever becomes of the drops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w11_o03_o04_a_drop_that_does_not_come_about_is_noticed_by_nobody() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), PAIR);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 2").await;
    let new =
        [add_leaf(&mut cluster, &mut conn, 1).await, add_leaf(&mut cluster, &mut conn, 2).await];
    let plan = explained(&mut conn, REBALANCE).await;
    let dropped = plan.iter().find(|(action, ..)| action == "DROP PARTITION");
    let (_, moved, old, _) = dropped.cloned().unwrap_or_else(|| panic!("{plan:?}"));
    let term = |masters: &[(u64, u16, u64)]| {
        let (_, port, term) = masters.iter().find(|(ordinal, ..)| *ordinal == moved)?;
        Some((*port, *term))
    };
    let before = term(&masters(&mut conn).await).expect("a master");

    // 1: the leaf that is to drop a copy takes its time.
    cluster.signal(cluster.at(old), "STOP");
    let running = beside(&cluster, REBALANCE).await;
    until_step(&mut conn, "it drops", |row| {
        row.action == "DROP PARTITION" && row.status == "running"
    })
    .await;
    conn.query_drop(format!("KILL QUERY {}", running.id)).await.expect("killed");
    assert_eq!(refused(running.ended().await).0, 1317);
    // 2
    let after = term(&masters(&mut conn).await).expect("a master");
    assert!(new.contains(&after.0) && after.1 > before.1, "{before:?}, {after:?}");
    cluster.kill(cluster.at(old));
    until("all is served", async || {
        probe(&mut conn).await.is_ok_and(|found| found == (1, 100, 100))
    })
    .await;
    // 3, 4
    cluster.run(cluster.at(old));
    until_leaf(&mut conn, old, "online").await;
    beside(&cluster, REBALANCE).await.ended().await.expect("rebalanced");
    assert_eq!(explained(&mut conn, REBALANCE).await, []);
    let there = copies(&mut conn).await;
    assert!(counts(&there).values().all(|count| *count == 2), "{there:?}");
    assert!(!there.iter().any(|copy| (copy.ordinal, copy.port) == (moved, old)), "{there:?}");
    assert_eq!(term(&masters(&mut conn).await).expect("a master").0, after.0);
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    cluster.end();
}
