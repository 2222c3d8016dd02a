//! Going back: taking back everything after an earlier position, on disk and in memory.
//!
//! ```text
//!  writer locked ─► what is cut saved to a file ─► newer snapshots removed ─► log cut (durable)
//!                                                                               │
//!        kept root at or before `to`, else snapshot ─► log up to `to` ◄─────────┘
//! ```
//!
//! A crash before the cut leaves everything as it was, after it the earlier state: the log
//! decides. Nothing is forgotten silently: what was cut lies in `cut-<to>-<from>-<term>.log` in the
//! partition's folder. A new term begins, since positions are reused (rule 14).

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use bytes::BytesMut;
use resprout_wal::disk::Disk;
use resprout_wal::{Group, Lsn, ReadError, Reader, Term};

use crate::core::{Core, Writer};
use crate::error::{Error, at};
use crate::identity::replace_file;
use crate::partition::{LastSnapshot, Partition};
use crate::recovery::{Collector, read_bounds, read_catalog, rebuild};
use crate::state::State;
use crate::tree::Tree;

/// What a rewind did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewindReport {
    /// Where the log ended before.
    pub from: Lsn,
    /// Where it ends now, but for the start of the new term.
    pub to: Lsn,
    /// Where the frames that were cut are kept; `None` if there were none.
    pub saved: Option<PathBuf>,
    /// Whether a kept root served; otherwise a snapshot was read.
    pub by_root: bool,
    /// The term that began.
    pub term: Term,
}

/// Log bytes of one batch of replay.
const BATCH_BYTES: u64 = 8 << 20;

impl Partition {
    /// Takes back everything after `to`, where a group of the log must end: see
    /// [`crate::PartitionStatus::rewind_positions`] for positions that cost microseconds. Open
    /// transactions fail. **Acknowledged commits after `to` are taken back too**: it is for the
    /// caller, replication or an operator, to know that they may be.
    ///
    /// # Errors
    /// [`Error::CannotRewind`] if no group ends there or the log behind was released; nothing was
    /// changed then. [`Error::Stopped`] if the log fails on the way. [`Error::OneOfSeveral`] if somebody
    /// replicates the partition.
    pub fn rewind(&self, to: Lsn) -> Result<RewindReport, Error> {
        let core = self.online()?;
        self.refuse_replicated(core)?;
        let _alone = self.inner.exclusive.lock().unwrap_or_else(PoisonError::into_inner);
        let mut prepared = core.prepared();
        let mut writer = core.writer()?;
        core.log.flush().map_err(|error| core.stop(&error.to_string()))?;
        let from = core.log.positions().end;
        self.check_rewind(core, to, from)?;
        if !prepared.is_empty() {
            let why = "prepared transactions must be ended first".to_owned();
            return Err(Error::CannotRewind { to, why });
        }
        self.enter(State::Transitioning, "rewind");
        let done = self.go_back(core, &mut writer, (from, to)).and_then(|report| {
            // What is open saw rows that are taken back. What was in doubt then is so again.
            core.end_open_transactions(&writer);
            core.restore_prepared(&writer.tree, &mut prepared)?;
            Ok(report)
        });
        match &done {
            Ok(report) => {
                tracing::warn!(partition = self.name(), %from, %to, term = %report.term, "rewound");
                self.enter(State::Online, "rewound");
            }
            // Log and memory may disagree: only recovery leads back.
            Err(error) => self.give_up(&format!("rewind to {to} failed: {error}")),
        }
        done
    }

    fn go_back(
        &self,
        core: &Core,
        writer: &mut Writer,
        (from, to): (Lsn, Lsn),
    ) -> Result<RewindReport, Error> {
        let disk = self.inner.context.world().disk.as_ref();
        let term = core.log.term().map_err(|error| core.stop(&error.to_string()))?;
        let term = Term(term.0 + 1);
        let saved = save(core, disk, &self.inner.dir, (from, to, term))?;
        self.remove_newer_snapshots(to)?;
        let base = core.publisher.begin_rewind(to, core.log.first_lsn());
        let cut = core.log.cut(to, term).map_err(|error| core.stop(&error.to_string()))?;
        core.log.wait_durable(cut).map_err(|error| core.stop(&error.to_string()))?;
        let by_root = match base {
            Some(boundary) => {
                writer.tree.rewind(&boundary.hold)?;
                replay(core, &mut writer.tree, (boundary.lsn, to))?;
                true
            }
            None => {
                rebuild(self, &mut writer.tree, to)?;
                false
            }
        };
        writer.catalog = read_catalog(&writer.tree, to)?;
        writer.bounds = read_bounds(&writer.tree);
        writer.last = Some(cut);
        core.set_catalog(writer.catalog.clone());
        let root = writer.tree.freeze();
        core.publisher.end_rewind(core.publisher.committed(), root);
        Ok(RewindReport { from, to, saved, by_root, term })
    }

    /// Whether `to` can be reached at all: a group ends there, and a restart will find its way to
    /// it from what is left, a snapshot at or before it and the log behind that.
    fn check_rewind(&self, core: &Core, to: Lsn, end: Lsn) -> Result<(), Error> {
        let cannot = |why: String| Error::CannotRewind { to, why };
        if to > end {
            return Err(cannot(format!("the log ends at {end}")));
        }
        let disk = self.inner.context.world().disk.as_ref();
        let found = resprout_snapshot::list(disk, &self.inner.dir)?;
        let base = found.iter().find(|found| found.lsn <= to).map_or(Lsn::ZERO, |found| found.lsn);
        let first = core.log.first_lsn();
        if base < first {
            return Err(cannot(format!(
                "no snapshot lies between the log's beginning {first} and it"
            )));
        }
        core.log.lineage_at(to).map(drop).map_err(|error| cannot(error.to_string()))
    }

    /// Snapshots that hold what is taken back must go before the log is cut: recovery would take
    /// them for proof that the log is damaged.
    pub(crate) fn remove_newer_snapshots(&self, to: Lsn) -> Result<(), Error> {
        let disk = self.inner.context.world().disk.as_ref();
        let dir = &self.inner.dir;
        let found = resprout_snapshot::list(disk, dir)?;
        let (newer, older): (Vec<_>, Vec<_>) = found.into_iter().partition(|f| f.lsn > to);
        for snapshot in &newer {
            disk.remove(&snapshot.path).map_err(at("remove", &snapshot.path))?;
        }
        if !newer.is_empty() {
            disk.sync_dir(dir).map_err(at("flush directory", dir))?;
        }
        let last = older.first();
        let lsn = last.map(|found| found.lsn);
        *self.inner.snapshot.lock().unwrap_or_else(PoisonError::into_inner) =
            LastSnapshot { lsn, bytes: last.map_or(0, |found| found.bytes) };
        Ok(())
    }
}

/// The groups of a running log in a range, which begins and ends between groups.
struct Groups {
    reader: Reader,
    to: Lsn,
}

impl Groups {
    fn new(core: &Core, (from, to): (Lsn, Lsn)) -> Result<Self, Error> {
        let why = |error: ReadError| Error::CannotRewind { to, why: error.to_string() };
        Ok(Self { reader: core.log.read_from(from).map_err(why)?, to })
    }

    fn next(&mut self) -> Result<Option<Group>, Error> {
        let cannot = |why: String| Error::CannotRewind { to: self.to, why };
        let lsn = self.reader.position();
        let mut payload = BytesMut::new();
        while self.reader.position() < self.to {
            let frame = self.reader.next().map_err(|error| cannot(error.to_string()))?;
            let Some(frame) = frame else {
                return Err(cannot(format!("the log ends at {}", self.reader.position())));
            };
            payload.extend_from_slice(&frame.payload);
            if !frame.header.continues() {
                let (end, term) = (frame.header.end(), frame.header.term);
                let committed = frame.header.committed;
                return Ok(Some(Group { lsn, end, term, committed, payload: payload.freeze() }));
            }
        }
        Ok(None)
    }
}

/// Applies the groups of the running log that lie in a range.
pub(crate) fn replay(core: &Core, tree: &mut Tree, range: (Lsn, Lsn)) -> Result<(), Error> {
    if range.0 == range.1 {
        return Ok(());
    }
    let mut groups = Groups::new(core, range)?;
    let mut collector = Collector::new(BATCH_BYTES, core.name.to_string());
    while let Some(group) = groups.next()? {
        if let Some(batch) = collector.add(&group)? {
            batch.apply(tree)?;
        }
    }
    collector.take().apply(tree)
}

/// The newest term that a rewind in this folder was to begin, from the names of what was cut. A
/// cut may take the start of its predecessor with it; a crash before the new term is durable
/// must not lead to the same number for another history (rule 14).
///
/// # Errors
/// [`Error::Disk`].
pub(crate) fn newest_term(disk: &dyn Disk, dir: &Path) -> Result<Term, Error> {
    let entries = disk.list(dir).map_err(at("list", dir))?;
    let terms = entries.iter().filter_map(|entry| {
        let name = entry.path.file_name()?.to_str()?.strip_prefix("cut-")?.strip_suffix(".log")?;
        name.rsplit('-').next()?.parse().ok()
    });
    Ok(Term(terms.max().unwrap_or(0)))
}

/// Writes the payloads of what will be cut to a file, durably.
///
/// Its name says which term will begin.
pub(crate) fn save(
    core: &Core,
    disk: &dyn Disk,
    dir: &Path,
    (from, to, term): (Lsn, Lsn, Term),
) -> Result<Option<PathBuf>, Error> {
    if from == to {
        return Ok(None);
    }
    let mut groups = Groups::new(core, (to, from))?;
    let mut bytes = Vec::new();
    while let Some(group) = groups.next()? {
        bytes.extend_from_slice(&group.lsn.0.to_le_bytes());
        bytes.extend_from_slice(&group.term.0.to_le_bytes());
        bytes.extend_from_slice(&(group.payload.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&group.payload).to_le_bytes());
        bytes.extend_from_slice(&group.payload);
    }
    let path = dir.join(format!("cut-{:020}-{:020}-{}.log", to.0, from.0, term.0));
    replace_file(disk, &path, &bytes)?;
    Ok(Some(path))
}
