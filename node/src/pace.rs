//! How fast copies that lack much get it: as fast as the node can while no client uses it, at a bounded rate while one does.
//! A copy that comes in may take a little longer; a statement may not.
//!
//! ```text
//!   requests of aggregators ──► Pace ──► busy?  no ─► no bound
//!                                              yes ─► the setting, or MIB_PER_PROCESSOR × processors
//! ```

use std::time::{Duration, Instant};

/// Requests are counted over so long at least.
const WINDOW: Duration = Duration::from_millis(100);
/// So many in a window are clients; fewer are questions of other nodes.
const REQUESTS: u64 = 5;
/// Clients that were here so lately come again.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Whether clients use the node.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the present window began, and how many requests there had been.
    since: Option<(Instant, u64)>,
    /// The end of the last window with clients.
    busy: Option<Instant>,
}

impl Pace {
    /// Looks at how many requests there have been since the start; whether clients use the node.
    pub(crate) fn is_busy(&mut self, now: Instant, requests: u64) -> bool {
        let (since, before) = *self.since.get_or_insert((now, requests));
        if now.duration_since(since) >= WINDOW {
            if requests - before >= REQUESTS {
                self.busy = Some(now);
            }
            self.since = Some((now, requests));
        }
        self.busy.is_some_and(|busy| now.duration_since(busy) < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: clients are noticed within a window or two and remembered for a while; the questions that nodes ask each other are
    /// none.
    #[test]
    fn clients_are_told_from_nodes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        for step in 0..100 {
            // One question in a second or so.
            assert!(!pace.is_busy(at(step * 20), step / 50), "{step}");
        }
        assert!(!pace.is_busy(at(1_990), 40), "the window is not over");
        assert!(pace.is_busy(at(2_000), 60));
        for step in 0..45 {
            assert!(pace.is_busy(at(2_020 + step * 20), 60), "{step}");
        }
        assert!(!pace.is_busy(at(3_000), 60));
    }
}
