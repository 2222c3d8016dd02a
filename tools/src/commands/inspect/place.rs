//! What a path names: a data directory, its arena, a folder of snapshots, or one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use resprout_engine::Manifest;
use resprout_wal::disk::Disk;
use resprout_wal::{ARENA_FILE, LogIdentity};

use crate::failure::{Failure, causes};

/// An error of reaching `path`.
pub(super) fn cannot(path: &Path, why: &dyn std::error::Error) -> Failure {
    let what = format!("cannot inspect {}", path.display());
    Failure::new(what, causes(why), "check the path and its permissions")
}

/// The data directory that `path` is or lies in.
pub(super) fn data_dir(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|dir| dir.join("identity").is_file()).map(Path::to_owned)
}

/// The arena that `path` is or holds.
///
/// # Errors
/// If there is none.
pub(super) fn arena(path: &Path) -> Result<PathBuf, Failure> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let arena = path.join(ARENA_FILE);
    if arena.is_file() {
        return Ok(arena);
    }
    let why = format!("there is no {ARENA_FILE} in it");
    let what = format!("cannot inspect {}", path.display());
    Err(Failure::new(what, why, "name a data directory or an arena"))
}

/// All snapshots below `path`, or the one that it is.
///
/// # Errors
/// If it cannot be read.
pub(super) fn snapshots(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    if path.is_dir() {
        walk(path, &mut found).map_err(|error| cannot(path, &error))?;
        found.sort();
    } else {
        found.push(path.to_owned());
    }
    Ok(found)
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rsnap") {
            found.push(path);
        }
    }
    Ok(())
}

/// Names of partitions, as the manifests of a data directory give them.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<u32, String>);

impl Names {
    /// Reads the manifests of `dir`. Without them logs still have numbers.
    pub(super) fn read(disk: &dyn Disk, dir: Option<&Path>) -> Self {
        let manifests = dir.and_then(|dir| Manifest::load_all(disk, dir).ok());
        let manifests = manifests.unwrap_or_default().into_iter();
        Self(manifests.map(|manifest| (manifest.database, manifest.name)).collect())
    }

    /// `database:ordinal` of a log.
    pub(super) fn of(&self, identity: &LogIdentity) -> String {
        match self.0.get(&identity.database) {
            Some(name) => format!("{name}:{}", identity.partition),
            None => format!("{}:{}", identity.database, identity.partition),
        }
    }
}
