//! How long steps take: from those that ran before, and from what runs.

use std::collections::BTreeMap;

use super::Action;

/// Moving averages of run times, by database and action, in milliseconds. Each run counts a quarter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Averages {
    took_ms: BTreeMap<(String, Action), f64>,
}

/// The share of the latest run.
const LATEST: f64 = 0.25;

impl Averages {
    /// Takes down a run.
    pub fn note(&mut self, database: &str, action: Action, took_ms: u64) {
        let latest = took_ms as f64;
        let average = self.took_ms.entry((database.to_owned(), action)).or_insert(latest);
        *average += LATEST * (latest - *average);
    }

    /// What a step that has not begun will take; none if no such step ran in this database.
    #[must_use]
    pub fn expected_ms(&self, database: &str, action: Action) -> Option<u64> {
        let average = self.took_ms.get(&(database.to_owned(), action))?;
        Some(average.round() as u64)
    }
}

/// What is known of a step that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Bytes that the copy does not have yet.
    pub catch_up_bytes: u64,
    /// Bytes that come in a second; 0 if not known.
    pub catch_up_rate: u64,
    /// Bytes that it has and has not applied yet.
    pub replay_bytes: u64,
    /// Bytes that it applies in a second; 0 if not known.
    pub replay_rate: u64,
}

impl Live {
    /// What a step that runs will still take. A copy: until it has caught up. A promotion: until it has and
    /// has applied everything. None if there is no figure, or for any other step.
    #[must_use]
    pub fn remaining_ms(&self, action: Action) -> Option<u64> {
        let catch_up = time_ms(self.catch_up_bytes, self.catch_up_rate);
        if action.is_copy() {
            catch_up
        } else if action.is_promotion() {
            Some(catch_up?.max(time_ms(self.replay_bytes, self.replay_rate)?))
        } else {
            None
        }
    }
}

/// Nothing takes no time, whatever the rate.
fn time_ms(bytes: u64, rate: u64) -> Option<u64> {
    if bytes == 0 {
        return Some(0);
    }
    let exact = u128::from(bytes) * 1000 / u128::from((rate > 0).then_some(rate)?);
    Some(u64::try_from(exact).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: averages are kept apart by database and action, begin with the first run and move by a
    /// quarter.
    #[test]
    fn averages_move_by_a_quarter() {
        let mut averages = Averages::default();
        assert_eq!(averages.expected_ms("test", Action::Copy), None);
        averages.note("test", Action::Copy, 1000);
        assert_eq!(averages.expected_ms("test", Action::Copy), Some(1000));
        averages.note("test", Action::Copy, 2000);
        assert_eq!(averages.expected_ms("test", Action::Copy), Some(1250));
        assert_eq!(averages.expected_ms("test", Action::Drop), None);
        assert_eq!(averages.expected_ms("other", Action::Copy), None);
    }

    /// Promise: a copy ends when it has caught up, a promotion when it has also applied; no rate, no answer.
    #[test]
    fn what_runs_says_how_long() {
        let live =
            Live { catch_up_bytes: 500, catch_up_rate: 100, replay_bytes: 900, replay_rate: 100 };
        assert_eq!(live.remaining_ms(Action::Copy), Some(5000));
        assert_eq!(live.remaining_ms(Action::PromoteWithDrop), Some(9000));
        assert_eq!(live.remaining_ms(Action::Drop), None);
        let unknown = Live { catch_up_rate: 0, ..live };
        assert_eq!(unknown.remaining_ms(Action::CopyForce), None);
        assert_eq!(unknown.remaining_ms(Action::Promote), None);
        assert_eq!(Live::default().remaining_ms(Action::Copy), Some(0));
        let slow = Live { catch_up_bytes: u64::MAX, catch_up_rate: 1, ..live };
        assert_eq!(slow.remaining_ms(Action::Copy), Some(u64::MAX));
    }
}
