//! W20: two zones are cut from each other while the replica is asynchronous.

use crate::steps::{Copy, insert, master_and_replica, no_master, probe, refused, until_async};
use crate::support::cluster::{connect, until};
use crate::support::directory;
use crate::support::network::Network;
use crate::zones::{self, ZONES, both};

/// Promise (W20): a replica that may miss something is not promoted: the side with the majority of voters refuses reads and
/// writes, the master on the other side goes on, and what was written there is there afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w20_a_cut_from_an_asynchronous_replica() {
    let Some(network) = Network::or_skip("w20", &ZONES) else { return };
    let dir = directory();
    let mut zones = zones::start(dir.path(), network).await;
    let [before, _] = both(&mut zones.a).await;
    // Given: the replica does not answer until it is left behind, and answers again when the zones are cut.
    zones.cluster.signal(zones.replica, "STOP");
    insert(&mut zones.a, 101..=101).await.expect("inserted");
    until_async(&mut zones.a).await;
    zones.cluster.network().cut();
    zones.cluster.signal(zones.replica, "CONT");
    // 1
    until("the master is offline, as A has it", async || both(&mut zones.a).await[0].is_offline)
        .await;
    // 3: refused when it was waited for a master for a while, so both are asked at once.
    let [mut reader, mut writer] = [connect(&zones.in_a()).await, connect(&zones.in_a()).await];
    let read = tokio::spawn(async move { refused(probe(&mut reader).await) });
    let written = tokio::spawn(async move { refused(insert(&mut writer, 103..=103).await) });
    // 2
    insert(&mut zones.b, 102..=102).await.expect("the master in B goes on");
    assert_eq!(probe(&mut zones.b).await.expect("answered"), (1, 102, 102));
    assert_eq!(read.await.expect("no panic"), no_master(0));
    assert_eq!(written.await.expect("no panic"), no_master(0));
    // 1, also by now
    let [master, replica] = both(&mut zones.a).await;
    assert_eq!(master, Copy { is_offline: true, ..before.clone() });
    assert_eq!((replica.role.as_str(), replica.term), ("Replica", 0));
    // 4
    zones.cluster.network().heal();
    zones::until_healed(&mut zones).await;
    // The master goes on in its term, unless the replica is synchronous again before the master's leaf is taken back: then
    // another term begins, and either may be elected.
    let (master, replica) = master_and_replica(&both(&mut zones.a).await, 0);
    assert!(master == before || master.term > before.term, "{master:?}");
    assert_eq!((replica.is_offline, replica.state.as_str()), (false, "sync"));
    for conn in [&mut zones.a, &mut zones.b] {
        assert_eq!(probe(conn).await.expect("answered"), (1, 102, 102));
    }
}
