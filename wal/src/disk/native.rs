//! Files and directories of the kernel: what both real backends share. They differ only in how
//! they keep many requests in flight.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::transfer::Transfer;
use super::{Cache, Entry, File, Open, check_aligned};
use crate::SECTOR;

/// Rights of new files: what is stored is nobody else's business.
const FILE_MODE: u32 = 0o600;
/// Rights of new directories.
const DIR_MODE: u32 = 0o700;

/// An open file of the kernel.
#[derive(Debug)]
pub(super) struct NativeFile {
    file: fs::File,
    path: PathBuf,
    cache: Cache,
}

/// Opens or creates a file. Where the file system knows no `O_DIRECT` (`EINVAL`, older tmpfs),
/// transfers go through the page cache: slower, not less correct.
pub(super) fn open(path: &Path, open: Open, cache: Cache) -> io::Result<NativeFile> {
    let mut options = OpenOptions::new();
    options.read(true).write(open != Open::Read).create_new(open == Open::Create);
    options.mode(FILE_MODE);
    if cache == Cache::Direct {
        options.custom_flags(libc::O_DIRECT);
    }
    let mut file = options.open(path);
    if cache == Cache::Direct && errno_of(&file) == Some(libc::EINVAL) {
        tracing::debug!(path = %path.display(), "no O_DIRECT here, using the page cache");
        // The refused call may have left the new file behind; it is empty and ours.
        options.custom_flags(0).create_new(false).create(open == Open::Create);
        file = options.open(path);
    }
    Ok(NativeFile { file: file?, path: path.to_owned(), cache })
}

fn errno_of<T>(result: &io::Result<T>) -> Option<i32> {
    result.as_ref().err().and_then(io::Error::raw_os_error)
}

impl NativeFile {
    /// Refuses a misaligned direct transfer before the kernel, whose rules vary with the device.
    pub(super) fn check(&self, memory: &[u8], offset: u64) -> io::Result<()> {
        check_aligned(self.cache, memory, offset)?;
        // Beyond this the kernel's signed positions end.
        let end = offset.checked_add(memory.len() as u64);
        match end.map(i64::try_from) {
            Some(Ok(_)) => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }

    /// Writes all of `buf`, as `write_at` does; `durable`: with `RWF_DSYNC`.
    pub(super) fn write_all(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<()> {
        self.check(buf, offset)?;
        let mut transfer = Transfer::new(self.cache, buf.len());
        loop {
            let from = transfer.resume_at();
            let result = match buf.len() - from {
                0 => Ok(0),
                _ => self.write_some(&buf[from..], offset + from as u64, durable),
            };
            if let Some(end) = transfer.wrote(result) {
                return end.map(drop);
            }
        }
    }

    fn write_some(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        if !durable {
            return self.file.write_at(buf, offset);
        }
        let vector = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
        let fd = self.file.as_raw_fd();
        let position = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: one vector, whose memory is `buf`, which the kernel only reads.
        let taken = unsafe { libc::pwritev2(fd, &raw const vector, 1, position, libc::RWF_DSYNC) };
        usize::try_from(taken).map_err(|_| io::Error::last_os_error())
    }

    /// Fills `buf` as far as there are bytes.
    pub(super) fn read_all(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check(buf, offset)?;
        let mut transfer = Transfer::new(self.cache, buf.len());
        loop {
            let from = transfer.resume_at();
            let result = self.file.read_at(&mut buf[from..], offset + from as u64);
            if let Some(end) = transfer.read(result) {
                return end;
            }
        }
    }

    /// The state of a transfer of `len` bytes that has not begun.
    pub(super) fn transfer(&self, len: usize) -> Transfer {
        Transfer::new(self.cache, len)
    }
}

impl File for NativeFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_all(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.write_all(buf, offset, false)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cached_bytes(&self, offset: u64, len: u64) -> Option<u64> {
        cachestat(self.file.as_raw_fd(), offset, len)
    }

    fn descriptor(&self) -> Option<i32> {
        Some(self.file.as_raw_fd())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Number of the system call `cachestat` (Linux 6.5), which `libc` does not name yet.
const SYS_CACHESTAT: libc::c_long = 451;

/// Bytes of the range in the page cache; `None` before Linux 6.5 or where it is forbidden.
fn cachestat(fd: i32, offset: u64, len: u64) -> Option<u64> {
    #[repr(C)]
    struct Range {
        offset: u64,
        len: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Pages {
        cached: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    if len == 0 {
        // The kernel takes 0 for "to the end of the file".
        return Some(0);
    }
    let range = Range { offset, len };
    let mut pages = Pages::default();
    // SAFETY: both structures are laid out as the call demands and live until it returns.
    let result =
        unsafe { libc::syscall(SYS_CACHESTAT, fd, &raw const range, &raw mut pages, 0_u32) };
    (result == 0).then(|| (pages.cached * SECTOR as u64).min(len))
}

/// Makes a directory and its missing parents, each durable in the one above.
pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()).collect();
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(DIR_MODE).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => {
                return Err(error);
            }
            _ => sync_dir(parent(dir))?,
        }
    }
    Ok(())
}

/// The directory a name is in; the working directory for a bare name.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = match entry.metadata() {
            Ok(about) => about,
            // Removed between the two calls: then it is not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let is_dir = about.is_dir();
        entries.push(Entry {
            path: entry.path(),
            is_dir,
            len: if is_dir { 0 } else { about.len() },
        });
    }
    entries.sort();
    Ok(entries)
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

pub(super) fn remove_dir(path: &Path) -> io::Result<()> {
    fs::remove_dir(path)?;
    sync_dir(parent(path))
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// A file whose lock this process has, until it is dropped.
#[derive(Debug)]
struct Locked(fs::File);

impl Drop for Locked {
    /// Closing alone would not do: a process that is being started by another thread has a copy of the
    /// descriptor for a moment, and the lock would live as long as that.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "a lock goes with its descriptor");
        }
    }
}

/// Takes `flock` on the file; the kernel gives it back when the process dies (catalogue row D38).
pub(super) fn lock(path: &Path) -> io::Result<Box<dyn Send + Sync + fmt::Debug>> {
    Ok(Box::new(locked(path)?))
}

fn locked(path: &Path) -> io::Result<Locked> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Locked(file)),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D38: whoever gave a lock back can take it again at once, although a process that is just being
    /// started has a copy of the descriptor.
    #[test]
    fn d38_a_copied_descriptor_keeps_no_lock() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        let first = locked(&path).expect("nobody has it");
        let copy = first.0.try_clone().expect("a descriptor");
        assert!(locked(&path).is_err(), "taken twice");
        drop(first);
        drop(locked(&path).expect("given back"));
        drop(copy);
    }
}
