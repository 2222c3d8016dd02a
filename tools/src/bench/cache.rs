//! The kernel's page cache, as a bench needs it: empty (cold) or full (warm).

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

/// How the cache was emptied; reported, since the second is weaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// All of it, through `/proc/sys/vm/drop_caches` (needs root).
    Whole,
    /// The files of the bench, through `posix_fadvise`.
    Files,
}

/// Writes everything back and empties the page cache, of the whole system if it may, else of the
/// files below `dir`.
///
/// # Errors
/// If neither works.
pub fn empty(dir: &Path) -> io::Result<Emptied> {
    // What is still dirty cannot be dropped.
    Command::new("sync").status()?;
    if fs::write("/proc/sys/vm/drop_caches", "3\n").is_ok() {
        return Ok(Emptied::Whole);
    }
    for_each_file(dir, &mut |file| {
        // SAFETY: the descriptor is open for as long as `file` lives; the call touches no memory
        // of this process.
        let result =
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
    })?;
    Ok(Emptied::Files)
}

/// Reads every file below `dir` once, so that the page cache holds it.
///
/// # Errors
/// The system's answer.
pub fn fill(dir: &Path) -> io::Result<u64> {
    let mut buffer = vec![0; 4 << 20];
    let mut sum = 0;
    for_each_file(dir, &mut |mut file| {
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                len => sum += len as u64,
            }
        }
    })?;
    Ok(sum)
}

fn for_each_file(dir: &Path, visit: &mut dyn FnMut(&File) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            for_each_file(&entry.path(), visit)?;
        } else {
            visit(&File::open(entry.path())?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: warming reads every byte of every file, also in folders.
    #[test]
    fn filling_reads_everything() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("sub")).expect("a folder");
        fs::write(dir.path().join("a"), [1; 100]).expect("a file");
        fs::write(dir.path().join("sub/b"), [2; 23]).expect("a file");
        assert_eq!(fill(dir.path()).expect("readable"), 123);
    }
}
