//! How long to wait before connecting again.

use std::time::Duration;

use resprout_wal::world::Rng;

/// Waits that double from `first` to `longest`, each shortened at random by up to a half, so that
/// nodes that lost a peer together do not come back to it together (row T06).
#[derive(Debug)]
pub(super) struct Backoff {
    rng: Rng,
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(seed: u64, first: Duration, longest: Duration) -> Self {
        Self { rng: Rng::new(seed), first, longest, next: first }
    }

    /// The wait after an attempt whose connection lived so long. Only one that lived longer than
    /// the longest wait was a success: who takes connections and closes them at once is not asked
    /// again and again at the shortest.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived > self.longest {
            self.next = self.first;
        }
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        let half = u64::try_from(wait.as_nanos() / 2).unwrap_or(u64::MAX - 1);
        wait - Duration::from_nanos(self.rng.below(half + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: waits double up to a bound and are never shorter than half of it; a connection that
    /// lived makes the next one short again; two seeds wait differently (row T06).
    #[test]
    fn t06_waits_double_up_to_a_bound_and_differ() {
        let (first, longest) = (Duration::from_millis(10), Duration::from_millis(100));
        let mut backoff = Backoff::new(7, first, longest);
        let mut other = Backoff::new(8, first, longest);
        for expected in [10, 20, 40, 80, 100, 100].map(Duration::from_millis) {
            let wait = backoff.after(Duration::ZERO);
            assert!(wait <= expected && wait >= expected / 2, "{wait:?} of {expected:?}");
            assert_ne!(wait, other.after(Duration::ZERO));
        }
        assert!(backoff.after(longest) > first, "it did not live long enough");
        assert!(backoff.after(longest * 2) <= first);
    }
}
