//! Taking snapshots of a running partition: when, and how.
//!
//! A snapshot is a walk over the leaves that one root reaches. The root is held, so writers go on
//! and copy what they change; they pay for that copy anyway, since each commit makes a root. The
//! walk is paced, because the device and the processors belong to the workload.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use resprout_snapshot::{
    Digest, Header, LeafPage, WriteOptions, Writer as SnapshotWriter, Written,
};
use resprout_wal::{Lineage, Lsn};

use crate::core::Core;
use crate::error::Error;
use crate::partition::{LastSnapshot, Partition};
use crate::publish::Boundary;
use crate::tree::Hold;
use crate::tree::leaf::{self, LeafView};

/// A finished snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Its position: everything before it is in it, nothing after it.
    pub lsn: Lsn,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
    /// Rows and index entries.
    pub rows: u64,
    /// Digest of them.
    pub digest: Digest,
    /// First position of the log that is still kept.
    pub log_from: Lsn,
}

/// Why a snapshot is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    LogSize,
    RecoveryTime,
}

impl Partition {
    /// Writes a snapshot of the newest durable, committed root, verifies it, and frees the log
    /// that the kept snapshots no longer need. Readers and writers go on.
    ///
    /// # Errors
    /// [`Error::NotOnline`], [`Error::Snapshot`] if it could not be written (the older ones are
    /// untouched then), [`Error::Stopped`] if the log fails while it is shortened.
    pub fn snapshot(&self) -> Result<SnapshotReport, Error> {
        let core = self.readable()?;
        let _alone = self.inner.exclusive.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_snapshot(core)
    }

    pub(crate) fn write_snapshot(&self, core: &Core) -> Result<SnapshotReport, Error> {
        let inner = &self.inner;
        let boundary = core.publisher.boundary();
        if let Some(done) = self.already_there(core, &boundary)? {
            return Ok(done);
        }
        let lineage = core.log.lineage_at(boundary.lsn).map_err(|error| Error::DataDamaged {
            place: core.name.to_string(),
            lsn: boundary.lsn,
            what: format!("no snapshot, since its position cannot be proven: {error}"),
        })?;
        let Lineage { term, history, chain } = lineage;
        let header = Header { identity: inner.identity, lsn: boundary.lsn, term, history, chain };
        let mut pace = Pace::new(self);
        let pages = boundary.root.pages;
        let written =
            self.write_pages(&inner.dir, &header, (&boundary.hold, pages), &mut |bytes| {
                pace.spent(bytes)
            })?;
        let log_from = self.after_snapshot(core, written.lsn, written.bytes)?;
        let (lsn, path, bytes, rows) = (written.lsn, written.path, written.bytes, written.rows);
        tracing::info!(partition = %inner.name, %lsn, bytes, rows, %log_from, "snapshot");
        Ok(SnapshotReport { lsn, path, bytes, rows, digest: written.digest, log_from })
    }

    /// Writes a root to a folder as fast as the device goes, and verifies it.
    pub(crate) fn write_root(
        &self,
        dir: &Path,
        header: &Header,
        root: (&Hold, u64),
    ) -> Result<Written, Error> {
        self.write_pages(dir, header, root, &mut |_| Ok(()))
    }

    /// Writes the pages that a root of so many reaches, and reads them back; `spent` hears of every
    /// page and may take its time, or end it.
    fn write_pages(
        &self,
        dir: &Path,
        header: &Header,
        (hold, pages): (&Hold, u64),
        spent: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<Written, Error> {
        let disk = &self.inner.context.world().disk;
        let options =
            WriteOptions { expected_bytes: Some(pages * 4096), ..WriteOptions::default() };
        let mut writer = SnapshotWriter::create_with(disk, dir, header, &[], options)?;
        let view = hold.view();
        let mut key = Vec::new();
        for page in view.leaves() {
            let view = leaf::check(page.bytes).map_err(|damage| Error::DataDamaged {
                place: "page memory".to_owned(),
                lsn: header.lsn,
                what: damage.to_string(),
            })?;
            let digest = digest_of(&view, &mut key);
            let (bytes, rows) = (page.bytes, page.rows);
            writer.push(LeafPage { bytes, rows, digest, separator: &page.separator })?;
            spent(bytes.len() as u64)?;
        }
        drop(view);
        let mut verified = 0;
        Ok(writer.finish_paced(|progress| {
            let bytes = u64::from(progress.pages_verified - verified) * 4096;
            verified = progress.pages_verified;
            // Closing does not interrupt the read-back: it is short, and nearly done.
            let _closing = spent(bytes);
        })?)
    }

    /// The newest snapshot, if it is of this very position.
    fn already_there(
        &self,
        core: &Core,
        boundary: &Boundary,
    ) -> Result<Option<SnapshotReport>, Error> {
        let last = *self.inner.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if last.lsn != Some(boundary.lsn) {
            return Ok(None);
        }
        let disk = self.inner.context.world().disk.as_ref();
        let path = self.inner.dir.join(resprout_snapshot::file_name(boundary.lsn));
        let snapshot = resprout_snapshot::Snapshot::open(disk, &path, Some(self.inner.identity))?;
        Ok(Some(SnapshotReport {
            lsn: boundary.lsn,
            path,
            bytes: snapshot.bytes(),
            rows: snapshot.rows(),
            digest: snapshot.digest(),
            log_from: core.log.first_lsn(),
        }))
    }

    /// Drops what the new snapshot makes needless: older snapshots first, then log (rule 18).
    fn after_snapshot(&self, core: &Core, lsn: Lsn, bytes: u64) -> Result<Lsn, Error> {
        let inner = &self.inner;
        *inner.snapshot.lock().unwrap_or_else(PoisonError::into_inner) =
            LastSnapshot { lsn: Some(lsn), bytes };
        let disk = inner.context.world().disk.as_ref();
        let keep = inner.context.tuning().snapshots_to_keep;
        let retained = resprout_snapshot::retain(disk, &inner.dir, inner.identity, keep)?;
        match retained.log_needed_from {
            Some(needed) => core.log.release_before(needed).map_err(|e| core.stop(&e.to_string())),
            None => Ok(core.log.first_lsn()),
        }
    }

    /// Whether a snapshot is due, and why.
    pub(crate) fn snapshot_due(&self) -> Option<Trigger> {
        let tuning = self.inner.context.tuning();
        let core = self.readable().ok()?;
        let last = *self.inner.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let committed = core.publisher.boundary().lsn;
        let log = committed.since(last.lsn.unwrap_or(Lsn::ZERO));
        if log >= tuning.snapshot_trigger_size {
            return Some(Trigger::LogSize);
        }
        // The time that replay costs: a snapshot shortens only that part.
        let context = &self.inner.context;
        let (whole, log_only) = (context.predicted(last.bytes, log), context.predicted(0, log));
        let target = tuning.recovery_time_target?;
        (whole > target && log_only > whole / 4).then_some(Trigger::RecoveryTime)
    }
}

/// Sum of the digests of a leaf's rows. `key` is the last row's then.
pub(crate) fn digest_of(view: &LeafView<'_>, key: &mut Vec<u8>) -> Digest {
    let mut digest = Digest::EMPTY;
    for row in 0..view.rows() {
        let ((prefix, suffix), value) = view.row(row);
        key.clear();
        key.extend_from_slice(prefix);
        key.extend_from_slice(suffix);
        digest.add_row(key, value);
    }
    digest
}

/// Keeps a snapshot's speed below its limit.
struct Pace<'a> {
    partition: &'a Partition,
    start: Duration,
    bytes: u64,
    paused_at: u64,
}

/// Bytes between two looks at the clock.
const PACE_STEP: u64 = 1 << 20;

impl<'a> Pace<'a> {
    fn new(partition: &'a Partition) -> Self {
        let start = partition.inner.context.now();
        Self { partition, start, bytes: 0, paused_at: 0 }
    }

    /// Notes bytes; sleeps if they came too soon.
    fn spent(&mut self, bytes: u64) -> Result<(), Error> {
        self.bytes += bytes;
        if self.bytes - self.paused_at < PACE_STEP {
            return Ok(());
        }
        self.paused_at = self.bytes;
        if self.partition.inner.closing.load(Ordering::Relaxed) {
            return Err(Error::Closing);
        }
        let context = &self.partition.inner.context;
        let micros = self.bytes.saturating_mul(1_000_000) / context.options.snapshot_bytes_per_s;
        let due = self.start + Duration::from_micros(micros);
        let early = due.saturating_sub(context.now());
        if context.options.threads && !early.is_zero() {
            std::thread::sleep(early);
        }
        Ok(())
    }
}
