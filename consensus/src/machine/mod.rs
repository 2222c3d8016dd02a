//! What the log is for: a state that every member reaches in the same way.

use bytes::Bytes;

use crate::Index;

pub use applier::{Applied, Applier, Outcome};

mod applier;
mod window;

/// A state that commands change. The same commands in the same order must give the same state and
/// the same answers on every node: no time, no randomness, no unordered maps (assertion 10 of the
/// catalogue).
pub trait StateMachine: Send + 'static {
    /// Applies a committed command, and answers who proposed it. A command that makes no sense
    /// must be answered so, not panicked about: it is in the log of all nodes.
    fn apply(&mut self, index: Index, command: &[u8]) -> Bytes;

    /// The whole state as bytes: the same bytes for the same state.
    fn snapshot(&self) -> Bytes;

    /// Replaces the state by one that [`StateMachine::snapshot`] gave, maybe on another node.
    ///
    /// # Errors
    /// If the bytes are none. The node takes no part any more then.
    fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError>;
}

/// A state that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state of a snapshot is not understood: {0}")]
pub struct RestoreError(pub String);
