//! Taking locks.

use std::sync::{Mutex, MutexGuard};

/// Takes a lock of the log's own bookkeeping.
///
/// # Panics
/// If another thread panicked while it held the lock: what it guards is half changed, and going
/// on would be guessing (catalogue row P16).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a thread panicked while it changed what this lock guards")
}
