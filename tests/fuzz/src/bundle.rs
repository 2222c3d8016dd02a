//! Files with holes as one run of bytes: how a whole arena or data directory becomes the input of
//! a fuzz target. Zeros are left out, so that mutation meets bytes that mean something and a seed
//! stays small.
//!
//! ```text
//! file:  path length u8 │ path │ length u32 │ sectors u16 │ sectors × (number u32, 4096 bytes)
//! ```
//!
//! Any bytes are a bundle: what is cut off counts as missing, lengths are bounded, and paths stay
//! inside the directory.

use std::path::{Path, PathBuf};

use resprout_wal::SECTOR;
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::disk::{Cache, Disk, Open};

/// Most bytes of one file; longer ones are cut. Bounds the memory of a run, not the programs'.
const FILE_BYTES_MAX: usize = 2 << 20;
/// Most files of one bundle.
const FILES_MAX: usize = 16;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundledFile {
    /// Its path below the directory.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Some files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// In the order of the input.
    pub files: Vec<BundledFile>,
}

impl Bundle {
    /// All files of a disk below `dir` but empty ones, by path.
    #[must_use]
    pub fn of(disk: &SimDisk, dir: &Path) -> Self {
        let mut files: Vec<_> = disk.files();
        files.sort();
        let file = |path: PathBuf| {
            let bytes = disk.contents(&path).filter(|bytes| !bytes.is_empty())?;
            let path = path.strip_prefix(dir).ok()?.to_str()?.to_owned();
            Some(BundledFile { path, bytes })
        };
        Self { files: files.into_iter().filter_map(file).collect() }
    }

    /// One file, whose name is of no importance.
    #[must_use]
    pub fn one(bytes: Vec<u8>) -> Self {
        Self { files: vec![BundledFile { path: "f".into(), bytes }] }
    }

    /// As the input of a target.
    ///
    /// # Panics
    /// If a path has more than 255 bytes or a file more than 2 MiB.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for file in &self.files {
            assert!(file.bytes.len() <= FILE_BYTES_MAX, "a seed is small");
            out.push(u8::try_from(file.path.len()).expect("a path of a seed is short"));
            out.extend_from_slice(file.path.as_bytes());
            out.extend_from_slice(&(file.bytes.len() as u32).to_le_bytes());
            let sectors = || file.bytes.chunks(SECTOR).enumerate();
            let full = || sectors().filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
            out.extend_from_slice(&(full().count() as u16).to_le_bytes());
            for (number, sector) in full() {
                out.extend_from_slice(&(number as u32).to_le_bytes());
                out.extend_from_slice(sector);
                out.resize(out.len() + SECTOR - sector.len(), 0);
            }
        }
        out
    }

    /// What an input means. Never fails.
    #[must_use]
    pub fn decode(input: &[u8]) -> Self {
        let mut rest = input;
        let mut files = Vec::new();
        while let Some((&path_len, after)) = rest.split_first() {
            if files.len() == FILES_MAX {
                break;
            }
            rest = after;
            let path = clean(take(&mut rest, usize::from(path_len)));
            let len = number(take(&mut rest, 4)).min(FILE_BYTES_MAX);
            let sectors = number(take(&mut rest, 2));
            let mut bytes = vec![0; len];
            for _ in 0..sectors {
                if rest.is_empty() {
                    break;
                }
                let at = number(take(&mut rest, 4)).saturating_mul(SECTOR);
                let sector = take(&mut rest, SECTOR);
                if let Some(place) = bytes.get_mut(at..) {
                    let fits = sector.len().min(place.len());
                    place[..fits].copy_from_slice(&sector[..fits]);
                }
            }
            files.push(BundledFile { path, bytes });
        }
        Self { files }
    }

    /// A simulated disk with the files below `dir`. Of two files with one path the first counts.
    #[must_use]
    pub fn disk(&self, dir: &Path) -> SimDisk {
        let disk = SimDisk::new(1);
        for file in &self.files {
            let path = dir.join(&file.path);
            let parent = path.parent().unwrap_or(dir);
            let made = disk.create_dir(parent).and_then(|()| {
                let made = disk.open(&path, Open::Create, Cache::Buffered)?;
                made.write_at(&file.bytes, 0)?;
                made.flush()
            });
            // A name that is taken, also as a directory, is as good as a file that is missing.
            let _taken = made;
        }
        disk
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(len.min(rest.len()));
    *rest = after;
    taken
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// A relative path of plain characters, without steps upwards.
fn clean(path: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"./-_%".contains(byte);
    let text: String = path.iter().filter(|byte| plain(byte)).map(|b| char::from(*b)).collect();
    let parts = text.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..");
    let path = parts.collect::<Vec<_>>().join("/");
    if path.is_empty() { "f".into() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: what a seed was made of comes back, holes and odd lengths included, and lies on
    /// the disk; a cut input is a bundle as well.
    #[test]
    fn bundles_come_back() {
        let mut bytes = vec![0; 3 * SECTOR + 5];
        bytes[SECTOR + 7] = 9;
        bytes[3 * SECTOR + 4] = 8;
        let other = BundledFile { path: "a/b".into(), bytes: vec![1; 10] };
        let bundle = Bundle { files: vec![BundledFile { path: "f".into(), bytes }, other] };
        let input = bundle.encode();
        assert_eq!(Bundle::decode(&input), bundle);
        let disk = bundle.disk(Path::new("/d"));
        assert_eq!(disk.contents(Path::new("/d/a/b")), Some(vec![1; 10]));
        let mut found = Bundle::of(&disk, Path::new("/d"));
        found.files.reverse();
        assert_eq!(found, bundle);
        for len in 0..input.len().min(100) {
            let _any_bytes_are_a_bundle = Bundle::decode(&input[..len]);
        }
    }

    /// Guards: no path leaves the directory.
    #[test]
    fn paths_stay_inside() {
        assert_eq!(clean(b"../../x//./y\0z"), "x/yz");
        assert_eq!(clean(b""), "f");
    }
}
