//! Commands that are one statement for the master aggregator each.

use clap::{Args, ValueEnum};

use super::master::{Client, quoted};
use super::registry::Registry;
use super::{StateArgs, confirm, look};
use crate::failure::{Exit, Failure};
use crate::output;

/// Which node a statement is about.
#[derive(Args, Clone, Debug)]
pub(super) struct Target {
    /// The node of this machine whose id begins so
    #[arg(long, alias = "memsql-id", value_name = "ID", conflicts_with_all = ["host", "port"])]
    id: Option<String>,
    /// Where it listens, if it is of another machine
    #[arg(long, requires = "port")]
    host: Option<String>,
    /// Its port for clients
    #[arg(long, requires = "host")]
    port: Option<u16>,
}

/// ADD LEAF
#[derive(Args, Clone, Debug)]
pub struct AddLeafArgs {
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    target: Target,
    /// Its group, if it is not to be chosen
    #[arg(long, value_name = "GROUP", value_parser = clap::value_parser!(u32).range(1..=2))]
    availability_group: Option<u32>,
}

/// REMOVE LEAF
#[derive(Args, Clone, Debug)]
pub struct RemoveLeafArgs {
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    target: Target,
    /// Also if copies are lost with it
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// ATTACH LEAF
#[derive(Args, Clone, Debug)]
pub struct AttachLeafArgs {
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    target: Target,
    /// All that are detached
    #[arg(long, conflicts_with_all = ["id", "host", "port"])]
    all: bool,
    /// Leave what conflicts with the cluster aside
    #[arg(long)]
    force: bool,
}

/// DETACH LEAF
#[derive(Args, Clone, Debug)]
pub struct DetachLeafArgs {
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    target: Target,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Whether an aggregator votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AggregatorRole {
    /// It does not.
    Follower,
    /// It does, and may become the master aggregator.
    #[value(name = "voting_member", alias = "voting-member")]
    VotingMember,
}

/// ADD AGGREGATOR
#[derive(Args, Clone, Debug)]
pub struct AddAggregatorArgs {
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    target: Target,
    /// Whether it votes
    #[arg(long, default_value = "follower")]
    role: AggregatorRole,
}

/// REMOVE AGGREGATOR
#[derive(Args, Clone, Debug)]
pub struct RemoveAggregatorArgs {
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    target: Target,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Target {
    /// `'host':port`.
    fn address(&self, registry: &Registry) -> Result<String, Failure> {
        if let (Some(host), Some(port)) = (&self.host, self.port) {
            return Ok(format!("{}:{port}", quoted(host)));
        }
        let Some(id) = &self.id else {
            let why = "it was not said which one";
            let fix = "give --id, or --host and --port";
            return Err(Failure::new("cannot say which node", why, fix).exiting(Exit::Usage));
        };
        let entry = &registry.nodes[registry.find(id)?];
        Ok(format!("{}:{}", quoted(&entry.host), entry.port))
    }
}

fn send(registry: &Registry, statement: &str) -> Result<Exit, Failure> {
    let mut client = Client::of_master(registry, &look::all(registry))?;
    client.run(statement)?;
    output::talk(format_args!("{}: done: {statement}", client.address()));
    Ok(Exit::Done)
}

pub(super) fn add_leaf(args: &AddLeafArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let mut statement = format!("ADD LEAF root@{}", args.target.address(&registry)?);
    if let Some(group) = args.availability_group {
        statement.push_str(&format!(" INTO GROUP {group}"));
    }
    send(&registry, &statement)
}

pub(super) fn remove_leaf(args: &RemoveLeafArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let address = args.target.address(&registry)?;
    let force = if args.force { " FORCE" } else { "" };
    confirm(args.yes, &format!("leaf {address} will be removed from the cluster"))?;
    send(&registry, &format!("REMOVE LEAF {address}{force}"))
}

pub(super) fn attach_leaf(args: &AttachLeafArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let what = if args.all { "ALL".to_owned() } else { args.target.address(&registry)? };
    let force = if args.force { " FORCE" } else { "" };
    send(&registry, &format!("ATTACH LEAF {what}{force}"))
}

pub(super) fn detach_leaf(args: &DetachLeafArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let address = args.target.address(&registry)?;
    confirm(args.yes, &format!("leaf {address} will be detached"))?;
    send(&registry, &format!("DETACH LEAF {address}"))
}

pub(super) fn add_aggregator(args: &AddAggregatorArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let votes = args.role == AggregatorRole::VotingMember;
    let role = if votes { " AS VOTING MEMBER" } else { "" };
    let address = args.target.address(&registry)?;
    send(&registry, &format!("ADD AGGREGATOR root@{address}{role}"))
}

pub(super) fn remove_aggregator(args: &RemoveAggregatorArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let address = args.target.address(&registry)?;
    confirm(args.yes, &format!("aggregator {address} will be removed from the cluster"))?;
    send(&registry, &format!("REMOVE AGGREGATOR {address}"))
}
