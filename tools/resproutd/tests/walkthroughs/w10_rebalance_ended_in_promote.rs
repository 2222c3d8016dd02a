//! W10: a rebalance ends while it promotes: a long transaction keeps the partition from standing still, and somebody
//! kills the statement. Without that it waits for a minute, and then says so: too long for a test.

use mysql_async::prelude::Queryable;

use crate::steps::{
    self, PAIR, add_leaf, beside, copies, counts, explained, insert, masters, partitions, probe,
    refused, until_over, until_step,
};
use crate::support::cluster::{Cluster, connect};
use crate::support::directory;

const REBALANCE: &str = "REBALANCE PARTITIONS ON test";

/// Promise (W10, O02, O04): a promotion that does not come about leaves the old master in its term, and the partition open; what was
/// copied is not copied again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w10_o02_o04_a_promotion_that_does_not_come_about_changes_nothing() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), PAIR);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 4").await;
    add_leaf(&mut cluster, &mut conn, 1).await;
    add_leaf(&mut cluster, &mut conn, 2).await;
    let before = masters(&mut conn).await;
    let mut long = connect(&cluster.doors()).await;
    long.query_drop("START TRANSACTION").await.expect("begun");
    insert(&mut long, 1001..=1100).await.expect("inserted");

    // 1
    let running = beside(&cluster, REBALANCE).await;
    until_step(&mut conn, "it promotes", |row| {
        row.action.starts_with("PROMOTE") && row.status == "running"
    })
    .await;
    conn.query_drop(format!("KILL QUERY {}", running.id)).await.expect("killed");
    assert_eq!(refused(running.ended().await).0, 1317);
    until_over(&mut conn).await;
    // 2
    assert_eq!(masters(&mut conn).await, before);
    assert!(partitions(&mut conn).await.iter().all(|(.., locked)| *locked == 0));
    // 3
    let there = copies(&mut conn).await;
    assert!(counts(&there).values().all(|count| *count >= 2), "{there:?}");
    // 4
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    insert(&mut conn, 101..=200).await.expect("inserted");
    insert(&mut long, 1101..=1200).await.expect("inserted");
    long.query_drop("COMMIT").await.expect("committed");
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 1200, 400));
    // 5
    let rest = explained(&mut conn, REBALANCE).await;
    assert!(rest.iter().any(|(action, ..)| action.starts_with("PROMOTE")), "{rest:?}");
    assert!(!rest.iter().any(|(action, ..)| action.starts_with("COPY")), "{rest:?}");
    beside(&cluster, REBALANCE).await.ended().await.expect("rebalanced");
    assert_eq!(explained(&mut conn, REBALANCE).await, []);
    assert!(counts(&copies(&mut conn).await).values().all(|count| *count == 2));
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 1200, 400));
    cluster.end();
}
