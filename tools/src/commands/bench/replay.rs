//! `resprout bench replay`: a log without any snapshot becomes rows again.
//!
//! All rows are inserted in shuffled order, in transactions of 100, so that replay has to bring
//! them into key order; then the directory is opened, several times, and every row is checked.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use resprout_engine::{Durability, Engine};
use serde::Serialize;

use super::io_failed;
use super::recovery::parse_size;
use super::recovery::writer::write_all;
use crate::access::{DiskChoice, cannot_open};
use crate::bench::cache;
use crate::bench::dataset::Dataset;
use crate::bench::folder::BenchFolder;
use crate::bench::statistics::{median, per_second};
use crate::bench::testbed::{self, DATABASE, check_sizes, failed, wrong};
use crate::bench::verify::every_row;
use crate::failure::Failure;
use crate::output;
use crate::quantity::{Bytes, grouped, parse_count, rate};

/// Size of the log.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Number of rows, for example 10M
    #[arg(long, value_parser = parse_count, default_value = "2M")]
    pub rows: u64,
    /// Bytes of a row beside its 8-byte key
    #[arg(long, value_parser = parse_size, default_value = "100")]
    pub row_bytes: usize,
    /// Partitions
    #[arg(long, default_value_t = 8)]
    pub partitions: u32,
    /// How often to replay
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
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

#[derive(Clone, Copy, Serialize)]
struct Run {
    total_s: f64,
    rows_per_s: f64,
    bytes_per_s: f64,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    bench: &'static str,
    rows: u64,
    row_bytes: usize,
    partitions: u32,
    log_bytes: u64,
    runs: Vec<Run>,
    median: Run,
    verified: bool,
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, or a row is not what it must be.
pub fn run(args: &ReplayArgs) -> Result<(), Failure> {
    check_sizes(args.rows, args.row_bytes, args.partitions)?;
    let folder = BenchFolder::new(args.data.as_deref(), "replay")?;
    let dir = folder.join("node");
    let data = Dataset::new(args.rows, args.row_bytes, args.seed, 0.0);
    build(args, &dir, &data)?;
    let mut runs = Vec::new();
    let mut log_bytes = 0;
    for _ in 0..args.runs {
        cache::empty(&dir).map_err(io_failed("empty the page cache"))?;
        let (run, bytes) = replay_once(args, &dir, &data)?;
        log_bytes = bytes;
        if !args.json {
            output::line(line("run", &run));
        }
        runs.push(run);
    }
    let of = |field: fn(&Run) -> f64| median(runs.iter().map(field));
    let median = Run {
        total_s: of(|run| run.total_s),
        rows_per_s: of(|run| run.rows_per_s),
        bytes_per_s: of(|run| run.bytes_per_s),
    };
    if args.json {
        output::json(&Report {
            schema_version: 1,
            bench: "replay",
            rows: args.rows,
            row_bytes: args.row_bytes,
            partitions: args.partitions,
            log_bytes,
            runs,
            median,
            verified: true,
        });
    } else {
        output::line(line("median", &median));
        let (rows, log) = (grouped(args.rows), Bytes(log_bytes));
        output::line(format_args!("{rows} rows from {log} of log, every row verified in each run"));
    }
    Ok(())
}

/// Nobody waits for these commits: the data only have to be there in the end.
fn build(args: &ReplayArgs, dir: &Path, data: &Dataset) -> Result<(), Failure> {
    let options = testbed::options(args.disk)?;
    let shape = (args.partitions, Durability::Async);
    let (engine, database) = testbed::create(dir, options, shape, (args.row_bytes, 0))?;
    write_all(&database, data).map_err(|error| failed(&error))?;
    engine.close().map_err(|error| failed(&error))
}

fn replay_once(args: &ReplayArgs, dir: &Path, data: &Dataset) -> Result<(Run, u64), Failure> {
    let options = testbed::options(args.disk)?;
    let began = Instant::now();
    let recovery = Engine::recover(dir, options).map_err(|error| cannot_open(dir, &error))?;
    let outcome = recovery.wait_with_report();
    let total_s = began.elapsed().as_secs_f64();
    let (engine, report) = outcome.map_err(|error| cannot_open(dir, &error))?;
    if report.snapshot_bytes > 0 {
        return Err(wrong("there is a snapshot, so not all was replayed"));
    }
    let database = engine.database(DATABASE).map_err(|error| failed(&error))?;
    let count = every_row(&database, data, true, |_, found| match found.version {
        0 => Ok(()),
        other => Err(format!("row {}: version {other}", found.key)),
    })?;
    if count != args.rows {
        return Err(wrong(format!("{count} rows instead of {}", args.rows)));
    }
    engine.close().map_err(|error| failed(&error))?;
    let run = Run {
        total_s,
        rows_per_s: per_second(args.rows, total_s),
        bytes_per_s: per_second(report.log_bytes, total_s),
    };
    Ok((run, report.log_bytes))
}

fn line(name: &str, run: &Run) -> String {
    format!(
        "{name:<7} {:>8.3} s {:>8.2} M rows/s {:>14}",
        run.total_s,
        run.rows_per_s / 1e6,
        rate(run.bytes_per_s)
    )
}
