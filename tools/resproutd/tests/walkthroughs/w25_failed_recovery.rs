//! W25: the log of a copy is damaged on disk, or all that a leaf has.
//!
//! The documents let a leaf fail by a memory limit that is too small. Here recovery is not bound by it: rows that were accepted once are
//! never refused (row P13). What identifies the leaf's directory is damaged instead.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::steps::{self, SMALL, copies, insert, master_and_replica, probe, until_leaf};
use crate::support::cluster::{Cluster, connect, until};
use crate::support::directory;

/// See `docs/formats/log.md`.
const SECTOR: usize = 4096;
const FIRST_SLOT: usize = 65536;
const FRAME: &[u8] = b"RSFR";
/// Of a frame's header; its payload is behind.
const HEADER: usize = 64;

/// Flips a byte in the payload of a frame in the middle of the only log of an arena: what is behind says that it was
/// durable once.
fn damage(arena: &Path) {
    let mut file = File::options().read(true).write(true).open(arena).expect("it is there");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("readable");
    let sectors = (FIRST_SLOT..bytes.len()).step_by(SECTOR);
    let frames: Vec<_> = sectors.filter(|at| bytes[*at..].starts_with(FRAME)).collect();
    assert!(frames.len() > 4, "a log of some length: {frames:?}");
    let at = frames[frames.len() / 2] + HEADER;
    file.seek(SeekFrom::Start(at as u64)).expect("within the file");
    file.write_all(&[bytes[at] ^ 1]).expect("written");
    file.sync_all().expect("written");
}

/// Promise (W25): a replica whose log is damaged is not served from; it says so, gets all that it lacks from its master,
/// and can take over again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w25_a_damaged_replica_is_provisioned_again() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SMALL);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 1").await;
    for id in 101..=120 {
        insert(&mut conn, id..=id).await.expect("inserted");
    }
    let (master, replica) = master_and_replica(&copies(&mut conn).await, 0);
    let (healthy, damaged) = (cluster.at(master.port), cluster.at(replica.port));
    cluster.kill(damaged);
    damage(&cluster.data(damaged).join("rows").join("wal.arena"));
    cluster.run(damaged);
    until("the leaf says that its copy cannot be recovered", async || {
        cluster.log(damaged).to_lowercase().contains("unrecoverable")
    })
    .await;
    // Until then the metadata may say what was so before anybody noticed.
    until("the copy follows with what its master had", async || {
        let log = cluster.log(damaged);
        let since = log.find("UNRECOVERABLE").unwrap_or(log.len());
        let follows = |line: &str| {
            line.contains("\"partition\":\"test_0_") && line.contains("\"to\":\"REPLICATING\"")
        };
        log[since..].lines().any(follows)
    })
    .await;
    cluster.whole("test").await;
    let (now, healed) = master_and_replica(&copies(&mut conn).await, 0);
    assert_eq!((now.port, now.term), (master.port, master.term), "the master was not touched");
    assert_eq!((healed.port, healed.state.as_str()), (replica.port, "sync"));
    cluster.kill(healthy);
    let mut conn = connect(&cluster.doors()).await;
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 120, 120));
}

/// Promise (W25, second half): a leaf that cannot recover as a whole says so, in its log and to the cluster, and does not come online; the
/// others serve. Once what was wrong is put right, it comes back with its next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w25_a_leaf_that_cannot_recover_says_so_and_comes_back() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SMALL);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 2").await;
    let failed = cluster.leaf(1);
    let port = cluster.port(failed);
    cluster.kill(failed);
    until_leaf(&mut conn, port, "offline").await;
    insert(&mut conn, 101..=200).await.expect("inserted");
    let identity = cluster.data(failed).join("rows").join("identity");
    let good = std::fs::read(&identity).expect("readable");
    let mut bad = good.clone();
    bad[20] ^= 1;
    std::fs::write(&identity, bad).expect("written");
    cluster.run(failed);
    until_leaf(&mut conn, port, "recovery_failed").await;
    let log = cluster.log(failed);
    let why = log.lines().find(|line| line.contains("member.recovery_failed"));
    assert!(why.is_some_and(|why| why.contains("identity")), "{log}");
    insert(&mut conn, 201..=300).await.expect("inserted");
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 300, 300));
    // Nothing happens by itself.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    until_leaf(&mut conn, port, "recovery_failed").await;
    cluster.stop(failed);
    std::fs::write(&identity, good).expect("written");
    cluster.run(failed);
    until_leaf(&mut conn, port, "online").await;
    cluster.whole("test").await;
    let other = cluster.leaf(2);
    cluster.kill(other);
    let mut conn = connect(&cluster.doors()).await;
    assert_eq!(probe(&mut conn).await.expect("answered"), (1, 300, 300));
}
