//! `resprout bench`: one layer each, beside its physical bound, on data that is verified.

pub mod commit;
pub mod failover;
mod members;
pub mod read;
pub mod rebalance;
pub mod recovery;
pub mod replay;
pub mod replicate;
pub mod snapshot;

use std::io::{self, Read};

use clap::Subcommand;

use crate::failure::{Exit, Failure};

/// Which layer.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// Crashes a writing process, recovers its data, verifies every row
    Recovery(recovery::RecoveryArgs),
    /// Durable commits per second and their latency, beside a bare durable write
    Commit(commit::CommitArgs),
    /// Replays a log without any snapshot
    Replay(replay::ReplayArgs),
    /// What a snapshot costs the writers beside it
    Snapshot(snapshot::SnapshotArgs),
    /// Point reads of random rows
    Read(read::ReadArgs),
    /// Commits that wait for a replica in another process, and its promotion
    Replicate(replicate::ReplicateArgs),
    /// What clients of a cluster see of lost nodes
    Failover(failover::FailoverArgs),
    /// What clients of a cluster see of copies and masters that move to new leaves, and how fast they move
    Rebalance(rebalance::RebalanceArgs),
    /// The replica of `bench replicate`
    #[command(hide = true)]
    ReplicateReplica(replicate::replica::ReplicaArgs),
    /// The process that `bench recovery` kills
    #[command(hide = true)]
    RecoveryWriter(recovery::writer::WriterArgs),
}

/// Runs a bench.
///
/// # Errors
/// If it cannot run, or its data are not what was written.
pub fn run(command: &BenchCommand) -> Result<Exit, Failure> {
    match command {
        BenchCommand::Recovery(args) => recovery::run(args),
        BenchCommand::Commit(args) => commit::run(args),
        BenchCommand::Replay(args) => replay::run(args),
        BenchCommand::Snapshot(args) => snapshot::run(args),
        BenchCommand::Read(args) => read::run(args),
        BenchCommand::Replicate(args) => replicate::run(args),
        BenchCommand::Failover(args) => failover::run(args),
        BenchCommand::Rebalance(args) => rebalance::run(args),
        BenchCommand::ReplicateReplica(args) => replicate::replica::run(args),
        BenchCommand::RecoveryWriter(args) => recovery::writer::run(args),
    }?;
    Ok(Exit::Done)
}

/// An I/O error of a bench.
pub(crate) fn io_failed(doing: &str) -> impl Fn(io::Error) -> Failure {
    let what = format!("cannot {doing}");
    move |error| Failure::new(what.clone(), error, "check the device and the directory of --data")
}

/// A secret of nodes, random, so that nobody else on this machine can take part.
pub(crate) fn secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
