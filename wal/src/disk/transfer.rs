//! How far a transfer has come, whatever carries it out: short results go on with the rest, calls
//! that were not carried out are repeated, and both are bounded.

use std::io;

use super::Cache;
use crate::SECTOR;

/// How often in a row a transfer may make no progress before that is an error.
pub(super) const ATTEMPTS_MAX: u32 = 100;

/// One read or write of several system calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    cache: Cache,
    len: usize,
    /// Bytes transferred so far.
    done: usize,
    /// Results in a row without progress.
    idle: u32,
}

/// `None`: to be gone on with, from [`Transfer::resume_at`].
pub(super) type End = Option<io::Result<usize>>;

impl Transfer {
    pub(super) fn new(cache: Cache, len: usize) -> Self {
        Self { cache, len, done: 0, idle: 0 }
    }

    /// From where the next call starts. A direct transfer starts at a whole sector, so the part
    /// of one that was already transferred is transferred again.
    pub(super) fn resume_at(&self) -> usize {
        match self.cache {
            Cache::Direct if self.done < self.len => self.done - self.done % SECTOR,
            Cache::Direct | Cache::Buffered => self.done,
        }
    }

    /// Takes the result of a write from `resume_at` to the end.
    pub(super) fn wrote(&mut self, result: io::Result<usize>) -> End {
        match self.moved(result) {
            Some(Ok(done)) if done < self.len => Some(Err(io::ErrorKind::WriteZero.into())),
            end => end,
        }
    }

    /// Takes the result of a read from `resume_at` to the end. Nothing, or a part of a sector
    /// where sectors are whole, means that the file ends there.
    pub(super) fn read(&mut self, result: io::Result<usize>) -> End {
        let end = self.moved(result);
        if end.is_none() && self.resume_at() != self.done {
            return Some(Ok(self.done));
        }
        end
    }

    fn moved(&mut self, result: io::Result<usize>) -> End {
        let before = self.done;
        match result {
            Ok(0) => return Some(Ok(self.done)),
            Ok(moved) => self.done = self.done.max(self.resume_at() + moved),
            Err(error) if !is_retried(&error) => return Some(Err(error)),
            Err(error) if self.idle >= ATTEMPTS_MAX => return Some(Err(error)),
            Err(_) => {}
        }
        assert!(self.done <= self.len, "{} of {} bytes transferred", self.done, self.len);
        if self.done == self.len {
            return Some(Ok(self.len));
        }
        self.idle = if self.done > before { 0 } else { self.idle + 1 };
        if self.idle > ATTEMPTS_MAX {
            return Some(Ok(self.done));
        }
        None
    }
}

/// Whether an error says only that the call was not carried out this time. `ECANCELED` is that
/// for io_uring: the thread that submitted the request ended before the kernel began.
fn is_retried(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::ECANCELED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(number: i32) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(number))
    }

    /// Promise (row D20): a short write goes on with the rest, also after interruptions.
    #[test]
    fn d20_a_short_write_goes_on() {
        let mut write = Transfer::new(Cache::Buffered, 10);
        assert!(write.wrote(Ok(3)).is_none());
        assert_eq!(write.resume_at(), 3);
        assert!(write.wrote(errno(libc::EINTR)).is_none());
        assert!(write.wrote(errno(libc::EAGAIN)).is_none());
        assert!(write.wrote(errno(libc::ECANCELED)).is_none());
        assert_eq!(write.resume_at(), 3);
        assert_eq!(write.wrote(Ok(7)).unwrap().unwrap(), 10);
    }

    /// Promise: a direct transfer goes on at a whole sector and is not counted twice.
    #[test]
    fn a_direct_write_goes_on_at_a_sector() {
        let mut write = Transfer::new(Cache::Direct, 3 * SECTOR);
        assert!(write.wrote(Ok(SECTOR + 512)).is_none());
        assert_eq!(write.resume_at(), SECTOR);
        assert!(write.wrote(Ok(512)).is_none());
        assert_eq!(write.resume_at(), SECTOR);
        assert_eq!(write.wrote(Ok(2 * SECTOR)).unwrap().unwrap(), 3 * SECTOR);
    }

    /// Promise (row D20): a device that takes nothing is an error, after a bounded time.
    #[test]
    fn d20_a_write_without_progress_is_an_error() {
        let mut write = Transfer::new(Cache::Buffered, 10);
        assert!(write.wrote(Ok(9)).is_none());
        let error = write.wrote(Ok(0)).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        let mut write = Transfer::new(Cache::Direct, SECTOR);
        let error = (0..1000).find_map(|_| write.wrote(Ok(512))).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        let mut write = Transfer::new(Cache::Buffered, 10);
        let error = (0..1000).find_map(|_| write.wrote(errno(libc::EAGAIN))).unwrap();
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    /// Promise (rows D18, D21): a real error ends the transfer at once.
    #[test]
    fn d18_an_error_ends_it() {
        for number in [libc::EIO, libc::ENOSPC] {
            let mut write = Transfer::new(Cache::Buffered, 10);
            assert!(write.wrote(Ok(5)).is_none());
            let error = write.wrote(errno(number)).unwrap().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(number));
        }
    }

    /// Promise: a read is short only at the end of the file, and does not ask for more there than
    /// it must.
    #[test]
    fn a_read_ends_with_the_file() {
        let mut read = Transfer::new(Cache::Buffered, 10);
        assert!(read.read(Ok(4)).is_none());
        assert_eq!(read.read(Ok(0)).unwrap().unwrap(), 4);
        let mut read = Transfer::new(Cache::Direct, 3 * SECTOR);
        assert!(read.read(Ok(SECTOR)).is_none());
        assert_eq!(read.read(Ok(100)).unwrap().unwrap(), SECTOR + 100);
        let mut read = Transfer::new(Cache::Buffered, 10);
        assert_eq!(read.read(Ok(10)).unwrap().unwrap(), 10);
    }
}
