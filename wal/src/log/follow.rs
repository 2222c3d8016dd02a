//! Two ways to use a log that is one of several copies: to be shipped, and to follow.
//!
//! ```text
//!  shipped:    append ─► open group ── seal_shipped ─► frames ─┬► device
//!                                                              └► Observer::sealed ─► other copies
//!  following:  frames of another copy ── follow ─► device
//! ```
//!
//! A log that is shipped is sealed by who ships it: at once while nothing is on its way, else when an
//! answer has come. So groups gather for as long as the slower of disk and network takes, and frames
//! need not wait for the disk before they leave.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::group::worst_frame_bytes;
use super::{Log, Position, Shared};
use crate::lock::lock;
use crate::{CutError, Frame, Full, LogError, LogStart, Lsn};

/// Space for frames that are to come, reserved before they are asked for: what was handed over is
/// not refused (catalogue row D22).
#[derive(Debug)]
pub struct FrameSpace {
    log: Arc<Shared>,
    /// Bytes of frames that still fit.
    bytes: u64,
}

impl FrameSpace {
    /// Bytes of frames that fit.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sees to it that `bytes` of frames fit. Grows the arena if need be.
    ///
    /// # Errors
    /// [`Full`] if there is no such space; what was reserved stays.
    pub fn reserve(&mut self, bytes: u64) -> Result<(), Full> {
        let missing = bytes.saturating_sub(self.bytes);
        lock(&self.log.space).promise(worst_frame_bytes(missing), &self.log.core)?;
        self.bytes += missing;
        Ok(())
    }
}

impl Drop for FrameSpace {
    fn drop(&mut self) {
        lock(&self.log.space).settle(worst_frame_bytes(self.bytes), &self.log.core);
    }
}

impl Shared {
    /// Seals the group that somebody waits for: nobody else would, before who ships it does.
    pub(super) fn seal_shipped(&self, position: Position) {
        if !self.is_shipped() {
            return;
        }
        if let Ok(mut group) = self.lock_open()
            && group.generation <= position.generation
            && !group.is_empty()
        {
            self.seal(&mut group);
        }
        self.deliver();
    }

    /// Cuts off half a group, of which the rest never came.
    pub(super) fn cut_half_a_group(self: &Arc<Self>) -> Result<(), LogError> {
        let whole = lock(&self.progress).positions.end;
        if !self.lock_open()?.inside {
            return Ok(());
        }
        self.core.cut(self, whole).map_err(|error| match error {
            CutError::Log(error) => error,
            other => LogError::Read {
                path: self.core.path.clone(),
                offset: 0,
                lsn: whole,
                error: Arc::new(std::io::Error::other(other)),
            },
        })
    }
}

impl Log {
    /// Whether groups are sealed by [`Log::seal_shipped`] from now on, instead of by the device when
    /// it is free.
    pub fn set_shipped(&self, shipped: bool) {
        self.shared.shipped.store(shipped, Ordering::SeqCst);
        if !shipped {
            self.shared.dirty.store(true, Ordering::SeqCst);
            self.write_soon();
        }
    }

    /// Ends the open group if it has entries, hands its frames to the observer on this thread, and has
    /// them written. Whether there were any.
    pub fn seal_shipped(&self) -> bool {
        let Ok(mut group) = self.shared.lock_open() else { return false };
        let any = !group.is_empty();
        if any {
            self.shared.seal(&mut group);
        }
        drop(group);
        if any {
            self.deliver_sealed();
        }
        any
    }

    /// Tells the observer on this thread what was sealed, and has it written.
    pub fn deliver_sealed(&self) {
        self.shared.deliver();
        self.shared.core.signal.work(true);
    }

    /// Waits until the observer was told of everything that happened before. Not for the observer.
    pub fn wait_told(&self) {
        self.shared.wait_told();
    }

    /// Space for frames to follow; none yet.
    #[must_use]
    pub fn frame_space(&self) -> FrameSpace {
        FrameSpace { log: self.shared.clone(), bytes: 0 }
    }

    /// Gives up all of the log, and goes on behind an image of another copy: at `start`, with its chain
    /// and history. All handles stay good.
    ///
    /// A crash in the middle leaves pieces of both: whoever calls this knows from elsewhere, durably,
    /// that it was about to, and removes the log then and makes it anew.
    ///
    /// # Errors
    /// If there is no slot for the new beginning; nothing was changed then. If the device refuses; the
    /// log has ended then.
    pub fn restart(&self, start: LogStart) -> Result<(), LogError> {
        self.set_shipped(false);
        self.shared.core.restart(&self.shared, start)
    }

    /// Appends frames of another copy's log as they are: positions, terms and chains. Returns where
    /// the log ends now, perhaps in the middle of a group. Waits for nothing, and tells nobody: that
    /// is for [`Log::deliver_sealed`].
    ///
    /// # Errors
    /// [`LogError::Misfit`] if a frame is not the next one; the log is as the frames before it left it.
    /// Or the error that ended the log.
    ///
    /// # Panics
    /// If the space is of another log or too small.
    pub fn follow(
        &self,
        frames: impl IntoIterator<Item = Frame>,
        space: &mut FrameSpace,
    ) -> Result<Lsn, LogError> {
        let shared = &self.shared;
        assert!(Arc::ptr_eq(&space.log, shared), "space of another log");
        shared.check_running()?;
        let mut group = shared.lock_open()?;
        if group.closed {
            return Err(LogError::Closed);
        }
        let mut fit = Ok(());
        for frame in frames {
            let bytes = frame.padded_bytes();
            assert!(bytes <= space.bytes, "{bytes} bytes where {} are reserved", space.bytes);
            let lsn = group.start;
            match group.follow(frame, shared.core.geometry) {
                Ok((sealed, new_slots)) => {
                    space.bytes -= bytes;
                    let promised = worst_frame_bytes(bytes);
                    shared.queue(sealed, Vec::new(), (&group, new_slots, promised));
                }
                Err(flaw) => {
                    fit = Err(LogError::Misfit { path: shared.core.path.clone(), lsn, flaw });
                    break;
                }
            }
        }
        fit.map(|()| group.start)
    }
}
