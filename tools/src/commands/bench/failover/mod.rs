//! `resprout bench failover`: what clients of a cluster see of nodes that are lost.
//!
//! ```text
//!  this process: clients, a number on each row        its children: resproutd member
//!     INSERT … ──────────── MySQL ───────────────────► aggregators ──► leaves
//!     kill -9, SIGSTOP, SIGCONT ─────────────────────────────────────► one of them
//! ```
//!
//! After each round the lost node comes back, and every row that was ever acknowledged is looked for.

mod report;
mod rounds;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use self::report::{AggregatorFigure, Device, LeafFigure, Measured, Report};
use self::rounds::{Loss, aggregator, leaf};
use super::io_failed;
use super::members::cluster::Cluster;
use super::members::processes::Settings;
use super::members::program;
use crate::bench::device::{WriteProbe, quantile_us};
use crate::bench::folder::BenchFolder;
use crate::bench::statistics::is_mixed;
use crate::failure::Failure;
use crate::output;

/// How long the device is looked at, before and behind.
const PROBE: Duration = Duration::from_millis(300);
/// Of the cluster whose master aggregator is killed.
const ELECTION_TIMEOUT_MS: u64 = 1000;

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// A leaf is killed that is master
    Leaf,
    /// A leaf that is master stands still
    Silent,
    /// A leaf is killed that is replica of what is written
    Replica,
    /// The master aggregator is killed
    Aggregator,
}

/// Which cluster, and how often.
#[derive(Args, Clone, Debug)]
pub struct FailoverArgs {
    /// Rounds of each figure
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Which figures, several with commas between them; all if not said
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FIGURES")]
    pub only: Vec<Figure>,
    /// Partitions
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub partitions: u32,
    /// Copies of each partition: with one, nobody takes over
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=2))]
    pub redundancy: u32,
    /// Aggregators with a vote
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=7))]
    pub voters: u32,
    /// Leaves: 2 or 4
    #[arg(long, default_value_t = 2, value_parser = two_or_four)]
    pub leaves: u32,
    /// The nodes' program. Default: the one beside this program
    #[arg(long, value_name = "PATH")]
    pub resproutd: Option<PathBuf>,
    /// Where to keep the data and logs of the nodes; without it they are removed, unless something fails
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The result as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

fn two_or_four(text: &str) -> Result<u32, String> {
    match text {
        "2" => Ok(2),
        "4" => Ok(4),
        _ => Err("it must be 2 or 4".to_owned()),
    }
}

impl FailoverArgs {
    fn wants(&self, figure: Figure) -> bool {
        self.only.is_empty() || self.only.contains(&figure)
    }

    fn settings(&self, program: &Path, election_timeout: Option<u64>) -> Settings {
        Settings {
            program: program.to_owned(),
            voters: self.voters as usize,
            leaves: self.leaves as usize,
            spare: 0,
            redundancy: self.redundancy,
            election_timeout,
        }
    }
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, the cluster does not come back, or an acknowledged row is not there.
pub fn run(args: &FailoverArgs) -> Result<(), Failure> {
    let program = program(args.resproutd.as_deref())?;
    let mut folder = BenchFolder::new(args.data.as_deref(), "failover")?;
    let threads = io_failed("start threads");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let measured = runtime.map_err(threads)?.block_on(async {
        let mut terminate =
            signal(SignalKind::terminate()).map_err(io_failed("listen for signals"))?;
        // What is dropped on the way ends its nodes.
        tokio::select! {
            done = all(args, &program, folder.path()) => done.map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
            _ = terminate.recv() => Ok(None),
        }
    });
    let measured = measured.inspect_err(|_| {
        folder.keep();
        output::talk(format_args!("the logs of the nodes are in {}", folder.path().display()));
    })?;
    let Some((device, measured)) = measured else {
        let fix = "run it again";
        return Err(Failure::new("the bench did not end", "a signal ended it", fix));
    };
    let report = Report::new(args, program.display().to_string(), device, measured);
    if args.json {
        output::json(&report);
    } else {
        report.tell();
    }
    Ok(())
}

async fn all(
    args: &FailoverArgs,
    program: &Path,
    dir: &Path,
) -> Result<(Device, Measured), Failure> {
    let probing = io_failed("write to the device");
    let mut probe = WriteProbe::new(dir).map_err(&probing)?;
    let before = probe.run(PROBE).map_err(&probing)?;
    let mut measured = Measured::default();
    leaves(args, program, dir, &mut measured).await?;
    aggregators(args, program, dir, &mut measured).await?;
    let behind = probe.run(PROBE).map_err(&probing)?;
    let us = |duration: Duration| duration.as_secs_f64() * 1e6;
    let mixed = is_mixed(us(before), us(behind));
    Ok((Device { p50_us: quantile_us(&probe.latencies, 0.5), mixed }, measured))
}

/// The figures of leaves, on a cluster with the defaults.
async fn leaves(
    args: &FailoverArgs,
    program: &Path,
    dir: &Path,
    measured: &mut Measured,
) -> Result<(), Failure> {
    let figures = [
        (Figure::Leaf, Loss::Killed, &mut measured.killed_leaf),
        (Figure::Silent, Loss::Silent, &mut measured.silent_leaf),
        (Figure::Replica, Loss::ReplicaKilled, &mut measured.killed_replica),
    ];
    let figures = figures.into_iter().filter(|(figure, ..)| args.wants(*figure));
    let figures: Vec<_> = figures.collect();
    if figures.is_empty() {
        return Ok(());
    }
    let settings = args.settings(program, None);
    let dir = dir.join("leaves");
    let mut cluster = Cluster::start(&dir, settings, args.partitions as usize).await?;
    for (_, loss, found) in figures {
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            rounds.push(leaf(&mut cluster, loss).await?);
        }
        *found = Some(LeafFigure::new(rounds));
    }
    measured.acknowledged += cluster.acknowledged();
    Ok(())
}

/// The figure of master aggregators, on a cluster whose voters wait less.
async fn aggregators(
    args: &FailoverArgs,
    program: &Path,
    dir: &Path,
    measured: &mut Measured,
) -> Result<(), Failure> {
    if !args.wants(Figure::Aggregator) {
        return Ok(());
    }
    let settings = args.settings(program, Some(ELECTION_TIMEOUT_MS));
    let dir = dir.join("aggregators");
    let mut cluster = Cluster::start(&dir, settings, args.partitions as usize).await?;
    let mut rounds = Vec::new();
    for number in 0..args.rounds {
        rounds.push(aggregator(&mut cluster, number).await?);
    }
    measured.acknowledged += cluster.acknowledged();
    measured.killed_master_aggregator = Some(AggregatorFigure::new(ELECTION_TIMEOUT_MS, rounds));
    Ok(())
}
