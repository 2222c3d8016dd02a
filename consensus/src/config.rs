//! Times and bounds.

use std::time::Duration;

/// All times of the protocol follow from one: the election timeout `e`.
///
/// | time | ratio | why |
/// |---|---|---|
/// | a leader's sign of life | `e / 10` | nine may be lost |
/// | a member stands for election | `e` to `2 e` after the last sign, at random | so that two rarely do at once |
/// | a member protects its leader | `e` after the last sign | no vote for another before |
/// | a leader without a majority steps down | `e` after the last majority | by then another may lead |
/// | a lease | `0.6 e` after the question that a majority has answered | see below |
/// | a transfer is given up | `e` | the target is not able to |
///
/// A lease must end before any voter that granted it may vote for another. Clocks that run by a fifth
/// too fast or too slow (catalogue row T02) turn the voter's `e` into `e / 1.2` and the leader's
/// lease `l` into `l / 0.8`: so `l ≤ 0.66 e`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    election_timeout: Duration,
}

/// Bounds of what is kept and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a command. A larger one is refused.
    pub command_bytes_max: usize,
    /// About the most bytes of entries in one message.
    pub append_bytes_max: usize,
    /// Most appends to one member without an answer.
    pub inflight_appends_max: usize,
    /// About the most bytes to one member without an answer.
    pub inflight_bytes_max: usize,
    /// About the most bytes of entries that are not committed; more proposals are refused.
    pub uncommitted_bytes_max: usize,
    /// Most reads that wait for a round; more are refused.
    pub reads_max: usize,
    /// Bytes of one piece of a snapshot.
    pub snapshot_piece_bytes: usize,
    /// Pieces to one member without an answer.
    pub snapshot_pieces_max: usize,
    /// Most bytes of a snapshot that is taken from a leader.
    pub snapshot_bytes_max: u64,
    /// Most entries kept behind a snapshot, for members that are a little behind.
    pub entries_kept: u64,
    /// About the most bytes of them.
    pub entries_kept_bytes: usize,
}

/// How a member takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Times.
    pub timing: Timing,
    /// Bounds.
    pub limits: Limits,
    /// A bug to be found by the tests.
    #[cfg(any(test, feature = "testing"))]
    pub planted: Option<crate::testing::Planted>,
}

/// What is wrong with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Times are counted in milliseconds, and a tenth of it must be one.
    #[error(
        "consensus_election_timeout is {}, must be from {} to {} ms",
        .0.as_millis(), Timing::SHORTEST.as_millis(), Timing::LONGEST.as_millis()
    )]
    ElectionTimeout(Duration),
    /// Nothing could be sent.
    #[error("{name} must not be 0")]
    Zero {
        /// Which.
        name: &'static str,
    },
}

impl Timing {
    /// The shortest election timeout.
    pub const SHORTEST: Duration = Duration::from_millis(10);
    /// The longest election timeout.
    pub const LONGEST: Duration = Duration::from_secs(3600);
    /// The value that operators of clusters know (variable `consensus_election_timeout`).
    pub const DEFAULT: Duration = Duration::from_secs(30);

    /// All times from `consensus_election_timeout`.
    ///
    /// # Errors
    /// [`ConfigError::ElectionTimeout`] outside of [`Self::SHORTEST`] to [`Self::LONGEST`].
    pub fn new(election_timeout: Duration) -> Result<Self, ConfigError> {
        if (Self::SHORTEST..=Self::LONGEST).contains(&election_timeout) {
            Ok(Self { election_timeout })
        } else {
            Err(ConfigError::ElectionTimeout(election_timeout))
        }
    }

    /// After so long without its leader a member may stand for election; it protects it until then.
    #[must_use]
    pub fn election(&self) -> Duration {
        self.election_timeout
    }

    /// Between two signs of life of a leader.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.election_timeout / 10
    }

    /// How long a majority's answer vouches for a leader, from the question on.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.election_timeout * 6 / 10
    }

    /// Waking later than that after the time asked for means that the process stood still.
    #[must_use]
    pub fn stood_still(&self) -> Duration {
        self.election_timeout / 2
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self { election_timeout: Self::DEFAULT }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_bytes_max: 1 << 20,
            append_bytes_max: 256 << 10,
            inflight_appends_max: 64,
            inflight_bytes_max: 4 << 20,
            uncommitted_bytes_max: 64 << 20,
            reads_max: 64 << 10,
            snapshot_piece_bytes: 256 << 10,
            snapshot_pieces_max: 4,
            snapshot_bytes_max: 4 << 30,
            entries_kept: 4096,
            entries_kept_bytes: 4 << 20,
        }
    }
}

impl Limits {
    /// Checks that something can be sent.
    ///
    /// # Errors
    /// [`ConfigError::Zero`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        let values = [
            ("command_bytes_max", self.command_bytes_max),
            ("append_bytes_max", self.append_bytes_max),
            ("inflight_appends_max", self.inflight_appends_max),
            ("inflight_bytes_max", self.inflight_bytes_max),
            ("uncommitted_bytes_max", self.uncommitted_bytes_max),
            ("reads_max", self.reads_max),
            ("snapshot_piece_bytes", self.snapshot_piece_bytes),
            ("snapshot_pieces_max", self.snapshot_pieces_max),
        ];
        match values.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(ConfigError::Zero { name }),
            None => Ok(()),
        }
    }
}

impl Config {
    /// The usual bounds with this timing.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            limits: Limits::default(),
            #[cfg(any(test, feature = "testing"))]
            planted: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a lease ends before the voters that granted it are free, with clocks a fifth apart
    /// on either side (catalogue row T02).
    #[test]
    fn t02_a_lease_ends_before_the_protection() {
        let timing = Timing::new(Duration::from_secs(1)).unwrap();
        let lease_on_a_slow_clock = timing.lease().as_secs_f64() / 0.8;
        let protection_on_a_fast_clock = timing.election().as_secs_f64() / 1.2;
        assert!(lease_on_a_slow_clock < protection_on_a_fast_clock);
    }

    /// Promise: a timeout that cannot work is refused with the range that can.
    #[test]
    fn a_useless_timeout_is_refused() {
        let error = Timing::new(Duration::from_millis(9)).unwrap_err();
        let said = "consensus_election_timeout is 9, must be from 10 to 3600000 ms";
        assert_eq!(error.to_string(), said);
    }
}
