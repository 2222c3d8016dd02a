//! What a run did: a digest of every event, to compare runs, and lines for people who ask.

use std::fmt;
use std::io::Write;
use std::time::Duration;

/// A number that any number fed to it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// What was fed so far.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }

    /// Feeds a number.
    pub fn add(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    /// Feeds bytes and how many there are.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }
}

/// The trace of one run.
#[derive(Debug, Default)]
pub struct Trace {
    digest: Digest,
    prints: bool,
}

impl Trace {
    /// A trace; one that prints writes its lines to stdout as they come.
    #[must_use]
    pub fn new(prints: bool) -> Self {
        Self { digest: Digest::default(), prints }
    }

    /// Notes an event: when, at which node, what kind, and two numbers that tell it from others.
    pub fn note(&mut self, at: Duration, node: u64, kind: &'static str, numbers: [u64; 2]) {
        self.digest.add(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        self.digest.add(node);
        self.digest.add_bytes(kind.as_bytes());
        numbers.into_iter().for_each(|number| self.digest.add(number));
    }

    /// Prints a line, if somebody reads it.
    pub fn line<T: fmt::Display>(&self, at: Duration, node: u64, text: impl FnOnce() -> T) {
        if self.prints {
            let (ms, text) = (at.as_secs_f64() * 1000.0, text());
            // A reader who closed the pipe wants no more.
            let _unread = writeln!(std::io::stdout(), "{ms:11.3} n{node} {text}");
        }
    }

    /// Of everything noted so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: order and value of what was noted are in the digest.
    #[test]
    fn a_digest_knows_what_was_noted() {
        let of = |notes: &[(u64, [u64; 2])]| {
            let mut trace = Trace::default();
            for (node, numbers) in notes {
                trace.note(Duration::ZERO, *node, "kind", *numbers);
            }
            trace.digest()
        };
        let one = of(&[(1, [2, 3]), (1, [3, 2])]);
        assert_eq!(one, of(&[(1, [2, 3]), (1, [3, 2])]));
        assert_ne!(one, of(&[(1, [3, 2]), (1, [2, 3])]));
        assert_ne!(one, of(&[(1, [2, 3]), (1, [3, 4])]));
    }
}
