//! An image: what a root consists of, in pieces that two copies with the same rows cut alike, whatever
//! their pages look like. Only pieces that differ need to travel.
//!
//! ```text
//!  rows in key order ─► chunks, which end where a key's hash says so ─► pieces of at most 256 KiB
//!                        about 2 KiB                                     digest, first one marked
//! ```
//!
//! Cutting by content is that of rsync's descendants (Muthitacharoen, Chen and Mazières, LBFS, SOSP
//! 2001); here keys decide, so a row that is inserted changes one chunk and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use resprout_wal::{Hold as LogHold, Lineage, Lsn};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{StoredCopy, locked};
use crate::error::Error;
use crate::publish::Boundary;
use crate::tree::{Hold, Scan};

/// A chunk has so many bytes in the middle, behind the fewest. Half of a page: where a page differs, its own
/// bytes and little of its neighbours travel. The price is a digest for so few bytes.
const CHUNK_BYTES: u64 = 2 << 10;
/// No chunk ends before.
const CHUNK_BYTES_MIN: usize = 512;
/// A chunk ends with the row that reaches this.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// A piece of a chunk: what one message can carry some of, also of a chunk with a very long row.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes before a row: lengths of key and value.
const ROW_HEADER_BYTES: usize = 6;

/// A root that is held for others, with the log behind it.
#[derive(Debug)]
pub(super) struct HeldRoot {
    pub(super) lsn: Lsn,
    pub(super) lineage: Lineage,
    pub(super) hold: Arc<Hold>,
    /// Leaf pages that it reaches.
    pub(super) pages: u64,
    /// The log from there on is kept as long as the image is.
    _log: LogHold,
}

/// The rows of a root that is held, in pieces.
#[derive(Debug)]
pub struct Image {
    held: HeldRoot,
    digests: Vec<u64>,
    /// Of all pieces.
    bytes: u64,
    /// The first key of each chunk, by the number of its first piece.
    chunks: BTreeMap<u64, Vec<u8>>,
}

/// The chunks of a copy's own tree that are one piece: by digest.
#[derive(Debug, Default)]
pub struct OwnChunks(BTreeSet<u64>);

impl OwnChunks {
    /// Whether the copy has this piece of an image.
    #[must_use]
    pub fn contains(&self, digest: u64) -> bool {
        self.0.contains(&digest)
    }
}

/// Whether a piece with this digest begins a chunk.
const fn begins_chunk(digest: u64) -> bool {
    digest & 1 == 1
}

/// The digest of a piece of a chunk of so many bytes.
fn piece_digest(piece: &[u8], chunk_bytes: u64, begins: bool) -> u64 {
    xxh3_64_with_seed(piece, chunk_bytes) & !1 | u64::from(begins)
}

/// The digests of a chunk's pieces, in order.
fn digests_of(chunk: &[u8]) -> impl Iterator<Item = u64> {
    let len = chunk.len() as u64;
    let pieces = chunk.chunks(PIECE_BYTES).enumerate();
    pieces.map(move |(number, piece)| piece_digest(piece, len, number == 0))
}

/// Walks rows chunk by chunk.
pub(super) struct Chunks<'a> {
    scan: Scan<'a>,
    /// The next row is there.
    more: bool,
    key: Vec<u8>,
    /// The chunk that was read last: its first key and its bytes.
    pub(super) first: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(mut scan: Scan<'a>) -> Self {
        let more = scan.next();
        Self { scan, more, key: Vec::new(), first: Vec::new(), bytes: Vec::new() }
    }

    /// Of how many pieces the chunk is that was read last.
    fn pieces(&self) -> u64 {
        self.bytes.len().div_ceil(PIECE_BYTES) as u64
    }

    /// Reads the next chunk; false at the end.
    pub(super) fn next(&mut self) -> bool {
        self.bytes.clear();
        while self.more {
            self.scan.key_into(&mut self.key);
            if self.bytes.is_empty() {
                self.first.clone_from(&self.key);
            }
            let value = self.scan.value();
            let row = push_row(&mut self.bytes, &self.key, value);
            self.more = self.scan.next();
            if ends_behind(&self.key, row, self.bytes.len()) {
                break;
            }
        }
        !self.bytes.is_empty()
    }
}

fn push_row(out: &mut Vec<u8>, key: &[u8], value: &[u8]) -> u64 {
    let key_len = u16::try_from(key.len()).expect("a key is limited to 3072 bytes");
    let value_len = u32::try_from(value.len()).expect("a value is limited to 64 MiB");
    out.extend_from_slice(&key_len.to_le_bytes());
    out.extend_from_slice(&value_len.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    (ROW_HEADER_BYTES + key.len() + value.len()) as u64
}

/// Whether a chunk ends with this row: by its key, as often as its bytes are of [`CHUNK_BYTES`].
fn ends_behind(key: &[u8], row_bytes: u64, chunk_bytes: usize) -> bool {
    let threshold = (u64::MAX / CHUNK_BYTES).saturating_mul(row_bytes);
    let by_key = chunk_bytes >= CHUNK_BYTES_MIN && xxh3_64(key) < threshold;
    by_key || chunk_bytes >= CHUNK_BYTES_MAX
}

/// Key and value.
type Row<'a> = (&'a [u8], &'a [u8]);

/// The rows of a chunk.
///
/// # Errors
/// [`Error::DataDamaged`] if the bytes are not rows in order.
fn rows_of(chunk: &[u8], lsn: Lsn) -> Result<Vec<Row<'_>>, Error> {
    let damaged = || Error::DataDamaged {
        place: "an image".to_owned(),
        lsn,
        what: "a piece is not what its digest said".to_owned(),
    };
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut rest = chunk;
    while !rest.is_empty() {
        let (head, behind) = rest.split_first_chunk::<ROW_HEADER_BYTES>().ok_or_else(damaged)?;
        let key_len = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let value_len = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
        let (key, behind) = behind.split_at_checked(key_len).ok_or_else(damaged)?;
        let (value, behind) = behind.split_at_checked(value_len).ok_or_else(damaged)?;
        if key.is_empty() || rows.last().is_some_and(|(last, _)| *last >= key) {
            return Err(damaged());
        }
        rows.push((key, value));
        rest = behind;
    }
    Ok(rows)
}

impl StoredCopy {
    /// Holds the newest root that is durable and committed, and the log behind it. Walks over all rows.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the log has failed.
    pub fn image(&self) -> Result<Image, Error> {
        let held = self.hold_root()?;
        let (mut digests, mut bytes, mut chunks) = (Vec::new(), 0, BTreeMap::new());
        let view = held.hold.view();
        let mut walk = Chunks::new(view.range(&[], None));
        while walk.next() {
            chunks.insert(digests.len() as u64, walk.first.clone());
            digests.extend(digests_of(&walk.bytes));
            bytes += walk.bytes.len() as u64;
        }
        drop(view);
        Ok(Image { held, digests, bytes, chunks })
    }

    /// Holds the newest root that is durable and committed, and the log behind it.
    pub(super) fn hold_root(&self) -> Result<HeldRoot, Error> {
        let core = self.core();
        let stopped = |error: &dyn std::fmt::Display| core.stop(&error.to_string());
        let Boundary { lsn, hold, root } = core.publisher.boundary();
        let log = core.log.hold(lsn).map_err(|error| stopped(&error))?;
        let lineage = core.log.lineage_at(lsn).map_err(|error| stopped(&error))?;
        Ok(HeldRoot { lsn, lineage, hold, pages: root.pages, _log: log })
    }

    /// The chunks of the newest state of this copy, for comparing with an image's.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn own_chunks(&self) -> Result<OwnChunks, Error> {
        let writer = self.core().writer()?;
        let mut own = BTreeSet::new();
        let mut walk = Chunks::new(writer.tree.range(&[], None));
        while walk.next() {
            if walk.bytes.len() <= PIECE_BYTES {
                own.extend(digests_of(&walk.bytes));
            }
        }
        Ok(OwnChunks(own))
    }

    /// Puts an image in the place of what this copy is, at once and durably: the tree, the log, all
    /// snapshots. `digests` are those of all pieces; `fetched` gives a piece by its digest, for those
    /// that [`StoredCopy::own_chunks`] does not have. False if one is missing; nothing was changed then.
    ///
    /// # Errors
    /// Before the switch nothing was changed; after it only recovery leads on, and finishes it.
    pub fn install(
        &self,
        (lsn, lineage): (Lsn, Lineage),
        digests: &[u64],
        fetched: &mut dyn FnMut(u64) -> Result<Option<Bytes>, Error>,
    ) -> Result<bool, Error> {
        let core = self.core();
        let _alone = locked(&self.partition.inner.exclusive);
        let mut writer = core.writer()?;
        let before = writer.tree.freeze();
        let before = writer.tree.versions().hold(&before);
        locked(&self.inflow).clear();
        let built = build(&mut writer.tree, lsn, digests, fetched).and_then(|whole| {
            let root = writer.tree.freeze();
            let beside = || self.write_beside(&writer, (lsn, lineage), root);
            whole.then(beside).transpose()
        });
        match built {
            Ok(Some(beside)) => self.switch(&mut writer, beside).map(|()| true),
            // Nothing of it was seen by anybody.
            unfinished => {
                writer.tree.freeze();
                writer.tree.rewind(&before)?;
                unfinished.map(|_| false)
            }
        }
    }
}

impl Image {
    /// Its position.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.held.lsn
    }

    /// Terms and chain there.
    #[must_use]
    pub const fn lineage(&self) -> &Lineage {
        &self.held.lineage
    }

    /// One for each piece, in order.
    #[must_use]
    pub fn digests(&self) -> &[u64] {
        &self.digests
    }

    /// What all pieces are together, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads a piece.
    #[must_use]
    pub fn piece(&self, number: u64) -> Option<Bytes> {
        self.pieces(&[number], usize::MAX).pop().map(|(_, piece)| piece)
    }

    /// Reads pieces, up to so many bytes, but one. Those of chunks behind each other are found without looking.
    #[must_use]
    pub fn pieces(&self, numbers: &[u64], bytes_max: usize) -> Vec<(u64, Bytes)> {
        let view = self.held.hold.view();
        let mut walk: Option<(u64, Chunks<'_>)> = None;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for number in numbers {
            let Some((first, key)) = self.chunks.range(..=number).next_back() else { continue };
            let here = match walk.take() {
                Some((at, chunks)) if at == *first => chunks,
                Some((at, mut chunks)) if at + chunks.pieces() == *first => {
                    chunks.next();
                    chunks
                }
                _ => {
                    let mut chunks = Chunks::new(view.range(key, None));
                    chunks.next();
                    chunks
                }
            };
            let at = usize::try_from(number - first).unwrap_or(usize::MAX);
            if let Some(piece) = here.bytes.chunks(PIECE_BYTES).nth(at) {
                bytes += piece.len();
                if bytes > bytes_max && !found.is_empty() {
                    break;
                }
                found.push((*number, Bytes::copy_from_slice(piece)));
            }
            walk = Some((*first, here));
        }
        found
    }
}

/// Makes a tree what an image is: chunks that are not in it go, those that were fetched come.
fn build(
    tree: &mut crate::tree::Tree,
    lsn: Lsn,
    digests: &[u64],
    fetched: &mut dyn FnMut(u64) -> Result<Option<Bytes>, Error>,
) -> Result<bool, Error> {
    let wanted: BTreeSet<u64> = digests.iter().copied().collect();
    let (mut kept, mut gone) = (BTreeSet::new(), Vec::new());
    let mut walk = Chunks::new(tree.range(&[], None));
    let mut open: Option<Vec<u8>> = None;
    while walk.next() {
        if let Some(from) = open.take() {
            gone.push((from, Some(walk.first.clone())));
        }
        let own: Vec<u64> = digests_of(&walk.bytes).collect();
        match own.as_slice() {
            [one] if wanted.contains(one) => {
                kept.insert(*one);
            }
            _ => open = Some(walk.first.clone()),
        }
    }
    gone.extend(open.map(|from| (from, None)));
    for (from, to) in &gone {
        tree.remove_range(from, to.as_deref()).map_err(Error::from)?;
    }
    let mut pieces = digests.iter().filter(|digest| !kept.contains(digest)).peekable();
    while let Some(first) = pieces.next() {
        let Some(piece) = fetched(*first)? else { return Ok(false) };
        let (mut chunk, mut chunk_digests) = (piece.to_vec(), vec![*first]);
        while let Some(next) = pieces.next_if(|digest| !begins_chunk(**digest)) {
            let Some(piece) = fetched(*next)? else { return Ok(false) };
            chunk.extend_from_slice(&piece);
            chunk_digests.push(*next);
        }
        if !digests_of(&chunk).eq(chunk_digests) {
            return Ok(false);
        }
        let rows = rows_of(&chunk, lsn)?;
        let rows = rows.iter().map(|(key, value)| (*key, Some(*value)));
        tree.apply_sorted(rows).map_err(Error::from)?;
    }
    Ok(true)
}
