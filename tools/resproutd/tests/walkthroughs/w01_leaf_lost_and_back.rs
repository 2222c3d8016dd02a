//! W01: redundancy 1, a leaf is lost and comes back by itself.

use std::net::SocketAddr;

use mysql_async::Row;
use mysql_async::prelude::Queryable;

use crate::steps::{
    self, Shown, copies, insert, leaves, no_master, partitions, probe, refused, until_leaf,
};
use crate::support::cluster::{Cluster, Shape, connect, until};
use crate::support::directory;

const PARTITIONS: u64 = 8;
const LEAVES: usize = 4;

type Refused = (u16, String, String);

/// Inserts ids, each with a client of its own: what is refused was waited for first. Those that are there then, and what
/// the others were told.
async fn insert_singly(door: SocketAddr) -> (Vec<i64>, Vec<Refused>) {
    let inserting = (101..=124).map(|id| {
        tokio::spawn(async move {
            let mut conn = connect(&[door]).await;
            let result = insert(&mut conn, id..=id).await;
            if result.is_ok() { Ok(id) } else { Err(refused(result)) }
        })
    });
    let inserting: Vec<_> = inserting.collect();
    let (mut there, mut told) = (Vec::new(), Vec::new());
    for one in inserting {
        match one.await.expect("no panic") {
            Ok(id) => there.push(id),
            Err(refused) => told.push(refused),
        }
    }
    (there, told)
}

/// Promise (W01): with one copy of each partition a lost leaf takes its partitions with it, and no others; they are back
/// with the leaf, which nobody has to attach.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w01_a_lost_leaf_comes_back_by_itself() {
    let dir = directory();
    let shape = Shape { voters: 1, leaves: LEAVES, redundancy: 1 };
    let mut cluster = Cluster::start(dir.path(), shape);
    let mut conn = steps::with_test(&cluster, "WITH ASYNC REPLICATION PARTITIONS 8").await;
    let port = |number: usize| cluster.port(cluster.leaf(number));
    let ports: Vec<_> = (1..=LEAVES).map(port).collect();
    let lost = ports[3];

    // 1: as soon as this aggregator has heard of all.
    until("all leaves are heard of", async || {
        let known = probe(&mut conn).await.is_ok();
        known && leaves(&mut conn).await.iter().all(|leaf| leaf.has_latency)
    })
    .await;
    let shown = leaves(&mut conn).await;
    assert_eq!(shown.iter().map(|leaf| leaf.port).collect::<Vec<_>>(), ports);
    for leaf in &shown {
        assert_eq!((leaf.group, leaf.pair, leaf.state.as_str()), (1, None, "online"));
    }
    // 2
    let home = |ordinal: u64| ports[usize::try_from(ordinal).expect("small") % LEAVES];
    let master = |ordinal| (ordinal, Some(home(ordinal)), Some("Master".to_owned()), 0);
    let whole: Vec<Shown> = (0..PARTITIONS).map(master).collect();
    assert_eq!(partitions(&mut conn).await, whole);
    // 3
    let asked = "SELECT * FROM information_schema.DISTRIBUTED_PARTITIONS \
                 WHERE DATABASE_NAME = 'test' AND PORT = ?";
    let rows: Vec<Row> = conn.exec(asked, (lost,)).await.expect("answered");
    let seen = rows.iter().map(|row| {
        let number = |name: &str| row.get::<u64, _>(name).expect("a number");
        let text = |name: &str| row.get::<String, _>(name).expect("a text");
        let flags = [number("LOCKED"), number("IS_OFFLINE"), number("SYNC_DESIRED")];
        let which = (number("ORDINAL"), number("TERM"), number("INSTANCE_ID"));
        (which, text("ROLE"), text("STATE"), flags)
    });
    let expected = [(3, 5, 4), (7, 9, 8)];
    let expected = expected.map(|which| (which, "Master".to_owned(), "async".to_owned(), [0; 3]));
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    // 4
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    // 5
    cluster.kill(cluster.leaf(4));
    let gone = until_leaf(&mut conn, lost, "offline").await;
    assert_eq!((gone.connections, gone.has_latency), (0, false));
    let others = leaves(&mut conn).await.into_iter().filter(|leaf| leaf.port != lost);
    assert!(others.into_iter().all(|leaf| leaf.state == "online"));
    // 6
    let mut without = whole.clone();
    for ordinal in [3, 7] {
        without[ordinal] = (without[ordinal].0, None, None, 0);
    }
    assert_eq!(partitions(&mut conn).await, without);
    // 7, 8: what needs the lost partitions is refused, all else goes on.
    let mut reader = connect(&cluster.doors()).await;
    let read = tokio::spawn(async move { refused(probe(&mut reader).await) });
    let (there, told) = insert_singly(cluster.address(0)).await;
    assert_eq!(read.await.expect("no panic"), no_master(3));
    assert!(!there.is_empty() && !told.is_empty(), "{there:?}, {told:?}");
    for refused in told {
        assert!([no_master(3), no_master(7)].contains(&refused), "{refused:?}");
    }
    for id in there {
        conn.exec_drop("DELETE FROM test.x WHERE id = ?", (id,)).await.expect("deleted");
    }
    // 9
    cluster.run(cluster.leaf(4));
    until_leaf(&mut conn, lost, "online").await;
    // 10
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    // 11
    assert_eq!(partitions(&mut conn).await, whole);
    let instances = copies(&mut conn).await.into_iter().map(|copy| copy.instance);
    assert_eq!(instances.collect::<Vec<_>>(), (1..=PARTITIONS).collect::<Vec<_>>());
    cluster.end();
}
