//! A schema as bytes: the values of the catalog.
//!
//! ```text
//! 0        2                                   end
//! ├─ u16 ──┼─ rkyv archive of TableSchema ─────┤
//!  format 3
//! ```
//!
//! Format 1 had no notes of columns and no comments, format 2 did not say what a reference table is; they are read.
//!
//! Whatever holds the bytes (a page, a frame) has a checksum, so the archive has none. Reading
//! checks the archive's structure and then everything that a schema promises, so that damage is
//! an error here and not a surprise later.

use rkyv::rancor;
use rkyv::util::AlignedVec;

use super::{SchemaError, TableSchema, format_1, format_2};

/// The format that is written.
const FORMAT: u16 = 3;

/// Most bytes of one archived schema: 4096 columns with defaults, rarely more than a few hundred
/// bytes in practice.
pub(crate) const SCHEMA_MAX: usize = 16 << 20;

/// Why bytes are no schema.
#[derive(Debug, thiserror::Error)]
pub enum SchemaDamage {
    /// Too few bytes for the format number.
    #[error("a schema of {0} bytes")]
    Short(usize),
    /// More bytes than any schema has.
    #[error("a schema of {0} bytes, at most {SCHEMA_MAX} are possible")]
    Long(usize),
    /// Written by a program newer than this, or damaged.
    #[error("schema format {found}, this program reads 1 to {FORMAT}")]
    Format {
        /// The format of the bytes.
        found: u16,
    },
    /// The archive's structure is broken.
    #[error("broken schema archive: {0}")]
    Archive(rancor::Error),
    /// The archive can be read but contradicts itself.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl TableSchema {
    /// The schema as bytes. The same schema always has the same bytes.
    ///
    /// # Errors
    /// If it takes more than [16 MiB](SchemaError::TooLarge).
    pub fn to_bytes(&self) -> Result<Vec<u8>, SchemaError> {
        let archive = rkyv::to_bytes::<rancor::Error>(self)
            .expect("serialising plain data into a growing buffer cannot fail");
        let bytes = size_of::<u16>() + archive.len();
        if bytes > SCHEMA_MAX {
            let table = self.name.clone();
            return Err(SchemaError::TooLarge { table, bytes, limit: SCHEMA_MAX });
        }
        Ok([&FORMAT.to_le_bytes()[..], &archive[..]].concat())
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, and checks it.
    ///
    /// # Errors
    /// If the bytes are damaged or of another format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SchemaDamage> {
        if bytes.len() > SCHEMA_MAX {
            return Err(SchemaDamage::Long(bytes.len()));
        }
        let Some((format, archive)) = bytes.split_first_chunk() else {
            return Err(SchemaDamage::Short(bytes.len()));
        };
        // An archive must be aligned, and bytes in a page are not.
        let mut aligned = AlignedVec::<16>::with_capacity(archive.len());
        aligned.extend_from_slice(archive);
        let read = match u16::from_le_bytes(*format) {
            FORMAT => rkyv::from_bytes::<Self, rancor::Error>(&aligned),
            2 => rkyv::from_bytes::<format_2::TableSchema, rancor::Error>(&aligned)
                .map(|old| Self::from(old).known_by_its_keys()),
            1 => rkyv::from_bytes::<format_1::TableSchema, rancor::Error>(&aligned)
                .map(|old| Self::from(old).known_by_its_keys()),
            found => return Err(SchemaDamage::Format { found }),
        };
        let schema = read.map_err(SchemaDamage::Archive)?;
        schema.validate()?;
        Ok(schema)
    }
}
