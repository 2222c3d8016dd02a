//! Why a connection is no more, or was never.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::handshake::{GreetingError, Refusal};
use crate::wire::WireError;

/// Why a connection is no more, or was never.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side has closed it.
    #[error("closed by the other side")]
    Closed,
    /// Nobody answered.
    #[error("no connection within {} ms", .0.as_millis())]
    ConnectTimeout(Duration),
    /// The other side did not say who it is, or did not answer.
    #[error("no handshake within {} ms", .0.as_millis())]
    HandshakeTimeout(Duration),
    /// Not even a sign of life.
    #[error("silent for {} ms", .0.as_millis())]
    Silent(Duration),
    /// What came is no message that may come here.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// What came is no handshake.
    #[error("{0}")]
    Greeting(#[from] GreetingError),
    /// The other side will not talk to this node.
    #[error("refused by the other side: {0}")]
    Rejected(Refusal),
    /// This node will not talk to the other side.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// A message of a partition of another cluster.
    #[error("a message of cluster {found:032x}, here {expected:032x}")]
    Foreign {
        /// This cluster.
        expected: u128,
        /// Of the message.
        found: u128,
    },
    /// The same node has connected again.
    #[error("replaced by a newer connection")]
    Replaced,
    /// The node is no peer any more, or is at another address now.
    #[error("no peer any more, or at another address")]
    Removed,
}

impl ConnectionError {
    /// An end where more was expected is the other side's doing.
    pub(super) fn of_read(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
