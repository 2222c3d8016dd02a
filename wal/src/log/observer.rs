//! Who is told how far a log has come.

use crate::{Frame, LogError, Lsn};

/// Told of a log's progress: each call in order of LSN, with no lock of the log held, on whichever
/// thread drove the device. Must not wait for this or another log of the device.
pub trait Observer: Send + Sync {
    /// Group `generation` takes no more entries and will end at `end`. These are its frames, if it
    /// was made here; they are none of a group that was followed.
    fn sealed(&self, generation: u64, end: Lsn, frames: &[Frame]);
    /// Group `generation` and all before it are on the medium.
    fn durable(&self, generation: u64, end: Lsn);
    /// The medium has everything before `end`, which lies inside of a group.
    fn flushed(&self, _end: Lsn) {}
    /// The log ended; nothing follows.
    fn failed(&self, error: &LogError);
}

/// Looks at nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn sealed(&self, _generation: u64, _end: Lsn, _frames: &[Frame]) {}
    fn durable(&self, _generation: u64, _end: Lsn) {}
    fn failed(&self, _error: &LogError) {}
}
