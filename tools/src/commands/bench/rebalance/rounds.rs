//! What is done to the cluster: a copy alone, a plan that is cancelled, and the plan.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use serde::Serialize;

use super::super::members::cluster::{Cluster, PATIENCE, lost, unanswered, value};
use super::super::members::times::Times;
use super::super::members::writers::Written;
use super::data::{Data, Readers};
use super::steps::{self, Steps};
use crate::bench::statistics::per_second;
use crate::failure::Failure;

/// Between two looks.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// A write that a promotion held up is acknowledged by then.
const BEHIND: Duration = Duration::from_millis(500);
/// A statement that was interrupted.
const INTERRUPTED: u16 = 1317;
const MIB: f64 = 1_048_576.0;

/// A copy, or several beside each other.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Copying {
    pub(super) copies: usize,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) mib_per_s: f64,
}

/// A plan that was cancelled.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Cancelled {
    /// Whether something was left to cancel.
    pub(super) was_running: bool,
    /// From KILL QUERY until the plan was over: the statement ends sooner.
    pub(super) ended_ms: f64,
    /// Copies on leaves that the metadata do not have, when the leaves had been given time to remove them.
    pub(super) orphans: u64,
}

/// What clients did in a second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Throughput {
    pub(super) writes_per_s: f64,
    pub(super) reads_per_s: f64,
}

/// The plan.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Moved {
    pub(super) seconds: f64,
    pub(super) copying: Copying,
    pub(super) before: Throughput,
    pub(super) during: Throughput,
    /// The longest time between two acknowledged writes before, of each partition.
    pub(super) pause_before: Times,
    /// The same around each promotion, of its partition.
    pub(super) pause_of_promotion: Times,
    /// The same during the whole plan, of each partition.
    pub(super) pause_during: Times,
    /// What clients were told other than that a row is written.
    pub(super) errors: u64,
    pub(super) last_error: Option<String>,
}

/// Bytes of the copies of the last plan, once leaves have told them.
async fn bytes(conn: &mut Conn) -> Result<(usize, u64, u64), Failure> {
    let asked = "SELECT total_bytes, running_time FROM information_schema.mv_rebalance_status \
                 WHERE database_name = 'bench' AND action LIKE 'COPY%' AND status = 'success'";
    let end = Instant::now() + PATIENCE;
    loop {
        let rows: Vec<(Option<u64>, Option<u64>)> = conn.query(asked).await.map_err(lost)?;
        let known: Option<Vec<u64>> = rows.iter().map(|(bytes, _)| *bytes).collect();
        if let Some(known) = known {
            let took = rows.iter().filter_map(|(_, took)| *took).sum();
            return Ok((known.len(), known.iter().sum(), took));
        }
        if Instant::now() > end {
            return Err(unanswered("leaves do not say how much was copied"));
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

fn copying(copies: usize, bytes: u64, seconds: f64) -> Copying {
    Copying { copies, bytes, seconds, mib_per_s: per_second(bytes, seconds) / MIB }
}

/// One partition goes to a new leaf, and nobody else does anything: what provisioning can do.
pub(super) async fn alone(cluster: &mut Cluster, spares: &[u16]) -> Result<Copying, Failure> {
    let mut conn = cluster.connect().await?;
    let spare = spares.first().copied().unwrap_or_default();
    let target = format!("'127.0.0.1':{spare}");
    conn.query_drop(format!("COPY PARTITION bench:0 TO {target}")).await.map_err(lost)?;
    let (copies, bytes, took_ms) = bytes(&mut conn).await?;
    conn.query_drop(format!("DROP PARTITION bench:0 ON {target}")).await.map_err(lost)?;
    Ok(copying(copies, bytes, Duration::from_millis(took_ms).as_secs_f64()))
}

/// REBALANCE that is killed as soon as something is copied, while clients write and read.
pub(super) async fn cancelled(
    cluster: &mut Cluster,
    (data, readers): (&Data, u32),
) -> Result<Cancelled, Failure> {
    let (mut conn, mut watching) = (cluster.connect().await?, cluster.connect().await?);
    let id: Option<u64> = conn.query_first("SELECT CONNECTION_ID()").await.map_err(lost)?;
    let id = id.ok_or_else(|| unanswered("a connection without a number"))?;
    let (doors, _) = cluster.processes.ports();
    let partitions = cluster.homes().await?.len();
    let writers = cluster.write(&doors, 0..partitions);
    let reading = data.read(&doors, readers);
    writers.all_since(Instant::now()).await?;
    let statement =
        tokio::spawn(async move { conn.query_drop("REBALANCE PARTITIONS ON bench").await });
    let end = Instant::now() + PATIENCE;
    while !statement.is_finished() {
        let rows: Vec<Row> =
            watching.query("SHOW REBALANCE STATUS ON bench").await.map_err(lost)?;
        let runs = |row: &Row| value::<String>(row, "Status").as_deref() == Some("running");
        if rows.iter().any(runs) {
            break;
        }
        if Instant::now() > end {
            return Err(unanswered("REBALANCE does not begin"));
        }
    }
    let killed = Instant::now();
    // It may have ended by itself.
    let _unheard = watching.query_drop(format!("KILL QUERY {id}")).await;
    let done =
        statement.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let was_running = match done {
        Ok(()) => false,
        Err(Error::Server(error)) if error.code == INTERRUPTED => true,
        Err(error) => return Err(lost(error)),
    };
    let over = async |conn: &mut Conn| -> Result<bool, Error> {
        let rows: Vec<Row> = conn.query("SHOW REBALANCE STATUS ON bench").await?;
        Ok(!rows.iter().any(steps::is_open))
    };
    cluster.until("the plan that was cancelled is over", PATIENCE, over).await?;
    let ended_ms = killed.elapsed().as_secs_f64() * 1e3;
    let orphans = orphans(&mut watching).await?;
    reading.end().await?;
    cluster.verify(&writers.end().await?).await?;
    Ok(Cancelled { was_running, ended_ms, orphans })
}

/// Copies that no record has; leaves remove them a moment after they left it.
async fn orphans(conn: &mut Conn) -> Result<u64, Failure> {
    let asked = "SELECT COUNT(*) FROM information_schema.distributed_partitions_on_leaves \
                 WHERE database_name = 'bench' AND metadata_role IS NULL";
    let end = Instant::now() + PATIENCE / 6;
    loop {
        let count: Option<u64> = conn.query_first(asked).await.map_err(lost)?;
        let count = count.unwrap_or_default();
        if count == 0 || Instant::now() > end {
            return Ok(count);
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// REBALANCE while clients write and read.
pub(super) async fn rebalanced(
    cluster: &mut Cluster,
    (data, readers): (&Data, u32),
    calm: Duration,
) -> Result<Moved, Failure> {
    let (mut conn, mut watching) = (cluster.connect().await?, cluster.connect().await?);
    let (doors, _) = cluster.processes.ports();
    let partitions = cluster.homes().await?.len();
    let writers = cluster.write(&doors, 0..partitions);
    let reading = data.read(&doors, readers);
    writers.all_since(Instant::now()).await?;
    let warm = Mark::now(&reading);
    tokio::time::sleep(calm).await;
    let began = Mark::now(&reading);
    let statement = conn.query_drop("REBALANCE PARTITIONS ON bench");
    let (steps, done) = steps::watch(&mut watching, statement).await?;
    done.map_err(lost)?;
    let ended = Mark::now(&reading);
    writers.all_since(Instant::now()).await?;
    reading.end().await?;
    let written = writers.end().await?;
    let (copies, bytes, _) = bytes(&mut watching).await?;
    cluster.whole().await?;
    cluster.verify(&written).await?;
    Ok(Moved {
        seconds: (ended.at - began.at).as_secs_f64(),
        copying: copying(copies, bytes, steps.copying().as_secs_f64()),
        before: throughput(&written, warm, began),
        during: throughput(&written, began, ended),
        pause_before: pauses(&written, warm.at, began.at),
        pause_of_promotion: pauses_of(&steps, &written),
        pause_during: pauses(&written, began.at, ended.at),
        errors: written.iter().map(|of| of.errors).sum(),
        last_error: written.iter().find_map(|of| of.last_error.clone()),
    })
}

/// A moment, and how many rows had been read.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    reads: u64,
}

impl Mark {
    fn now(readers: &Readers) -> Self {
        Self { at: Instant::now(), reads: readers.count() }
    }
}

fn throughput(written: &[Written], from: Mark, to: Mark) -> Throughput {
    let is_in = |acked: Instant| (from.at..to.at).contains(&acked);
    let acks = written.iter().flat_map(|of| &of.acks).filter(|ack| is_in(ack.acked)).count();
    let seconds = (to.at - from.at).as_secs_f64();
    Throughput {
        writes_per_s: per_second(acks as u64, seconds),
        reads_per_s: per_second(to.reads - from.reads, seconds),
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn pauses(written: &[Written], from: Instant, to: Instant) -> Times {
    Times::new(written.iter().map(|of| ms(of.longest_pause(from, to))))
}

/// Of each promotion, the longest pause of who writes to its partition: clients write one partition each, in their order.
fn pauses_of(steps: &Steps, written: &[Written]) -> Times {
    let promotions = steps.0.values().filter(|seen| seen.is_promotion);
    let pause = promotions.filter_map(|seen| {
        let (writer, done) = (written.get(seen.ordinal)?, seen.done?);
        let from = seen.scheduled.or_else(|| done.checked_sub(seen.took))?;
        Some(ms(writer.longest_pause(from, done + BEHIND)))
    });
    Times::new(pause)
}
