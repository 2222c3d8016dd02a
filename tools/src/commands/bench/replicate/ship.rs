//! `resprout bench replicate ship`: a replica that comes late follows a log that its master has had all along.
//!
//! ```text
//!  master: fill ─┬─ yardstick · fresh replica connects … has all, readable and on its disk · yardstick · compare ─┬─ …
//!                └──────────────────────────────────── each run ──────────────────────────────────────────────────┘
//! ```

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::pair::{Lead, Shape};
use super::rows::Rows;
use super::yardstick::{Beside, Yardstick};
use super::{Common, DurabilityChoice, ModeChoice, mode};
use crate::bench::folder::BenchFolder;
use crate::bench::memory;
use crate::bench::statistics::{median, per_second};
use crate::bench::testbed::{check_sizes, failed};
use crate::commands::bench::io_failed;
use crate::failure::Failure;
use crate::output;
use crate::quantity::{parse_bytes, rate};

/// How much is shipped.
#[derive(Args, Clone, Debug)]
pub struct ShipArgs {
    /// Bytes of the rows whose log is shipped
    #[arg(long, default_value = "256MiB", value_parser = parse_bytes)]
    pub size: u64,
    /// Runs, each with a fresh replica
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Durability of both copies
    #[arg(long, value_enum, default_value = "async")]
    pub durability: DurabilityChoice,
    /// What all figures have
    #[command(flatten)]
    pub common: Common,
}

#[derive(Serialize)]
struct Run {
    /// From the start of the connection until the replica has all, readable and on its disk.
    total_s: f64,
    received_s: f64,
    shown_s: f64,
    bytes_per_s: f64,
    #[serde(flatten)]
    beside: Beside,
    /// To the slower of loopback and disk.
    ratio_to_bound: f64,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    bench: &'static str,
    durability: String,
    row_bytes: usize,
    rows: u64,
    /// Shipped in each run.
    log_bytes: u64,
    runs: Vec<Run>,
    bytes_per_s: f64,
    ratio_to_bound: f64,
    verified: bool,
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, or the copies differ.
pub fn run(args: &ShipArgs) -> Result<(), Failure> {
    check_sizes(1, args.common.row_bytes, 1)?;
    mode(ModeChoice::Sync, args.durability)?;
    let folder = BenchFolder::new(args.common.data.as_deref(), "replicate-ship")?;
    let (durability, disk, row_bytes) = (args.durability, args.common.disk, args.common.row_bytes);
    let shape = Shape { mode: ModeChoice::Sync, durability, disk, row_bytes };
    let lead = Lead::start(shape, &folder.join("master"))?;
    let rows = Rows::of(args.size, row_bytes);
    rows.fill(lead.partition()).map_err(|error| failed(&error))?;
    let log_bytes = lead.master.end()?;
    let mut yardstick = Yardstick::new(folder.path(), disk, log_bytes)?;
    let mut runs = Vec::new();
    for number in 1..=u64::from(args.runs) {
        let dir = folder.join("replica");
        let joined = lead.join(&dir, number)?;
        yardstick.before(&joined.sink)?;
        memory::touch(rows.bytes()).map_err(io_failed("allocate memory"))?;
        let began = Instant::now();
        lead.meet(&joined)?;
        let followed = joined.follow(log_bytes)?;
        let total_s = began.elapsed().as_secs_f64();
        let beside = yardstick.behind(&joined.sink)?;
        lead.verify(&joined, rows.data.rows, |key, version| version == rows.version(key))?;
        lead.part(&joined)?;
        lead.give_up_replica();
        drop(joined);
        std::fs::remove_dir_all(&dir).map_err(io_failed("remove the replica's data"))?;
        let bytes_per_s = per_second(log_bytes, total_s);
        let (received_s, shown_s) = (followed.received_s, followed.shown_s);
        let ratio_to_bound = beside.share(bytes_per_s);
        runs.push(Run { total_s, received_s, shown_s, bytes_per_s, beside, ratio_to_bound });
    }
    let report = Report {
        schema_version: 1,
        bench: "replicate ship",
        durability: format!("{durability:?}").to_lowercase(),
        row_bytes,
        rows: rows.data.rows,
        log_bytes,
        bytes_per_s: median(runs.iter().map(|run| run.bytes_per_s)),
        ratio_to_bound: median(runs.iter().map(|run| run.ratio_to_bound)),
        runs,
        verified: true,
    };
    if args.common.json {
        output::json(&report);
    } else {
        tell(&report);
    }
    Ok(())
}

fn tell(report: &Report) {
    for run in &report.runs {
        output::line(format_args!(
            "shipped  {:.2} s  {}   loopback {}  durable writes {}   {:.0} % of the slower{}",
            run.total_s,
            rate(run.bytes_per_s),
            rate(run.beside.loopback_bytes_per_s),
            rate(run.beside.disk_bytes_per_s),
            run.ratio_to_bound * 100.0,
            if run.beside.noisy { "  (noisy)" } else { "" },
        ));
    }
    output::line(format_args!(
        "median   {}, {:.0} %; verified {} rows on both copies in each run",
        rate(report.bytes_per_s),
        report.ratio_to_bound * 100.0,
        report.rows
    ));
}
