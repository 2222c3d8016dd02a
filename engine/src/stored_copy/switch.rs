//! From what a copy was to an image, in one step that a crash cannot halve.
//!
//! ```text
//!  image/snapshot-L, durable ─► "installing" (log start at L), durable ─► old snapshots go, the new one
//!                                │  from here on it is the image           moves, the log begins anew
//!                                └─► a start that finds it does the rest ─► "installing" goes
//! ```

use std::path::{Path, PathBuf};

use resprout_snapshot::Header;
use resprout_wal::disk::{Cache, Disk, Open};
use resprout_wal::{History, Lineage, LogStart, Lsn, NoObserver, Term, TermStart};

use super::StoredCopy;
use crate::core::Writer;
use crate::error::{Error, at};
use crate::identity::{read_patiently, replace_file};
use crate::partition::{LastSnapshot, Partition};
use crate::tree::Root;

/// Says that an image is being put in place; holds where its log begins.
const MARKER: &str = "installing";
/// Where the image's snapshot lies until then.
const FOLDER: &str = "image";
const MAGIC: [u8; 8] = *b"RSPRINST";

impl StoredCopy {
    /// Writes the root of an image to a snapshot beside what this copy is.
    pub(super) fn write_beside(
        &self,
        writer: &Writer,
        (lsn, lineage): (Lsn, Lineage),
        root: Root,
    ) -> Result<Beside, Error> {
        let (beside, header) = self.prepare_beside((lsn, lineage))?;
        let hold = writer.tree.versions().hold(&root);
        let written = self.partition.write_root(&beside, &header, (&hold, root.pages))?;
        Ok(Beside { start: start_of(&header), root, bytes: written.bytes })
    }

    /// An empty folder for the snapshot of an image, and how that begins.
    pub(super) fn prepare_beside(
        &self,
        (lsn, lineage): (Lsn, Lineage),
    ) -> Result<(PathBuf, Header), Error> {
        let inner = &self.partition.inner;
        let disk = &inner.context.world().disk;
        let beside = inner.dir.join(FOLDER);
        disk.create_dir(&beside).map_err(at("create", &beside))?;
        disk.sync_dir(&inner.dir).map_err(at("flush directory", &inner.dir))?;
        remove_snapshots(disk.as_ref(), &beside, None)?;
        let Lineage { term, history, chain } = lineage;
        Ok((beside, Header { identity: inner.identity, lsn, term, history, chain }))
    }

    /// Makes what was written beside what this copy is.
    pub(super) fn switch(&self, writer: &mut Writer, beside: Beside) -> Result<(), Error> {
        let (core, inner) = (self.core(), &self.partition.inner);
        let disk = &inner.context.world().disk;
        let Beside { start, root, bytes } = beside;
        let lsn = start.lsn;
        replace_file(disk.as_ref(), &inner.dir.join(MARKER), &encode(&start))?;
        // The image from here on, whatever happens.
        take_over(disk.as_ref(), &inner.dir, lsn)?;
        core.log.restart(&start).map_err(|error| core.stop(&error.to_string()))?;
        remove_marker(disk.as_ref(), &inner.dir)?;
        let last = LastSnapshot { lsn: Some(lsn), bytes };
        *super::locked(&inner.snapshot) = last;
        inner.acknowledged.store(lsn.0, std::sync::atomic::Ordering::Relaxed);
        self.reread(writer, lsn)?;
        core.publisher.replace(lsn, root);
        tracing::info!(partition = %core.name, %lsn, rows = root.rows, "an image was installed");
        Ok(())
    }
}

/// An image that is durable beside what is served.
pub(super) struct Beside {
    pub(super) start: LogStart,
    pub(super) root: Root,
    pub(super) bytes: u64,
}

/// Where the log begins behind a snapshot.
pub(super) fn start_of(header: &Header) -> LogStart {
    LogStart { lsn: header.lsn, chain: header.chain, history: header.history.clone() }
}

/// Finishes what a crash has interrupted: for the start.
///
/// # Errors
/// [`Error::Disk`]; [`Error::DataDamaged`] if the marker cannot be read: nothing was changed.
pub(crate) fn finish_install(partition: &Partition) -> Result<(), Error> {
    let inner = &partition.inner;
    let disk = inner.context.world().disk.as_ref();
    let Some(start) = read_marker(disk, &inner.dir)? else { return Ok(()) };
    tracing::warn!(partition = partition.name(), lsn = %start.lsn, "finishing to install an image");
    let lsn = start.lsn;
    take_over(disk, &inner.dir, lsn)?;
    let stopped = |error: &dyn std::fmt::Display| Error::Stopped {
        partition: partition.name().to_owned(),
        reason: error.to_string().into(),
    };
    let device = &inner.context.device;
    device.remove(inner.identity).map_err(|error| stopped(&error))?;
    let log = device.create_at(inner.identity, start, std::sync::Arc::new(NoObserver));
    log.and_then(|log| log.close_clean()).map_err(|error| stopped(&error))?;
    remove_marker(disk, &inner.dir)
}

/// The image's snapshot in the place of all others.
fn take_over(disk: &dyn Disk, dir: &Path, lsn: Lsn) -> Result<(), Error> {
    let name = resprout_snapshot::file_name(lsn);
    let (from, to) = (dir.join(FOLDER).join(&name), dir.join(&name));
    let waits = resprout_snapshot::list(disk, &dir.join(FOLDER))?;
    if waits.iter().any(|found| found.lsn == lsn) {
        remove_snapshots(disk, dir, None)?;
        disk.rename(&from, &to).map_err(at("rename", &from))?;
    } else {
        remove_snapshots(disk, dir, Some(lsn))?;
    }
    disk.sync_dir(dir).map_err(at("flush directory", dir))?;
    let beside = dir.join(FOLDER);
    disk.sync_dir(&beside).map_err(at("flush directory", &beside))
}

fn remove_snapshots(disk: &dyn Disk, dir: &Path, but: Option<Lsn>) -> Result<(), Error> {
    resprout_snapshot::remove_leftovers(disk, dir)?;
    let found = resprout_snapshot::list(disk, dir)?;
    for snapshot in found.iter().filter(|found| Some(found.lsn) != but) {
        disk.remove(&snapshot.path).map_err(at("remove", &snapshot.path))?;
    }
    disk.sync_dir(dir).map_err(at("flush directory", dir))
}

fn remove_marker(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    let path = dir.join(MARKER);
    disk.remove(&path).map_err(at("remove", &path))?;
    disk.sync_dir(dir).map_err(at("flush directory", dir))
}

fn encode(start: &LogStart) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let entries = start.history.entries();
    for number in [start.lsn.0, start.chain, entries.len() as u64] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for entry in entries {
        out.extend_from_slice(&entry.term.0.to_le_bytes());
        out.extend_from_slice(&entry.start.0.to_le_bytes());
    }
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<LogStart> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    let numbers = content.strip_prefix(&MAGIC)?;
    if crc32fast::hash(content) != u32::from_le_bytes(*crc) || numbers.len() % 8 != 0 {
        return None;
    }
    let number = |chunk: &[u8]| u64::from_le_bytes(std::array::from_fn(|n| chunk[n]));
    let numbers: Vec<u64> = numbers.chunks_exact(8).map(number).collect();
    let [lsn, chain, count, terms @ ..] = numbers.as_slice() else { return None };
    let terms = terms.chunks_exact(2).map(|t| TermStart { term: Term(t[0]), start: Lsn(t[1]) });
    let terms: Vec<TermStart> = terms.collect();
    let history = (terms.len() as u64 == *count).then(|| History::from_entries(terms))??;
    Some(LogStart { lsn: Lsn(*lsn), chain: *chain, history })
}

fn read_marker(disk: &dyn Disk, dir: &Path) -> Result<Option<LogStart>, Error> {
    let path: PathBuf = dir.join(MARKER);
    let there = disk.list(dir).map_err(at("list", dir))?;
    let Some(entry) = there.iter().find(|entry| entry.path == path) else { return Ok(None) };
    let file = disk.open(&path, Open::Read, Cache::Buffered).map_err(at("open", &path))?;
    let mut bytes = vec![0; usize::try_from(entry.len.min(64 << 10)).unwrap_or(0)];
    let len = read_patiently(file.as_ref(), &mut bytes).map_err(at("read", &path))?;
    bytes.truncate(len);
    let start = decode(&bytes).ok_or_else(|| Error::DataDamaged {
        place: path.display().to_string(),
        lsn: Lsn::ZERO,
        what: "the note of an image that is being installed is damaged".to_owned(),
    })?;
    Ok(Some(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: the marker comes back as it was written, and no damaged one is taken.
    #[test]
    fn the_marker_is_read_back() {
        let entries = [(1, 0), (4, 8192)];
        let entry =
            |(term, start): &(u64, u64)| TermStart { term: Term(*term), start: Lsn(*start) };
        let history = History::from_entries(entries.iter().map(entry).collect()).expect("good");
        let start = LogStart { lsn: Lsn(12288), chain: 77, history };
        let bytes = encode(&start);
        assert_eq!(decode(&bytes), Some(start));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert_eq!(decode(&bad), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "{at} bytes");
        }
    }
}
