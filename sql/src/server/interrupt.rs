//! How a connection is told from outside to stop: KILL, the end of the server, and the end of the
//! time that a statement may take.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::error::{Code, SqlError};

/// Why a session has to stop what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The running statement only (KILL QUERY).
    Query,
    /// The connection (KILL).
    Connection,
    /// The server ends.
    Shutdown,
    /// The running statement took its time (`max_execution_time`).
    Time,
}

impl Reason {
    /// What the client is told.
    #[must_use]
    pub fn error(self) -> SqlError {
        SqlError::plain(match self {
            Self::Query | Self::Connection => Code::QUERY_INTERRUPTED,
            Self::Shutdown => Code::SERVER_SHUTDOWN,
            Self::Time => Code::QUERY_TIMEOUT,
        })
    }
}

const QUERY: u8 = 1;
const CONNECTION: u8 = 1 << 1;
const SHUTDOWN: u8 = 1 << 2;
/// The server wants to end; what runs may finish.
const LEAVE: u8 = 1 << 3;
const TIME: u8 = 1 << 4;

/// Fires once somebody wants a session to stop. Sessions look at it between steps, or wait for it
/// beside what they wait for.
#[derive(Debug, Default)]
pub struct Interrupt {
    bits: AtomicU8,
    changed: Notify,
}

impl Interrupt {
    /// Why to stop; none as long as all is well.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        let bits = self.bits.load(Ordering::Acquire);
        if bits & SHUTDOWN != 0 {
            Some(Reason::Shutdown)
        } else if bits & CONNECTION != 0 {
            Some(Reason::Connection)
        } else if bits & QUERY != 0 {
            Some(Reason::Query)
        } else if bits & TIME != 0 {
            Some(Reason::Time)
        } else {
            None
        }
    }

    /// Fails if there is a reason to stop.
    ///
    /// # Errors
    /// With what the client is told.
    pub fn check(&self) -> Result<(), SqlError> {
        self.reason().map_or(Ok(()), |reason| Err(reason.error()))
    }

    /// Returns when there is a reason to stop.
    pub async fn fired(&self) -> Reason {
        loop {
            let changed = self.changed.notified();
            if let Some(reason) = self.reason() {
                return reason;
            }
            changed.await;
        }
    }

    /// Why the connection has to end, as soon as it has nothing to do.
    pub(super) fn ending(&self) -> Option<Reason> {
        match self.reason() {
            Some(reason @ (Reason::Connection | Reason::Shutdown)) => Some(reason),
            _ => self.is_leaving().then_some(Reason::Shutdown),
        }
    }

    /// Returns when the connection has to end, whatever it does.
    pub(super) async fn closing(&self) -> Reason {
        loop {
            let changed = self.changed.notified();
            match self.reason() {
                Some(reason @ (Reason::Connection | Reason::Shutdown)) => return reason,
                _ => changed.await,
            }
        }
    }

    /// Returns when a connection that has nothing to do has to end.
    pub(super) async fn leaving(&self) -> Reason {
        loop {
            let changed = self.changed.notified();
            if let Some(reason) = self.ending() {
                return reason;
            }
            changed.await;
        }
    }

    fn is_leaving(&self) -> bool {
        self.bits.load(Ordering::Acquire) & LEAVE != 0
    }

    pub(super) fn fire(&self, reason: Reason) {
        self.set(match reason {
            Reason::Query => QUERY,
            Reason::Connection => CONNECTION,
            Reason::Shutdown => SHUTDOWN,
            Reason::Time => TIME,
        });
    }

    /// Fires with [`Reason::Time`] after so long, unless what is returned is dropped before; when
    /// that is dropped, it is as if it had never fired.
    pub(crate) fn limit(self: &Arc<Self>, time: Duration) -> TimeLimit {
        let is_over = Arc::new(Mutex::new(false));
        let (interrupt, over) = (Arc::clone(self), Arc::clone(&is_over));
        let timer = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            let over = over.lock().unwrap_or_else(PoisonError::into_inner);
            if !*over {
                interrupt.fire(Reason::Time);
            }
        });
        TimeLimit { interrupt: Arc::clone(self), is_over, timer }
    }

    pub(super) fn ask_to_leave(&self) {
        self.set(LEAVE);
    }

    fn set(&self, bit: u8) {
        self.bits.fetch_or(bit, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// A new statement begins: what was to end was the one before.
    pub(super) fn forget_query(&self) {
        self.bits.fetch_and(!QUERY, Ordering::AcqRel);
    }
}

/// The time that a statement may take, which runs as long as this is kept.
#[derive(Debug)]
pub(crate) struct TimeLimit {
    interrupt: Arc<Interrupt>,
    /// Whether the statement has ended. Under a lock: the timer may be just about to fire, and the
    /// next statement must not be ended for it.
    is_over: Arc<Mutex<bool>>,
    timer: JoinHandle<()>,
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        self.timer.abort();
        let mut over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        *over = true;
        self.interrupt.bits.fetch_and(!TIME, Ordering::AcqRel);
    }
}
