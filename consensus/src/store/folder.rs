//! The directory of the snapshots: one file each, whole or not there.
//!
//! ```text
//!  write:  ….tmp ─► flush ─► read back, verify ─► rename ─► sync directory
//!  keeps:  the snapshot that counts, and the one before it
//! ```
//!
//! A snapshot that is here does not count yet: a record of the log says so (see the module above).
//! So a file may be newer than the one that counts, and goes at the next start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use resprout_wal::disk::{Cache, Disk, Open};

use super::StoreError;
use super::snapshot_file::{self, Owner, SnapshotFlaw};
use crate::{EntryId, Index, Snapshot, SnapshotMeta, Term};

const SUFFIX: &str = ".snapshot";
const UNFINISHED: &str = ".snapshot.tmp";

#[derive(Debug)]
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    owner: Owner,
    /// What was last written in this run. Held while writing: one at a time.
    written: Mutex<Option<SnapshotMeta>>,
}

impl Folder {
    /// The directory, made if it is not there.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        owner: Owner,
    ) -> Result<Self, StoreError> {
        disk.create_dir(&dir).map_err(|error| StoreError::io("making", &dir, error))?;
        Ok(Self { disk, dir, owner, written: Mutex::default() })
    }

    pub(super) fn path(&self, id: EntryId) -> PathBuf {
        self.dir.join(format!("raft-{:020}-{:020}{SUFFIX}", id.index.0, id.term.0))
    }

    /// Makes a snapshot durable under its name. Nothing happens if this run has done so already;
    /// what an earlier run has left is written again, since its name may not be durable.
    pub(super) fn write(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.as_ref() == Some(&snapshot.meta) {
            return Ok(());
        }
        let path = self.path(snapshot.meta.last);
        let aside = path.with_extension("snapshot.tmp");
        let made = self.write_aside(&aside, snapshot).and_then(|()| {
            let named =
                self.disk.rename(&aside, &path).and_then(|()| self.disk.sync_dir(&self.dir));
            named.map_err(|error| StoreError::io("naming", &path, error))
        });
        match made {
            Ok(()) => *written = Some(snapshot.meta.clone()),
            // The error is told; what is left goes at the next start at the latest.
            Err(_) => drop(self.disk.remove(&aside)),
        }
        made
    }

    fn write_aside(&self, aside: &Path, snapshot: &Snapshot) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("writing", aside, error);
        match self.disk.remove(aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = self.disk.open(aside, Open::Create, Cache::Direct).map_err(failed)?;
        snapshot_file::write(&*file, self.owner, snapshot).map_err(failed)?;
        file.flush().map_err(failed)?;
        // A write that the device has lost or put elsewhere is found while the log is still there.
        let not_written = |flaw| StoreError::NotWritten { path: aside.to_owned(), flaw };
        let meta = snapshot_file::read(&*file, self.owner, |_| {}).map_err(not_written)?;
        if meta != snapshot.meta {
            let (expected, found) = (snapshot.meta.last, meta.last);
            return Err(not_written(SnapshotFlaw::Another { expected, found }));
        }
        Ok(())
    }

    /// Reads and verifies the snapshot of that name.
    pub(super) fn read(&self, id: EntryId) -> Result<Snapshot, SnapshotFlaw> {
        let file = self.disk.open(&self.path(id), Open::Read, Cache::Direct)?;
        let mut state = Vec::new();
        let meta = snapshot_file::read(&*file, self.owner, |piece| state.extend_from_slice(piece))?;
        if meta.last != id {
            return Err(SnapshotFlaw::Another { expected: id, found: meta.last });
        }
        Ok(Snapshot { meta, state: Bytes::from(state) })
    }

    /// The snapshots that are here by name, newest first.
    pub(super) fn list(&self) -> Result<Vec<EntryId>, StoreError> {
        let entries = self.disk.list(&self.dir);
        let entries = entries.map_err(|error| StoreError::io("listing", &self.dir, error))?;
        let mut found: Vec<EntryId> =
            entries.iter().filter_map(|entry| parse(&entry.path)).collect();
        found.sort_unstable_by_key(|id| std::cmp::Reverse((id.index, id.term)));
        Ok(found)
    }

    /// Removes what is older than the snapshot before `counts`.
    pub(super) fn remove_older(&self, counts: EntryId) -> Result<(), StoreError> {
        let older = self.list()?.into_iter().filter(|id| is_before(*id, counts)).skip(1);
        for id in older {
            self.remove(&self.path(id))?;
        }
        Ok(())
    }

    /// Removes what a crash has left: what is unfinished or does not count yet. At the start only,
    /// before anything is written.
    pub(super) fn remove_leftovers(&self, counts: Option<EntryId>) -> Result<(), StoreError> {
        let entries = self.disk.list(&self.dir);
        let entries = entries.map_err(|error| StoreError::io("listing", &self.dir, error))?;
        for entry in entries {
            let unfinished = entry.path.to_string_lossy().ends_with(UNFINISHED);
            let early = parse(&entry.path)
                .filter(|id| counts.is_none_or(|counts| *id != counts && !is_before(*id, counts)));
            if unfinished || early.is_some_and(|id| !self.is_foreign(id)) {
                self.remove(&entry.path)?;
            }
        }
        Ok(())
    }

    /// What somebody has put here is not ours to remove.
    fn is_foreign(&self, id: EntryId) -> bool {
        let foreign = matches!(self.read(id), Err(SnapshotFlaw::Foreign { .. }));
        if foreign {
            let path = self.path(id);
            tracing::warn!(path = %path.display(), "the snapshot of another store is kept");
        }
        foreign
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.disk.remove(path).map_err(|error| StoreError::io("removing", path, error))
    }
}

fn is_before(id: EntryId, other: EntryId) -> bool {
    (id.index, id.term) < (other.index, other.term)
}

fn parse(path: &Path) -> Option<EntryId> {
    let name = path.file_name()?.to_str()?.strip_prefix("raft-")?.strip_suffix(SUFFIX)?;
    let (index, term) = name.split_once('-')?;
    Some(EntryId::new(Term(term.parse().ok()?), Index(index.parse().ok()?)))
}
