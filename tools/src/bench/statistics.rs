//! The arithmetic of runs.

/// The median; of an even number the mean of the two in the middle; 0 of none.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// `amount` per second; 0 if no time passed.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
pub fn per_second(amount: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount as f64 / seconds } else { 0.0 }
}

/// Whether two probes of the device differ so much that what lies between them says nothing:
/// the flush of a virtual disk may switch by itself between 0.1 and 4 ms.
#[must_use]
pub fn is_mixed(before_us: f64, after_us: f64) -> bool {
    before_us.max(after_us) >= 3.0 * before_us.min(after_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: medians and rates are what their names say, also at the edges.
    #[test]
    fn medians_and_rates() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).abs() < 1e-9);
        assert!((per_second(10, 0.5) - 20.0).abs() < 1e-9);
        assert!(per_second(10, 0.0).abs() < 1e-9);
        assert!(is_mixed(100.0, 300.0) && is_mixed(4000.0, 100.0) && !is_mixed(100.0, 299.0));
    }
}
