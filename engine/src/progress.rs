//! One record of progress for every long thing a partition does, published once and shown
//! everywhere: log lines, HTTP, metrics, commands (design, section 6).
//!
//! The worker moves a [`ProgressCell`]; anybody reads [`Progress`] from it. The rate is that of
//! the last seconds of the present phase, not the average since the start: what remains goes at
//! the recent speed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How far back the rate looks.
const WINDOW: Duration = Duration::from_secs(3);
/// Samples are at least this far apart, so that a window holds a bounded number of them.
const SPACING: Duration = Duration::from_millis(100);

/// What a partition is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not begun.
    Waiting,
    /// Loading pages of the snapshot ("replaying snapshot").
    Snapshot,
    /// Applying the log ("replaying log").
    Log,
    /// Nothing left to do.
    Done,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Waiting, Self::Snapshot, Self::Log, Self::Done];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Snapshot => "replaying snapshot",
            Self::Log => "replaying log",
            Self::Done => "done",
        })
    }
}

/// A reading of progress. Amounts are bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes finished, over all phases.
    pub done: u64,
    /// Bytes in all, over all phases.
    pub total: u64,
    /// Bytes per second, recently.
    pub rate: f64,
    /// Time left at that rate; `None` while the rate is not known.
    pub eta: Option<Duration>,
    /// How long `done` has not moved.
    pub stalled: Duration,
}

impl Progress {
    /// Share done, 0 to 1; 1 when there was nothing to do.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn fraction(&self) -> f64 {
        if self.total == 0 { 1.0 } else { (self.done as f64 / self.total as f64).min(1.0) }
    }

    /// Several workers' progress as one: amounts and rates add up, the least advanced phase
    /// counts.
    #[must_use]
    pub fn combined(parts: &[Self]) -> Self {
        let phase = Phase::ALL.into_iter().find(|phase| {
            *phase != Phase::Waiting && parts.iter().any(|part| part.phase == *phase)
        });
        let all_waiting = parts.iter().any(|part| part.phase == Phase::Waiting);
        let fallback = if all_waiting { Phase::Waiting } else { Phase::Done };
        let done = parts.iter().map(|part| part.done).sum();
        let total = parts.iter().map(|part| part.total).sum();
        let rate = parts.iter().map(|part| part.rate).sum();
        let stalled = parts
            .iter()
            .filter(|part| part.phase != Phase::Done)
            .map(|part| part.stalled)
            .min()
            .unwrap_or_default();
        Self {
            phase: phase.unwrap_or(fallback),
            done,
            total,
            rate,
            eta: eta(total, done, rate),
            stalled,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
fn eta(total: u64, done: u64, rate: f64) -> Option<Duration> {
    let left = total.saturating_sub(done);
    if left == 0 {
        return Some(Duration::ZERO);
    }
    (rate >= 1.0).then(|| Duration::from_secs_f64((left as f64 / rate).min(1e9)))
}

#[derive(Debug, Default)]
struct Samples {
    recent: VecDeque<(Duration, u64)>,
    moved_at: Duration,
}

/// Where a worker publishes its progress. One writer, any number of readers.
#[derive(Debug, Default)]
pub struct ProgressCell {
    phase: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
    samples: Mutex<Samples>,
}

impl ProgressCell {
    /// Enters a phase at time `now`. The rate starts anew.
    pub fn enter(&self, phase: Phase, now: Duration) {
        let index = Phase::ALL.iter().position(|p| *p == phase).map_or(0, |i| i as u64);
        self.phase.store(index, Ordering::Relaxed);
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.recent.clear();
        samples.recent.push_back((now, self.done.load(Ordering::Relaxed)));
        samples.moved_at = now;
    }

    /// Adds to the bytes that are to be done.
    pub fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Corrects the total once the true end is known.
    pub fn set_total(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    /// Notes `bytes` more as done, at time `now`.
    pub fn advance(&self, bytes: u64, now: Duration) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.moved_at = now;
        let due = samples.recent.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= SPACING);
        if due {
            samples.recent.push_back((now, done));
            while samples.recent.len() > 2
                && samples.recent.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW)
            {
                samples.recent.pop_front();
            }
        }
    }

    /// The present reading.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn read(&self, now: Duration) -> Progress {
        let index = usize::try_from(self.phase.load(Ordering::Relaxed)).unwrap_or(0);
        let phase = Phase::ALL.get(index).copied().unwrap_or(Phase::Waiting);
        let done = self.done.load(Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed).max(done);
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = samples.recent.front().map_or(0.0, |(at, before)| {
            let seconds = now.saturating_sub(*at).as_secs_f64();
            if seconds > 0.0 { done.saturating_sub(*before) as f64 / seconds } else { 0.0 }
        });
        let rate = if phase == Phase::Done { 0.0 } else { rate };
        let stalled = now.saturating_sub(samples.moved_at);
        Progress { phase, done, total, rate, eta: eta(total, done, rate), stalled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The time left follows the recent rate, not the average since the start.
    #[test]
    fn eta_uses_the_recent_rate() {
        let cell = ProgressCell::default();
        cell.expect(1_000_000);
        cell.enter(Phase::Snapshot, Duration::ZERO);
        cell.advance(500_000, SECOND);
        for second in 2..=8 {
            cell.advance(10_000, SECOND * second);
        }
        let read = cell.read(SECOND * 8);
        assert!((read.rate - 10_000.0).abs() < 2_000.0, "rate {}", read.rate);
        let eta = read.eta.expect("a rate is known");
        assert!(eta > SECOND * 35 && eta < SECOND * 55, "eta {eta:?}");
        assert!((read.fraction() - 0.57).abs() < 0.001);
    }

    /// A position that does not move is told as stalled, with for how long.
    #[test]
    fn stall_is_measured() {
        let cell = ProgressCell::default();
        cell.expect(10);
        cell.enter(Phase::Log, SECOND);
        cell.advance(5, SECOND * 2);
        assert_eq!(cell.read(SECOND * 14).stalled, SECOND * 12);
    }

    /// A node's progress is the sum of its partitions'; nothing to do is all done.
    #[test]
    fn parts_add_up() {
        let part = |phase, done, total| Progress {
            phase,
            done,
            total,
            rate: 10.0,
            eta: None,
            stalled: Duration::ZERO,
        };
        let all = Progress::combined(&[part(Phase::Done, 50, 50), part(Phase::Log, 25, 50)]);
        assert_eq!((all.phase, all.done, all.total), (Phase::Log, 75, 100));
        let none = Progress::combined(&[]);
        assert_eq!(none.phase, Phase::Done);
        assert!((none.fraction() - 1.0).abs() < f64::EPSILON);
    }
}
