//! The snapshots in one partition's folder: their names, which there are, which may go.
//!
//! Order in time is order of LSN, which is in the name. A name alone proves nothing: what counts
//! is decided by opening.

use std::io;
use std::path::{Path, PathBuf};

use resprout_wal::disk::Disk;
use resprout_wal::{LogIdentity, Lsn};

use crate::error::SnapshotError;
use crate::open::Snapshot;

const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".rsnap";
const UNFINISHED: &str = ".tmp";
const DIGITS: usize = 20;

/// Name of the snapshot at `lsn`: `snapshot-00000000000000004096.rsnap`. Sorting names sorts LSNs.
#[must_use]
pub fn file_name(lsn: Lsn) -> String {
    format!("{PREFIX}{:0DIGITS$}{SUFFIX}", lsn.0)
}

/// Name of the snapshot at `lsn` while it is being written.
pub(crate) fn unfinished_name(lsn: Lsn) -> String {
    file_name(lsn) + UNFINISHED
}

/// The LSN in the name of a finished or unfinished snapshot.
pub(crate) fn named_lsn(path: &Path) -> Option<Lsn> {
    let name = path.file_name()?.to_str()?;
    lsn_in(name.strip_suffix(UNFINISHED).unwrap_or(name))
}

fn lsn_in(name: &str) -> Option<Lsn> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(Lsn)).flatten()
}

/// A file with the name of a finished snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// LSN that its name says.
    pub lsn: Lsn,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// The finished snapshots in `dir`, newest first. Recovery opens them in this order and takes the
/// first that is whole (row D30). Other files are passed over.
///
/// # Errors
/// If the folder cannot be read.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Found>, SnapshotError> {
    let entries = disk.list(dir).map_err(|e| SnapshotError::io("list", dir, e))?;
    let mut found: Vec<_> = entries
        .into_iter()
        .filter(|entry| !entry.is_dir)
        .filter_map(|entry| {
            let lsn = lsn_in(entry.path.file_name()?.to_str()?)?;
            Some(Found { lsn, path: entry.path, bytes: entry.len })
        })
        .collect();
    found.sort_by_key(|found| std::cmp::Reverse(found.lsn));
    Ok(found)
}

/// Removes what a stopped writer left behind in `dir`; the removed paths. To be called at start,
/// before anything writes there (row D29).
///
/// # Errors
/// If the folder cannot be read or changed.
pub fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    let entries = disk.list(dir).map_err(|e| SnapshotError::io("list", dir, e))?;
    let is_leftover = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.strip_suffix(UNFINISHED)).and_then(lsn_in).is_some()
    };
    let leftovers = entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.path);
    remove_all(disk, dir, leftovers.filter(|path| is_leftover(path)).collect())
}

/// What [`retain`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// The snapshots that count, newest first.
    pub kept: Vec<Found>,
    /// The files that are gone.
    pub removed: Vec<PathBuf>,
    /// Log before this position is needed by no kept snapshot. `None` while there are fewer
    /// snapshots than should be kept: then nothing may be released (rule 18).
    pub log_needed_from: Option<Lsn>,
}

/// Removes the snapshots in `dir` that are older than the `keep` newest good ones of `identity`.
/// Good means: it has the final name, so it was read back when it was written, and header,
/// directory and footer are whole now. While there are fewer than `keep`, nothing is removed.
///
/// # Errors
/// If the folder cannot be read or changed. Files that are no good snapshots are no error: they
/// do not count, and go when `keep` newer ones are there.
///
/// # Panics
/// If `keep` is 0: the last snapshot is never removed.
pub fn retain(
    disk: &dyn Disk,
    dir: &Path,
    identity: LogIdentity,
    keep: usize,
) -> Result<Retained, SnapshotError> {
    assert!(keep > 0, "at least one snapshot is kept");
    let mut kept = Vec::with_capacity(keep);
    let mut older = Vec::new();
    for found in list(disk, dir)? {
        if kept.len() == keep {
            older.push(found.path);
            continue;
        }
        match Snapshot::open(disk, &found.path, Some(identity)) {
            Ok(_) => kept.push(found),
            Err(error) if error.is_bad_file() => {
                tracing::warn!(%error, "this snapshot does not count among those kept");
            }
            Err(error) => return Err(error),
        }
    }
    let removed = remove_all(disk, dir, older)?;
    let enough = kept.last().filter(|_| kept.len() == keep);
    let log_needed_from = enough.map(|oldest| oldest.lsn);
    Ok(Retained { kept, removed, log_needed_from })
}

/// Removes `paths` from `dir`, durably.
fn remove_all(
    disk: &dyn Disk,
    dir: &Path,
    paths: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, SnapshotError> {
    for path in &paths {
        match disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SnapshotError::io("remove", path, error));
            }
            _ => tracing::debug!(path = %path.display(), "removed"),
        }
    }
    if !paths.is_empty() {
        disk.sync_dir(dir).map_err(|e| SnapshotError::io("flush directory", dir, e))?;
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: names carry the whole range of LSNs and sort as they do.
    #[test]
    fn names_carry_and_sort_lsns() {
        let lsns = [0, 9, 4096, 10_000_000_000, u64::MAX].map(Lsn);
        let names = lsns.map(file_name);
        assert!(names.is_sorted());
        for (lsn, name) in lsns.into_iter().zip(&names) {
            assert_eq!(named_lsn(&Path::new("/a/b").join(name)), Some(lsn));
            assert_eq!(named_lsn(&Path::new("/a").join(unfinished_name(lsn))), Some(lsn));
        }
    }

    /// Guards S21: only exact names are taken for snapshots.
    #[test]
    fn s21_other_names_are_passed_over() {
        let digits = "0".repeat(20);
        for name in [
            String::new(),
            format!("snapshot-{digits}"),
            format!("snapshot-{digits}.rsnap.tmp.tmp"),
            format!("snapshot-+{}.rsnap", "0".repeat(19)),
            format!("snapshot-0{digits}.rsnap"),
            format!("snapshot-{}.rsnap", "9".repeat(20)),
            format!("Snapshot-{digits}.rsnap"),
        ] {
            assert_eq!(named_lsn(Path::new(&name)), None, "{name}");
        }
    }
}
