//! What a handle asks of its node.

use std::fmt;
use std::time::Duration;

use tokio::sync::oneshot;

use super::failure::{ChangeFailure, ProposeFailure, ReadFailure};
use crate::machine::Applied;
use crate::{Change, EntryId, NodeId, Proposal, ReadProof, Status, Timing};

/// One request and where its answer goes. A caller that went away is not answered.
pub(super) enum Request<S> {
    Propose {
        proposal: Proposal,
        within: Duration,
        answer: oneshot::Sender<Result<Applied, ProposeFailure>>,
    },
    Read {
        proof: ReadProof,
        within: Duration,
        read: Read<S>,
    },
    Change {
        change: Change,
        within: Duration,
        answer: oneshot::Sender<Result<EntryId, ChangeFailure>>,
    },
    Transfer {
        to: NodeId,
        answer: oneshot::Sender<Result<(), ChangeFailure>>,
    },
    TakeOver {
        answer: oneshot::Sender<Result<(), ChangeFailure>>,
    },
    Status {
        answer: oneshot::Sender<Status>,
    },
    SetTiming(Timing),
    Stop,
}

/// Reads the state, or is told why not.
pub(super) type Read<S> = Box<dyn FnOnce(Result<&S, ReadFailure>) + Send>;

impl<S> fmt::Debug for Request<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Propose { .. } => "Propose",
            Self::Read { .. } => "Read",
            Self::Change { .. } => "Change",
            Self::Transfer { .. } => "Transfer",
            Self::TakeOver { .. } => "TakeOver",
            Self::Status { .. } => "Status",
            Self::SetTiming(_) => "SetTiming",
            Self::Stop => "Stop",
        })
    }
}
