//! W24: a partition without a master, whose rows an orphan has.
//!
//! The replica of step 1 has restarted: what it does there is what every copy does that nobody has told what to be, so it is a replica by
//! the metadata only.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::steps::{
    self, Copy, PAIR, copies, insert, master_and_replica, no_master, partitions, probe, refused,
    until_leaf,
};
use crate::support::cluster::{Cluster, until};
use crate::support::directory;

/// Role and state of the copies of a partition on a leaf, by SHOW CLUSTER STATUS; name `test` is that of reference tables.
async fn shown(conn: &mut Conn, name: &str, port: u16) -> Vec<(String, String)> {
    let rows: Vec<Row> = conn.query("SHOW CLUSTER STATUS").await.expect("answered");
    let text = |row: &Row, column: &str| -> String {
        let found: Option<String> = row.get(column).expect("a column");
        found.unwrap_or_default()
    };
    let is_it =
        |row: &&Row| text(row, "DATABASE_NAME") == name && row.get::<u16, _>("PORT") == Some(port);
    rows.iter().filter(is_it).map(|row| (text(row, "ROLE"), text(row, "STATE"))).collect()
}

async fn until_shown(conn: &mut Conn, (name, port): (&str, u16), role: &str, state: &str) {
    let expected = [(role.to_owned(), state.to_owned())];
    until(&format!("{name} on {port} is {role}, {state}"), async || {
        shown(conn, name, port).await == expected
    })
    .await;
}

/// Promise (W24): CLEAR ORPHAN DATABASES leaves an orphan whose partition has no master; ATTACH PARTITION makes it the master,
/// with all that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w24_an_orphan_stays_and_is_attached_as_master() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), PAIR);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 2").await;
    let (master, replica) = master_and_replica(&copies(&mut conn).await, 1);
    let [kept, lost] = [&master, &replica].map(|copy: &Copy| copy.port);
    // The replica misses what is written while it is away; then the master goes, and leaves the record.
    cluster.kill(cluster.at(lost));
    until_leaf(&mut conn, lost, "offline").await;
    insert(&mut conn, 101..=200).await.expect("inserted");
    cluster.kill(cluster.at(kept));
    until_leaf(&mut conn, kept, "offline").await;
    cluster.run(cluster.at(lost));
    until_leaf(&mut conn, lost, "online").await;
    let on = format!("test:1 ON {}", cluster.named(cluster.at(kept)));
    conn.query_drop(format!("DETACH PARTITION {on}")).await.expect("detached");
    cluster.run(cluster.at(kept));
    until_leaf(&mut conn, kept, "online").await;

    // 1
    until_shown(&mut conn, ("test_1", kept), "Orphan", "pending").await;
    let role = "SELECT metadata_role FROM information_schema.mv_cluster_status \
                WHERE database_name = 'test_1' AND port = ?";
    let role: Option<String> = conn.exec_first(role, (lost,)).await.expect("answered");
    assert_eq!(role.as_deref(), Some("Replica"));
    until_shown(&mut conn, ("test_0", kept), "Master", "online").await;
    until_shown(&mut conn, ("test_0", lost), "Replica", "replicating").await;
    until("the copies of reference tables are there", async || {
        let mut both =
            [shown(&mut conn, "test", kept).await, shown(&mut conn, "test", lost).await].concat();
        both.sort();
        both == [("Reference", "online"), ("Reference", "replicating")]
            .map(|(role, state)| (role.to_owned(), state.to_owned()))
    })
    .await;
    assert_eq!(refused(probe(&mut conn).await), no_master(1));
    // 2
    conn.query_drop("CLEAR ORPHAN DATABASES").await.expect("nothing is safe to drop");
    until_shown(&mut conn, ("test_1", kept), "Orphan", "pending").await;
    // 3
    conn.query_drop(format!("ATTACH PARTITION {on}")).await.expect("attached");
    until_shown(&mut conn, ("test_1", kept), "Master", "online").await;
    let shown = partitions(&mut conn).await;
    assert!(shown.iter().all(|(_, port, role, _)| port.is_some() && role.is_some()), "{shown:?}");
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 200, 200));
    cluster.whole("test").await;
    // What the orphan had is on both.
    cluster.kill(cluster.at(kept));
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 200, 200));
    cluster.end();
}
