//! The page directory: where each leaf lies, what its bytes must sum to, and what it separates.
//!
//! ```text
//! | block | block | ... | block |      leaf blocks first, then chunk blocks
//!
//! block, at most 64 KiB, whole sectors:
//!    0  magic u32 "RDIR"   4  crc u32 over all after it   8  kind u16 (1 leaves, 2 chunks)
//!   10  zero u16          12  entries u32                16  used bytes u32
//!   20  block bytes u32   24  number of the block u32    28  zero u32
//!   32  entries, then zero
//!
//! leaf entry:   0 run u32 (pages)   4 rows u32   8 crc u32   12 separator bytes u16   14 separator
//! chunk entry:  0 leaves u32        4 pages u32  8 rows u64  16 digest u64
//! ```
//!
//! Separators are stored whole: the tree already cuts them to what separates, so compressing them
//! against each other would save some 6 of 4096 bytes per page and cost the borrowed iteration.
//! A chunk is a group of whole leaves of about 1 MiB whose rows share one additive digest, so that
//! two copies of a partition can be compared without reading them.
//!
//! The footer carries a checksum over the checksums of all blocks, so that an intact block of
//! another snapshot in the place of ours is noticed (row D12).

use std::path::Path;

use resprout_wal::disk::AlignedBuf;

use crate::PAGE;
use crate::digest::Digest;
use crate::error::{Damage, Part, SnapshotError};
use crate::field::{is_zero, put, u16_at, u32_at, u64_at};
use crate::footer::Footer;

/// Most pages of one leaf: 128 MiB, above the longest row that the tree takes.
pub const MAX_RUN: u32 = 1 << 15;
/// Most bytes of a separator; the longest key of the tree is 3 KiB.
pub const MAX_SEPARATOR: usize = 4096;

/// A chunk ends with the leaf that fills this many pages.
const CHUNK_PAGES: u32 = (1 << 20) / PAGE as u32;
const BLOCK: usize = 64 << 10;
const BLOCK_HEADER: usize = 32;
const LEAF_ENTRY: usize = 14;
const CHUNK_ENTRY: usize = 24;
const MAGIC: u32 = u32::from_le_bytes(*b"RDIR");
const LEAVES: u16 = 1;
const CHUNKS: u16 = 2;

const _: () = assert!(BLOCK.is_multiple_of(PAGE));
const _: () = assert!(BLOCK_HEADER + LEAF_ENTRY + MAX_SEPARATOR <= BLOCK);
const _: () = assert!(MAX_SEPARATOR <= u16::MAX as usize);

/// One leaf, as the directory describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafEntry<'a> {
    /// Number of its first page in the snapshot; the first leaf has 0.
    pub first_page: u32,
    /// Consecutive pages that it takes.
    pub run: u32,
    /// Rows in it.
    pub rows: u32,
    /// `crc32` of its pages.
    pub crc: u32,
    /// Shortest key that is above all keys of the leaf before; empty for the first leaf.
    pub separator: &'a [u8],
}

/// A group of consecutive leaves and the digest of their rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Number of leaves.
    pub leaves: u32,
    /// Number of pages.
    pub pages: u32,
    /// Number of rows.
    pub rows: u64,
    /// Sum over the rows; says nothing about their order or layout.
    pub digest: Digest,
}

/// Builds the directory of a snapshot while its pages are written. Takes about 24 bytes of memory
/// per leaf until the end.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    /// Where the open block starts in `bytes`, which has no bytes of it if it has no entries.
    block_at: usize,
    entries: u32,
    blocks: u32,
    blocks_crc: crc32fast::Hasher,
    chunks: Vec<ChunkEntry>,
    chunk: ChunkEntry,
    pages: u32,
    leaves: u64,
    rows: u64,
    digest: Digest,
}

impl Builder {
    /// Pages of all leaves so far.
    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// Rows of all leaves so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds the next leaf. `None` if it is one page or one directory byte too many.
    pub(crate) fn push(&mut self, leaf: &LeafEntry<'_>, digest: Digest) -> Option<()> {
        assert!(leaf.run > 0 && leaf.run <= MAX_RUN, "a leaf of {} pages", leaf.run);
        assert!(leaf.separator.len() <= MAX_SEPARATOR);
        assert_eq!(leaf.first_page, self.pages, "leaves come in order of their pages");
        let pages = self.pages.checked_add(leaf.run)?;
        let mut entry = [0; LEAF_ENTRY];
        put(&mut entry, 0, &leaf.run.to_le_bytes());
        put(&mut entry, 4, &leaf.rows.to_le_bytes());
        put(&mut entry, 8, &leaf.crc.to_le_bytes());
        put(&mut entry, 12, &(leaf.separator.len() as u16).to_le_bytes());
        self.add_entry(LEAVES, &entry, leaf.separator)?;
        self.pages = pages;
        self.leaves += 1;
        self.rows += u64::from(leaf.rows);
        self.digest += digest;
        self.chunk.leaves += 1;
        self.chunk.pages += leaf.run;
        self.chunk.rows += u64::from(leaf.rows);
        self.chunk.digest += digest;
        if self.chunk.pages >= CHUNK_PAGES {
            self.end_chunk();
        }
        Some(())
    }

    /// The bytes of the whole directory, and what the footer says about it. The places in the
    /// file are left at 0.
    pub(crate) fn finish(mut self) -> Option<(Vec<u8>, Footer)> {
        self.end_chunk();
        self.end_block(LEAVES);
        for chunk in std::mem::take(&mut self.chunks) {
            let mut entry = [0; CHUNK_ENTRY];
            put(&mut entry, 0, &chunk.leaves.to_le_bytes());
            put(&mut entry, 4, &chunk.pages.to_le_bytes());
            put(&mut entry, 8, &chunk.rows.to_le_bytes());
            put(&mut entry, 16, &chunk.digest.0.to_le_bytes());
            self.chunk.leaves += 1;
            self.add_entry(CHUNKS, &entry, &[])?;
        }
        self.end_block(CHUNKS);
        assert!(self.bytes.len().is_multiple_of(PAGE));
        let footer = Footer {
            directory_len: self.bytes.len() as u64,
            leaves: self.leaves,
            pages: u64::from(self.pages),
            rows: self.rows,
            digest: self.digest,
            chunks: u64::from(self.chunk.leaves),
            blocks: self.blocks,
            blocks_crc: self.blocks_crc.finalize(),
            ..Footer::default()
        };
        Some((self.bytes, footer))
    }

    fn end_chunk(&mut self) {
        if self.chunk.leaves > 0 {
            self.chunks.push(std::mem::take(&mut self.chunk));
        }
    }

    fn add_entry(&mut self, kind: u16, fixed: &[u8], rest: &[u8]) -> Option<()> {
        let len = fixed.len() + rest.len();
        if self.entries > 0 && self.bytes.len() - self.block_at + len > BLOCK {
            self.end_block(kind);
        }
        // The reader keeps places in the directory as `u32`.
        u32::try_from(self.bytes.len() + BLOCK).ok()?;
        if self.entries == 0 {
            self.block_at = self.bytes.len();
            self.bytes.resize(self.block_at + BLOCK_HEADER, 0);
        }
        self.bytes.extend_from_slice(fixed);
        self.bytes.extend_from_slice(rest);
        self.entries += 1;
        Some(())
    }

    fn end_block(&mut self, kind: u16) {
        if self.entries == 0 {
            return;
        }
        let used = self.bytes.len() - self.block_at;
        self.bytes.resize(self.block_at + used.next_multiple_of(PAGE), 0);
        let block = &mut self.bytes[self.block_at..];
        assert!(block.len() <= BLOCK);
        put(block, 0, &MAGIC.to_le_bytes());
        put(block, 8, &kind.to_le_bytes());
        put(block, 12, &self.entries.to_le_bytes());
        put(block, 16, &(used as u32).to_le_bytes());
        put(block, 20, &(block.len() as u32).to_le_bytes());
        put(block, 24, &self.blocks.to_le_bytes());
        let crc = crc32fast::hash(&block[8..]).to_le_bytes();
        put(block, 4, &crc);
        self.blocks_crc.update(&crc);
        self.blocks += 1;
        self.entries = 0;
    }
}

/// What is kept of a leaf; its run is the distance to the next one.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    first_page: u32,
    rows: u32,
    crc: u32,
    separator_at: u32,
    separator_len: u16,
}

/// A directory that was read and found whole.
#[derive(Debug)]
pub(crate) struct Directory {
    bytes: AlignedBuf,
    leaves: Vec<Leaf>,
    chunks: Vec<ChunkEntry>,
    pages: u32,
}

impl Directory {
    /// Decodes `bytes`, which lie at `offset` of the file at `path`, and checks them against what
    /// the footer says.
    pub(crate) fn decode(
        path: &Path,
        offset: u64,
        bytes: AlignedBuf,
        footer: &Footer,
    ) -> Result<Self, SnapshotError> {
        let mut reader = Reader::new(footer, &bytes);
        let mut at = 0;
        while at < bytes.len() {
            let damaged = |damage| SnapshotError::damaged(path, offset + at as u64, damage);
            at += reader.block(at).map_err(damaged)?;
        }
        let end = |damage| SnapshotError::damaged(path, offset + at as u64, damage);
        reader.check_totals(footer).map_err(end)?;
        let Reader { leaves, chunks, pages, .. } = reader;
        Ok(Self { bytes, leaves, chunks, pages })
    }

    /// Number of leaves.
    pub(crate) fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Number of pages of all leaves.
    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// The leaf with this number.
    pub(crate) fn leaf(&self, index: usize) -> LeafEntry<'_> {
        let leaf = self.leaves[index];
        let end = self.leaves.get(index + 1).map_or(self.pages, |next| next.first_page);
        let separator_at = leaf.separator_at as usize;
        LeafEntry {
            first_page: leaf.first_page,
            run: end - leaf.first_page,
            rows: leaf.rows,
            crc: leaf.crc,
            separator: &self.bytes[separator_at..separator_at + usize::from(leaf.separator_len)],
        }
    }

    /// Number of the leaf that starts with page `first_page`.
    pub(crate) fn index_of(&self, first_page: u32) -> Option<usize> {
        self.leaves.binary_search_by_key(&first_page, |leaf| leaf.first_page).ok()
    }

    /// All chunks, in order.
    pub(crate) fn chunks(&self) -> &[ChunkEntry] {
        &self.chunks
    }
}

/// Collects the entries of one block after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    leaves: Vec<Leaf>,
    chunks: Vec<ChunkEntry>,
    pages: u32,
    rows: u64,
    block: u32,
    blocks_crc: crc32fast::Hasher,
    last_separator: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Room for what the footer announces, as far as a directory of `bytes` can hold it.
    fn new(footer: &Footer, bytes: &'a [u8]) -> Self {
        let room = |entries: u64, each: usize| {
            usize::try_from(entries).unwrap_or(usize::MAX).min(bytes.len() / each)
        };
        Self {
            bytes,
            leaves: Vec::with_capacity(room(footer.leaves, LEAF_ENTRY)),
            chunks: Vec::with_capacity(room(footer.chunks, CHUNK_ENTRY)),
            pages: 0,
            rows: 0,
            block: 0,
            blocks_crc: crc32fast::Hasher::new(),
            last_separator: &[],
        }
    }

    /// Decodes the block at `at`; its length.
    fn block(&mut self, at: usize) -> Result<usize, Damage> {
        let part = Part::Directory(self.block);
        let block = whole_block(&self.bytes[at..], part)?;
        let found = |field, found: u32, expected: u32| {
            let (expected, found) = (u64::from(expected), u64::from(found));
            Err(Damage::Field { part, field, expected, found })
        };
        if u32_at(block, 24) != self.block {
            return found("number", u32_at(block, 24), self.block);
        }
        let used = u32_at(block, 16) as usize;
        if used < BLOCK_HEADER || used > block.len() {
            return found("used length", used as u32, block.len() as u32);
        }
        let unused = [&block[10..12], &block[28..32], &block[used..]];
        if !unused.into_iter().all(is_zero) {
            return Err(Damage::Content { part, rule: "has padding that is not zero" });
        }
        let entries = u32_at(block, 12);
        let decoded = match u16_at(block, 8) {
            LEAVES if self.chunks.is_empty() => self.leaves(&block[..used], at, entries)?,
            CHUNKS => self.chunks(&block[..used], entries)?,
            kind => return found("kind", u32::from(kind), u32::from(LEAVES)),
        };
        if !decoded {
            return Err(Damage::Content { part, rule: "has entries that do not fill it" });
        }
        self.blocks_crc.update(&block[4..8]);
        self.block += 1;
        Ok(block.len())
    }

    /// Whether the leaf entries fill the block exactly.
    fn leaves(&mut self, block: &'a [u8], at: usize, entries: u32) -> Result<bool, Damage> {
        let mut next = BLOCK_HEADER;
        for _ in 0..entries {
            let Some(fixed) = block.get(next..next + LEAF_ENTRY) else { return Ok(false) };
            let separator_len = u16_at(fixed, 12);
            let separator = next + LEAF_ENTRY;
            next = separator + usize::from(separator_len);
            if next > block.len() {
                return Ok(false);
            }
            self.check_order(&block[separator..next])?;
            self.add_leaf(fixed, (at + separator) as u32)?;
        }
        Ok(next == block.len())
    }

    /// Separators grow, also from one block to the next.
    fn check_order(&mut self, separator: &'a [u8]) -> Result<(), Damage> {
        if !self.leaves.is_empty() && self.last_separator >= separator {
            let part = Part::Directory(self.block);
            return Err(Damage::Content { part, rule: "has separators out of order" });
        }
        self.last_separator = separator;
        Ok(())
    }

    fn add_leaf(&mut self, fixed: &[u8], separator_at: u32) -> Result<(), Damage> {
        let part = Part::Directory(self.block);
        let run = u32_at(fixed, 0);
        let pages = self.pages.checked_add(run);
        let Some(pages) = pages.filter(|_| run > 0 && run <= MAX_RUN) else {
            let (expected, found) = (u64::from(MAX_RUN), u64::from(run));
            return Err(Damage::Field { part, field: "run", expected, found });
        };
        let rows = u32_at(fixed, 4);
        self.leaves.push(Leaf {
            first_page: self.pages,
            rows,
            crc: u32_at(fixed, 8),
            separator_at,
            separator_len: u16_at(fixed, 12),
        });
        self.pages = pages;
        // At most 2^32 leaves of at most 2^32 rows.
        self.rows += u64::from(rows);
        Ok(())
    }

    /// Whether the chunk entries fill the block exactly.
    fn chunks(&mut self, block: &[u8], entries: u32) -> Result<bool, Damage> {
        let body = &block[BLOCK_HEADER..];
        if body.len() as u64 != u64::from(entries) * CHUNK_ENTRY as u64 {
            return Ok(false);
        }
        self.chunks.extend(body.chunks_exact(CHUNK_ENTRY).map(|entry| ChunkEntry {
            leaves: u32_at(entry, 0),
            pages: u32_at(entry, 4),
            rows: u64_at(entry, 8),
            digest: Digest(u64_at(entry, 16)),
        }));
        Ok(true)
    }

    /// The blocks together hold what the footer announces.
    fn check_totals(&self, footer: &Footer) -> Result<(), Damage> {
        let part = Part::Footer;
        let expected = self.blocks_crc.clone().finalize();
        if expected != footer.blocks_crc {
            return Err(Damage::Checksum { part, expected, found: footer.blocks_crc });
        }
        let sum = |of: fn(&ChunkEntry) -> u64| {
            self.chunks.iter().fold(0u64, |sum, chunk| sum.wrapping_add(of(chunk)))
        };
        let totals = [
            ("number of blocks", u64::from(self.block), u64::from(footer.blocks)),
            ("number of leaves", self.leaves.len() as u64, footer.leaves),
            ("number of pages", u64::from(self.pages), footer.pages),
            ("number of rows", self.rows, footer.rows),
            ("number of chunks", self.chunks.len() as u64, footer.chunks),
            ("leaves in chunks", sum(|chunk| u64::from(chunk.leaves)), footer.leaves),
            ("pages in chunks", sum(|chunk| u64::from(chunk.pages)), footer.pages),
            ("rows in chunks", sum(|chunk| chunk.rows), footer.rows),
            ("digest", sum(|chunk| chunk.digest.0), footer.digest.0),
        ];
        match totals.into_iter().find(|(_, expected, found)| expected != found) {
            Some((field, expected, found)) => Err(Damage::Field { part, field, expected, found }),
            None => Ok(()),
        }
    }
}

/// The block that starts `rest`, of a possible length and with the right checksum.
fn whole_block(rest: &[u8], part: Part) -> Result<&[u8], Damage> {
    // The directory is whole sectors, and so is what follows a block: at least one is left.
    assert!(rest.len() >= PAGE);
    if u32_at(rest, 0) != MAGIC {
        return Err(Damage::Content { part, rule: "does not start with its magic" });
    }
    let len = u32_at(rest, 20) as usize;
    if len == 0 || !len.is_multiple_of(PAGE) || len > BLOCK.min(rest.len()) {
        let expected = BLOCK.min(rest.len()) as u64;
        return Err(Damage::Field { part, field: "length", expected, found: len as u64 });
    }
    let block = &rest[..len];
    let (expected, found) = (u32_at(block, 4), crc32fast::hash(&block[8..]));
    if expected != found {
        return Err(Damage::Checksum { part, expected, found });
    }
    Ok(block)
}

#[cfg(test)]
mod tests;
