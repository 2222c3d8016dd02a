//! The backend of choice: io_uring.
//!
//! Two kinds of queue, because the kernel's cheapest mode binds a ring to one thread:
//!
//! | made by | may move between threads | how completions are run |
//! |---|---|---|
//! | [`Disk::local_queue`] | until its first wait | only inside a wait of its thread (`DEFER_TASKRUN`) |
//! | [`Disk::queue`] | always | by interrupting the thread that submitted |
//!
//! Not used: `SQPOLL` (up to 40 times slower on two cores), links from a write to its flush (a
//! short write breaks the order), polling for completions. Not tried yet: registered
//! buffers, a registered ring descriptor.

mod files;
mod queue;
mod ring;
mod wake;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Cache, Disk, Entry, FileRef, Open, Queue, native};
use queue::UringQueue;
use ring::Kind;

/// The kernel's file systems through io_uring.
#[derive(Clone, Copy, Debug)]
pub struct UringDisk {
    /// Nobody makes one without [`UringDisk::new`].
    _checked: (),
}

impl UringDisk {
    /// The disk, if this process may use io_uring.
    ///
    /// # Errors
    /// What the kernel says: `ENOSYS` without io_uring, `EPERM` where it is forbidden.
    pub fn new() -> io::Result<Self> {
        ring::check()?;
        Ok(Self { _checked: () })
    }
}

impl Disk for UringDisk {
    fn open(&self, path: &Path, open: Open, cache: Cache) -> io::Result<FileRef> {
        Ok(Arc::new(native::open(path, open, cache)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        native::create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        native::list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        native::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        native::remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        native::remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        native::sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync + fmt::Debug>> {
        native::lock(path)
    }

    fn queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        Ok(Box::new(UringQueue::new(depth, Kind::Shared)?))
    }

    fn local_queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        Ok(Box::new(UringQueue::new(depth, Kind::Local)?))
    }

    fn backend(&self) -> &'static str {
        "io_uring"
    }
}
