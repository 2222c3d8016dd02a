//! Small files that are read whole or refused, and replaced whole or not at all.
//!
//! ```text
//! 0 magic   8 version u32   12 length u32   16 crc32 of the content u32   20 … 31 zero   32 content
//! ```

use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};

use resprout_wal::disk::{Cache, Disk, Open};

/// Bytes of the header.
pub(crate) const HEADER: usize = 32;

/// Tries of a read before its error counts.
const TRIES: usize = 4;

/// A kind of file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// What it begins with.
    pub(crate) magic: [u8; 8],
    /// The version that is written and read.
    pub(crate) version: u32,
    /// Most bytes of the content.
    pub(crate) bytes_max: usize,
}

/// What is wrong with the bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// They are not what was written.
    #[error("damaged at byte {offset}: {what}")]
    Damaged {
        /// Where.
        offset: usize,
        /// How.
        what: &'static str,
    },
    /// They are of another version.
    #[error("has format version {found}, this program knows {known}")]
    Version {
        /// The version of the file.
        found: u32,
        /// The version known here.
        known: u32,
    },
}

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}", path = path.display())]
pub struct DiskError {
    action: &'static str,
    path: PathBuf,
    source: IoError,
}

fn at<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(IoError) -> DiskError + use<'p> {
    move |source| DiskError { action, path: path.into(), source }
}

impl Kind {
    /// A content with its header. Contents beyond the limit are the caller's to refuse.
    pub(crate) fn seal(&self, content: &[u8]) -> Vec<u8> {
        debug_assert!(content.len() <= self.bytes_max, "{} bytes", content.len());
        let mut bytes = vec![0; HEADER];
        bytes[..8].copy_from_slice(&self.magic);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..16].copy_from_slice(&(content.len() as u32).to_le_bytes());
        bytes[16..20].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
        bytes.extend_from_slice(content);
        bytes
    }

    /// The content of a file.
    ///
    /// # Errors
    /// Whatever is not exactly what [`Kind::seal`] made.
    pub(crate) fn open<'b>(&self, bytes: &'b [u8]) -> Result<&'b [u8], Flaw> {
        let damaged = |offset, what| Err(Flaw::Damaged { offset, what });
        let Some((header, content)) = bytes.split_at_checked(HEADER) else {
            return damaged(bytes.len(), "shorter than its header");
        };
        if header[..8] != self.magic {
            return damaged(0, "begins like another file");
        }
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if word(8) != self.version {
            return Err(Flaw::Version { found: word(8), known: self.version });
        }
        if word(12) as usize != content.len() || content.len() > self.bytes_max {
            return damaged(12, "length differs");
        }
        if crc32fast::hash(content) != word(16) {
            return damaged(16, "checksum differs");
        }
        match header[20..].iter().all(|byte| *byte == 0) {
            true => Ok(content),
            false => damaged(20, "is to be zero"),
        }
    }

    /// The bytes of a file; none if there is none. One that is longer than any of its kind comes
    /// cut, and does not [open](Kind::open).
    ///
    /// # Errors
    /// If the disk fails, several times.
    pub(crate) fn read(&self, disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
        let file = match disk.open(path, Open::Read, Cache::Buffered) {
            Ok(file) => file,
            Err(none) if none.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(at("open", path)(source)),
        };
        let len = usize::try_from(file.len().map_err(at("measure", path))?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(HEADER + self.bytes_max + 1)];
        let mut read = file.read_at(&mut bytes, 0);
        for _ in 1..TRIES {
            if read.is_err() {
                read = file.read_at(&mut bytes, 0);
            }
        }
        bytes.truncate(read.map_err(at("read", path))?);
        Ok(Some(bytes))
    }
}

/// Puts new bytes in place, durably: written aside, flushed, renamed, directory flushed. After an
/// error or a crash the old ones are there, or the new ones, whole.
///
/// # Errors
/// If the disk fails.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let aside = PathBuf::from(format!("{}.tmp", path.display()));
    match disk.remove(&aside) {
        Ok(()) => {}
        Err(none) if none.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(at("remove", &aside)(source)),
    }
    let file = disk.open(&aside, Open::Create, Cache::Buffered).map_err(at("create", &aside))?;
    file.write_at(bytes, 0).map_err(at("write", &aside))?;
    file.flush().map_err(at("flush", &aside))?;
    disk.rename(&aside, path).map_err(at("rename", &aside))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(dir).map_err(at("flush directory", dir))
}

#[cfg(test)]
mod tests {
    use resprout_wal::disk::sim::{Effect, Fault, SimDisk};

    use super::*;

    const KIND: Kind = Kind { magic: *b"RSPRTEST", version: 3, bytes_max: 100 };

    fn path() -> &'static Path {
        Path::new("/d/file")
    }

    fn disk(seed: u64) -> SimDisk {
        let disk = SimDisk::new(seed);
        disk.create_dir(Path::new("/d")).unwrap();
        disk
    }

    fn content(disk: &SimDisk) -> Option<Vec<u8>> {
        let bytes = KIND.read(disk, path()).unwrap()?;
        Some(KIND.open(&bytes).unwrap().to_vec())
    }

    /// Promise: what was written is read; what is not there is none; what is too long is refused.
    #[test]
    fn contents_come_back() {
        let disk = disk(1);
        assert_eq!(content(&disk), None);
        for body in [&b"one"[..], b"", b"another one"] {
            replace(&disk, path(), &KIND.seal(body)).unwrap();
            assert_eq!(content(&disk).unwrap(), body);
        }
        let long = Kind { bytes_max: 1000, ..KIND };
        replace(&disk, path(), &long.seal(&[7; 101])).unwrap();
        let bytes = KIND.read(&disk, path()).unwrap().unwrap();
        assert!(KIND.open(&bytes).is_err());
    }

    /// Promise: every flipped bit and every cut is noticed.
    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = KIND.seal(b"some content");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(KIND.open(&bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(KIND.open(&good[..len]).is_err(), "length {len}");
        }
    }

    /// Promise: power may fail at any operation: the old content is there or the new one, whole.
    #[test]
    fn a_crash_leaves_old_or_new() {
        let mut seen = [false; 2];
        for seed in 0..8 {
            for operation in 0.. {
                let disk = disk(seed);
                replace(&disk, path(), &KIND.seal(b"old")).unwrap();
                disk.fail(Fault::at(operation, Effect::CrashAfter));
                let finished = replace(&disk, path(), &KIND.seal(b"new")).is_ok();
                let found = content(&disk.after_crash(seed)).expect("one");
                assert!(found == b"new" || (found == b"old" && !finished), "{found:?}");
                seen[usize::from(found == b"new")] = true;
                if finished {
                    break;
                }
            }
        }
        assert_eq!(seen, [true; 2]);
    }
}
