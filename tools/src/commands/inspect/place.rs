//! What a path names: a data directory, its arena, a folder of snapshots, or one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use resprout_engine::{Manifest, partition_dir};
use resprout_wal::disk::Disk;
use resprout_wal::{ARENA_FILE, LogIdentity, Lsn};

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

/// Databases and partitions, as the manifests of a data directory give them.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<u32, Manifest>);

/// The position that the newest snapshot's name says, if it is known where snapshots are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewestName(Option<Lsn>);

impl NewestName {
    /// Whether the partition's folder could be looked at.
    pub(super) fn is_known(self) -> bool {
        self.0.is_some()
    }

    /// The position; zero if there is no snapshot or nothing is known.
    pub(super) fn lsn(self) -> Lsn {
        self.0.unwrap_or(Lsn::ZERO)
    }
}

impl Names {
    /// Reads the manifests of `dir`. Without them logs still have numbers.
    pub(super) fn read(disk: &dyn Disk, dir: Option<&Path>) -> Self {
        let manifests = dir.and_then(|dir| Manifest::load_all(disk, dir).ok());
        let manifests = manifests.unwrap_or_default().into_iter();
        Self(manifests.map(|manifest| (manifest.database, manifest)).collect())
    }

    /// `database:ordinal` of a log.
    pub(super) fn of(&self, identity: &LogIdentity) -> String {
        match self.0.get(&identity.database) {
            Some(manifest) => format!("{}:{}", manifest.name, identity.partition),
            None => format!("{}:{}", identity.database, identity.partition),
        }
    }

    /// What the names of a partition's snapshots say, if `dir` is the data directory of a
    /// database that this log belongs to.
    pub(super) fn newest_snapshot(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        identity: &LogIdentity,
    ) -> NewestName {
        let manifest = self.0.get(&identity.database);
        let instance = manifest.and_then(|m| m.instances.get(identity.partition as usize));
        let Some(manifest) = manifest.filter(|_| instance == Some(&identity.instance)) else {
            return NewestName(None);
        };
        let folder = partition_dir(dir, &manifest.name, identity.partition);
        let found = resprout_snapshot::list(disk, &folder).ok();
        NewestName(found.map(|found| found.first().map_or(Lsn::ZERO, |newest| newest.lsn)))
    }
}
