//! `resprout bench replicate provision`: an image for a fresh replica, whose log its master does not have any
//! more; then images for the same replica when it differs in a hundredth of its pages.
//!
//! ```text
//!  each run: fresh replica ─► image ─► compare        its master gives the log up before each image
//!            cut off, 1 % scattered pages change ─► image ─► compare
//!            cut off, 1 % adjacent pages change  ─► image ─► compare
//! ```

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::pair::{Joined, Lead, Shape};
use super::rows::{Changed, Rows};
use super::yardstick::{Beside, Yardstick};
use super::{Common, DurabilityChoice, ModeChoice};
use crate::bench::folder::BenchFolder;
use crate::bench::memory;
use crate::bench::statistics::{median, per_second};
use crate::bench::testbed::{check_sizes, failed, wrong};
use crate::commands::bench::io_failed;
use crate::failure::Failure;
use crate::output;
use crate::quantity::{Bytes, parse_bytes, rate};

use super::member::REPLICA;

/// Log between two snapshots: more than a master keeps in memory, and so much that a slot of the arena is
/// behind the newest one.
const LOG_BYTES: u64 = 96 << 20;

/// How much is provisioned.
#[derive(Args, Clone, Debug)]
pub struct ProvisionArgs {
    /// Bytes of the rows
    #[arg(long, default_value = "256MiB", value_parser = parse_bytes)]
    pub size: u64,
    /// Runs, each with a fresh replica
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// What all figures have
    #[command(flatten)]
    pub common: Common,
}

/// An image for a replica that has most of it.
#[derive(Serialize)]
struct Differing {
    total_s: f64,
    /// All that came on the connection.
    travelled_bytes: u64,
    /// Of the bytes of all rows.
    share: f64,
}

#[derive(Serialize)]
struct Run {
    /// From the start of the connection until the replica follows, all readable and on its disk.
    total_s: f64,
    travelled_bytes: u64,
    /// Bytes of the rows.
    bytes_per_s: f64,
    #[serde(flatten)]
    beside: Beside,
    /// To the slower of loopback and disk.
    ratio_to_bound: f64,
    scattered: Differing,
    adjacent: Differing,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    bench: &'static str,
    row_bytes: usize,
    rows: u64,
    /// Bytes of keys and payloads.
    row_total_bytes: u64,
    runs: Vec<Run>,
    bytes_per_s: f64,
    ratio_to_bound: f64,
    scattered_share: f64,
    adjacent_share: f64,
    verified: bool,
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, or the copies differ.
pub fn run(args: &ProvisionArgs) -> Result<(), Failure> {
    check_sizes(1, args.common.row_bytes, 1)?;
    let folder = BenchFolder::new(args.common.data.as_deref(), "replicate-provision")?;
    let (durability, disk, row_bytes) =
        (DurabilityChoice::Async, args.common.disk, args.common.row_bytes);
    let shape = Shape { mode: ModeChoice::Sync, durability, disk, row_bytes };
    let lead = Lead::start(shape, &folder.join("master"))?;
    let mut rows = Rows::of(args.size, row_bytes);
    rows.fill(lead.partition()).map_err(|error| failed(&error))?;
    give_log_up(&lead, &mut rows, Changed::Adjacent)?;
    let mut yardstick = Yardstick::new(folder.path(), disk, rows.bytes())?;
    let mut runs = Vec::new();
    for number in 1..=u64::from(args.runs) {
        let dir = folder.join("replica");
        // Ids of runs grow with every image that a replica takes.
        let joined = lead.join(&dir, number * 16)?;
        runs.push(one_run(&lead, &joined, &mut rows, &mut yardstick)?);
        lead.part(&joined)?;
        lead.give_up_replica();
        drop(joined);
        std::fs::remove_dir_all(&dir).map_err(io_failed("remove the replica's data"))?;
    }
    let report = Report {
        schema_version: 1,
        bench: "replicate provision",
        row_bytes,
        rows: rows.data.rows,
        row_total_bytes: rows.bytes(),
        bytes_per_s: median(runs.iter().map(|run| run.bytes_per_s)),
        ratio_to_bound: median(runs.iter().map(|run| run.ratio_to_bound)),
        scattered_share: median(runs.iter().map(|run| run.scattered.share)),
        adjacent_share: median(runs.iter().map(|run| run.adjacent.share)),
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

fn one_run(
    lead: &Lead,
    joined: &Joined,
    rows: &mut Rows,
    yardstick: &mut Yardstick,
) -> Result<Run, Failure> {
    yardstick.before(&joined.sink)?;
    memory::touch(rows.bytes()).map_err(io_failed("allocate memory"))?;
    let (total_s, travelled_bytes) = provision(lead, joined)?;
    let beside = yardstick.behind(&joined.sink)?;
    verify(lead, joined, rows)?;
    let scattered = differing(lead, joined, rows, Changed::Scattered)?;
    let adjacent = differing(lead, joined, rows, Changed::Adjacent)?;
    let bytes_per_s = per_second(rows.bytes(), total_s);
    let ratio_to_bound = beside.share(bytes_per_s);
    Ok(Run { total_s, travelled_bytes, bytes_per_s, beside, ratio_to_bound, scattered, adjacent })
}

/// Seconds from the start of the connection until the replica follows, and what came on it.
fn provision(lead: &Lead, joined: &Joined) -> Result<(f64, u64), Failure> {
    let (end, run) = (lead.master.end()?, lead.run_of(REPLICA));
    let began = Instant::now();
    lead.meet(joined)?;
    let followed = joined.follow(end)?;
    let total_s = began.elapsed().as_secs_f64();
    lead.until_sync(REPLICA)?;
    // A copy with another image is another run.
    if lead.run_of(REPLICA) <= run {
        return Err(wrong("the replica followed the log: no image was needed".to_owned()));
    }
    Ok((total_s, followed.bytes))
}

/// The replica is cut off, some rows change, the log is given up, and it comes back.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn differing(
    lead: &Lead,
    joined: &Joined,
    rows: &mut Rows,
    which: Changed,
) -> Result<Differing, Failure> {
    lead.part(joined)?;
    lead.give_up_replica();
    give_log_up(lead, rows, which)?;
    let (total_s, travelled_bytes) = provision(lead, joined)?;
    verify(lead, joined, rows)?;
    let share = travelled_bytes as f64 / rows.bytes() as f64;
    Ok(Differing { total_s, travelled_bytes, share })
}

fn verify(lead: &Lead, joined: &Joined, rows: &Rows) -> Result<(), Failure> {
    let judge = |key, version| version == rows.version(key);
    lead.verify(joined, rows.data.rows, judge).map(drop)
}

/// Changes these rows again and again, until the log up to where it ends now is not kept any more.
fn give_log_up(lead: &Lead, rows: &mut Rows, which: Changed) -> Result<(), Failure> {
    let partition = lead.partition();
    let end = lead.master.end()?;
    let mut grown_to = end;
    while lead.master.copy.stored().first().0 <= end {
        let until = grown_to + LOG_BYTES;
        while grown_to < until {
            rows.change(partition, which).map_err(|error| failed(&error))?;
            grown_to = lead.master.copy.status().end.0;
        }
        partition.snapshot().map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn tell(report: &Report) {
    for run in &report.runs {
        output::line(format_args!(
            "fresh      {:.2} s  {}   loopback {}  durable writes {}   {:.0} % of the slower{}",
            run.total_s,
            rate(run.bytes_per_s),
            rate(run.beside.loopback_bytes_per_s),
            rate(run.beside.disk_bytes_per_s),
            run.ratio_to_bound * 100.0,
            if run.beside.noisy { "  (noisy)" } else { "" },
        ));
        for (name, of) in [("scattered", &run.scattered), ("adjacent ", &run.adjacent)] {
            output::line(format_args!(
                "{name}  {:.2} s  {} travelled, {:.2} % of the rows",
                of.total_s,
                Bytes(of.travelled_bytes),
                of.share * 100.0
            ));
        }
    }
    output::line(format_args!(
        "median     {}, {:.0} %; where a hundredth of the pages differs {:.2} % (scattered), {:.2} % (adjacent) travel",
        rate(report.bytes_per_s),
        report.ratio_to_bound * 100.0,
        report.scattered_share * 100.0,
        report.adjacent_share * 100.0
    ));
    output::line(format_args!("verified {} rows on both copies behind each image", report.rows));
}
