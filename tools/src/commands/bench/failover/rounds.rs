//! One round of each figure: somebody is lost while clients write, comes back, and everything acknowledged is looked for.
//!
//! ```text
//!  clients write ─── lost ─── next acknowledged write ─── calm ─── back ─── whole ─── clients end ─── verified
//!                     │◄────────── next_ms ──────────►│           │◄─ back_s ─►│
//! ```

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde::Serialize;

use super::super::members::cluster::{Cluster, Homes, PATIENCE, open, unanswered};
use super::super::members::processes::Lost;
use super::super::members::writers::Written;
use crate::failure::Failure;

/// Clients write for so long before anything happens.
const WARM: Duration = Duration::from_millis(500);
/// How long a lost node stays away behind the failover: pauses that come late are seen too.
const CALM: Duration = Duration::from_secs(2);
/// How long it stays away where definitions are waited for as well.
const SHORT_CALM: Duration = Duration::from_millis(500);
/// Between two attempts at a definition.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// How a leaf is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// `kill -9`, while it is master.
    Killed,
    /// SIGSTOP, while it is master.
    Silent,
    /// `kill -9`, and clients write only where it has a replica.
    ReplicaKilled,
}

/// A round in which a leaf was lost. Milliseconds, unless a name says otherwise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LeafRound {
    /// Partitions that are written to.
    pub(super) affected: usize,
    /// Of each of them, from the loss to the next acknowledged write.
    pub(super) next_ms: Vec<f64>,
    /// Of each of them, the longest time between two acknowledged writes, from the loss until the leaf was let back.
    pub(super) pause_ms: Vec<f64>,
    /// The longest before the loss.
    pub(super) pause_before_ms: f64,
    /// The longest behind the first write of each, until the leaf was let back.
    pub(super) later_pause_ms: f64,
    /// The longest while the leaf came back.
    pub(super) return_pause_ms: f64,
    /// From letting it back until all copies are in step, while clients write.
    pub(super) back_s: f64,
    /// What clients were told other than that a row is written.
    pub(super) errors: u64,
    pub(super) last_error: Option<String>,
}

/// A round in which the master aggregator was killed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AggregatorRound {
    /// From the loss until a database was made and dropped.
    pub(super) definition_ms: f64,
    /// The same with all aggregators there.
    pub(super) definition_before_ms: f64,
    /// The longest time between two acknowledged writes meanwhile.
    pub(super) pause_of_definition_ms: f64,
    /// Of each partition, the longest time between two acknowledged writes, from the loss until a moment behind that.
    pub(super) pause_ms: Vec<f64>,
    /// The longest before the loss.
    pub(super) pause_before_ms: f64,
    /// Until the killed one is whole again.
    pub(super) back_s: f64,
    /// What clients were told other than that a row is written.
    pub(super) errors: u64,
    pub(super) last_error: Option<String>,
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn longest(written: &[Written], from: Instant, to: Instant) -> f64 {
    ms(written.iter().map(|of| of.longest_pause(from, to)).max().unwrap_or_default())
}

fn errors(written: &[Written]) -> (u64, Option<String>) {
    let last = written.iter().find_map(|of| of.last_error.clone());
    (written.iter().map(|of| of.errors).sum(), last)
}

/// The leaf that has the most of what is wanted, and the partitions where it has it.
fn most(leaves: &[u16], homes: &[Homes], has: impl Fn(&Homes, u16) -> bool) -> (u16, Vec<usize>) {
    let of = |leaf: u16| {
        let there = homes.iter().enumerate().filter(|(_, home)| has(home, leaf));
        (leaf, there.map(|(ordinal, _)| ordinal).collect::<Vec<_>>())
    };
    // Of several with as many the first, so that runs are alike.
    let all = leaves.iter().rev().map(|leaf| of(*leaf));
    all.max_by_key(|(_, there)| there.len()).unwrap_or_default()
}

/// Loses a leaf.
pub(super) async fn leaf(cluster: &mut Cluster, loss: Loss) -> Result<LeafRound, Failure> {
    let (aggregators, leaves) = cluster.processes.ports();
    let homes = cluster.homes().await?;
    let (leaf, partitions) = match loss {
        Loss::ReplicaKilled => most(&leaves, &homes, |home, leaf| home.replicas.contains(&leaf)),
        Loss::Killed | Loss::Silent => {
            most(&leaves, &homes, |home, leaf| home.master == Some(leaf))
        }
    };
    let Some(at) = cluster.processes.at(leaf).filter(|_| !partitions.is_empty()) else {
        return Err(unanswered("no leaf has what is to be lost"));
    };
    let affected = partitions.len();
    let began = Instant::now();
    let writers = cluster.write(&aggregators, partitions);
    writers.all_since(began).await?;
    let warm = Instant::now();
    tokio::time::sleep(WARM).await;
    let lost = match loss {
        Loss::Silent => cluster.processes.stop(at)?,
        Loss::Killed | Loss::ReplicaKilled => cluster.processes.kill(at)?,
    };
    writers.all_since(lost.gone).await?;
    cluster.is_missed(leaf).await?;
    tokio::time::sleep(CALM).await;
    let back = Instant::now();
    match loss {
        Loss::Silent => cluster.processes.go_on(at)?,
        Loss::Killed | Loss::ReplicaKilled => cluster.processes.run(at)?,
    }
    cluster.whole().await?;
    let whole = Instant::now();
    // Whoever waits since the return is heard too.
    writers.all_since(whole).await?;
    let written = writers.end().await?;
    cluster.verify(&written).await?;
    Ok(round(&written, affected, (warm, lost, back, whole)))
}

fn round(
    written: &[Written],
    affected: usize,
    (warm, lost, back, whole): (Instant, Lost, Instant, Instant),
) -> LeafRound {
    let firsts = written.iter().map(|of| of.first_since(lost.gone).map_or(back, |ack| ack.acked));
    let firsts: Vec<Instant> = firsts.collect();
    let later = written.iter().zip(&firsts).map(|(of, first)| {
        // The pause that ends with the first write itself is not meant.
        of.longest_pause(*first + Duration::from_nanos(1), back)
    });
    let (errors, last_error) = errors(written);
    LeafRound {
        affected,
        next_ms: firsts.iter().map(|first| ms(*first - lost.at)).collect(),
        pause_ms: written.iter().map(|of| ms(of.longest_pause(lost.at, back))).collect(),
        pause_before_ms: longest(written, warm, lost.at),
        later_pause_ms: ms(later.max().unwrap_or_default()),
        return_pause_ms: longest(written, back, whole),
        back_s: (whole - back).as_secs_f64(),
        errors,
        last_error,
    }
}

/// Kills the master aggregator; clients go through the others.
pub(super) async fn aggregator(
    cluster: &mut Cluster,
    number: u32,
) -> Result<AggregatorRound, Failure> {
    let (aggregators, _) = cluster.processes.ports();
    let master = cluster.master_aggregator().await?;
    let others: Vec<u16> = aggregators.into_iter().filter(|port| *port != master).collect();
    let (Some(door), Some(at)) = (others.last().copied(), cluster.processes.at(master)) else {
        return Err(unanswered("there is no other aggregator"));
    };
    let mut conn = Some(open(door).await.map_err(unanswered)?);
    let partitions = 0..cluster.homes().await?.len();
    let began = Instant::now();
    let writers = cluster.write(&others, partitions);
    writers.all_since(began).await?;
    let defining = Instant::now();
    let before = definition(&mut conn, door, &format!("probe_{number}_before")).await?;
    let warm = Instant::now();
    tokio::time::sleep(WARM).await;
    let lost = cluster.processes.kill(at)?;
    definition(&mut conn, door, &format!("probe_{number}")).await?;
    let definition = lost.at.elapsed();
    tokio::time::sleep(SHORT_CALM).await;
    writers.all_since(Instant::now()).await?;
    let calm = Instant::now();
    let written = writers.end().await?;
    cluster.processes.run(at)?;
    // It answers, and knows of all that they are there.
    let end = Instant::now() + PATIENCE;
    while open(master).await.is_err() {
        if Instant::now() > end || cluster.processes.ended().is_some() {
            return Err(unanswered(format!("the aggregator on port {master} does not come back")));
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    cluster.whole().await?;
    let back = calm.elapsed();
    cluster.verify(&written).await?;
    let (errors, last_error) = errors(&written);
    Ok(AggregatorRound {
        definition_ms: ms(definition),
        definition_before_ms: ms(before),
        pause_of_definition_ms: longest(&written, defining, warm),
        pause_ms: written.iter().map(|of| ms(of.longest_pause(lost.at, calm))).collect(),
        pause_before_ms: longest(&written, warm, lost.at),
        back_s: back.as_secs_f64(),
        errors,
        last_error,
    })
}

/// Makes a database and drops it, however often it has to be said; how long that took.
async fn definition(conn: &mut Option<Conn>, door: u16, name: &str) -> Result<Duration, Failure> {
    let began = Instant::now();
    for statement in [
        format!("CREATE DATABASE IF NOT EXISTS {name} PARTITIONS 1"),
        format!("DROP DATABASE IF EXISTS {name}"),
    ] {
        loop {
            let open_conn = match conn {
                Some(conn) => Ok(conn),
                None => open(door).await.map(|opened| conn.insert(opened)),
            };
            let done = match open_conn {
                Ok(conn) => conn.query_drop(&statement).await,
                Err(error) => Err(error),
            };
            let Err(error) = done else { break };
            if !matches!(error, mysql_async::Error::Server(_)) {
                *conn = None;
            }
            if began.elapsed() > PATIENCE {
                return Err(unanswered(format!("{statement}: {error}")));
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: who is lost is who has the most of it.
    #[test]
    fn the_leaf_with_the_most_is_lost() {
        let homes = [(1, 2), (2, 1), (2, 1)];
        let homes =
            homes.map(|(master, replica)| Homes { master: Some(master), replicas: vec![replica] });
        let master = most(&[1, 2], &homes, |home, leaf| home.master == Some(leaf));
        assert_eq!(master, (2, vec![1, 2]));
        let replica = most(&[1, 2], &homes, |home, leaf| home.replicas.contains(&leaf));
        assert_eq!(replica, (1, vec![1, 2]));
        assert!(most(&[1, 2], &homes, |home, _| home.master.is_none()).1.is_empty());
    }
}
