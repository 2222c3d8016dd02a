//! Page-aligned memory for transfers that go around the page cache.
//!
//! ```text
//! AlignedBuf ──into_io──► IoBuf ──push──► request ──completion──► IoBuf ──from_io──► AlignedBuf
//! ```
//!
//! Whoever has the value in hand, in either form, is the only one who may touch the memory.
//! Buffers of 2 MiB and more lie on 2 MiB boundaries and ask for huge pages, because direct
//! reads into 4 KiB pages reached half the speed (1.2–2.2 GB/s against 3.3–3.9 on two cores). [`BufPool`] bounds how many there are.

use std::any::Any;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::IoBuf;
use crate::SECTOR;

/// Bytes of a huge page on `x86_64`.
pub const HUGE_PAGE: usize = 2 << 20;

/// Private anonymous memory, unmapped when dropped.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a `Mapping` only frees the memory; access goes through the one `AlignedBuf` or `IoBuf`
// that was made for it.
unsafe impl Send for Mapping {}
// SAFETY: as above, `&Mapping` gives no access to the bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        let huge = len >= HUGE_PAGE;
        let unit = if huge { HUGE_PAGE } else { SECTOR };
        let len = len.max(1).checked_next_multiple_of(unit).ok_or(io::ErrorKind::OutOfMemory)?;
        if !huge {
            return Ok(Self { start: map(len)?, len });
        }
        let whole = len.checked_add(HUGE_PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
        let base = map(whole)?;
        let head = base.as_ptr().align_offset(HUGE_PAGE);
        // SAFETY: `head` is under `HUGE_PAGE`, and the mapping is that much longer than `len`.
        let start = unsafe { base.add(head) };
        unmap(base, head);
        // SAFETY: `head + len` is at most `whole`, so this is inside or one past the mapping.
        let tail = unsafe { start.add(len) };
        unmap(tail, HUGE_PAGE - head);
        // SAFETY: the range is mapped and ours. A kernel without huge pages refuses: harmless.
        unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        unmap(self.start, self.len);
    }
}

/// Maps `len` zeroed bytes.
fn map(len: usize) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping at an address the kernel chooses touches nothing else.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Unmaps part of a mapping of this module to which nobody has a reference.
fn unmap(start: NonNull<u8>, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: the callers pass page-aligned parts of their own mapping, once.
    let result = unsafe { libc::munmap(start.as_ptr().cast(), len) };
    debug_assert_eq!(result, 0, "munmap of {len} bytes of our own");
}

/// Zeroed memory, aligned to [`SECTOR`], or to [`HUGE_PAGE`] if it has at least that size.
pub struct AlignedBuf {
    mapping: Arc<Mapping>,
    len: usize,
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

impl AlignedBuf {
    /// `len` zeroed bytes.
    ///
    /// # Errors
    /// `OutOfMemory` and what else `mmap` says.
    pub fn new(len: usize) -> io::Result<Self> {
        Ok(Self { mapping: Arc::new(Mapping::new(len)?), len })
    }

    /// A copy of `bytes`, padded with zeros to whole sectors.
    ///
    /// # Errors
    /// As [`AlignedBuf::new`].
    pub fn copied(bytes: &[u8]) -> io::Result<Self> {
        let mut buf = Self::new(bytes.len().next_multiple_of(SECTOR))?;
        buf[..bytes.len()].copy_from_slice(bytes);
        Ok(buf)
    }

    /// Hands the memory to a request.
    #[must_use]
    pub fn into_io(self) -> IoBuf {
        let len = self.len;
        self.into_io_prefix(len)
    }

    /// Hands the first `len` bytes to a request; [`AlignedBuf::from_io`] gives all of it back.
    ///
    /// # Panics
    /// If there are fewer than `len` bytes.
    #[must_use]
    pub fn into_io_prefix(self, len: usize) -> IoBuf {
        assert!(len <= self.len, "a request of {len} bytes on a buffer of {}", self.len);
        let start = self.mapping.start;
        let owner: Arc<dyn Any + Send + Sync> = self.mapping;
        // SAFETY: the mapping is zeroed, readable and writable, and lives as long as `owner`;
        // `self` was the only access to it and ends here.
        unsafe { IoBuf::from_raw(start, len, owner) }
    }

    /// Takes the memory back after a request, with the length of the whole mapping.
    ///
    /// # Errors
    /// Gives the `IoBuf` back if it was not made by [`AlignedBuf::into_io`].
    pub fn from_io(buf: IoBuf) -> Result<Self, IoBuf> {
        let (start, len, owner) = buf.into_parts();
        match owner.downcast::<Mapping>() {
            Ok(mapping) if Arc::strong_count(&mapping) == 1 && mapping.start == start => {
                Ok(Self { len: mapping.len, mapping })
            }
            // SAFETY: these are the unchanged parts of the `IoBuf` taken apart above.
            Ok(mapping) => Err(unsafe { IoBuf::from_raw(start, len, mapping) }),
            // SAFETY: as above.
            Err(owner) => Err(unsafe { IoBuf::from_raw(start, len, owner) }),
        }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes of the mapping are initialised, and only `self` may access them.
        unsafe { std::slice::from_raw_parts(self.mapping.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start.as_ptr(), self.len) }
    }
}

/// A fixed number of equal buffers, made at first use and reused. `Sync`.
#[derive(Debug)]
pub struct BufPool {
    size: usize,
    count: usize,
    state: Mutex<PoolState>,
}

#[derive(Debug, Default)]
struct PoolState {
    free: Vec<AlignedBuf>,
    made: usize,
}

impl BufPool {
    /// At most `count` buffers of `size` bytes each. Nothing is allocated yet.
    #[must_use]
    pub fn new(size: usize, count: usize) -> Self {
        assert!(size > 0, "buffers without bytes");
        Self { size, count, state: Mutex::default() }
    }

    /// Bytes of each buffer.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// A buffer with unspecified content; `None` if all are out.
    ///
    /// # Errors
    /// If memory for a buffer not yet made cannot be had.
    pub fn get(&self) -> io::Result<Option<AlignedBuf>> {
        let mut state = self.state();
        if let Some(buf) = state.free.pop() {
            return Ok(Some(buf));
        }
        if state.made == self.count {
            return Ok(None);
        }
        let buf = AlignedBuf::new(self.size)?;
        state.made += 1;
        Ok(Some(buf))
    }

    /// Takes a buffer back.
    ///
    /// # Panics
    /// If it is none of this pool's size, or more come back than went out.
    pub fn put(&self, mut buf: AlignedBuf) {
        assert!(buf.mapping.len >= self.size, "{buf:?} is not from a pool of {}", self.size);
        buf.len = self.size;
        let mut state = self.state();
        assert!(state.free.len() < state.made, "more buffers came back than went out");
        state.free.push(buf);
    }

    /// Takes a buffer back from a completion.
    ///
    /// # Panics
    /// As [`BufPool::put`], also if the memory is not an [`AlignedBuf`]'s.
    pub fn put_io(&self, buf: IoBuf) {
        self.put(AlignedBuf::from_io(buf).expect("a pool's buffers come from `into_io`"));
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        // The state is whole after every statement, so a panic elsewhere cannot have broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: memory is zeroed, aligned as the device wants it, and writable to the last byte.
    #[test]
    fn buffers_are_zeroed_and_aligned() {
        for len in [1, SECTOR, 3 * SECTOR, HUGE_PAGE - 1, HUGE_PAGE, HUGE_PAGE + SECTOR] {
            let mut buf = AlignedBuf::new(len).unwrap();
            assert_eq!(buf.len(), len);
            assert!(buf.iter().all(|byte| *byte == 0));
            let unit = if len >= HUGE_PAGE { HUGE_PAGE } else { SECTOR };
            assert_eq!(buf.as_ptr().align_offset(unit), 0);
            buf[len - 1] = 7;
        }
    }

    /// Promise: a buffer comes back from a request with its bytes and its whole length.
    #[test]
    fn a_buffer_survives_the_round_trip() {
        let mut buf = AlignedBuf::new(2 * SECTOR).unwrap();
        buf[SECTOR] = 9;
        let io = buf.into_io_prefix(SECTOR);
        assert_eq!(io.len(), SECTOR);
        let buf = AlignedBuf::from_io(io).unwrap();
        assert_eq!((buf.len(), buf[SECTOR]), (2 * SECTOR, 9));
    }

    /// Promise: memory of another owner is refused, not adopted.
    #[test]
    fn foreign_memory_is_given_back() {
        let memory = Box::leak(Box::new([5_u8; 8]));
        // SAFETY: leaked memory lives forever, and this is its only user.
        let io = unsafe { IoBuf::from_raw(NonNull::from(memory).cast(), 8, Arc::new(())) };
        let io = AlignedBuf::from_io(io).unwrap_err();
        assert_eq!(io.as_slice(), [5; 8]);
    }

    /// Promise: a pool never has more buffers than it was made for.
    #[test]
    fn a_pool_is_bounded() {
        let pool = BufPool::new(SECTOR, 2);
        let first = pool.get().unwrap().unwrap();
        let second = pool.get().unwrap().unwrap();
        assert!(pool.get().unwrap().is_none());
        pool.put_io(first.into_io());
        assert!(pool.get().unwrap().is_some());
        pool.put(second);
    }
}
