//! `resprout inspect snapshot`: what a snapshot says of itself, and whether every byte of it is
//! what was written.

use std::path::{Path, PathBuf};

use clap::Args;
use resprout_snapshot::{Header, Inspection, Statistics, Verdict, inspect};
use resprout_wal::disk::{Disk, open_default};
use serde::Serialize;

use super::place::{self, Names, cannot};
use super::worse;
use crate::failure::{Exit, Failure, causes};
use crate::output;
use crate::quantity::{Bytes, grouped};

/// Which snapshot.
#[derive(Args, Clone, Debug)]
pub struct SnapshotArgs {
    /// A snapshot file, or a directory with snapshots below
    pub path: PathBuf,
    /// Counts from the page directory
    #[arg(long)]
    pub stats: bool,
    /// The result as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// JSON of one snapshot. Fields are added, never renamed.
#[derive(Serialize)]
pub(super) struct Told {
    path: PathBuf,
    pub(super) partition: Option<String>,
    instance: Option<String>,
    lsn: Option<u64>,
    term: Option<u64>,
    chain: Option<String>,
    history: Vec<(u64, u64)>,
    bytes: Option<u64>,
    rows: Option<u64>,
    pages: Option<u64>,
    leaves: Option<u64>,
    directory_bytes: Option<u64>,
    chunks: Option<u64>,
    verdict: &'static str,
    pub(super) damage: Option<String>,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    snapshots: Vec<Told>,
}

/// Runs the command.
///
/// # Errors
/// If the files cannot be reached.
pub(super) fn run(args: &SnapshotArgs) -> Result<Exit, Failure> {
    let disk = open_default();
    let names = Names::read(disk.as_ref(), place::data_dir(&args.path).as_deref());
    let mut exit = Exit::Done;
    let mut snapshots = Vec::new();
    let paths = place::snapshots(&args.path)?;
    if paths.is_empty() && !args.json {
        output::line("no snapshots");
    }
    for path in paths {
        let (told, inspection) = look(disk.as_ref(), &path, &names)?;
        exit = worse(exit, exit_of(&inspection.verdict));
        if !args.json {
            tell(&told, &inspection, args.stats);
        }
        snapshots.push(told);
    }
    if args.json {
        output::json(&Report { schema_version: 1, snapshots });
    }
    Ok(exit)
}

/// Reads all of one snapshot.
///
/// # Errors
/// If it cannot be reached.
pub(super) fn look(
    disk: &dyn Disk,
    path: &Path,
    names: &Names,
) -> Result<(Told, Inspection), Failure> {
    let inspection = inspect(disk, path, |_, _| ()).map_err(|error| cannot(path, &error))?;
    let header = inspection.header.as_ref();
    let statistics = inspection.statistics.as_ref();
    let number = |of: fn(&Statistics) -> u64| statistics.map(of);
    let damage = match &inspection.verdict {
        Verdict::Clean => None,
        Verdict::Damaged(error) => Some(causes(error)),
    };
    let told = Told {
        path: path.to_owned(),
        partition: header.map(|header| names.of(&header.identity)),
        instance: header.map(|header| format!("{:016x}", header.identity.instance)),
        lsn: header.map(|header| header.lsn.0),
        term: header.map(|header| header.term.0),
        chain: header.map(|header| format!("{:016x}", header.chain)),
        history: header.map(history).unwrap_or_default(),
        bytes: number(|s| s.bytes),
        rows: number(|s| s.rows),
        pages: number(|s| s.pages),
        leaves: number(|s| s.leaves),
        directory_bytes: number(|s| s.directory_bytes),
        chunks: number(|s| s.chunks),
        verdict: if damage.is_none() { "clean" } else { "damaged" },
        damage,
    };
    Ok((told, inspection))
}

/// Exit code of a verdict.
pub(super) fn exit_of(verdict: &Verdict) -> Exit {
    match verdict {
        Verdict::Clean => Exit::Done,
        Verdict::Damaged(_) => Exit::Damaged,
    }
}

fn history(header: &Header) -> Vec<(u64, u64)> {
    header.history.entries().iter().map(|entry| (entry.term.0, entry.start.0)).collect()
}

/// One snapshot for people.
pub(super) fn tell(told: &Told, inspection: &Inspection, stats: bool) {
    output::line(told.path.display());
    if let Some(header) = &inspection.header {
        let partition = told.partition.as_deref().unwrap_or_default();
        let (lsn, term) = (header.lsn, header.term);
        output::line(format_args!("  partition {partition}   LSN {lsn}   term {term}"));
    }
    if let Some(statistics) = &inspection.statistics {
        output::line(format_args!(
            "  {}, {} rows and index entries in {} pages",
            Bytes(statistics.bytes),
            grouped(statistics.rows),
            grouped(statistics.pages)
        ));
        if stats {
            tell_statistics(statistics);
        }
    }
    match &told.damage {
        None => output::line("  clean: every byte was checked"),
        Some(damage) => output::line(format_args!("  damaged: {damage}")),
    }
}

fn tell_statistics(statistics: &Statistics) {
    let counts = [
        ("leaves", statistics.leaves),
        ("leaves of several pages", statistics.long_leaves),
        ("pages of the longest leaf", u64::from(statistics.longest_run)),
        ("most rows in one leaf", u64::from(statistics.most_rows)),
        ("digests", statistics.chunks),
        ("bytes of separators", statistics.separator_bytes),
        ("bytes of the directory", statistics.directory_bytes),
        ("bytes of the schema", statistics.schema_bytes),
    ];
    for (name, count) in counts {
        output::line(format_args!("  {name:<26} {:>14}", grouped(count)));
    }
}
