//! The rows of the benches: everything about a row follows from the seed, its key and its version.
//!
//! ```text
//! row = key (bigint) + payload (varbinary)        payload = version u32 | words of (seed, key, version)
//!
//!  0 ─────────────────────────────── rows   keys, written in this order
//!       u h      u h      u h      u h      h: held back, inserted through the log (version 1)
//!                                           u: updated through the log (version 1)
//! ```
//!
//! Held-back keys are spread evenly, and each updated key lies beside one: so the log touches the
//! whole key space, as a running system's would.

use resprout_wal::world::Rng;

/// Bytes of the version in front of the payload.
const VERSION_BYTES: usize = 4;
/// Fewest bytes of a payload: the version and something to check.
pub const MIN_ROW_BYTES: usize = 8;
/// Most bytes of a payload: rows stay inline.
pub const MAX_ROW_BYTES: usize = 1 << 20;

/// Odd constants that spread key and version over all bits (from the fractional parts of the
/// golden ratio and of the square root of 2).
const KEY_STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const VERSION_STEP: u64 = 0x6a09_e667_f3bc_c909;

/// What a payload is checked against was not what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongPayload;

/// A set of rows.
#[derive(Clone, Copy, Debug)]
pub struct Dataset {
    /// Number of keys, `0..rows`.
    pub rows: u64,
    /// Bytes of a payload.
    pub row_bytes: usize,
    /// What everything follows from.
    pub seed: u64,
    /// How many keys are held back for the log; as many others are updated by it.
    pub held: u64,
}

impl Dataset {
    /// `rows` rows, of which `log_fraction` are written through the log: half of those as
    /// inserts, half as updates. At most half of all rows can be held back.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count, clamped"
    )]
    pub fn new(rows: u64, row_bytes: usize, seed: u64, log_fraction: f64) -> Self {
        let held = (rows as f64 * log_fraction.clamp(0.0, 1.0) / 2.0) as u64;
        Self { rows, row_bytes, seed, held: held.min(rows / 2) }
    }

    /// Whether `key` is inserted through the log.
    #[must_use]
    pub fn is_held(&self, key: u64) -> bool {
        let at = |key: u64| u128::from(key) * u128::from(self.held) / u128::from(self.rows);
        at(key + 1) > at(key)
    }

    /// Whether `key` is updated through the log.
    #[must_use]
    pub fn is_updated(&self, key: u64) -> bool {
        key + 1 < self.rows && self.is_held(key + 1) && !self.is_held(key)
    }

    /// Writes the payload of `key` in `version` into `out`, which decides its length.
    ///
    /// # Panics
    /// If `out` is shorter than [`MIN_ROW_BYTES`].
    pub fn fill(&self, key: u64, version: u32, out: &mut [u8]) {
        assert!(out.len() >= MIN_ROW_BYTES, "a payload of {} bytes", out.len());
        let (head, body) = out.split_at_mut(VERSION_BYTES);
        head.copy_from_slice(&version.to_le_bytes());
        let start = self.seed ^ (key.wrapping_add(1)).wrapping_mul(KEY_STEP);
        let mut words = Rng::new(start ^ u64::from(version).wrapping_mul(VERSION_STEP));
        for chunk in body.chunks_mut(8) {
            let word = words.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// The payload of `key` in `version`.
    #[must_use]
    pub fn payload(&self, key: u64, version: u32) -> Vec<u8> {
        let mut out = vec![0; self.row_bytes];
        self.fill(key, version, &mut out);
        out
    }

    /// Recomputes the payload of `key` and compares all of it; its version. `scratch` saves an
    /// allocation per row.
    ///
    /// # Errors
    /// If a byte or the length differs.
    pub fn check(
        &self,
        key: u64,
        found: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<u32, WrongPayload> {
        if found.len() != self.row_bytes {
            return Err(WrongPayload);
        }
        let version = found.first_chunk::<VERSION_BYTES>().ok_or(WrongPayload)?;
        let version = u32::from_le_bytes(*version);
        scratch.resize(self.row_bytes, 0);
        self.fill(key, version, scratch);
        if scratch == found { Ok(version) } else { Err(WrongPayload) }
    }
}

/// The same keys in an order that follows from the seed (Fisher and Yates).
pub fn shuffle(keys: &mut [u64], seed: u64) {
    let mut rng = Rng::new(seed);
    for last in (1..keys.len()).rev() {
        let other = rng.below(last as u64 + 1);
        keys.swap(last, usize::try_from(other).expect("below a usize"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: exactly the asked share goes through the log, half inserts, half updates, no key
    /// twice, and both reach over the whole key space.
    #[test]
    fn the_log_gets_exactly_its_share() {
        for (rows, fraction) in [(1_000, 0.1), (1_000, 0.0), (999, 0.3), (10, 1.0), (7, 0.5)] {
            let data = Dataset::new(rows, 16, 1, fraction);
            let held: Vec<_> = (0..rows).filter(|key| data.is_held(*key)).collect();
            let updated: Vec<_> = (0..rows).filter(|key| data.is_updated(*key)).collect();
            assert_eq!(held.len() as u64, data.held, "{rows} {fraction}");
            assert_eq!(updated.len() as u64, data.held, "{rows} {fraction}");
            assert!(updated.iter().all(|key| !held.contains(key)));
        }
        let data = Dataset::new(1_000, 16, 1, 0.1);
        assert!((0..1_000).step_by(100).all(|at| (at..at + 100).any(|key| data.is_held(key))));
    }

    /// Promise: a changed byte, another key's payload and a wrong length are noticed.
    #[test]
    fn a_wrong_payload_is_noticed() {
        let data = Dataset::new(100, 27, 9, 0.0);
        let mut scratch = Vec::new();
        let good = data.payload(5, 3);
        assert_eq!(data.check(5, &good, &mut scratch), Ok(3));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(data.check(5, &bad, &mut scratch), Err(WrongPayload), "byte {at}");
        }
        assert_eq!(data.check(6, &good, &mut scratch), Err(WrongPayload));
        assert_eq!(data.check(5, &good[..26], &mut scratch), Err(WrongPayload));
        let other = Dataset::new(100, 27, 10, 0.0);
        assert_eq!(other.check(5, &good, &mut scratch), Err(WrongPayload));
    }

    /// Promise: shuffling keeps every key and follows from the seed.
    #[test]
    fn shuffling_is_a_permutation_that_follows_from_the_seed() {
        let keys: Vec<u64> = (0..100).collect();
        let shuffled = |seed| {
            let mut keys = keys.clone();
            shuffle(&mut keys, seed);
            keys
        };
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
        let mut sorted = shuffled(3);
        sorted.sort_unstable();
        assert_eq!(sorted, keys);
    }
}
