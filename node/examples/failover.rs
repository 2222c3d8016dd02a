//! How long writes pause when a leaf is killed: a cluster in this process, killed and started again, round by round.
//!
//! ```text
//! cargo run --release -p resprout-node --example failover -- 20
//! ```
//!
//! Each round kills the leaf with the master of partition 0, and takes for each partition that it had the time from the
//! kill to the next acknowledged write; every acknowledged row is looked for afterwards. A killed leaf of a process that
//! lives on refuses connections as a killed process does; what a real process adds is the end of that process.

use std::error::Error;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use resprout_engine::Partition;
use resprout_engine::table::{TableSchema, Value};
use resprout_node::testing::{Cluster, PATIENCE};

const PARTITIONS: u32 = 8;

type Failed = Box<dyn Error>;

async fn insert(partition: &Partition, id: i64) -> Result<(), resprout_engine::Error> {
    let table = partition.table("t")?;
    let mut transaction = partition.begin()?;
    match transaction.insert_async(&table, &[Value::Int(id)]).await {
        Ok(_) => {}
        Err(resprout_engine::Error::Duplicate(_)) => return Ok(()),
        Err(error) => return Err(error),
    }
    transaction.commit_async().await.map(drop)
}

async fn put(cluster: &Cluster, ordinal: u32, id: i64) -> Result<Instant, Failed> {
    let began = Instant::now();
    loop {
        if let Some((_, partition)) = cluster.master_of("d", ordinal)
            && insert(&partition, id).await.is_ok()
        {
            return Ok(Instant::now());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("partition {ordinal} does not come back").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn count(partition: &Partition) -> Result<i64, Failed> {
    let (table, transaction) = (partition.table("t")?, partition.begin()?);
    let mut rows = 0;
    transaction.scan(&table, &table.rows(), |_| {
        rows += 1;
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

/// Kills the leaf with the master of partition 0; how long each partition that it had took no writes, in
/// milliseconds.
async fn round(cluster: &mut Cluster, id: &mut i64) -> Result<Vec<f64>, Failed> {
    *id += 1;
    for ordinal in 0..PARTITIONS {
        put(cluster, ordinal, *id).await?;
    }
    let (victim, _) = cluster.master_of("d", 0).ok_or("no master")?;
    let is_there =
        |ordinal: &u32| cluster.master_of("d", *ordinal).is_some_and(|at| at.0 == victim);
    let lost: Vec<u32> = (0..PARTITIONS).filter(is_there).collect();
    let killed = Instant::now();
    cluster.kill(victim).await;
    *id += 1;
    let mut pauses = Vec::new();
    for ordinal in 0..PARTITIONS {
        let written = put(cluster, ordinal, *id).await?;
        if lost.contains(&ordinal) {
            pauses.push((written - killed).as_secs_f64() * 1e3);
        }
    }
    for ordinal in 0..PARTITIONS {
        let (_, partition) = cluster.master_of("d", ordinal).ok_or("no master")?;
        let rows = tokio::task::block_in_place(|| count(&partition))?;
        if rows != *id {
            return Err(format!("partition {ordinal}: {rows} rows of {id} acknowledged").into());
        }
    }
    cluster.start(victim).await?;
    cluster.until_whole().await?;
    Ok(pauses)
}

#[expect(clippy::print_stdout, reason = "an example talks")]
async fn run(rounds: usize) -> Result<(), Failed> {
    let mut cluster = Cluster::builder().voters(3).leaves(2).redundancy(2).start().await?;
    cluster.create_database("d", Some(PARTITIONS)).await?;
    let schema = TableSchema::builder("t").column("id", "bigint").primary_key(&["id"]).build()?;
    for ordinal in 0..PARTITIONS {
        let (_, partition) = cluster.master_of("d", ordinal).ok_or("no master")?;
        tokio::task::block_in_place(|| partition.create_table(schema.clone()))?;
    }
    let (mut pauses, mut id) = (Vec::new(), 0);
    for _ in 0..rounds {
        pauses.extend(round(&mut cluster, &mut id).await?);
    }
    pauses.sort_by(f64::total_cmp);
    let at = |percent: usize| pauses[(pauses.len() - 1) * percent / 100];
    println!(
        "{} failovers of partitions in {rounds} rounds: kill to acknowledged write p50 {:.0} ms, p99 {:.0} ms, \
         max {:.0} ms; no acknowledged row lost",
        pauses.len(),
        at(50),
        at(99),
        at(100)
    );
    Ok(())
}

fn main() -> Result<(), Failed> {
    let rounds = std::env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(rounds))
}
