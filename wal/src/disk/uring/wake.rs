//! Waking a thread that waits on a ring: a read of an eventfd is always in flight, so the ring is
//! the only thing that the thread waits on.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use io_uring::{opcode, squeue, types};

use crate::disk::Waker;

/// The event and the memory that its read fills.
pub(super) struct Wake {
    event: Arc<Event>,
    /// Boxed: the kernel writes to it wherever the queue moves.
    count: Box<u64>,
    /// Whether the read is in flight.
    armed: bool,
}

struct Event {
    fd: OwnedFd,
    /// Whether a wake was written and not yet seen: further ones would only cost system calls.
    pending: AtomicBool,
}

impl Event {
    fn wake(&self) {
        if self.pending.swap(true, Ordering::SeqCst) {
            return;
        }
        let one = 1_u64;
        // SAFETY: the pointer and length are those of `one`. The call cannot fail: the counter is
        // far from its limit, because nobody writes twice without a read between.
        unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above gave us this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let event = Arc::new(Event { fd, pending: AtomicBool::new(false) });
        Ok(Self { event, count: Box::new(0), armed: false })
    }

    pub(super) fn waker(&self) -> Waker {
        let event = Arc::clone(&self.event);
        Arc::new(move || event.wake())
    }

    pub(super) fn is_armed(&self) -> bool {
        self.armed
    }

    /// The read to submit; from here until [`Wake::ended`] the kernel has `count`.
    pub(super) fn arm(&mut self, user_data: u64) -> squeue::Entry {
        assert!(!self.armed, "one read of the event at a time");
        self.armed = true;
        let target: *mut u64 = &raw mut *self.count;
        let fd = types::Fd(self.event.fd.as_raw_fd());
        opcode::Read::new(fd, target.cast(), 8).build().user_data(user_data)
    }

    /// The read ended with `result`; whether somebody asked for a wake. If not (the kernel gave
    /// up the read because the thread that submitted it went away) it is to be armed again.
    pub(super) fn ended(&mut self, result: i32) -> bool {
        assert!(self.armed, "a read of the event that was never submitted");
        self.armed = false;
        if result <= 0 {
            return false;
        }
        self.event.pending.store(false, Ordering::SeqCst);
        true
    }

    /// Ends the read in flight, so that the kernel lets go of `count`.
    pub(super) fn cancel(&self) {
        self.event.pending.store(false, Ordering::SeqCst);
        self.event.wake();
    }

    /// Leaves the memory to the kernel for good.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.count));
    }
}
