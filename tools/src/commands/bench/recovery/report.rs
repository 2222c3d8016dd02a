//! What `bench recovery` says, to people and to programs.

use std::fmt;

use serde::Serialize;

use super::RecoveryArgs;
use super::crash::Left;
use super::runs::Measured;
use crate::bench::statistics::median;
use crate::quantity::{Bytes, grouped, rate};

/// One recovery, or the median of all. Seconds, and amounts per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Run {
    /// From opening the directory until every partition serves.
    pub(super) total_s: f64,
    /// Until the last page of the last snapshot was loaded.
    pub(super) snapshot_s: f64,
    /// From there to the end; log work before it is hidden behind the reading.
    pub(super) log_s: f64,
    pub(super) rows_per_s: f64,
    pub(super) bytes_per_s: f64,
    pub(super) verified: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Device {
    sequential_read_bytes_per_s: f64,
}

/// The JSON that other tools read. Fields are added, never renamed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Result {
    schema_version: u32,
    bench: &'static str,
    rows: u64,
    row_bytes: usize,
    partitions: u32,
    snapshot_bytes: u64,
    log_bytes: u64,
    cold: bool,
    device: Device,
    runs: Vec<Run>,
    median: Run,
    ratio_to_device: f64,
    log_fraction: f64,
    secondary_indexes: u32,
    seed: u64,
    load_s: f64,
}

impl Result {
    pub(super) fn new(args: &RecoveryArgs, left: &Left, measured: &Measured) -> Self {
        let runs = measured.runs.clone();
        let of = |field: fn(&Run) -> f64| median(runs.iter().map(field));
        let median = Run {
            total_s: of(|run| run.total_s),
            snapshot_s: of(|run| run.snapshot_s),
            log_s: of(|run| run.log_s),
            rows_per_s: of(|run| run.rows_per_s),
            bytes_per_s: of(|run| run.bytes_per_s),
            verified: runs.iter().all(|run| run.verified),
        };
        let device = measured.device_bytes_per_s;
        Self {
            schema_version: 1,
            bench: "recovery",
            rows: args.rows,
            row_bytes: args.row_bytes,
            partitions: args.partitions,
            snapshot_bytes: left.snapshot_bytes,
            log_bytes: left.log_bytes,
            cold: !args.warm,
            device: Device { sequential_read_bytes_per_s: device },
            runs,
            median,
            ratio_to_device: if device > 0.0 { median.bytes_per_s / device } else { 0.0 },
            log_fraction: args.log_fraction,
            secondary_indexes: args.secondary_indexes,
            seed: args.seed,
            load_s: left.load_s,
        }
    }
}

pub(super) fn heading(args: &RecoveryArgs) -> String {
    let cache = if args.warm { "warm" } else { "page cache dropped before each run" };
    format!(
        "rows     {} of 8 + {} bytes in {} partitions, {} of them through the log, seed {}, {cache}",
        grouped(args.rows),
        args.row_bytes,
        args.partitions,
        args.log_fraction,
        args.seed,
    )
}

pub(super) fn loaded(args: &RecoveryArgs, left: &Left) -> String {
    let acknowledged = left.acknowledged.iter().flatten().count();
    format!(
        "load     snapshot {} + log {} in {:.1} s, then SIGKILL while {acknowledged} of {} partitions wrote\n\n{:>4} {:>10} {:>10} {:>10} {:>12} {:>14} {:>10}",
        Bytes(left.snapshot_bytes),
        Bytes(left.log_bytes),
        left.load_s,
        args.partitions,
        "run",
        "total",
        "snapshot",
        "log",
        "rows",
        "bytes",
        "verified",
    )
}

pub(super) fn run_line(number: u32, run: &Run) -> String {
    line(&number.to_string(), run)
}

fn line(name: &str, run: &Run) -> String {
    format!(
        "{name:>4} {:>8.3} s {:>8.3} s {:>8.3} s {:>9.2} M/s {:>14} {:>10}",
        run.total_s,
        run.snapshot_s,
        run.log_s,
        run.rows_per_s / 1e6,
        rate(run.bytes_per_s),
        if run.verified { "every row" } else { "NO" },
    )
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", line("med", &self.median))?;
        writeln!(f)?;
        write!(
            f,
            "device   {} best sequential read in this run; recovery reached {:.0} % of it",
            rate(self.device.sequential_read_bytes_per_s),
            self.ratio_to_device * 100.0
        )
    }
}
