//! Several searches at once find what a `BTreeMap` holds, in the order asked.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use resprout_engine::tree::{self, MemoryLimit, PageMemory, Tree, View};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// More than two groups and a part of one.
const MOST_KEYS: u64 = 40;

/// A small generator of pseudo-random numbers (splitmix64), fixed by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// A number, or a few bytes of a small alphabet: the empty key, prefixes of others, long ones.
    fn key(&mut self, numbers: u64) -> Vec<u8> {
        match self.below(4) {
            0 => {
                let letters = [0, 0xff, b'k'];
                let length =
                    [self.below(6), self.below(14), 300 + self.below(3)][self.below(3) as usize];
                (0..length).map(|_| letters[self.below(3) as usize]).collect()
            }
            _ => [&b"key "[..], &self.below(numbers).to_be_bytes()].concat(),
        }
    }

    /// Mostly some bytes, sometimes more than a page.
    fn value(&mut self) -> Vec<u8> {
        let length = match self.below(20) {
            0 => 1900 + self.below(20_000),
            1 => 0,
            _ => self.below(200),
        };
        vec![self.below(256) as u8; length as usize]
    }
}

fn filled(dice: &mut Dice, rows: u64) -> (Tree, Model) {
    let mut tree = Tree::new(PageMemory::new(MemoryLimit::new(256 << 20)).unwrap());
    let mut model = Model::new();
    for _ in 0..rows {
        let (key, value) = (dice.key(2 * rows), dice.value());
        tree.put(&key, &value).unwrap();
        model.insert(key, value);
    }
    let root = tree.freeze();
    tree.versions().publish(root);
    (tree, model)
}

/// Keys that are there and others, some of them twice.
fn keys(dice: &mut Dice, model: &Model, rows: u64) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for _ in 0..dice.below(MOST_KEYS + 1) {
        let like = dice.key(2 * rows);
        keys.push(match dice.below(4) {
            0 => like,
            1 if !keys.is_empty() => keys[dice.below(keys.len() as u64) as usize].clone(),
            _ => model.range(like.clone()..).next().map_or(like, |(key, _)| key.clone()),
        });
    }
    keys
}

/// Guards: each key gets its own value, in the order asked, whatever the keys and however many; in an
/// empty tree, one of a single leaf, and one of several levels with large rows among the others.
#[test]
fn each_key_gets_its_value_in_order() {
    let mut dice = Dice(7);
    for rows in [0, 1, 5, 300, 30_000] {
        let (tree, model) = filled(&mut dice, rows);
        let view = tree.versions().acquire();
        let mut sizes = BTreeMap::new();
        for _ in 0..1000 {
            let keys = keys(&mut dice, &model, rows.max(1));
            *sizes.entry(keys.len()).or_insert(0) += 1;
            let mut found = Vec::new();
            view.get_many(&keys, |at, value| found.push((at, value)));
            let expected: Vec<_> =
                keys.iter().map(|key| model.get(key).map(Vec::as_slice)).enumerate().collect();
            assert!(found == expected, "of {rows} rows: {keys:x?}");
        }
        assert_eq!(sizes.len() as u64, MOST_KEYS + 1, "every number of keys was tried");
    }
}

/// Guards: lookups in trees of different heights go on side by side, and each finds the row of its own
/// tree, where all trees have the same keys.
#[test]
fn each_lookup_reads_its_own_view() {
    let mut dice = Dice(8);
    let trees: Vec<(Tree, Model)> =
        [0, 4, 20_000, 200, 2000].iter().map(|&rows| filled(&mut dice, rows)).collect();
    let views: Vec<View> = trees.iter().map(|(tree, _)| tree.versions().acquire()).collect();
    for _ in 0..3000 {
        let mut lookups = Vec::new();
        for key in keys(&mut dice, &trees[2].1, 20_000) {
            lookups.push((dice.below(trees.len() as u64) as usize, key));
        }
        let mut found = Vec::new();
        let asked = lookups.iter().map(|(tree, key)| (&views[*tree], key));
        tree::get_many(asked, |at, value| found.push((at, value)));
        let of_model = |(tree, key): &(usize, Vec<u8>)| trees[*tree].1.get(key).map(Vec::as_slice);
        let expected: Vec<_> = lookups.iter().map(of_model).enumerate().collect();
        assert!(found == expected, "{lookups:x?}");
    }
}
