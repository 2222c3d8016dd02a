//! W04: redundancy 2 in pairs, `auto_attach` off: a leaf that was lost keeps its copies as they are until ATTACH LEAF, which
//! returns when they have caught up and masters are back.
//!
//! Step 2 is SHOW DATABASES EXTENDED on the leaf. Leaves serve no SQL here; `DISTRIBUTED_PARTITIONS_ON_LEAVES`, for
//! which the aggregator asks the leaf, says the same: what each copy on it does.

use std::collections::BTreeSet;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::steps::{self, Copy, copies, insert, master_and_replica, probe, until_leaf};
use crate::support::cluster::{Cluster, Shape, until};
use crate::support::directory;

const PARTITIONS: u64 = 4;

async fn copy_on(conn: &mut Conn, ordinal: u64, port: u16) -> Copy {
    let mut found = copies(conn).await.into_iter();
    found.find(|copy| (copy.ordinal, copy.port) == (ordinal, port)).expect("it has one")
}

/// Ordinal and state of each copy on a leaf, as the leaf says.
async fn on_leaf(conn: &mut Conn, port: u16) -> Vec<(u64, String)> {
    let asked = "SELECT ordinal, state FROM information_schema.distributed_partitions_on_leaves \
                 WHERE database_name = 'test' AND port = ? ORDER BY ordinal";
    conn.exec(asked, (port,)).await.expect("answered")
}

/// Promise (W04): whatever a leaf had, it does nothing with it while it is detached; ATTACH LEAF lets it catch up, and gives
/// it back the masters that it had, in new terms and by their old numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w04_a_detached_pair_is_whole_by_attach_leaf() {
    let dir = directory();
    let shape = Shape { voters: 1, leaves: 2, redundancy: 2 };
    let mut cluster = Cluster::start(dir.path(), shape);
    let mut conn = steps::with_test(&cluster, "WITH ASYNC REPLICATION PARTITIONS 4").await;
    // W03, 3 to 7.
    let (master, replica) = master_and_replica(&copies(&mut conn).await, 0);
    let (lost, heir) = (master.port, replica.port);
    let before = copies(&mut conn).await;
    conn.query_drop("SET GLOBAL auto_attach = Off").await.expect("set");
    cluster.kill(cluster.at(lost));
    until_leaf(&mut conn, lost, "offline").await;
    until("the other of the pair is master", async || {
        copy_on(&mut conn, 0, heir).await.is_master()
    })
    .await;
    let failed_over = copy_on(&mut conn, 0, heir).await;
    insert(&mut conn, 101..=200).await.expect("inserted");
    // 1
    cluster.run(cluster.at(lost));
    until_leaf(&mut conn, lost, "detached").await;
    // 2
    let pending: Vec<_> = (0..PARTITIONS).map(|ordinal| (ordinal, "pending".to_owned())).collect();
    assert_eq!(on_leaf(&mut conn, lost).await, pending);
    // 3
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 200, 200));
    // 4
    let attach = format!("ATTACH LEAF '127.0.0.1':{lost}");
    let attached = conn.query_iter(attach).await.expect("attached");
    assert_eq!(attached.affected_rows(), 1);
    attached.drop_result().await.expect("read");
    // 5, 6
    let after = copies(&mut conn).await;
    let (back, demoted) = master_and_replica(&after, 0);
    assert_eq!(back, Copy { term: back.term, ..master });
    assert_eq!(demoted, replica);
    assert!(back.term > failed_over.term, "{back:?}, {failed_over:?}");
    let terms: BTreeSet<_> = after.iter().map(|copy| copy.term).filter(|term| *term > 0).collect();
    assert_eq!(terms.len(), 4, "each mastership has a term of its own: {after:?}");
    let place = |copy: &Copy| (copy.ordinal, copy.port, copy.role.clone(), copy.instance);
    assert_eq!(
        after.iter().map(place).collect::<Vec<_>>(),
        before.iter().map(place).collect::<Vec<_>>()
    );
    // 7
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 200, 200));
    cluster.end();
}
