//! `resproutd node` from start to end.
//!
//! ```text
//!  settings ─► ports ─► open ─► recover (background) ─► ONLINE ─► SIGTERM or SIGINT ─► close
//!                         │       │   one tick a second: log lines, supervisor
//!                         │       └► the front door opens: clients see how far it is
//!                         └► cannot: three lines, exit code
//! ```
//!
//! The ports are taken before the directory is opened, so a probe sees a node that starts, not a
//! refused connection.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use resprout_engine::{
    Engine, Error, Options, PartitionStatus, Progress, RecoveryReport, partition_dir,
};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::config::{self, ConfigError, Settings};
use super::door::FrontDoor;
use super::http::{self, Describe};
use super::logging::{self, Format};
use super::narrator::{self, Narrator};
use super::systemd::Supervisor;
use super::view::{NodeView, PartitionView, ProgressView, SCHEMA_VERSION};
use crate::access::{self, DiskChoice, cannot_open, explain};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::quantity::{parse_bytes, parse_duration};

/// Time between two looks at the node.
const TICK: Duration = Duration::from_secs(1);
/// How long open HTTP requests may delay the end.
const HTTP_GRACE: Duration = Duration::from_secs(2);

/// Opens a data directory, recovers it and serves
#[derive(Args, Clone, Debug, Default)]
pub struct NodeArgs {
    /// Data directory, made if it is not there
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Settings, see docs/operating.md
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve /livez /startupz /readyz /metrics /api/status here, for example 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<String>,
    /// Serve MySQL clients here; off for none
    #[arg(long, value_name = "ADDRESS")]
    pub sql: Option<String>,
    /// Most page memory: a size such as 48GiB, or a share of this machine's such as 85%
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Disk backend: auto, io_uring or pwritev2
    #[arg(long, value_name = "BACKEND")]
    pub disk: Option<String>,
    /// Shape of the log on stderr: auto, text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// What to log: error, warn, info, debug or trace, also by module
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Stay PENDING after recovery until told to attach
    #[arg(long)]
    pub no_attach: bool,
    /// Check all settings, show where each comes from, and end
    #[arg(long)]
    pub check_config: bool,
}

/// All settings, read and checked.
struct Plan {
    data: PathBuf,
    http: Option<SocketAddr>,
    options: Options,
    format: Format,
    level: String,
}

/// Runs the node until it is told to stop.
///
/// # Errors
/// What is wrong with the settings or the directory.
pub fn run(args: &NodeArgs, door: impl FrontDoor) -> Result<Exit, Failure> {
    run_with(&collect(args)?, args.check_config, door)
}

/// The same with settings that were collected before; `only_check` shows them and ends.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    settings: &Settings,
    only_check: bool,
    door: impl FrontDoor,
) -> Result<Exit, Failure> {
    let mut door = door;
    settings.check_kind(false).map_err(bad_setting)?;
    let plan = plan(settings)?;
    door.configure(settings)?;
    if only_check {
        show(settings);
        return Ok(Exit::Done);
    }
    logging::start(plan.format, &plan.level).map_err(|why| {
        Failure::new("cannot start logging", why, "correct log.level").exiting(Exit::Usage)
    })?;
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new("cannot start the node's tasks", error, "check the limits of processes")
    })?;
    let outcome = runtime.block_on(serve(plan, Arc::new(door)));
    // A recovery that is under way when the node is told to stop ends with the process: what is
    // on disk is complete at every moment.
    runtime.shutdown_background();
    outcome
}

/// Shows all settings, and where each comes from.
pub fn show(settings: &Settings) {
    for setting in settings.listed() {
        output::line(format_args!("{} = {}   # {}", setting.name, setting.value, setting.origin));
    }
}

/// What file and environment say.
///
/// # Errors
/// If the file cannot be read, or says what cannot be.
pub fn read(config: Option<&Path>) -> Result<Settings, Failure> {
    let mut settings = config.map_or(Ok(Settings::default()), read_file)?;
    settings.overlay_environment(|name| std::env::var(name).ok());
    Ok(settings)
}

/// What file, environment and flags say.
///
/// # Errors
/// As [`read`].
pub fn collect(args: &NodeArgs) -> Result<Settings, Failure> {
    let mut settings = read(args.config.as_deref())?;
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let flags = [
        ("data", args.data.as_ref().map(text), "--data"),
        ("http", args.http.clone(), "--http"),
        ("sql", args.sql.clone(), "--sql"),
        ("memory.maximum", args.memory.clone(), "--memory"),
        ("disk", args.disk.clone(), "--disk"),
        ("log.format", args.log_format.clone(), "--log-format"),
        ("log.level", args.log_level.clone(), "--log-level"),
        ("attach", args.no_attach.then(|| "false".to_owned()), "--no-attach"),
    ];
    for (name, value, origin) in flags {
        if let Some(value) = value {
            settings.set(name, value, origin);
        }
    }
    Ok(settings)
}

fn read_file(path: &Path) -> Result<Settings, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let what = format!("cannot read {}", path.display());
        Failure::new(what, error, "check the path of --config").exiting(Exit::Usage)
    })?;
    Settings::from_toml(&path.display().to_string(), &text).map_err(bad_setting)
}

/// A bad setting in three lines.
#[must_use]
pub fn bad_setting(error: ConfigError) -> Failure {
    let why = format!("{}: {}", error.place, error.what);
    Failure::new("cannot use the settings", why, error.hint).exiting(Exit::Usage)
}

fn plan(settings: &Settings) -> Result<Plan, Failure> {
    let (format, level) = log(settings)?;
    Ok(Plan {
        options: engine(settings)?,
        data: data(settings)?,
        http: http(settings)?,
        format,
        level: level.unwrap_or_else(|| DEFAULT_LEVEL.to_owned()),
    })
}

/// What settings say about the engine; the rest is its default.
///
/// # Errors
/// What is not possible, and where it was set.
pub fn engine(settings: &Settings) -> Result<Options, Failure> {
    let disk = |text: &str| {
        let none = format!("'{text}' is none of auto, io_uring, pwritev2");
        DiskChoice::from_str(text, true).map_err(|_| none)
    };
    let count = |text: &str| text.parse().map_err(|_| "write a whole number".to_owned());
    let mut options =
        access::options(settings.read("disk", disk).map_err(bad_setting)?.unwrap_or_default())?;
    let memory = |text: &str| config::parse_memory(text, machine_bytes());
    macro_rules! set {
        ($field:ident, $name:literal, $parse:expr) => {
            if let Some(value) = settings.read($name, $parse).map_err(bad_setting)? {
                options.$field = value;
            }
        };
    }
    set!(maximum_memory, "memory.maximum", memory);
    set!(snapshot_trigger_size, "durability.snapshot_trigger_size", parse_bytes);
    set!(recovery_time_target, "durability.recovery_time_target", config::parse_target);
    set!(snapshots_to_keep, "durability.snapshots_to_keep", count);
    set!(stuck_after, "log.stuck_after", parse_duration);
    set!(attach, "attach", config::parse_truth);
    options.validate().map_err(|error| explain("cannot use the settings", &error))?;
    Ok(options)
}

/// The data directory.
///
/// # Errors
/// If none was given.
pub fn data(settings: &Settings) -> Result<PathBuf, Failure> {
    let data = settings.read("data", config::parse_path).map_err(bad_setting)?;
    data.ok_or_else(|| {
        let why = "no data directory was given";
        Failure::new("cannot start", why, "give --data DIR").exiting(Exit::Usage)
    })
}

/// Where probes, metrics and status are served, if they are.
///
/// # Errors
/// If it is no address.
pub fn http(settings: &Settings) -> Result<Option<SocketAddr>, Failure> {
    let address = |text: &str| {
        text.parse().map_err(|_| "write an address and a port, such as 127.0.0.1:8080".to_owned())
    };
    settings.read("http", address).map_err(bad_setting)
}

/// Shape of the log, and what is logged if that was said.
///
/// # Errors
/// If there is no such shape.
pub fn log(settings: &Settings) -> Result<(Format, Option<String>), Failure> {
    let format = |text: &str| {
        let none = format!("'{text}' is none of auto, text, json");
        Format::from_str(text, true).map_err(|_| none)
    };
    let format = settings.read("log.format", format).map_err(bad_setting)?.unwrap_or_default();
    let level = settings.read("log.level", |text| Ok(text.to_owned())).map_err(bad_setting)?;
    Ok((format, level))
}

/// The engine's own last line of a recovery says what the node's says, in other words.
const DEFAULT_LEVEL: &str = "info,resprout_engine::recovery=warn";

/// Bytes of memory that this machine has; 0 where the kernel does not tell.
fn machine_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

async fn serve(plan: Plan, door: Arc<impl FrontDoor>) -> Result<Exit, Failure> {
    let mut stop = pin_stop()?;
    let node = Arc::new(Node::new(&plan));
    let (end_http, http_ended) = oneshot::channel::<()>();
    let mut server = None;
    if let Some(address) = plan.http {
        let listener = http::bind(address).await.map_err(|error| {
            let what = format!("cannot serve HTTP on {address}");
            Failure::new(what, error, "choose another address with --http")
        })?;
        // With port 0 the system chose; whoever started the node reads it here.
        let bound = listener.local_addr().unwrap_or(address);
        tracing::info!(event = "http.listening", "http on {bound}");
        let ended = async { drop(http_ended.await) };
        let describe: Arc<dyn Describe> = Arc::clone(&node) as _;
        server = Some(tokio::spawn(http::serve(listener, describe, ended)));
    }
    door.bind().await?;
    let outcome = live(&node, plan, &door, &mut stop).await;
    drop(end_http);
    if let Some(server) = server {
        // A client that keeps its connection open does not keep the node alive.
        let _ = tokio::time::timeout(HTTP_GRACE, server).await;
    }
    outcome
}

type Stop = std::pin::Pin<Box<dyn Future<Output = &'static str> + Send>>;

/// Ends with the name of the signal that asked for it.
fn pin_stop() -> Result<Stop, Failure> {
    let cannot = |error| Failure::new("cannot listen for signals", error, "try again");
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }))
}

/// From opening to closing, with a look at the node every second.
async fn live(
    node: &Arc<Node>,
    plan: Plan,
    door: &Arc<impl FrontDoor>,
    stop: &mut Stop,
) -> Result<Exit, Failure> {
    let mut talk = Talk::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (opening, opened) = (Arc::clone(node), Arc::clone(door));
    let mut work = tokio::task::spawn_blocking(move || opening.recover(plan, &*opened));
    let mut is_open = false;
    let signal = loop {
        tokio::select! {
            signal = &mut *stop => break signal,
            () = door.wants_end() => break "asked from inside",
            _ = ticks.tick() => talk.tick(node),
            opened = &mut work, if !is_open => {
                is_open = true;
                let opened = opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                // Without an engine there is nothing to tell but the error itself.
                opened?;
                talk.tick(node);
            }
        }
    };
    tracing::info!(event = "node.stopping", "stopping ({signal})");
    talk.supervisor.stopping();
    door.close().await;
    let closing = Arc::clone(node);
    let closed = tokio::task::spawn_blocking(move || closing.close()).await;
    closed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    tracing::info!(event = "node.stopped", "stopped");
    Ok(Exit::Done)
}

struct Talk {
    narrator: Narrator,
    supervisor: Supervisor,
    began: Instant,
}

impl Talk {
    fn new() -> Self {
        let supervisor = Supervisor::from_environment();
        Self { narrator: Narrator::default(), supervisor, began: Instant::now() }
    }

    fn tick(&mut self, node: &Node) {
        let view = node.view();
        narrator::tell(&self.narrator.tick(&view, self.began.elapsed()));
        self.supervisor.tick(&view);
    }
}

/// Where the node is in its life.
enum Stage {
    /// The directory is being opened.
    Opening,
    /// Partitions recover; the engine already tells how far they are.
    Recovering(Engine),
    Online(Engine),
    Stopping(Engine),
    Failed(String),
}

struct Node {
    stage: RwLock<Stage>,
    maximum_memory: u64,
    stuck_after: Duration,
    recovered: OnceLock<RecoveryReport>,
}

impl Node {
    fn new(plan: &Plan) -> Self {
        Self {
            stage: RwLock::new(Stage::Opening),
            maximum_memory: plan.options.maximum_memory,
            stuck_after: plan.options.stuck_after,
            recovered: OnceLock::new(),
        }
    }

    fn enter(&self, stage: Stage) {
        *self.stage.write().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// Opens and recovers, blocking.
    fn recover(&self, plan: Plan, door: &impl FrontDoor) -> Result<(), Failure> {
        let cannot = |error: Error| {
            self.enter(Stage::Failed(error.to_string()));
            cannot_open(&plan.data, &error)
        };
        let recovery = Engine::recover(&plan.data, plan.options).map_err(cannot)?;
        self.enter(Stage::Recovering(recovery.engine().clone()));
        door.open(recovery.engine()).inspect_err(|failure| {
            self.enter(Stage::Failed(failure.why.clone()));
        })?;
        let (engine, report) = recovery.wait_with_report().map_err(cannot)?;
        self.recovered.get_or_init(|| report);
        self.enter(Stage::Online(engine));
        door.recovered()
    }

    /// Ends cleanly what is open. A recovery under way is left as it is: what is on disk is
    /// complete at every moment.
    fn close(&self) -> Result<(), Failure> {
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        let Stage::Online(engine) = &*stage else { return Ok(()) };
        let engine = engine.clone();
        *stage = Stage::Stopping(engine.clone());
        drop(stage);
        engine.close().map_err(|error| explain("cannot stop cleanly", &error))
    }
}

impl Describe for Node {
    fn view(&self) -> NodeView {
        let stage = self.stage.read().unwrap_or_else(PoisonError::into_inner);
        let mut view = match &*stage {
            Stage::Opening => named("RECOVERING"),
            Stage::Recovering(engine) => of_engine("RECOVERING", engine),
            Stage::Online(engine) => of_engine("ONLINE", engine),
            Stage::Stopping(engine) => of_engine("STOPPING", engine),
            Stage::Failed(error) => {
                NodeView { error: Some(error.clone()), ..named("RECOVERY_FAILED") }
            }
        };
        view.maximum_memory_bytes = self.maximum_memory;
        view.log_stuck_after_s = self.stuck_after.as_secs_f64();
        view.recovered = self.recovered.get().copied();
        view
    }
}

/// A node of which nothing is known but its state.
#[must_use]
pub fn named(state: &str) -> NodeView {
    NodeView {
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").into(),
        state: state.into(),
        ..NodeView::default()
    }
}

/// A node in `state`, with what its engine says.
#[must_use]
pub fn of_engine(state: &str, engine: &Engine) -> NodeView {
    let (status, times) = (engine.status(), engine.times());
    let progress = of_progress(&status.progress);
    let dir = status.dir;
    let partitions = status.partitions.into_iter().map(|partition| of_partition(&dir, partition));
    let partitions = partitions.collect();
    let log_waiting_s = times.log_waiting.unwrap_or_default().as_secs_f64();
    NodeView { progress, partitions, log_waiting_s, times, ..named(state) }
}

/// How long ago a snapshot was finished, by its file.
fn snapshot_age(dir: &Path, status: &PartitionStatus) -> Option<f64> {
    let folder = partition_dir(dir, &status.database, status.ordinal);
    let path = folder.join(resprout_snapshot::file_name(status.snapshot_lsn?));
    let written = std::fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
    // A clock that was set back makes a snapshot young, not an error.
    Some(written.elapsed().unwrap_or_default().as_secs_f64())
}

fn of_progress(progress: &Progress) -> ProgressView {
    ProgressView {
        phase: progress.phase.to_string(),
        done_bytes: progress.done,
        total_bytes: progress.total,
        rate_bytes_per_s: progress.rate,
        eta_s: progress.eta.map(|eta| eta.as_secs_f64()),
        stalled_s: progress.stalled.as_secs_f64(),
    }
}

fn of_partition(dir: &Path, status: PartitionStatus) -> PartitionView {
    PartitionView {
        snapshot_age_s: snapshot_age(dir, &status),
        progress: of_progress(&status.progress),
        database: status.database,
        ordinal: status.ordinal,
        state: status.state.to_string(),
        error: status.error,
        term: status.term.0,
        end_lsn: status.end.0,
        durable_lsn: status.durable.0,
        committed_lsn: status.committed.0,
        snapshot_lsn: status.snapshot_lsn.map(|lsn| lsn.0),
        log_since_snapshot_bytes: status.log_since_snapshot,
        entries: status.rows,
        memory_bytes: status.memory_bytes,
        predicted_recovery_s: status.predicted_recovery.as_secs_f64(),
    }
}
