//! The place of a node's store: writes go in, come back durable in their order, and survive a crash
//! as a prefix.

use std::collections::VecDeque;
use std::fmt;

use resprout_consensus::{Recovered, Write, WriteId};
use resprout_wal::world::Rng;

use super::image::Image;

/// What the simulation asks of a store. When a flush ends is the simulation's decision, and so is
/// when the power fails.
pub trait Store: fmt::Debug + Send {
    /// Takes writes, in their order.
    fn write(&mut self, writes: &[Write]);

    /// Makes everything up to a write durable.
    fn flush(&mut self, upto: WriteId);

    /// Power fails: of what was not flushed a prefix survives, each write whole or not at all.
    fn crash(&mut self, rng: &mut Rng);

    /// What is there when the node starts; the start itself is counted durably.
    fn recover(&mut self) -> Recovered;

    /// A copy of all that is durable, for somebody to put back later (row M07).
    fn copy(&self) -> Box<dyn Store>;
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
    fn write(&mut self, writes: &[Write]) {
        self.pending.extend(writes.iter().cloned());
    }

    fn flush(&mut self, upto: WriteId) {
        while let Some(write) = self.pending.pop_front_if(|write| write.id <= upto) {
            self.durable.take(&write);
        }
    }

    fn crash(&mut self, rng: &mut Rng) {
        // Mostly all is lost: that is what a missing flush costs.
        let keeps = rng.chance(1, 3);
        let kept = if keeps { rng.below(self.pending.len() as u64 + 1) } else { 0 };
        for write in self.pending.drain(..).take(usize::try_from(kept).unwrap_or(usize::MAX)) {
            self.durable.take(&write);
        }
    }

    fn recover(&mut self) -> Recovered {
        assert!(self.pending.is_empty(), "a start without an end");
        self.boot += 1;
        self.durable.recovered(self.boot)
    }

    fn copy(&self) -> Box<dyn Store> {
        Box::new(Self::new_at(self.durable.clone(), self.boot))
    }
}

impl ModelStore {
    fn new_at(durable: Image, boot: u64) -> Self {
        Self { durable, boot, pending: VecDeque::new() }
    }
}
