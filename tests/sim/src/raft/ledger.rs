//! What the checkers know of a node's store, whatever store it is: what was written, and what of it
//! was said to be durable.

use std::collections::VecDeque;

use resprout_consensus::{Recovered, Write, WriteId};

use super::image::Image;
use crate::{Violation, hold};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What a crash leaves at the least.
    pub durable: Image,
    /// With everything that was written.
    pub written: Image,
    pending: VecDeque<Write>,
}

impl Ledger {
    /// Of a store that holds this.
    #[must_use]
    pub fn new(image: Image) -> Self {
        Self { durable: image.clone(), written: image, pending: VecDeque::new() }
    }

    /// Notes writes.
    pub fn write(&mut self, writes: &[Write]) {
        for write in writes {
            self.written.take(write);
            self.pending.push_back(write.clone());
        }
    }

    /// Notes that everything up to a write is durable.
    pub fn flush(&mut self, upto: WriteId) {
        while let Some(write) = self.pending.pop_front_if(|write| write.id <= upto) {
            self.durable.take(&write);
        }
    }

    /// The newest write that is not durable.
    #[must_use]
    pub fn newest_pending(&self) -> Option<WriteId> {
        self.pending.back().map(|write| write.id)
    }

    /// Whether a write is still under way that replaces the whole log.
    #[must_use]
    pub fn is_installing(&self) -> bool {
        use resprout_consensus::Content;
        let installs =
            |write: &Write| matches!(write.content, Content::Snapshot { installed: true, .. });
        self.pending.iter().any(installs)
    }

    /// Takes what a store gave back after a crash.
    ///
    /// # Errors
    /// [`Violation`] if that is not what was durable and a prefix of what was not.
    pub fn recover(&mut self, recovered: &Recovered) -> Result<(), Violation> {
        let found = Image::of(recovered);
        let mut image = std::mem::take(&mut self.durable);
        let mut pending = std::mem::take(&mut self.pending).into_iter();
        while image != found {
            let write = pending.next();
            hold(write.is_some(), "a store keeps a prefix of what was written", || {
                format!("found {:?} behind {:?}", found.last(), image.last())
            })?;
            write.iter().for_each(|write| image.take(write));
        }
        *self = Self::new(image);
        Ok(())
    }
}
