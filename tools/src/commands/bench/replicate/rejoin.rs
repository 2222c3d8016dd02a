//! `resprout bench replicate rejoin`: a master that was cut off has transactions that nobody else has; the other
//! copy leads and writes; the connection comes back.
//!
//! ```text
//!  this process   leads │ cut off, 1,000 commits nobody hears of │ fenced  │ connects … follows in step │ leads again
//!  its child    follows │                        leads, writes ──┤         │                            │ follows
//!                                                                └─────────┴── time ───────────────────►│ compare
//! ```

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use clap::Args;
use resprout_engine::{Committed, Error};
use resprout_replication::{Instance, State};
use resprout_wal::Lsn;
use serde::Serialize;

use super::lines::{FromReplica, ToReplica};
use super::member::{MASTER, PARTITION, REPLICA, cannot, until};
use super::pair::{Joined, Lead, Shape};
use super::rows::Rows;
use super::{Common, DurabilityChoice, ModeChoice, round_trips};
use crate::bench::device::{WriteProbe, histogram, quantile_us};
use crate::bench::folder::BenchFolder;
use crate::bench::statistics::median;
use crate::bench::testbed::{self, TABLE, check_sizes, failed, wrong};
use crate::commands::bench::io_failed;
use crate::failure::Failure;
use crate::output;
use crate::quantity::{Bytes, parse_bytes};

/// Keys of rows that nobody else has begin here.
const LOST_KEYS: u64 = 1 << 50;
/// Keys of rows that the other copy writes meanwhile begin here.
const NEW_KEYS: u64 = 1 << 51;
/// How long the device is looked at before each run.
const DEVICE_SLICE: Duration = Duration::from_millis(100);

/// How large the databases are.
#[derive(Args, Clone, Debug)]
pub struct RejoinArgs {
    /// Bytes of the rows, one database after the other
    #[arg(long, default_value = "64MiB", value_delimiter = ',', value_parser = parse_bytes)]
    pub sizes: Vec<u64>,
    /// Transactions that nobody else has
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub transactions: u64,
    /// Runs with each database
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// What all figures have
    #[command(flatten)]
    pub common: Common,
}

/// From the start of the connection on.
#[derive(Clone, Copy, Debug, Serialize)]
struct Times {
    /// Until the copy shows everything that its master has acknowledged.
    rejoin_ms: f64,
    /// Until there is a connection.
    connected_ms: f64,
    /// Until the tail is taken back and the copy follows.
    following_ms: f64,
}

#[derive(Serialize)]
struct Run {
    #[serde(flatten)]
    times: Times,
    /// What it had to take back.
    cut_bytes: u64,
    /// 4 KiB there and 64 bytes back, between the same processes, just before.
    loopback_p50_us: f64,
    /// A bare durable write of 4 KiB, just before.
    device_p50_us: f64,
}

#[derive(Serialize)]
struct Size {
    row_total_bytes: u64,
    rows: u64,
    runs: Vec<Run>,
    rejoin_ms: f64,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    bench: &'static str,
    row_bytes: usize,
    transactions: u64,
    sizes: Vec<Size>,
    /// The median of the largest database over that of the smallest.
    growth: f64,
    verified: bool,
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, the copies differ, or a transaction that nobody else has was acknowledged.
pub fn run(args: &RejoinArgs) -> Result<(), Failure> {
    check_sizes(1, args.common.row_bytes, 1)?;
    let folder = BenchFolder::new(args.common.data.as_deref(), "replicate-rejoin")?;
    let mut sizes = Vec::new();
    for (number, size) in args.sizes.iter().enumerate() {
        let dir = folder.join(&number.to_string());
        sizes.push(with_size(args, &dir, *size)?);
        std::fs::remove_dir_all(&dir).map_err(io_failed("remove the data"))?;
    }
    let by_size = |size: &&Size| size.row_total_bytes;
    let of = |size: Option<&Size>| size.map_or(0.0, |size| size.rejoin_ms);
    let (small, large) = (sizes.iter().min_by_key(by_size), sizes.iter().max_by_key(by_size));
    let report = Report {
        schema_version: 1,
        bench: "replicate rejoin",
        row_bytes: args.common.row_bytes,
        transactions: args.transactions,
        growth: of(large) / of(small).max(f64::MIN_POSITIVE),
        sizes,
        verified: true,
    };
    if args.common.json {
        output::json(&report);
    } else {
        tell(&report);
    }
    Ok(())
}

fn with_size(args: &RejoinArgs, dir: &Path, size: u64) -> Result<Size, Failure> {
    let (durability, disk, row_bytes) =
        (DurabilityChoice::Async, args.common.disk, args.common.row_bytes);
    let shape = Shape { mode: ModeChoice::Sync, durability, disk, row_bytes };
    let lead = Lead::start(shape, &dir.join("master"))?;
    let rows = Rows::of(size, row_bytes);
    rows.fill(lead.partition()).map_err(|error| failed(&error))?;
    let joined = lead.join(&dir.join("replica"), 1)?;
    lead.meet(&joined)?;
    joined.follow(lead.master.end()?)?;
    let mut device = WriteProbe::new(dir).map_err(io_failed("probe the device"))?;
    let mut stream =
        std::net::TcpStream::connect(&joined.echo).map_err(io_failed("measure the loopback"))?;
    let mut runs = Vec::new();
    for number in 0..u64::from(args.runs) {
        lead.until_sync(REPLICA)?;
        let mut rounds = histogram();
        round_trips(&mut stream, &mut rounds).map_err(io_failed("measure the loopback"))?;
        let device = device.run(DEVICE_SLICE).map_err(io_failed("probe the device"))?;
        let (times, cut_bytes) = rejoin(args, &lead, &joined, (&rows, number))?;
        runs.push(Run {
            times,
            cut_bytes,
            loopback_p50_us: quantile_us(&rounds, 0.5),
            device_p50_us: device.as_secs_f64() * 1e6,
        });
        let total = rows.data.rows + (number + 1) * args.transactions;
        lead.verify(&joined, total, |key, version| {
            let is_new = key.wrapping_sub(NEW_KEYS) < (number + 1) * args.transactions;
            version == 0 && (key < rows.data.rows || is_new)
        })?;
        promote(&lead, MASTER)?;
        lead.until_online()?;
    }
    let rejoin_ms = median(runs.iter().map(|run| run.times.rejoin_ms));
    Ok(Size { row_total_bytes: rows.bytes(), rows: rows.data.rows, runs, rejoin_ms })
}

/// One divergence, from the cut to the copy in step again: its times, and bytes that it took back.
fn rejoin(
    args: &RejoinArgs,
    lead: &Lead,
    joined: &Joined,
    (rows, number): (&Rows, u64),
) -> Result<(Times, u64), Failure> {
    lead.part(joined)?;
    let common = lead.master.end()?;
    let mut lost = commit_in_vain(lead, rows, args.transactions)?;
    promote(lead, REPLICA)?;
    let (key, count) = (NEW_KEYS + number * args.transactions, args.transactions);
    joined.peer.order(&ToReplica::Write { key, count })?;
    let FromReplica::Wrote { end } = joined.peer.answer()? else {
        return Err(wrong("asked to write, the replica answers something else".to_owned()));
    };
    let copy = &lead.master.copy;
    until("the former master is fenced", || copy.status().state == State::Connecting)?;
    let cut_bytes = lead.master.end()?.saturating_sub(common);
    let began = Instant::now();
    lead.meet(joined)?;
    let ms = || began.elapsed().as_secs_f64() * 1e3;
    let is_connected =
        || lead.master.transport.status().iter().any(|peer| peer.connected.is_some());
    until("there is a connection", is_connected)?;
    let connected_ms = ms();
    until("the former master follows", || copy.status().state == State::Replicating)?;
    let following_ms = ms();
    until("the former master is in step", || copy.stored().shown() >= Lsn(end))?;
    let times = Times { rejoin_ms: ms(), connected_ms, following_ms };
    for commit in &mut lost {
        match poll(commit) {
            Poll::Ready(Err(Error::OutcomeUnknown(_))) => {}
            other => return Err(wrong(format!("a commit that nobody heard of: {other:?}"))),
        }
    }
    lead.until_sync(MASTER)?;
    Ok((times, cut_bytes))
}

fn promote(lead: &Lead, number: u64) -> Result<(), Failure> {
    if lead.authority.promote(PARTITION, Instance(number), lead.run_of(number)) {
        return Ok(());
    }
    Err(cannot("cannot promote a copy")("the record does not say that it is sync"))
}

type Waiting = Pin<Box<dyn Future<Output = Result<Committed, Error>>>>;

fn poll(commit: &mut Waiting) -> Poll<Result<Committed, Error>> {
    commit.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Commits transactions that only this copy's log gets. None of them is acknowledged.
fn commit_in_vain(lead: &Lead, rows: &Rows, count: u64) -> Result<Vec<Waiting>, Failure> {
    let begin = |key| {
        let table = lead.partition().table(TABLE)?;
        let mut txn = lead.partition().begin()?;
        txn.insert(&table, &testbed::row(&rows.data, &table, key, 0))?;
        Ok(Box::pin(txn.commit_async()) as Waiting)
    };
    let mut waiting = Vec::new();
    for key in LOST_KEYS..LOST_KEYS + count {
        let mut commit = begin(key).map_err(|error: Error| failed(&error))?;
        if let Poll::Ready(done) = poll(&mut commit) {
            return Err(wrong(format!("a commit that nobody heard of: {done:?}")));
        }
        waiting.push(commit);
    }
    Ok(waiting)
}

fn tell(report: &Report) {
    for size in &report.sizes {
        for run in &size.runs {
            output::line(format_args!(
                "{:>9}  in step after {:.1} ms (connected {:.1}, following {:.1})   {} taken back   round trip p50 {:.0} us  durable write p50 {:.0} us",
                Bytes(size.row_total_bytes),
                run.times.rejoin_ms,
                run.times.connected_ms,
                run.times.following_ms,
                Bytes(run.cut_bytes),
                run.loopback_p50_us,
                run.device_p50_us
            ));
        }
        output::line(format_args!(
            "{:>9}  median {:.1} ms; verified {} rows on both copies",
            Bytes(size.row_total_bytes),
            size.rejoin_ms,
            size.rows
        ));
    }
    output::line(format_args!(
        "{} transactions that nobody else had; largest database over smallest: {:.2} x",
        report.transactions, report.growth
    ));
}
