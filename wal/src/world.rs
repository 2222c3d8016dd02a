//! The doors to what differs from run to run, beside the disk: time and randomness. The rules of
//! the log use nothing else, so a simulation that replaces these decides everything (catalogue
//! section 15).

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Reads time. Durations only: nothing in the log depends on the date.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some fixed moment of this clock. Never goes back.
    fn now(&self) -> Duration;

    /// Milliseconds since 1970-01-01 UTC, for people who read the log; never for a decision.
    fn wall_ms(&self) -> u64;
}

/// Gives random numbers: identities and nonces.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// The next number.
    fn next(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Time since the machine was started, suspension included: what a lease is measured on, because
/// the others' time goes on while this machine sleeps (catalogue row T03).
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    /// # Panics
    /// If the kernel has no `CLOCK_BOOTTIME` (it has, since Linux 2.6.39).
    fn now(&self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is that of `time`.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
        assert_eq!(result, 0, "clock_gettime: {}", io::Error::last_os_error());
        let positive = "the time since the start is positive";
        let seconds = u64::try_from(time.tv_sec).expect(positive);
        Duration::new(seconds, u32::try_from(time.tv_nsec).expect(positive))
    }

    fn wall_ms(&self) -> u64 {
        SystemClock::default().wall_ms()
    }
}

/// The kernel's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    /// # Panics
    /// If the kernel has no `getrandom` (it has, since Linux 3.17): guessable identities would
    /// be worse than none.
    fn next(&self) -> u64 {
        let mut bytes = [0_u8; 8];
        loop {
            // SAFETY: the pointer and length are those of `bytes`.
            let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
            if got == 8 {
                return u64::from_ne_bytes(bytes);
            }
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "getrandom: {error}");
        }
    }
}

/// A clock that moves when told. Starts at zero.
#[derive(Debug, Default)]
pub struct SimClock {
    nanos: AtomicU64,
}

impl SimClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    /// Counts from 2001-09-09 (10^12 ms), so that it looks like a date.
    fn wall_ms(&self) -> u64 {
        1_000_000_000_000 + self.nanos.load(Ordering::SeqCst) / 1_000_000
    }
}

/// Numbers that follow from a seed.
#[derive(Debug)]
pub struct SimEntropy {
    state: AtomicU64,
}

impl SimEntropy {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Entropy for SimEntropy {
    fn next(&self) -> u64 {
        let before = self.state.fetch_add(GOLDEN, Ordering::SeqCst);
        mixed(before.wrapping_add(GOLDEN))
    }
}

/// Step of the `splitmix64` sequence: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Output function of `splitmix64` (Steele, Lea, Flood, OOPSLA 2014): every input bit reaches
/// every output bit.
const fn mixed(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `splitmix64` for one owner, without atomics: the choices of a simulation.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mixed(self.0)
    }

    /// A number under `bound`, near enough to uniform for bounds far under 2^64.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below zero");
        self.next() % bound
    }

    /// True in `numerator` of `denominator` cases.
    pub const fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a seed names its numbers, and the first ones are those of the published generator.
    #[test]
    fn numbers_follow_from_the_seed() {
        let entropy = SimEntropy::new(0);
        let mut rng = Rng::new(0);
        for expected in [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f] {
            assert_eq!(entropy.next(), expected);
            assert_eq!(rng.next(), expected);
        }
    }

    /// Promise: simulated time moves only when told; system time never goes back.
    #[test]
    fn clocks_move_as_promised() {
        let sim = SimClock::default();
        assert_eq!(sim.now(), Duration::ZERO);
        sim.advance(Duration::from_millis(3));
        assert_eq!((sim.now(), sim.wall_ms()), (Duration::from_millis(3), 1_000_000_000_003));
        let system = SystemClock::default();
        let earlier = system.now();
        assert!(system.now() >= earlier);
        assert!(system.wall_ms() > 1_700_000_000_000);
    }

    /// Promise: the kernel's numbers differ.
    #[test]
    fn os_numbers_differ() {
        assert_ne!(OsEntropy.next(), OsEntropy.next());
    }
}
