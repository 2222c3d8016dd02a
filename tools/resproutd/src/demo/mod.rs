//! `resproutd demo`: a database with sample data for whoever wants to look, and for scripts that
//! need one.
//!
//! ```text
//!  node ─► recovered ─► sample data, if there is none ─► said to be ready ─► shell, or a signal
//! ```

mod cluster;
mod network;
mod orders;
mod processes;
mod ready;
mod sample;
mod shell;
mod table;
mod writer;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use mysql_async::{Conn, OptsBuilder};
use resprout_engine::Engine;
use resprout_tools::failure::{Exit, Failure};
use resprout_tools::node::config::Settings;
use resprout_tools::node::door::FrontDoor;
use resprout_tools::node::run::{self, NodeArgs};
use tokio::sync::Notify;

use crate::door::Door;

/// The database that is made.
const DATABASE: &str = "demo";

/// A database with sample data on this machine
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Port for MySQL clients; 0 takes a free one. Default: 3306, or the next that is free
    #[arg(long)]
    port: Option<u16>,
    /// Keep the data here; without, it is temporary
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Serve probes, metrics and status here, for example 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// Partitions of the sample database
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// Rows of the largest sample table
    #[arg(long, default_value_t = 200_000)]
    rows: u32,
    /// A cluster with so many leaves, each node a process of its own; without, one node
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16), conflicts_with_all = ["json", "ready_fd", "http"])]
    leaves: Option<u32>,
    /// Aggregators of the cluster, all of which vote
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=7))]
    voters: u32,
    /// Copies of each partition of the cluster
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=2))]
    redundancy: u32,
    /// Carry out these orders of the prompt of a cluster, separated by `;`, and end: it fails if an acknowledged row is lost
    #[arg(long, value_name = "ORDERS", requires = "leaves", conflicts_with = "no_shell")]
    run: Option<String>,
    /// No prompt: run until a signal
    #[arg(long)]
    no_shell: bool,
    /// When ready, write one line of JSON to this open file descriptor, and close it
    #[arg(long, value_name = "FD")]
    ready_fd: Option<u32>,
    /// When ready, write one line of JSON to stdout instead of text; no prompt
    #[arg(long)]
    json: bool,
}

/// Runs until the shell ends or a signal comes.
///
/// # Errors
/// As of a node; or why there is no sample data.
pub(crate) fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    let mut temporary = None;
    let data = match &args.data {
        Some(data) => data.clone(),
        None => {
            let made = tempfile::Builder::new().prefix("resprout-demo-").tempdir();
            let made = made.map_err(|error| {
                let what = "cannot make a temporary directory";
                Failure::new(what, error, "set TMPDIR, or give a directory with --data")
            })?;
            temporary.insert(made).path().join("data")
        }
    };
    if args.leaves.is_some() {
        let outcome = cluster::run(args, &data);
        drop(temporary);
        return outcome;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port.unwrap_or(3306)));
    let node = NodeArgs {
        data: Some(data.clone()),
        sql: Some(address.to_string()),
        http: args.http.clone(),
        log_level: Some("warn".into()),
        ..NodeArgs::default()
    };
    let door = if args.port.is_some() { Door::default() } else { Door::that_may_move() };
    let failure = Arc::default();
    let demo = Demo {
        args: args.clone(),
        data,
        door,
        ended: Arc::default(),
        failure: Arc::clone(&failure),
    };
    let outcome = run::run(&node, demo)?;
    drop(temporary);
    let failed = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failed.map_or(Ok(outcome), Err)
}

/// The door of a node that shows itself.
struct Demo {
    args: DemoArgs,
    data: PathBuf,
    door: Door,
    ended: Arc<Notify>,
    /// Why it ended, if not because somebody wanted it to.
    failure: Arc<Mutex<Option<Failure>>>,
}

impl FrontDoor for Demo {
    fn configure(&mut self, settings: &Settings) -> Result<(), Failure> {
        self.door.configure(settings)
    }

    async fn bind(&self) -> Result<(), Failure> {
        self.door.bind().await
    }

    fn open(&self, engine: &Engine) -> Result<(), Failure> {
        self.door.open(engine)
    }

    fn recovered(&self) -> Result<(), Failure> {
        self.door.recovered()?;
        let Some(address) = self.door.bound() else { return Ok(()) };
        let (args, data) = (self.args.clone(), self.data.clone());
        let (ended, failure) = (Arc::clone(&self.ended), Arc::clone(&self.failure));
        tokio::spawn(async move {
            match show(&args, data, address).await {
                // A signal ends it.
                Ok(Next::Wait) => return,
                Ok(Next::End) => {}
                Err(error) => *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
            }
            ended.notify_one();
        });
        Ok(())
    }

    async fn wants_end(&self) {
        self.ended.notified().await;
    }

    async fn close(&self) {
        self.door.close().await;
    }
}

enum Next {
    Wait,
    End,
}

/// Sample data, what to do with it, and the shell.
async fn show(args: &DemoArgs, data: PathBuf, address: SocketAddr) -> Result<Next, Failure> {
    let mut conn = connect(address, None).await?;
    let made = sample::make(&mut conn, args.partitions, args.rows).await.map_err(|error| {
        Failure::new("cannot make the sample data", error, "try an empty directory with --data")
    })?;
    let kept = args.data.is_some();
    let ready = ready::Ready::new(address, data, kept);
    if let Some(fd) = args.ready_fd {
        ready.tell(fd)?;
    }
    if args.json {
        resprout_tools::output::json(&ready);
        return Ok(Next::Wait);
    }
    ready.print(made.as_ref(), args);
    if args.no_shell || !shell::is_possible() {
        return Ok(Next::Wait);
    }
    shell::run(connect(address, Some(DATABASE)).await?).await?;
    Ok(Next::End)
}

async fn connect(address: SocketAddr, database: Option<&str>) -> Result<Conn, Failure> {
    let options = OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some("root"))
        .prefer_socket(false)
        .db_name(database);
    Conn::new(options).await.map_err(|error| {
        let fix = "if the directory has accounts of its own, use a client with a password";
        Failure::new("cannot come in as root", error, fix)
    })
}
