//! What can be set, and the bounds of everything.

use std::time::Duration;

use thiserror::Error;

/// When a commit may be acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Synchronous replication, asynchronous durability: everybody waited for has received it.
    #[default]
    Received,
    /// Synchronous replication and durability: it is on every medium.
    Durable,
    /// Asynchronous replication and durability: the master has it.
    Local,
}

/// A combination that makes no promise worth its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("asynchronous replication with synchronous durability is not allowed")]
pub struct ModeError;

impl Mode {
    /// The mode of a database by its two settings.
    ///
    /// # Errors
    /// [`ModeError`] for asynchronous replication with synchronous durability.
    pub fn new(sync_replication: bool, sync_durability: bool) -> Result<Self, ModeError> {
        match (sync_replication, sync_durability) {
            (true, true) => Ok(Self::Durable),
            (true, false) => Ok(Self::Received),
            (false, false) => Ok(Self::Local),
            (false, true) => Err(ModeError),
        }
    }

    /// Whether commits wait for replicas.
    #[must_use]
    pub fn is_sync(self) -> bool {
        self != Self::Local
    }
}

/// Times. All run on the clock that is handed to `step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two signs of life; everything is looked at once in it.
    pub beat: Duration,
    /// A replica that has not answered, or not got on, for so long is to become asynchronous.
    pub silent: Duration,
    /// A question that was not answered is asked again.
    pub retry: Duration,
    /// What was sent and not acknowledged is sent again.
    pub resend: Duration,
    /// A replica that lacked little for so long is waited for, however fast the log grows.
    pub admit: Duration,
    /// First wait before a copy that fell out is waited for again; doubled each time.
    pub readmit: Duration,
    /// Longest such wait.
    pub readmit_max: Duration,
    /// How long a replica's answer lets its master serve reads: the bound of staleness.
    pub lease: Duration,
    /// How long log and pages are kept for a copy that is provisioned and says nothing.
    pub hold: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            beat: ms(100),
            silent: ms(5_000),
            retry: ms(500),
            resend: ms(1_000),
            admit: ms(500),
            readmit: ms(1_000),
            readmit_max: ms(60_000),
            lease: ms(2_000),
            hold: ms(60_000),
        }
    }
}

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of log in one message, and of one read from the arena. One frame always goes.
    pub batch_bytes_max: u64,
    /// Bytes of log that a master keeps in memory for all its replicas.
    pub recent_bytes_max: u64,
    /// Bytes of log under way to one replica.
    pub inflight_bytes_max: u64,
    /// Bytes of log that a replica takes ahead of its disk.
    pub window_bytes: u64,
    /// A replica that lacks at most so much is waited for at once: commits hardly notice.
    pub admit_at_once_bytes: u64,
    /// A replica that lacks at most so much for [`Timing::admit`] is waited for; commits wait until it has that.
    pub admit_lag_bytes: u64,
    /// Page digests in one message, and pages that are compared together.
    pub digests_max: u32,
    /// Pages that are asked for or on their way to a copy's disk, and asked for in one message.
    pub pages_max: u32,
    /// Pages sent to one copy between two beats: the rate of provisioning.
    pub pages_per_beat: u32,
    /// Pages of an image: more cannot be, for a peer that says so.
    pub image_pages_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_bytes_max: 1 << 20,
            recent_bytes_max: 64 << 20,
            inflight_bytes_max: 16 << 20,
            window_bytes: 16 << 20,
            admit_at_once_bytes: 64 << 10,
            admit_lag_bytes: 1 << 20,
            digests_max: 32_768,
            pages_max: 4096,
            pages_per_beat: 204_800,
            image_pages_max: 1 << 36,
        }
    }
}

/// What is configured for one copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Of the database; the mode of a record takes its place ([`crate::Record::mode`]).
    pub mode: Mode,
    /// Times.
    pub timing: Timing,
    /// Bounds.
    pub limits: Limits,
    /// A bug, for the tests that must find it.
    #[cfg(any(test, feature = "testing"))]
    pub planted: Option<crate::testing::Planted>,
}

/// Settings that cannot work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A time that must be shorter than another is not.
    #[error("{shorter} must be shorter than {longer}")]
    Order {
        /// The name of the one.
        shorter: &'static str,
        /// The name of the other.
        longer: &'static str,
    },
    /// A bound of zero, with which nothing goes on.
    #[error("{0} must not be zero")]
    Zero(&'static str),
}

impl Config {
    /// Goes by the mode of a record from now on, if it has one.
    pub(crate) fn go_by(&mut self, record: &crate::Record) {
        self.mode = record.mode.unwrap_or(self.mode);
    }

    /// Checks the settings against each other.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Timing { beat, silent, retry, resend, admit: _, readmit, readmit_max, lease, hold } =
            self.timing;
        let orders = [
            (beat, "beat", retry, "retry"),
            (beat, "beat", resend, "resend"),
            (beat, "beat", lease, "lease"),
            (retry, "retry", silent, "silent"),
            (resend, "resend", silent, "silent"),
            (retry, "retry", hold, "hold"),
        ];
        for (short, shorter, long, longer) in orders {
            if short >= long {
                return Err(ConfigError::Order { shorter, longer });
            }
        }
        if readmit > readmit_max {
            return Err(ConfigError::Order { shorter: "readmit", longer: "readmit_max" });
        }
        let limits = &self.limits;
        let bounds = [
            (beat.is_zero(), "beat"),
            (limits.batch_bytes_max == 0, "batch_bytes_max"),
            (limits.inflight_bytes_max == 0, "inflight_bytes_max"),
            (limits.window_bytes == 0, "window_bytes"),
            (limits.digests_max == 0, "digests_max"),
            (limits.pages_max == 0, "pages_max"),
            (limits.pages_per_beat == 0, "pages_per_beat"),
        ];
        let zero = bounds.into_iter().find(|(is_zero, _)| *is_zero);
        zero.map_or(Ok(()), |(_, name)| Err(ConfigError::Zero(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: the one combination that is refused, and no other.
    #[test]
    fn three_of_four_modes_are_allowed() {
        assert_eq!(Mode::new(true, true), Ok(Mode::Durable));
        assert_eq!(Mode::new(true, false), Ok(Mode::Received));
        assert_eq!(Mode::new(false, false), Ok(Mode::Local));
        assert_eq!(Mode::new(false, true), Err(ModeError));
    }

    /// Promise: the defaults work, and what cannot work is refused by name.
    #[test]
    fn settings_are_checked_against_each_other() {
        assert_eq!(Config::default().validate(), Ok(()));
        let mut config = Config::default();
        config.timing.retry = config.timing.silent;
        let order = ConfigError::Order { shorter: "retry", longer: "silent" };
        assert_eq!(config.validate(), Err(order));
        let mut config = Config::default();
        config.limits.pages_max = 0;
        assert_eq!(config.validate(), Err(ConfigError::Zero("pages_max")));
    }
}
