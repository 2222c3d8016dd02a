//! Logins that failed, by where they came from: guessing gets slow, for whoever guesses.
//!
//! The right password is never held up, so nobody is locked out by others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that are answered at once: people mistype, and programs try again.
const FREE: u32 = 20;
/// What each further one adds, and the most that one waits.
const STEP: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(2);
/// After so long without a failure all are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Places that are remembered at most; then all are forgotten.
const PLACES_MAX: usize = 10_000;

/// Failures by place.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    places: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Failures {
    /// A login from this address failed. Gives how long the answer is to wait.
    pub(crate) fn failed(&self, address: IpAddr, now: Instant) -> Duration {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        let (count, last) = places.entry(place(address)).or_insert((0, now));
        if now.saturating_duration_since(*last) > FORGOTTEN_AFTER {
            *count = 0;
        }
        (*count, *last) = (count.saturating_add(1), now);
        STEP.saturating_mul(count.saturating_sub(FREE)).min(DELAY_MAX)
    }
}

/// Who has one address of IPv6 usually has its whole network of 64 bits.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise (S14): a thousand guesses from one place take half an hour; who mistypes does not
    /// wait, nor do others.
    #[test]
    fn s14_guessing_gets_slow() {
        let failures = Failures::default();
        let (mut now, begin) = (Instant::now(), Instant::now());
        let guesser = |n: u32| IpAddr::V6((0x2001 << 112 | u128::from(n)).into());
        let mut waited = Duration::ZERO;
        for n in 0..1000 {
            let delay = failures.failed(guesser(n), now);
            assert!(delay <= DELAY_MAX && (n >= FREE || delay.is_zero()), "{n}: {delay:?}");
            waited += delay;
            now += delay;
        }
        assert!(waited > Duration::from_secs(1800), "{waited:?}");
        assert_eq!(failures.failed("10.0.0.1".parse().unwrap(), now), Duration::ZERO);
        let later = now + FORGOTTEN_AFTER + Duration::from_secs(1);
        assert_eq!(failures.failed(guesser(0), later), Duration::ZERO);
        assert!(failures.failed(guesser(0), begin) < DELAY_MAX, "a clock that goes back");
    }

    /// Promise (S14): what is remembered is bounded.
    #[test]
    fn s14_places_are_bounded() {
        let failures = Failures::default();
        for n in 0..3 * PLACES_MAX as u32 {
            failures.failed(IpAddr::V4(n.into()), Instant::now());
        }
        assert!(failures.places.lock().unwrap().len() <= PLACES_MAX);
    }
}
