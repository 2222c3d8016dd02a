//! Telling the device's threads that there is something to do, as seldom as possible.
//!
//! The driver clears `wanted` and then looks for work; who adds work does so first and then sets
//! `wanted`. So work is seen either by the look that follows or by the one that `wanted` causes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use crate::disk::Waker;

/// The bell of a device.
#[derive(Default)]
pub(crate) struct Signal {
    /// Work was added since the driver last looked.
    wanted: AtomicBool,
    /// Somebody waits for completions and would not see new work.
    waiting: AtomicBool,
    waker: OnceLock<Waker>,
    driver: OnceLock<Thread>,
    keeper: OnceLock<Thread>,
    /// The driver thread sleeps until somebody wakes it, not just until the next idle mark.
    asleep: AtomicBool,
    stop: AtomicBool,
    device_failed: AtomicBool,
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signal(wanted: {})", self.wanted.load(Ordering::Relaxed))
    }
}

impl Signal {
    pub(crate) fn set_waker(&self, waker: Waker) {
        assert!(self.waker.set(waker).is_ok(), "a device has one queue");
    }

    pub(crate) fn set_driver(&self, thread: Thread) {
        assert!(self.driver.set(thread).is_ok(), "a device has one driver thread");
    }

    pub(crate) fn set_keeper(&self, thread: Thread) {
        assert!(self.keeper.set(thread).is_ok(), "a device has one keeper thread");
    }

    /// There is something to write. `thread`: the driver thread must see to it; otherwise the
    /// caller drives, or whoever drives already.
    pub(crate) fn work(&self, thread: bool) {
        let known = self.wanted.swap(true, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) {
            if !known && let Some(waker) = self.waker.get() {
                waker();
            }
        } else if thread {
            self.wake_driver();
        }
    }

    pub(crate) fn wake_driver(&self) {
        if let Some(driver) = self.driver.get() {
            driver.unpark();
        }
    }

    /// Wakes the driver thread if it would not look by itself for idle logs.
    pub(crate) fn activity(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.wake_driver();
        }
    }

    pub(crate) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::SeqCst);
    }

    /// The driver looks for work now.
    pub(crate) fn looking(&self) {
        self.wanted.store(false, Ordering::SeqCst);
    }

    /// The driver begins or ends to wait for completions. Whether it may: not if work was added.
    pub(crate) fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::SeqCst);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    pub(crate) fn grow(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.unpark();
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake_driver();
        self.grow();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(crate) fn fail_device(&self) {
        self.device_failed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_device_failed(&self) -> bool {
        self.device_failed.load(Ordering::SeqCst)
    }
}
