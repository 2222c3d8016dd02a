//! Images at the edge: held on a master; on a replica compared, stored beside, and installed.
//!
//! Pieces that have come lie in `image/pieces` of the partition's folder until the image is whole, each
//! with its digest: so what was fetched is found again after a restart, and by another image (row R16).
//!
//! ```text
//!  piece: digest u64 · bytes u32 · crc32 of all that and of the bytes u32 · bytes      … one behind the other
//! ```
//!
//! Those of a plain image go into the snapshot that it becomes, at once: found again after a lost connection, not
//! after a restart.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use resprout_engine::tree::PAGE_BYTES;
use resprout_engine::{Error, Image, OwnChunks, PlainCopy, PlainImage, StoredCopy};

use super::StartError;
use super::kept::Kept;
use crate::{Event, ImageHead, Instance, PageWork};

/// Bytes of pieces in one message, but one: while they travel the next are read.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes before a piece.
const HEADER_BYTES: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Images {
    /// Pages of a plain image that are looked at together.
    compare_max: u64,
    held: BTreeMap<Instance, (u64, Held)>,
    last_id: u64,
    fetch: Option<Fetch>,
}

/// An image that is held for another copy.
#[derive(Debug)]
enum Held {
    Cut(Image),
    Plain(PlainImage),
}

/// An image that is being fetched.
#[derive(Debug)]
struct Fetch {
    head: ImageHead,
    gathered: Gathered,
}

/// What of it is here.
#[derive(Debug)]
enum Gathered {
    Cut { digests: Vec<u64>, own: OwnChunks, store: Store },
    Plain(Box<PlainCopy>),
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
    pub(super) fn new(compare_max: u32) -> Self {
        let (held, last_id, fetch) = (BTreeMap::new(), 0, None);
        Self { compare_max: compare_max.into(), held, last_id, fetch }
    }

    pub(super) fn carry_out(
        &mut self,
        stored: &StoredCopy,
        kept: &mut Kept,
        work: PageWork,
    ) -> Result<Option<Event>, StartError> {
        Ok(match work {
            PageWork::Hold { replica, plain } => Some(self.hold(stored, kept, replica, plain)?),
            PageWork::Release { replica } => {
                self.held.remove(&replica);
                None
            }
            PageWork::Digests { image, from, count } => self.digests(image, from, count),
            PageWork::Read { image, pages } => self.read(image, &pages),
            PageWork::Compare { head, from, digests: _ } if head.plain => {
                Some(self.compare_plain(stored, head, from)?)
            }
            PageWork::Compare { head, from, digests } => {
                Some(self.compare(stored, head, (from, digests))?)
            }
            PageWork::Store { image, pages } => Some(self.store(image, &pages)?),
            PageWork::Install(head) => Some(self.install(stored, kept, &head)?),
        })
    }

    fn hold(
        &mut self,
        stored: &StoredCopy,
        kept: &Kept,
        replica: Instance,
        plain: bool,
    ) -> Result<Event, Error> {
        let image = if plain { Held::plain(stored)? } else { None };
        let image = image.map_or_else(|| stored.image().map(Held::Cut), Ok)?;
        self.last_id += 1;
        // Numbers of an earlier run mean other pages.
        let id = kept.incarnation.0 << 32 | self.last_id;
        let head = image.head(id);
        let ImageHead { lsn, pages, bytes, plain, .. } = head;
        tracing::info!(%replica, id, %lsn, pages, bytes, plain, "an image is held");
        self.held.insert(replica, (id, image));
        Ok(Event::Image { replica, head })
    }

    fn image(&mut self, id: u64) -> Option<&mut Held> {
        self.held.values_mut().find(|(held, _)| *held == id).map(|(_, image)| image)
    }

    fn digests(&mut self, image: u64, from: u64, count: u32) -> Option<Event> {
        let Held::Cut(held) = self.image(image)? else { return None };
        let all = held.digests();
        let first = usize::try_from(from).ok()?.min(all.len());
        let digests = all[first..].iter().take(count as usize).copied().collect();
        Some(Event::Digests { image, from, digests })
    }

    fn read(&mut self, id: u64, wanted: &[u64]) -> Option<Event> {
        let pages = match self.image(id)? {
            Held::Cut(image) => image.pieces(wanted, BATCH_BYTES),
            Held::Plain(image) => image.pieces(wanted, BATCH_BYTES),
        };
        Some(Event::Pages { image: id, pages })
    }

    fn compare(
        &mut self,
        stored: &StoredCopy,
        head: ImageHead,
        (from, digests): (u64, Vec<u64>),
    ) -> Result<Event, StartError> {
        let image = head.id;
        let known = self.fetch.as_ref().is_some_and(|fetch| fetch.head == head);
        if !known || from == 0 {
            let own = stored.own_chunks()?;
            let store = Store::open(stored.partition().dir())?;
            self.fetch = Some(Fetch::cut(head, own, store));
        }
        let Some(Fetch { gathered: Gathered::Cut { digests: all, own, store }, .. }) =
            &mut self.fetch
        else {
            return Ok(Event::Spoiled { image });
        };
        if from != all.len() as u64 {
            return Ok(Event::Spoiled { image });
        }
        let missing = (from..)
            .zip(&digests)
            .filter(|(_, digest)| !own.contains(**digest) && !store.pieces.contains_key(digest));
        let pages = missing.map(|(number, _)| number).collect();
        all.extend(digests);
        Ok(Event::Differ { image, until: all.len() as u64, pages })
    }

    /// What a plain image lacks is what comes next.
    fn compare_plain(
        &mut self,
        stored: &StoredCopy,
        head: ImageHead,
        from: u64,
    ) -> Result<Event, StartError> {
        let (image, pages) = (head.id, head.pages);
        if self.fetch.as_ref().is_none_or(|fetch| fetch.head != head) {
            // What was begun before is removed, before its place is taken.
            self.fetch = None;
            let copy = stored.begin_plain((head.lsn, head.lineage.clone()), pages)?;
            self.fetch = Some(Fetch { head, gathered: Gathered::Plain(Box::new(copy)) });
        }
        let Some(Fetch { gathered: Gathered::Plain(copy), .. }) = &self.fetch else {
            return Ok(Event::Spoiled { image });
        };
        if from > copy.next() {
            return Ok(Event::Spoiled { image });
        }
        let until = pages.min(copy.next().saturating_add(self.compare_max));
        Ok(Event::Differ { image, until, pages: (copy.next()..until).collect() })
    }

    fn store(&mut self, image: u64, pages: &[(u64, Bytes)]) -> Result<Event, StartError> {
        let stored = Event::Stored { image };
        match self.fetch.as_mut().filter(|fetch| fetch.head.id == image) {
            Some(Fetch { gathered: Gathered::Cut { digests, store, .. }, .. }) => {
                let digest = |number: u64| digests.get(usize::try_from(number).ok()?).copied();
                let pieces =
                    pages.iter().filter_map(|(number, piece)| Some((digest(*number)?, piece)));
                store.put(pieces)?;
                Ok(stored)
            }
            Some(Fetch { gathered: Gathered::Plain(copy), .. }) => {
                for (number, piece) in pages {
                    if *number > copy.next() {
                        return Ok(Event::Spoiled { image });
                    }
                    if *number == copy.next() {
                        copy.push(piece)?;
                    }
                }
                Ok(stored)
            }
            None => Ok(Event::Spoiled { image }),
        }
    }

    fn install(
        &mut self,
        stored: &StoredCopy,
        kept: &mut Kept,
        head: &ImageHead,
    ) -> Result<Event, StartError> {
        let spoiled = Event::Spoiled { image: head.id };
        let Some(fetch) = self.fetch.take().filter(|fetch| fetch.head == *head) else {
            return Ok(spoiled);
        };
        let whole = match fetch.gathered {
            Gathered::Plain(copy) => stored.install_plain(*copy)?,
            Gathered::Cut { digests, store, .. } => {
                let whole = digests.len() as u64 == head.pages && {
                    let at = (head.lsn, head.lineage.clone());
                    stored.install(at, &digests, &mut |digest| Ok(store.get(digest)))?
                };
                // What was fetched has served, or is not what it should be.
                store.remove()?;
                whole
            }
        };
        if !whole {
            tracing::warn!(copy = ?stored, image = head.id, "pieces of an image cannot be read back or are not what they should be; it is fetched anew");
            return Ok(spoiled);
        }
        kept.another_run()?;
        Ok(Event::Installed { image: head.id, incarnation: kept.incarnation })
    }
}

impl Held {
    /// A plain image, if there is anything to be had.
    fn plain(stored: &StoredCopy) -> Result<Option<Self>, Error> {
        let image = stored.plain_image()?;
        Ok((image.pages() > 0).then_some(Self::Plain(image)))
    }

    fn head(&self, id: u64) -> ImageHead {
        match self {
            Self::Cut(image) => {
                let (lsn, lineage) = (image.lsn(), image.lineage().clone());
                let (pages, bytes) = (image.digests().len() as u64, image.bytes());
                ImageHead { id, lsn, lineage, pages, bytes, plain: false }
            }
            Self::Plain(image) => {
                let (lsn, lineage, pages) = (image.lsn(), image.lineage().clone(), image.pages());
                let bytes = pages * PAGE_BYTES as u64;
                ImageHead { id, lsn, lineage, pages, bytes, plain: true }
            }
        }
    }
}

impl Fetch {
    fn cut(head: ImageHead, own: OwnChunks, store: Store) -> Self {
        Self { head, gathered: Gathered::Cut { digests: Vec::new(), own, store } }
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
        // With its checksum, which is before it.
        let mut piece = vec![0; 4 + bytes as usize];
        self.file.read_exact_at(&mut piece, start - 4).ok()?;
        let piece = Bytes::from(piece);
        let (crc, piece) = (piece.first_chunk::<4>()?, piece.slice(4..));
        (u32::from_le_bytes(*crc) == sum(digest, &piece)).then_some(piece)
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
