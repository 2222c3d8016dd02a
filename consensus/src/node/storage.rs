//! Where a node keeps what it has promised.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::store::{Store, StoreError};
use crate::{Snapshot, Write, WriteId};

/// Takes writes in order and says when they are durable.
pub trait Storage: fmt::Debug + Send + 'static {
    /// Why a store takes no more writes. Final: what the medium holds is known only after a restart
    /// (catalogue rule 17).
    type Failure: Error + Clone + Send + Sync + 'static;

    /// Begins to write, behind everything before. Returns at once.
    ///
    /// # Errors
    /// If the store has failed or fails now: nothing more will be durable.
    fn write(&mut self, writes: Vec<Write>) -> Result<(), Self::Failure>;

    /// How far writes are durable.
    fn durability(&self) -> watch::Receiver<Durability<Self::Failure>>;

    /// Makes a snapshot durable ahead of the write that tells of it, on any thread, so that no other
    /// write waits for it.
    fn keeper(&self) -> Keeper<Self::Failure>;

    /// Writes everything and notes a clean end.
    ///
    /// # Errors
    /// If the store has failed or fails now.
    fn close(self) -> Result<(), Self::Failure>;
}

/// Makes one snapshot durable. See [`Storage::keeper`].
pub type Keeper<F> = Box<dyn FnOnce(&Snapshot) -> Result<(), F> + Send>;

/// How far writes are durable.
#[derive(Clone, Debug)]
pub struct Durability<F> {
    /// All up to this one.
    pub durable: WriteId,
    /// Why nothing more will be; what was under way may still become durable.
    pub failed: Option<F>,
}

impl<F> Default for Durability<F> {
    fn default() -> Self {
        Self { durable: WriteId(0), failed: None }
    }
}

impl Storage for Store {
    type Failure = Arc<StoreError>;

    fn write(&mut self, writes: Vec<Write>) -> Result<(), Self::Failure> {
        Self::write(self, writes).map_err(Arc::new)
    }

    fn durability(&self) -> watch::Receiver<Durability<Self::Failure>> {
        self.progress()
    }

    fn keeper(&self) -> Keeper<Self::Failure> {
        let writer = self.snapshot_writer();
        Box::new(move |snapshot| writer.write(snapshot).map_err(Arc::new))
    }

    fn close(self) -> Result<(), Self::Failure> {
        self.close_clean().map_err(Arc::new)
    }
}
