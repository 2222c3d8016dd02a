//! A change of a database's tables, on its way to whoever makes it: one aggregator makes all changes, one after the
//! other.

use resprout_engine::table::{Change, TableSchema};
use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use thiserror::Error;

/// See the module.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Definition {
    /// CREATE TABLE.
    Create(TableSchema),
    /// DROP TABLE.
    Drop(String),
    /// TRUNCATE TABLE.
    Truncate(String),
    /// ALTER TABLE.
    Alter(String, Change),
}

/// The bytes are no definition: of another version, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a definition that is not understood: do all aggregators run the same version?")]
pub struct NoDefinition;

impl Definition {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        rkyv::to_bytes::<rancor::Error>(self)
            .expect("serialising plain data into a growing buffer cannot fail")
            .into_vec()
    }

    /// From bytes, which are checked before they are read.
    ///
    /// # Errors
    /// [`NoDefinition`].
    pub fn decode(bytes: &[u8]) -> Result<Self, NoDefinition> {
        let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        rkyv::from_bytes::<Self, rancor::Error>(&aligned).map_err(|_| NoDefinition)
    }
}

#[cfg(test)]
mod tests {
    use resprout_engine::table::NewColumn;

    use super::*;

    /// Promise: definitions arrive as they were sent, and bytes that are none are refused.
    #[test]
    fn definitions_go_there_and_back() {
        let schema = TableSchema::builder("t").column("id", "int").primary_key(&["id"]);
        let column = NewColumn::parse("c", "varchar(10)").unwrap();
        let samples = [
            Definition::Create(schema.build().unwrap()),
            Definition::Drop("t".to_owned()),
            Definition::Truncate("a table with a longer name".to_owned()),
            Definition::Alter("t".to_owned(), Change::AddColumn(column)),
            Definition::Alter("t".to_owned(), Change::RenameTable("u".to_owned())),
        ];
        for sample in samples {
            let bytes = sample.encode();
            assert_eq!(Definition::decode(&bytes).as_ref(), Ok(&sample));
            for length in 0..bytes.len() {
                assert_ne!(Definition::decode(&bytes[..length]).as_ref(), Ok(&sample));
            }
        }
        assert_eq!(Definition::decode(&[0xff; 64]), Err(NoDefinition));
    }
}
