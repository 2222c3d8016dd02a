//! Commands for clusters on this machine: `setup-cluster`, `list-nodes` and their kin.
//!
//! ```text
//!  cluster file ─► plan ─► processes `resproutd member` that outlive the command ─► statements make them one
//!                  state directory: which nodes there are ──┐
//!                  HTTP of each: what it is now ────────────┴─► the master aggregator ─► statements
//! ```

mod create;
mod file;
mod list;
mod look;
mod master;
mod orphans;
mod probe;
mod process;
mod rebalance;
mod registry;
mod settings;
mod setup;
mod show;
mod statements;
mod status;
mod yaml;

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::failure::{Exit, Failure};
use crate::output;

/// How far above a node's port for clients the one for nodes is.
const NODE_PORT_ABOVE: u16 = 10_000;

/// Where the list of nodes is.
#[derive(Args, Clone, Debug)]
pub struct StateArgs {
    /// Directory with the list of this machine's nodes. Default: resprout/cluster below $XDG_DATA_HOME, which is
    /// ~/.local/share if it is not set
    #[arg(long, value_name = "DIR", env = "RESPROUT_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

impl StateArgs {
    fn dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(registry::default_dir)
    }
}

/// Commands for clusters.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Starts a cluster on this machine from a cluster file
    SetupCluster(setup::SetupArgs),
    /// Ends all nodes and removes what they have
    DestroyCluster(setup::DestroyArgs),
    /// Nodes, roles, states
    ListNodes(list::ListArgs),
    /// All that is known of a node
    DescribeNode(list::DescribeArgs),
    /// Makes a node and starts it; it waits to be added
    CreateNode(create::CreateArgs),
    /// Starts nodes that do not run
    StartNode(create::ChosenArgs),
    /// Ends nodes in order
    StopNode(create::StopArgs),
    /// Ends nodes in order and starts them again
    RestartNode(create::StopArgs),
    /// Removes a node that does not run, with its data
    DeleteNode(create::DeleteArgs),
    /// Changes settings of nodes, and with --set-global the running value
    UpdateConfig(settings::UpdateArgs),
    /// The leaves as the master aggregator has them
    ShowLeaves(show::ShowArgs),
    /// The aggregators as the master aggregator has them
    ShowAggregators(show::ShowArgs),
    /// Is it healthy, what is it doing, how long will it take
    Status(status::StatusArgs),
    /// What happened
    Events(show::EventsArgs),
    /// Removes copies that are not on record and whose rows are elsewhere
    ClearOrphans(orphans::ClearOrphansArgs),
    /// ADD LEAF
    AddLeaf(statements::AddLeafArgs),
    /// REMOVE LEAF
    RemoveLeaf(statements::RemoveLeafArgs),
    /// ATTACH LEAF
    AttachLeaf(statements::AttachLeafArgs),
    /// DETACH LEAF
    DetachLeaf(statements::DetachLeafArgs),
    /// Moves copies until leaves have equal shares
    Rebalance(rebalance::RebalanceArgs),
    /// Makes second copies of what has one
    RestoreRedundancy(rebalance::RestoreArgs),
    /// ADD AGGREGATOR
    AddAggregator(statements::AddAggregatorArgs),
    /// REMOVE AGGREGATOR
    RemoveAggregator(statements::RemoveAggregatorArgs),
}

/// Runs a command.
///
/// # Errors
/// Why it could not do what it was asked for.
pub fn run(command: &ClusterCommand) -> Result<Exit, Failure> {
    match command {
        ClusterCommand::SetupCluster(args) => setup::setup(args),
        ClusterCommand::DestroyCluster(args) => setup::destroy(args),
        ClusterCommand::ListNodes(args) => list::list(args),
        ClusterCommand::DescribeNode(args) => list::describe(args),
        ClusterCommand::CreateNode(args) => create::create(args),
        ClusterCommand::StartNode(args) => create::start(args),
        ClusterCommand::StopNode(args) => create::stop(args),
        ClusterCommand::RestartNode(args) => create::restart(args),
        ClusterCommand::DeleteNode(args) => create::delete(args),
        ClusterCommand::UpdateConfig(args) => settings::update(args),
        ClusterCommand::ShowLeaves(args) => show::leaves(args),
        ClusterCommand::ShowAggregators(args) => show::aggregators(args),
        ClusterCommand::Status(args) => status::run(args),
        ClusterCommand::Events(args) => show::events(args),
        ClusterCommand::ClearOrphans(args) => orphans::clear(args),
        ClusterCommand::AddLeaf(args) => statements::add_leaf(args),
        ClusterCommand::RemoveLeaf(args) => statements::remove_leaf(args),
        ClusterCommand::AttachLeaf(args) => statements::attach_leaf(args),
        ClusterCommand::DetachLeaf(args) => statements::detach_leaf(args),
        ClusterCommand::Rebalance(args) => rebalance::rebalance(args),
        ClusterCommand::RestoreRedundancy(args) => rebalance::restore(args),
        ClusterCommand::AddAggregator(args) => statements::add_aggregator(args),
        ClusterCommand::RemoveAggregator(args) => statements::remove_aggregator(args),
    }
}

/// Asks whether to go on, unless that was said.
///
/// # Errors
/// If it was not said and nobody can be asked, or the answer is no.
fn confirm(is_said: bool, what: &str) -> Result<(), Failure> {
    if is_said {
        return Ok(());
    }
    let refused = |why: &str, exit| {
        Err(Failure::new(what.to_owned(), why, "give -y to go on without a question").exiting(exit))
    };
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return refused("it was not confirmed, and nobody can be asked", Exit::Usage);
    }
    output::talk(format_args!("{what}. Go on? [y/N]"));
    let mut answer = String::new();
    // What cannot be read is no yes.
    let _ = stdin.lock().read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => refused("it was not confirmed", Exit::Refused),
    }
}

/// Prints rows below their titles, each column as wide as its widest text.
fn table(titles: &[&str], rows: &[Vec<String>]) {
    let count = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = titles.iter().map(|title| count(title)).collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(count(text));
        }
    }
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths);
        let line = cells.map(|(text, width)| format!("{text:<width$}")).collect::<Vec<_>>();
        output::line(line.join("  ").trim_end());
    };
    print(&mut titles.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}
