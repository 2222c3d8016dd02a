//! Everything a person types, apart from the node.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use resprout_tools::commands::bench::{self, BenchCommand};
use resprout_tools::commands::cluster::{self, ClusterCommand};
use resprout_tools::commands::completions::{self, CompletionsArgs};
use resprout_tools::commands::inspect::{self, InspectCommand};
use resprout_tools::commands::load::{self, LoadArgs};
use resprout_tools::node::logging::{self, Format};
use resprout_tools::output;

/// Resprout: a sharded, replicated, in-memory row store that comes back fast
#[derive(Debug, Parser)]
#[command(name = "resprout", version, max_term_width = 100, after_help = CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const CODES: &str = "Exit codes: 0 done, clean   1 failed   2 bad usage   3 torn tail, degraded   \
    4 damage, data unavailable   5 cannot reach the cluster   6 not in time   7 refused";

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Cluster(ClusterCommand),
    /// Loads a CSV or TSV file with a header into a table
    Load(LoadArgs),
    /// Looks inside a data directory: offline, read-only
    #[command(subcommand)]
    Inspect(InspectCommand),
    /// Measures one layer beside its physical bound, on data that is verified
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Writes the script that completes this command in a shell
    Completions(CompletionsArgs),
}

fn main() -> ExitCode {
    // Warnings of the engine belong on stderr; a second start of logging cannot happen here, and
    // without it only warnings are missing.
    let _ = logging::start(Format::Text, "warn");
    output::exit(match Cli::parse().command {
        Command::Cluster(command) => cluster::run(&command),
        Command::Load(args) => load::run(&args),
        Command::Inspect(command) => inspect::run(&command),
        Command::Bench(command) => bench::run(&command),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    })
}
