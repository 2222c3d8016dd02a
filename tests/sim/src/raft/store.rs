//! The place of a node's store: writes go in, come back durable in their order, and survive a crash
//! as a prefix.

use std::collections::VecDeque;
use std::fmt;

use resprout_consensus::{Recovered, Write, WriteId};
use resprout_wal::world::Rng;

use super::image::Image;

/// A store has ended, by a failure or because power failed within one of its operations: nothing of
/// this run becomes durable any more, and the node takes no part until it starts again (row D19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

/// What a disk does wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A write or flush fails.
    Error,
    /// Power fails before, within or after one of its operations.
    PowerLoss,
    /// From the next start on it grows no more.
    Full,
}

/// What the simulation asks of a store. When a flush ends is the simulation's decision, and so is
/// when the power fails.
pub trait Store: fmt::Debug + Send {
    /// Takes writes, in their order.
    ///
    /// # Errors
    /// [`Ended`].
    fn write(&mut self, writes: &[Write]) -> Result<(), Ended>;

    /// Makes everything up to a write durable, unless it fails: how far it came, and whether it goes
    /// on.
    fn flush(&mut self, upto: WriteId) -> (WriteId, Result<(), Ended>);

    /// The node ends, mostly because power fails: of what was not flushed a prefix survives, each
    /// write whole or not at all.
    fn crash(&mut self, rng: &mut Rng);

    /// What is there when the node starts; the start itself is counted durably.
    ///
    /// # Errors
    /// [`Ended`]; it may be tried again.
    fn recover(&mut self) -> Result<Recovered, Ended>;

    /// A copy of all that is durable, for somebody to put back later (row M07); `None` if more may be
    /// durable than was said.
    fn copy(&mut self) -> Option<Box<dyn Store>>;

    /// Something will go wrong, if it is a store to which that can happen.
    fn inflict(&mut self, _fault: DiskFault) {}

    /// Whether something will go wrong, or still does.
    fn is_at_fault(&self) -> bool {
        false
    }

    /// Nothing goes wrong any more. Whether the node must start again for that.
    fn mend(&mut self) -> bool {
        false
    }

    /// What has happened in it since this was asked last, to be counted.
    fn take_notes(&mut self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// A store in memory that does what the contract says, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct ModelStore {
    durable: Image,
    boot: u64,
    pending: VecDeque<Write>,
}

impl ModelStore {
    /// A store that holds this.
    #[must_use]
    pub fn new(durable: Image) -> Self {
        Self { durable, boot: 0, pending: VecDeque::new() }
    }
}

impl Store for ModelStore {
    fn write(&mut self, writes: &[Write]) -> Result<(), Ended> {
        self.pending.extend(writes.iter().cloned());
        Ok(())
    }

    fn flush(&mut self, upto: WriteId) -> (WriteId, Result<(), Ended>) {
        while let Some(write) = self.pending.pop_front_if(|write| write.id <= upto) {
            self.durable.take(&write);
        }
        (upto, Ok(()))
    }

    fn crash(&mut self, rng: &mut Rng) {
        // Mostly all is lost: that is what a missing flush costs.
        let keeps = rng.chance(1, 3);
        let kept = if keeps { rng.below(self.pending.len() as u64 + 1) } else { 0 };
        for write in self.pending.drain(..).take(usize::try_from(kept).unwrap_or(usize::MAX)) {
            self.durable.take(&write);
        }
    }

    fn recover(&mut self) -> Result<Recovered, Ended> {
        assert!(self.pending.is_empty(), "a start without an end");
        self.boot += 1;
        Ok(self.durable.recovered(self.boot))
    }

    fn copy(&mut self) -> Option<Box<dyn Store>> {
        Some(Box::new(Self::new_at(self.durable.clone(), self.boot)))
    }
}

impl ModelStore {
    fn new_at(durable: Image, boot: u64) -> Self {
        Self { durable, boot, pending: VecDeque::new() }
    }
}
