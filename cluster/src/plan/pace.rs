//! How fast a copy comes, from what was seen of it recently.

use std::collections::VecDeque;

use super::Left;

/// Rates are of what was seen in so many milliseconds.
const WINDOW_MS: u64 = 5_000;
/// What is seen sooner after the last is not kept.
const APART_MS: u64 = 100;
/// No rates before so much time was seen.
const LEAST_MS: u64 = 300;

/// A copy at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What has come.
    pub come: u64,
    /// What is still to come.
    pub left: u64,
    /// What has come and is not applied.
    pub unapplied: u64,
}

/// What was seen of a copy, newest last.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    seen: VecDeque<(u64, Seen)>,
}

impl Pace {
    /// Takes down what is seen now. Less than before is another copy, or another image.
    pub fn see(&mut self, now_ms: u64, seen: Seen) {
        if self.seen.back().is_some_and(|(_, last)| seen.come < last.come) {
            self.seen.clear();
        }
        if self.seen.back().is_none_or(|(at, _)| now_ms.saturating_sub(*at) >= APART_MS) {
            self.seen.push_back((now_ms, seen));
        }
        while self.seen.get(1).is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= WINDOW_MS) {
            self.seen.pop_front();
        }
    }

    /// Bytes that come in a second; 0 if not known.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.change(|first, last| last.come.saturating_sub(first.come))
    }

    /// What is still to come, and how fast that shrinks.
    #[must_use]
    pub fn catch_up(&self) -> Option<Left> {
        let (_, last) = self.seen.back()?;
        let rate = self.change(|first, last| first.left.saturating_sub(last.left));
        Some(Left { bytes: last.left, rate })
    }

    /// What is not applied, and how fast that shrinks.
    #[must_use]
    pub fn replay(&self) -> Option<Left> {
        let (_, last) = self.seen.back()?;
        let rate = self.change(|first, last| first.unapplied.saturating_sub(last.unapplied));
        Some(Left { bytes: last.unapplied, rate })
    }

    /// By how much something changes in a second.
    fn change(&self, by: impl Fn(&Seen, &Seen) -> u64) -> u64 {
        let (Some((from, first)), Some((to, last))) = (self.seen.front(), self.seen.back()) else {
            return 0;
        };
        let took = to.saturating_sub(*from);
        if took < LEAST_MS {
            return 0;
        }
        let exact = u128::from(by(first, last)) * 1000 / u128::from(took);
        u64::try_from(exact).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(come: u64, left: u64) -> Seen {
        Seen { come, left, unapplied: 0 }
    }

    /// Promise: rates are those of the last seconds; time left goes by what is left, so who writes meanwhile makes
    /// it longer.
    #[test]
    fn rates_are_recent() {
        let mut pace = Pace::default();
        assert_eq!((pace.rate(), pace.catch_up()), (0, None));
        pace.see(0, seen(0, 10_000));
        assert_eq!(pace.catch_up(), Some(Left { bytes: 10_000, rate: 0 }), "one look has no rate");
        pace.see(50, seen(1, 9_999));
        assert_eq!(pace.catch_up(), Some(Left { bytes: 10_000, rate: 0 }), "too soon");
        // A thousand bytes come in a second, and two hundred more are written.
        pace.see(1_000, seen(1_000, 9_200));
        assert_eq!(pace.rate(), 1_000);
        assert_eq!(pace.catch_up(), Some(Left { bytes: 9_200, rate: 800 }));
        for second in 2..=20 {
            pace.see(second * 1_000, seen(1_000, 9_200));
        }
        assert_eq!((pace.rate(), pace.catch_up().map(|left| left.rate)), (0, Some(0)), "it stands");
        pace.see(21_000, seen(10, 90));
        assert_eq!(pace.rate(), 0, "another image begins anew");
        assert_eq!(pace.catch_up(), Some(Left { bytes: 90, rate: 0 }));
    }

    /// Promise: what is not applied has a rate of its own.
    #[test]
    fn replay_has_its_own_rate() {
        let mut pace = Pace::default();
        pace.see(0, Seen { unapplied: 500, ..seen(7, 0) });
        pace.see(500, Seen { unapplied: 400, ..seen(7, 0) });
        assert_eq!(pace.replay(), Some(Left { bytes: 400, rate: 200 }));
        assert_eq!(pace.catch_up(), Some(Left::default()));
    }
}
