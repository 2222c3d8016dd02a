//! W03: redundancy 2 in pairs, a leaf is lost, the other of its pair takes over, and the leaf comes back by itself.

use std::collections::BTreeSet;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use crate::steps::{
    self, Copy, MOVED, copies, events, insert, leaves, load, master_and_replica, probe, until_leaf,
};
use crate::support::cluster::{Cluster, Shape, connect, until};
use crate::support::directory;

const PARTITIONS: u64 = 16;
const LEAVES: usize = 8;

/// The copies of partition 3: instance 4 and instance 20.
async fn third(conn: &mut Conn) -> [Copy; 2] {
    let of = copies(conn).await.into_iter().filter(|copy| copy.ordinal == 3).collect::<Vec<_>>();
    of.try_into().expect("two copies")
}

fn copy(port: u16, is_master: bool, term: u64, instance: u64) -> Copy {
    Copy {
        ordinal: 3,
        port,
        role: if is_master { "Master" } else { "Replica" }.to_owned(),
        is_offline: false,
        sync_desired: false,
        state: "async".to_owned(),
        term,
        instance,
    }
}

/// Promise (W03): the other leaf of a pair takes over in new terms, and takes writes; the leaf that was lost is attached
/// without a command, and then has everything; when it is quiet its masters go back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w03_a_pair_fails_over_and_is_whole_again() {
    let dir = directory();
    let shape = Shape { voters: 1, leaves: LEAVES, redundancy: 2 };
    let mut cluster = Cluster::start(dir.path(), shape);
    let mut conn = steps::with_test(&cluster, "WITH ASYNC REPLICATION PARTITIONS 16").await;
    let ports: Vec<_> = (1..=LEAVES).map(|number| cluster.port(cluster.leaf(number))).collect();

    // 1
    let pair = |at: usize| ports[(at + LEAVES / 2) % LEAVES];
    for (at, leaf) in leaves(&mut conn).await.iter().enumerate() {
        let group = if at < LEAVES / 2 { 1 } else { 2 };
        assert_eq!((leaf.port, leaf.group, leaf.pair), (ports[at], group, Some(pair(at))));
        assert_eq!(leaf.state, "online");
    }
    // 2
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    // 3: which of the pair begins as its master is for placement to say.
    let before = copies(&mut conn).await;
    let (master, replica) = master_and_replica(&before, 3);
    let (lost, heir) = (master.port, replica.port);
    assert_eq!(BTreeSet::from([lost, heir]), BTreeSet::from([ports[3], ports[7]]));
    assert_eq!([master, replica], [copy(lost, true, 5, 4), copy(heir, false, 0, 20)]);
    let terms = before.iter().map(|copy| copy.term).max().expect("some");
    assert_eq!(terms, PARTITIONS + 1, "{:#?}", events(&mut conn).await);
    // 4
    cluster.kill(cluster.at(lost));
    let gone = until_leaf(&mut conn, lost, "offline").await;
    assert_eq!((gone.pair, gone.has_latency), (Some(heir), false));
    // 5
    until("the other of the pair is master", async || third(&mut conn).await[1].is_master()).await;
    let [old, new] = third(&mut conn).await;
    assert_eq!(old, Copy { is_offline: true, ..copy(lost, false, 0, 4) });
    assert_eq!(new, copy(heir, true, new.term, 20));
    assert!(new.term > terms, "{new:?}");
    // 6
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 100, 100));
    // 7
    insert(&mut conn, 101..=200).await.expect("inserted");
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 200, 200));
    // 8
    cluster.run(cluster.at(lost));
    until_leaf(&mut conn, lost, "online").await;
    // 9
    let [back, master] = third(&mut conn).await;
    assert_eq!(back, copy(lost, false, 0, 4));
    assert_eq!(master, new);
    for copy in copies(&mut conn).await {
        assert!(!copy.is_offline && copy.state == "async", "{copy:?}");
    }
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 200, 200));
    masters_go_back(&cluster, &mut conn, [lost, heir]).await;
    cluster.end();
}

/// Step 10: when it has been quiet for `attach_rebalance_delay_seconds`, which are few from here on.
async fn masters_go_back(cluster: &Cluster, conn: &mut Conn, [back, heir]: [u16; 2]) {
    assert_eq!(load(&copies(conn).await, heir).0, 4);
    let mut reader = connect(&cluster.doors()).await;
    let reading = tokio::spawn(async move {
        loop {
            match probe(&mut reader).await {
                Ok(found) => assert_eq!(found, (1, 200, 200)),
                Err(Error::Server(error)) if error.code == MOVED => {}
                Err(other) => panic!("{other}"),
            }
        }
    });
    conn.query_drop("SET GLOBAL attach_rebalance_delay_seconds = 1").await.expect("set");
    until("masters are back", async || {
        let copies = copies(conn).await;
        [back, heir].iter().all(|port| load(&copies, *port) == (2, 2))
    })
    .await;
    reading.abort();
    assert!(reading.await.expect_err("it reads until then").is_cancelled(), "a read failed");
}
