//! A partition, near or far.

use std::sync::Arc;

use resprout_access::{FarPartition, FarPosition};
use resprout_engine::lock::TxnId;
use resprout_engine::table::{Catalog, Table, TableId, TableSchema};
use resprout_engine::{Error, State, TableHome, Vote};

use super::transaction::Transaction;

/// A partition. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Partition {
    /// In the engine of this process.
    Near(resprout_engine::Partition),
    /// On another node.
    Far(FarPartition),
}

/// Where a record is in a partition's log.
#[derive(Clone, Copy, Debug)]
pub enum Position {
    /// In the engine of this process.
    Near(resprout_engine::Position),
    /// On another node.
    Far(FarPosition),
}

impl Partition {
    /// Its number in its database.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        match self {
            Self::Near(near) => near.ordinal(),
            Self::Far(far) => far.place().ordinal,
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// If the partition does not serve, or may still lack parts of transactions that a crash cut off; of a far one the first
    /// request says so.
    pub fn begin(&self) -> Result<Transaction, Error> {
        match self {
            Self::Near(near) if near.is_unsettled() => Err(Error::NotOnline {
                partition: near.name().to_owned(),
                state: State::Transitioning,
            }),
            Self::Near(near) => near.begin().map(Transaction::Near),
            Self::Far(far) => Ok(Transaction::Far(far.begin())),
        }
    }

    /// Its tables.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn catalog(&self) -> Result<Catalog, Error> {
        match self {
            Self::Near(near) => near.catalog(),
            Self::Far(far) => far.catalog(),
        }
    }

    /// Its tables, whatever is known of them.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn catalog_now(&self) -> Result<Catalog, Error> {
        match self {
            Self::Near(near) => near.catalog(),
            Self::Far(far) => far.catalog_now(),
        }
    }

    pub(super) fn forget_catalog(&self) {
        if let Self::Far(far) = self {
            far.forget_catalog();
        }
    }

    /// A table by its name.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`]; if it does not serve.
    pub fn table(&self, name: &str) -> Result<Arc<Table>, Error> {
        match self {
            Self::Near(near) => near.table(name),
            Self::Far(far) => far.table(name),
        }
    }

    /// What the tree has under a key that is not of a row.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn raw(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Near(near) => Ok(near.view()?.get(key).map(<[u8]>::to_vec)),
            Self::Far(far) => {
                // Up to the next key that there can be.
                let behind = [key, &[0]].concat();
                let found = far.raw(vec![(key.to_vec(), Some(behind))])?;
                Ok(found.into_iter().next().map(|(_, value)| value))
            }
        }
    }

    /// For whom a transaction waits; of a far one that is not known.
    #[must_use]
    pub fn awaited(&self, txn: TxnId) -> Option<TxnId> {
        match self {
            Self::Near(near) => near.awaited(txn),
            Self::Far(_) => None,
        }
    }

    /// See [`resprout_engine::Partition::commit_prepared_async`].
    ///
    /// # Errors
    /// As there.
    pub async fn commit_prepared(&self, global_id: &[u8]) -> Result<Position, Error> {
        match self {
            Self::Near(near) => near.commit_prepared_async(global_id).await.map(Position::Near),
            Self::Far(far) => far.commit_prepared(global_id).await.map(Position::Far),
        }
    }

    /// See [`resprout_engine::Partition::abort_prepared`].
    ///
    /// # Errors
    /// As there.
    pub async fn abort_prepared(&self, global_id: &[u8]) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.abort_prepared(global_id),
            Self::Far(far) => far.abort_prepared(global_id).await,
        }
    }

    /// See [`resprout_engine::Partition::vote`].
    ///
    /// # Errors
    /// As there.
    pub async fn vote(&self, global_id: &[u8]) -> Result<Vote, Error> {
        match self {
            Self::Near(near) => near.vote(global_id),
            Self::Far(far) => far.vote(global_id).await,
        }
    }

    /// See [`resprout_engine::Partition::flush`].
    ///
    /// # Errors
    /// As there.
    pub async fn flush(&self) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.flush(),
            Self::Far(far) => far.flush().await,
        }
    }

    /// Whether that is durable, as far as it can be said without waiting: of a far one it cannot.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn is_durable(&self, position: Position) -> Result<bool, Error> {
        match (self, position) {
            (Self::Near(near), Position::Near(position)) => near.is_durable(position),
            _ => Ok(false),
        }
    }

    /// See [`resprout_engine::Partition::take_numbers`]. Blocks.
    ///
    /// # Errors
    /// As there.
    pub fn take_numbers(&self, table: TableId, from: u64, count: u64) -> Result<u64, Error> {
        match self {
            Self::Near(near) => near.take_numbers(table, from, count),
            Self::Far(far) => far.take_numbers(table, from, count),
        }
    }

    /// Writes a snapshot.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn snapshot(&self) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.snapshot().map(drop),
            Self::Far(far) => far.snapshot(),
        }
    }
}

impl TableHome for Partition {
    fn tables_now(&self) -> Result<Catalog, Error> {
        self.catalog_now()
    }

    fn adopt(&self, schema: TableSchema) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.adopt_table(schema).map(drop),
            Self::Far(far) => far.adopt_table(schema),
        }
    }

    fn replace(&self, name: &str, with: TableSchema) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.replace_table(name, with),
            Self::Far(far) => far.replace_table(name, with),
        }
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        match self {
            Self::Near(near) => near.drop_table(name),
            Self::Far(far) => far.drop_table(name),
        }
    }
}
