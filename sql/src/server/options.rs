//! Limits and times of a server. Each has a default that is safe.

use std::time::Duration;

use crate::protocol::session::Settings;
use crate::protocol::statement::StatementLimits;

/// Slowest rate at which a client has to send what it began, and to take what it is sent, beyond
/// the timeouts: who trickles bytes holds memory and locks for as long as it likes otherwise.
const BYTES_PER_S_MIN: u64 = 4096;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the protocol offers, and the sizes of packets.
    pub protocol: Settings,
    /// Most sessions at once; one more is kept for an administrator (MySQL 1040). Default 10,000.
    pub max_connections: usize,
    /// Most clients at once that have not logged in yet. One more pushes out the oldest, which
    /// had the most time: so who only connects cannot keep others out. Default 2048.
    pub max_logins: usize,
    /// Time for a login, TLS included. Default 10 s.
    pub login_timeout: Duration,
    /// Time that a session may be idle (`wait_timeout`). Default 8 hours.
    pub idle_timeout: Duration,
    /// Time for the rest of a packet whose beginning came (`net_read_timeout`), beside one second
    /// for each 4 KiB. Default 30 s.
    pub read_timeout: Duration,
    /// Time for a client to take what it is sent (`net_write_timeout`), beside one second for each
    /// 4 KiB. Default 60 s.
    pub write_timeout: Duration,
    /// Most prepared statements of one connection (MySQL 1461). Default 16,382.
    pub max_prepared_statements: usize,
    /// Passwords that are compared with slow hashes at once; further logins wait. Default 2.
    pub password_checks: usize,
    /// Whether only encrypted connections may log in (MySQL 3159); one from this machine is no
    /// exception. Default false.
    pub require_secure_transport: bool,
    /// How long running statements may go on after the server was told to end. Default 10 s.
    pub shutdown_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocol: Settings::default(),
            max_connections: 10_000,
            max_logins: 2048,
            login_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(8 * 3600),
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            max_prepared_statements: 16_382,
            password_checks: 2,
            require_secure_transport: false,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// Times of one session, where they are not the server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// See [`Options::idle_timeout`].
    pub idle: Option<Duration>,
    /// See [`Options::read_timeout`].
    pub read: Option<Duration>,
    /// See [`Options::write_timeout`].
    pub write: Option<Duration>,
}

/// Limits that changed since the server began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// See [`Options::max_connections`].
    pub connections: Option<usize>,
    /// Largest packet of connections from now on, in bytes, within the bounds of
    /// `max_allowed_packet`.
    pub packet_bytes: Option<usize>,
    /// See [`Options::require_secure_transport`]. It also holds for those who are there and log in
    /// as somebody else.
    pub require_secure_transport: Option<bool>,
}

/// A setting with an impossible value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option {option}: {why}")]
pub struct BadOption {
    /// Its name.
    pub option: &'static str,
    /// What is allowed.
    pub why: &'static str,
}

impl Options {
    /// Checks all values.
    ///
    /// # Errors
    /// Names the first impossible one.
    pub fn validate(&self) -> Result<(), BadOption> {
        let bad = |option, why| Err(BadOption { option, why });
        let packet = self.protocol.max_allowed_packet;
        if self.max_connections == 0 {
            return bad("max_connections", "must be at least 1");
        }
        if self.max_logins == 0 {
            return bad("max_logins", "must be at least 1");
        }
        if !(1024..=1 << 30).contains(&packet) {
            return bad("max_allowed_packet", "must be from 1 KiB to 1 GiB");
        }
        if !(512..=packet).contains(&self.protocol.login_bytes) {
            return bad("login_bytes", "must be from 512 bytes to max_allowed_packet");
        }
        if self.password_checks == 0 {
            return bad("password_checks", "must be at least 1");
        }
        if self.protocol.version.contains('\0') {
            return bad("version", "must not contain a zero");
        }
        Ok(())
    }

    /// These, for a session with times of its own.
    pub(super) fn with_times(&self, times: Times) -> Self {
        Self {
            idle_timeout: times.idle.unwrap_or(self.idle_timeout),
            read_timeout: times.read.unwrap_or(self.read_timeout),
            write_timeout: times.write.unwrap_or(self.write_timeout),
            ..self.clone()
        }
    }

    pub(super) const fn statement_limits(&self) -> StatementLimits {
        StatementLimits {
            statements: self.max_prepared_statements,
            long_data_bytes: self.protocol.max_allowed_packet,
        }
    }
}

/// How long so many bytes may take.
pub(super) fn patience(timeout: Duration, bytes: usize) -> Duration {
    timeout.saturating_add(Duration::from_secs(bytes as u64 / BYTES_PER_S_MIN))
}
