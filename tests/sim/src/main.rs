//! Long runs of the simulations, and replays of single seeds.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use resprout_consensus::testing::Planted;
use resprout_sim::Violation;
use resprout_sim::coverage::Coverage;
use resprout_sim::seeds::{self, Failure};
use resprout_sim::{cluster, raft};

/// Runs whole clusters from seeds.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// The consensus of the metadata.
    Raft(RunArguments),
    /// Everything together: consensus, control plane, copies, clients.
    Cluster(RunArguments),
}

#[derive(Debug, clap::Args)]
struct RunArguments {
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

/// A run that broke nothing.
struct Done {
    coverage: Coverage,
    digest: u64,
    /// In a line of its own.
    said: String,
}

/// A simulation, for one planted bug or none.
trait Runs: Sync {
    fn plan(&self, seed: u64) -> String;
    fn run(&self, seed: u64, trace: bool) -> Result<Done, Violation>;
    fn replay_command(&self, seed: u64) -> String;
    fn bug(&self) -> Option<String>;
}

struct OfRaft {
    bug: Option<Planted>,
    outcomes_only: bool,
}

impl OfRaft {
    fn plan_of(&self, seed: u64) -> raft::Plan {
        let outcomes_only = self.outcomes_only;
        raft::Plan { planted: self.bug, outcomes_only, ..raft::Plan::new(seed) }
    }
}

impl Runs for OfRaft {
    fn plan(&self, seed: u64) -> String {
        self.plan_of(seed).to_string()
    }

    fn run(&self, seed: u64, trace: bool) -> Result<Done, Violation> {
        let raft::Summary { coverage, digest, served_after, equal_after } =
            raft::run(self.plan_of(seed), trace)?;
        let said = format!(
            "served after {served_after:.2}, equal after {equal_after:.2} election timeouts"
        );
        Ok(Done { coverage, digest, said })
    }

    fn replay_command(&self, seed: u64) -> String {
        raft::replay_command(seed)
    }

    fn bug(&self) -> Option<String> {
        self.bug.map(|bug| format!("{bug:?}"))
    }
}

struct OfCluster {
    bug: Option<cluster::Planted>,
    outcomes_only: bool,
}

impl OfCluster {
    fn plan_of(&self, seed: u64) -> cluster::Plan {
        let outcomes_only = self.outcomes_only;
        cluster::Plan { planted: self.bug, outcomes_only, ..cluster::Plan::new(seed) }
    }
}

impl Runs for OfCluster {
    fn plan(&self, seed: u64) -> String {
        self.plan_of(seed).to_string()
    }

    fn run(&self, seed: u64, trace: bool) -> Result<Done, Violation> {
        let cluster::Summary { coverage, digest, well_after } =
            cluster::run(self.plan_of(seed), trace)?;
        let said = format!("all well {well_after:.2?} after the storm");
        Ok(Done { coverage, digest, said })
    }

    fn replay_command(&self, seed: u64) -> String {
        cluster::replay_command(seed)
    }

    fn bug(&self) -> Option<String> {
        self.bug.map(|bug| bug.to_string())
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { subject } = Arguments::parse();
    let (arguments, all) = match subject {
        Subject::Raft(arguments) => {
            let bugs = wanted(&arguments, Planted::ALL.into_iter(), |bug| format!("{bug:?}"))?;
            let outcomes_only = arguments.outcomes_only;
            let run = |bug| Box::new(OfRaft { bug, outcomes_only }) as Box<dyn Runs>;
            (arguments, bugs.into_iter().map(run).collect::<Vec<_>>())
        }
        Subject::Cluster(arguments) => {
            let bugs = wanted(&arguments, cluster::Planted::all(), ToString::to_string)?;
            let outcomes_only = arguments.outcomes_only;
            let run = |bug| Box::new(OfCluster { bug, outcomes_only }) as Box<dyn Runs>;
            (arguments, bugs.into_iter().map(run).collect())
        }
    };
    let mut out = std::io::stdout();
    let mut failed = false;
    for runs in all {
        failed |= match arguments.seed {
            Some(seed) => replay(&mut out, &*runs, seed, arguments.trace)?,
            None => search(&mut out, &arguments, &*runs)?,
        };
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The bugs to be planted, one after the other; none once if none is asked for.
fn wanted<B>(
    arguments: &RunArguments,
    bugs: impl Iterator<Item = B>,
    name: impl Fn(&B) -> String,
) -> anyhow::Result<Vec<Option<B>>> {
    let Some(wanted) = &arguments.planted else { return Ok(vec![None]) };
    let bugs: Vec<B> = bugs.collect();
    let names: Vec<String> = bugs.iter().map(&name).collect();
    let found = bugs.into_iter().filter(|bug| wanted == "all" || name(bug) == *wanted);
    let found: Vec<_> = found.map(Some).collect();
    anyhow::ensure!(!found.is_empty(), "no planted bug is called {wanted}: {names:?}");
    Ok(found)
}

fn replay(out: &mut impl Write, runs: &dyn Runs, seed: u64, trace: bool) -> anyhow::Result<bool> {
    writeln!(out, "{}", runs.plan(seed))?;
    match seeds::guarded(|| runs.run(seed, trace)) {
        Ok(Done { coverage, digest, said }) => {
            write!(out, "{coverage}")?;
            writeln!(out, "{said}")?;
            writeln!(out, "digest {digest:016x}")?;
            Ok(false)
        }
        Err(violation) => {
            writeln!(out, "broken: {violation}")?;
            Ok(true)
        }
    }
}

fn search(out: &mut impl Write, arguments: &RunArguments, runs: &dyn Runs) -> anyhow::Result<bool> {
    let range = arguments.from..arguments.from + arguments.seeds;
    let bug = runs.bug();
    let one = |seed| runs.run(seed, false).map(|done| done.coverage);
    let report = seeds::run(range, bug.is_some(), one);
    let named = bug.as_ref().map_or_else(String::new, |bug| format!(" --planted {bug}"));
    for Failure { seed, violation } in report.failures.iter().take(20) {
        writeln!(out, "seed {seed}: {violation}")?;
        writeln!(out, "  {}{named} --trace", runs.replay_command(*seed))?;
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
