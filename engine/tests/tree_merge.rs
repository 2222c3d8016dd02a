//! Many rows at once: what `Tree::apply_sorted` leaves behind.

use std::collections::BTreeMap;

use resprout_engine::tree::{MemoryLimit, PAGE_BYTES, PageMemory, Tree, TreeError};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn tree(limit_bytes: u64) -> Tree {
    Tree::new(PageMemory::new(MemoryLimit::new(limit_bytes)).expect("addresses"))
}

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn check(tree: &Tree, model: &Model) {
    let audit = tree.check().expect("a sound tree");
    assert_eq!(audit.rows, model.len() as u64);
    let mut scan = tree.range(&[], None);
    let mut found = Vec::new();
    for (key, value) in model {
        assert!(scan.next(), "a row for {key:?}");
        scan.key_into(&mut found);
        assert_eq!((found.as_slice(), scan.value()), (key.as_slice(), value.as_slice()));
    }
    assert!(!scan.next(), "rows that nobody put");
}

/// A small generator, so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Promise: rows that fall between those of full pages leave pages that are nearly full, not twice as
/// many half-full ones.
#[test]
fn merged_pages_are_full() {
    let mut tree = tree(256 << 20);
    let mut model = Model::new();
    for offset in 0..2 {
        let rows: Model =
            (0..30_000).map(|n| (key(2 * n + offset), vec![offset as u8; 100])).collect();
        tree.apply_sorted(rows.iter().map(|(k, v)| (k.as_slice(), Some(v.as_slice()))))
            .expect("memory");
        model.extend(rows);
    }
    check(&tree, &model);
    let packed: usize = model.iter().map(|(k, v)| Tree::packed_bytes(k, v)).sum();
    let pages = tree.pages() as usize * PAGE_BYTES;
    assert!(pages * 10 < packed * 11, "{pages} bytes of pages for {packed} of rows");
}

/// Promise: of several operations with one key the last counts, also at the ends of groups.
#[test]
fn the_last_of_one_key_counts() {
    let mut tree = tree(64 << 20);
    let rows: Vec<(Vec<u8>, Option<Vec<u8>>)> = (0..4000_u64)
        .flat_map(|n| {
            let last = (!n.is_multiple_of(5)).then(|| n.to_le_bytes().to_vec());
            [(key(n), Some(vec![1; 30])), (key(n), None), (key(n), last)]
        })
        .collect();
    tree.apply_sorted(rows.iter().map(|(k, v)| (k.as_slice(), v.as_deref()))).expect("memory");
    let model = rows.iter().skip(2).step_by(3);
    let model: Model = model.filter_map(|(k, v)| Some((k.clone(), v.clone()?))).collect();
    check(&tree, &model);
}

/// Promise: random batches leave what single operations would, and after [`Tree::reserve`] none fails
/// for memory, however little there is.
#[test]
fn p13_a_reserved_batch_does_not_fail() {
    let (mut refused, mut applied) = (0, 0);
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut tree = tree((6 + dice.below(10)) << 20);
        let mut model = Model::new();
        for _ in 0..60 {
            let longest = [8, 120, 900, 1990, 5000][dice.below(5) as usize];
            let dense = dice.below(2) == 0;
            let base = dice.below(1 << 16);
            let mut batch = BTreeMap::new();
            for _ in 0..dice.below(900) {
                let number = if dense { base + dice.below(1200) } else { dice.below(1 << 16) };
                let value = vec![number as u8; dice.below(longest) as usize];
                batch.insert(key(number), (dice.below(6) > 0).then_some(value));
            }
            let bytes: usize =
                batch.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Vec::len)).sum();
            match tree.reserve(batch.len() as u64, bytes as u64) {
                Ok(()) => applied += 1,
                Err(TreeError::OutOfMemory { .. }) => {
                    refused += 1;
                    continue;
                }
                Err(error) => panic!("{error}"),
            }
            let rows = batch.iter().map(|(k, v)| (k.as_slice(), v.as_deref()));
            tree.apply_sorted(rows).expect("memory was reserved");
            for (key, value) in batch {
                match value {
                    Some(value) => model.insert(key, value),
                    None => model.remove(&key),
                };
            }
            let root = tree.freeze();
            tree.versions().publish(root);
        }
        check(&tree, &model);
    }
    assert!(refused > 100 && applied > 100, "{refused} refused, {applied} applied");
}
