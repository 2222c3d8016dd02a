//! How long the device takes: of each request that makes something durable, for people; and since
//! when the oldest request is on its way, for the watchdog (catalogue row D28).
//!
//! Done around the queue, so that whoever decides what is written knows nothing of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Histogram;
use crate::disk::{Completion, Queue, Request, Waker};
use crate::world::Clock;

/// Nothing is on its way.
const IDLE: u64 = u64::MAX;

/// What is known of the device's speed.
#[derive(Debug)]
pub(crate) struct Timing {
    clock: Arc<dyn Clock>,
    /// From the push of a flush, or of a write that is durable by itself, to its completion.
    pub(crate) flushes: Histogram,
    /// When the oldest request in flight was pushed, by the clock.
    oldest: AtomicU64,
}

impl Timing {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, flushes: Histogram::default(), oldest: AtomicU64::new(IDLE) }
    }

    /// How long the oldest request has been on its way; `None` if there is none.
    pub(crate) fn waiting(&self) -> Option<Duration> {
        let oldest = self.oldest.load(Ordering::Acquire);
        (oldest != IDLE).then(|| self.clock.now().saturating_sub(Duration::from_nanos(oldest)))
    }

    fn set_oldest(&self, started: Option<Duration>) {
        let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(IDLE - 1);
        self.oldest.store(started.map_or(IDLE, nanos), Ordering::Release);
    }
}

/// A request on its way.
struct Started {
    token: u64,
    at: Duration,
    durable: bool,
}

/// A queue that is looked at.
pub(crate) struct TimedQueue {
    inner: Box<dyn Queue>,
    timing: Arc<Timing>,
    /// Oldest first; at most the depth of the queue.
    started: Vec<Started>,
}

impl TimedQueue {
    pub(crate) fn new(inner: Box<dyn Queue>, timing: Arc<Timing>) -> Self {
        let started = Vec::with_capacity(inner.depth());
        Self { inner, timing, started }
    }

    fn ended(&mut self, completions: &[Completion]) {
        if completions.is_empty() {
            return;
        }
        let now = self.timing.clock.now();
        for completion in completions {
            let at = self.started.iter().position(|started| started.token == completion.token);
            let Some(at) = at else { continue };
            let started = self.started.remove(at);
            if started.durable && completion.result.is_ok() {
                self.timing.flushes.record(now.saturating_sub(started.at));
            }
        }
        self.timing.set_oldest(self.started.first().map(|started| started.at));
    }
}

impl Queue for TimedQueue {
    fn push(&mut self, token: u64, request: Request) {
        let durable = match &request {
            Request::Read { .. } => false,
            Request::Write { durable, .. } => *durable,
            Request::Flush { .. } => true,
        };
        let at = self.timing.clock.now();
        self.started.push(Started { token, at, durable });
        if self.started.len() == 1 {
            self.timing.set_oldest(Some(at));
        }
        self.inner.push(token, request);
    }

    fn wait(&mut self, at_least: usize, out: &mut Vec<Completion>) -> io::Result<()> {
        let before = out.len();
        let waited = self.inner.wait(at_least, out);
        self.ended(&out[before..]);
        waited
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn depth(&self) -> usize {
        self.inner.depth()
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }
}
