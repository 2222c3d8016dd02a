//! Long runs of the simulation, and replays of single seeds.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use resprout_consensus::testing::Planted;
use resprout_sim::raft::{self, Plan};
use resprout_sim::seeds::{self, Failure};

/// Runs whole clusters from seeds.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// The consensus of the metadata.
    Raft(RaftArguments),
}

#[derive(Debug, clap::Args)]
struct RaftArguments {
    /// Runs this seed alone and says what it did.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints every event of the seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Runs so many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Plants a bug, by name, or each in turn with `all`.
    #[arg(long)]
    planted: Option<String>,
    /// Only what users could see counts, not the rules behind it.
    #[arg(long)]
    outcomes_only: bool,
    /// What is printed at the end.
    #[arg(long, value_enum, default_value_t = Shown::Coverage)]
    show: Shown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// How often what happened.
    Coverage,
    /// Only failures.
    Failures,
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { subject: Subject::Raft(arguments) } = Arguments::parse();
    let planted = match arguments.planted.as_deref() {
        None => vec![None],
        Some("all") => Planted::ALL.into_iter().map(Some).collect(),
        Some(name) => vec![Some(named(name)?)],
    };
    let mut out = std::io::stdout();
    let mut failed = false;
    for bug in planted {
        let plan =
            |seed| Plan { planted: bug, outcomes_only: arguments.outcomes_only, ..Plan::new(seed) };
        failed |= match arguments.seed {
            Some(seed) => replay(&mut out, plan(seed), arguments.trace)?,
            None => search(&mut out, &arguments, bug, plan)?,
        };
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn named(name: &str) -> anyhow::Result<Planted> {
    let found = Planted::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    found.ok_or_else(|| anyhow::anyhow!("no planted bug is called {name}: {:?}", Planted::ALL))
}

fn replay(out: &mut impl Write, plan: Plan, trace: bool) -> anyhow::Result<bool> {
    writeln!(out, "{plan}")?;
    match seeds::guarded(|| raft::run(plan, trace)) {
        Ok(summary) => {
            write!(out, "{}", summary.coverage)?;
            let (served, equal) = (summary.served_after, summary.equal_after);
            writeln!(out, "served after {served:.2}, equal after {equal:.2} election timeouts")?;
            writeln!(out, "digest {:016x}", summary.digest)?;
            Ok(false)
        }
        Err(violation) => {
            writeln!(out, "broken: {violation}")?;
            Ok(true)
        }
    }
}

fn search(
    out: &mut impl Write,
    arguments: &RaftArguments,
    bug: Option<Planted>,
    plan: impl Fn(u64) -> Plan + Sync,
) -> anyhow::Result<bool> {
    let range = arguments.from..arguments.from + arguments.seeds;
    let one = |seed| raft::run(plan(seed), false).map(|summary| summary.coverage);
    let report = seeds::run(range, bug.is_some(), one);
    let named = bug.map_or_else(String::new, |bug| format!(" --planted {bug:?}"));
    for Failure { seed, violation } in report.failures.iter().take(20) {
        writeln!(out, "seed {seed}: {violation}")?;
        writeln!(out, "  {}{named} --trace", raft::replay_command(*seed))?;
    }
    if bug.is_some() {
        let said = if report.failures.is_empty() { "NOT FOUND" } else { "found" };
        writeln!(out, "{said}{named} in {} runs", report.runs)?;
    } else {
        if arguments.show == Shown::Coverage {
            write!(out, "{}", report.coverage)?;
        }
        writeln!(out, "{} runs, {} failures", report.runs, report.failures.len())?;
    }
    Ok(!report.failures.is_empty())
}
