//! W25: the log of a copy is damaged on disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::steps::{self, SMALL, copies, insert, master_and_replica, probe};
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
