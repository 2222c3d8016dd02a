//! What a node has.

use std::collections::BTreeMap;

use resprout_replication::{ImageProgress, State};
use resprout_wal::{Lsn, Term};

use crate::{Incarnation, Instance, Ordinal, Stamp};

/// Names a copy for ever, wherever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyName {
    /// The database's number.
    pub database: u32,
    /// The partition.
    pub ordinal: Ordinal,
    /// Which copy of it.
    pub instance: Instance,
}

/// What a copy does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doing {
    /// It replays snapshot and log.
    Recovering,
    /// It has recovered, and waits to be told.
    #[default]
    Pending,
    /// It is fenced: it takes nothing of an older term, and follows nobody.
    Fenced,
    /// It gets pages.
    Provisioning,
    /// It follows.
    Following,
    /// It is told to be master, and not writable yet.
    Transitioning(Term),
    /// It is master, and writable.
    Online(Term),
    /// It cannot be recovered here.
    Unrecoverable,
}

/// What a copy says of itself, as the control plane goes by it.
impl From<State> for Doing {
    fn from(state: State) -> Self {
        match state {
            State::Pending => Self::Pending,
            State::Connecting | State::Fenced(_) => Self::Fenced,
            State::Provisioning { .. } => Self::Provisioning,
            State::Replicating => Self::Following,
            State::Transitioning(term) => Self::Transitioning(term),
            State::Online(term) => Self::Online(term),
            State::Halted(_) => Self::Unrecoverable,
        }
    }
}

/// A copy that a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldCopy {
    /// The run that has it.
    pub incarnation: Incarnation,
    /// What it does.
    pub doing: Doing,
    /// The newest decision that it acts on.
    pub knows: Stamp,
    /// The newest term that it promised to take nothing older than.
    pub promised: Term,
    /// Term of its last record.
    pub last_term: Term,
    /// End of its last whole group.
    pub last: Lsn,
    /// The run before stopped in order, with everything flushed.
    pub clean: bool,
    /// Bytes of log that have come and are not applied. For people, as the image is.
    pub unapplied_bytes: u64,
    /// The image that it gets, or took last in this run.
    pub image: Option<ImageProgress>,
}

/// All copies of a node.
pub type Held = BTreeMap<CopyName, HeldCopy>;
