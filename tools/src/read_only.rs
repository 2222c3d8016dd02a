//! A disk that cannot change anything: the guarantee behind "offline, read-only".
//!
//! Inspection runs the same code that recovery runs, so that both judge alike; on this disk a
//! write is an error instead of a change, since the kernel itself has the files open for reading.

use std::fmt;
use std::io;
use std::path::Path;

use resprout_wal::disk::{Cache, Disk, Entry, FileRef, Open, PlainDisk, Queue};

/// The kernel's disks, for reading. Files are opened for reading only, whatever was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnlyDisk;

/// Stands for the lock of a directory that has none to take.
#[derive(Debug)]
struct Unlocked;

fn refused(doing: &str, path: &Path) -> io::Error {
    let what = format!("{doing} {} on a read-only disk", path.display());
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, what)
}

impl Disk for ReadOnlyDisk {
    fn open(&self, path: &Path, open: Open, _: Cache) -> io::Result<FileRef> {
        match open {
            // Buffered: an inspection must work wherever the files were copied to.
            Open::Read | Open::Write => PlainDisk.open(path, Open::Read, Cache::Buffered),
            Open::Create => Err(refused("creating", path)),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() { Ok(()) } else { Err(refused("creating", path)) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        PlainDisk.list(dir)
    }

    fn rename(&self, from: &Path, _: &Path) -> io::Result<()> {
        Err(refused("renaming", from))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Err(refused("removing", path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        Err(refused("removing", path))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// A lock that a running node holds is respected: what it writes meanwhile would look torn.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync + fmt::Debug>> {
        if !path.exists() {
            return Ok(Box::new(Unlocked));
        }
        match PlainDisk.lock(path) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Ok(Box::new(Unlocked)),
            taken => taken,
        }
    }

    fn queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        PlainDisk.queue(depth)
    }

    fn backend(&self) -> &'static str {
        "read-only"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: nothing that is asked of this disk changes a byte or a name.
    #[test]
    fn nothing_changes_anything() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        std::fs::write(&path, b"as it was").expect("a file");
        let file = ReadOnlyDisk.open(&path, Open::Write, Cache::Direct).expect("it is there");
        assert!(file.write_at(b"x", 0).is_err());
        assert!(ReadOnlyDisk.open(&dir.path().join("b"), Open::Create, Cache::Direct).is_err());
        assert!(ReadOnlyDisk.create_dir(&dir.path().join("c")).is_err());
        assert!(ReadOnlyDisk.rename(&path, &dir.path().join("d")).is_err());
        assert!(ReadOnlyDisk.remove(&path).is_err());
        drop(ReadOnlyDisk.lock(&dir.path().join("lock")).expect("nothing to lock"));
        let names = std::fs::read_dir(dir.path()).expect("readable").count();
        assert_eq!((names, std::fs::read(&path).expect("readable")), (1, b"as it was".to_vec()));
    }
}
