//! `resprout bench snapshot`: what a snapshot costs the writers beside it.
//!
//! ```text
//!  | quiet | snapshot of partition 0 | quiet | snapshot of partition 1 | quiet | …
//!
//!  loss = 1 - rate beside snapshots / rate in the quiet slices around them
//!  pause = longest time in which a partition acknowledged nothing
//! ```
//!
//! Slices alternate, since the rate drifts within a run, on a shared device by more than what is measured.
//!
//! Writers are tasks that update random rows, each commit acknowledged before the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use resprout_engine::table::Value;
use resprout_engine::{Database, Durability, Error};
use resprout_wal::world::Rng;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use super::io_failed;
use super::recovery::parse_size;
use crate::access::DiskChoice;
use crate::bench::dataset::Dataset;
use crate::bench::folder::BenchFolder;
use crate::bench::statistics::per_second;
use crate::bench::testbed::{
    self, DATABASE, TABLE, check_sizes, failed, id, keys_of, processors, wrong,
};
use crate::bench::verify::every_row;
use crate::failure::Failure;
use crate::output;
use crate::quantity::{Bytes, parse_bytes, parse_count, rate};

/// Writers, spread over the partitions.
const WRITERS: usize = 64;
/// Not measured: until then caches are cold, and the log and page memory grow to what the writers need.
const WARM_UP: Duration = Duration::from_secs(2);
/// Keys that one writer updates.
const KEYS_PER_WRITER: usize = 10_000;

/// What is written, and what the snapshots contain.
#[derive(Args, Clone, Debug)]
pub struct SnapshotArgs {
    /// Number of rows, for example 10M
    #[arg(long, value_parser = parse_count, default_value = "2M")]
    pub rows: u64,
    /// Bytes of a row beside its 8-byte key
    #[arg(long, value_parser = parse_size, default_value = "100")]
    pub row_bytes: usize,
    /// Partitions
    #[arg(long, default_value_t = 8)]
    pub partitions: u32,
    /// How long the writers are watched without a snapshot, all slices together
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Most bytes per second that a snapshot writes; without it, as a node does
    #[arg(long, value_parser = parse_bytes)]
    pub snapshot_rate: Option<u64>,
    /// Where to keep the data; without it they are removed at the end
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What all rows follow from
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Disk backend
    #[arg(long, value_enum, default_value_t)]
    pub disk: DiskChoice,
    /// The result as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    bench: &'static str,
    rows: u64,
    row_bytes: usize,
    partitions: u32,
    writers: usize,
    loss: f64,
    max_pause_ms: f64,
    max_pause_without_ms: f64,
    bytes_per_s: f64,
    snapshot_bytes: u64,
    commits_per_s_before: f64,
    commits_per_s_during: f64,
    commits_per_s_after: f64,
    verified: bool,
}

/// What the writers of one partition did in the present window.
#[derive(Debug, Default)]
struct Pulse {
    commits: AtomicU64,
    /// Of the last commit, nanoseconds since the start of the bench.
    last: AtomicU64,
    longest_gap: AtomicU64,
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, or a row is not what it must be.
pub fn run(args: &SnapshotArgs) -> Result<(), Failure> {
    check_sizes(args.rows, args.row_bytes, args.partitions)?;
    let folder = BenchFolder::new(args.data.as_deref(), "snapshot")?;
    let dir = folder.join("node");
    let data = Dataset::new(args.rows, args.row_bytes, args.seed, 0.0);
    let mut options = testbed::options(args.disk)?;
    let usual = resprout_engine::Options::default().snapshot_bytes_per_s;
    options.snapshot_bytes_per_s = args.snapshot_rate.unwrap_or(usual);
    let shape = (args.partitions, Durability::Sync);
    let (engine, database) = testbed::create(&dir, options, shape, (args.row_bytes, 0))?;
    testbed::load(&database, &data).map_err(|error| failed(&error))?;
    let measured = measure(args, &database, &data)?;
    let report = report(args, &measured);
    drop(database);
    engine.close().map_err(|error| failed(&error))?;
    drop(engine);
    verify(args, &dir, (&data, &measured.versions))?;
    tell(args, &report);
    Ok(())
}

/// One window of the writers' work.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    commits_per_s: f64,
    longest_gap: Duration,
    seconds: f64,
}

impl Window {
    /// Several windows as one.
    fn joined(windows: &[Self]) -> Self {
        let seconds: f64 = windows.iter().map(|window| window.seconds).sum();
        let commits: f64 = windows.iter().map(|w| w.commits_per_s * w.seconds).sum();
        let commits_per_s = if seconds > 0.0 { commits / seconds } else { 0.0 };
        let longest_gap = windows.iter().map(|window| window.longest_gap).max();
        Self { commits_per_s, longest_gap: longest_gap.unwrap_or_default(), seconds }
    }
}

struct Measured {
    before: Window,
    during: Window,
    after: Window,
    snapshot_bytes: u64,
    versions: Vec<Written>,
}

/// What one writer wrote: each of its keys is in the version that was acknowledged last.
struct Written {
    keys: Vec<u64>,
    versions: Vec<u32>,
}

fn measure(args: &SnapshotArgs, database: &Database, data: &Dataset) -> Result<Measured, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(processors()).enable_time().build();
    let runtime = runtime.map_err(io_failed("start the writers"))?;
    let pulses: Arc<Vec<Pulse>> =
        Arc::new(database.partitions().iter().map(|_| Pulse::default()).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let tasks = start_writers(&runtime, (database, data), &pulses, (&stop, began))
        .map_err(|error| failed(&error))?;
    thread::sleep(WARM_UP);
    let slice = Duration::from_secs(args.seconds) / (args.partitions + 1);
    let quiet = || watch(&pulses, began, || thread::sleep(slice)).0;
    let (mut quiets, mut busy, mut snapshots) = (vec![quiet()], Vec::new(), Ok(0));
    for partition in database.partitions() {
        let (window, snapshot) = watch(&pulses, began, || partition.snapshot());
        busy.push(window);
        quiets.push(quiet());
        snapshots = snapshots.and_then(|bytes: u64| Ok(bytes + snapshot?.bytes));
    }
    stop.store(true, Ordering::Relaxed);
    let mut versions = Vec::new();
    for task in tasks {
        let written = runtime.block_on(task).map_err(|_| failed(&Error::Closing))?;
        versions.push(written.map_err(|error| failed(&error))?);
    }
    let snapshot_bytes = snapshots.map_err(|error: Error| failed(&error))?;
    let (before, after) = (&quiets[..busy.len()], &quiets[1..]);
    let (before, after) = (Window::joined(before), Window::joined(after));
    Ok(Measured { before, during: Window::joined(&busy), after, snapshot_bytes, versions })
}

type Writing = tokio::task::JoinHandle<Result<Written, Error>>;

fn start_writers(
    runtime: &Runtime,
    (database, data): (&Database, &Dataset),
    pulses: &Arc<Vec<Pulse>>,
    (stop, began): (&Arc<AtomicBool>, Instant),
) -> Result<Vec<Writing>, Error> {
    let partitions = database.partitions();
    let mut tasks = Vec::new();
    for number in 0..WRITERS {
        let ordinal = number % partitions.len();
        let turn = number / partitions.len();
        let rivals = WRITERS.div_ceil(partitions.len());
        let partition = partitions[ordinal].clone();
        let table = partition.table(TABLE)?;
        // Each writer has keys of its own, spread over its partition.
        let keys = keys_of(database, &table, partition.ordinal(), 0..data.rows);
        let keys = keys.skip(turn).step_by(rivals).take(KEYS_PER_WRITER);
        let keys = keys.collect::<Result<Vec<u64>, Error>>()?;
        let (pulses, stop, data) = (Arc::clone(pulses), Arc::clone(stop), *data);
        tasks.push(runtime.spawn(async move {
            let mut written = Written { versions: vec![0; keys.len()], keys };
            let mut rng = Rng::new(data.seed ^ number as u64);
            while !stop.load(Ordering::Relaxed) && !written.keys.is_empty() {
                let at = usize::try_from(rng.below(written.keys.len() as u64)).unwrap_or(0);
                let (key, version) = (written.keys[at], written.versions[at] + 1);
                let payload = (table.live()[1], Value::Bytes(data.payload(key, version)));
                let mut txn = partition.begin()?;
                txn.update_async(&table, &[id(key)], &[payload]).await?;
                txn.commit_async().await?;
                written.versions[at] = version;
                pulses[ordinal].beat(began.elapsed());
            }
            Ok(written)
        }));
    }
    Ok(tasks)
}

impl Pulse {
    fn beat(&self, now: Duration) {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let last = self.last.fetch_max(now, Ordering::Relaxed);
        self.longest_gap.fetch_max(now.saturating_sub(last), Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts what the writers do while `work` runs.
fn watch<T>(pulses: &[Pulse], began: Instant, work: impl FnOnce() -> T) -> (Window, T) {
    let count = || pulses.iter().map(|pulse| pulse.commits.load(Ordering::Relaxed)).sum::<u64>();
    pulses.iter().for_each(|pulse| pulse.longest_gap.store(0, Ordering::Relaxed));
    let (before, from) = (count(), began.elapsed());
    let done = work();
    let (commits, seconds) = (count() - before, (began.elapsed() - from).as_secs_f64());
    let gaps = pulses.iter().map(|pulse| pulse.longest_gap.load(Ordering::Relaxed));
    let longest_gap = Duration::from_nanos(gaps.max().unwrap_or(0));
    (Window { commits_per_s: per_second(commits, seconds), longest_gap, seconds }, done)
}

/// Opens the directory again: every row is in the version that was acknowledged last.
fn verify(
    args: &SnapshotArgs,
    dir: &std::path::Path,
    (data, written): (&Dataset, &[Written]),
) -> Result<(), Failure> {
    let engine = crate::access::open(dir, testbed::options(args.disk)?)?;
    let database = engine.database(DATABASE).map_err(|error| failed(&error))?;
    let mut versions = std::collections::HashMap::new();
    for Written { keys, versions: theirs } in written {
        versions.extend(keys.iter().copied().zip(theirs.iter().copied()));
    }
    let count = every_row(&database, data, true, |_, found| {
        let expected = versions.get(&found.key).copied().unwrap_or(0);
        if found.version == expected {
            return Ok(());
        }
        Err(format!("row {}: version {} instead of {expected}", found.key, found.version))
    })?;
    if count != data.rows {
        return Err(wrong(format!("{count} rows instead of {}", data.rows)));
    }
    engine.close().map_err(|error| failed(&error))
}

fn report(args: &SnapshotArgs, measured: &Measured) -> Report {
    let Measured { before, during, after, snapshot_bytes, .. } = measured;
    let usual = f64::midpoint(before.commits_per_s, after.commits_per_s);
    let ms = |gap: Duration| gap.as_secs_f64() * 1e3;
    Report {
        schema_version: 1,
        bench: "snapshot",
        rows: args.rows,
        row_bytes: args.row_bytes,
        partitions: args.partitions,
        writers: WRITERS,
        loss: if usual > 0.0 { 1.0 - during.commits_per_s / usual } else { 0.0 },
        max_pause_ms: ms(during.longest_gap),
        max_pause_without_ms: ms(before.longest_gap.max(after.longest_gap)),
        bytes_per_s: per_second(*snapshot_bytes, during.seconds),
        snapshot_bytes: *snapshot_bytes,
        commits_per_s_before: before.commits_per_s,
        commits_per_s_during: during.commits_per_s,
        commits_per_s_after: after.commits_per_s,
        verified: true,
    }
}

fn tell(args: &SnapshotArgs, report: &Report) {
    if args.json {
        return output::json(report);
    }
    output::line(format_args!(
        "snapshot {} at {} beside {} writers",
        Bytes(report.snapshot_bytes),
        rate(report.bytes_per_s),
        report.writers
    ));
    output::line(format_args!(
        "commits  {:.0}/s before, {:.0}/s during, {:.0}/s after: a loss of {:.1} %",
        report.commits_per_s_before,
        report.commits_per_s_during,
        report.commits_per_s_after,
        report.loss * 100.0
    ));
    output::line(format_args!(
        "pause    {:.1} ms at most during, {:.1} ms without a snapshot",
        report.max_pause_ms, report.max_pause_without_ms
    ));
    output::line("verified every row in its last acknowledged version, after opening again");
}
