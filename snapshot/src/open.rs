//! A snapshot that was opened: everything but its pages has been read and checked.
//!
//! Nothing is believed before it is checked: first the header, then the footer and that both
//! belong together, then that their lengths add up to the length of the file exactly, and only
//! then is memory taken for the directory (row S21). The pages are checked as they are loaded.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use resprout_wal::disk::{AlignedBuf, Cache, Disk, FileRef, Open};
use resprout_wal::{LogIdentity, Lsn};
use rkyv::util::AlignedVec;

use crate::PAGE;
use crate::digest::Digest;
use crate::directory::{ChunkEntry, Directory, LeafEntry};
use crate::error::{Damage, Part, SnapshotError};
use crate::field::padded;
use crate::folder;
use crate::footer::Footer;
use crate::header::{Header, HeaderSector};

/// How often a read is tried before its error counts (row D25).
pub(crate) const READ_ATTEMPTS: u32 = 3;

/// Most bytes of one blocking read.
const METADATA_READ: usize = 8 << 20;

/// A snapshot whose header, schema, directory and footer are whole. Cheap to clone; any thread may
/// use it.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: FileRef,
    header: HeaderSector,
    schema: AlignedVec<16>,
    directory: Directory,
    footer: Footer,
    bytes: u64,
}

/// Where the bytes are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From wherever they come sooner: the page cache if it holds most of the file.
    Fastest,
    /// From the device, so that the device is proven (rule 18).
    Device,
}

impl Snapshot {
    /// Opens the snapshot at `path` and checks all but its pages.
    ///
    /// # Errors
    /// [`SnapshotError::is_bad_file`] tells whether another snapshot should be tried. With
    /// `expect`, a snapshot of another log is [`SnapshotError::Foreign`] (row D11).
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        expect: Option<LogIdentity>,
    ) -> Result<Self, SnapshotError> {
        Self::open_from(disk, path, expect, Source::Fastest)
    }

    pub(crate) fn open_from(
        disk: &dyn Disk,
        path: &Path,
        expect: Option<LogIdentity>,
        source: Source,
    ) -> Result<Self, SnapshotError> {
        let file = open_file(disk, path, source).map_err(|e| SnapshotError::io("open", path, e))?;
        let bytes = file.len().map_err(|e| SnapshotError::io("measure", path, e))?;
        let header = read_header(&file, bytes)?;
        check_identity(path, &header.header, expect)?;
        let footer = read_footer(&file, bytes)?;
        check_layout(bytes, &header, &footer)
            .map_err(|damage| SnapshotError::damaged(path, bytes - PAGE as u64, damage))?;
        let schema = read_schema(&file, &header)?;
        let place = footer.directory_offset;
        let directory = read(&file, place, footer.directory_len)?;
        let directory = Directory::decode(path, place, directory, &footer)?;
        let path = path.to_owned();
        let inner = Inner { path, file, header, schema, directory, footer, bytes };
        Ok(Self(Arc::new(inner)))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The open file, for a queue. Around the page cache unless that holds most of the file.
    #[must_use]
    pub fn file(&self) -> &FileRef {
        &self.0.file
    }

    /// Of whose log and of which moment it is.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.0.header.header
    }

    /// The position up to which it holds everything; replay starts here.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.header().lsn
    }

    /// The blob that its writer gave, aligned to 16 bytes.
    #[must_use]
    pub fn schema(&self) -> &[u8] {
        &self.0.schema
    }

    /// Number of pages of all leaves.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.0.directory.pages()
    }

    /// Number of rows of all leaves.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.0.footer.rows
    }

    /// Length of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Bytes of the page directory.
    #[must_use]
    pub fn directory_bytes(&self) -> u64 {
        self.0.footer.directory_len
    }

    /// Digest of all rows.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.footer.digest
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.0.footer
    }

    /// Where page `first_page` lies in the file.
    #[must_use]
    pub fn offset_of(&self, first_page: u32) -> u64 {
        self.0.footer.pages_offset + u64::from(first_page) * PAGE as u64
    }

    /// Number of leaves.
    #[must_use]
    pub fn leaf_count(&self) -> usize {
        self.0.directory.len()
    }

    /// The leaf with this number, in key order.
    ///
    /// # Panics
    /// If there are fewer leaves.
    #[must_use]
    pub fn leaf(&self, index: usize) -> LeafEntry<'_> {
        self.0.directory.leaf(index)
    }

    /// All leaves in key order.
    pub fn leaves(&self) -> impl ExactSizeIterator<Item = LeafEntry<'_>> {
        (0..self.leaf_count()).map(|index| self.leaf(index))
    }

    /// Groups of leaves with their digests, in key order.
    #[must_use]
    pub fn chunks(&self) -> &[ChunkEntry] {
        self.0.directory.chunks()
    }

    /// Checks the bytes of whole leaves, from page `first_page` on, against the directory. Any
    /// thread may, while others check other pages.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] with the first leaf whose checksum does not match.
    ///
    /// # Panics
    /// If `bytes` do not begin and end with a leaf.
    pub fn verify(&self, first_page: u32, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut index = self.0.directory.index_of(first_page).expect("pages start with a leaf");
        let mut rest = bytes;
        while !rest.is_empty() {
            let leaf = self.leaf(index);
            let run = leaf.run as usize * PAGE;
            assert!(run <= rest.len(), "pages end within the leaf at page {}", leaf.first_page);
            let (pages, later) = rest.split_at(run);
            let found = crc32fast::hash(pages);
            if found != leaf.crc {
                let (part, expected) = (Part::Pages(leaf.first_page), leaf.crc);
                let damage = Damage::Checksum { part, expected, found };
                let offset = self.offset_of(leaf.first_page);
                return Err(SnapshotError::damaged(self.path(), offset, damage));
            }
            index += 1;
            rest = later;
        }
        Ok(())
    }
}

/// Opens around the page cache where the file system can, and if the cache does not hold most of
/// the file anyway.
fn open_file(disk: &dyn Disk, path: &Path, source: Source) -> io::Result<FileRef> {
    let direct = match disk.open(path, Open::Read, Cache::Direct) {
        // Some file systems in memory know no direct transfers.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => None,
        opened => Some(opened?),
    };
    if let Some(file) = direct {
        let len = file.len()?;
        let cached = file.cached_bytes(0, len).unwrap_or(0);
        if source == Source::Device || cached <= len / 2 {
            return Ok(file);
        }
    }
    disk.open(path, Open::Read, Cache::Buffered)
}

fn read_header(file: &FileRef, bytes: u64) -> Result<HeaderSector, SnapshotError> {
    let path = file.path();
    let least = 2 * PAGE as u64;
    if bytes < least {
        let damage = Damage::Short { expected: least, found: bytes };
        return Err(SnapshotError::damaged(path, 0, damage));
    }
    HeaderSector::decode(path, &read_sector(file, 0)?)
}

fn read_footer(file: &FileRef, bytes: u64) -> Result<Footer, SnapshotError> {
    let path = file.path();
    if !bytes.is_multiple_of(PAGE as u64) {
        let (part, field) = (Part::Footer, "end");
        let expected = bytes - bytes % PAGE as u64;
        let damage = Damage::Field { part, field, expected, found: bytes };
        return Err(SnapshotError::damaged(path, expected, damage));
    }
    let offset = bytes - PAGE as u64;
    Footer::decode(&read_sector(file, offset)?)
        .map_err(|damage| SnapshotError::damaged(path, offset, damage))
}

fn check_identity(
    path: &Path,
    header: &Header,
    expect: Option<LogIdentity>,
) -> Result<(), SnapshotError> {
    let found = header.identity;
    if let Some(expected) = expect.filter(|expected| *expected != found) {
        return Err(SnapshotError::Foreign { path: path.to_owned(), found, expected });
    }
    match folder::named_lsn(path) {
        Some(named) if named != header.lsn => {
            Err(SnapshotError::Misnamed { path: path.to_owned(), named, found: header.lsn })
        }
        _ => Ok(()),
    }
}

/// Header and footer speak of the same file, and its parts fill it without a gap.
fn check_layout(bytes: u64, header: &HeaderSector, footer: &Footer) -> Result<(), Damage> {
    let part = Part::Footer;
    let pages = footer.pages.checked_mul(PAGE as u64);
    let pages_end = pages.and_then(|pages| footer.pages_offset.checked_add(pages));
    let directory_end = footer.directory_offset.checked_add(footer.directory_len);
    let facts = [
        ("header checksum", u64::from(header.crc), u64::from(footer.header_crc)),
        ("instance", header.header.identity.instance, footer.instance),
        ("LSN", header.header.lsn.0, footer.lsn),
        ("pages offset", header.pages_offset(), footer.pages_offset),
        ("directory offset", pages_end.unwrap_or(u64::MAX), footer.directory_offset),
        ("directory end", bytes - PAGE as u64, directory_end.unwrap_or(u64::MAX)),
        ("directory remainder", 0, footer.directory_len % PAGE as u64),
    ];
    if let Some((field, expected, found)) = facts.into_iter().find(|(_, a, b)| a != b) {
        return Err(Damage::Field { part, field, expected, found });
    }
    let most = u64::from(u32::MAX);
    for (field, found) in [("pages", footer.pages), ("directory length", footer.directory_len)] {
        if found > most {
            return Err(Damage::Field { part, field, expected: most, found });
        }
    }
    Ok(())
}

fn read_schema(file: &FileRef, header: &HeaderSector) -> Result<AlignedVec<16>, SnapshotError> {
    let offset = PAGE as u64;
    let len = padded(u64::from(header.schema_len)).expect("a u32 rounded up fits a u64");
    // The layout was checked: the file has that many bytes.
    let bytes = read(file, offset, len)?;
    let (expected, found) = (header.schema_crc, crc32fast::hash(&bytes));
    if expected != found {
        let damage = Damage::Checksum { part: Part::Schema, expected, found };
        return Err(SnapshotError::damaged(file.path(), offset, damage));
    }
    // Without capacity there would be no memory that could be aligned.
    let mut schema = AlignedVec::with_capacity((header.schema_len as usize).max(1));
    schema.extend_from_slice(&bytes[..header.schema_len as usize]);
    Ok(schema)
}

fn read_sector(file: &FileRef, offset: u64) -> Result<[u8; PAGE], SnapshotError> {
    let bytes = read(file, offset, PAGE as u64)?;
    Ok(bytes[..].try_into().expect("`read` gives what was asked for"))
}

/// `len` bytes from `offset`, which the file was seen to have.
fn read(file: &FileRef, offset: u64, len: u64) -> Result<AlignedBuf, SnapshotError> {
    let path = file.path();
    let len = usize::try_from(len).expect("a length of at most 4 GiB was checked by the caller");
    let mut buf = AlignedBuf::new(len).map_err(|e| SnapshotError::io("buffer", path, e))?;
    let mut done = 0;
    while done < len {
        let end = len.min(done + METADATA_READ);
        let at = offset + done as u64;
        let taken = read_retrying(file, &mut buf[done..end], at)?;
        if taken == 0 {
            let damage = Damage::Short { expected: offset + len as u64, found: at };
            return Err(SnapshotError::damaged(path, at, damage));
        }
        done += taken;
    }
    Ok(buf)
}

fn read_retrying(file: &FileRef, buf: &mut [u8], offset: u64) -> Result<usize, SnapshotError> {
    let mut attempt = 1;
    loop {
        match file.read_at(buf, offset) {
            Ok(taken) => return Ok(taken),
            Err(_) if attempt < READ_ATTEMPTS => attempt += 1,
            Err(source) => {
                let path = file.path().to_owned();
                return Err(SnapshotError::Read { path, offset, attempts: attempt, source });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use resprout_wal::{History, Term};

    use super::*;

    const BYTES: u64 = 10 * PAGE as u64;

    /// A header and a footer that agree about a file of [`BYTES`].
    fn agreeing() -> (HeaderSector, Footer) {
        let identity = LogIdentity { cluster: 1, database: 2, partition: 3, instance: 4 };
        let history = History::starting(Term(1));
        let header = Header { identity, lsn: Lsn(4096), term: Term(1), chain: 5, history };
        let header = HeaderSector { header, schema_len: 7, schema_crc: 8, crc: 9 };
        let pages_offset = 2 * PAGE as u64;
        let footer = Footer {
            header_crc: 9,
            instance: 4,
            lsn: 4096,
            pages_offset,
            directory_offset: pages_offset + 5 * PAGE as u64,
            directory_len: 2 * PAGE as u64,
            leaves: 5,
            pages: 5,
            ..Footer::default()
        };
        (header, footer)
    }

    /// Guards D12, S21: a footer of another file, or one whose parts leave gaps, overlap, or end
    /// outside the file, is refused before anything is allocated for it.
    #[test]
    fn s21_a_footer_that_does_not_fit_is_refused() {
        let (header, good) = agreeing();
        assert_eq!(check_layout(BYTES, &header, &good), Ok(()));
        let page = PAGE as u64;
        for wrong in [
            Footer { header_crc: 1, ..good },
            Footer { instance: 1, ..good },
            Footer { lsn: 1, ..good },
            Footer { pages_offset: page, ..good },
            Footer { pages_offset: u64::MAX, ..good },
            Footer { pages: 4, ..good },
            Footer { pages: u64::MAX, ..good },
            Footer { pages: u64::MAX / page, ..good },
            Footer { directory_offset: good.directory_offset + page, ..good },
            Footer { directory_offset: u64::MAX, ..good },
            Footer { directory_len: page, ..good },
            Footer { directory_len: good.directory_len - 1, ..good },
            Footer { directory_len: u64::MAX - 1, ..good },
        ] {
            assert!(check_layout(BYTES, &header, &wrong).is_err(), "{wrong:?}");
        }
        assert!(check_layout(BYTES + page, &header, &good).is_err());
    }

    /// Guards S21: counts beyond what the format can hold are refused even if they add up.
    #[test]
    fn s21_counts_beyond_the_format_are_refused() {
        let (header, good) = agreeing();
        let page = PAGE as u64;
        let pages = 1 << 32;
        let directory_offset = good.pages_offset + pages * page;
        let huge = Footer { pages, directory_offset, ..good };
        let bytes = directory_offset + good.directory_len + page;
        assert!(check_layout(bytes, &header, &huge).is_err());
        let long = Footer { directory_len: 1 << 32, ..good };
        let bytes = good.directory_offset + long.directory_len + page;
        assert!(check_layout(bytes, &header, &long).is_err());
    }
}
