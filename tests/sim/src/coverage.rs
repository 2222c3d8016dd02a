//! How often what happened: a simulation proves nothing about what it never does.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    /// Counts one.
    pub fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// How often it was counted.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// Those of `wanted` that were counted less than `least` times.
    #[must_use]
    pub fn missing(&self, wanted: &[&'static str], least: u64) -> Vec<(&'static str, u64)> {
        let counted = wanted.iter().map(|what| (*what, self.count(what)));
        counted.filter(|(_, count)| *count < least).collect()
    }
}

/// A table, the rarest first.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: Vec<_> = self.0.iter().map(|(what, count)| (*count, *what)).collect();
        counts.sort_unstable();
        counts.iter().try_for_each(|(count, what)| writeln!(f, "{count:10}  {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: counts add up over runs, and what is rare or absent is named.
    #[test]
    fn what_is_rare_is_named() {
        let (mut all, mut one) = (Coverage::default(), Coverage::default());
        one.note("crash");
        one.note("pause");
        all.merge(&one);
        all.merge(&one);
        all.note("crash");
        assert_eq!(all.missing(&["crash", "pause", "flood"], 3), [("pause", 2), ("flood", 0)]);
    }
}
