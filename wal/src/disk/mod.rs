//! The one door to storage.
//!
//! [`Disk`] names files, [`File`] is for occasional blocking use, [`Queue`] keeps many requests
//! in flight. Three implementations pass one conformance suite: `uring`, `plain` (`pwritev2`)
//! and `sim`.
//!
//! A buffer belongs to its request until the completion gives it back ([`IoBuf`]), so the kernel
//! never writes into memory that something else has reused, also when the caller went away.

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::SECTOR;

pub use aligned::{AlignedBuf, BufPool, HUGE_PAGE};
pub use backend::{Backend, UnknownBackend, open_default};
pub use buffer::IoBuf;
pub use plain::PlainDisk;
pub use probe::{DurableMode, Probe, probe_durable_write};
pub use uring::UringDisk;

mod aligned;
mod backend;
mod buffer;
mod native;
mod plain;
mod probe;
pub mod sim;
mod transfer;
mod uring;

/// An open file, shared by whoever writes or reads it.
pub type FileRef = Arc<dyn File>;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It exists; reading only.
    Read,
    /// It exists; reading and writing.
    Write,
    /// It must not exist; reading and writing.
    Create,
}

/// Whether transfers go around the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// `O_DIRECT`: offset, length and address are multiples of [`crate::SECTOR`].
    Direct,
    /// Through the page cache, any alignment.
    Buffered,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Full path.
    pub path: PathBuf,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes; 0 for directories.
    pub len: u64,
}

/// A device with directories and files. Cheap to share.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file.
    fn open(&self, path: &Path, open: Open, cache: Cache) -> io::Result<FileRef>;
    /// Makes a directory and its parents, durably; fine if it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// What a directory holds, sorted by path.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Gives a file another name, replacing what had it. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory, durably.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock of a file for as long as the guard lives, creating the file if
    /// need be; `WouldBlock` if another process, or this one, has it (catalogue row D38).
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync + fmt::Debug>>;
    /// A queue with room for `depth` requests in flight, for whichever thread has it.
    fn queue(&self, depth: u32) -> io::Result<Box<dyn Queue>>;
    /// A queue that stays with the thread that first waits on it, and is dropped there: cheaper
    /// where the backend can make use of that.
    fn local_queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        self.queue(depth)
    }
    /// Name of the backend, for people: `io_uring`, `pwritev2`, `simulated`.
    fn backend(&self) -> &'static str;
}

/// An open file. `Any`, so that a queue recognises the files of its own disk.
pub trait File: Any + Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` from `offset`; how many bytes there were before the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf` at `offset`, growing the file if need be.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes data and length durable (`fdatasync`). After an error the file must not be written
    /// again: what the device holds is unknown (catalogue rule 17).
    fn flush(&self) -> io::Result<()>;
    /// How many bytes of the range the page cache holds; `None` where the kernel does not tell.
    fn cached_bytes(&self, offset: u64, len: u64) -> Option<u64>;
    /// The descriptor, where there is one.
    fn descriptor(&self) -> Option<i32>;
    /// Path it was opened with, for messages.
    fn path(&self) -> &Path;
}

/// One transfer.
#[derive(Debug)]
pub enum Request {
    /// Fill the buffer from `offset`.
    Read {
        /// From here.
        file: FileRef,
        /// Byte position.
        offset: u64,
        /// Whose memory to fill; its length is the length of the read.
        buf: IoBuf,
    },
    /// Write the buffer at `offset`.
    Write {
        /// To here.
        file: FileRef,
        /// Byte position.
        offset: u64,
        /// What to write, all of it.
        buf: IoBuf,
        /// Complete only once it is on the medium (`RWF_DSYNC`).
        durable: bool,
    },
    /// Make all writes to the file that completed before this was pushed durable.
    Flush {
        /// The file.
        file: FileRef,
    },
}

/// The end of one request.
#[derive(Debug)]
pub struct Completion {
    /// What the request was pushed with.
    pub token: u64,
    /// Its buffer, back with its owner; `None` for a flush.
    pub buf: Option<IoBuf>,
    /// Bytes transferred. A read may be short at the end of the file; a write is whole or an
    /// error (`WriteZero` if the device took only a part).
    pub result: io::Result<usize>,
}

/// Requests in flight. Owned by one thread at a time.
pub trait Queue: Send {
    /// Adds a request. It may start at once or at the next [`Queue::wait`].
    ///
    /// # Panics
    /// If more than the queue's depth are in flight.
    fn push(&mut self, token: u64, request: Request);
    /// Starts what was pushed and waits until at least `at_least` completions are there (0: does
    /// not wait) or the [`Waker`] was used; appends all there are to `out`. With fewer than
    /// `at_least` in flight only the waker ends it. An error here means that the queue is
    /// unusable; requests in flight are waited for when it is dropped.
    fn wait(&mut self, at_least: usize, out: &mut Vec<Completion>) -> io::Result<()>;
    /// Requests pushed and not yet returned.
    fn in_flight(&self) -> usize;
    /// How many may be in flight.
    fn depth(&self) -> usize;
    /// Wakes a thread that waits in [`Queue::wait`], from any thread. A wake before the wait is
    /// not lost.
    fn waker(&self) -> Waker;
}

/// Ends a [`Queue::wait`] early. See [`Queue::waker`].
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Refuses a direct transfer that is not in whole sectors, in the file and in memory. Devices may
/// demand less; whoever relies on that fails on the next one.
fn check_aligned(cache: Cache, memory: &[u8], offset: u64) -> io::Result<()> {
    let aligned = offset.is_multiple_of(SECTOR as u64)
        && memory.len().is_multiple_of(SECTOR)
        && memory.as_ptr().addr().is_multiple_of(SECTOR);
    if cache == Cache::Buffered || aligned {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}
