//! Memory for transfers, owned by the request that uses it.

use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

/// A span of memory lent to one request. Whoever holds the `IoBuf` is the only one who may touch
/// the span; the owner inside keeps it allocated.
pub struct IoBuf {
    start: NonNull<u8>,
    len: usize,
    owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: an `IoBuf` is the only access to its span (contract of `from_raw`), and its owner is
// `Send + Sync`; so moving it to another thread moves the exclusive access with it.
unsafe impl Send for IoBuf {}

impl fmt::Debug for IoBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoBuf({} bytes)", self.len)
    }
}

impl IoBuf {
    /// Lends `len` bytes at `start`.
    ///
    /// # Safety
    /// * `start..start + len` is initialised memory, readable and writable, kept allocated for as
    ///   long as `owner` lives.
    /// * Nobody else reads or writes it while this `IoBuf` lives.
    #[must_use]
    pub unsafe fn from_raw(
        start: NonNull<u8>,
        len: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { start, len, owner }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `from_raw` demands initialised memory that only this value may access.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to be changed.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Asks the system for the pages of this memory now, while there is time, instead of in the
    /// middle of a transfer: a direct read into fresh memory first clears it, in the caller, while
    /// the device has nothing to do.
    pub fn populate(&mut self) {
        let start = self.start.as_ptr().cast();
        // SAFETY: the span is mapped and writable (`from_raw`), and its bytes stay as they are.
        // Kernels that do not know the advice, and spans that are not whole pages, are refused:
        // the transfer brings the pages then.
        unsafe { libc::madvise(start, self.len, libc::MADV_POPULATE_WRITE) };
    }

    /// Who keeps the memory allocated.
    #[must_use]
    pub fn owner(&self) -> &Arc<dyn Any + Send + Sync> {
        &self.owner
    }

    /// Start, length and owner: what [`IoBuf::from_raw`] was given.
    pub(super) fn into_parts(self) -> (NonNull<u8>, usize, Arc<dyn Any + Send + Sync>) {
        (self.start, self.len, self.owner)
    }
}
