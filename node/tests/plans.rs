//! Partitions change their masters by plan, over real nodes, while clients write.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use resprout_cluster::manager::Config as Manager;
use resprout_cluster::metadata::Metadata;
use resprout_node::testing::Cluster;
use support::{PARTITIONS, put, record, rows, with_table};
use tokio::task::JoinSet;

/// Rows from there on are written while something happens.
const BESIDE: i64 = 1_000;

/// Writes one row after the other to each partition until it is dropped or stopped; the longest pause of each, and how many
/// rows were written.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<(u32, i64, Duration)>,
}

impl Writers {
    fn start(cluster: &Arc<Cluster>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for ordinal in 0..PARTITIONS {
            let (cluster, stop) = (cluster.clone(), stop.clone());
            tasks.spawn(async move {
                let (mut next, mut longest) = (BESIDE, Duration::ZERO);
                while !stop.load(Ordering::Acquire) {
                    longest = longest.max(put(&cluster, ordinal, next).await);
                    next += 1;
                }
                (ordinal, next - BESIDE, longest)
            });
        }
        Self { stop, tasks }
    }

    /// Rows of each partition, and the longest pause.
    async fn stop(self) -> (Vec<i64>, Duration) {
        self.stop.store(true, Ordering::Release);
        let mut all = self.tasks.join_all().await;
        all.sort_unstable();
        let longest = all.iter().map(|(_, _, longest)| *longest).max().unwrap();
        (all.into_iter().map(|(_, count, _)| count).collect(), longest)
    }
}

/// Promise (W03 step 10, rule 19): when nothing has changed for long enough, masters go back to the leaf that returned; who
/// writes meanwhile notices a short pause and no error, and loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w03_masters_go_back_while_clients_write() {
    let manager = Manager { stable: Duration::from_secs(2), ..Manager::default() };
    let builder = Cluster::builder().voters(1).leaves(2).redundancy(2).manager(manager);
    let mut cluster = builder.start().await.unwrap();
    with_table(&cluster).await;
    let before = record(&cluster);
    let (victim, _) = cluster.master_of("d", 0).unwrap();
    cluster.kill(victim).await;
    for ordinal in 0..PARTITIONS {
        put(&cluster, ordinal, 1).await;
    }
    cluster.start(victim).await.unwrap();
    cluster.until_whole().await.unwrap();
    let cluster = Arc::new(cluster);
    let writers = Writers::start(&cluster);
    let masters = |metadata: &Metadata| -> Vec<Option<u64>> {
        let partitions = metadata.databases()["d"].map.partitions.iter();
        partitions.map(|one| one.serving().map(|leaf| leaf.0)).collect()
    };
    let expected: Vec<_> = before.iter().map(|one| one.master).collect();
    cluster.until("masters are back", |metadata| masters(metadata) == expected).await.unwrap();
    cluster.until_whole().await.unwrap();
    let (written, longest) = writers.stop().await;
    for (ordinal, count) in (0..PARTITIONS).zip(written) {
        let (_, partition) = cluster.master_of("d", ordinal).unwrap();
        let expected: Vec<_> = [1].into_iter().chain(BESIDE..BESIDE + count).collect();
        assert_eq!(rows(&partition), expected, "partition {ordinal}");
    }
    assert!(longest < Duration::from_secs(2), "writes paused for {longest:?}");
    println!("the longest pause: {longest:?}");
}
