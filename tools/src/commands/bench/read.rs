//! `resprout bench read`: points, uniformly at random, from within the process.
//!
//! Every read routes, encodes its key, moves to what is committed now, as a request would, with a view
//! that each thread keeps per partition, and finds the payload in the row. Each payload that comes
//! back is checked by its length and version; one in 64 byte by byte, which also is the one whose
//! latency is taken, without the check. With `--batch` several keys are looked up together (`batch`); a
//! latency then is that of a batch divided by its reads.

mod batch;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use resprout_engine::table::{RowView, Table, ValueRef};
use resprout_engine::tree::View;
use resprout_engine::{Database, Durability, Error, Partition};
use resprout_wal::world::Rng;
use serde::Serialize;

use super::recovery::parse_size;
use crate::access::DiskChoice;
use crate::bench::dataset::Dataset;
use crate::bench::device::{histogram, record};
use crate::bench::folder::BenchFolder;
use crate::bench::statistics::per_second;
use crate::bench::testbed::{self, TABLE, check_sizes, failed, id, processors, wrong};
use crate::failure::Failure;
use crate::output;
use crate::quantity::parse_count;

/// One read of so many is timed and checked completely; the others would measure the check.
const CHECK_EVERY: u64 = 64;

/// Most keys of a batch: the clock is looked at after 64 batches.
const BATCH_MAX: usize = 4096;

/// What is read, by how many.
#[derive(Args, Clone, Debug)]
pub struct ReadArgs {
    /// Number of rows, for example 10M
    #[arg(long, value_parser = parse_count, default_value = "2M")]
    pub rows: u64,
    /// Bytes of a row beside its 8-byte key
    #[arg(long, value_parser = parse_size, default_value = "100")]
    pub row_bytes: usize,
    /// Reading threads; without it, one per processor
    #[arg(long)]
    pub threads: Option<usize>,
    /// How long
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Keys that are looked up together; latencies then are those of a batch divided by this
    #[arg(long, default_value_t = 1, value_parser = parse_batch)]
    pub batch: usize,
    /// Partitions
    #[arg(long, default_value_t = 8)]
    pub partitions: u32,
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
    threads: usize,
    batch: usize,
    reads: u64,
    reads_per_s: f64,
    p50_ns: u64,
    p99_ns: u64,
    memory_bytes: u64,
    verified: bool,
}

fn parse_batch(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(batch) if (1..=BATCH_MAX).contains(&batch) => Ok(batch),
        _ => Err(format!("a number from 1 to {BATCH_MAX} is needed")),
    }
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, or a row is not what it must be.
pub fn run(args: &ReadArgs) -> Result<(), Failure> {
    check_sizes(args.rows, args.row_bytes, args.partitions)?;
    let folder = BenchFolder::new(args.data.as_deref(), "read")?;
    let data = Dataset::new(args.rows, args.row_bytes, args.seed, 0.0);
    let options = testbed::options(args.disk)?;
    let shape = (args.partitions, Durability::Async);
    let (engine, database) =
        testbed::create(&folder.join("node"), options, shape, (args.row_bytes, 0))?;
    testbed::load(&database, &data).map_err(|error| failed(&error))?;
    let threads = args.threads.unwrap_or_else(processors).max(1);
    let began = Instant::now();
    let end = began + Duration::from_secs(args.seconds);
    let readers: Vec<Result<Reads, Failure>> = thread::scope(|scope| {
        let database = &database;
        let readers = (0..threads as u64).map(|number| {
            let seed = args.seed ^ (number + 1);
            scope.spawn(move || match args.batch {
                1 => read_until(database, &data, end, seed),
                batch => batch::read_until(database, &data, (end, batch), seed),
            })
        });
        let readers: Vec<_> = readers.collect();
        let join = |reader: thread::ScopedJoinHandle<'_, _>| {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        readers.into_iter().map(join).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let mut all = Reads { count: 0, latencies: histogram() };
    for reader in readers {
        let reader = reader?;
        all.count += reader.count;
        all.latencies += &reader.latencies;
    }
    let memory_bytes = engine.status().memory_bytes;
    engine.close().map_err(|error| failed(&error))?;
    tell(args, &report(args, (threads, seconds), &all, memory_bytes));
    Ok(())
}

struct Reads {
    count: u64,
    latencies: Histogram<u64>,
}

/// A partition as a reader holds it.
struct Home {
    partition: Partition,
    table: Arc<Table>,
    view: View,
}

fn open_homes(database: &Database) -> Result<Vec<Home>, Failure> {
    let home = |partition: &Partition| {
        let (table, view) = (partition.table(TABLE)?, partition.view()?);
        Ok(Home { partition: partition.clone(), table, view })
    };
    let homes: Result<Vec<Home>, Error> = database.partitions().iter().map(home).collect();
    homes.map_err(|error| failed(&error))
}

fn read_until(
    database: &Database,
    data: &Dataset,
    end: Instant,
    seed: u64,
) -> Result<Reads, Failure> {
    let mut homes = open_homes(database)?;
    let mut rng = Rng::new(seed);
    let mut reads = Reads { count: 0, latencies: histogram() };
    let (mut scratch, mut encoded) = (Vec::new(), Vec::new());
    while Instant::now() < end {
        for number in 0..CHECK_EVERY {
            let key = rng.below(data.rows);
            let is_timed = number == 0;
            let began = is_timed.then(Instant::now);
            let checked = point(database, &mut homes, (key, &mut encoded), |payload| {
                if let Some(began) = began {
                    record(&mut reads.latencies, began.elapsed());
                    return data.check(key, payload, &mut scratch) == Ok(0);
                }
                payload.len() == data.row_bytes && payload.starts_with(&[0; 4])
            });
            if !checked.map_err(|error| failed(&error))? {
                return Err(wrong(format!("row {key} is missing or differs")));
            }
        }
        reads.count += CHECK_EVERY;
    }
    Ok(reads)
}

/// Reads one row by its key; whether it is there and `check` likes its payload.
fn point(
    database: &Database,
    homes: &mut [Home],
    (key, encoded): (u64, &mut Vec<u8>),
    check: impl FnOnce(&[u8]) -> bool,
) -> Result<bool, Error> {
    let value = [id(key)];
    let ordinal = database.partition_of(&homes[0].table, &value)?.ordinal();
    let Home { partition, table, view } = &mut homes[ordinal as usize];
    partition.refresh(view)?;
    table.primary_key_into(&value, encoded)?;
    is_right(table, (encoded, view.get(encoded)), check)
}

/// Whether a row is there and `check` likes its payload.
fn is_right(
    table: &Table,
    (key, row): (&[u8], Option<&[u8]>),
    check: impl FnOnce(&[u8]) -> bool,
) -> Result<bool, Error> {
    let Some(row) = row else { return Ok(false) };
    let row = RowView::new(table, key, row)?;
    match row.get(table.live()[1])? {
        ValueRef::Bytes(payload) => Ok(check(&payload)),
        _ => Ok(false),
    }
}

fn report(
    args: &ReadArgs,
    (threads, seconds): (usize, f64),
    all: &Reads,
    memory_bytes: u64,
) -> Report {
    Report {
        schema_version: 1,
        bench: "read",
        rows: args.rows,
        row_bytes: args.row_bytes,
        threads,
        batch: args.batch,
        reads: all.count,
        reads_per_s: per_second(all.count, seconds),
        p50_ns: all.latencies.value_at_quantile(0.5),
        p99_ns: all.latencies.value_at_quantile(0.99),
        memory_bytes,
        verified: true,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn tell(args: &ReadArgs, report: &Report) {
    if args.json {
        return output::json(report);
    }
    let per_thread = report.reads_per_s / report.threads as f64 / 1e6;
    output::line(format_args!(
        "reads    {:.2} M/s with {} threads, {per_thread:.2} M/s each",
        report.reads_per_s / 1e6,
        report.threads
    ));
    output::line(format_args!("latency  p50 {} ns   p99 {} ns", report.p50_ns, report.p99_ns));
    if report.batch > 1 {
        output::line(format_args!("         of batches of {}, divided by that", report.batch));
    }
    let packed = args.rows * (args.row_bytes as u64 + 8);
    output::line(format_args!(
        "memory   {:.2} x the packed bytes of the rows",
        report.memory_bytes as f64 / packed as f64
    ));
    output::line("verified every read by length and version, one in 64 byte by byte");
}
