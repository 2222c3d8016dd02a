//! The backend for kernels and containers that forbid io_uring: `pwritev2`, `pread`, `fdatasync`.
//!
//! Requests run in the thread that waits, one after another in the order of their push. So a
//! queue gains no parallelism from its depth, and a flush covers more than it must. What it gains
//! is that durable writes of one file that wait together share one flush.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::native::{self, NativeFile};
use super::{Cache, Completion, Disk, Entry, FileRef, Open, Queue, Request, Waker};

/// The kernel's file systems by blocking calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainDisk;

impl Disk for PlainDisk {
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
        let depth = depth as usize;
        Ok(Box::new(PlainQueue { depth, pushed: VecDeque::new(), signal: Arc::default() }))
    }

    fn backend(&self) -> &'static str {
        "pwritev2"
    }
}

/// Whether a wake was asked for since the last wait ended.
#[derive(Default)]
struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

struct PlainQueue {
    depth: usize,
    pushed: VecDeque<(u64, Request)>,
    signal: Arc<Signal>,
}

impl Queue for PlainQueue {
    fn push(&mut self, token: u64, request: Request) {
        assert!(self.pushed.len() < self.depth, "over {} requests in flight", self.depth);
        self.pushed.push_back((token, request));
    }

    fn wait(&mut self, at_least: usize, out: &mut Vec<Completion>) -> io::Result<()> {
        let count = self.pushed.len();
        let shared = flushes_shared(&self.pushed);
        let from = out.len();
        let mut covered = Vec::new();
        for (token, request) in self.pushed.drain(..) {
            let flush = request.durable_file().and_then(|file| position(&shared, file));
            covered.push(flush);
            out.push(run(token, request, flush.is_none()));
        }
        for (index, file) in shared.iter().enumerate() {
            let Err(error) = file.flush() else { continue };
            let all = out[from..].iter_mut().zip(&covered);
            for (end, _) in all.filter(|(end, by)| **by == Some(index) && end.result.is_ok()) {
                end.result = Err(copied(&error));
            }
        }
        let woken = self.signal.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut woken = self
            .signal
            .changed
            .wait_while(woken, |woken| !*woken && count < at_least)
            .unwrap_or_else(PoisonError::into_inner);
        *woken = false;
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.pushed.len()
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn waker(&self) -> Waker {
        let signal = Arc::clone(&self.signal);
        Arc::new(move || {
            *signal.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
            signal.changed.notify_all();
        })
    }
}

impl Request {
    /// The file, if this is a durable write.
    fn durable_file(&self) -> Option<&FileRef> {
        match self {
            Self::Write { file, durable: true, .. } => Some(file),
            Self::Write { .. } | Self::Read { .. } | Self::Flush { .. } => None,
        }
    }
}

fn position(files: &[FileRef], file: &FileRef) -> Option<usize> {
    files.iter().position(|known| Arc::ptr_eq(known, file))
}

/// The files that have several durable writes waiting: one flush costs as much as one of those.
fn flushes_shared(pushed: &VecDeque<(u64, Request)>) -> Vec<FileRef> {
    let (mut once, mut shared) = (Vec::new(), Vec::new());
    for file in pushed.iter().filter_map(|(_, request)| request.durable_file()) {
        if position(&once, file).is_none() {
            once.push(Arc::clone(file));
        } else if position(&shared, file).is_none() {
            shared.push(Arc::clone(file));
        }
    }
    shared
}

/// The same error for another request.
fn copied(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Carries one request out; a durable write durably only if it `flushes` itself.
fn run(token: u64, request: Request, flushes: bool) -> Completion {
    match request {
        Request::Read { file, offset, mut buf } => {
            let result = file.read_at(buf.as_mut_slice(), offset);
            Completion { token, buf: Some(buf), result }
        }
        Request::Write { file, offset, buf, durable } => {
            let result = native_of(&file)
                .and_then(|file| file.write_all(buf.as_slice(), offset, durable && flushes))
                .map(|()| buf.len());
            Completion { token, buf: Some(buf), result }
        }
        Request::Flush { file } => {
            Completion { token, buf: None, result: file.flush().map(|()| 0) }
        }
    }
}

/// The file as a file of the kernel.
pub(super) fn native_of(file: &FileRef) -> io::Result<&NativeFile> {
    let any: &dyn Any = file.as_ref();
    any.downcast_ref().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::AlignedBuf;

    /// Promise (row D18): a shared flush that fails, fails every write it stands for.
    #[test]
    fn d18_a_failed_shared_flush_fails_all_its_writes() {
        // The null device takes writes and cannot be flushed.
        let file = PlainDisk.open(Path::new("/dev/null"), Open::Write, Cache::Buffered).unwrap();
        let mut queue = PlainDisk.queue(3).unwrap();
        for token in 0..3 {
            let buf = AlignedBuf::new(1).unwrap().into_io();
            let (file, durable) = (Arc::clone(&file), token > 0);
            queue.push(token, Request::Write { file, offset: 0, buf, durable });
        }
        let mut done = Vec::new();
        queue.wait(3, &mut done).unwrap();
        assert_eq!(*done[0].result.as_ref().unwrap(), 1);
        for end in &done[1..] {
            assert_eq!(end.result.as_ref().unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
    }
}
