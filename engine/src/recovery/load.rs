//! A snapshot into page memory: large reads, several in flight, straight to where the pages stay.

use std::io;
use std::sync::Arc;

use resprout_snapshot::{Snapshot, load_all};
use resprout_wal::disk::Disk;

use crate::error::Error;
use crate::tree::{LoadedLeaf, MemoryLimit, PageMemory, Tree};

/// Reads in flight. More do not help one device, and several partitions load at once.
const READS_AHEAD: u32 = 8;

/// Loads and checks every page; `loaded` is told of bytes as they arrive.
///
/// # Errors
/// [`Error::Snapshot`]: whether another snapshot should be tried is
/// [`resprout_snapshot::SnapshotError::is_bad_file`]; [`Error::Tree`] if memory is not to be had.
pub(crate) fn load(
    disk: &dyn Disk,
    snapshot: &Snapshot,
    limit: &MemoryLimit,
    mut loaded: impl FnMut(u64),
) -> Result<Tree, Error> {
    let memory = PageMemory::new(limit.clone())?;
    if snapshot.pages() > 0 {
        memory.set_aside(snapshot.pages())?;
        let mut queue = disk.local_queue(READS_AHEAD).map_err(|source| Error::Disk {
            operation: "make a queue to read",
            path: snapshot.path().to_path_buf(),
            source,
        })?;
        let span = |read: resprout_snapshot::PageRead| {
            memory
                .io_span(read.first_page, read.pages)
                .ok_or_else(|| io::Error::other("a page of the snapshot was asked for twice"))
        };
        load_all(snapshot, queue.as_mut(), READS_AHEAD as usize, span, |read, buf| {
            loaded(read.bytes() as u64);
            drop(buf);
        })?;
    }
    let mut tree = Tree::new(Arc::clone(&memory));
    let leaves = snapshot.leaves().map(|leaf| LoadedLeaf {
        page: leaf.first_page,
        run: leaf.run,
        rows: leaf.rows,
        separator: leaf.separator,
    });
    tree.adopt(leaves)?;
    Ok(tree)
}
