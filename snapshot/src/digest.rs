//! The additive digest of rows: equal for equal sets of rows, however they are laid out in pages.
//!
//! A sum, not a chain, because two copies of a partition hold the same rows in different pages:
//! order and page borders must not matter, and a removed row must be subtractable.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Digest of one row. The hash of the key seeds the hash of the value, so that bytes moved from
/// key to value change it, without the cost of a streaming state.
#[must_use]
pub fn row_digest(key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64(key))
}

/// Wrapping sum of the [`row_digest`]s of a set of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub u64);

impl Digest {
    /// Of no rows.
    pub const EMPTY: Self = Self(0);

    /// Adds one row.
    pub fn add_row(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(row_digest(key, value));
    }
}

impl Add for Digest {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Digest {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }
}

impl Sum for Digest {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::EMPTY, Add::add)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: the digest depends on the rows, not on their order nor on how they are grouped.
    #[test]
    fn the_sum_is_the_same_in_any_order_and_grouping() {
        let rows: Vec<_> = (0u32..100).map(|i| (i.to_be_bytes(), (i * 7).to_le_bytes())).collect();
        let mut forward = Digest::EMPTY;
        let mut backward = Digest::EMPTY;
        rows.iter().for_each(|(k, v)| forward.add_row(k, v));
        rows.iter().rev().for_each(|(k, v)| backward.add_row(k, v));
        let halves: Digest = rows
            .chunks(50)
            .map(|half| half.iter().map(|(k, v)| Digest(row_digest(k, v))).sum::<Digest>())
            .sum();
        assert_eq!(forward, backward);
        assert_eq!(forward, halves);
        assert_eq!(forward - forward, Digest::EMPTY);
    }

    /// Guards: bytes that move between key and value are seen.
    #[test]
    fn the_border_between_key_and_value_counts() {
        assert_ne!(row_digest(b"ab", b"c"), row_digest(b"a", b"bc"));
        assert_ne!(row_digest(b"", b"abc"), row_digest(b"abc", b""));
    }

    /// Guards: the digest is part of the file format; another function would need a new version.
    #[test]
    fn the_function_stays_what_it_is() {
        assert_eq!(row_digest(b"key", b"value"), 12_799_176_785_381_101_966);
    }
}
