//! Files that a ring knows by number, which spares the kernel a look-up per request.
//!
//! A slot keeps the kernel's file open after the last [`FileRef`] is gone, so slots of files that
//! nobody has any more are given back at the next wait.

use std::io;
use std::sync::{Arc, Weak};

use io_uring::{IoUring, Submitter};

use crate::disk::{File, FileRef};

/// Slots per ring: an arena, a few snapshots being read or written. Files beyond that are used by
/// descriptor.
const SLOTS: u32 = 64;

#[derive(Debug, Default)]
pub(super) struct FileTable {
    /// Those used so far; at most `room`.
    slots: Vec<Option<Weak<dyn File>>>,
    /// Zero if the kernel gave no table.
    room: usize,
}

impl FileTable {
    pub(super) fn new(ring: &IoUring) -> Self {
        match ring.submitter().register_files_sparse(SLOTS) {
            Ok(()) => Self { slots: Vec::new(), room: SLOTS as usize },
            Err(error) => {
                tracing::debug!(%error, "no registered files");
                Self::default()
            }
        }
    }

    /// The slot of a file, taken now if it has none; `None` if there is no room.
    pub(super) fn slot(&mut self, submitter: &Submitter<'_>, file: &FileRef) -> Option<u32> {
        let known = |slot: &Option<Weak<dyn File>>| {
            slot.as_ref().is_some_and(|weak| std::ptr::addr_eq(weak.as_ptr(), Arc::as_ptr(file)))
        };
        if let Some(index) = self.slots.iter().position(known) {
            return u32::try_from(index).ok();
        }
        let free = self.slots.iter().position(Option::is_none);
        let index = free.unwrap_or(self.slots.len());
        if index == self.room {
            return None;
        }
        let slot = u32::try_from(index).ok()?;
        submitter.register_files_update(slot, &[file.descriptor()?]).ok()?;
        if index == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[index] = Some(Arc::downgrade(file));
        Some(slot)
    }

    /// Gives back the slots of files that nobody has open any more.
    pub(super) fn release_closed(&mut self, submitter: &Submitter<'_>) -> io::Result<()> {
        for (index, slot) in (0..).zip(&mut self.slots) {
            if slot.as_ref().is_some_and(|file| file.strong_count() == 0) {
                submitter.register_files_update(index, &[-1])?;
                *slot = None;
            }
        }
        Ok(())
    }
}
