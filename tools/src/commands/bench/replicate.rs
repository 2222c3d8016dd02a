//! `resprout bench replicate`: single-row commits that a replica in another process follows; and, as figures
//! of their own, [`ship`], [`provision`] and [`rejoin`].
//!
//! ```text
//!  this process: master, authority, clients        its child: replica
//!     log ─────────────── TCP on 127.0.0.1 ───────────► log
//!     records, orders ─── stdin, lines of JSON ───────► copy
//!     authority ◄──────── stdout ────────────────────── requests, reports, answers
//! ```
//!
//! Beside the commits stand, in the same run, a bare round trip of 4 KiB and 64 bytes between the same
//! two processes, and durable commits of an engine without a replica.

mod lines;
mod member;
mod pair;
mod peer;
pub mod provision;
pub mod rejoin;
pub mod replica;
mod rows;
pub mod ship;
mod yardstick;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use hdrhistogram::Histogram;
use resprout_engine::{Durability, Error, Partition};
use resprout_replication::driver::MemoryAuthority;
use resprout_replication::{Instance, Mode};
use serde::Serialize;

use self::lines::{FromReplica, ToReplica};
use self::member::{Member, PARTITION, REPLICA, cannot};
use self::pair::{Lead, Shape};
use self::peer::Peer;
pub use super::commit::DurabilityChoice;
use super::commit::SEQUENCE_BITS;
use super::io_failed;
use super::recovery::parse_size;
use crate::access::DiskChoice;
use crate::bench::dataset::Dataset;
use crate::bench::device::{histogram, quantile_us, record};
use crate::bench::folder::BenchFolder;
use crate::bench::statistics::per_second;
use crate::bench::testbed::{self, TABLE, check_sizes, failed, wrong};
use crate::failure::{Exit, Failure};
use crate::output;

/// Whether commits wait for the replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ModeChoice {
    /// They do.
    #[default]
    Sync,
    /// They do not.
    Async,
}

/// What else than commits is measured.
#[derive(Clone, Debug, Subcommand)]
pub enum Figure {
    /// A replica that comes late follows a log that its master has
    Ship(ship::ShipArgs),
    /// A fresh replica gets an image; then one that differs in a hundredth of its pages
    Provision(provision::ProvisionArgs),
    /// A former master with a thousand transactions that nobody else has follows again
    Rejoin(rejoin::RejoinArgs),
}

/// What all figures have.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Bytes of a row beside its 8-byte key
    #[arg(long, value_parser = parse_size, default_value = "100")]
    pub row_bytes: usize,
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

/// Who commits what.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ReplicateArgs {
    /// Another figure than commits
    #[command(subcommand)]
    pub figure: Option<Figure>,
    /// Replication
    #[arg(long, value_enum, default_value_t)]
    pub mode: ModeChoice,
    /// Durability; with sync on both copies
    #[arg(long, value_enum, default_value = "async")]
    pub durability: DurabilityChoice,
    /// Clients, a thread each, with one commit on its way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub clients: u32,
    /// How long clients commit
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// What all figures have
    #[command(flatten)]
    pub common: Common,
}

#[derive(Serialize)]
struct Commits {
    commits: u64,
    commits_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    bench: &'static str,
    mode: String,
    durability: String,
    clients: u32,
    row_bytes: usize,
    replicated: Commits,
    /// 4 KiB there and 64 bytes back, between the same processes.
    loopback_p50_us: f64,
    above_loopback_us: f64,
    /// Durable commits without a replica.
    alone: Commits,
    ratio_to_alone: f64,
    /// From the order to the first acknowledged write; only where the replica may be promoted.
    promotion_ms: Option<f64>,
    verified: bool,
}

fn mode(mode: ModeChoice, durability: DurabilityChoice) -> Result<Mode, Failure> {
    let made = Mode::new(mode == ModeChoice::Sync, durability == DurabilityChoice::Sync);
    made.map_err(|why| {
        let fix = "choose --mode sync or --durability async";
        Failure::new("cannot run the bench", why, fix).exiting(Exit::Usage)
    })
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, the copies differ, or an acknowledged row is not on both.
pub fn run(args: &ReplicateArgs) -> Result<(), Failure> {
    match &args.figure {
        Some(Figure::Ship(args)) => ship::run(args),
        Some(Figure::Provision(args)) => provision::run(args),
        Some(Figure::Rejoin(args)) => rejoin::run(args),
        None => run_commits(args),
    }
}

fn run_commits(args: &ReplicateArgs) -> Result<(), Failure> {
    check_sizes(1, args.common.row_bytes, 1)?;
    let mode = mode(args.mode, args.durability)?;
    let folder = BenchFolder::new(args.common.data.as_deref(), "replicate")?;
    let alone = alone(args, &folder.join("alone"))?;
    let shape = Shape {
        mode: args.mode,
        durability: args.durability,
        disk: args.common.disk,
        row_bytes: args.common.row_bytes,
    };
    let lead = Lead::start(shape, &folder.join("master"))?;
    let joined = lead.join(&folder.join("replica"), 1)?;
    lead.meet(&joined)?;
    if mode.is_sync() {
        lead.until_sync(REPLICA)?;
    }
    let (master, authority, peer) = (&lead.master, &lead.authority, &joined.peer);
    let round = io_failed("measure the loopback");
    let mut stream = TcpStream::connect(&joined.echo).map_err(&round)?;
    let mut rounds = histogram();
    round_trips(&mut stream, &mut rounds).map_err(&round)?;
    let partition = master.copy.stored().partition();
    let (acknowledged, replicated) = commits(args, partition).map_err(|error| failed(&error))?;
    round_trips(&mut stream, &mut rounds).map_err(&round)?;
    let end = verify(args, master, peer, &acknowledged)?;
    let mut promotion_ms = None;
    if mode.is_sync() {
        promotion_ms = Some(promote(args, peer, authority)?);
        // The new master has everything, and the row that it has just acknowledged.
        let acknowledged = [&acknowledged[..], &[1]].concat();
        peer.order(&ToReplica::Verify { end, acknowledged })?;
        let FromReplica::Verified(_) = peer.answer()? else {
            return Err(wrong("the promoted replica answers something else".to_owned()));
        };
    }
    let loopback_p50_us = quantile_us(&rounds, 0.5);
    let report = Report {
        schema_version: 1,
        bench: "replicate",
        mode: format!("{:?}", args.mode).to_lowercase(),
        durability: format!("{:?}", args.durability).to_lowercase(),
        clients: args.clients,
        row_bytes: args.common.row_bytes,
        above_loopback_us: replicated.p50_us - loopback_p50_us,
        loopback_p50_us,
        ratio_to_alone: replicated.p50_us / alone.p50_us.max(f64::MIN_POSITIVE),
        replicated,
        alone,
        promotion_ms,
        verified: true,
    };
    if args.common.json {
        output::json(&report);
    } else {
        tell(&report);
    }
    Ok(())
}

fn round_trips(stream: &mut TcpStream, times: &mut Histogram<u64>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (request, mut answer) = ([0; 4096], [0; 64]);
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        let began = Instant::now();
        stream.write_all(&request)?;
        stream.read_exact(&mut answer)?;
        record(times, began.elapsed());
    }
    Ok(())
}

/// Lets all clients commit; what is acknowledged to each.
fn commits(args: &ReplicateArgs, partition: &Partition) -> Result<(Vec<u64>, Commits), Error> {
    let data = Dataset::new(1, args.common.row_bytes, 1, 0.0);
    let table = partition.table(TABLE)?;
    let began = Instant::now();
    let end = began + Duration::from_secs(args.seconds);
    let client = |number: u64| {
        let (mut acknowledged, mut times) = (0, histogram());
        while Instant::now() < end {
            let began = Instant::now();
            let mut txn = partition.begin()?;
            let key = number << SEQUENCE_BITS | acknowledged;
            txn.insert(&table, &testbed::row(&data, &table, key, 0))?;
            txn.commit()?;
            record(&mut times, began.elapsed());
            acknowledged += 1;
        }
        Ok((acknowledged, times))
    };
    let done: Vec<Result<(u64, Histogram<u64>), Error>> = thread::scope(|scope| {
        let client = &client;
        let clients = 0..u64::from(args.clients);
        let running: Vec<_> = clients.map(|number| scope.spawn(move || client(number))).collect();
        let join = running.into_iter().map(|client| client.join());
        join.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let (mut acknowledged, mut times) = (Vec::new(), histogram());
    for done in done {
        let (count, of) = done?;
        acknowledged.push(count);
        times += &of;
    }
    let commits = Commits {
        commits: times.len(),
        commits_per_s: per_second(times.len(), seconds),
        p50_us: quantile_us(&times, 0.5),
        p99_us: quantile_us(&times, 0.99),
        p999_us: quantile_us(&times, 0.999),
    };
    Ok((acknowledged, commits))
}

/// Durable commits of the same clients on one partition without a replica.
fn alone(args: &ReplicateArgs, dir: &Path) -> Result<Commits, Failure> {
    let options = testbed::options(args.common.disk)?;
    let shape = (1, Durability::Sync);
    let (engine, database) = testbed::create(dir, options, shape, (args.common.row_bytes, 0))?;
    let done = commits(args, &database.partitions()[0]).map_err(|error| failed(&error))?;
    drop(database);
    engine.close().map_err(|error| failed(&error))?;
    Ok(done.1)
}

/// Both have exactly what was acknowledged, each row whole, and one history; where it ends.
fn verify(
    args: &ReplicateArgs,
    master: &Member,
    peer: &Peer,
    acknowledged: &[u64],
) -> Result<u64, Failure> {
    let mine = master.verify(acknowledged, args.common.row_bytes)?;
    peer.order(&ToReplica::Verify { end: mine.end, acknowledged: acknowledged.to_vec() })?;
    match peer.answer()? {
        FromReplica::Verified(theirs) if theirs == mine => Ok(mine.end),
        other => Err(wrong(format!("the master has {mine:?}, the replica answers {other:?}"))),
    }
}

/// Milliseconds from the order to the first acknowledged write.
fn promote(args: &ReplicateArgs, peer: &Peer, authority: &MemoryAuthority) -> Result<f64, Failure> {
    let known = authority.record(PARTITION).map(|at| at.record.copy(Instance(REPLICA)));
    let run = known.unwrap_or_default().incarnation;
    let began = Instant::now();
    if !authority.promote(PARTITION, Instance(REPLICA), run) {
        return Err(cannot("cannot promote the replica")(
            "the record does not say that it is sync",
        ));
    }
    peer.order(&ToReplica::Write { key: u64::from(args.clients) << SEQUENCE_BITS, count: 1 })?;
    match peer.answer()? {
        FromReplica::Wrote { .. } => Ok(began.elapsed().as_secs_f64() * 1e3),
        other => Err(wrong(format!("asked to write, the replica answers {other:?}"))),
    }
}

fn tell(report: &Report) {
    for (name, of) in [("commits ", &report.replicated), ("alone   ", &report.alone)] {
        output::line(format_args!(
            "{name} {:.0}/s   p50 {:.0} us   p99 {:.0} us   p99.9 {:.0} us",
            of.commits_per_s, of.p50_us, of.p99_us, of.p999_us
        ));
    }
    output::line(format_args!(
        "loopback p50 {:.0} us; a commit took {:.0} us more, and {:.2} x a durable one alone",
        report.loopback_p50_us, report.above_loopback_us, report.ratio_to_alone
    ));
    if let Some(promotion_ms) = report.promotion_ms {
        output::line(format_args!("promoted {promotion_ms:.1} ms to the first write"));
    }
    output::line(format_args!("verified {} rows on both copies", report.replicated.commits));
}
