//! Making, starting, stopping and removing nodes of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::process::{self, Ending};
use super::registry::{Entry, Registry, Role};
use super::{NODE_PORT_ABOVE, StateArgs, confirm, file, look, settings};
use crate::failure::{Exit, Failure};
use crate::output;

/// A node that was started listens by then.
const STARTING: Duration = Duration::from_secs(60);
/// A node that is told to stop has ended by then.
const STOPPING: Duration = Duration::from_secs(120);
/// Between two looks.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Which nodes.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Chosen {
    /// The node whose id begins so; may be given several times
    #[arg(long, alias = "memsql-id", value_name = "ID")]
    pub(super) id: Vec<String>,
    /// All nodes
    #[arg(long)]
    pub(super) all: bool,
}

/// Starts nodes
#[derive(Args, Clone, Debug)]
pub struct ChosenArgs {
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    chosen: Chosen,
    /// The nodes' program. Default: resproutd beside this one
    #[arg(long, value_name = "PATH")]
    resproutd: Option<PathBuf>,
}

/// Stops nodes
#[derive(Args, Clone, Debug)]
pub struct StopArgs {
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    chosen: Chosen,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// End them at once, as a crash would
    #[arg(long)]
    kill: bool,
    /// The nodes' program, for a restart. Default: resproutd beside this one
    #[arg(long, value_name = "PATH")]
    resproutd: Option<PathBuf>,
}

/// Removes a node
#[derive(Args, Clone, Debug)]
pub struct DeleteArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The node whose id begins so
    #[arg(long, alias = "memsql-id", value_name = "ID")]
    id: String,
    /// Stop it first if it runs
    #[arg(long)]
    stop: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// The role of a node that is made.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleChoice {
    /// It routes, and may decide.
    Aggregator,
    /// It has copies.
    Leaf,
}

/// Makes a node
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    #[command(flatten)]
    state: StateArgs,
    /// What it is for
    #[arg(long)]
    role: RoleChoice,
    /// Where it listens: an address of this machine
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port for clients; nodes meet on the port that is 10000 higher
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=55535))]
    port: u16,
    /// Port for probes, metrics and status. Default: 20000 above --port
    #[arg(long)]
    http_port: Option<u16>,
    /// Its data directory. Default: in the state directory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Most memory of rows: a size such as 48GiB, or a share of this machine's such as 40%
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,
    /// The nodes' program. Default: resproutd beside this one
    #[arg(long, value_name = "PATH")]
    resproutd: Option<PathBuf>,
    /// Print the new node's id and nothing else
    #[arg(short, long)]
    quiet: bool,
}

/// Makes a node and starts it.
///
/// # Errors
/// If its ports are taken, or it does not start.
pub(super) fn create(args: &CreateArgs) -> Result<Exit, Failure> {
    let mut registry = Registry::change(&args.state.dir())?;
    let program = process::program(args.resproutd.as_deref())?;
    let usage = |why: String, fix: &str| {
        Err(Failure::new("cannot make that node", why, fix).exiting(Exit::Usage))
    };
    if !file::is_here(&args.host) {
        return usage(format!("{} is no address of this machine", args.host), "give one that is");
    }
    let http_port = args.http_port.or_else(|| args.port.checked_add(file::HTTP_PORT_ABOVE));
    let Some(http_port) = http_port else {
        return usage(format!("{} leaves no port for HTTP", args.port), "give --http-port");
    };
    let role = match args.role {
        RoleChoice::Aggregator => Role::Aggregator,
        RoleChoice::Leaf => Role::Leaf,
    };
    let place = Place { role, host: &args.host, port: args.port, http_port };
    let data = args.data.as_deref();
    // As the others have it: aggregators that wait differently take over from each other too early.
    let timeout = registry.nodes.first().map(|node| settings::timeout(&registry, &node.id));
    let timeout = timeout.transpose()?.flatten();
    let at = make(&mut registry, &place, data, (args.memory.as_deref(), timeout))?;
    run(&mut registry, at, &program, &[])?;
    let entry = &registry.nodes[at];
    output::line(&entry.id);
    if !args.quiet {
        let (kind, id) = (entry.role.word(), entry.short());
        output::talk(format_args!(
            "the {kind} on {} runs and waits: resprout add-{kind} --id {id}",
            entry.address()
        ));
    }
    Ok(Exit::Done)
}

/// Where a node is to be.
pub(super) struct Place<'a> {
    pub(super) role: Role,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) http_port: u16,
}

/// Enters a node and writes its settings; where it is in the list.
///
/// # Errors
/// If a port is taken, or nothing can be written.
pub(super) fn make(
    registry: &mut Registry,
    place: &Place<'_>,
    data: Option<&Path>,
    (memory, timeout): (Option<&str>, Option<u64>),
) -> Result<usize, Failure> {
    let Place { role, host, port, http_port } = *place;
    if let Some(data) = data.filter(|data| has_something(data)) {
        let what = format!("cannot use {} for a new node", data.display());
        let why = "something is in it";
        return Err(Failure::new(what, why, "give an empty directory").exiting(Exit::Refused));
    }
    for taken in [port, port.saturating_add(NODE_PORT_ABOVE), http_port] {
        if let Err(error) = std::net::TcpListener::bind((host, taken)) {
            let what = format!("cannot use port {taken} of {host}");
            let fix = "end what uses it, or choose another port";
            return Err(Failure::new(what, error, fix).exiting(Exit::Refused));
        }
    }
    let id = registry.new_id()?;
    let folder = registry.folder(&id);
    let cannot = |error| {
        Failure::new(format!("cannot make {}", folder.display()), error, "check --state-dir")
    };
    fs::create_dir_all(&folder).map_err(cannot)?;
    let data = match data {
        Some(data) => std::path::absolute(data).map_err(cannot)?,
        None => folder.join("data"),
    };
    let host = host.to_owned();
    let entry = Entry { id, role, host, port, http_port, data, process: None };
    settings::write(registry, &entry, memory, timeout)?;
    registry.nodes.push(entry);
    registry.save()?;
    Ok(registry.nodes.len() - 1)
}

/// Starts a node and waits until it answers.
///
/// # Errors
/// If it ends again, or does not answer in time.
pub(super) fn run(
    registry: &mut Registry,
    at: usize,
    program: &Path,
    more: &[String],
) -> Result<(), Failure> {
    let id = registry.nodes[at].id.clone();
    let log = registry.log(&id);
    let process = process::start(program, &registry.config(&id), &log, more)?;
    registry.nodes[at].process = Some(process);
    registry.save()?;
    let end = Instant::now() + STARTING;
    let what = || format!("cannot start the node on {}", registry.nodes[at].address());
    let see = || format!("see {}", log.display());
    while look::one(&registry.nodes[at]).status.is_none() {
        if !process.runs() {
            return Err(Failure::new(what(), process::last_lines(&log), see()));
        }
        if Instant::now() > end {
            let why = format!("it does not answer after {STARTING:?}");
            return Err(Failure::new(what(), why, see()).exiting(Exit::Late));
        }
        std::thread::sleep(AGAIN_AFTER);
    }
    Ok(())
}

/// Where the chosen nodes are in the list.
///
/// # Errors
/// If one is not there.
pub(super) fn chosen(registry: &Registry, chosen: &Chosen) -> Result<Vec<usize>, Failure> {
    if chosen.all {
        return Ok((0..registry.nodes.len()).collect());
    }
    let mut found = Vec::new();
    for id in &chosen.id {
        let at = registry.find(id)?;
        if !found.contains(&at) {
            found.push(at);
        }
    }
    Ok(found)
}

/// Starts nodes, leaves first.
///
/// # Errors
/// If one does not start.
pub(super) fn start(args: &ChosenArgs) -> Result<Exit, Failure> {
    let mut registry = Registry::change(&args.state.dir())?;
    let program = process::program(args.resproutd.as_deref())?;
    let chosen = chosen(&registry, &args.chosen)?;
    start_all(&mut registry, chosen, &program)
}

fn start_all(
    registry: &mut Registry,
    mut chosen: Vec<usize>,
    program: &Path,
) -> Result<Exit, Failure> {
    chosen.sort_by_key(|at| registry.nodes[*at].role != Role::Leaf);
    for at in chosen {
        let address = registry.nodes[at].address();
        if registry.nodes[at].process.is_some_and(super::registry::Process::runs) {
            output::talk(format_args!("{address} runs already"));
            continue;
        }
        run(registry, at, program, &[])?;
        output::talk(format_args!("{address} runs"));
    }
    Ok(Exit::Done)
}

/// Stops nodes, the master aggregator first.
///
/// # Errors
/// If one does not end.
pub(super) fn stop(args: &StopArgs) -> Result<Exit, Failure> {
    let mut registry = Registry::change(&args.state.dir())?;
    let chosen = chosen(&registry, &args.chosen)?;
    confirm(args.yes, &format!("{} nodes will be stopped", chosen.len()))?;
    stop_all(&mut registry, chosen, args.kill)?;
    Ok(Exit::Done)
}

/// Stops nodes and starts them again.
///
/// # Errors
/// If one does not end or start.
pub(super) fn restart(args: &StopArgs) -> Result<Exit, Failure> {
    let mut registry = Registry::change(&args.state.dir())?;
    let program = process::program(args.resproutd.as_deref())?;
    let chosen = chosen(&registry, &args.chosen)?;
    confirm(args.yes, &format!("{} nodes will be restarted", chosen.len()))?;
    stop_all(&mut registry, chosen.clone(), args.kill)?;
    start_all(&mut registry, chosen, &program)
}

/// Ends nodes: the master aggregator first, so that it takes no loss of the others for one; leaves last.
///
/// # Errors
/// If one does not end.
pub(super) fn stop_all(
    registry: &mut Registry,
    mut chosen: Vec<usize>,
    kill: bool,
) -> Result<(), Failure> {
    let how = if kill { Ending::Kill } else { Ending::Stop };
    let seen = if kill { Vec::new() } else { look::all(registry) };
    let is_master = |at: usize| seen.get(at).is_some_and(look::Seen::is_master);
    chosen.sort_by_key(|at| (!is_master(*at), registry.nodes[*at].role == Role::Leaf));
    for at in chosen {
        let address = registry.nodes[at].address();
        match registry.nodes[at].process {
            Some(process) if process.runs() => process.end(how, STOPPING)?,
            _ => output::talk(format_args!("{address} did not run")),
        }
        registry.nodes[at].process = None;
        registry.save()?;
    }
    Ok(())
}

/// Removes a node and its data.
///
/// # Errors
/// If it runs, or is part of the cluster.
pub(super) fn delete(args: &DeleteArgs) -> Result<Exit, Failure> {
    let mut registry = Registry::change(&args.state.dir())?;
    let at = registry.find(&args.id)?;
    let address = registry.nodes[at].address();
    let refused = |why: &str, fix: String| {
        let what = format!("cannot remove the node on {address}");
        Err(Failure::new(what, why, fix).exiting(Exit::Refused))
    };
    let seen = look::one(&registry.nodes[at]);
    let id = registry.nodes[at].short();
    if seen.runs && !args.stop {
        return refused("it runs", format!("resprout stop-node --id {id}, or --stop"));
    }
    confirm(args.yes, &format!("the node on {address} and its data will be removed"))?;
    stop_all(&mut registry, vec![at], false)?;
    remove(&registry, &registry.nodes[at])?;
    registry.nodes.remove(at);
    registry.save()?;
    Ok(Exit::Done)
}

/// What a node makes in its data directory.
const MADE: [&str; 5] = ["member", "member.tmp", "metadata", "rows", "local"];

/// Removes what a node has on this machine, and nothing of anybody else's.
///
/// # Errors
/// What the system says.
pub(super) fn remove(registry: &Registry, entry: &Entry) -> Result<(), Failure> {
    for name in MADE {
        gone(&entry.data.join(name))?;
    }
    // Only if nothing else is in it.
    let _ = fs::remove_dir(&entry.data);
    gone(&registry.folder(&entry.id))
}

fn gone(path: &Path) -> Result<(), Failure> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let what = format!("cannot remove {}", path.display());
            Err(Failure::new(what, error, "remove it by hand"))
        }
        _ => Ok(()),
    }
}

/// Whether something is in a directory.
fn has_something(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: what is of a node goes with it, and what somebody else has beside it stays.
    #[test]
    fn only_what_is_of_the_node_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let registry = Registry::create(&dir.path().join("state")).expect("made");
        let data = dir.path().join("data");
        let entry = Entry {
            id: "ab12".into(),
            role: Role::Leaf,
            host: "127.0.0.1".into(),
            port: 1,
            http_port: 2,
            data: data.clone(),
            process: None,
        };
        fs::create_dir_all(registry.folder("ab12")).expect("made");
        fs::create_dir_all(data.join("rows")).expect("made");
        fs::write(data.join("rows/wal.arena"), "x").expect("written");
        fs::write(data.join("member"), "x").expect("written");
        fs::write(data.join("letters"), "of somebody").expect("written");
        remove(&registry, &entry).expect("removed");
        assert!(data.join("letters").is_file() && !data.join("rows").exists());
        assert!(!data.join("member").exists() && !registry.folder("ab12").exists());
        let place = Place { role: Role::Leaf, host: "127.0.0.1", port: 0, http_port: 0 };
        let mut registry = registry;
        let refused = make(&mut registry, &place, Some(&data), (None, None));
        assert_eq!(refused.expect_err("something is in it").exit, Exit::Refused);
    }
}
