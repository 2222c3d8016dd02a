//! `resproutd member`: a node of a cluster. An aggregator serves MySQL clients on its port, a leaf serves
//! aggregators on its own.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use resprout_cluster::{Address, Mode};
use resprout_engine::Engine;
use resprout_node::{Node, NodeKind, Options, StartError};
use resprout_query::{Limits, QueryEngine};
use resprout_replication::transport::Secret;
use resprout_sql::accounts::AccountOptions;
use resprout_sql::server::{Connections, Options as ServerOptions, Server};
use resprout_sql::session::SingleNode;
use resprout_tools::access::explain;
use resprout_tools::failure::{Exit, Failure};
use resprout_tools::node::config::{Settings, parse_path};
use resprout_tools::node::logging;
use resprout_tools::node::run::{self, bad_setting};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::http::{Http, Shown};
use crate::{certificate, door};

mod http;

/// Where an aggregator keeps what is of it alone: accounts, certificate.
const LOCAL_DIR: &str = "local";

/// Memory of the engine that an aggregator has for itself: it holds no rows of databases.
const LOCAL_MEMORY_BYTES: u64 = 64 << 20;
/// How long an aggregator that comes back waits for what was decided meanwhile, before it serves without.
const CATCH_UP: Duration = Duration::from_secs(5);

/// A node of a cluster: founds one, or waits to be added to one
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct MemberArgs {
    /// Settings, see docs/operating.md; flags are stronger
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where it listens for clients, as clients and other nodes reach it. Nodes meet on the port that is
    /// 10000 higher
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The address it listens on and connects from, if others reach it elsewhere, as behind a proxy; ports are those of --listen
    #[arg(long, value_name = "IP")]
    bind: Option<String>,
    /// Serve /livez /startupz /readyz /metrics /api/status here, for example 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// A file with the cluster's secret: at least 16 bytes, the same on all nodes
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// With an empty directory: begin a new cluster, as its first aggregator
    #[arg(long)]
    found: bool,
    /// Copies of each partition of the cluster that is founded
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=2))]
    redundancy: u32,
    /// Where the second copies of the cluster that is founded are: with one other leaf, or spread over those of the
    /// other availability group
    #[arg(long, value_name = "HOW", default_value = "paired", value_parser = ["paired", "load_balanced"])]
    leaf_failover_fanout: String,
    /// Another aggregator takes over when nothing was heard of the master aggregator for so long; the same on
    /// all nodes. Default: 10000
    #[arg(long, value_name = "MS")]
    consensus_election_timeout: Option<u64>,
    /// Most bytes of rows on a leaf. Default: 90 % of the machine's memory
    #[arg(long, value_name = "BYTES")]
    maximum_memory: Option<String>,
    /// End when standard input does: for whoever starts nodes that must not outlive it
    #[arg(long)]
    until_eof: bool,
    /// What is logged: error, warn, info, debug, or a filter. Default: info
    #[arg(long)]
    log_level: Option<String>,
    /// Check all settings, show where each comes from, and end
    #[arg(long)]
    check_config: bool,
}

impl MemberArgs {
    /// No flags: a node that founds nothing.
    pub(crate) fn that_joins(check_config: bool) -> Self {
        Self { check_config, ..Self::default() }
    }

    /// What file, environment and flags say.
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = run::read(self.config.as_deref())?;
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let timeout = self.consensus_election_timeout;
        let flags = [
            ("data", self.data.as_ref().map(text), "--data"),
            ("listen", self.listen.clone(), "--listen"),
            ("bind", self.bind.clone(), "--bind"),
            ("http", self.http.clone(), "--http"),
            ("cluster.secret_file", self.secret_file.as_ref().map(text), "--secret-file"),
            (
                "cluster.consensus_election_timeout",
                timeout.map(|ms| ms.to_string()),
                "--consensus-election-timeout",
            ),
            ("memory.maximum", self.maximum_memory.clone(), "--maximum-memory"),
            ("log.level", self.log_level.clone(), "--log-level"),
        ];
        for (name, value, origin) in flags {
            if let Some(value) = value {
                settings.set(name, value, origin);
            }
        }
        Ok(settings)
    }

    /// How copies are placed in the cluster that is founded, if one is.
    fn founds(&self) -> Option<Mode> {
        let mode = match (self.redundancy, &*self.leaf_failover_fanout) {
            (1, _) => Mode::Single,
            (_, "load_balanced") => Mode::LoadBalanced,
            _ => Mode::Paired,
        };
        self.found.then_some(mode)
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Why it does not start.
pub(crate) fn run(args: &MemberArgs) -> Result<Exit, Failure> {
    run_with(&args.settings()?, args)
}

/// The same with settings that were collected before; of the flags what is no setting.
///
/// # Errors
/// As [`run()`].
pub(crate) fn run_with(settings: &Settings, args: &MemberArgs) -> Result<Exit, Failure> {
    settings.check_kind(true).map_err(bad_setting)?;
    let mut options = options(settings)?;
    options.found = args.founds();
    let http = run::http(settings)?;
    let (format, level) = run::log(settings)?;
    if args.check_config {
        run::show(settings);
        return Ok(Exit::Done);
    }
    logging::start(format, level.as_deref().unwrap_or("info")).map_err(|error| {
        Failure::new("cannot start the log", error, "correct log.level").exiting(Exit::Usage)
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new("cannot start threads", error, "allow more"))?;
    let ended = runtime.block_on(serve(options, http, args.until_eof));
    // Its thread may still read.
    runtime.shutdown_background();
    ended
}

/// When standard input ends, if that is to be waited for.
async fn end_of_input(is_wanted: bool) {
    if !is_wanted {
        return std::future::pending().await;
    }
    let reading = tokio::task::spawn_blocking(|| {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())
    });
    // Whatever it was that ended it.
    drop(reading.await);
}

fn options(settings: &Settings) -> Result<Options, Failure> {
    let address = settings.read("listen", parse_address).map_err(bad_setting)?;
    let address = address.ok_or_else(|| {
        let why = "it was not said where the node listens";
        Failure::new("cannot start", why, "give --listen HOST:PORT").exiting(Exit::Usage)
    })?;
    let (data, secret) = (run::data(settings)?, secret(settings)?);
    let mut options = Options::new(data, address, secret);
    options.engine = run::engine(settings)?;
    let bind =
        |text: &str| text.parse().map_err(|_| "write an address, such as 10.0.0.21".to_owned());
    options.bind = settings.read("bind", bind).map_err(bad_setting)?;
    let role = |text: &str| match text {
        "leaf" => Ok(NodeKind::Leaf),
        "aggregator" => Ok(NodeKind::Aggregator),
        _ => Err("write leaf or aggregator".to_owned()),
    };
    options.kind = settings.read("role", role).map_err(bad_setting)?;
    let timeout = |text: &str| match text.parse() {
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) => Err("write milliseconds".to_owned()),
    };
    let timeout = settings.read("cluster.consensus_election_timeout", timeout);
    if let Some(timeout) = timeout.map_err(bad_setting)? {
        options.election_timeout = timeout;
    }
    Ok(options)
}

fn parse_address(text: &str) -> Result<Address, String> {
    let fix = || "write a host and a port, such as db1.example.net:3306".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(fix)?;
    let port = port.parse().map_err(|_| fix())?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() { Err(fix()) } else { Ok(Address { host, port }) }
}

/// What all nodes of the cluster know.
fn secret(settings: &Settings) -> Result<Secret, Failure> {
    let path = settings.read("cluster.secret_file", parse_path).map_err(bad_setting)?;
    let path = path.ok_or_else(|| {
        let why = "the file with the cluster's secret was not named";
        Failure::new("cannot start", why, "give --secret-file FILE").exiting(Exit::Usage)
    })?;
    let secret = std::fs::read(&path).map_err(|error| {
        let what = format!("cannot read {}", path.display());
        Failure::new(what, error, "give the file with the cluster's secret").exiting(Exit::Usage)
    })?;
    Secret::new(secret.trim_ascii()).map_err(|error| {
        Failure::new("cannot use the secret", error, "draw a longer one").exiting(Exit::Usage)
    })
}

fn not_started(error: &StartError) -> Failure {
    Failure::new("cannot start the node", error, "correct what is named, and start it again")
}

async fn serve(
    options: Options,
    http: Option<SocketAddr>,
    until_eof: bool,
) -> Result<Exit, Failure> {
    let cannot = |error| Failure::new("cannot listen for signals", error, "try again");
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let input = end_of_input(until_eof);
    tokio::pin!(input);
    let shown = Arc::new(Shown::new(&options));
    let http = match http {
        Some(address) => Some(Http::open(address, shown.clone()).await?),
        None => None,
    };
    let (dir, listen) = (options.data().to_owned(), options.address.clone());
    let listens = options.listens();
    let node = tokio::select! {
        started = Node::start(options) => started.map_err(|error| not_started(&error))?,
        _ = terminate.recv() => return Ok(Exit::Done),
        _ = interrupt.recv() => return Ok(Exit::Done),
        () = &mut input => return Ok(Exit::Done),
    };
    tracing::info!(event = "member.started", node = node.id().0, kind = ?node.kind(), %listen, "node {} serves", node.id().0);
    if node.kind() == NodeKind::Aggregator {
        // Clients are not told of a database that was made meanwhile that there is none.
        let is_ended = tokio::select! {
            caught_up = node.catch_up(CATCH_UP) => {
                if !caught_up {
                    tracing::warn!("no majority of aggregators answers: it serves by what it knew when it ended");
                }
                false
            }
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            () = &mut input => true,
        };
        if is_ended {
            node.stop().await;
            return Ok(Exit::Done);
        }
    }
    let door = match node.kind() {
        NodeKind::Aggregator => Some(Door::open(&node, &listens, &dir).await?),
        NodeKind::Leaf => None,
    };
    shown.serves(&node);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = &mut input => {}
    }
    tracing::info!(event = "member.stopping", "stopping");
    shown.stops();
    if let Some(door) = door {
        door.close().await;
    }
    node.stop().await;
    if let Some(http) = http {
        http.close().await;
    }
    Ok(Exit::Done)
}

/// An aggregator's port for MySQL clients.
struct Door {
    stop: watch::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    engine: Engine,
}

impl Door {
    async fn open(node: &Node, address: &Address, dir: &Path) -> Result<Self, Failure> {
        let resolved = (address.host.as_str(), address.port).to_socket_addrs();
        let resolved = resolved.ok().and_then(|mut all| all.next());
        let cannot = |why: &dyn std::fmt::Display| {
            Failure::new(format!("cannot serve SQL on {address}"), why, "choose another --listen")
        };
        let resolved = resolved.ok_or_else(|| cannot(&"the name is not known"))?;
        let listener = TcpListener::bind(resolved).await.map_err(|error| cannot(&error))?;
        let local = dir.join(LOCAL_DIR);
        let options = resprout_engine::Options {
            maximum_memory: LOCAL_MEMORY_BYTES,
            ..resprout_engine::Options::default()
        };
        let opened = tokio::task::spawn_blocking(move || Engine::open(local, options)).await;
        let engine = opened
            .map_err(|error| cannot(&error))?
            .map_err(|error| explain("cannot open what is of this aggregator alone", &error))?;
        let connections = Connections::new();
        let root_password = door::root_password()?;
        let accounts = AccountOptions { root_password, ..AccountOptions::default() };
        let sessions = SingleNode::new(engine.clone(), connections.clone(), &accounts);
        let sessions = sessions.map_err(|error| {
            let fix = "put a copy of the file back, or move it away";
            Failure::new("cannot read the accounts", error, fix)
        })?;
        let queries = QueryEngine::new(Limits::default())
            .map_err(|error| Failure::new("cannot start queries", error, "allow more threads"))?;
        let (directory, access) = node.statements();
        let sessions = sessions.in_cluster(directory, access).with_queries(Arc::new(queries));
        let tls = certificate::own(engine.dir())?;
        let server = Server::new(sessions, ServerOptions::default(), Some(tls), connections);
        let server = server.map_err(|error| cannot(&error))?;
        let (stop, mut stopped) = watch::channel(());
        let task = tokio::spawn(async move {
            // The sender says nothing: it is dropped.
            let stop = async move { drop(stopped.changed().await) };
            server.serve(listener, stop).await;
        });
        tracing::info!(event = "sql.listening", "sql on {resolved}");
        Ok(Self { stop, task, engine })
    }

    async fn close(self) {
        let Self { stop, task, engine } = self;
        drop(stop);
        if let Err(error) = task.await {
            tracing::error!(%error, "the task that serves SQL failed");
        }
        if let Err(error) = engine.close() {
            tracing::warn!(%error, "what is of this aggregator alone was not closed in order");
        }
    }
}
