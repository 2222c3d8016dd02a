//! `resprout inspect wal`: what the logs of a data directory hold, and how they end.
//!
//! The frames are read by the same code that recovery uses, on a disk that cannot write: what is
//! called torn or damaged here is what recovery would call so.

mod frames;
mod records;
mod report;
mod statistics;

use std::path::PathBuf;

use clap::Args;
use resprout_engine::record::OpKind;
use resprout_wal::inspect::LogInfo;

use self::frames::Frames;
use self::records::Records;
use self::report::{All, Report};
use self::statistics::Statistics;
use super::arena::{Arena, Seen, Visitor};
use super::tables::Tables;
use super::worse;
use crate::failure::{Exit, Failure};
use crate::output;

/// Which logs, and what of them.
#[derive(Args, Clone, Debug)]
pub struct WalArgs {
    /// A data directory or its arena
    pub path: PathBuf,
    /// Only the log of this partition, for example demo:3
    #[arg(long, value_name = "DATABASE:ORDINAL")]
    pub partition: Option<String>,
    /// Frames as they lie in the arena, instead of records
    #[arg(long, conflicts_with_all = ["stats", "table"])]
    pub frames: bool,
    /// Counts by kind and table instead of records
    #[arg(long)]
    pub stats: bool,
    /// Only records that change this table, and of them only what concerns it
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Begin at this position, `0:8192` or `8192`
    #[arg(long, value_name = "LSN", value_parser = parse_lsn)]
    pub from: Option<u64>,
    /// Most records or frames per log
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

/// From where on how many are shown.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: u64,
    left: u64,
}

impl Window {
    fn of(args: &WalArgs) -> Self {
        Self { from: args.from.unwrap_or(0), left: args.limit.unwrap_or(u64::MAX) }
    }

    /// Whether what ends at `end` is shown; counts it.
    fn takes(&mut self, end: u64) -> bool {
        let takes = end > self.from && self.left > 0;
        self.left -= u64::from(takes);
        takes
    }
}

/// Runs the command.
///
/// # Errors
/// If the files cannot be reached, or there is no such partition or table.
pub(super) fn run(args: &WalArgs) -> Result<Exit, Failure> {
    let arena = Arena::open(&args.path)?;
    let mut logs = arena.logs();
    if let Some(wanted) = &args.partition {
        logs.retain(|log| arena.names.of(&log.identity) == *wanted);
        if logs.is_empty() {
            let why = format!("{} has no such log", args.path.display());
            let fix = "leave out --partition to see all";
            return Err(refused(&format!("the log of {wanted}"), why, fix));
        }
    }
    if let Some(table) = &args.table {
        check_table(&arena, &logs, table)?;
    }
    let mut exit = Exit::Done;
    let mut reports = Vec::new();
    for log in &logs {
        let report = one(&arena, log, args);
        exit = worse(exit, report.exit());
        reports.push(report);
    }
    for lost in arena.unreadable() {
        exit = Exit::Damaged;
        if !args.json {
            output::line(format_args!("damaged: a slot of no known log: {lost:?}"));
        }
    }
    if args.json {
        output::json(&All::new(reports, arena.unreadable().len()));
    }
    Ok(exit)
}

fn one(arena: &Arena, log: &LogInfo, args: &WalArgs) -> Report {
    let name = arena.names.of(&log.identity);
    let mut report = Report::new(&name, log);
    if !args.json {
        report.tell_head();
    }
    let mut seeing = Seeing {
        tables: Tables::of_snapshots(&arena.snapshots(log)),
        statistics: Statistics::default(),
        records: (!args.frames && !args.stats).then(|| Records::new(args)),
        frames: args.frames.then(|| Frames::new(args)),
        table: args.table.as_deref(),
    };
    let (end, history) = arena.walk(log, &mut seeing);
    if let Some(frames) = &mut seeing.frames {
        frames.end(&end);
    }
    report.finish(&end, &history, seeing);
    if !args.json {
        report.tell_end(&end, args.stats);
    }
    report
}

/// What is noted while a log is read.
struct Seeing<'a> {
    tables: Tables,
    statistics: Statistics,
    records: Option<Records>,
    frames: Option<Frames>,
    table: Option<&'a str>,
}

impl Visitor for Seeing<'_> {
    fn frames(&mut self, frames: &[resprout_wal::inspect::FrameInfo]) {
        for frame in frames {
            self.statistics.frame(frame);
            if let Some(shown) = &mut self.frames {
                shown.good(frame);
            }
        }
    }

    fn record(&mut self, seen: &Seen<'_>) {
        self.tables.learn(&seen.record);
        let counts = self.statistics.record(seen, &self.tables, self.table);
        if let Some(records) = &mut self.records
            && (self.table.is_none() || !counts.is_empty())
        {
            records.record(seen, counts);
        }
    }
}

/// Refuses the name of a table that no log and no snapshot knows.
fn check_table(arena: &Arena, logs: &[LogInfo], table: &str) -> Result<(), Failure> {
    struct Learning(Tables);
    impl Visitor for Learning {
        fn record(&mut self, seen: &Seen<'_>) {
            self.0.learn(&seen.record);
        }
    }
    let mut known = Vec::new();
    for log in logs {
        let mut learning = Learning(Tables::of_snapshots(&arena.snapshots(log)));
        // Damage is told by the walk that shows the records.
        let _ = arena.walk(log, &mut learning);
        known.extend(learning.0.names().into_iter().map(str::to_owned));
    }
    if known.iter().any(|name| name == table) {
        return Ok(());
    }
    known.sort_unstable();
    known.dedup();
    let why = match known.as_slice() {
        [] => "no catalog of these logs can be read, or there are no tables".to_owned(),
        known => format!("the tables are {}", known.join(", ")),
    };
    Err(refused(&format!("the records of table '{table}'"), why, "leave out --table to see all"))
}

fn refused(what: &str, why: String, fix: &str) -> Failure {
    Failure::new(format!("cannot inspect {what}"), why, fix).exiting(Exit::Usage)
}

/// Words for operations, in the order in which they are shown.
const KINDS: [(OpKind, &str); 4] = [
    (OpKind::Insert, "INSERT"),
    (OpKind::Update, "UPDATE"),
    (OpKind::Delete, "DELETE"),
    (OpKind::DeleteRange, "DELETE RANGE"),
];
