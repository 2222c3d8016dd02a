//! Keys and values under the system's own indexes: see the table in [`table`](super).

use super::key;
use super::schema::{IndexId, TableId};

/// A running number of a table whose bound is kept in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// The auto-increment column.
    Column = 0,
    /// The hidden primary key.
    Hidden = 1,
}

/// A property of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// The number of the next table to be created.
    NextTable = 1,
    /// The number of the next index to be created.
    NextIndex = 2,
}

impl Property {
    /// The property with this key; `None` if it is another key.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<Self> {
        match key::index_of(key)? {
            (IndexId::PROPERTIES, [1]) => Some(Self::NextTable),
            (IndexId::PROPERTIES, [2]) => Some(Self::NextIndex),
            _ => None,
        }
    }
}

fn with_tail(index: IndexId, tail: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + tail.len());
    key::start(index, &mut key);
    key.extend_from_slice(tail);
    key
}

/// The catalog row of a table.
#[must_use]
pub fn catalog_key(table: TableId) -> Vec<u8> {
    with_tail(IndexId::CATALOG, &table.0.to_be_bytes())
}

/// The write set of a prepared transaction.
#[must_use]
pub fn prepared_key(global_id: &[u8]) -> Vec<u8> {
    with_tail(IndexId::PREPARED, global_id)
}

/// The bound of a table's running number: its value is the first number not yet reserved.
#[must_use]
pub fn sequence_key(table: TableId, sequence: Sequence) -> Vec<u8> {
    let mut key = with_tail(IndexId::AUTO_INCREMENT, &table.0.to_be_bytes());
    key.push(sequence as u8);
    key
}

/// The decision about a transaction over several partitions.
#[must_use]
pub fn decision_key(global_id: &[u8]) -> Vec<u8> {
    with_tail(IndexId::DECISIONS, global_id)
}

/// A property of the partition.
#[must_use]
pub fn property_key(property: Property) -> Vec<u8> {
    with_tail(IndexId::PROPERTIES, &[property as u8])
}

/// The value of a bound or property.
#[must_use]
pub const fn number_to_bytes(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// Reads the value of a bound or property; `None` if it is damaged.
#[must_use]
pub fn number_from_bytes(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}
