//! A disk in memory whose faults are data and whose choices follow from a seed.
//!
//! ```text
//!  SimDisk::new ─► run 0 ──fault or crash(seed)──► every handle of run 0 says `Crashed`
//!                                                        │ restart()
//!                                                        ▼
//!                                                      run 1 …
//! ```
//!
//! What it models (catalogue section 15):
//! * A write is on the medium when it was durable, or when a flush began after its completion.
//!   Until then a crash lets it survive, vanish or tear at sector boundaries.
//! * Names are on the medium after [`Disk::sync_dir`]. Until then a crash keeps a prefix of the
//!   changes of each directory. A flush of a file does not make its name durable.
//! * After a failed flush readers still see the data, no later flush writes it, and the medium
//!   has any part of it.
//! * `O_DIRECT` rules hold: what is misaligned fails with `EINVAL`.
//!
//! Callers may rely on: the same seed and the same calls give the same bytes, completions and
//! errors. With several threads the order of their calls is theirs.

mod content;
mod fault;
mod file;
mod names;
mod queue;
mod world;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use fault::{Effect, Fault, Op, OpKind};

use super::{Cache, Disk, Entry, FileRef, Open, Queue};
use file::SimFile;
use names::{InodeId, parent};
use queue::SimQueue;
use world::World;

/// The error of everything that was open when the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulated machine has crashed")]
pub struct Crashed;

impl From<Crashed> for io::Error {
    fn from(crashed: Crashed) -> Self {
        Self::other(crashed)
    }
}

/// Whether an error means that the simulated machine is down, not that a call failed.
#[must_use]
pub fn is_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Crashed>())
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        // A panicking test must not hide its cause behind a poisoned lock.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an open file means to the disk.
#[derive(Clone, Debug)]
struct Place {
    path: PathBuf,
    inode: InodeId,
    epoch: u64,
    cache: Cache,
    writable: bool,
}

/// A simulated disk, as one run of a process has it. Clones are the same disk in the same run.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
    epoch: u64,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk(run {})", self.epoch)
    }
}

/// For tests: what goes wrong, and what became of it. All of this works in any run.
impl SimDisk {
    /// An empty disk. The seed decides the order of completions and what a crash by a fault
    /// leaves.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::over(World::new(seed))
    }

    fn over(world: World) -> Self {
        let epoch = world.epoch;
        Self { shared: Arc::new(Shared { world: Mutex::new(world) }), epoch }
    }

    /// Arms a fault; it strikes once.
    pub fn fail(&self, fault: Fault) {
        self.shared.world().faults.push(fault);
    }

    /// Disarms all faults that have not struck.
    pub fn heal(&self) {
        self.shared.world().faults.clear();
    }

    /// Power fails now, and the seed decides what the medium keeps. Gives the disk of the next
    /// run; everything else that was open is dead.
    #[must_use = "every older handle is dead"]
    pub fn crash(&self, seed: u64) -> Self {
        let mut world = self.shared.world();
        if !world.down {
            world.power_loss(seed);
        }
        Self { shared: Arc::clone(&self.shared), epoch: world.next_process() }
    }

    /// The disk of the next run: after a crash by a fault, or, if there was none, after the
    /// process was killed and nothing was lost.
    #[must_use = "every older handle is dead"]
    pub fn restart(&self) -> Self {
        let epoch = self.shared.world().next_process();
        Self { shared: Arc::clone(&self.shared), epoch }
    }

    /// Another disk: this one as it would be if power failed now. This one goes on.
    #[must_use]
    pub fn after_crash(&self, seed: u64) -> Self {
        let mut world = self.shared.world().clone();
        world.changed = Arc::default();
        world.faults.clear();
        if !world.down {
            world.power_loss(seed);
        }
        world.next_process();
        Self::over(world)
    }

    /// Whether power failed in this run.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.shared.world().alive(self.epoch).is_err()
    }

    /// How many operations, reads not counted, there were since the disk was made.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.shared.world().log.len()
    }

    /// These operations, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Op> {
        self.shared.world().log.clone()
    }

    /// Bytes that all files together may have; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.world().capacity = bytes;
    }

    /// Unit in which writes tear: 4096 bytes unless set, 512 for older devices.
    ///
    /// # Panics
    /// If it is zero.
    pub fn set_tear(&self, bytes: usize) {
        assert!(bytes > 0, "nothing tears into nothing");
        self.shared.world().tear = bytes;
    }

    /// From now on a crash keeps nothing that was not durable, instead of what the seed decides:
    /// the plainest power loss, and the hardest for who trusts a cache.
    pub fn forget_unflushed(&self) {
        self.shared.world().forgetful = true;
    }

    /// Lets the requests complete that [`Effect::Hang`] has struck.
    pub fn let_go(&self) {
        let mut world = self.shared.world();
        world.hanging = false;
        world.changed.notify_all();
    }

    /// What a reader of the file would see; `None` if there is none.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let mut world = self.shared.world();
        let inode = world.names.get(path)?;
        let bytes = &world.inode(inode).live;
        let mut all = vec![0; usize::try_from(bytes.len()).ok()?];
        bytes.read(&mut all, 0);
        Some(all)
    }

    /// All files there are.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.shared.world().names.files().map(|(path, _)| path.clone()).collect()
    }

    /// Turns one bit (0–7) of one byte, in the cache and on the medium.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) {
        self.damage(path, |bytes| {
            let mut byte = [0];
            bytes.read(&mut byte, offset);
            bytes.write(&[byte[0] ^ (1 << bit)], offset);
        });
    }

    /// Cuts or grows the file, in the cache and on the medium.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn truncate(&self, path: &Path, len: u64) {
        self.damage(path, |bytes| bytes.set_len(len));
    }

    /// Replaces bytes, in the cache and on the medium.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn overwrite(&self, path: &Path, offset: u64, data: &[u8]) {
        self.damage(path, |bytes| bytes.write(data, offset));
    }

    fn damage(&self, path: &Path, change: impl Fn(&mut content::Bytes)) {
        let mut world = self.shared.world();
        let inode = world.names.get(path).unwrap_or_else(|| panic!("no file {}", path.display()));
        world.inode(inode).damage(change);
    }

    /// Copies a file as an operator would, durably, over what has the name.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn copy(&self, from: &Path, to: &Path) {
        let mut world = self.shared.world();
        let inode = world.names.get(from).unwrap_or_else(|| panic!("no file {}", from.display()));
        let live = world.inode(inode).live.clone();
        let id = world.number();
        world.inodes.insert(id, content::Inode::durable(live));
        world.names.force(to, id);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, open: Open, cache: Cache) -> io::Result<FileRef> {
        let mut world = self.shared.world();
        world.alive(self.epoch)?;
        let inode = match (open, world.names.get(path)) {
            (Open::Create, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Open::Create, None) if !world.names.is_dir(&parent(path)) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            (Open::Create, None) => world.create(path)?,
            (Open::Read | Open::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Open::Read | Open::Write, Some(inode)) => inode,
        };
        world.inode(inode).handles += 1;
        let writable = open != Open::Read;
        let place = Place { path: path.to_owned(), inode, epoch: self.epoch, cache, writable };
        Ok(Arc::new(SimFile::new(Arc::clone(&self.shared), place)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.shared.world();
        world.alive(self.epoch)?;
        if world.names.is_dir(path) {
            return Ok(());
        }
        if path.ancestors().any(|part| world.names.get(part).is_some()) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let op = Op::named(OpKind::CreateDir, path);
        world.change_names(op, |world| world.names.add_dir(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let world = self.shared.world();
        world.alive(self.epoch)?;
        if !world.names.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let files =
            world.names.files().filter(|(path, _)| parent(path) == dir).map(|(path, inode)| {
                Entry {
                    path: path.clone(),
                    is_dir: false,
                    len: world.inodes.get(&inode).map_or(0, |inode| inode.live.len()),
                }
            });
        let dirs = world.names.dirs().filter(|path| parent(path) == dir);
        let dirs = dirs.map(|path| Entry { path: path.clone(), is_dir: true, len: 0 });
        let mut entries: Vec<Entry> = files.chain(dirs).collect();
        entries.sort();
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.shared.world();
        world.alive(self.epoch)?;
        if world.names.get(from).is_none() || !world.names.is_dir(&parent(to)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let op = Op::named(OpKind::Rename, from);
        world.change_names(op, |world| world.names.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.shared.world();
        world.alive(self.epoch)?;
        if world.names.get(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let op = Op::named(OpKind::Remove, path);
        world.change_names(op, |world| world.names.remove(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.shared.world();
        world.alive(self.epoch)?;
        if !world.names.is_dir(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let held = world.names.files().map(|(path, _)| path).chain(world.names.dirs());
        if held.filter(|inner| parent(inner) == path).count() > 0 {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let op = Op::named(OpKind::Remove, path);
        world.change_names(op, |world| world.names.remove_dir(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.shared.world();
        world.alive(self.epoch)?;
        if !world.names.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change_names(Op::named(OpKind::SyncDir, dir), |world| world.names.sync(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync + fmt::Debug>> {
        let mut world = self.shared.world();
        world.alive(self.epoch)?;
        if world.locks.contains_key(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if world.names.get(path).is_none() {
            if !world.names.is_dir(&parent(path)) {
                return Err(io::ErrorKind::NotFound.into());
            }
            world.create(path)?;
        }
        let number = world.number();
        world.locks.insert(path.to_owned(), number);
        Ok(Box::new(Lock { shared: Arc::clone(&self.shared), path: path.to_owned(), number }))
    }

    fn queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        let mut world = self.shared.world();
        world.alive(self.epoch)?;
        let seed = world.queue_seed();
        Ok(Box::new(SimQueue::new(Arc::clone(&self.shared), self.epoch, depth, seed)))
    }

    fn backend(&self) -> &'static str {
        "simulated"
    }
}

/// Gives the lock back, unless a crash already did.
#[derive(Debug)]
struct Lock {
    shared: Arc<Shared>,
    path: PathBuf,
    number: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut world = self.shared.world();
        if world.locks.get(&self.path) == Some(&self.number) {
            world.locks.remove(&self.path);
        }
    }
}
