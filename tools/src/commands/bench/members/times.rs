//! Durations, summed up.

use serde::Serialize;

use crate::bench::statistics::median;

/// Durations, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(in crate::commands::bench) struct Times {
    pub(in crate::commands::bench) samples: usize,
    pub(in crate::commands::bench) p50_ms: f64,
    /// The smallest that 99 of 100 do not exceed: of fewer than 100 the longest.
    pub(in crate::commands::bench) p99_ms: f64,
    pub(in crate::commands::bench) max_ms: f64,
}

impl Times {
    pub(in crate::commands::bench) fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        Self {
            samples: sorted.len(),
            p50_ms: median(sorted.iter().copied()),
            p99_ms: sorted.get(at).copied().unwrap_or(0.0),
            max_ms: sorted.last().copied().unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: quantiles are of the samples themselves.
    #[test]
    fn times_are_of_the_samples() {
        let times = Times::new((1..=200).map(f64::from));
        assert_eq!(
            (times.samples, times.p50_ms, times.p99_ms, times.max_ms),
            (200, 100.5, 198.0, 200.0)
        );
        let few = Times::new([3.0, 1.0, 2.0]);
        assert_eq!((few.p50_ms, few.p99_ms), (2.0, 3.0));
        assert_eq!(Times::new([]).samples, 0);
    }
}
