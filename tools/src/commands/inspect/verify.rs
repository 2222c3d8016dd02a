//! `resprout inspect verify`: everything in a data directory, byte by byte: its identity, its
//! databases, every log, every snapshot.

use std::path::PathBuf;

use clap::Args;
use resprout_engine::{Identity, Manifest};
use serde::Serialize;

use super::arena::{Arena, End, Seen, Visitor};
use super::place::{self, Names};
use super::{snapshot, worse};
use crate::failure::{Exit, Failure, causes};
use crate::output;
use crate::read_only::ReadOnlyDisk;

/// Which directory.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// A data directory
    pub path: PathBuf,
    /// The result as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    what: String,
    verdict: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    verdict: &'static str,
    findings: Vec<Finding>,
}

struct Findings {
    all: Vec<Finding>,
    exit: Exit,
    is_json: bool,
}

impl Findings {
    fn note(&mut self, what: String, exit: Exit, detail: String) {
        self.exit = worse(self.exit, exit);
        let verdict = word(exit);
        if !self.is_json {
            output::line(format_args!("{verdict:<8} {what:<28} {detail}"));
        }
        self.all.push(Finding { what, verdict, detail });
    }
}

fn word(exit: Exit) -> &'static str {
    match exit {
        Exit::Torn => "torn",
        Exit::Damaged => "damaged",
        _ => "clean",
    }
}

/// Runs the command.
///
/// # Errors
/// If the files cannot be reached.
pub(super) fn run(args: &VerifyArgs) -> Result<Exit, Failure> {
    let mut findings = Findings { all: Vec::new(), exit: Exit::Done, is_json: args.json };
    identity(args, &mut findings)?;
    logs(args, &mut findings)?;
    snapshots(args, &mut findings)?;
    let exit = findings.exit;
    if args.json {
        let (verdict, findings) = (word(exit), findings.all);
        output::json(&Report { schema_version: 1, verdict, findings });
    } else {
        output::line(match exit {
            Exit::Torn => {
                "torn: what is torn was never acknowledged. This is normal after a crash."
            }
            Exit::Damaged => "damaged: bytes that were durable are not there any more.",
            _ => "clean: every byte was checked.",
        });
    }
    Ok(exit)
}

fn identity(args: &VerifyArgs, findings: &mut Findings) -> Result<(), Failure> {
    let dir = place::data_dir(&args.path).ok_or_else(|| {
        let what = format!("cannot verify {}", args.path.display());
        Failure::new(what, "it is not a data directory: it has no identity file", "check the path")
    })?;
    match Identity::read(&ReadOnlyDisk, &dir) {
        Ok(identity) => {
            let detail = format!("cluster {:032x}", identity.cluster);
            findings.note("identity".into(), Exit::Done, detail);
        }
        Err(error) => findings.note("identity".into(), Exit::Damaged, causes(&error)),
    }
    match Manifest::load_all(&ReadOnlyDisk, &dir) {
        Ok(manifests) => {
            for manifest in manifests {
                let what = format!("database {}", manifest.name);
                let detail = format!("{} partitions", manifest.instances.len());
                findings.note(what, Exit::Done, detail);
            }
        }
        Err(error) => findings.note("databases".into(), Exit::Damaged, causes(&error)),
    }
    Ok(())
}

/// Counts records.
struct Count(u64);

impl Visitor for Count {
    fn record(&mut self, _: &Seen<'_>) {
        self.0 += 1;
    }
}

fn logs(args: &VerifyArgs, findings: &mut Findings) -> Result<(), Failure> {
    let arena = match Arena::open(&args.path) {
        Ok(arena) => arena,
        Err(failure) if failure.exit == Exit::Damaged => {
            findings.note("arena".into(), Exit::Damaged, failure.why);
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    for log in arena.logs() {
        let mut records = Count(0);
        let (end, _) = arena.walk(&log, &mut records);
        let detail = match &end {
            End::Damaged(damage) => damage.to_string(),
            other => format!("{} records. {other}", records.0),
        };
        findings.note(format!("log {}", arena.names.of(&log.identity)), end.exit(), detail);
    }
    for lost in arena.unreadable() {
        findings.note("slot of no known log".into(), Exit::Damaged, format!("{lost:?}"));
    }
    Ok(())
}

fn snapshots(args: &VerifyArgs, findings: &mut Findings) -> Result<(), Failure> {
    let names = Names::read(&ReadOnlyDisk, place::data_dir(&args.path).as_deref());
    for path in place::snapshots(&args.path)? {
        let (told, inspection) = snapshot::look(&ReadOnlyDisk, &path, &names)?;
        let exit = snapshot::exit_of(&inspection.verdict);
        let what = format!("snapshot {}", told.partition.as_deref().unwrap_or("unknown"));
        let detail = told.damage.unwrap_or_else(|| path.display().to_string());
        findings.note(what, exit, detail);
    }
    Ok(())
}
