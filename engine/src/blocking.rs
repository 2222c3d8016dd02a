//! Runs a future to its end in the calling thread, without a runtime.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// How often `meanwhile` runs while the future waits.
const EVERY: Duration = Duration::from_millis(10);

/// Waits for `future`; calls `meanwhile` now and then, so that limits of waiting are kept also
/// where no other thread looks after them.
pub(crate) fn block_on<F: Future>(future: F, meanwhile: impl Fn()) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park_timeout(EVERY);
        meanwhile();
    }
}
