//! Which databases a data directory holds.
//!
//! One file per database in `databases/`. It appears, whole, as the last step of making a
//! database, and its disappearance is the first step of dropping one: so a crash in between
//! leaves a database or leaves none (catalogue D17, O09).
//!
//! ```text
//! 0 magic "RSPRDBMF"  8 version u32  12 length u32  16 crc32 u32  20 … 31 zero   32 rkyv archive
//! ```

use std::path::{Path, PathBuf};

use resprout_wal::disk::{Cache, Disk, Open};
use resprout_wal::{LogIdentity, SECTOR};
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::commit_rule::Durability;
use crate::error::{Error, at};
use crate::identity::{FORMAT_VERSION, read_patiently, replace_file};

const MAGIC: [u8; 8] = *b"RSPRDBMF";
const HEADER: usize = 32;
/// A manifest is some bytes per partition; more than this is not one of ours.
const MAX_LEN: u64 = 4 << 20;

/// What is stored of a database.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name, as users write it.
    pub name: String,
    /// Its number in the cluster.
    pub database: u32,
    /// Whether commits are acknowledged only when on disk.
    pub sync_durability: bool,
    /// The instance of each partition's copy, by ordinal; 0 where there is none here.
    pub instances: Vec<u64>,
}

/// Stands for a partition of which a node has no copy.
pub(crate) const NO_INSTANCE: u64 = 0;

impl Manifest {
    /// Durability of the database.
    #[must_use]
    pub fn durability(&self) -> Durability {
        if self.sync_durability { Durability::Sync } else { Durability::Async }
    }

    /// Identity of the log of partition `ordinal`; none if it is not here.
    #[must_use]
    pub fn log_identity(&self, cluster: u128, ordinal: u32) -> Option<LogIdentity> {
        let instance = *self.instances.get(ordinal as usize)?;
        let is_here = instance != NO_INSTANCE;
        is_here.then_some(LogIdentity {
            cluster,
            database: self.database,
            partition: ordinal,
            instance,
        })
    }

    /// Stores the manifest durably.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn store(&self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        let folder = dir.join("databases");
        disk.create_dir(&folder).map_err(at("create", &folder))?;
        disk.sync_dir(dir).map_err(at("flush directory", dir))?;
        replace_file(disk, &path_of(dir, &self.name), &self.encode())
    }

    /// Removes a database's manifest durably.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn remove(disk: &dyn Disk, dir: &Path, name: &str) -> Result<(), Error> {
        let path = path_of(dir, name);
        disk.remove(&path).map_err(at("remove", &path))?;
        let folder = dir.join("databases");
        disk.sync_dir(&folder).map_err(at("flush directory", &folder))
    }

    /// Whether the directory names such a file now, durably or not.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub(crate) fn is_there(disk: &dyn Disk, dir: &Path, name: &str) -> Result<bool, Error> {
        let (folder, path) = (dir.join("databases"), path_of(dir, name));
        match disk.list(&folder) {
            Ok(entries) => Ok(entries.iter().any(|entry| entry.path == path)),
            Err(none) if none.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(at("list", &folder)(source)),
        }
    }

    /// Reads all manifests of a data directory, by name.
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::ManifestDamaged`], [`Error::FormatVersion`].
    pub fn load_all(disk: &dyn Disk, dir: &Path) -> Result<Vec<Self>, Error> {
        let folder = dir.join("databases");
        let entries = match disk.list(&folder) {
            Ok(entries) => entries,
            Err(none) if none.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(at("list", &folder)(source)),
        };
        let mut manifests = Vec::new();
        for entry in entries.iter().filter(|e| e.path.extension().is_some_and(|x| x == "db")) {
            let damaged =
                |what| Error::ManifestDamaged { path: entry.path.clone(), offset: 0, what };
            if entry.len > MAX_LEN {
                return Err(damaged("implausibly long"));
            }
            let file = disk
                .open(&entry.path, Open::Read, Cache::Buffered)
                .map_err(at("open", &entry.path))?;
            let mut bytes = vec![0; usize::try_from(entry.len).unwrap_or(0)];
            let len = read_patiently(file.as_ref(), &mut bytes).map_err(at("read", &entry.path))?;
            bytes.truncate(len);
            let manifest = Self::decode(&bytes, &entry.path)?;
            if path_of(dir, &manifest.name) != entry.path {
                return Err(damaged("names another database"));
            }
            manifests.push(manifest);
        }
        manifests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(manifests)
    }

    fn encode(&self) -> Vec<u8> {
        let body = rkyv::to_bytes::<rkyv::rancor::Error>(self)
            .expect("strings and numbers of a manifest always archive");
        let mut bytes = vec![0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let len = u32::try_from(body.len()).expect("a manifest is far below 4 GiB");
        bytes[12..16].copy_from_slice(&len.to_le_bytes());
        bytes[16..20].copy_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let damaged = |offset, what| Error::ManifestDamaged { path: path.into(), offset, what };
        let Some((header, body)) = bytes.split_at_checked(HEADER) else {
            return Err(damaged(bytes.len(), "shorter than its header"));
        };
        if header[..8] != MAGIC {
            return Err(damaged(0, "not a database manifest"));
        }
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if word(8) != FORMAT_VERSION {
            let path = path.into();
            return Err(Error::FormatVersion { path, found: word(8), known: FORMAT_VERSION });
        }
        if word(12) as usize != body.len() || header[20..].iter().any(|byte| *byte != 0) {
            return Err(damaged(12, "length differs"));
        }
        if crc32fast::hash(body) != word(16) {
            return Err(damaged(16, "checksum differs"));
        }
        let mut aligned = AlignedVec::<16>::with_capacity(body.len());
        aligned.extend_from_slice(body);
        rkyv::from_bytes::<Self, rkyv::rancor::Error>(&aligned)
            .map_err(|_| damaged(HEADER, "not a valid archive"))
    }
}

/// File of a database's manifest. Any name is possible: what is not a letter, a digit, `_` or `-`
/// is written as `%XX` (catalogue S22).
fn path_of(dir: &Path, name: &str) -> PathBuf {
    dir.join("databases").join(format!("{}.db", escaped(name)))
}

/// Folder of one partition's snapshots.
#[must_use]
pub fn partition_dir(dir: &Path, name: &str, ordinal: u32) -> PathBuf {
    dir.join("partitions").join(escaped(name)).join(ordinal.to_string())
}

fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Longest name of a database, in bytes: three bytes per escaped one must fit a file name.
pub const MAX_DATABASE_NAME: usize = 64;

/// Longest name of a database of copies, in bytes: that of their database, with numbers.
pub const MAX_COPIES_NAME: usize = MAX_DATABASE_NAME + 32;

/// Longest name of a file, in bytes, on every file system that is used.
const FILE_NAME_MAX: usize = 255;

/// Whether a database of that name can be written down.
pub(crate) fn fits_file_name(name: &str) -> bool {
    escaped(name).len() + ".db.tmp".len() <= FILE_NAME_MAX
}

const _: () = assert!(MAX_DATABASE_NAME * 3 + 32 + ".db.tmp".len() <= FILE_NAME_MAX);
const _: () = assert!(HEADER < SECTOR);

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            name: "a/../b".into(),
            database: 7,
            sync_durability: true,
            instances: vec![1, 2],
        }
    }

    /// Every flipped bit of a manifest is an error, never another database.
    #[test]
    fn every_flipped_bit_is_noticed() {
        let path = Path::new("/d/databases/x.db");
        let good = manifest().encode();
        assert_eq!(Manifest::decode(&good, path).expect("just encoded"), manifest());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&bad, path).is_err(), "bit {bit} went unnoticed");
        }
        for len in 0..good.len() {
            assert!(Manifest::decode(&good[..len], path).is_err(), "length {len}");
        }
    }

    /// S22: a name with separators or dots stays inside the data directory, and two names never
    /// share a file.
    #[test]
    fn s22_names_cannot_leave_the_directory_or_collide() {
        let path = path_of(Path::new("/d"), "a/../b");
        assert_eq!(path, Path::new("/d/databases/a%2F%2E%2E%2Fb.db"));
        assert_ne!(escaped("a%2F"), escaped("a/"));
        assert_eq!(partition_dir(Path::new("/d"), "x_3", 1), Path::new("/d/partitions/x_3/1"));
    }
}
