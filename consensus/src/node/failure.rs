//! Why a request was not fulfilled, by what its caller may conclude.

use std::error::Error;
use std::sync::Arc;

use crate::{ChangeError, NodeId, Refusal, TakeOverError, TransferError};

/// Why a store has ended, whatever store it is.
pub type StorageFailure = Arc<dyn Error + Send + Sync>;

/// Why a proposal was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeFailure {
    /// It was not sent to anybody: it will not be applied.
    #[error("no leader was found within the time given; nothing was proposed")]
    NoLeader,
    /// It was sent, and nobody knows yet whether it will be applied. To propose the same under the
    /// same id ([`super::Handle::submit`]) is safe.
    #[error("the outcome is unknown: no answer within the time given")]
    Unknown,
    /// It was made too long ago to be recognised: whether it was applied, nobody can say.
    #[error("the outcome is unknown: the proposal is too old to be recognised")]
    TooOld,
    /// It is too large: it will not be applied.
    #[error("a command of {bytes} bytes, at most {max} are possible")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The node takes no part any more. If it was sent before, its outcome is unknown.
    #[error("{0}")]
    Ended(Ended),
}

/// Why a read was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadFailure {
    /// Nobody could vouch for the state in time.
    #[error("no leader has confirmed the read within the time given")]
    NotConfirmed,
    /// The node takes no part any more.
    #[error("{0}")]
    Ended(Ended),
}

/// Why the members were not changed, or leadership not handed over.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChangeFailure {
    /// It was refused: nothing has changed.
    #[error(transparent)]
    Refused(#[from] ChangeError),
    /// It was refused: nothing has changed.
    #[error(transparent)]
    NotTransferred(#[from] TransferError),
    /// It was refused: nothing has changed.
    #[error(transparent)]
    NotTakenOver(#[from] TakeOverError),
    /// It was begun, and whether it is committed is not known yet.
    #[error("the outcome is unknown: not committed within the time given")]
    Unknown,
    /// Another leader's entry took its place: it was not made.
    #[error("leadership moved to {} before the change was committed; it was not made", Who(*leader))]
    Lost {
        /// Who leads now.
        leader: Option<NodeId>,
    },
    /// The node takes no part any more.
    #[error("{0}")]
    Ended(Ended),
}

struct Who(Option<NodeId>);

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(node) => node.fmt(f),
            None => f.write_str("another node"),
        }
    }
}

/// Why a node takes no part any more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Ended {
    /// It was stopped.
    #[error("the node was stopped")]
    Stopped,
    /// Its store failed (row D19). What it has acknowledged is what a restart finds.
    #[error("the node has left the cluster's metadata log: {0}; restart it when the disk is well")]
    Storage(StorageFailure),
    /// The others will have nothing to do with it.
    #[error("the node was refused by the others: {}", Why(.0))]
    Refused(Refusal),
    /// A snapshot from the leader is not understood.
    #[error("the node does not understand the leader's state: {0}")]
    Restore(crate::machine::RestoreError),
}

struct Why<'a>(&'a Refusal);

impl std::fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Refusal::Removed { membership } => {
                write!(f, "it was removed from the members (entry {membership})")
            }
            Refusal::StrangeStore { expected } => write!(
                f,
                "they know it with directory {expected}; remove the member and add it anew"
            ),
            Refusal::Forgot { acknowledged, has } => write!(
                f,
                "its directory is older than it was: it had {acknowledged} entries and has {has}; \
                 remove the member and add it anew with an empty directory"
            ),
            Refusal::TakenOver { term, committed } => write!(
                f,
                "another member took over in term {term} without all of the {committed} entries that are committed \
                 here; restart the node, and if it says so again, remove the member and add it anew with an empty directory"
            ),
        }
    }
}
