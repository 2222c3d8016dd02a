//! Looking at a snapshot without changing anything: what it says, and whether it holds.

use std::path::{Path, PathBuf};

use resprout_wal::disk::Disk;

use crate::error::SnapshotError;
use crate::header::Header;
use crate::load::verify_all;
use crate::open::Snapshot;

/// What an inspection found.
#[derive(Debug)]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Its header, if header, directory and footer are whole.
    pub header: Option<Header>,
    /// Counts from the directory, if it is whole.
    pub statistics: Option<Statistics>,
    /// Whether every byte is what was written.
    pub verdict: Verdict,
}

/// Counts from the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Length of the file.
    pub bytes: u64,
    /// Length of the schema blob.
    pub schema_bytes: u64,
    /// Length of the directory.
    pub directory_bytes: u64,
    /// Number of leaves.
    pub leaves: u64,
    /// Number of pages of all leaves.
    pub pages: u64,
    /// Number of rows of all leaves.
    pub rows: u64,
    /// Leaves of more than one page.
    pub long_leaves: u64,
    /// Pages of the longest leaf.
    pub longest_run: u32,
    /// Most rows in one leaf.
    pub most_rows: u32,
    /// Bytes of all separators.
    pub separator_bytes: u64,
    /// Groups of leaves with a digest each.
    pub chunks: u64,
}

/// Whether a snapshot holds.
#[derive(Debug)]
pub enum Verdict {
    /// Every byte was checked.
    Clean,
    /// It cannot be used; where, and what is wrong.
    Damaged(SnapshotError),
}

/// Reads all of the snapshot at `path`. `step` hears the pages checked so far and of all pages.
///
/// # Errors
/// Only if the file cannot be reached; damage is a verdict.
pub fn inspect(
    disk: &dyn Disk,
    path: &Path,
    mut step: impl FnMut(u32, u32),
) -> Result<Inspection, SnapshotError> {
    let snapshot = match Snapshot::open(disk, path, None) {
        Ok(snapshot) => snapshot,
        Err(error) if error.is_bad_file() => {
            let (path, verdict) = (path.to_owned(), Verdict::Damaged(error));
            return Ok(Inspection { path, header: None, statistics: None, verdict });
        }
        Err(error) => return Err(error),
    };
    let mut checked = 0;
    let verified = verify_all(disk, &snapshot, |read| {
        checked += read.pages;
        step(checked, snapshot.pages());
    });
    let verdict = match verified {
        Ok(()) => Verdict::Clean,
        Err(error) if error.is_bad_file() => Verdict::Damaged(error),
        Err(error) => return Err(error),
    };
    let header = Some(snapshot.header().clone());
    let statistics = Some(Statistics::of(&snapshot));
    Ok(Inspection { path: path.to_owned(), header, statistics, verdict })
}

impl Statistics {
    /// Counts what the directory of `snapshot` says.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let start = Self {
            bytes: snapshot.bytes(),
            schema_bytes: snapshot.schema().len() as u64,
            directory_bytes: snapshot.directory_bytes(),
            leaves: snapshot.leaf_count() as u64,
            pages: u64::from(snapshot.pages()),
            rows: snapshot.rows(),
            chunks: snapshot.chunks().len() as u64,
            ..Self::default()
        };
        snapshot.leaves().fold(start, |sum, leaf| Self {
            long_leaves: sum.long_leaves + u64::from(leaf.run > 1),
            longest_run: sum.longest_run.max(leaf.run),
            most_rows: sum.most_rows.max(leaf.rows),
            separator_bytes: sum.separator_bytes + leaf.separator.len() as u64,
            ..sum
        })
    }
}
