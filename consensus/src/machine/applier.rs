//! Applying committed entries: each in order, each once, each proposal once.

use bytes::Bytes;
use rkyv::rancor;
use rkyv::{Archive, Deserialize, Serialize};

use super::window::{Known, Window, WindowImage};
use super::{RestoreError, StateMachine};
use crate::{Entry, EntryId, Index, Payload, ProposalId, Snapshot};

/// A state machine and what must be kept with its state.
#[derive(Debug)]
pub struct Applier<S> {
    state: S,
    window: Window,
    applied: EntryId,
}

/// What became of a proposal, wherever it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which.
    pub id: ProposalId,
    /// What became of it.
    pub applied: Result<Applied, TooOld>,
}

/// A proposal that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// By which entry, the first time.
    pub index: Index,
    /// What the state machine answered.
    pub answer: Bytes,
}

/// The proposal was made too long ago: whether it was applied before, nobody can say. By this entry
/// it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOld;

/// The state in a snapshot.
#[derive(Archive, Serialize, Deserialize)]
struct Image {
    window: WindowImage,
    state: Bytes,
}

impl<S: StateMachine> Applier<S> {
    /// A state with nothing applied.
    #[must_use]
    pub fn new(state: S) -> Self {
        Self { state, window: Window::default(), applied: EntryId::ZERO }
    }

    /// One that remembers so few proposals that tests see them forgotten; as many on every node.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_window(state: S, proposals_max: usize) -> Self {
        Self { window: Window::of(proposals_max), ..Self::new(state) }
    }

    /// Applies the entry that follows.
    ///
    /// # Panics
    /// If it does not follow: it would be applied twice, or another left out (row M12).
    pub fn apply(&mut self, entry: &Entry) -> Option<Outcome> {
        let follows = entry.id.index == self.applied.index.next();
        assert!(follows, "applying {} behind {}", entry.id, self.applied);
        assert!(entry.id.term >= self.applied.term, "terms fall at {}", entry.id);
        self.applied = entry.id;
        let Payload::Command(proposal) = &entry.payload else { return None };
        let (id, index) = (proposal.id, entry.id.index);
        let applied = match self.window.look(id, proposal.since) {
            Known::Applied(index, answer) => Ok(Applied { index, answer }),
            Known::TooOld => Err(TooOld),
            Known::New => {
                let answer = self.state.apply(index, &proposal.command);
                self.window.remember(id, index, answer.clone());
                Ok(Applied { index, answer })
            }
        };
        Some(Outcome { id, applied })
    }

    /// The last entry that was applied.
    #[must_use]
    pub fn applied(&self) -> EntryId {
        self.applied
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.state
    }

    /// All of it as bytes, for a [`Snapshot`] at [`Applier::applied`].
    ///
    /// # Panics
    /// If the state is larger than 2 GiB: metadata are not.
    #[must_use]
    pub fn snapshot(&self) -> Bytes {
        let image = Image { window: self.window.image(), state: self.state.snapshot() };
        assert!(image.state.len() < 1 << 31, "a state of {} bytes", image.state.len());
        let bytes = rkyv::to_bytes::<rancor::Error>(&image).expect("memory takes any bytes");
        Bytes::from_owner(bytes)
    }

    /// Replaces everything by a snapshot.
    ///
    /// # Errors
    /// [`RestoreError`]; the state is not to be used then.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), RestoreError> {
        // What comes from a file or a peer may lie at any address.
        let mut aligned = rkyv::util::AlignedVec::<16>::new();
        aligned.extend_from_slice(&snapshot.state);
        let image = rkyv::from_bytes::<Image, rancor::Error>(&aligned)
            .map_err(|error| RestoreError(error.to_string()))?;
        self.state.restore(&image.state)?;
        self.window = self.window.restored(image.window);
        self.applied = snapshot.meta.last;
        Ok(())
    }
}
