//! Images at the edge: held on a master; on a replica compared, stored beside, and installed.
//!
//! Pieces that have come lie in `image/pieces` of the partition's folder until the image is whole, each
//! with its digest: so what was fetched is found again after a restart, and by another image (row R16).
//!
//! ```text
//!  piece: digest u64 · bytes u32 · crc32 of all that and of the bytes u32 · bytes      … one behind the other
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use resprout_engine::{Error, Image, OwnChunks, StoredCopy};

use super::StartError;
use super::kept::Kept;
use crate::{Event, ImageHead, Instance, PageWork};

/// Bytes of pieces in one message, but one: the rest is asked for again.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes before a piece.
const HEADER_BYTES: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Images {
    held: BTreeMap<Instance, (u64, Image)>,
    last_id: u64,
    fetch: Option<Fetch>,
}

/// An image that is being fetched.
#[derive(Debug)]
struct Fetch {
    image: u64,
    digests: Vec<u64>,
    own: OwnChunks,
    store: Store,
}

/// Pieces beside what is served.
#[derive(Debug)]
struct Store {
    path: PathBuf,
    file: File,
    end: u64,
    pieces: BTreeMap<u64, (u64, u32)>,
}

impl Images {
    pub(super) fn carry_out(
        &mut self,
        stored: &StoredCopy,
        kept: &mut Kept,
        work: PageWork,
    ) -> Result<Option<Event>, StartError> {
        Ok(match work {
            PageWork::Hold { replica } => Some(self.hold(stored, replica)?),
            PageWork::Release { replica } => {
                self.held.remove(&replica);
                None
            }
            PageWork::Digests { image, from, count } => self.digests(image, from, count),
            PageWork::Read { image, pages } => self.read(image, &pages),
            PageWork::Compare { image, from, digests } => {
                Some(self.compare(stored, image, (from, digests))?)
            }
            PageWork::Store { image, pages } => self.store(image, &pages)?,
            PageWork::Install(head) => Some(self.install(stored, kept, &head)?),
        })
    }

    fn hold(&mut self, stored: &StoredCopy, replica: Instance) -> Result<Event, Error> {
        let image = stored.image()?;
        self.last_id += 1;
        let id = self.last_id;
        let (lsn, lineage) = (image.lsn(), image.lineage().clone());
        let (pages, bytes) = (image.digests().len() as u64, image.bytes());
        let head = ImageHead { id, lsn, lineage, pages, bytes };
        tracing::info!(%replica, id, %lsn, pages, bytes, "an image is held");
        self.held.insert(replica, (id, image));
        Ok(Event::Image { replica, head })
    }

    fn image(&self, id: u64) -> Option<&Image> {
        self.held.values().find(|(held, _)| *held == id).map(|(_, image)| image)
    }

    fn digests(&self, image: u64, from: u64, count: u32) -> Option<Event> {
        let all = self.image(image)?.digests();
        let first = usize::try_from(from).ok()?.min(all.len());
        let digests = all[first..].iter().take(count as usize).copied().collect();
        Some(Event::Digests { image, from, digests })
    }

    fn read(&self, id: u64, wanted: &[u64]) -> Option<Event> {
        let pages = self.image(id)?.pieces(wanted, BATCH_BYTES);
        Some(Event::Pages { image: id, pages })
    }

    fn compare(
        &mut self,
        stored: &StoredCopy,
        image: u64,
        (from, digests): (u64, Vec<u64>),
    ) -> Result<Event, StartError> {
        let known = self.fetch.as_ref().is_some_and(|fetch| fetch.image == image);
        if !known || from == 0 {
            let own = stored.own_chunks()?;
            let store = Store::open(stored.partition().dir())?;
            self.fetch = Some(Fetch { image, digests: Vec::new(), own, store });
        }
        let Some(fetch) = &mut self.fetch else { return Ok(Event::Spoiled { image }) };
        if from != fetch.digests.len() as u64 {
            return Ok(Event::Spoiled { image });
        }
        let missing = (from..).zip(&digests).filter(|(_, digest)| {
            !fetch.own.contains(**digest) && !fetch.store.pieces.contains_key(digest)
        });
        let pages = missing.map(|(number, _)| number).collect();
        fetch.digests.extend(digests);
        Ok(Event::Differ { image, until: fetch.digests.len() as u64, pages })
    }

    fn store(&mut self, image: u64, pages: &[(u64, Bytes)]) -> Result<Option<Event>, StartError> {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.image == image) else {
            return Ok(Some(Event::Spoiled { image }));
        };
        let Fetch { digests, store, .. } = fetch;
        let digest = |number: u64| digests.get(usize::try_from(number).ok()?).copied();
        let pieces = pages.iter().filter_map(|(number, piece)| Some((digest(*number)?, piece)));
        store.put(pieces)?;
        Ok(Some(Event::Stored { image }))
    }

    fn install(
        &mut self,
        stored: &StoredCopy,
        kept: &mut Kept,
        head: &ImageHead,
    ) -> Result<Event, StartError> {
        let spoiled = Event::Spoiled { image: head.id };
        let Some(fetch) = self.fetch.take() else { return Ok(spoiled) };
        if fetch.image != head.id || fetch.digests.len() as u64 != head.pages {
            return Ok(spoiled);
        }
        let at = (head.lsn, head.lineage.clone());
        let whole =
            stored.install(at, &fetch.digests, &mut |digest| Ok(fetch.store.get(digest)))?;
        // What was fetched has served, or is not what it should be.
        fetch.store.remove()?;
        if !whole {
            tracing::warn!(copy = ?stored, image = head.id, "pieces of an image cannot be read back or are not what they should be; it is fetched anew");
            return Ok(spoiled);
        }
        kept.another_run()?;
        Ok(Event::Installed { image: head.id, incarnation: kept.incarnation })
    }
}

impl Store {
    fn open(dir: &Path) -> Result<Self, StartError> {
        let folder = dir.join("image");
        let path = folder.join("pieces");
        let failed = |error| StartError::Kept { path: path.clone(), error };
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(failed)?;
        let mut store = Self { path: path.clone(), file, end: 0, pieces: BTreeMap::new() };
        store.find().map_err(failed)?;
        Ok(store)
    }

    /// Finds what an earlier fetch has left, up to the first thing that is not whole.
    fn find(&mut self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let mut header = [0; HEADER_BYTES];
        while self.end + HEADER_BYTES as u64 <= len {
            self.file.read_exact_at(&mut header, self.end)?;
            let digest = u64::from_le_bytes(std::array::from_fn(|n| header[n]));
            let bytes = u32::from_le_bytes(std::array::from_fn(|n| header[8 + n]));
            let start = self.end + HEADER_BYTES as u64;
            if start + u64::from(bytes) > len || self.read(digest, start, bytes).is_none() {
                break;
            }
            self.pieces.insert(digest, (start, bytes));
            self.end = start + u64::from(bytes);
        }
        self.file.set_len(self.end)
    }

    /// A piece, if it is what was stored.
    fn read(&self, digest: u64, start: u64, bytes: u32) -> Option<Bytes> {
        let mut piece = vec![0; bytes as usize];
        self.file.read_exact_at(&mut piece, start).ok()?;
        let mut crc = [0; 4];
        self.file.read_exact_at(&mut crc, start - 4).ok()?;
        (u32::from_le_bytes(crc) == sum(digest, &piece)).then(|| Bytes::from(piece))
    }

    fn get(&self, digest: u64) -> Option<Bytes> {
        let (start, bytes) = self.pieces.get(&digest)?;
        self.read(digest, *start, *bytes)
    }

    /// Stores pieces with their digests, with one write.
    fn put<'a>(
        &mut self,
        pieces: impl Iterator<Item = (u64, &'a Bytes)>,
    ) -> Result<(), StartError> {
        let (mut records, mut places) = (Vec::with_capacity(BATCH_BYTES), Vec::new());
        for (digest, piece) in pieces {
            let bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            records.extend_from_slice(&digest.to_le_bytes());
            records.extend_from_slice(&bytes.to_le_bytes());
            records.extend_from_slice(&sum(digest, piece).to_le_bytes());
            places.push((digest, (self.end + records.len() as u64, bytes)));
            records.extend_from_slice(piece);
        }
        let written = self.file.write_all_at(&records, self.end);
        written.map_err(|error| StartError::Kept { path: self.path.clone(), error })?;
        self.pieces.extend(places);
        self.end += records.len() as u64;
        Ok(())
    }

    fn remove(self) -> Result<(), StartError> {
        drop(self.file);
        fs::remove_file(&self.path)
            .map_err(|error| StartError::Kept { path: self.path.clone(), error })
    }
}

fn sum(digest: u64, piece: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&digest.to_le_bytes());
    hasher.update(piece);
    hasher.finalize()
}
