//! A database: partitions that share tables, and the rule which row lives where.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use crate::commit_rule::Durability;
use crate::error::Error;
use crate::manifest::Manifest;
use crate::partition::Partition;
use crate::table::{Table, Value, key};

struct Inner {
    manifest: Manifest,
    partitions: Vec<Partition>,
    /// One change of tables at a time.
    definitions: Mutex<()>,
}

/// A database. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({}, {} partitions)", self.name(), self.partitions().len())
    }
}

impl Database {
    pub(crate) fn new(manifest: Manifest, partitions: Vec<Partition>) -> Self {
        Self { inner: Arc::new(Inner { manifest, partitions, definitions: Mutex::default() }) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.manifest.name
    }

    /// Its number in the cluster.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.inner.manifest.database
    }

    /// When its commits are acknowledged.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.inner.manifest.durability()
    }

    /// Its partitions in the order of their ordinals: all of them, unless it is of [copies](crate::CopyOptions).
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.inner.partitions
    }

    /// Held while tables change: what is guarded is in the partitions.
    pub(crate) fn definitions(&self) -> MutexGuard<'_, ()> {
        self.inner.definitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition of the row with these values of the shard key, in its order: see [`shard_of`].
    ///
    /// # Errors
    /// If a value does not fit its column.
    pub fn partition_of(&self, table: &Table, shard_values: &[Value]) -> Result<&Partition, Error> {
        let partitions = self.partitions();
        Ok(&partitions[shard_of(table, shard_values, partitions.len())?])
    }

    /// As [`Database::partition_of`], for a table by name.
    ///
    /// # Errors
    /// As there; [`Error::NoSuchTable`].
    pub fn partition_for(&self, table: &str, shard_values: &[Value]) -> Result<&Partition, Error> {
        let table = self.partitions()[0].table(table)?;
        self.partition_of(&table, shard_values)
    }
}

/// Which of so many partitions has the row with these values of the shard key, in its order: by a hash of their key
/// encoding, so that equal values meet in every table with such a shard key.
///
/// # Errors
/// If a value does not fit its column.
pub fn shard_of(table: &Table, shard_values: &[Value], partitions: usize) -> Result<usize, Error> {
    let schema = table.schema();
    if let ([id], [value]) = (&schema.shard_key[..], shard_values)
        && let Some(short) = key::Short::new(&schema.column(*id).ty, &value.as_ref())
    {
        return Ok(home_of(short.as_slice(), partitions));
    }
    let mut bytes = Vec::with_capacity(32);
    for (id, value) in schema.shard_key.iter().zip(shard_values) {
        let column = schema.column(*id);
        let coerced;
        let value = if column.ty.fits(&value.as_ref()) {
            value
        } else {
            coerced = table.coerce(*id, value.clone())?;
            &coerced
        };
        key::append(&column.ty, true, &value.as_ref(), &mut bytes)
            .map_err(|source| table.key_error(*id, source))?;
    }
    Ok(home_of(&bytes, partitions))
}

/// The partition of an encoded shard key.
#[inline]
fn home_of(bytes: &[u8], partitions: usize) -> usize {
    usize::try_from(xxh3_64(bytes) % partitions as u64).unwrap_or(0)
}
