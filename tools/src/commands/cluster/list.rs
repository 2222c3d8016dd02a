//! `list-nodes` and `describe-node`.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::look::{self, Row, Seen};
use super::registry::Registry;
use super::{StateArgs, table};
use crate::failure::{Exit, Failure};
use crate::output;

/// Version of the JSON.
const SCHEMA_VERSION: u32 = 1;

/// A role, to list the nodes that have it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleFilter {
    /// The master aggregator.
    Master,
    /// Other aggregators.
    Aggregator,
    /// Leaves.
    Leaf,
    /// Nodes that wait to be added.
    Unknown,
}

/// A state of a process, to list the nodes that have it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ProcessFilter {
    /// It runs.
    Running,
    /// It does not.
    Stopped,
    /// Nothing is known; of nodes of this machine something always is.
    Unknown,
}

/// Lists nodes
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Only nodes of this role
    #[arg(short, long)]
    role: Option<RoleFilter>,
    /// Only nodes whose process is in this state
    #[arg(short, long)]
    process_state: Option<ProcessFilter>,
    /// Only leaves of this group
    #[arg(long, value_name = "GROUP")]
    availability_group: Option<u64>,
    /// Ids and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// As JSON
    #[arg(short, long)]
    json: bool,
}

/// Describes a node
#[derive(Args, Clone, Debug)]
pub struct DescribeArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The node whose id begins so
    #[arg(long, alias = "memsql-id", value_name = "ID")]
    id: String,
    /// As JSON
    #[arg(short, long)]
    json: bool,
}

fn is_wanted(args: &ListArgs, row: &Row) -> bool {
    let role = match args.role {
        None => row.role,
        Some(RoleFilter::Master) => "Master",
        Some(RoleFilter::Aggregator) => "Aggregator",
        Some(RoleFilter::Leaf) => "Leaf",
        Some(RoleFilter::Unknown) => "Unknown",
    };
    let process = match args.process_state {
        None => row.process_state,
        Some(ProcessFilter::Running) => "Running",
        Some(ProcessFilter::Stopped) => "Stopped",
        Some(ProcessFilter::Unknown) => "Unknown",
    };
    let is_of_group = args.availability_group.is_none_or(|it| row.availability_group == Some(it));
    row.role == role && row.process_state == process && is_of_group
}

/// The master aggregator first, leaves last.
fn rows(seen: &[Seen]) -> Vec<Row> {
    let mut rows: Vec<Row> = seen.iter().map(Seen::row).collect();
    rows.sort_by_key(|row| match row.role {
        "Master" => 0,
        "Aggregator" => 1,
        "Leaf" => 2,
        _ => 3,
    });
    rows
}

/// Lists the nodes of this machine.
///
/// # Errors
/// If there are none.
pub(super) fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let mut rows = rows(&look::all(&registry));
    rows.retain(|row| is_wanted(args, row));
    if args.json {
        output::json(&json!({ "schema_version": SCHEMA_VERSION, "nodes": rows }));
    } else if args.quiet {
        rows.iter().for_each(|row| output::line(&row.id));
    } else {
        print_rows(&rows);
    }
    Ok(Exit::Done)
}

/// Prints nodes for people.
pub(super) fn print(seen: &[Seen]) {
    print_rows(&rows(seen));
}

fn print_rows(rows: &[Row]) {
    let titles = [
        "ID",
        "Role",
        "Host",
        "Port",
        "Process State",
        "Connectable?",
        "Version",
        "Recovery State",
        "Availability Group",
        "Bind Address",
    ];
    let cells = rows.iter().map(|row| {
        let group = row.availability_group.map(|group| group.to_string());
        vec![
            row.id[..10.min(row.id.len())].to_ascii_uppercase(),
            row.role.to_owned(),
            row.host.clone(),
            row.port.to_string(),
            row.process_state.to_owned(),
            row.connectable.to_string(),
            row.version.clone().unwrap_or_default(),
            row.recovery_state.to_owned(),
            group.unwrap_or_default(),
            row.bind_address.clone(),
        ]
    });
    table(&titles, &cells.collect::<Vec<_>>());
}

/// Describes a node.
///
/// # Errors
/// If there is no such node.
pub(super) fn describe(args: &DescribeArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let entry = &registry.nodes[registry.find(&args.id)?];
    let seen = look::one(entry);
    let row = seen.row();
    let member = seen.member();
    let role = match member {
        Some(member) if member["is_voter"] == true => Some("voting_member"),
        Some(_) if row.role == "Aggregator" => Some("follower"),
        _ => None,
    };
    let described = json!({
        "schema_version": SCHEMA_VERSION,
        "id": row.id,
        "host": row.host,
        "role": row.role,
        "aggregatorRole": role,
        "port": row.port,
        "httpPort": entry.http_port,
        "bindAddress": row.bind_address,
        "processState": row.process_state,
        "pid": entry.process.filter(|_| seen.runs).map(|process| process.pid),
        "version": row.version,
        "config": registry.config(&entry.id),
        "dataDir": entry.data,
        "tracelogsDir": registry.folder(&entry.id),
        "nodeId": member.map(|member| member["node"].clone()),
        "state": member.map(|member| member["state"].clone()),
        "recoveryState": row.recovery_state,
        "availabilityGroup": row.availability_group,
    });
    if args.json {
        output::json(&described);
        return Ok(Exit::Done);
    }
    let fields = described.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, _)| *name != "schema_version").map(|(name, value)| {
        let value = match value {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        vec![name.clone(), value]
    });
    table(&["Property", "Value"], &fields.collect::<Vec<_>>());
    Ok(Exit::Done)
}
