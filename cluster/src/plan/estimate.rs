//! How long steps take, from those that ran before.

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
}
