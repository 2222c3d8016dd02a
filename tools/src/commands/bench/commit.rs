//! `resprout bench commit`: single-row commits, each acknowledged before the client's next.
//!
//! ```text
//!  | clients commit | device | clients commit | device | …      slices, so that both see the same
//!  |     500 ms     | 100 ms |     500 ms     | 100 ms | …      device in the same minutes
//! ```
//!
//! One client is a thread that blocks; several are tasks on all processors, client `i` on partition
//! `i mod partitions`. The device's slice writes 4 KiB durably, one after the other, around
//! everything: what one client cannot beat.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use resprout_engine::table::Table;
use resprout_engine::{Database, Durability, Error, Partition};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use super::io_failed;
use super::recovery::parse_size;
use crate::access::DiskChoice;
use crate::bench::dataset::Dataset;
use crate::bench::device::{WriteProbe, histogram, quantile_us, record};
use crate::bench::folder::BenchFolder;
use crate::bench::statistics::{is_mixed, per_second};
use crate::bench::testbed::{self, DATABASE, TABLE, check_sizes, failed, processors, wrong};
use crate::bench::verify::every_row;
use crate::failure::Failure;
use crate::output;

/// How long clients commit between two looks at the device.
const CLIENT_SLICE: Duration = Duration::from_millis(500);
/// How long the device is looked at.
const DEVICE_SLICE: Duration = Duration::from_millis(100);
/// Bits of a key that number the rows of one client.
pub(super) const SEQUENCE_BITS: u32 = 40;

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DurabilityChoice {
    /// When it is on the device.
    #[default]
    Sync,
    /// When it is in memory.
    Async,
}

/// Who commits what.
#[derive(Args, Clone, Debug)]
pub struct CommitArgs {
    /// Clients, each with one commit on its way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: u32,
    /// Partitions
    #[arg(long, default_value_t = 8)]
    pub partitions: u32,
    /// When a commit is acknowledged
    #[arg(long, value_enum, default_value_t)]
    pub durability: DurabilityChoice,
    /// Bytes of a row beside its 8-byte key
    #[arg(long, value_parser = parse_size, default_value = "100")]
    pub row_bytes: usize,
    /// How long, all slices together
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Where to keep the data; without it they are removed at the end
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Disk backend
    #[arg(long, value_enum, default_value_t)]
    pub disk: DiskChoice,
    /// The result as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Device {
    p50_us: f64,
    before_p50_us: f64,
    after_p50_us: f64,
    /// The device changed its speed meanwhile: the run says nothing.
    mixed: bool,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    bench: &'static str,
    clients: u32,
    partitions: u32,
    durability: String,
    row_bytes: usize,
    commits: u64,
    commits_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    flushes: u64,
    commits_per_flush: f64,
    device: Device,
    ratio_to_device: f64,
    verified: bool,
}

/// What one client did; without its partition, so that the directory can be opened again.
struct Done {
    number: u64,
    acknowledged: u64,
    latencies: Histogram<u64>,
}

/// One client.
struct Client {
    number: u64,
    partition: Partition,
    table: Arc<Table>,
    data: Dataset,
    /// Rows that are acknowledged.
    acknowledged: u64,
    latencies: Histogram<u64>,
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, or an acknowledged row is not there.
pub fn run(args: &CommitArgs) -> Result<(), Failure> {
    check_sizes(1, args.row_bytes, args.partitions)?;
    let folder = BenchFolder::new(args.data.as_deref(), "commit")?;
    let dir = folder.join("node");
    let durability = match args.durability {
        DurabilityChoice::Sync => Durability::Sync,
        DurabilityChoice::Async => Durability::Async,
    };
    let options = testbed::options(args.disk)?;
    let shape = (args.partitions, durability);
    let (engine, database) = testbed::create(&dir, options, shape, (args.row_bytes, 0))?;
    let mut probe = WriteProbe::new(folder.path()).map_err(io_failed("make a file to write"))?;
    let mut clients = clients(args, &database).map_err(|error| failed(&error))?;
    let measured = measure(args, &mut probe, &mut clients, &|| engine.log_counters().flushes)?;
    let clients: Vec<Done> = clients.into_iter().map(Client::done).collect();
    drop(database);
    engine.close().map_err(|error| failed(&error))?;
    drop(engine);
    verify(args, &dir, &clients)?;
    let report = report(args, durability, measured, &clients);
    if args.json {
        output::json(&report);
    } else {
        tell(&report);
    }
    Ok(())
}

fn clients(args: &CommitArgs, database: &Database) -> Result<Vec<Client>, Error> {
    let data = Dataset::new(1, args.row_bytes, 1, 0.0);
    let client = |number: u32| {
        let partition = database.partitions()[(number % args.partitions) as usize].clone();
        let table = partition.table(TABLE)?;
        let number = u64::from(number);
        Ok(Client { number, partition, table, data, acknowledged: 0, latencies: histogram() })
    };
    (0..args.clients).map(client).collect()
}

struct Measured {
    seconds: f64,
    flushes: u64,
    device: Device,
}

fn measure(
    args: &CommitArgs,
    probe: &mut WriteProbe,
    clients: &mut Vec<Client>,
    flushes: &dyn Fn() -> u64,
) -> Result<Measured, Failure> {
    let write = io_failed("write to the device");
    let runtime = Builder::new_multi_thread().worker_threads(processors()).enable_time().build();
    let runtime = runtime.map_err(io_failed("start the clients"))?;
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    // The first writes of everything, uncounted: caches, free lists, the device's own state.
    commit_slice(&runtime, clients, DEVICE_SLICE).map_err(|error| failed(&error))?;
    clients.iter_mut().for_each(|client| client.latencies.reset());
    let before_p50_us = micros(probe.run(DEVICE_SLICE).map_err(&write)?);
    let mut measured = Duration::ZERO;
    let mut flushed = 0;
    let mut after_p50_us = before_p50_us;
    while measured < Duration::from_secs(args.seconds) {
        let flushes_before = flushes();
        measured +=
            commit_slice(&runtime, clients, CLIENT_SLICE).map_err(|error| failed(&error))?;
        flushed += flushes() - flushes_before;
        after_p50_us = micros(probe.run(DEVICE_SLICE).map_err(&write)?);
    }
    let device = Device {
        p50_us: quantile_us(&probe.latencies, 0.5),
        before_p50_us,
        after_p50_us,
        mixed: is_mixed(before_p50_us, after_p50_us),
    };
    Ok(Measured { seconds: measured.as_secs_f64(), flushes: flushed, device })
}

/// Lets all clients commit for `slice`; how long it took until the last was done.
fn commit_slice(
    runtime: &Runtime,
    clients: &mut Vec<Client>,
    slice: Duration,
) -> Result<Duration, Error> {
    let began = Instant::now();
    let end = began + slice;
    if let [client] = clients.as_mut_slice() {
        while Instant::now() < end {
            client.commit()?;
        }
        return Ok(began.elapsed());
    }
    let tasks: Vec<_> = clients
        .drain(..)
        .map(|mut client| {
            runtime.spawn(async move {
                let mut outcome = Ok(());
                while outcome.is_ok() && Instant::now() < end {
                    outcome = client.commit_async().await;
                }
                (client, outcome)
            })
        })
        .collect();
    let mut first_error = Ok(());
    for task in tasks {
        let (client, outcome) = runtime.block_on(task).map_err(|_| Error::Closing)?;
        clients.push(client);
        first_error = first_error.and(outcome);
    }
    first_error.map(|()| began.elapsed())
}

impl Client {
    fn done(self) -> Done {
        let Self { number, acknowledged, latencies, .. } = self;
        Done { number, acknowledged, latencies }
    }

    fn next_key(&self) -> u64 {
        self.number << SEQUENCE_BITS | self.acknowledged
    }

    fn commit(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let mut txn = self.partition.begin()?;
        txn.insert(&self.table, &testbed::row(&self.data, &self.table, self.next_key(), 0))?;
        txn.commit()?;
        self.note(began);
        Ok(())
    }

    async fn commit_async(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let mut txn = self.partition.begin()?;
        let row = testbed::row(&self.data, &self.table, self.next_key(), 0);
        txn.insert_async(&self.table, &row).await?;
        txn.commit_async().await?;
        self.note(began);
        Ok(())
    }

    fn note(&mut self, began: Instant) {
        record(&mut self.latencies, began.elapsed());
        self.acknowledged += 1;
    }
}

/// Opens the directory again: exactly the acknowledged rows are there, each whole.
fn verify(args: &CommitArgs, dir: &std::path::Path, clients: &[Done]) -> Result<(), Failure> {
    let engine = crate::access::open(dir, testbed::options(args.disk)?)?;
    let database = engine.database(DATABASE).map_err(|error| failed(&error))?;
    let data = Dataset::new(1, args.row_bytes, 1, 0.0);
    let mut acknowledged = vec![0; clients.len()];
    for client in clients {
        acknowledged[usize::try_from(client.number).unwrap_or(0)] = client.acknowledged;
    }
    let count = every_row(&database, &data, false, |_, found| {
        let client = usize::try_from(found.key >> SEQUENCE_BITS).unwrap_or(usize::MAX);
        let sequence = found.key & ((1 << SEQUENCE_BITS) - 1);
        match acknowledged.get(client) {
            Some(count) if sequence < *count => Ok(()),
            _ => Err(format!("row {} was never acknowledged", found.key)),
        }
    })?;
    let expected: u64 = acknowledged.iter().sum();
    if count != expected {
        return Err(wrong(format!("{count} rows, {expected} were acknowledged")));
    }
    engine.close().map_err(|error| failed(&error))
}

fn report(
    args: &CommitArgs,
    durability: Durability,
    measured: Measured,
    clients: &[Done],
) -> Report {
    let mut latencies = histogram();
    for client in clients {
        latencies += &client.latencies;
    }
    let p50_us = quantile_us(&latencies, 0.5);
    let commits = latencies.len();
    Report {
        schema_version: 1,
        bench: "commit",
        clients: args.clients,
        partitions: args.partitions,
        durability: durability.to_string(),
        row_bytes: args.row_bytes,
        commits,
        commits_per_s: per_second(commits, measured.seconds),
        p50_us,
        p99_us: quantile_us(&latencies, 0.99),
        p999_us: quantile_us(&latencies, 0.999),
        flushes: measured.flushes,
        commits_per_flush: per_second(commits, f64_of(measured.flushes)),
        ratio_to_device: p50_us / measured.device.p50_us.max(f64::MIN_POSITIVE),
        device: measured.device,
        verified: true,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn f64_of(count: u64) -> f64 {
    count as f64
}

fn tell(report: &Report) {
    output::line(format_args!(
        "commits  {:.0}/s with {} clients over {} partitions, {} durability, {} bytes a row",
        report.commits_per_s,
        report.clients,
        report.partitions,
        report.durability,
        report.row_bytes
    ));
    output::line(format_args!(
        "latency  p50 {:.0} us   p99 {:.0} us   p99.9 {:.0} us",
        report.p50_us, report.p99_us, report.p999_us
    ));
    output::line(format_args!(
        "flushes  {}, {:.1} commits each",
        report.flushes, report.commits_per_flush
    ));
    output::line(format_args!(
        "device   p50 {:.0} us for a bare durable 4 KiB write in the same run; a commit took {:.2} x that",
        report.device.p50_us, report.ratio_to_device
    ));
    if report.device.mixed {
        output::line("         the device changed its speed during the run: run it again");
    }
    output::line(format_args!("verified {} acknowledged rows, all there", report.commits));
}
