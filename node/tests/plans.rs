//! Partitions change their masters by plan, over real nodes, while clients write.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod door;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use door::Door;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use resprout_cluster::manager::Config as Manager;
use resprout_cluster::metadata::Metadata;
use resprout_engine::table::Value;
use resprout_node::testing::{Cluster, PATIENCE};
use resprout_sql::place::{ClusterView, Directory, Listed};
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
    async fn stop(mut self) -> (Vec<i64>, Duration) {
        self.stop.store(true, Ordering::Release);
        let mut all = std::mem::take(&mut self.tasks).join_all().await;
        all.sort_unstable();
        let longest = all.iter().map(|(_, _, longest)| *longest).max().unwrap();
        (all.into_iter().map(|(_, count, _)| count).collect(), longest)
    }
}

/// A test that fails must end: its runtime waits for tasks that write.
impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
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

async fn rows_of(client: &mut Conn, text: &str) -> Vec<Row> {
    client.query(text).await.unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Action, ordinal, port and status of each step.
fn statuses(rows: &[Row]) -> Vec<(String, u32, u16, String)> {
    rows.iter()
        .map(|row| {
            (row.get(0).unwrap(), row.get(1).unwrap(), row.get(3).unwrap(), row.get(5).unwrap())
        })
        .collect()
}

fn names(row: &Row) -> Vec<String> {
    row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect()
}

/// Copies of each partition, by leaf.
fn copies(cluster: &Cluster) -> Vec<Vec<u64>> {
    record(cluster)
        .into_iter()
        .map(|one| one.copies.into_iter().map(|(leaf, _)| leaf).collect())
        .collect()
}

/// `MV_REBALANCE_STATUS`: as SHOW has it, and each copy with its bytes once its leaf has told them.
async fn copies_say_how_much_they_were(cluster: &Cluster) {
    let (directory, _) = cluster.statements_of(cluster.aggregators()[0]).unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = directory.show(&Listed::View(ClusterView::RebalanceStatus)).unwrap();
        assert!(
            !shown.rows.is_empty() && shown.rows.iter().all(|row| row.len() == 13),
            "{shown:?}"
        );
        let copies: Vec<_> = shown
            .rows
            .iter()
            .filter(|row| row[1] == Value::Text("COPY PARTITION".into()))
            .collect();
        assert!(!copies.is_empty());
        let is_known = |row: &&&Vec<Value>| matches!(row[10], Value::UInt(bytes) if bytes > 0);
        if copies.iter().filter(is_known).count() == copies.len() {
            assert!(copies.iter().all(|row| row[9] == row[10] && row[12].is_null()), "{copies:?}");
            return;
        }
        assert!(Instant::now() < end, "copies without bytes: {copies:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Promise (W05, W06, O01): new leaves get nothing by themselves; EXPLAIN shows what REBALANCE does, which moves copies and
/// masters while clients write, loses nothing, and leaves nothing to do. REMOVE LEAF takes it all back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w06_a_cluster_grows_and_shrinks_while_clients_write() {
    let builder = Cluster::builder().voters(1).leaves(2).redundancy(2);
    let mut cluster = builder.start().await.unwrap();
    with_table(&cluster).await;
    let before = copies(&cluster);
    let new = [cluster.add_leaf().await.unwrap(), cluster.add_leaf().await.unwrap()];
    assert_eq!(copies(&cluster), before, "ADD LEAF moves nothing");
    let door = Door::of(&cluster).await;
    let mut client = door.client().await;
    let cluster = Arc::new(cluster);
    let writers = Writers::start(&cluster);

    let explained = rows_of(&mut client, "EXPLAIN REBALANCE PARTITIONS ON d").await;
    assert_eq!(
        names(&explained[0]),
        ["Action", "Ordinal", "Target_Host", "Target_Port", "Phase", "Estimated_Time_Remaining_Ms"]
    );
    client.query_drop("REBALANCE PARTITIONS ON d").await.unwrap();
    let shown = rows_of(&mut client, "SHOW REBALANCE STATUS ON d").await;
    assert_eq!(names(&shown[0])[5..], ["Status", "Running_Time", "Estimated_Time_Remaining_Ms"]);
    assert!(statuses(&shown).iter().all(|(_, _, _, status)| status == "success"), "{shown:?}");
    assert_eq!(shown.len(), explained.len());
    let left = |row: &Row| row.get::<Option<u64>, _>("Estimated_Time_Remaining_Ms").unwrap();
    assert!(
        shown.iter().all(|row| left(row) == Some(0)),
        "what is finished takes no time: {shown:?}"
    );
    assert!(rows_of(&mut client, "EXPLAIN REBALANCE PARTITIONS ON d").await.is_empty());
    copies_say_how_much_they_were(&cluster).await;
    let moved = copies(&cluster).iter().filter(|leaves| leaves.contains(&new[0].0)).count();
    assert_eq!(moved, 2, "half of the partitions are on the new pair: {:?}", copies(&cluster));
    cluster.until_whole().await.unwrap();

    let port = |node| {
        let metadata = cluster.node(cluster.aggregators()[0]).unwrap().metadata().read();
        metadata.nodes()[&node].address.port
    };
    let remove =
        format!("REMOVE LEAVES ('127.0.0.1':{}, '127.0.0.1':{})", port(new[0]), port(new[1]));
    let mixed = client.query_drop(&remove).await.unwrap_err().to_string();
    assert!(mixed.contains("group"), "{mixed}");
    client.query_drop("RESTORE REDUNDANCY ON d").await.unwrap();
    client.query_drop(format!("REMOVE LEAF '127.0.0.1':{}", port(new[0]))).await.unwrap();
    assert!(copies(&cluster).iter().all(|leaves| !leaves.contains(&new[0].0)));
    assert!(rows_of(&mut client, "SHOW LEAVES").await.len() == 3);
    let expected = rows_of(&mut client, "EXPLAIN REBALANCE PARTITIONS ON d").await;
    let is_copy = |row: &&Row| row.get::<String, _>(0).unwrap() == "COPY PARTITION";
    let known = expected.iter().filter(is_copy).all(|row| left(row).is_some());
    assert!(known, "copies have run, so their times are known: {expected:?}");
    client.query_drop("REBALANCE PARTITIONS ON d").await.unwrap();
    let home: Vec<u64> = before[0].clone();
    assert!(copies(&cluster).iter().all(|leaves| *leaves == home), "{:?}", copies(&cluster));

    let (written, longest) = writers.stop().await;
    for (ordinal, count) in (0..PARTITIONS).zip(written) {
        let (_, partition) = cluster.master_of("d", ordinal).unwrap();
        let expected: Vec<_> = (BESIDE..BESIDE + count).collect();
        assert_eq!(rows(&partition), expected, "partition {ordinal}");
    }
    println!("the longest pause: {longest:?}");
    assert!(longest < Duration::from_secs(5), "writes paused for {longest:?}");
}

/// Promise (O08): a copy that is made by name is dropped by name, files and all; then there is nothing to drop.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_is_made_and_dropped_by_name() {
    let builder = Cluster::builder().voters(1).leaves(2).redundancy(2);
    let mut cluster = builder.start().await.unwrap();
    with_table(&cluster).await;
    let before = copies(&cluster);
    let new = cluster.add_leaf().await.unwrap();
    let port = {
        let metadata = cluster.node(cluster.aggregators()[0]).unwrap().metadata().read();
        metadata.nodes()[&new].address.port
    };
    let door = Door::of(&cluster).await;
    let mut client = door.client().await;
    client.query_drop(format!("COPY PARTITION d:0 TO '127.0.0.1':{port}")).await.unwrap();
    assert_eq!(copies(&cluster)[0].len(), before[0].len() + 1);
    let drop = format!("DROP PARTITION d:0 ON '127.0.0.1':{port}");
    client.query_drop(&drop).await.unwrap();
    assert_eq!(copies(&cluster), before);
    let nothing = client.query_drop(&drop).await.unwrap_err().to_string();
    assert!(nothing.contains("no orphan"), "{nothing}");
}

/// Promise (O13, section 3.1): a leaf that is stopped in order lets the other one be master first, so clients notice next to
/// nothing and no outcome is unknown; when it is back, and nothing changes any more, its masters go back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leaf_that_stops_in_order_hands_over() {
    let manager = Manager { stable: Duration::from_secs(1), ..Manager::default() };
    let builder = Cluster::builder().voters(1).leaves(2).redundancy(2).manager(manager);
    let mut cluster = builder.start().await.unwrap();
    with_table(&cluster).await;
    let before = record(&cluster);
    let (leaf, _) = cluster.master_of("d", 0).unwrap();
    cluster.stop(leaf).await;
    let after = record(&cluster);
    for (then, now) in before.iter().zip(&after) {
        assert_ne!(now.master, Some(leaf.0), "{now:?}");
        let one_more = then.master == Some(leaf.0);
        assert_eq!(now.term > then.term, one_more, "{then:?} {now:?}");
    }
    for ordinal in 0..PARTITIONS {
        put(&cluster, ordinal, 1).await;
    }
    assert_eq!(events(&cluster, "Fenced"), 0, "nobody was failed over");
    cluster.start(leaf).await.unwrap();
    let masters: Vec<_> = before.iter().map(|one| one.master).collect();
    let are_back = |metadata: &Metadata| {
        let partitions = &metadata.databases()["d"].map.partitions;
        partitions
            .iter()
            .zip(&masters)
            .all(|(one, master)| one.serving().map(|leaf| leaf.0) == *master)
    };
    cluster.until("masters are back", are_back).await.unwrap();
}

/// How many events of that kind there were.
fn events(cluster: &Cluster, kind: &str) -> usize {
    let metadata = cluster.node(cluster.aggregators()[0]).unwrap().metadata().read();
    metadata
        .events()
        .iter()
        .filter(|event| format!("{:?}", event.happened).starts_with(kind))
        .count()
}

/// Promise (O12): DETACH LEAF leaves everything served by the others; a detached leaf comes back only by ATTACH LEAF, which
/// returns when its masters are back, and one that has a last copy is not let go where safety is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_detached_leaf_waits_for_attach_leaf() {
    let builder = Cluster::builder().voters(1).leaves(2).redundancy(2);
    let mut cluster = builder.start().await.unwrap();
    with_table(&cluster).await;
    let door = Door::of(&cluster).await;
    let mut client = door.client().await;
    let leaves = cluster.leaves();
    let before = record(&cluster);
    let port = |node| {
        let metadata = cluster.node(cluster.aggregators()[0]).unwrap().metadata().read();
        metadata.nodes()[&node].address.port
    };
    let (first, second) = (port(leaves[0]), port(leaves[1]));
    let state = async |client: &mut Conn| -> String {
        let rows = rows_of(client, "SHOW LEAVES").await;
        let row = rows.iter().find(|row| row.get::<u16, _>(1) == Some(first)).unwrap();
        row.get("State").unwrap()
    };
    client.query_drop(format!("DETACH LEAF '127.0.0.1':{first}")).await.unwrap();
    assert_eq!(state(&mut client).await, "detached");
    for ordinal in 0..PARTITIONS {
        put(&cluster, ordinal, 1).await;
        assert_eq!(cluster.master_of("d", ordinal).unwrap().0, leaves[1]);
    }
    let unsafe_text = format!("DETACH LEAF '127.0.0.1':{second} ENSURE_PARTITION_SAFETY");
    let refused = client.query_drop(unsafe_text).await.unwrap_err().to_string();
    assert!(refused.contains("2036") && refused.contains("d:0"), "{refused}");
    cluster.kill(leaves[0]).await;
    cluster.start(leaves[0]).await.unwrap();
    for ordinal in 0..PARTITIONS {
        put(&cluster, ordinal, 2).await;
    }
    assert_eq!(state(&mut client).await, "detached");
    client.query_drop(format!("ATTACH LEAF '127.0.0.1':{first}")).await.unwrap();
    assert_eq!(state(&mut client).await, "online", "it returns when it is");
    for (then, now) in before.iter().zip(record(&cluster)) {
        assert_eq!((then.master, &then.copies), (now.master, &now.copies), "and masters are back");
    }
    cluster.until_whole().await.unwrap();
    for ordinal in 0..PARTITIONS {
        put(&cluster, ordinal, 3).await;
        let (_, partition) = cluster.master_of("d", ordinal).unwrap();
        assert_eq!(rows(&partition), [1, 2, 3], "partition {ordinal}");
    }
}
