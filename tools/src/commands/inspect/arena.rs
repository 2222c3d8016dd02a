//! The logs of a data directory, read as recovery reads them, on a disk that cannot write.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use resprout_engine::record::Record;
use resprout_snapshot::Snapshot;
use resprout_wal::disk::Disk;
use resprout_wal::inspect::{Arena as Logs, FrameInfo, LogInfo, Verdict};
use resprout_wal::{Entry, Evidence, History, LOCK_FILE, Lsn, OpenError, Stop, Unreadable};

use super::damage::Damaged;
use super::place::{self, Names, cannot};
use crate::failure::{Exit, Failure};
use crate::read_only::ReadOnlyDisk;

/// An arena, open for reading. While this lives no node can open the directory.
pub(super) struct Arena {
    logs: Logs,
    pub(super) names: Names,
    dir: PathBuf,
    /// Held for life.
    _lock: Box<dyn fmt::Debug + Send + Sync>,
}

/// One record of a log.
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    pub(super) lsn: Lsn,
    pub(super) end: Lsn,
    pub(super) term: u64,
    pub(super) bytes: usize,
    pub(super) record: Record<'a>,
}

/// Who is told what a log holds, in order.
pub(super) trait Visitor {
    /// Good frames; the records of the groups that they end come after them.
    fn frames(&mut self, _frames: &[FrameInfo]) {}
    /// A record of a whole group.
    fn record(&mut self, _seen: &Seen<'_>) {}
}

/// How a log ends.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// Nothing behind the end; `closed` if the node was stopped in order.
    Clean { at: Lsn, closed: bool },
    /// A crash left something unfinished.
    Torn { at: Lsn, bytes: u64, stop: Option<Stop> },
    /// Bytes that were durable are not there.
    Damaged(Box<Damaged>),
}

impl End {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Clean { .. } => Exit::Done,
            Self::Torn { .. } => Exit::Torn,
            Self::Damaged(_) => Exit::Damaged,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean { at, closed: true } => write!(f, "End: clean at {at}, closed in order."),
            Self::Clean { at, closed: false } => {
                let why = "The node was not stopped in order; nothing is missing.";
                write!(f, "End: clean at {at}. {why}")
            }
            Self::Torn { at, bytes, stop } => {
                write!(f, "End: torn at {at}")?;
                if let Some(stop) = stop {
                    write!(f, " (file offset {}: {})", stop.offset, stop.flaw)?;
                }
                let why = "that were never acknowledged. Recovery drops them. This is normal after \
                           a crash.";
                write!(f, ": traces of {bytes} bytes {why}")
            }
            Self::Damaged(damage) => write!(f, "Damaged: {damage}"),
        }
    }
}

impl Arena {
    /// Opens the arena that `path` is or holds.
    ///
    /// # Errors
    /// If there is none, it is in use, or neither of its superblocks is good.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let file = place::arena(path)?;
        let dir = file.parent().unwrap_or(Path::new(".")).to_owned();
        let lock_path = dir.join(LOCK_FILE);
        let lock = ReadOnlyDisk.lock(&lock_path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                let what = format!("cannot inspect {}", path.display());
                let why = OpenError::InUse { path: lock_path.clone() };
                Failure::new(what, why, "stop the node first").exiting(Exit::Refused)
            }
            _ => cannot(&lock_path, &error),
        })?;
        let logs = Logs::open(Arc::new(ReadOnlyDisk), &file).map_err(|error| match error {
            OpenError::Superblock { .. } => {
                let what = format!("cannot inspect {}", path.display());
                Failure::new(what, error, "restore the file from a copy").exiting(Exit::Damaged)
            }
            error => cannot(path, &error),
        })?;
        let names = Names::read(&ReadOnlyDisk, place::data_dir(&dir).as_deref());
        Ok(Self { logs, names, dir, _lock: lock })
    }

    /// Its logs.
    pub(super) fn logs(&self) -> Vec<LogInfo> {
        self.logs.logs()
    }

    /// Slots of no known log.
    pub(super) fn unreadable(&self) -> &[Unreadable] {
        self.logs.unreadable()
    }

    /// Snapshots of a log of which all but the pages is whole, oldest first.
    pub(super) fn snapshots(&self, log: &LogInfo) -> Vec<Snapshot> {
        let paths = place::snapshots(&self.dir).unwrap_or_default();
        let opened = paths
            .iter()
            .filter_map(|path| Snapshot::open(&ReadOnlyDisk, path, Some(log.identity)).ok());
        let mut opened: Vec<_> = opened.collect();
        opened.sort_by_key(Snapshot::lsn);
        opened
    }

    /// Reads all that is there of a log; how it ends, and its terms as far as they are known.
    pub(super) fn walk(&self, log: &LogInfo, visitor: &mut dyn Visitor) -> (End, History) {
        let snapshots = self.snapshots(log);
        let newest = snapshots.last();
        // The newest name counts as evidence whether or not the file can be read, as in recovery.
        let named = self.names.newest_snapshot(&ReadOnlyDisk, &self.dir, &log.identity);
        let start = newest.map(Snapshot::lsn).or(named.is_known().then_some(Lsn::ZERO));
        let evidence = Evidence { durable: named.lsn() };
        let mut walk = self.logs.walk(log.identity, start, evidence);
        while let Some((frames, groups)) = walk.next() {
            visitor.frames(&frames);
            for entry in groups.iter().flat_map(|group| group.entries()) {
                match Record::decode(entry.bytes) {
                    Ok(record) => visitor.record(&seen(&entry, record)),
                    Err(error) => {
                        let mut damaged = Damaged::of_record(self.logs.path(), log, &entry, &error);
                        damaged.offset = self.offset_of(log, entry.lsn);
                        return (self.damaged(log, damaged), log.history.clone());
                    }
                }
            }
        }
        let chain = walk.chain_at_start();
        match (walk.verdict(), newest) {
            (Verdict::Damaged(damage), _) => {
                (self.damaged(log, Damaged::of_log(&damage)), log.history.clone())
            }
            (_, Some(snapshot)) if chain != Some(snapshot.header().chain) => {
                let damaged = Damaged::of_history(snapshot, chain);
                (End::Damaged(Box::new(damaged)), log.history.clone())
            }
            (Verdict::Clean { end, closed, history }, _) => {
                (End::Clean { at: end, closed }, history)
            }
            (Verdict::Torn { at, bytes, stop, history }, _) => {
                (End::Torn { at, bytes, stop }, history)
            }
        }
    }

    fn damaged(&self, log: &LogInfo, mut damaged: Damaged) -> End {
        if let Some(lsn) = damaged.lsn {
            damaged.behind = Some(self.logs.behind(log.identity, Lsn(lsn)));
        }
        End::Damaged(Box::new(damaged))
    }

    /// Where a position of a log lies in the arena.
    fn offset_of(&self, log: &LogInfo, lsn: Lsn) -> Option<u64> {
        let slot = log.slots.iter().rfind(|slot| !slot.leftover && slot.base <= lsn)?;
        Some(self.logs.geometry().frame_offset(slot.index, slot.base, lsn))
    }
}

fn seen<'a>(entry: &Entry<'a>, record: Record<'a>) -> Seen<'a> {
    let Entry { lsn, end, term, bytes } = *entry;
    Seen { lsn, end, term: term.0, bytes: bytes.len(), record }
}
