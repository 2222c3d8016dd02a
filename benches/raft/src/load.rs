//! Clients that propose one command after the other, each waiting for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::ledger::{command, verify};
use crate::systems::Cluster;

/// Before what is counted: connections, caches and the leader's own view settle.
const WARM_UP: Duration = Duration::from_millis(500);
/// Followers apply what is acknowledged a little later.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the clients saw.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// How many there were.
    pub clients: usize,
    /// Commands committed and answered per second.
    pub per_second: f64,
    /// Half of them were answered in less, in microseconds.
    pub p50_us: f64,
    /// All but one in a hundred were.
    pub p99_us: f64,
    /// Answered in the counted time.
    pub commands: u64,
    /// Commands answered per flush of one node's log, where flushes are counted.
    pub per_flush: Option<f64>,
}

struct Run<C> {
    cluster: Arc<C>,
    next: AtomicU64,
    counts: AtomicBool,
    over: AtomicBool,
}

/// Lets so many clients propose for so long, and checks what they were told.
///
/// # Errors
/// A proposal that failed, or an acknowledged one that was not applied once everywhere.
pub async fn run<C: Cluster>(cluster: Arc<C>, clients: usize, time: Duration) -> Result<Seen> {
    let first = cluster.first_free();
    let run = Arc::new(Run {
        cluster: cluster.clone(),
        next: AtomicU64::new(first),
        counts: AtomicBool::new(false),
        over: AtomicBool::new(false),
    });
    let tasks: Vec<_> = (0..clients).map(|_| tokio::spawn(client(run.clone()))).collect();
    tokio::time::sleep(WARM_UP).await;
    let (begun, flushed) = (Instant::now(), cluster.flushes());
    run.counts.store(true, Ordering::Relaxed);
    tokio::time::sleep(time).await;
    run.counts.store(false, Ordering::Relaxed);
    let took = begun.elapsed();
    let flushes =
        flushed.zip(cluster.flushes()).map(|(before, after)| (after - before) as f64 / 3.0);
    run.over.store(true, Ordering::Relaxed);
    let mut times = new_histogram();
    let mut acknowledged = Vec::new();
    for task in tasks {
        let (own, numbers) = task.await??;
        times.add(own).context("equal histograms")?;
        acknowledged.extend(numbers);
    }
    wait_applied(&*cluster, &acknowledged).await?;
    cluster.set_first_free(run.next.load(Ordering::Relaxed));
    let micros = |share| times.value_at_quantile(share) as f64 / 1000.0;
    Ok(Seen {
        clients,
        per_second: times.len() as f64 / took.as_secs_f64(),
        p50_us: micros(0.5),
        p99_us: micros(0.99),
        commands: times.len(),
        per_flush: flushes.map(|flushes| times.len() as f64 / flushes.max(1.0)),
    })
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1000, 60_000_000_000, 3).expect("sound bounds")
}

async fn client<C: Cluster>(run: Arc<Run<C>>) -> Result<(Histogram<u64>, Vec<u64>)> {
    let (mut times, mut acknowledged) = (new_histogram(), Vec::new());
    while !run.over.load(Ordering::Relaxed) {
        let number = run.next.fetch_add(1, Ordering::Relaxed);
        let command = command(number);
        let begun = Instant::now();
        run.cluster.propose(number, command).await.with_context(|| format!("command {number}"))?;
        if run.counts.load(Ordering::Relaxed) {
            times.saturating_record(begun.elapsed().as_nanos() as u64);
        }
        acknowledged.push(number);
    }
    Ok((times, acknowledged))
}

async fn wait_applied<C: Cluster>(cluster: &C, acknowledged: &[u64]) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = verify(&cluster.ledgers().await?, acknowledged) {
        if Instant::now() > until {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
