//! `resprout bench rebalance`: a cluster of two leaves with data gets two more, and moves half of its copies there while
//! clients write and read.
//!
//! ```text
//!  fill ─► add leaves ─► COPY PARTITION, nobody writes ─► clients write and read ─┬─ REBALANCE, KILL QUERY: no orphans
//!                                                                                └─ REBALANCE: bandwidth, throughput, pauses
//!  every row that was ever acknowledged is looked for
//! ```

mod data;
mod large;
mod report;
mod rounds;
mod steps;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::data::Data;
use self::report::{Measured, Report};
use super::io_failed;
use super::members::cluster::Cluster;
use super::members::processes::Settings;
use super::members::program;
use crate::bench::folder::BenchFolder;
use crate::failure::Failure;
use crate::output;
use crate::quantity::parse_count;

/// Which cluster, and how much.
#[derive(Args, Clone, Debug)]
pub struct RebalanceArgs {
    /// Rows that are there before
    #[arg(long, default_value = "200k", value_parser = parse_count)]
    pub rows: u64,
    /// Bytes of each
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(16..=60_000))]
    pub row_bytes: u32,
    /// Partitions: half of their copies move
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=64))]
    pub partitions: u32,
    /// Clients that read; one for each partition writes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub readers: u32,
    /// Seconds that clients run before anything moves
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub calm: u32,
    /// Aggregators with a vote
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=7))]
    pub voters: u32,
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

impl RebalanceArgs {
    fn settings(&self, program: &Path) -> Settings {
        Settings {
            program: program.to_owned(),
            voters: self.voters as usize,
            leaves: 4,
            spare: 2,
            redundancy: 2,
            election_timeout: None,
        }
    }
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, the cluster does not do what it should, or an acknowledged row is not there.
pub fn run(args: &RebalanceArgs) -> Result<(), Failure> {
    let program = program(args.resproutd.as_deref())?;
    let mut folder = BenchFolder::new(args.data.as_deref(), "rebalance")?;
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
    let Some(measured) = measured else {
        let fix = "run it again";
        return Err(Failure::new("the bench did not end", "a signal ended it", fix));
    };
    let report = Report::new(args, program.display().to_string(), measured);
    if args.json {
        output::json(&report);
    } else {
        report.tell();
    }
    Ok(())
}

async fn all(args: &RebalanceArgs, program: &Path, dir: &Path) -> Result<Measured, Failure> {
    let plan = large::plan_time()?;
    let partitions = args.partitions as usize;
    let mut cluster = Cluster::start(dir, args.settings(program), partitions).await?;
    let data = Data { rows: args.rows, row_bytes: args.row_bytes as usize };
    let (doors, _) = cluster.processes.ports();
    data.fill(&doors).await?;
    let spares = cluster.add_spares().await?;
    let provision = rounds::alone(&mut cluster, &spares).await?;
    let calm = Duration::from_secs(args.calm.into());
    let cancel = rounds::cancelled(&mut cluster, (&data, args.readers)).await?;
    let moved = rounds::rebalanced(&mut cluster, (&data, args.readers), calm).await?;
    data.verify(&doors).await?;
    let acknowledged = cluster.acknowledged() + args.rows;
    Ok(Measured { plan, provision, cancel, moved, acknowledged })
}
