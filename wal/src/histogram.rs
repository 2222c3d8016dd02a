//! How long things took, counted by powers of two.
//!
//! Recording is two additions to memory that threads share seldom: each has its own of a few
//! sets of counters, found by where its stack of thread-local data lies, so there is no registry
//! and nothing global. Reading adds the sets up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The first bucket takes everything below 2^12 ns, 4.1 µs.
const FIRST_BITS: u32 = 12;
/// The last bucket takes everything from 2^36 ns, 68.7 s, on.
const BUCKETS: usize = 26;
/// Sets of counters; a power of two.
const SHARDS: usize = 8;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    counts: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// Durations, counted. A value of its owner; any number of threads record and read.
#[derive(Debug, Default)]
pub struct Histogram {
    shards: [Shard; SHARDS],
}

/// What a histogram had counted at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramReading {
    counts: [u64; BUCKETS],
    nanos: u64,
}

thread_local! {
    static HERE: u8 = const { 0 };
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let shard = &self.shards[shard()];
        shard.counts[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        shard.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Everything counted so far.
    #[must_use]
    pub fn read(&self) -> HistogramReading {
        let mut reading = HistogramReading::default();
        for shard in &self.shards {
            for (sum, count) in reading.counts.iter_mut().zip(&shard.counts) {
                *sum += count.load(Ordering::Relaxed);
            }
            reading.nanos = reading.nanos.wrapping_add(shard.nanos.load(Ordering::Relaxed));
        }
        reading
    }
}

impl HistogramReading {
    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// Each bucket: what its durations are below, and how many it has. The last has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        self.counts.iter().enumerate().map(|(bucket, count)| {
            let bound = Duration::from_nanos(1 << (FIRST_BITS + bucket as u32));
            ((bucket + 1 < BUCKETS).then_some(bound), *count)
        })
    }
}

fn bucket(nanos: u64) -> usize {
    let bits = (u64::BITS - nanos.leading_zeros()).saturating_sub(FIRST_BITS);
    (bits as usize).min(BUCKETS - 1)
}

/// The set of this thread. Thread-local data of two threads are far apart, so an address tells
/// them from each other.
fn shard() -> usize {
    let address = HERE.with(|here| std::ptr::from_ref(here).addr() as u64);
    (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SHARDS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: every duration is in the bucket whose bound is the first above it.
    #[test]
    fn durations_are_below_the_bound_of_their_bucket() {
        for nanos in (0..60).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1]) {
            let histogram = Histogram::default();
            histogram.record(Duration::from_nanos(nanos));
            let reading = histogram.read();
            let took = Duration::from_nanos(nanos);
            let expected = reading.buckets().position(|(bound, _)| bound.is_none_or(|b| took < b));
            assert_eq!(reading.buckets().position(|(_, count)| count == 1), expected, "{nanos}");
            assert_eq!((reading.count(), reading.sum()), (1, took));
        }
    }

    /// Promise: nothing is lost, whatever threads record at once.
    #[test]
    fn threads_record_at_once() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for thread in 1..=16 {
                let histogram = &histogram;
                scope.spawn(move || {
                    (0..1000).for_each(|_| histogram.record(Duration::from_micros(thread)));
                });
            }
        });
        let reading = histogram.read();
        assert_eq!((reading.count(), reading.sum()), (16_000, Duration::from_micros(136_000)));
        let bounds: Vec<_> = reading.buckets().filter_map(|(bound, _)| bound).collect();
        assert!(bounds.is_sorted() && bounds.len() == BUCKETS - 1);
    }
}
