//! What the walkthroughs with two zones begin with: two voters and a leaf in zone A, the other voter and a leaf in zone B,
//! and a partition whose master is in B.

use std::net::SocketAddr;
use std::path::Path;

use mysql_async::Conn;

use crate::steps::{self, Copy, SMALL, copies, master_and_replica};
use crate::support::cluster::{Cluster, connect, open, until};
use crate::support::network::{Network, Zone};

/// Voters in A, the one in B, the leaf in B (which begins as master), the leaf in A.
pub(crate) const ZONES: [Zone; 5] = [Zone::A, Zone::A, Zone::B, Zone::B, Zone::A];

pub(crate) struct Zones {
    pub(crate) cluster: Cluster,
    /// Clients of an aggregator in A and of the one in B.
    pub(crate) a: Conn,
    pub(crate) b: Conn,
    /// The leaf in A, which begins with the replica.
    pub(crate) replica: usize,
}

impl Zones {
    /// Where clients reach the aggregators in A.
    pub(crate) fn in_a(&self) -> [SocketAddr; 2] {
        [self.cluster.address(0), self.cluster.address(1)]
    }
}

/// Starts it, with the master aggregator in A.
pub(crate) async fn start(dir: &Path, network: Network) -> Zones {
    let cluster = Cluster::start_in(dir, SMALL, network);
    let replica = cluster.leaf(2);
    drop(steps::with_test(&cluster, "PARTITIONS 1").await);
    let leader = cluster.master().await.expect("a master aggregator");
    assert_eq!(ZONES[leader], Zone::A, "who founded the cluster leads it");
    let mut a = connect(&[cluster.address(0)]).await;
    let b = connect(&[cluster.address(2)]).await;
    let (found, other) = master_and_replica(&copies(&mut a).await, 0);
    let instances = [found.instance, other.instance];
    assert_eq!(instances, [1, 2], "the first leaf begins as master: {found:?}");
    assert_eq!(other.state, "sync");
    Zones { cluster, a, b, replica }
}

/// The copies in B and in A: instances 1 and 2.
pub(crate) async fn both(conn: &mut Conn) -> [Copy; 2] {
    copies(conn).await.try_into().expect("two copies")
}

/// Another client of the aggregator in B.
pub(crate) async fn another_in_b(zones: &Zones) -> Conn {
    open(zones.cluster.address(2)).await.expect("let in")
}

/// After the cut: waits until both copies are in step, as A knows it.
pub(crate) async fn until_healed(zones: &mut Zones) {
    let a = zones.in_a();
    until("both copies are in step", async || {
        let mut conn = connect(&a).await;
        let Ok(found) = steps::try_copies(&mut conn).await else { return false };
        found.iter().all(|copy| !copy.is_offline && (copy.is_master() || copy.state == "sync"))
    })
    .await;
    zones.a = connect(&a).await;
    zones.b = connect(&[zones.cluster.address(2)]).await;
}
