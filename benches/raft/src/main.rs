//! Resprout's Raft beside other Raft libraries and etcd, through one measure: see `README.md`.

mod file_log;
mod ledger;
mod load;
mod machine;
mod probe;
mod report;
mod systems;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};

use load::Seen;
use report::{FailOver, Measured, Report};
use systems::{Cluster, etcd, openraft, ours, raft_rs};

#[derive(Parser)]
#[command(about = "Raft libraries through one measure")]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Folder for the logs, on the device that is to be measured.
    #[arg(long, global = true, default_value = "target/bench-raft")]
    data: PathBuf,
    /// Writes the whole report there.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum What {
    /// Committed proposals of 256 bytes.
    Load {
        /// Which systems.
        #[arg(long, value_delimiter = ',', default_value = "ours,openraft,raft-rs")]
        systems: Vec<System>,
        /// How many clients propose at once.
        #[arg(long, value_delimiter = ',', default_value = "1,64,1024")]
        clients: Vec<usize>,
        /// How long each run is.
        #[arg(long, default_value_t = 2)]
        seconds: u64,
        /// How often: the systems take turns.
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// The leader is killed: until another has committed something.
    Failover {
        /// How often.
        #[arg(long, default_value_t = 30)]
        runs: usize,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum System {
    Ours,
    Openraft,
    RaftRs,
    Etcd,
}

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "Resprout",
            Self::Openraft => "openraft 0.9",
            Self::RaftRs => "raft-rs 0.7",
            Self::Etcd => "etcd 3.4",
        }
    }

    async fn measure(self, folder: &Path, clients: usize, time: Duration) -> Result<Seen> {
        match self {
            Self::Ours => run(ours::Ours::start(folder).await?, clients, time).await,
            Self::RaftRs => run(raft_rs::RaftRs::start(folder).await?, clients, time).await,
            Self::Etcd => run(etcd::Etcd::start(folder).await?, clients, time).await,
            Self::Openraft => {
                let cluster = Arc::new(openraft::OpenRaft::start(folder).await?);
                let seen = load::run(cluster.clone(), clients, time).await;
                cluster.stop().await;
                seen
            }
        }
    }
}

async fn run(cluster: impl Cluster, clients: usize, time: Duration) -> Result<Seen> {
    load::run(Arc::new(cluster), clients, time).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.data).context("the folder for the logs")?;
    let report = match arguments.what {
        What::Load { systems, clients, seconds, runs } => {
            let time = Duration::from_secs(seconds);
            measure_all(&arguments.data, (&systems, &clients), time, runs).await?
        }
        What::Failover { runs } => fail_over(&arguments.data, runs).await?,
    };
    report.print();
    if let Some(path) = arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

async fn measure_all(
    data: &Path,
    (systems, clients): (&[System], &[usize]),
    time: Duration,
    runs: usize,
) -> Result<Report> {
    let mut report = Report::new();
    for run in 0..runs {
        for clients in clients {
            for system in systems {
                let folder = tempfile::tempdir_in(data)?;
                let before = probe::flush(folder.path())?;
                let measured = system.measure(folder.path(), *clients, time).await;
                let seen = measured.with_context(|| system.name())?;
                let after = probe::flush(folder.path())?;
                report.add(Measured { system: system.name(), run, seen, before, after });
            }
        }
    }
    Ok(report)
}

async fn fail_over(data: &Path, runs: usize) -> Result<Report> {
    let mut report = Report::new();
    let mut times = Vec::new();
    for _ in 0..runs {
        let folder = tempfile::tempdir_in(data)?;
        let cluster = ours::Ours::start(folder.path()).await?;
        for number in 0..100 {
            cluster.propose(number, ledger::command(number)).await?;
        }
        times.push(cluster.fail_over(100).await?);
    }
    let flush = probe::flush(data)?;
    report.fail_over = Some(FailOver::new(systems::ELECTION_TIMEOUT, times, flush));
    Ok(report)
}
