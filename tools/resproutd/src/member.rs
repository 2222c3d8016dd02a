//! `resproutd member`: a node of a cluster. An aggregator serves MySQL clients on its port, a leaf serves
//! aggregators on its own.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use resprout_engine::Engine;
use resprout_node::{Node, NodeKind, Options, StartError};
use resprout_query::{Limits, QueryEngine};
use resprout_sql::accounts::AccountOptions;
use resprout_sql::server::{Connections, Options as ServerOptions, Server};
use resprout_sql::session::SingleNode;
use resprout_tools::access::explain;
use resprout_tools::failure::{Exit, Failure};
use resprout_tools::node::logging::{self, Format};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::{certificate, door};

/// Where an aggregator keeps what is of it alone: accounts, certificate.
const LOCAL_DIR: &str = "local";

/// Memory of the engine that an aggregator has for itself: it holds no rows of databases.
const LOCAL_MEMORY_BYTES: u64 = 64 << 20;

/// A node of a cluster: founds one, or waits to be added to one
#[derive(Args, Clone, Debug)]
pub(crate) struct MemberArgs {
    /// Data directory; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where it listens for clients, as clients and other nodes reach it. Nodes meet on the port that is
    /// 10000 higher
    #[arg(long, value_name = "HOST:PORT")]
    listen: String,
    /// A file with the cluster's secret: at least 16 bytes, the same on all nodes
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// With an empty directory: begin a new cluster, as its first aggregator
    #[arg(long)]
    found: bool,
    /// Copies of each partition of the cluster that is founded
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=2))]
    redundancy: u32,
    /// Another aggregator takes over when nothing was heard of the master aggregator for so long; the same on
    /// all nodes
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    consensus_election_timeout: u64,
    /// Most bytes of rows on a leaf. Default: 90 % of the machine's memory
    #[arg(long, value_name = "BYTES")]
    maximum_memory: Option<u64>,
    /// End when standard input does: for whoever starts nodes that must not outlive it
    #[arg(long)]
    until_eof: bool,
    /// What is logged: error, warn, info, debug, or a filter
    #[arg(long, default_value = "info")]
    log_level: String,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Why it does not start.
pub(crate) fn run(args: &MemberArgs) -> Result<Exit, Failure> {
    logging::start(Format::Auto, &args.log_level).map_err(|error| {
        Failure::new("cannot start the log", error, "correct --log-level").exiting(Exit::Usage)
    })?;
    let options = options(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new("cannot start threads", error, "allow more"))?;
    let ended = runtime.block_on(serve(options, args.until_eof));
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

fn options(args: &MemberArgs) -> Result<Options, Failure> {
    use resprout_cluster::{Address, Mode};
    let usage =
        |what: &str, why: String, fix: &str| Err(Failure::new(what, why, fix).exiting(Exit::Usage));
    let fix = "write --listen db1.example.net:3306";
    let Some((host, port)) = args.listen.rsplit_once(':') else {
        return usage("cannot use --listen", format!("'{}' has no port", args.listen), fix);
    };
    let Ok(port) = port.parse() else {
        return usage("cannot use --listen", format!("'{port}' is no port"), fix);
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let secret = std::fs::read(&args.secret_file).map_err(|error| {
        let what = format!("cannot read {}", args.secret_file.display());
        Failure::new(what, error, "give the file with the cluster's secret").exiting(Exit::Usage)
    })?;
    let secret = secret.trim_ascii();
    let secret = match resprout_replication::transport::Secret::new(secret) {
        Ok(secret) => secret,
        Err(error) => {
            return usage("cannot use the secret", error.to_string(), "draw a longer one");
        }
    };
    let mut options = Options::new(&args.data, Address { host, port }, secret);
    let mode = if args.redundancy == 2 { Mode::Paired } else { Mode::Single };
    options.found = args.found.then_some(mode);
    options.election_timeout = Duration::from_millis(args.consensus_election_timeout);
    if let Some(bytes) = args.maximum_memory {
        options.engine.maximum_memory = bytes;
    }
    Ok(options)
}

fn not_started(error: &StartError) -> Failure {
    Failure::new("cannot start the node", error, "correct what is named, and start it again")
}

async fn serve(options: Options, until_eof: bool) -> Result<Exit, Failure> {
    let cannot = |error| Failure::new("cannot listen for signals", error, "try again");
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let input = end_of_input(until_eof);
    tokio::pin!(input);
    let (dir, listen) = (options.data().to_owned(), options.address.clone());
    let node = tokio::select! {
        started = Node::start(options) => started.map_err(|error| not_started(&error))?,
        _ = terminate.recv() => return Ok(Exit::Done),
        _ = interrupt.recv() => return Ok(Exit::Done),
        () = &mut input => return Ok(Exit::Done),
    };
    tracing::info!(event = "member.started", node = node.id().0, kind = ?node.kind(), %listen, "node {} serves", node.id().0);
    let door = match node.kind() {
        NodeKind::Aggregator => Some(Door::open(&node, &dir).await?),
        NodeKind::Leaf => None,
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = &mut input => {}
    }
    tracing::info!(event = "member.stopping", "stopping");
    if let Some(door) = door {
        door.close().await;
    }
    node.stop().await;
    Ok(Exit::Done)
}

/// An aggregator's port for MySQL clients.
struct Door {
    stop: watch::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    engine: Engine,
}

impl Door {
    async fn open(node: &Node, dir: &Path) -> Result<Self, Failure> {
        let address = node.address();
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
