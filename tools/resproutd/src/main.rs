//! The node.

mod certificate;
mod demo;
mod door;
mod member;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use resprout_tools::failure::{Exit, Failure};
use resprout_tools::node::run::{self, NodeArgs};
use resprout_tools::output;

use crate::demo::DemoArgs;
use crate::door::Door;
use crate::member::MemberArgs;

/// Rows are made on the thread of a client and freed on that of another: the system's allocator
/// spends a quarter of a load on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The node of Resprout: a sharded, replicated, in-memory row store that comes back fast
#[derive(Debug, Parser)]
#[command(name = "resproutd", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Opens a data directory, recovers it and serves until SIGTERM; or a node of a cluster, if its settings have a
    /// role
    Node(NodeArgs),
    /// A database with sample data on this machine, for any MySQL client
    Demo(DemoArgs),
    /// A node of a cluster: founds one, or waits to be added
    Member(MemberArgs),
}

fn main() -> ExitCode {
    output::exit(match Cli::parse().command {
        Command::Node(args) => node(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Member(args) => member::run(&args),
    })
}

/// A node that stands alone, or one of a cluster if its settings say so.
fn node(args: &NodeArgs) -> Result<Exit, Failure> {
    let settings = run::collect(args)?;
    if settings.is_of_member() {
        return member::run_with(&settings, &MemberArgs::that_joins(args.check_config));
    }
    run::run_with(&settings, args.check_config, Door::default())
}
