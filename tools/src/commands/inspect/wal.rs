//! `resprout inspect wal`: what the logs of a data directory hold, and how they end.
//!
//! The frames are read by the same code that recovery uses, on a disk that cannot write: what is
//! called torn or damaged here is what recovery would call so.

mod report;

pub(super) use report::sentence;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use resprout_engine::record::{OpKind, Record};
use resprout_wal::disk::{Cache, Disk, Open};
use resprout_wal::world::{OsEntropy, SystemClock};
use resprout_wal::{
    Damage, Device, DriverMode, Entry, Evidence, FoundLog, History, LogIdentity, Lsn, Options,
    SECTOR, Superblock, Tail, World,
};

use super::place::{self, Names, cannot};
use super::worse;
use crate::failure::{Exit, Failure, causes};
use crate::output;
use crate::read_only::ReadOnlyDisk;

/// Which logs, and what of them.
#[derive(Args, Clone, Debug)]
pub struct WalArgs {
    /// A data directory or its arena
    pub path: PathBuf,
    /// Only the log of this partition, for example demo:3
    #[arg(long, value_name = "DATABASE:ORDINAL")]
    pub partition: Option<String>,
    /// Counts by kind instead of records
    #[arg(long)]
    pub stats: bool,
    /// Begin at this position, `0:8192` or `8192`
    #[arg(long, value_name = "LSN", value_parser = parse_lsn)]
    pub from: Option<u64>,
    /// Most records per log
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<u64>,
    /// The result as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

fn parse_lsn(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0:").unwrap_or(text);
    digits.parse().map_err(|_| format!("'{text}' is no position; write 0:8192 or 8192"))
}

/// How a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing behind the end; `closed` if the node was stopped in order.
    Clean { at: Lsn, closed: bool },
    /// A crash left something unfinished.
    Torn { at: Lsn, bytes: u64 },
    /// Bytes that were durable are not there.
    Damaged { why: String },
}

impl End {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Clean { .. } => Exit::Done,
            Self::Torn { .. } => Exit::Torn,
            Self::Damaged { .. } => Exit::Damaged,
        }
    }
}

/// One record of a log.
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    lsn: Lsn,
    end: Lsn,
    term: u64,
    bytes: usize,
    record: Record<'a>,
}

/// Runs the command.
///
/// # Errors
/// If the files cannot be reached.
pub(super) fn run(args: &WalArgs) -> Result<Exit, Failure> {
    let arena = Arena::open(&args.path)?;
    let mut exit = Exit::Done;
    let mut reports = Vec::new();
    let mut matched = false;
    for log in arena.device.found() {
        let name = arena.names.of(&log.identity);
        if args.partition.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        matched = true;
        let mut report = report::Report::new(&name, &log, args);
        let (end, history) = arena.walk(&log, |seen| report.record(seen));
        exit = worse(exit, end.exit());
        report.finish(&end, &history);
        reports.push(report);
    }
    if let Some(wanted) = args.partition.as_ref().filter(|_| !matched) {
        let what = format!("cannot inspect the log of {wanted}");
        let why = format!("{} has no such log", args.path.display());
        return Err(
            Failure::new(what, why, "leave out --partition to see all").exiting(Exit::Usage)
        );
    }
    for lost in arena.device.unreadable() {
        exit = Exit::Damaged;
        if !args.json {
            output::line(format_args!("damaged: a slot of no known log: {lost:?}"));
        }
    }
    if args.json {
        output::json(&report::All::new(reports, arena.device.unreadable().len()));
    }
    Ok(exit)
}

/// An arena, open for reading.
pub(super) struct Arena {
    pub(super) device: Device,
    pub(super) names: Names,
    dir: PathBuf,
}

impl Arena {
    /// Opens the arena that `path` is or holds.
    ///
    /// # Errors
    /// If there is none, it is in use, or neither of its superblocks is good.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let file = place::arena(path)?;
        let dir = file.parent().unwrap_or(Path::new(".")).to_owned();
        let cluster = cluster_of(&file)?;
        let world = World {
            disk: Arc::new(ReadOnlyDisk),
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(OsEntropy),
        };
        let mut options = Options::new(cluster, 0);
        options.driver = DriverMode::Inline;
        options.slots_ahead = 0;
        let device = Device::open(world, &dir, options).map_err(|error| cannot(path, &error))?;
        let names = Names::read(&ReadOnlyDisk, place::data_dir(&dir).as_deref());
        Ok(Self { device, names, dir })
    }

    /// Reads a log from its first position to its end, handing every record to `each`; how it
    /// ends, and its terms as far as they are known.
    pub(super) fn walk(&self, log: &FoundLog, each: impl FnMut(&Seen<'_>)) -> (End, History) {
        let damaged = |why| (End::Damaged { why }, log.history.clone());
        self.try_walk(log, each).unwrap_or_else(damaged)
    }

    fn try_walk(
        &self,
        log: &FoundLog,
        mut each: impl FnMut(&Seen<'_>),
    ) -> Result<(End, History), String> {
        let damage = |damage: Damage| causes(&damage);
        let snapshots = self.snapshots(log.identity);
        // A snapshot proves that everything before it was durable.
        let evidence = Evidence { durable: snapshots.last().copied().unwrap_or(Lsn::ZERO) };
        // A log whose beginning was released may begin inside a group; recovery, too, begins at
        // a snapshot, which lies between groups.
        let released = log.first_lsn > Lsn::ZERO;
        let kept = snapshots.into_iter().find(|lsn| released && *lsn >= log.first_lsn);
        let from = kept.unwrap_or(log.first_lsn);
        let mut recovery = self.device.recover(log.identity, from, evidence).map_err(damage)?;
        while let Some(batch) = recovery.next().map_err(damage)? {
            for entry in batch.entries() {
                each(&seen(&entry)?);
            }
        }
        let recovered = recovery.finish().map_err(damage)?;
        let end = match recovered.tail {
            Tail::Clean => End::Clean { at: recovered.end, closed: recovered.clean },
            Tail::Torn { at, bytes } => End::Torn { at, bytes },
        };
        Ok((end, recovered.history))
    }

    /// Positions of the snapshots of this log whose headers can be read, in order.
    fn snapshots(&self, identity: LogIdentity) -> Vec<Lsn> {
        let paths = place::snapshots(&self.dir).unwrap_or_default();
        let opened = paths.iter().filter_map(|path| {
            resprout_snapshot::Snapshot::open(&ReadOnlyDisk, path, Some(identity)).ok()
        });
        let mut positions: Vec<_> = opened.map(|snapshot| snapshot.lsn()).collect();
        positions.sort_unstable();
        positions
    }
}

fn seen<'a>(entry: &Entry<'a>) -> Result<Seen<'a>, String> {
    let bytes = entry.bytes;
    let record = Record::decode(bytes)
        .map_err(|error| format!("the record in the group at LSN {}: {error}", entry.lsn))?;
    Ok(Seen { lsn: entry.lsn, end: entry.end, term: entry.term.0, bytes: bytes.len(), record })
}

/// The cluster that an arena says it belongs to, from whichever superblock is good.
fn cluster_of(path: &Path) -> Result<u128, Failure> {
    let file = ReadOnlyDisk.open(path, Open::Read, Cache::Buffered);
    let file = file.map_err(|error| cannot(path, &error))?;
    let mut flaw = None;
    for copy in 0..2 {
        let mut sector = [0; SECTOR];
        file.read_at(&mut sector, copy * SECTOR as u64).map_err(|error| cannot(path, &error))?;
        match Superblock::decode(&sector) {
            Ok(superblock) => return Ok(superblock.cluster),
            Err(error) => flaw = Some(error),
        }
    }
    let why = flaw.map_or_else(String::new, |flaw| format!("neither superblock is good: {flaw}"));
    let what = format!("cannot inspect {}", path.display());
    Err(Failure::new(what, why, "restore the file from a copy").exiting(Exit::Damaged))
}

/// Words for operations, in the order in which they are shown.
const KINDS: [(OpKind, &str); 4] = [
    (OpKind::Insert, "INSERT"),
    (OpKind::Update, "UPDATE"),
    (OpKind::Delete, "DELETE"),
    (OpKind::DeleteRange, "DELETE RANGE"),
];
