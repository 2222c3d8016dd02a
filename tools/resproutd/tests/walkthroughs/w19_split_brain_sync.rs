//! W19: two zones are cut from each other while the replica is synchronous.

use mysql_async::prelude::Queryable;

use crate::steps::{BLOCKED, Copy, insert, probe};
use crate::support::cluster::{connect, until};
use crate::support::directory;
use crate::support::network::Network;
use crate::zones::{self, ZONES, another_in_b, both};

/// Promise (W19): the side with the majority of voters takes over and takes writes; a write on the other side is not
/// acknowledged while the cut lasts, and is nowhere afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w19_a_cut_from_a_synchronous_replica() {
    let Some(network) = Network::or_skip("w19", &ZONES) else { return };
    let dir = directory();
    let mut zones = zones::start(dir.path(), network).await;
    let [before, _] = both(&mut zones.a).await;
    // 1
    zones.cluster.network().cut();
    until("the replica in A is master", async || both(&mut zones.a).await[1].is_master()).await;
    let [cut, heir] = both(&mut zones.a).await;
    let lost = Copy {
        role: "Replica".to_owned(),
        is_offline: true,
        state: "async".to_owned(),
        term: 0,
        ..before.clone()
    };
    assert_eq!(cut, lost);
    assert!(heir.term > before.term && !heir.is_offline, "{heir:?}");
    // 2: the client was there before.
    assert_eq!(probe(&mut zones.b).await.expect("served by the old master"), (1, 100, 100));
    // 3
    let mut writer = another_in_b(&zones).await;
    let mut blocked = tokio::spawn(async move { insert(&mut writer, 101..=101).await });
    let waited = tokio::time::timeout(BLOCKED, &mut blocked).await;
    assert!(waited.is_err(), "the write in B is not blocked: {waited:?}");
    // 4
    insert(&mut zones.a, 102..=102).await.expect("inserted");
    assert_eq!(probe(&mut zones.a).await.expect("answered"), (1, 102, 101));
    assert_eq!(probe(&mut zones.b).await.expect("served by the old master"), (1, 100, 100));
    assert!(!blocked.is_finished());
    // 5
    zones.cluster.network().heal();
    let ended = blocked.await.expect("no panic");
    assert!(ended.is_err(), "what was blocked never commits");
    zones::until_healed(&mut zones).await;
    let [follows, master] = both(&mut zones.a).await;
    assert_eq!((follows.role.as_str(), follows.instance), ("Replica", before.instance));
    assert_eq!((master.is_master(), master.term), (true, heir.term));
    for conn in [&mut zones.a, &mut zones.b] {
        assert_eq!(probe(conn).await.expect("answered"), (1, 102, 101));
    }
    // Both copies: the other one serves when this one is lost.
    zones.cluster.kill(zones.replica);
    let mut conn = connect(&zones.cluster.doors()).await;
    let ids = "SELECT id FROM test.x WHERE id > 100";
    assert_eq!(conn.query::<i64, _>(ids).await.expect("answered"), [102]);
}
