//! Target of leaf pages: what the check lets through can be read, loaded into a tree, changed and
//! audited.

use resprout_engine::tree::leaf::{self, LeafView};
use resprout_engine::tree::{LoadedLeaf, MemoryLimit, PAGE_BYTES, PageMemory, Tree};

use crate::Outcome;

/// Longest leaf that is loaded into a tree here.
const RUN_MAX: usize = 64;
const MEMORY_BYTES: u64 = 16 << 20;

/// The bytes of one leaf.
pub(crate) fn leaf(input: &[u8]) -> Outcome {
    let Ok(view) = leaf::check(input) else { return Outcome::Refused };
    let rows = rows(&view);
    assert!(rows.windows(2).all(|two| two[0].0 < two[1].0), "keys grow");
    if !rows.is_empty() && input.len() <= RUN_MAX * PAGE_BYTES {
        load_and_change(input, &rows);
    }
    Outcome::Accepted
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn rows(view: &LeafView<'_>) -> Rows {
    let row = |number| {
        let ((prefix, suffix), value) = view.row(number);
        ([prefix, suffix].concat(), value.to_vec())
    };
    (0..view.rows()).map(row).collect()
}

fn load_and_change(bytes: &[u8], rows: &Rows) {
    let run = (bytes.len() / PAGE_BYTES) as u32;
    let memory = PageMemory::new(MemoryLimit::new(MEMORY_BYTES)).expect("addresses for 16 MiB");
    memory.set_aside(run).expect("pages of one leaf");
    let mut span = memory.io_span(0, run).expect("pages that nobody has");
    span.as_mut_slice().copy_from_slice(bytes);
    drop(span);
    let mut tree = Tree::new(memory);
    let loaded = LoadedLeaf { page: 0, run, rows: rows.len() as u32, separator: &[] };
    tree.adopt(std::iter::once(loaded)).expect("a checked leaf is taken");
    audit(&tree, rows.len());
    assert_eq!(&all(&tree), rows, "the tree holds what the page says");
    let (key, value) = &rows[rows.len() / 2];
    tree.freeze();
    tree.put(key, &[&value[..value.len().min(100)], b"more"].concat()).expect("a short value");
    audit(&tree, rows.len());
    for (key, _) in rows.iter().step_by(2) {
        assert!(tree.remove(key).expect("room to remove"), "the key is there");
    }
    audit(&tree, rows.len() / 2);
}

fn all(tree: &Tree) -> Rows {
    let (mut rows, mut key) = (Vec::new(), Vec::new());
    let mut scan = tree.range(&[], None);
    while scan.next() {
        scan.key_into(&mut key);
        rows.push((key.clone(), scan.value().to_vec()));
    }
    rows
}

fn audit(tree: &Tree, rows: usize) {
    let audit = tree.check().unwrap_or_else(|what| panic!("the tree is broken: {what}"));
    assert_eq!(audit.rows, rows as u64);
}
