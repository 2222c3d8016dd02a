//! What can go wrong with a snapshot, told by what the reader of the message can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use resprout_wal::{LogIdentity, Lsn};

/// Why a snapshot could not be written, opened or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system refused. Rows D20, D36.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was tried, as a verb: `open`, `write`, `flush`.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The device is full. The temporary file is removed, older snapshots stay (row D24).
    #[error(
        "no space for snapshot {path}: it needs {}, the device took {written} bytes of it",
        Needed(*needed)
    )]
    NoSpace {
        /// The temporary file.
        path: PathBuf,
        /// Bytes of the whole file, where known.
        needed: Option<u64>,
        /// Bytes that were accepted before.
        written: u64,
    },
    /// A part of the file could not be read in several attempts (row D25).
    #[error("read {path} at offset {offset}, {attempts} attempts: {source}")]
    Read {
        /// The snapshot.
        path: PathBuf,
        /// Byte position of the read.
        offset: u64,
        /// How often it was tried.
        attempts: u32,
        /// The last error.
        source: io::Error,
    },
    /// Its first bytes are not those of a snapshot.
    #[error("{path} is not a snapshot: it starts with {found:02x?}")]
    NotASnapshot {
        /// The file.
        path: PathBuf,
        /// What stands where the magic should be.
        found: [u8; 8],
    },
    /// Written by a version that this one cannot read.
    #[error("{path} has snapshot format version {found}; this program reads version {expected}")]
    Version {
        /// The snapshot.
        path: PathBuf,
        /// Version in the file.
        found: u16,
        /// Version that is understood.
        expected: u16,
    },
    /// An intact snapshot of another log (row D11).
    #[error(
        "{path} belongs to partition {found}, expected {expected}{}",
        Clusters(found, expected)
    )]
    Foreign {
        /// The snapshot.
        path: PathBuf,
        /// Whose it is.
        found: LogIdentity,
        /// Whose it should be.
        expected: LogIdentity,
    },
    /// The name says another LSN than the header: the file was renamed by hand (row D11).
    #[error("{path} is named for {named} but holds the state at {found}")]
    Misnamed {
        /// The snapshot.
        path: PathBuf,
        /// LSN in the name.
        named: Lsn,
        /// LSN in the header.
        found: Lsn,
    },
    /// Bytes are not what was written (row D30). Another snapshot, or another copy, has to serve.
    #[error("{path} is damaged at offset {offset}: {damage}")]
    Damaged {
        /// The snapshot.
        path: PathBuf,
        /// Byte position of the damaged part.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// More than the format can hold: 2^32 pages or 4 GiB of directory.
    #[error("snapshot {path} is too large: {what} does not fit")]
    TooLarge {
        /// The temporary file.
        path: PathBuf,
        /// What is too much.
        what: &'static str,
    },
    /// An earlier step of this writer failed, with an error of its own.
    #[error("snapshot {path} was given up after an earlier error")]
    GivenUp {
        /// The temporary file.
        path: PathBuf,
    },
}

impl SnapshotError {
    /// The operating system's `source` while `doing` something to `path`.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }

    /// `damage` of `path` at `offset`.
    pub(crate) fn damaged(path: &Path, offset: u64, damage: Damage) -> Self {
        Self::Damaged { path: path.to_owned(), offset, damage }
    }

    /// Whether the file itself is bad, so that an older snapshot should be tried (row D30), as
    /// opposed to the machine.
    #[must_use]
    pub fn is_bad_file(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::NotASnapshot { .. }
                | Self::Version { .. }
                | Self::Foreign { .. }
                | Self::Misnamed { .. }
                | Self::Read { .. }
        )
    }
}

/// Which part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first sector.
    Header,
    /// The schema blob.
    Schema,
    /// The pages of the leaf whose first page has this number.
    Pages(u32),
    /// The directory block with this number.
    Directory(u32),
    /// The last sector.
    Footer,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => write!(f, "header"),
            Self::Schema => write!(f, "schema"),
            Self::Pages(first) => write!(f, "leaf at page {first}"),
            Self::Directory(block) => write!(f, "directory block {block}"),
            Self::Footer => write!(f, "footer"),
        }
    }
}

/// What is wrong with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The checksum of a part does not match.
    #[error("checksum of the {part} is {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Of which part.
        part: Part,
        /// Checksum that the file says.
        expected: u32,
        /// Checksum of the bytes found.
        found: u32,
    },
    /// A number is impossible or contradicts another part.
    #[error("{field} of the {part} is {found}, expected {expected}")]
    Field {
        /// Of which part.
        part: Part,
        /// Which number.
        field: &'static str,
        /// What it should be, or the bound it should respect.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// The content of a part breaks a rule that no single number shows.
    #[error("the {part} {rule}")]
    Content {
        /// Which part.
        part: Part,
        /// The broken rule, as a predicate: `has separators out of order`.
        rule: &'static str,
    },
    /// The file ends too early.
    #[error("the file has {found} bytes, at least {expected} expected")]
    Short {
        /// Least length.
        expected: u64,
        /// Length.
        found: u64,
    },
}

/// Shows bytes that may be unknown.
struct Needed(Option<u64>);

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "{bytes} bytes"),
            None => write!(f, "an unknown number of bytes"),
        }
    }
}

/// Shows two clusters if that is where two identities differ.
struct Clusters<'a>(&'a LogIdentity, &'a LogIdentity);

impl fmt::Display for Clusters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, expected) = (self.0.cluster, self.1.cluster);
        if found == expected {
            return Ok(());
        }
        write!(f, " (cluster {found:032x}, expected {expected:032x})")
    }
}
