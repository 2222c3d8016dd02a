//! The settings files of nodes, and `update-config`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};
use toml::{Table, Value};

use super::create::{Chosen, chosen};
use super::master::{ACCOUNT, Client, quoted};
use super::registry::{Entry, Registry, Role, replace};
use super::{StateArgs, confirm, look, process};
use crate::failure::{Exit, Failure};
use crate::node::config;
use crate::output;

/// Who a node is: what is written about that elsewhere would not be true any more.
const FIXED: [&str; 5] = ["role", "listen", "data", "http", "cluster.secret_file"];

/// Which nodes `--role` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleOf {
    /// The master aggregator.
    Master,
    /// All aggregators.
    Aggregator,
    /// All leaves.
    Leaf,
}

/// Changes settings
#[derive(Args, Clone, Debug)]
pub struct UpdateArgs {
    #[command(flatten)]
    state: StateArgs,
    /// A setting's name as in node.toml, or its last part; - and _ are the same
    #[arg(long)]
    key: String,
    /// Its new value
    #[arg(long, allow_hyphen_values = true)]
    value: String,
    /// Also SET GLOBAL on the chosen aggregators; a variable that is no setting of node.toml is only that
    #[arg(long)]
    set_global: bool,
    /// The nodes of this role
    #[arg(long, conflicts_with_all = ["id", "all"])]
    role: Option<RoleOf>,
    /// The node whose id begins so; may be given several times
    #[arg(long, alias = "memsql-id", value_name = "ID")]
    id: Vec<String>,
    /// All nodes
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// The nodes' program, which checks the value. Default: resproutd beside this one
    #[arg(long, value_name = "PATH")]
    resproutd: Option<PathBuf>,
}

/// Writes a new node's settings.
///
/// # Errors
/// What the system says.
pub(super) fn write(
    registry: &Registry,
    entry: &Entry,
    memory: Option<&str>,
    timeout: Option<u64>,
) -> Result<(), Failure> {
    let mut table = Table::new();
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let http = format!("{}:{}", entry.host, entry.http_port);
    set(&mut table, "role", entry.role.word());
    set(&mut table, "listen", &entry.address());
    set(&mut table, "data", &path(&entry.data));
    set(&mut table, "http", &http);
    set(&mut table, "cluster.secret_file", &path(&registry.secret_file()));
    if let Some(memory) = memory {
        set(&mut table, "memory.maximum", memory);
    }
    if let Some(timeout) = timeout {
        set(&mut table, "cluster.consensus_election_timeout", &timeout.to_string());
    }
    replace(&registry.config(&entry.id), table.to_string().as_bytes())
}

/// Sets `section.key` or `key`.
fn set(table: &mut Table, name: &str, value: &str) {
    let value = Value::String(value.to_owned());
    match name.split_once('.') {
        None => drop(table.insert(name.to_owned(), value)),
        Some((section, key)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                section.insert(key.to_owned(), value);
            }
        }
    }
}

fn read(registry: &Registry, id: &str) -> Result<Table, Failure> {
    let path = registry.config(id);
    let what = || format!("cannot read {}", path.display());
    let text = fs::read_to_string(&path)
        .map_err(|error| Failure::new(what(), error, "put a copy of the file back"))?;
    text.parse().map_err(|error| Failure::new(what(), error, "write it as TOML"))
}

/// `consensus_election_timeout` of a node in milliseconds, if its settings have one.
///
/// # Errors
/// If they cannot be read.
pub(super) fn timeout(registry: &Registry, id: &str) -> Result<Option<u64>, Failure> {
    let table = read(registry, id)?;
    let found = table.get("cluster").and_then(|it| it.get("consensus_election_timeout"));
    Ok(found.and_then(|value| match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        value => value.as_str()?.parse().ok(),
    }))
}

/// The setting that a key means.
fn setting(key: &str) -> Option<String> {
    let key = key.replace('-', "_");
    // The name that the variable has.
    if key == "maximum_memory" {
        return Some("memory.maximum".to_owned());
    }
    let is_it = |name: &String| *name == key || name.rsplit('.').next() == Some(&key);
    let mut found = config::names().filter(is_it);
    let first = found.next()?;
    // A part that several have means none of them.
    found.next().is_none().then_some(first)
}

/// Changes settings in files, and running values.
///
/// # Errors
/// If there is no such setting, its value is not possible, or the server refuses it.
pub(super) fn update(args: &UpdateArgs) -> Result<Exit, Failure> {
    let registry = Registry::change(&args.state.dir())?;
    let seen = look::all(&registry);
    let nodes = whose(&registry, args, &seen)?;
    let variable = args.key.replace('-', "_");
    let setting = setting(&args.key);
    let usage = |why: String, fix: String| {
        Err(Failure::new("cannot change that", why, fix).exiting(Exit::Usage))
    };
    match &setting {
        None if !args.set_global => {
            let names: Vec<String> = config::names().collect();
            let near = config::suggestion(&variable, names.iter().map(String::as_str));
            return usage(format!("'{}' is no setting of node.toml", args.key), near);
        }
        Some(name) if FIXED.contains(&name.as_str()) => {
            let fix = "make another node with create-node".to_owned();
            return usage(format!("{name} is who the node is"), fix);
        }
        _ => {}
    }
    if args.set_global && !variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return usage(format!("'{variable}' is no variable"), "correct its name".to_owned());
    }
    let what = format!("{} of {} nodes becomes {}", args.key, nodes.len(), args.value);
    confirm(args.yes, &what)?;
    if let Some(name) = &setting {
        let program = process::program(args.resproutd.as_deref())?;
        // All are checked before any is changed.
        for check_only in [true, false] {
            for at in &nodes {
                change(&registry, &registry.nodes[*at], (name, &args.value), &program, check_only)?;
            }
        }
    }
    if args.set_global {
        for at in nodes {
            let entry = &registry.nodes[at];
            if entry.role == Role::Leaf || !seen[at].is_open {
                continue;
            }
            let mut client =
                Client::connect(&entry.address(), ACCOUNT, Some(&registry.password()?))?;
            client.run(&set_global(&variable, &args.value))?;
        }
    } else {
        output::talk("it holds from the next start of each node on: resprout restart-node");
    }
    Ok(Exit::Done)
}

/// `SET GLOBAL`, with numbers as numbers and words as words.
pub(super) fn set_global(variable: &str, value: &str) -> String {
    let is_number = value.parse::<i64>().is_ok();
    let value = if is_number { value.to_owned() } else { quoted(value) };
    format!("SET GLOBAL {variable} = {value}")
}

fn whose(
    registry: &Registry,
    args: &UpdateArgs,
    seen: &[look::Seen],
) -> Result<Vec<usize>, Failure> {
    let Some(role) = args.role else {
        if args.id.is_empty() && !args.all {
            let why = "it was not said of which nodes";
            let fix = "give --id, --role or --all";
            return Err(Failure::new("cannot change that", why, fix).exiting(Exit::Usage));
        }
        return chosen(registry, &Chosen { id: args.id.clone(), all: args.all });
    };
    if role == RoleOf::Master {
        let (_, address) = look::master(seen)?;
        let at = registry.nodes.iter().position(|node| node.address() == address);
        return Ok(at.into_iter().collect());
    }
    let wanted = if role == RoleOf::Leaf { Role::Leaf } else { Role::Aggregator };
    let all = registry.nodes.iter().enumerate();
    Ok(all.filter(|(_, node)| node.role == wanted).map(|(at, _)| at).collect())
}

/// Writes the settings beside, has the node's program check them, and replaces the file unless it is only to check.
fn change(
    registry: &Registry,
    entry: &Entry,
    (name, value): (&str, &str),
    program: &Path,
    check_only: bool,
) -> Result<(), Failure> {
    let mut table = read(registry, &entry.id)?;
    set(&mut table, name, value);
    let text = table.to_string();
    if !check_only {
        return replace(&registry.config(&entry.id), text.as_bytes());
    }
    let beside = registry.folder(&entry.id).join("node.new.toml");
    replace(&beside, text.as_bytes())?;
    let mut command = Command::new(program);
    let checked = command.args(["member", "--check-config", "--config"]).arg(&beside).output();
    // It was for the check only.
    let _ = fs::remove_file(&beside);
    let checked = checked.map_err(|error| {
        Failure::new(format!("cannot run {}", program.display()), error, "give --resproutd")
    })?;
    if checked.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&checked.stderr);
    let line = |start: &str| {
        let found = said.lines().find_map(|line| line.trim().strip_prefix(start));
        found.unwrap_or_default().trim().to_owned()
    };
    let what = format!("cannot set {name} of {} to '{value}'", entry.address());
    Err(Failure::new(what, line("why:"), line("fix:")).exiting(Exit::Usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a key is a setting by its name or its last part, with either line between words.
    #[test]
    fn keys_are_settings() {
        let is = |key: &str| setting(key);
        assert_eq!(is("maximum-memory").as_deref(), Some("memory.maximum"));
        assert_eq!(is("log.level").as_deref(), Some("log.level"));
        let timeout = Some("cluster.consensus_election_timeout");
        assert_eq!(is("consensus-election-timeout").as_deref(), timeout);
        assert_eq!(is("consensus_enabled"), None);
    }

    /// Promise: values go into their section, and others stay.
    #[test]
    fn a_value_goes_into_its_section() {
        let mut table: Table = "role = \"leaf\"\n[memory]\nmaximum = 5\n".parse().expect("TOML");
        set(&mut table, "memory.maximum", "1GiB");
        set(&mut table, "log.level", "debug");
        let text = table.to_string();
        assert!(text.contains("role = \"leaf\"") && text.contains("[log]"), "{text}");
        assert!(text.contains("maximum = \"1GiB\""), "{text}");
    }

    /// Promise: numbers are numbers in SET GLOBAL, and nothing else gets out of its quotes.
    #[test]
    fn values_are_quoted() {
        assert_eq!(set_global("a", "5"), "SET GLOBAL a = 5");
        assert_eq!(set_global("a", "x'; DROP"), "SET GLOBAL a = 'x''; DROP'");
    }
}
