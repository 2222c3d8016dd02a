//! Bounds and times of the TCP transport, and who this node is.

use std::time::Duration;

use crate::raft::Identity;
use crate::wire::{HANDSHAKE_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Who this node is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Node and data directory.
    pub identity: Identity,
    /// Which start of the process this is, counted durably ([`crate::Recovered::boot`]).
    pub boot: u64,
    /// The cluster.
    pub cluster: u128,
}

/// Bounds and times. All of the node's memory for connections follows from these: per member a
/// queue, and per connection at most one message being read and one batch being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Where to listen, as `host:port`; port 0 takes a free one.
    pub listen: String,
    /// For the jitter between attempts to connect. Best different on every node.
    pub seed: u64,
    /// Most bytes of a message with its frame; the same on all nodes. A longer one is not sent, and
    /// who sends one is no node of this cluster.
    pub message_bytes_max: usize,
    /// Most messages that wait for one member.
    pub queue_messages_max: usize,
    /// About the most bytes that wait for one member.
    pub queue_bytes_max: usize,
    /// Most messages that have arrived and were not taken. When there are so many, nothing more is
    /// read from the connections.
    pub incoming_max: usize,
    /// How long a connection may take to be made, looking up the name included.
    pub connect_timeout: Duration,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Wait before the first attempt to connect again: short, since a failover may wait for it.
    /// Every further wait is twice as long, each shortened at random by up to a half.
    pub retry_first: Duration,
    /// Longest wait between two attempts.
    pub retry_max: Duration,
    /// After so long without anything to say, a sign of life is sent.
    pub beat: Duration,
    /// After so long without anything heard, a connection counts as lost. TCP itself would take
    /// minutes to notice that packets vanish.
    pub silence: Duration,
    /// Most connections in their handshake. Of more, the oldest is closed: who means it is done
    /// after one round trip.
    pub pending_max: usize,
    /// Most connections of nodes that are no members here (see [`super::TcpTransport`]).
    pub guests_max: usize,
}

impl TcpOptions {
    /// The usual bounds.
    #[must_use]
    pub fn new(listen: impl Into<String>, seed: u64) -> Self {
        Self {
            listen: listen.into(),
            seed,
            message_bytes_max: MESSAGE_BYTES_MAX,
            queue_messages_max: 4096,
            queue_bytes_max: 2 * MESSAGE_BYTES_MAX,
            incoming_max: 256,
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(3),
            retry_first: Duration::from_millis(10),
            retry_max: Duration::from_secs(1),
            beat: Duration::from_millis(500),
            silence: Duration::from_secs(3),
            pending_max: 64,
            guests_max: 16,
        }
    }

    /// What makes no sense.
    ///
    /// # Errors
    /// One line that names it.
    pub fn validate(&self) -> Result<(), String> {
        let counts = [
            ("queue_messages_max", self.queue_messages_max),
            ("incoming_max", self.incoming_max),
            ("pending_max", self.pending_max),
            ("guests_max", self.guests_max),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(format!("{name} must not be 0"));
        }
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("retry_first", self.retry_first),
            ("beat", self.beat),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(format!("{name} must not be 0"));
        }
        let (bytes, queue) = (self.message_bytes_max, self.queue_bytes_max);
        if !(HANDSHAKE_BYTES_MAX..=u32::MAX as usize).contains(&bytes) {
            return Err(format!(
                "message_bytes_max is {bytes}, must be from {HANDSHAKE_BYTES_MAX} to {}",
                u32::MAX
            ));
        }
        if queue < bytes {
            return Err(format!("queue_bytes_max is {queue}, must be at least {bytes}"));
        }
        if self.retry_max < self.retry_first {
            return Err("retry_max is shorter than retry_first".to_owned());
        }
        // One sign of life may be late.
        if self.silence < 2 * self.beat {
            return Err("silence must be at least twice beat".to_owned());
        }
        Ok(())
    }
}
