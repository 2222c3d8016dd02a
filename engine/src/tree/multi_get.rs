//! Several searches at once.
//!
//! ```text
//!             key 0     key 1     key 2   …  key 15
//!   level 0   ──►       ──►       ──►        ──►      each step asks for the node of the next level,
//!   level 1   ──►       ──►       ──►        ──►      which is on its way while the others step
//!   leaf      search    search    search     search
//! ```
//!
//! In a large tree a search mostly waits: for the page table entry of its leaf, then for the leaf. Each
//! wait depends on the one before, so a processor cannot overlap them within one search; those of
//! different searches it can. Results are handed out group by group, in the order asked.

use super::reader::Reader;
use super::versions::{NONE, View};

/// Searches on their way together. A processor has some 10 to 16 lines on their way at a time, and what
/// was asked for must still be in its first cache when it is looked at.
const GROUP: usize = 16;

/// One search on its way down.
#[derive(Clone, Copy)]
struct Search<'v> {
    reader: Reader<'v>,
    node: u32,
}

/// The values of several keys, each of a view of its own: the rows that a hash has spread over several
/// partitions are waited for together. Calls `each` with the position of the lookup, from 0, and its value,
/// in the order of the lookups. For one view there is [`View::get_many`].
///
/// ```
/// use resprout_engine::tree::{self, MemoryLimit, PageMemory, Tree};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let limit = MemoryLimit::new(64 << 20);
/// # let new = |limit: &MemoryLimit| PageMemory::new(limit.clone()).map(Tree::new);
/// let (mut even, mut odd) = (new(&limit)?, new(&limit)?);
/// even.put(b"2", b"two")?;
/// odd.put(b"3", b"three")?;
/// for tree in [&mut even, &mut odd] {
///     let root = tree.freeze();
///     tree.versions().publish(root);
/// }
/// let (even, odd) = (even.versions().acquire(), odd.versions().acquire());
///
/// let mut found = Vec::new();
/// tree::get_many([(&odd, b"3"), (&even, b"4"), (&even, b"2")], |_, value| found.push(value));
/// assert_eq!(found, [Some(&b"three"[..]), None, Some(b"two")]);
/// # Ok(())
/// # }
/// ```
pub fn get_many<'v, K: AsRef<[u8]>>(
    lookups: impl IntoIterator<Item = (&'v View, K)>,
    each: impl FnMut(usize, Option<&'v [u8]>),
) {
    search_all(lookups.into_iter().map(|(view, key)| (view.reader(), key)), each);
}

/// The same for searches whose reader is known.
pub(super) fn search_all<'v, K: AsRef<[u8]>>(
    lookups: impl Iterator<Item = (Reader<'v>, K)>,
    mut each: impl FnMut(usize, Option<&'v [u8]>),
) {
    let mut lookups = lookups.fuse();
    for first in (0..).step_by(GROUP) {
        // On the stack: a call must not allocate.
        let group: [Option<(Reader<'v>, K)>; GROUP] = std::array::from_fn(|_| lookups.next());
        let count = group.iter().flatten().count();
        let key = |at: usize| group[at].as_ref().map_or(&[][..], |(_, key)| key.as_ref());
        let mut searches = [None; GROUP];
        for (search, (reader, _)) in searches.iter_mut().zip(group.iter().flatten()) {
            // An empty tree has no node to go down to.
            *search =
                (reader.root != NONE).then_some(Search { reader: *reader, node: reader.root });
        }
        go_down(&mut searches[..count], key);
        for (at, search) in searches[..count].iter().enumerate() {
            let value = search.and_then(|search| search.reader.value_in(search.node, key(at)));
            each(first + at, value);
        }
        if count < GROUP {
            return;
        }
    }
}

/// Takes all searches from their roots to their leaves, one level at a time.
#[inline]
fn go_down<'k>(searches: &mut [Option<Search<'_>>], key: impl Fn(usize) -> &'k [u8]) {
    let heights = searches.iter().flatten().map(|search| search.reader.height);
    let height = heights.max().unwrap_or(0);
    for level in 0..height {
        for (at, search) in searches.iter_mut().enumerate() {
            // Trees differ in height; a search that has reached its leaf waits for the others.
            if let Some(search) = search.as_mut().filter(|search| level < search.reader.height) {
                search.node = search.reader.child_for::<false>(search.node, level, key(at));
            }
        }
    }
    // Exactly, where a single search guesses: the guess takes several times the lines, and lines are
    // what several searches compete for.
    for (at, search) in searches.iter().enumerate() {
        if let Some(search) = search {
            search.reader.prefetch_record(search.node, key(at));
        }
    }
}
