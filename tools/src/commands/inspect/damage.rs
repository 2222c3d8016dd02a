//! Damage of a log as it is told: what, where, expected and found, and what is good behind it.

use std::fmt;
use std::path::{Path, PathBuf};

use resprout_engine::record::RecordDamage;
use resprout_snapshot::Snapshot;
use resprout_wal::frame::Flaw;
use resprout_wal::inspect::{Behind, LogInfo};
use resprout_wal::{Damage, Entry};
use serde::Serialize;

use crate::failure::causes;
use crate::quantity::grouped;

/// Bytes that were durable are not there.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Damaged {
    /// One sentence with all of it.
    #[serde(rename = "what")]
    what: String,
    file: PathBuf,
    /// Byte position in the file, where damage has one.
    pub(super) offset: Option<u64>,
    /// Position in the log, where damage has one.
    pub(super) lsn: Option<u64>,
    expected: Option<String>,
    found: Option<String>,
    #[serde(serialize_with = "counts", flatten)]
    pub(super) behind: Option<Behind>,
    #[serde(skip)]
    pub(super) flaw: Option<Flaw>,
}

#[derive(Serialize)]
struct Counts {
    good_frames_behind: u64,
    good_records_behind: u64,
    unreadable_bytes_behind: u64,
}

#[expect(clippy::ref_option, reason = "serde gives the field")]
fn counts<S: serde::Serializer>(behind: &Option<Behind>, serializer: S) -> Result<S::Ok, S::Error> {
    let counts = behind.as_ref().map(|behind| Counts {
        good_frames_behind: behind.frames.len() as u64,
        good_records_behind: behind.entries,
        unreadable_bytes_behind: behind.unreadable,
    });
    counts.serialize(serializer)
}

impl Damaged {
    pub(super) fn of_log(damage: &Damage) -> Self {
        let (file, offset, lsn) = place(damage);
        let flaw = match damage {
            Damage::Frame { flaw, .. } => Some(*flaw),
            _ => None,
        };
        let (expected, found) = flaw.as_ref().map(compared).unwrap_or_default();
        let what = causes(damage);
        Self { what, file, offset, lsn, expected, found, behind: None, flaw }
    }

    /// A good frame whose entry is no record.
    pub(super) fn of_record(
        file: &Path,
        log: &LogInfo,
        entry: &Entry<'_>,
        damage: &RecordDamage,
    ) -> Self {
        let what = format!(
            "{} (LSN {}): a record of log {} that cannot be read: {}",
            file.display(),
            entry.lsn,
            log.identity,
            causes(damage)
        );
        let (file, lsn) = (file.to_owned(), Some(entry.lsn.0));
        Self {
            what,
            file,
            offset: None,
            lsn,
            expected: None,
            found: None,
            behind: None,
            flaw: None,
        }
    }

    /// A snapshot that is of another history than the log.
    pub(super) fn of_history(snapshot: &Snapshot, chain: Option<u64>) -> Self {
        let expected = format!("chain {:016x}", snapshot.header().chain);
        let found = chain.map(|chain| format!("chain {chain:016x}"));
        let told = found.as_deref().unwrap_or("no such position");
        let what = format!(
            "{} (LSN {}): snapshot and log are of different histories: {expected} in the snapshot, \
             {told} in the log",
            snapshot.path().display(),
            snapshot.lsn()
        );
        let (file, lsn) = (snapshot.path().to_owned(), Some(snapshot.lsn().0));
        let (expected, behind, flaw) = (Some(expected), None, None);
        Self { what, file, offset: None, lsn, expected, found, behind, flaw }
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.behind {
            Some(behind) => write!(
                f,
                "; {} good records in {} frames follow",
                grouped(behind.entries),
                grouped(behind.frames.len() as u64)
            ),
            None => Ok(()),
        }
    }
}

/// File, offset and LSN of damage, as far as it has them.
fn place(damage: &Damage) -> (PathBuf, Option<u64>, Option<u64>) {
    match damage {
        Damage::Frame { path, offset, lsn, .. } | Damage::Slot { path, offset, lsn, .. } => {
            (path.clone(), Some(*offset), Some(lsn.0))
        }
        Damage::Missing { path, missing, .. } => {
            (path.clone(), None, missing.first().map(|range| range.start.0))
        }
        Damage::Overlap { path, lsn, .. } | Damage::NotABoundary { path, lsn, .. } => {
            (path.clone(), None, Some(lsn.0))
        }
        Damage::Absent { path, .. } => (path.clone(), None, None),
        Damage::Read { path, offset, .. } => (path.clone(), Some(*offset), None),
    }
}

/// What should be there and what is.
fn compared(flaw: &Flaw) -> (Option<String>, Option<String>) {
    let (expected, found) = match flaw {
        Flaw::HeaderSum { expected, found } | Flaw::PayloadSum { expected, found } => {
            (format!("crc {expected:08x}"), format!("crc {found:08x}"))
        }
        Flaw::Chain { expected, found } => {
            (format!("chain {expected:016x}"), format!("chain {found:016x}"))
        }
        Flaw::Magic { found } => ("RSFR".to_owned(), format!("{found:#010x}")),
        Flaw::Term { before, found } => {
            (format!("term {before} or later"), format!("term {found}"))
        }
        Flaw::Position { found } => ("this LSN".to_owned(), format!("LSN {found}")),
        Flaw::Short { .. }
        | Flaw::Version { .. }
        | Flaw::Unknown { .. }
        | Flaw::Length { .. }
        | Flaw::Group { .. }
        | Flaw::Entries { .. } => return (None, Some(flaw.to_string())),
    };
    (Some(expected), Some(found))
}
