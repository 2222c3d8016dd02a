//! The page tree against a `BTreeMap`: random operations, with roots frozen, held, looked at and
//! rewound to in between; after each step that matters the tree checks itself.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use resprout_engine::tree::{
    Hold, LoadedLeaf, MemoryLimit, PAGE_BYTES, PageMemory, Put, Root, Tree, TreeError, View,
};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A small generator of pseudo-random numbers (splitmix64), fixed by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).unwrap()
    }
}

fn new_tree() -> Tree {
    Tree::new(PageMemory::new(MemoryLimit::new(256 << 20)).unwrap())
}

/// How a run chooses keys and values.
#[derive(Clone, Copy, Debug)]
enum Flavour {
    /// Dense integers under a few index ids, rows of 100 bytes.
    Integers,
    /// Short keys of few different bytes, the empty key among them; trailing zeros and 0xff.
    Adversarial,
    /// Keys of up to 3 KiB with long common prefixes.
    LongKeys,
    /// Values from nothing to several pages.
    MixedValues,
}

const FLAVOURS: [Flavour; 4] =
    [Flavour::Integers, Flavour::Adversarial, Flavour::LongKeys, Flavour::MixedValues];

fn key(dice: &mut Dice, flavour: Flavour) -> Vec<u8> {
    match flavour {
        Flavour::Integers | Flavour::MixedValues => {
            let index = u32::try_from(dice.below(3)).unwrap();
            let number = dice.below(3000) as u64;
            [index.to_be_bytes().as_slice(), &number.to_be_bytes()].concat()
        }
        Flavour::Adversarial => {
            let alphabet = [0, 0, 0xff, 1, b'a'];
            (0..dice.below(14)).map(|_| alphabet[dice.below(5)]).collect()
        }
        Flavour::LongKeys => {
            let prefix = [10, 100, 1000, 2900, 3000][dice.below(5)];
            let tail: Vec<u8> = (0..dice.below(20)).map(|_| [0, 7, 0xff][dice.below(3)]).collect();
            let mut key = vec![u8::try_from(dice.below(2)).unwrap() * 9; prefix];
            key.extend(tail);
            if dice.below(4) == 0 {
                key.extend(vec![5; dice.below(40)]);
            }
            key
        }
    }
}

fn value(dice: &mut Dice, flavour: Flavour) -> Vec<u8> {
    let length = match flavour {
        Flavour::Integers => 100,
        Flavour::Adversarial => dice.below(60),
        Flavour::LongKeys => dice.below(300),
        Flavour::MixedValues => match dice.below(20) {
            0 => 1900 + dice.below(300),
            1 => dice.below(30_000),
            2..6 => dice.below(900),
            _ => dice.below(80),
        },
    };
    vec![u8::try_from(dice.below(256)).unwrap(); length]
}

fn assert_view(view: &View, model: &Model, context: &str) {
    assert_eq!(view.root().rows, model.len() as u64, "{context}");
    let mut scan = view.range(&[], None);
    let mut buffer = Vec::new();
    for (key, value) in model {
        assert!(scan.next(), "{context}: rows end early");
        scan.key_into(&mut buffer);
        assert_eq!(&buffer, key, "{context}");
        assert_eq!(scan.value(), value.as_slice(), "{context}");
    }
    assert!(!scan.next(), "{context}: too many rows");
}

/// A root kept by the run: with the model as it was.
struct Kept {
    hold: Hold,
    view: Option<View>,
    model: Model,
}

struct Run {
    dice: Dice,
    flavour: Flavour,
    tree: Tree,
    model: Model,
    kept: Vec<Kept>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let flavour = FLAVOURS[usize::try_from(seed % 4).unwrap()];
        Self { dice: Dice(seed), flavour, tree: new_tree(), model: Model::new(), kept: Vec::new() }
    }

    fn put(&mut self) {
        let (key, value) = (key(&mut self.dice, self.flavour), value(&mut self.dice, self.flavour));
        let put = self.tree.put(&key, &value).unwrap();
        let before = self.model.insert(key, value);
        assert_eq!(put == Put::Replaced, before.is_some());
    }

    fn some_key(&mut self) -> Vec<u8> {
        let key = key(&mut self.dice, self.flavour);
        if self.dice.below(2) == 0 {
            return key;
        }
        self.model.range(key.clone()..).next().map_or(key, |(key, _)| key.clone())
    }

    fn remove(&mut self) {
        let key = self.some_key();
        assert_eq!(self.tree.remove(&key).unwrap(), self.model.remove(&key).is_some());
    }

    fn remove_range(&mut self) {
        let (from, mut to) = (self.some_key(), Some(self.some_key()));
        if self.dice.below(8) == 0 {
            to = None;
        }
        let removed = self.tree.remove_range(&from, to.as_deref()).unwrap();
        let doomed: Vec<Vec<u8>> = self
            .model
            .range(from..)
            .map(|(key, _)| key.clone())
            .take_while(|key| to.as_ref().is_none_or(|to| key < to))
            .collect();
        assert_eq!(removed, doomed.len() as u64);
        for key in doomed {
            self.model.remove(&key);
        }
    }

    fn batch(&mut self) {
        let size = self.dice.below(400);
        let mut batch = BTreeMap::new();
        for _ in 0..size {
            let key = self.some_key();
            let value = (self.dice.below(4) > 0).then(|| value(&mut self.dice, self.flavour));
            batch.insert(key, value);
        }
        let bytes =
            batch.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Vec::len)).sum::<usize>();
        self.tree.reserve(batch.len() as u64, bytes as u64).unwrap();
        self.tree.apply_sorted(batch.iter().map(|(k, v)| (k.as_slice(), v.as_deref()))).unwrap();
        for (key, value) in batch {
            match value {
                Some(value) => self.model.insert(key, value),
                None => self.model.remove(&key),
            };
        }
    }

    fn get(&mut self) {
        let key = self.some_key();
        assert_eq!(self.tree.get(&key), self.model.get(&key).map(Vec::as_slice));
    }

    fn scan(&mut self) {
        let (from, to) = (self.some_key(), self.some_key());
        let expected: Vec<_> =
            self.model.iter().filter(|(k, _)| **k >= from && **k < to).take(100).collect();
        let mut scan = self.tree.range(&from, Some(&to));
        let mut buffer = Vec::new();
        for (key, value) in &expected {
            assert!(scan.next());
            scan.key_into(&mut buffer);
            assert_eq!((&buffer, scan.value()), (*key, value.as_slice()));
        }
        // Back again, one row less each way: forwards and backwards agree.
        for (key, _) in expected.iter().rev().skip(1) {
            assert!(scan.prev());
            scan.key_into(&mut buffer);
            assert_eq!(&buffer, *key);
        }
        assert!(!scan.prev() || expected.is_empty());
        let last = self.model.iter().rfind(|(k, _)| **k >= from && **k < to);
        let mut scan = self.tree.range(&from, Some(&to));
        assert_eq!(scan.prev(), last.is_some());
        if let Some((key, _)) = last {
            scan.key_into(&mut buffer);
            assert_eq!(&buffer, key);
            assert!(!scan.next());
        }
    }

    fn freeze(&mut self) {
        let root = self.tree.freeze();
        assert_eq!(root.rows, self.model.len() as u64);
        let hold = self.tree.versions().hold(&root);
        if self.dice.below(2) == 0 {
            self.tree.versions().publish(root);
        }
        if self.dice.below(3) == 0 {
            let view = (self.dice.below(2) == 0).then(|| hold.view());
            self.kept.push(Kept { hold, view, model: self.model.clone() });
        }
        if self.kept.len() > 6 {
            let index = self.dice.below(self.kept.len());
            let kept = self.kept.swap_remove(index);
            assert_view(&kept.hold.view(), &kept.model, "a root before it is let go");
        }
    }

    fn rewind(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        let index = self.dice.below(self.kept.len());
        let kept = &self.kept[index];
        match self.tree.rewind(&kept.hold) {
            Ok(()) => {
                self.model = kept.model.clone();
                self.tree.versions().publish(kept.hold.root());
            }
            Err(TreeError::NotAncestor { version }) => {
                assert_eq!(version, kept.hold.root().version);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn step(&mut self) {
        match self.dice.below(1000) {
            0..500 => self.put(),
            500..700 => self.remove(),
            700..800 => self.get(),
            800..860 => self.scan(),
            860..880 => self.batch(),
            880..890 => self.remove_range(),
            890..980 => self.freeze(),
            980..990 => self.rewind(),
            _ => {
                self.tree.check().unwrap();
            }
        }
    }

    fn finish(mut self) {
        self.tree.check().unwrap();
        let root = self.tree.freeze();
        assert_view(&self.tree.versions().hold(&root).view(), &self.model, "at the end");
        for kept in &self.kept {
            assert_view(&kept.hold.view(), &kept.model, "a held root");
            if let Some(view) = &kept.view {
                assert_view(view, &kept.model, "a view");
            }
        }
        self.kept.clear();
        let removed = self.tree.remove_range(&[], None).unwrap();
        assert_eq!(removed, root.rows);
        let audit = self.tree.check().unwrap();
        assert_eq!((audit.rows, audit.pages, audit.inner_nodes), (0, 0, 0));
    }
}

/// Guards: the tree does what a sorted map does, and what a root reached when it was frozen it reaches
/// for as long as it is held, whatever is written, removed and rewound meanwhile.
#[test]
fn random_operations_agree_with_a_map() {
    let seeds = std::env::var("TREE_SEEDS").map_or(1000, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            for _ in 0..300 + seed % 7 * 100 {
                run.step();
            }
            run.finish();
        });
        assert!(result.is_ok(), "seed {seed} failed");
    }
}

fn number_key(number: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[3] = 7;
    key[4..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Guards: rows that come in key order leave full pages behind.
#[test]
fn appending_fills_pages() {
    let mut tree = new_tree();
    for number in 0..100_000 {
        tree.put(&number_key(number), &[1; 100]).unwrap();
    }
    let audit = tree.check().unwrap();
    let packed = audit.rows * 112;
    assert!(audit.pages * 4096 < packed * 107 / 100, "{} pages", audit.pages);
}

/// Guards: appending at the end of one table among others fills pages as well.
#[test]
fn appending_in_the_middle_fills_pages() {
    let mut tree = new_tree();
    for number in 0..60_000u64 {
        let mut key = number_key(number / 3);
        key[2] = u8::try_from(number % 3).unwrap();
        tree.put(&key, &[1; 100]).unwrap();
    }
    let audit = tree.check().unwrap();
    assert!(audit.pages * 4096 < audit.rows * 112 * 107 / 100, "{} pages", audit.pages);
}

/// Guards: pages emptied by removals are merged and become free again.
#[test]
fn removing_gives_pages_back() {
    let mut tree = new_tree();
    for number in 0..50_000 {
        tree.put(&number_key(number), &[1; 100]).unwrap();
    }
    let full = tree.check().unwrap().pages;
    for number in 0..50_000 {
        if number % 10 != 0 {
            tree.remove(&number_key(number)).unwrap();
        }
    }
    let audit = tree.check().unwrap();
    assert_eq!(audit.rows, 5000);
    assert!(audit.pages < full / 4, "{} of {full} pages", audit.pages);
}

/// Guards: retired pages are used again as soon as nobody needs them, and not before.
#[test]
fn memory_does_not_grow_under_updates() {
    let mut tree = new_tree();
    for number in 0..20_000 {
        tree.put(&number_key(number), &[1; 100]).unwrap();
    }
    let root = tree.freeze();
    tree.versions().publish(root);
    let before = tree.memory().allocated_bytes();
    let mut dice = Dice(1);
    for _ in 0..50_000 {
        tree.put(&number_key(dice.below(20_000) as u64), &[2; 100]).unwrap();
        let root = tree.freeze();
        tree.versions().publish(root);
    }
    let grown = tree.memory().allocated_bytes() - before;
    assert!(grown <= 8 << 20, "{grown} bytes more");
    tree.check().unwrap();
}

/// Guards (D24 in memory): at the limit a put is refused, nothing has changed, and after removals it
/// works again.
#[test]
fn the_limit_refuses_and_leaves_the_tree_whole() {
    let limit = MemoryLimit::new(8 << 20);
    let mut tree = Tree::new(PageMemory::new(limit.clone()).unwrap());
    let mut rows = 0;
    let error = loop {
        match tree.put(&number_key(rows), &[3; 1000]) {
            Ok(_) => rows += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, TreeError::OutOfMemory { .. }), "{error}");
    assert!(rows > 4000 && limit.charged_bytes() <= limit.limit_bytes());
    assert_eq!(tree.check().unwrap().rows, rows);
    assert!(matches!(tree.put(b"big", &vec![0; 5 << 20]), Err(TreeError::OutOfMemory { .. })));
    assert!(tree.reserve(100_000, 100 << 20).is_err());
    assert_eq!(tree.check().unwrap().rows, rows);
    tree.remove_range(&number_key(1000), None).unwrap();
    assert_eq!(tree.put(b"big", &vec![0; 1 << 20]).unwrap(), Put::Inserted);
    assert_eq!(tree.check().unwrap().rows, 1001);
    drop(tree);
    assert_eq!(limit.charged_bytes(), 0);
}

/// Guards: keys and values beyond the limits are refused with their length.
#[test]
fn too_long_is_refused() {
    let mut tree = new_tree();
    assert!(matches!(tree.put(&[0; 3073], b""), Err(TreeError::KeyTooLong { found: 3073 })));
    let huge = vec![0; 64 << 20];
    assert!(matches!(tree.put(b"k", &huge), Err(TreeError::ValueTooLong { .. })));
    let largest = &huge[..(64 << 20) - PAGE_BYTES];
    tree.put(&[9; 3072], largest).unwrap();
    assert_eq!(tree.get(&[9; 3072]), Some(largest));
    tree.check().unwrap();
}

/// Guards: a batch out of order is refused at the row that is.
#[test]
fn an_unsorted_batch_is_refused() {
    let mut tree = new_tree();
    let rows: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"c", None), (b"b", Some(b"2"))];
    let error = tree.apply_sorted(rows.into_iter()).unwrap_err();
    assert!(matches!(error, TreeError::NotSorted { row: 2 }), "{error}");
}

/// Loads the leaves of a view into a new tree, as a snapshot would.
fn reload(view: &View) -> Tree {
    let memory = PageMemory::new(MemoryLimit::new(256 << 20)).unwrap();
    let pages = u32::try_from(view.root().pages).unwrap();
    memory.set_aside(pages).unwrap();
    let mut leaves = Vec::new();
    let mut page = 0;
    for leaf in view.leaves() {
        let run = u32::try_from(leaf.bytes.len() / PAGE_BYTES).unwrap();
        let mut span = memory.io_span(page, run).unwrap();
        span.as_mut_slice().copy_from_slice(leaf.bytes);
        assert!(memory.io_span(page, 1).is_none(), "a page is handed out once");
        leaves.push((page, run, leaf.rows, leaf.separator));
        page += run;
    }
    assert_eq!(page, pages);
    let mut tree = Tree::new(memory);
    let loaded = leaves.iter().map(|(page, run, rows, separator)| LoadedLeaf {
        page: *page,
        run: *run,
        rows: *rows,
        separator,
    });
    tree.adopt(loaded).unwrap();
    tree
}

/// Guards: pages that are taken one by one, in any order, make the same tree in memory that is in use; what is refused or
/// given back leaves nothing behind.
#[test]
fn taken_pages_are_the_same_tree() {
    for seed in 0..20 {
        let mut run = Run::new(seed);
        for _ in 0..2000 {
            run.put();
        }
        let root = run.tree.freeze();
        let view = run.tree.versions().hold(&root).view();
        let leaves: Vec<_> = view.leaves().collect();
        let mut tree = new_tree();
        tree.put(b"before", b"it was in use").unwrap();
        let refused = tree.join_leaves(std::iter::empty()).unwrap_err();
        assert!(matches!(refused, TreeError::NotEmpty { rows: 1 }), "{refused}");
        tree.remove_range(&[], None).unwrap();
        for attempt in 0..2 {
            let mut taken: Vec<_> = leaves
                .iter()
                .rev()
                .map(|leaf| {
                    let run = u32::try_from(leaf.bytes.len() / PAGE_BYTES).unwrap();
                    (tree.take_leaf(leaf.bytes).unwrap(), run, leaf)
                })
                .collect();
            // In the wrong order first.
            if attempt == 1 {
                taken.reverse();
            }
            let loaded = taken.iter().map(|(page, run, leaf)| LoadedLeaf {
                page: *page,
                run: *run,
                rows: leaf.rows,
                separator: &leaf.separator,
            });
            let joined = tree.join_leaves(loaded);
            if attempt == 0 && leaves.len() > 1 {
                assert!(matches!(joined.unwrap_err(), TreeError::Adoption { leaf: 1, .. }));
                taken.iter().for_each(|(page, run, _)| tree.give_back_leaf(*page, *run));
                assert_eq!(tree.check().unwrap().pages, 0);
            } else {
                joined.unwrap();
                break;
            }
        }
        let audit = tree.check().unwrap();
        assert_eq!((audit.rows, audit.pages), (root.rows, root.pages));
        let again = tree.freeze();
        assert_view(&tree.versions().hold(&again).view(), &run.model, "taken");
        drop(leaves);
        run.tree = tree;
        run.kept.clear();
        for _ in 0..300 {
            run.step();
        }
        run.finish();
    }
}

/// Guards: the pages of a root, loaded elsewhere, are the same tree, and can be changed on.
#[test]
fn adopted_pages_are_the_same_tree() {
    for seed in 0..40 {
        let mut run = Run::new(seed);
        for _ in 0..2000 {
            run.put();
        }
        let root = run.tree.freeze();
        let view = run.tree.versions().hold(&root).view();
        let mut tree = reload(&view);
        let audit = tree.check().unwrap();
        assert_eq!((audit.rows, audit.pages), (root.rows, root.pages));
        let again = tree.freeze();
        assert_view(&tree.versions().hold(&again).view(), &run.model, "adopted");
        run.tree = tree;
        run.kept.clear();
        for _ in 0..300 {
            run.step();
        }
        run.finish();
    }
}

/// Guards: the same operations give the same page bytes, whoever looks on meanwhile.
#[test]
fn page_bytes_depend_on_the_operations_only() {
    let pages = |watch: bool| {
        let mut tree = new_tree();
        let mut dice = Dice(5);
        let mut watchers = Vec::new();
        for round in 0..30_000 {
            tree.put(&number_key(dice.below(5000) as u64), &value(&mut dice, Flavour::MixedValues))
                .unwrap();
            tree.remove(&number_key(dice.below(5000) as u64)).unwrap();
            if round % 7 == 0 {
                let root = tree.freeze();
                if watch {
                    watchers.push(tree.versions().hold(&root));
                    watchers.truncate(20);
                }
            }
        }
        let root = tree.freeze();
        let view = tree.versions().hold(&root).view();
        view.leaves().flat_map(|leaf| leaf.bytes.to_vec()).collect::<Vec<u8>>()
    };
    assert!(pages(false) == pages(true));
}

/// Guards: a root of a branch that a rewind cut off is refused, not misread.
#[test]
fn a_root_behind_a_rewind_is_refused() {
    let mut tree = new_tree();
    let mut holds = Vec::new();
    for number in 0..100 {
        tree.put(&number_key(number), b"v").unwrap();
        let root: Root = tree.freeze();
        holds.push(tree.versions().hold(&root));
    }
    tree.rewind(&holds[50]).unwrap();
    assert_eq!(tree.rows(), 51);
    assert!(matches!(tree.rewind(&holds[70]), Err(TreeError::NotAncestor { .. })));
    tree.put(b"other", b"v").unwrap();
    tree.rewind(&holds[20]).unwrap();
    assert_eq!(tree.rows(), 21);
    assert_eq!(holds[70].view().root().rows, 71);
    assert_eq!(holds[70].view().get(&number_key(70)), Some(&b"v"[..]));
    tree.check().unwrap();
}

/// Guards: readers in other threads see whole versions only, while the writer goes on and reuses
/// pages.
#[test]
fn readers_in_threads_see_whole_versions() {
    const ROWS: u64 = 2000;
    let mut tree = new_tree();
    for number in 0..ROWS {
        tree.put(&number_key(number), &0u64.to_le_bytes()).unwrap();
    }
    let root = tree.freeze();
    tree.versions().publish(root);
    let versions = Arc::clone(tree.versions());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut seen = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let view = versions.acquire();
                    let mut scan = view.range(&[], None);
                    let mut rows = 0;
                    let mut sum = 0;
                    while scan.next() {
                        rows += 1;
                        sum += u64::from_le_bytes(scan.value().try_into().unwrap());
                    }
                    // Every version adds one to one row.
                    assert_eq!((rows, sum), (ROWS, view.root().version - root.version));
                    assert!(sum >= seen, "committed versions only go forward here");
                    seen = sum;
                }
            });
        }
        let mut dice = Dice(3);
        for _ in 0..60_000 {
            let key = number_key(dice.below(ROWS as usize) as u64);
            let old = u64::from_le_bytes(tree.get(&key).unwrap().try_into().unwrap());
            tree.put(&key, &(old + 1).to_le_bytes()).unwrap();
            let root = tree.freeze();
            tree.versions().publish(root);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    tree.check().unwrap();
}

/// Guards: more views than slots work as well, through the lock.
#[test]
fn more_views_than_slots() {
    let mut tree = new_tree();
    let mut views = Vec::new();
    for number in 0..600u64 {
        tree.put(&number_key(number), b"v").unwrap();
        let root = tree.freeze();
        tree.versions().publish(root);
        views.push(tree.versions().acquire());
    }
    for (number, view) in views.iter().enumerate() {
        assert_eq!(view.root().rows, number as u64 + 1);
        assert!(view.get(&number_key(number as u64)).is_some());
        assert!(view.get(&number_key(number as u64 + 1)).is_none());
    }
    drop(views);
    tree.check().unwrap();
}
