//! Where a node keeps what it has promised.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::{Snapshot, Write, WriteId};

/// Why a store takes no more writes. Final: what the medium holds is known only after a restart
/// (catalogue rule 17).
pub type StorageFailure = Arc<dyn Error + Send + Sync>;

/// Makes one snapshot durable. See [`Storage::keeper`].
pub type Keeper = Box<dyn FnOnce(&Snapshot) -> Result<(), StorageFailure> + Send>;

/// Takes writes in order and says when they are durable.
pub trait Storage: fmt::Debug + Send + 'static {
    /// Begins to write, behind everything before. Returns at once.
    ///
    /// # Errors
    /// If the store has failed or fails now: nothing more will be durable.
    fn write(&mut self, writes: Vec<Write>) -> Result<(), StorageFailure>;

    /// How far writes are durable.
    fn durability(&self) -> watch::Receiver<Durability>;

    /// Makes a snapshot durable ahead of the write that tells of it, on any thread, so that no other
    /// write waits for it.
    fn keeper(&self) -> Keeper;

    /// Notes a clean end.
    ///
    /// # Errors
    /// If the store has failed or fails now.
    fn close(&mut self) -> Result<(), StorageFailure>;
}

/// How far writes are durable.
#[derive(Clone, Debug, Default)]
pub struct Durability {
    /// All up to this one.
    pub durable: WriteId,
    /// Nothing more will be.
    pub failed: Option<StorageFailure>,
}
