//! Names of a simulated disk: what the process sees, what the medium holds, and the changes
//! between the two.
//!
//! A journal in one order, as real file systems keep it: a crash keeps a prefix of the changes of
//! each directory, and a rename between directories counts in both, so it is never half done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::content::Fate;
use crate::world::Rng;

/// Number of a file, whatever its names.
pub(super) type InodeId = u64;

/// One change of names.
#[derive(Clone, Debug)]
enum Change {
    Add(PathBuf, InodeId),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Change {
    /// The directories it changes.
    fn dirs(&self) -> Vec<PathBuf> {
        match self {
            Self::Add(path, _) | Self::Remove(path) => vec![parent(path)],
            Self::Rename(from, to) => vec![parent(from), parent(to)],
        }
    }

    fn apply(&self, files: &mut BTreeMap<PathBuf, InodeId>) {
        match self {
            Self::Add(path, inode) => {
                files.insert(path.clone(), *inode);
            }
            Self::Remove(path) => {
                files.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = files.remove(from) {
                    files.insert(to.clone(), inode);
                }
            }
        }
    }
}

/// The directory a name is in.
pub(super) fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

/// The names. Directories are durable as soon as they are made.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    live: BTreeMap<PathBuf, InodeId>,
    medium: BTreeMap<PathBuf, InodeId>,
    journal: Vec<Change>,
    dirs: BTreeSet<PathBuf>,
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<InodeId> {
        self.live.get(path).copied()
    }

    /// All files that the process sees, in order.
    pub(super) fn files(&self) -> impl Iterator<Item = (&PathBuf, InodeId)> {
        self.live.iter().map(|(path, inode)| (path, *inode))
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        self.dirs.iter()
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        path == Path::new("") || path == Path::new("/") || self.dirs.contains(path)
    }

    pub(super) fn add(&mut self, path: &Path, inode: InodeId) {
        self.change(Change::Add(path.to_owned(), inode));
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.change(Change::Remove(path.to_owned()));
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.journal.push(change);
    }

    /// Makes a directory and its parents, and the names around them, durable.
    pub(super) fn add_dir(&mut self, path: &Path) {
        let missing: Vec<PathBuf> =
            path.ancestors().filter(|dir| !self.is_dir(dir)).map(Path::to_owned).collect();
        for dir in missing {
            self.sync(&parent(&dir));
            self.dirs.insert(dir);
        }
    }

    pub(super) fn remove_dir(&mut self, path: &Path) {
        self.sync(&parent(path));
        self.dirs.remove(path);
    }

    /// Puts the changes of `dir` on the medium, with those of other directories that came before
    /// one of them and belong to the same chain of renames.
    pub(super) fn sync(&mut self, dir: &Path) {
        let mut dirs = BTreeSet::from([dir.to_owned()]);
        let mut chosen = vec![false; self.journal.len()];
        for (index, change) in self.journal.iter().enumerate().rev() {
            if change.dirs().iter().any(|touched| dirs.contains(touched)) {
                chosen[index] = true;
                dirs.extend(change.dirs());
            }
        }
        let mut left = Vec::new();
        for (change, chosen) in std::mem::take(&mut self.journal).into_iter().zip(chosen) {
            if chosen {
                change.apply(&mut self.medium);
            } else {
                left.push(change);
            }
        }
        self.journal = left;
    }

    /// Power fails: of each directory's changes a prefix reached the medium.
    pub(super) fn crash(&mut self, fate: Fate, rng: &mut Rng) {
        let mut lost = BTreeSet::new();
        for change in std::mem::take(&mut self.journal) {
            let dirs = change.dirs();
            let survives = match fate {
                Fate::AllKept => true,
                Fate::AllLost => false,
                Fate::Mixed => {
                    rng.chance(1, 2) && !dirs.iter().any(|touched| lost.contains(touched))
                }
            };
            if survives {
                change.apply(&mut self.medium);
            } else {
                lost.extend(dirs);
            }
        }
        self.live = self.medium.clone();
    }

    /// Puts a name on the medium at once: damage done from outside.
    pub(super) fn force(&mut self, path: &Path, inode: InodeId) {
        self.live.insert(path.to_owned(), inode);
        self.medium.insert(path.to_owned(), inode);
    }

    /// Every file that has a name now or may have one again after a crash.
    pub(super) fn referenced(&self) -> BTreeSet<InodeId> {
        let added = self.journal.iter().filter_map(|change| match change {
            Change::Add(_, inode) => Some(*inode),
            Change::Remove(_) | Change::Rename(..) => None,
        });
        self.live.values().chain(self.medium.values()).copied().chain(added).collect()
    }
}
