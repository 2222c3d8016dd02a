//! What happens to the cluster, one thing after the other; before each, and after, all clients get on.

use mysql_async::prelude::Queryable;

use crate::scene::Scene;
use crate::support::cluster::{Cluster, connect, until};
use crate::support::tell;

/// Leaves are named by their number, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A leaf is killed, and started again when another has its masters.
    KillLeaf(usize),
    /// A leaf stands still until it is given up, and goes on.
    StopLeaf(usize),
    /// Both leaves are killed at once, and started again.
    KillBothLeaves,
    /// A leaf ends in order and is started again.
    RestartLeaf(usize),
    /// The master aggregator is killed, and started again when there is another.
    KillMaster,
    /// The master aggregator stands still until there is another, and goes on.
    StopMaster,
    /// An aggregator ends in order and is started again.
    RestartAggregator(usize),
    /// The two sides are cut from each other until the one with most voters has taken over.
    Cut,
}

use Fault::{
    Cut, KillBothLeaves, KillLeaf, KillMaster, RestartAggregator, RestartLeaf, StopLeaf, StopMaster,
};

/// What happens in a usual run. Masters begin on both leaves: they are on the second then, on the first, and with the cut on the second
/// again.
const USUAL: [Fault; 7] =
    [KillLeaf(1), StopLeaf(2), Cut, KillMaster, RestartLeaf(2), KillBothLeaves, StopMaster];

const ALL: [Fault; 11] = [
    KillLeaf(1),
    KillLeaf(2),
    StopLeaf(1),
    StopLeaf(2),
    KillBothLeaves,
    RestartLeaf(1),
    RestartLeaf(2),
    KillMaster,
    StopMaster,
    RestartAggregator(0),
    Cut,
];

pub(crate) struct Faults;

impl Faults {
    /// The faults of a round. The first has the usual ones; what is in others follows from their number.
    pub(crate) fn of(round: u64, has_network: bool) -> Vec<Fault> {
        let mut state = round;
        let mut any = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ALL[usize::try_from(state >> 33).unwrap_or(0) % ALL.len()]
        };
        let drawn: Vec<_> =
            if round == 0 { USUAL.to_vec() } else { (0..USUAL.len()).map(|_| any()).collect() };
        drawn.into_iter().filter(|fault| has_network || *fault != Cut).collect()
    }
}

/// Waits until the record has a master for every partition, none of which is on that leaf.
async fn until_served_without(cluster: &Cluster, scene: &Scene, leaf: usize) {
    let address = cluster.address(leaf);
    let masters = format!(
        "SELECT host, port FROM information_schema.distributed_partitions \
         WHERE database_name = '{}' AND role = 'Master' AND is_offline = 0",
        scene.database
    );
    let ahead = scene.ahead();
    until("the other leaf is master of all", async || {
        let masters: Result<Vec<(String, u16)>, _> = connect(&ahead).await.query(&masters).await;
        let is_other = |(host, port): &(String, u16)| {
            (host, *port) != (&address.ip().to_string(), address.port())
        };
        masters.is_ok_and(|masters| masters.len() >= 4 && masters.iter().all(is_other))
    })
    .await;
}

/// One fault, from its beginning to when all is whole again.
pub(crate) async fn strike(cluster: &mut Cluster, scene: &Scene, fault: Fault) {
    let began = scene.now();
    scene.until_all_get_on().await;
    match fault {
        KillLeaf(number) => {
            let leaf = cluster.leaf(number);
            cluster.kill(leaf);
            until_served_without(cluster, scene, leaf).await;
            scene.until_all_get_on().await;
            cluster.run(leaf);
        }
        StopLeaf(number) => {
            let leaf = cluster.leaf(number);
            cluster.signal(leaf, "STOP");
            until_served_without(cluster, scene, leaf).await;
            scene.until_all_get_on().await;
            cluster.signal(leaf, "CONT");
        }
        KillBothLeaves => {
            let leaves = [1, 2].map(|number| cluster.leaf(number));
            leaves.iter().for_each(|leaf| cluster.kill(*leaf));
            leaves.iter().for_each(|leaf| cluster.run(*leaf));
        }
        RestartLeaf(number) => {
            let leaf = cluster.leaf(number);
            cluster.stop(leaf);
            cluster.run(leaf);
        }
        KillMaster => {
            let master = cluster.master().await.expect("a master aggregator");
            cluster.kill(master);
            cluster.master_other_than(master).await;
            cluster.run(master);
        }
        StopMaster => {
            let master = cluster.master().await.expect("a master aggregator");
            cluster.signal(master, "STOP");
            // Who stands still takes connections, and does not answer.
            let others: Vec<_> = (0..cluster.doors().len()).filter(|at| *at != master).collect();
            let others: Vec<_> = others.into_iter().map(|at| cluster.address(at)).collect();
            let stopped = cluster.address(master);
            until("another aggregator takes over", async || {
                let found = crate::support::cluster::master(&mut connect(&others).await).await;
                found.is_some_and(|found| found != stopped)
            })
            .await;
            cluster.signal(master, "CONT");
        }
        RestartAggregator(at) => {
            cluster.stop(at);
            cluster.run(at);
        }
        Cut => {
            scene.cut();
            cluster.network().cut();
            until_served_without(cluster, scene, cluster.leaf(1)).await;
            scene.until_all_get_on().await;
            cluster.network().heal();
        }
    }
    cluster.whole(&scene.database).await;
    if fault == Cut {
        scene.healed();
    }
    scene.until_all_get_on().await;
    tell(&format!("{fault:?}: {:.1?}", scene.now().saturating_sub(began)));
}
