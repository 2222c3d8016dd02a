//! Where a bench keeps its data: a folder that is gone afterwards, unless the person named it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::failure::Failure;

/// A folder for one bench. Removed with all in it when dropped, unless it was given or is kept.
#[derive(Debug)]
pub struct BenchFolder {
    path: PathBuf,
    is_given: bool,
}

impl BenchFolder {
    /// `given`, which must be empty or new, or a fresh one below `target`: real disks are under
    /// there, while the system's temporary directory is often memory.
    ///
    /// # Errors
    /// If it cannot be made or holds something.
    pub fn new(given: Option<&Path>, bench: &str) -> Result<Self, Failure> {
        let is_given = given.is_some();
        let path = given.map_or_else(|| fresh(bench), Path::to_owned);
        let cannot = |why: &dyn std::fmt::Display| {
            let what = format!("cannot use {} for the bench", path.display());
            Failure::new(what, why, "choose an empty directory with --data")
        };
        fs::create_dir_all(&path).map_err(|error| cannot(&error))?;
        let mut entries = fs::read_dir(&path).map_err(|error| cannot(&error))?;
        if let Some(entry) = entries.next() {
            let name = entry.map(|e| e.file_name()).unwrap_or_default();
            return Err(cannot(&format!("it holds {}", name.to_string_lossy())));
        }
        Ok(Self { path, is_given })
    }

    /// A folder in it; the engine makes it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// It stays, because somebody has to look at what is in it.
    pub fn keep(&mut self) {
        self.is_given = true;
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BenchFolder {
    fn drop(&mut self) {
        if !self.is_given {
            // What cannot be removed is under `target`, where `cargo clean` finds it.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn fresh(bench: &str) -> PathBuf {
    let nanos =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    Path::new("target").join(format!("bench-{bench}-{}-{nanos}", std::process::id()))
}

/// Bytes of all files below `dir` whose name `counts`.
///
/// # Errors
/// The system's answer.
pub fn bytes_below(dir: &Path, counts: &dyn Fn(&Path) -> bool) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            sum += bytes_below(&path, counts)?;
        } else if counts(&path) {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a bench never writes into a folder with something in it, and never removes one
    /// that was named.
    #[test]
    fn folders_of_others_are_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let given = dir.path().join("given");
        drop(BenchFolder::new(Some(&given), "x").expect("a new folder"));
        assert!(given.is_dir(), "a named folder stays");
        fs::write(given.join("precious"), b"x").expect("a file");
        let refused = BenchFolder::new(Some(&given), "x").expect_err("it holds a file");
        assert!(refused.why.contains("precious"), "{refused}");
        assert_eq!(bytes_below(dir.path(), &|_| true).expect("readable"), 1);
    }
}
