//! Whose directory this is.
//!
//! One sector in a file named `identity`, written once when the directory is made and only read
//! after that. A directory that holds other things and no identity is not ours and is not
//! touched; a damaged identity is an error, never silently made anew (catalogue I04, I06, I12).
//!
//! ```text
//!  0  magic "RSPRIDNT"   8  version u32   12  reserved u32
//! 16  cluster u128      32  directory u64  40 … 4092 zero   4092  crc32 of 0..4092
//! ```

use std::io;
use std::path::{Path, PathBuf};

use resprout_wal::SECTOR;
use resprout_wal::disk::{Cache, Disk, File, Open};
use resprout_wal::world::Entropy;

use crate::error::{Error, at};

/// Version of everything in a data directory. A newer one is refused, with both numbers.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"RSPRIDNT";
const FILE: &str = "identity";
const CRC_AT: usize = SECTOR - 4;

/// Identity of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, random, chosen when its first directory was made.
    pub cluster: u128,
    /// This directory, random, for life.
    pub directory: u64,
}

impl Identity {
    /// Reads the identity of `dir`, or makes one if the directory is new and empty.
    ///
    /// # Errors
    /// [`Error::ForeignDirectory`] if the directory has other content and no identity,
    /// [`Error::OtherCluster`] if it belongs to another cluster than the one asked for,
    /// [`Error::FormatVersion`] for a newer one, [`Error::IdentityDamaged`] for a damaged one,
    /// [`Error::Disk`] where the disk fails.
    pub fn open_or_create(
        disk: &dyn Disk,
        dir: &Path,
        (entropy, cluster): (&dyn Entropy, Option<u128>),
    ) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let entries = disk.list(dir).map_err(at("list", dir))?;
        if entries.iter().any(|entry| entry.path == path) {
            let found = Self::read(disk, dir)?;
            return match cluster.filter(|wanted| *wanted != found.cluster) {
                Some(wanted) => {
                    Err(Error::OtherCluster { dir: dir.into(), wanted, found: found.cluster })
                }
                None => Ok(found),
            };
        }
        // A crash while the directory was made leaves at most these.
        let ours = |entry: &Path| {
            [dir.join("lock"), dir.join("identity.tmp"), dir.join("lost+found")]
                .iter()
                .any(|known| known == entry)
        };
        if let Some(other) = entries.iter().find(|entry| !ours(&entry.path)) {
            return Err(Error::ForeignDirectory { dir: dir.into(), found: other.path.clone() });
        }
        let drawn = || u128::from(entropy.next()) << 64 | u128::from(entropy.next());
        let cluster = cluster.unwrap_or_else(drawn);
        let identity = Self { cluster, directory: entropy.next() };
        replace_file(disk, &path, &identity.encode())?;
        Ok(identity)
    }

    /// Reads the identity of a directory that must have one.
    ///
    /// # Errors
    /// As [`Identity::open_or_create`]; [`Error::NotADataDirectory`] if there is none.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let file = disk.open(&path, Open::Read, Cache::Buffered).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                Error::NotADataDirectory { dir: dir.into() }
            } else {
                at("open", &path)(source)
            }
        })?;
        let mut sector = [0_u8; SECTOR];
        let len = read_patiently(file.as_ref(), &mut sector).map_err(at("read", &path))?;
        Self::decode(&sector[..len], &path)
    }

    fn encode(&self) -> [u8; SECTOR] {
        let mut sector = [0_u8; SECTOR];
        sector[..8].copy_from_slice(&MAGIC);
        sector[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        sector[16..32].copy_from_slice(&self.cluster.to_le_bytes());
        sector[32..40].copy_from_slice(&self.directory.to_le_bytes());
        let crc = crc32fast::hash(&sector[..CRC_AT]);
        sector[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let damaged = |what| Error::IdentityDamaged { path: path.into(), what };
        let sector: &[u8; SECTOR] = bytes.try_into().map_err(|_| damaged("wrong length"))?;
        if sector[..8] != MAGIC {
            return Err(damaged("not an identity file"));
        }
        let found = u32::from_le_bytes(field(sector, 8));
        if crc32fast::hash(&sector[..CRC_AT]) != u32::from_le_bytes(field(sector, CRC_AT)) {
            return Err(damaged("checksum differs"));
        }
        if found != FORMAT_VERSION {
            return Err(Error::FormatVersion { path: path.into(), found, known: FORMAT_VERSION });
        }
        Ok(Self {
            cluster: u128::from_le_bytes(field(sector, 16)),
            directory: u64::from_le_bytes(field(sector, 32)),
        })
    }
}

fn field<const N: usize>(sector: &[u8; SECTOR], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&sector[at..at + N]);
    bytes
}

/// Reads from the start of a file; an error is tried again a few times (catalogue D25).
///
/// # Errors
/// The last of them.
pub(crate) fn read_patiently(file: &dyn File, buf: &mut [u8]) -> io::Result<usize> {
    const TRIES: usize = 4;
    let mut last = file.read_at(buf, 0);
    for _ in 1..TRIES {
        if last.is_ok() {
            break;
        }
        last = file.read_at(buf, 0);
    }
    last
}

/// Puts `bytes` under a name so that a crash leaves the old content or the new, whole: written
/// aside, flushed, renamed, directory flushed (catalogue D17).
///
/// # Errors
/// [`Error::Disk`].
pub(crate) fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let aside = PathBuf::from(format!("{}.tmp", path.display()));
    match disk.remove(&aside) {
        Ok(()) => {}
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(at("remove", &aside)(source)),
    }
    let file = disk.open(&aside, Open::Create, Cache::Buffered).map_err(at("create", &aside))?;
    file.write_at(bytes, 0).map_err(at("write", &aside))?;
    file.flush().map_err(at("flush", &aside))?;
    disk.rename(&aside, path).map_err(at("rename", &aside))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(dir).map_err(at("flush directory", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Identity = Identity { cluster: 77, directory: 99 };

    /// An identity comes back as written, and any flipped bit is noticed (I12).
    #[test]
    fn i12_every_flipped_bit_of_the_identity_is_an_error() {
        let path = Path::new("/d/identity");
        let good = ID.encode();
        assert_eq!(Identity::decode(&good, path).expect("it was just encoded"), ID);
        for bit in 0..SECTOR * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::decode(&bad, path).is_err(), "bit {bit} went unnoticed");
        }
    }

    /// A directory of a newer binary is refused with both versions (I06).
    #[test]
    fn i06_newer_version_is_refused_with_both_versions() {
        let mut newer = ID.encode();
        newer[8] = 2;
        let crc = crc32fast::hash(&newer[..CRC_AT]);
        newer[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        let error = Identity::decode(&newer, Path::new("/d/identity")).expect_err("version 2");
        let text = error.to_string();
        assert!(text.contains('2') && text.contains('1'), "{text}");
    }
}
