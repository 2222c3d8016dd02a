//! `setup-cluster` and `destroy-cluster`.
//!
//! ```text
//!  file ─► plan ─► ports, program ─► state directory ─► the first founds ─► an account for this command
//!                                                        the others wait ─► ADD … ─► variables, root ─► all online
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::create::{self, Place};
use super::file::{self, Plan, Planned};
use super::master::{ACCOUNT, Client, quoted};
use super::registry::{Registry, Role};
use super::settings::set_global;
use super::{StateArgs, confirm, list, look, process, table};
use crate::failure::{Exit, Failure};
use crate::output;

/// A step is done by then.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// What is said while a node does not listen yet.
const NOT_YET: &str = "is a node started there";

/// Starts a cluster
#[derive(Args, Clone, Debug)]
pub struct SetupArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The cluster file, see docs/operating.md
    #[arg(long, value_name = "FILE")]
    cluster_file: PathBuf,
    /// Take what can be done and is hardly wanted
    #[arg(long)]
    force: bool,
    /// Show which nodes there would be, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Nothing is asked; accepted for scripts
    #[arg(short, long)]
    yes: bool,
    /// The nodes' program. Default: resproutd beside this one
    #[arg(long, value_name = "PATH")]
    resproutd: Option<PathBuf>,
}

/// Ends a cluster
#[derive(Args, Clone, Debug)]
pub struct DestroyArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Starts a cluster from a file.
///
/// # Errors
/// What is wrong with the file, or why a node does not start.
pub(super) fn setup(args: &SetupArgs) -> Result<Exit, Failure> {
    let path = &args.cluster_file;
    let text = fs::read_to_string(path).map_err(|error| {
        let what = format!("cannot read {}", path.display());
        Failure::new(what, error, "check the path of --cluster-file").exiting(Exit::Usage)
    })?;
    let plan = file::read(&path.display().to_string(), &text, args.force)?;
    for warning in &plan.warnings {
        output::talk(format_args!("warning: {warning}"));
    }
    if args.dry_run {
        show(&plan);
        output::talk("nothing was changed");
        return Ok(Exit::Done);
    }
    let program = process::program(args.resproutd.as_deref())?;
    let mut registry = Registry::create(&args.state.dir())?;
    build(&mut registry, &plan, &program).inspect_err(|_| {
        let dir = registry.dir().display();
        output::talk(format_args!(
            "what was started stays for a look: resprout destroy-cluster -y --state-dir {dir} ends and removes it"
        ));
    })?;
    list::print(&look::all(&registry));
    let first = &registry.nodes[0];
    output::talk(format_args!("SQL: mysql -h {} -P {} -u root", first.host, first.port));
    Ok(Exit::Done)
}

fn show(plan: &Plan) {
    let rows = plan.nodes.iter().map(|node| {
        let role = match node.role {
            _ if node.founds => "Master",
            Role::Aggregator if node.votes => "Voting Member",
            Role::Aggregator => "Aggregator",
            Role::Leaf => "Leaf",
        };
        let group = node.group.map_or_else(|| "-".to_owned(), |group| group.to_string());
        vec![
            role.to_owned(),
            node.host.clone(),
            node.port.to_string(),
            node.http_port.to_string(),
            group,
        ]
    });
    let titles = ["Role", "Host", "Port", "HTTP Port", "Availability Group"];
    table(&titles, &rows.collect::<Vec<_>>());
    output::line(format_args!("redundancy {}", plan.redundancy));
}

fn build(registry: &mut Registry, plan: &Plan, program: &Path) -> Result<(), Failure> {
    for node in &plan.nodes {
        let place =
            Place { role: node.role, host: &node.host, port: node.port, http_port: node.http_port };
        let more = (node.memory.as_deref(), plan.election_timeout);
        let at = create::make(registry, &place, node.data.as_deref().map(Path::new), more)?;
        let how = if node.founds { founding(plan) } else { Vec::new() };
        create::run(registry, at, program, &how)?;
        output::talk(format_args!("{} runs", node.address()));
    }
    let mut client = first_client(registry)?;
    for node in &plan.nodes[1..] {
        add(&mut client, node)?;
        output::talk(format_args!("{} is part of the cluster", node.address()));
    }
    variables(registry, plan)?;
    if let Some(password) = &plan.password {
        let password = quoted(password);
        client.run(&format!("ALTER USER root@localhost IDENTIFIED BY {password}"))?;
    }
    until_online(&mut client, registry)
}

fn founding(plan: &Plan) -> Vec<String> {
    let mut flags = vec!["--found".to_owned(), "--redundancy".to_owned()];
    flags.push(plan.redundancy.to_string());
    if plan.is_load_balanced {
        flags.extend(["--leaf-failover-fanout".to_owned(), "load_balanced".to_owned()]);
    }
    flags
}

/// Comes in as root, which has no password yet, makes the account of this command, and comes in with that.
fn first_client(registry: &Registry) -> Result<Client, Failure> {
    let address = registry.nodes[0].address();
    let mut root =
        again(|| Client::connect(&address, "root", None), |f| f.exit == Exit::Unreachable)?;
    let password = registry.password()?;
    let secret = quoted(&password);
    again(
        || {
            root.run(&format!(
                "CREATE USER IF NOT EXISTS {ACCOUNT}@localhost IDENTIFIED WITH mysql_native_password BY {secret}"
            ))
        },
        // It is still taking office.
        |failure| failure.exit == Exit::Failed,
    )?;
    root.run(&format!("GRANT ALL PRIVILEGES ON *.* TO {ACCOUNT}@localhost WITH GRANT OPTION"))?;
    Client::connect(&address, ACCOUNT, Some(&password))
}

/// Does something again while it fails for a reason that passes.
fn again<T>(
    mut what: impl FnMut() -> Result<T, Failure>,
    passes: impl Fn(&Failure) -> bool,
) -> Result<T, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        match what() {
            Err(failure) if passes(&failure) && Instant::now() < end => {
                std::thread::sleep(AGAIN_AFTER);
            }
            done => return done,
        }
    }
}

fn add(client: &mut Client, node: &Planned) -> Result<(), Failure> {
    let mut statement = match node.role {
        Role::Leaf => format!("ADD LEAF root@{}:{}", quoted(&node.host), node.port),
        Role::Aggregator => format!("ADD AGGREGATOR root@{}:{}", quoted(&node.host), node.port),
    };
    if node.votes {
        statement.push_str(" AS VOTING MEMBER");
    }
    if let Some(group) = node.group {
        statement.push_str(&format!(" INTO GROUP {group}"));
    }
    again(|| client.run(&statement), |failure| failure.why.contains(NOT_YET))
}

/// Variables hold for the node where they are set.
fn variables(registry: &Registry, plan: &Plan) -> Result<(), Failure> {
    if plan.variables.is_empty() {
        return Ok(());
    }
    let password = registry.password()?;
    for node in registry.nodes.iter().filter(|node| node.role == Role::Aggregator) {
        let come_in = || Client::connect(&node.address(), ACCOUNT, Some(&password));
        // It may not know the account yet.
        let mut client = again(come_in, |failure| failure.exit == Exit::Unreachable)?;
        for (name, value) in &plan.variables {
            client.run(&set_global(name, value))?;
        }
    }
    Ok(())
}

/// Waits until the cluster takes all nodes for online, and they are.
fn until_online(client: &mut Client, registry: &Registry) -> Result<(), Failure> {
    let (end, nodes) = (Instant::now() + PATIENCE, registry.nodes.len());
    loop {
        let asked = "SELECT state FROM information_schema.leaves UNION ALL \
                     SELECT state FROM information_schema.aggregators";
        let states = client.query(asked)?;
        let known = states.iter().filter(|row| row[0].as_deref() == Some("online")).count();
        let seen = look::all(registry);
        let ready =
            seen.iter().filter(|node| node.is_open && node.state() == Some("ONLINE")).count();
        if known == nodes && ready == nodes {
            return Ok(());
        }
        if Instant::now() > end {
            let why = format!(
                "of {nodes} nodes the cluster takes {known} for online, and {ready} are, after {PATIENCE:?}"
            );
            let fix = "see status and the logs of the nodes";
            return Err(Failure::new("the cluster is not whole", why, fix).exiting(Exit::Late));
        }
        std::thread::sleep(AGAIN_AFTER);
    }
}

/// Ends all nodes and removes what they have.
///
/// # Errors
/// If one does not end, or something cannot be removed.
pub(super) fn destroy(args: &DestroyArgs) -> Result<Exit, Failure> {
    let mut registry = Registry::change(&args.state.dir())?;
    let count = registry.nodes.len();
    let dir = registry.dir().to_owned();
    confirm(
        args.yes,
        &format!("{count} nodes of {} will be ended, and their data removed", dir.display()),
    )?;
    let running = (0..count)
        .filter(|at| registry.nodes[*at].process.is_some_and(super::registry::Process::runs));
    let running = running.collect();
    create::stop_all(&mut registry, running, true)?;
    while let Some(entry) = registry.nodes.last() {
        create::remove(&registry, entry)?;
        registry.nodes.pop();
        registry.save()?;
    }
    for name in ["secret", "password", "nodes.json", "lock"] {
        // What is left says nothing any more.
        let _ = fs::remove_file(dir.join(name));
    }
    for path in [dir.join("nodes"), dir.clone()] {
        // Only if nothing of somebody else is in it.
        let _ = fs::remove_dir(path);
    }
    output::talk(format_args!("{count} nodes are gone"));
    Ok(Exit::Done)
}
