//! The node.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use resprout_tools::node::run::{self, NodeArgs};
use resprout_tools::output;

/// The node of Resprout: a sharded, replicated, in-memory row store that comes back fast
#[derive(Debug, Parser)]
#[command(name = "resproutd", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Opens a data directory, recovers it and serves until SIGTERM
    Node(NodeArgs),
}

fn main() -> ExitCode {
    let Command::Node(args) = Cli::parse().command;
    output::exit(run::run(&args))
}
