//! Bounds and times of a transport.

use std::net::IpAddr;
use std::time::Duration;

use super::secret::Secret;
use crate::wire::MESSAGE_BYTES_MAX;

/// Bounds and times. All of a node's memory for connections follows from these: per peer a queue,
/// and per connection what is being read (one message, and a quarter of a mebibyte) and one batch
/// that is being written; per connection in its handshake a hundred bytes.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// Where to listen, as `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Where connections to others come from; as the system chooses if it is not said.
    pub source: Option<IpAddr>,
    /// What all nodes of the cluster know, and nobody else.
    pub secret: Secret,
    /// For the jitter between attempts to connect. Best different on every node.
    pub seed: u64,
    /// Most bytes of a message; the same on all nodes. A longer one is not sent, and who sends one
    /// is no node of this cluster.
    pub message_bytes_max: usize,
    /// About the most bytes that wait for one peer; payloads are shared with whoever sends them.
    pub queue_bytes_max: usize,
    /// How long a connection may take to be made, looking up the name included.
    pub connect_timeout: Duration,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Wait before the first attempt to connect again. Every further wait is twice as long, each
    /// shortened at random by up to a half.
    pub retry_first: Duration,
    /// Longest wait between two attempts.
    pub retry_max: Duration,
    /// After so long without anything to say, a sign of life is sent.
    pub beat: Duration,
    /// After so long without anything heard, a connection counts as lost. TCP itself would take
    /// minutes to notice that packets vanish.
    pub silence: Duration,
    /// Most connections in their handshake. Of more, the oldest is refused: who means it is done
    /// after two round trips.
    pub pending_max: usize,
}

impl TransportOptions {
    /// The usual bounds.
    #[must_use]
    pub fn new(listen: impl Into<String>, secret: Secret, seed: u64) -> Self {
        Self {
            listen: listen.into(),
            source: None,
            secret,
            seed,
            message_bytes_max: MESSAGE_BYTES_MAX,
            queue_bytes_max: 8 * MESSAGE_BYTES_MAX,
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            retry_first: Duration::from_millis(10),
            retry_max: Duration::from_millis(500),
            beat: Duration::from_millis(250),
            silence: Duration::from_secs(2),
            pending_max: 64,
        }
    }

    /// What makes no sense.
    ///
    /// # Errors
    /// One line that names it.
    pub fn validate(&self) -> Result<(), String> {
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("retry_first", self.retry_first),
            ("beat", self.beat),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(format!("{name} must not be 0"));
        }
        if self.pending_max == 0 {
            return Err("pending_max must not be 0".to_owned());
        }
        let (bytes, queue) = (self.message_bytes_max, self.queue_bytes_max);
        if !(1 << 10..=1 << 30).contains(&bytes) {
            return Err(format!("message_bytes_max is {bytes}, must be from 1 KiB to 1 GiB"));
        }
        // One flow fills less than half of the queue, and the longest message must fit into that.
        if queue < bytes.saturating_mul(4) {
            return Err(format!("queue_bytes_max is {queue}, must be at least four messages"));
        }
        if self.retry_max < self.retry_first {
            return Err("retry_max is shorter than retry_first".to_owned());
        }
        // A sign of life comes within two beats, and one may be late.
        if self.silence < 4 * self.beat {
            return Err("silence must be at least four beats".to_owned());
        }
        Ok(())
    }
}
