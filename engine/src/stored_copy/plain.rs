//! An image for a copy that has nothing: the pages of a root as they are, all of them, in order. Nobody compares
//! anything, and nobody takes rows apart: pages are the same bytes in memory, on the wire and on disk.
//!
//! ```text
//!  master: held root ─► pieces ──► replica: each leaf checked ─► snapshot beside, written while more comes
//!                                                                    │ whole: flushed, read back and checked
//!                                                                    └─► tree ─► the switch of `switch`
//!
//!  piece: one page.  first of a leaf: separator's bytes u16 · separator · page     others: 0xffff · page
//! ```
//!
//! What the snapshot's verification reads back is what goes into the tree, so the device is read once. A page's
//! number counts the pages before it in key order; it means something in this image only.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use resprout_snapshot::{
    Header, LeafPage, MAX_RUN, MAX_SEPARATOR, WriteOptions, Writer as SnapshotWriter,
};
use resprout_wal::{Lineage, Lsn};

use super::image::HeldRoot;
use super::switch::{Beside, start_of};
use super::{StoredCopy, locked};
use crate::error::Error;
use crate::snapshotting::digest_of;
use crate::tree::leaf::{self, Page};
use crate::tree::{LoadedLeaf, PAGE_BYTES, Tree};

/// In place of a separator's length: the leaf goes on.
const GOES_ON: u16 = u16::MAX;

/// The pages of a root that is held for others, with the log behind it.
#[derive(Debug)]
pub struct PlainImage {
    held: HeldRoot,
    /// Leaves where reads ended, to go on from: the separator by the number of the first page.
    marks: BTreeMap<u64, Vec<u8>>,
}

/// A plain image that comes.
pub struct PlainCopy {
    writer: SnapshotWriter,
    header: Header,
    pages: u64,
    /// The number of the page that comes next.
    next: u64,
    /// Pages of a leaf that is not whole, and its separator.
    open: Vec<u8>,
    separator: Vec<u8>,
    /// The last key of the leaf before; `None` for the first.
    last_key: Option<Vec<u8>>,
    first_key: Vec<u8>,
}

impl std::fmt::Debug for PlainCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlainCopy({} of {} pages at {})", self.next, self.pages, self.header.lsn)
    }
}

impl StoredCopy {
    /// Holds the newest root that is durable and committed, and the log behind it. Reads nothing.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the log has failed.
    pub fn plain_image(&self) -> Result<PlainImage, Error> {
        Ok(PlainImage { held: self.hold_root()?, marks: BTreeMap::from([(0, Vec::new())]) })
    }

    /// Begins to take a plain image of so many pages, beside what this copy is.
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::Snapshot`].
    pub fn begin_plain(
        &self,
        (lsn, lineage): (Lsn, Lineage),
        pages: u64,
    ) -> Result<PlainCopy, Error> {
        let (dir, header) = self.prepare_beside((lsn, lineage))?;
        let disk = &self.partition.inner.context.world().disk;
        let expected_bytes = Some(pages.saturating_mul(PAGE_BYTES as u64));
        let options = WriteOptions { expected_bytes, ..WriteOptions::default() };
        let writer = SnapshotWriter::create_with(disk, &dir, &header, &[], options)?;
        let (open, separator, first_key) = (Vec::new(), Vec::new(), Vec::new());
        Ok(PlainCopy { writer, header, pages, next: 0, open, separator, last_key: None, first_key })
    }

    /// Puts a plain image in the place of what this copy is, at once and durably. False, and nothing changed, if pages are
    /// missing.
    ///
    /// # Errors
    /// Before the switch nothing was changed; after it only recovery leads on, and finishes it.
    pub fn install_plain(&self, image: PlainCopy) -> Result<bool, Error> {
        if image.next != image.pages {
            return Ok(false);
        }
        let core = self.core();
        let _alone = locked(&self.partition.inner.exclusive);
        let mut writer = core.writer()?;
        let before = writer.tree.freeze();
        let before = writer.tree.versions().hold(&before);
        locked(&self.inflow).clear();
        match image.finish(&mut writer.tree) {
            Ok(beside) => self.switch(&mut writer, beside).map(|()| true),
            Err(error) => {
                // Nothing of it was seen by anybody.
                writer.tree.freeze();
                writer.tree.rewind(&before)?;
                Err(error)
            }
        }
    }
}

impl PlainImage {
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

    /// How many pages it has.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.held.pages
    }

    /// Reads pages whose numbers grow, up to so many bytes, but one. Cheap where an earlier read ended.
    #[must_use]
    pub fn pieces(&mut self, numbers: &[u64], bytes_max: usize) -> Vec<(u64, Bytes)> {
        let Some(first) = numbers.first() else { return Vec::new() };
        let Some((at, from)) = self.marks.range(..=first).next_back() else { return Vec::new() };
        let (mut at, view) = (*at, self.held.hold.view());
        let expected = bytes_max.min(numbers.len().saturating_mul(PAGE_BYTES + 64));
        let mut bytes = Vec::with_capacity(expected);
        let mut found: Vec<(u64, Range<usize>)> = Vec::new();
        let mut wanted = numbers.iter().copied().peekable();
        let mut mark = None;
        for leaf in view.leaves_from(from) {
            let end = at + (leaf.bytes.len() / PAGE_BYTES) as u64;
            while let Some(number) = wanted.next_if(|number| (at..end).contains(number)) {
                if !found.is_empty() && bytes.len() + PAGE_BYTES > bytes_max {
                    wanted = [].iter().copied().peekable();
                    break;
                }
                let start = bytes.len();
                let page = usize::try_from(number - at).unwrap_or(usize::MAX);
                put_piece(&mut bytes, &leaf, page);
                found.push((number, start..bytes.len()));
            }
            if wanted.peek().is_none() {
                mark = Some((at, leaf.separator));
                break;
            }
            at = end;
        }
        self.marks.extend(mark);
        let bytes = Bytes::from(bytes);
        found.into_iter().map(|(number, place)| (number, bytes.slice(place))).collect()
    }
}

fn put_piece(out: &mut Vec<u8>, leaf: &crate::tree::LeafPage<'_>, page: usize) {
    if page == 0 {
        let len = u16::try_from(leaf.separator.len()).expect("a key is limited to 3072 bytes");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&leaf.separator);
    } else {
        out.extend_from_slice(&GOES_ON.to_le_bytes());
    }
    out.extend_from_slice(&leaf.bytes[page * PAGE_BYTES..][..PAGE_BYTES]);
}

impl PlainCopy {
    /// The number of the page that it takes next: those before it are here.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Takes the next page.
    ///
    /// # Errors
    /// [`Error::DataDamaged`] if it is not what follows; [`Error::Snapshot`]. The image must be begun anew then.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Error> {
        let (len, rest) = piece.split_first_chunk().ok_or_else(|| self.damaged("a short page"))?;
        let len = u16::from_le_bytes(*len);
        if (len == GOES_ON) == self.open.is_empty() {
            return Err(self.damaged("a leaf that does not begin where the one before ends"));
        }
        let len = if len == GOES_ON { 0 } else { usize::from(len) };
        let (separator, page) =
            rest.split_at_checked(len).ok_or_else(|| self.damaged("a short separator"))?;
        let page: &Page = page.try_into().map_err(|_| self.damaged("a page of another length"))?;
        if self.open.is_empty() {
            let run = leaf::run_of(page);
            if run == 0 || run > MAX_RUN || u64::from(run) > self.pages - self.next {
                return Err(self.damaged("a leaf of so many pages that it cannot be"));
            }
            self.separator.clear();
            self.separator.extend_from_slice(separator);
        }
        self.open.extend_from_slice(page);
        self.next += 1;
        let first = self.open.first_chunk().expect("a page was added");
        if self.open.len() == leaf::run_of(first) as usize * PAGE_BYTES {
            self.add()?;
            self.open.clear();
        }
        Ok(())
    }

    /// Checks the leaf that is whole, and hands it to the snapshot.
    fn add(&mut self) -> Result<(), Error> {
        let view = leaf::check(&self.open).map_err(|damage| self.damaged(&damage.to_string()))?;
        let ((prefix, suffix), _) = view.row(0);
        self.first_key.clear();
        self.first_key.extend_from_slice(prefix);
        self.first_key.extend_from_slice(suffix);
        let separator = self.separator.as_slice();
        let follows = match &self.last_key {
            None => separator.is_empty(),
            Some(last) => last.as_slice() < separator && separator <= self.first_key.as_slice(),
        };
        if !follows || separator.len() > MAX_SEPARATOR {
            return Err(self.damaged("a leaf that is not behind the one before"));
        }
        let digest = digest_of(&view, self.last_key.get_or_insert_default());
        let rows = u32::try_from(view.rows()).expect("a page has fewer rows than bytes");
        let separator = &self.separator;
        self.writer.push(LeafPage { bytes: &self.open, rows, digest, separator })?;
        Ok(())
    }

    fn damaged(&self, what: &str) -> Error {
        let place = format!("page {} of an image", self.next);
        Error::DataDamaged { place, lsn: self.header.lsn, what: what.to_owned() }
    }

    /// Makes a tree what the image is, which is durable beside then.
    fn finish(self, tree: &mut Tree) -> Result<Beside, Error> {
        if tree.rows() > 0 {
            tree.remove_range(&[], None)?;
        }
        // By leaf: its first page in memory, and how many it has; none for one that was not read back yet.
        let mut taken: Vec<(u32, u32)> = Vec::new();
        let read = self.writer.finish_read(|snapshot, read, bytes| {
            taken.resize(snapshot.leaf_count(), (0, 0));
            let mut rest = bytes;
            let of_read = taken[read.first_leaf..].iter_mut().take(read.leaves);
            for (index, taken) in (read.first_leaf..).zip(of_read) {
                let run = snapshot.leaf(index).run;
                let (leaf, behind) = rest.split_at(run as usize * PAGE_BYTES);
                *taken = (tree.take_leaf(leaf)?, run);
                rest = behind;
            }
            Ok::<(), Error>(())
        });
        let joined = read.and_then(|(written, snapshot)| {
            let leaves = snapshot.leaves().zip(&taken).map(|(leaf, (page, run))| LoadedLeaf {
                page: *page,
                run: *run,
                rows: leaf.rows,
                separator: leaf.separator,
            });
            tree.join_leaves(leaves)?;
            Ok(written)
        });
        match joined {
            Ok(written) => {
                let (start, root) = (start_of(&self.header), tree.freeze());
                Ok(Beside { start, root, bytes: written.bytes })
            }
            Err(error) => {
                let there = taken.into_iter().filter(|(_, run)| *run > 0);
                there.for_each(|(page, run)| tree.give_back_leaf(page, run));
                Err(error)
            }
        }
    }
}
