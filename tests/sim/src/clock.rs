//! The clock of one node: another origin than the world's, and too fast or too slow.

use std::time::Duration;

/// One million: a clock that runs like the world's.
pub const TRUE_RATE: u64 = 1_000_000;

/// A clock that runs while its process is stopped, as `CLOCK_BOOTTIME` does.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    /// A moment of the world and what the clock showed.
    origin: (Duration, Duration),
    /// Millionths of a second for each second of the world.
    rate: u64,
}

impl NodeClock {
    /// A clock that shows `shows` now.
    #[must_use]
    pub fn new(now: Duration, shows: Duration, rate: u64) -> Self {
        assert!(rate > 0, "a clock that stands still");
        Self { origin: (now, shows), rate }
    }

    /// What it shows at a moment of the world, not before its origin.
    #[must_use]
    pub fn shows(&self, now: Duration) -> Duration {
        let (world, own) = self.origin;
        own + scaled(now.saturating_sub(world), self.rate, TRUE_RATE)
    }

    /// When it shows `shows`, or later by as little as can be.
    #[must_use]
    pub fn when(&self, shows: Duration) -> Duration {
        let (world, own) = self.origin;
        let wait = scaled(shows.saturating_sub(own), TRUE_RATE, self.rate);
        world.saturating_add(wait).saturating_add(Duration::from_nanos(2))
    }

    /// Runs at another rate from now on. It does not jump.
    pub fn set_rate(&mut self, now: Duration, rate: u64) {
        *self = Self::new(now, self.shows(now), rate);
    }
}

fn scaled(time: Duration, by: u64, of: u64) -> Duration {
    let nanos = time.as_nanos().min(u128::from(u64::MAX)) * u128::from(by) / u128::from(of);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a clock runs at its rate, never jumps when that changes, and what is noted for one of
    /// its moments comes at that moment or just behind.
    #[test]
    fn a_clock_runs_at_its_rate() {
        let s = Duration::from_secs;
        let mut clock = NodeClock::new(s(10), s(100), 1_200_000);
        assert_eq!((clock.shows(s(10)), clock.shows(s(15))), (s(100), s(106)));
        clock.set_rate(s(15), 800_000);
        assert_eq!((clock.shows(s(15)), clock.shows(s(20))), (s(106), s(110)));
        for shows in 106..120 {
            let when = clock.when(s(shows));
            let early = clock.shows(when).checked_sub(s(shows)).expect("not before");
            assert!(early < Duration::from_nanos(10), "{early:?}");
        }
    }
}
