//! What the page tree does per second and core, every answer verified.
//!
//! `cargo run --release -p resprout-engine --example tree_bench [rows]` (default 10 M rows of 8 + 100
//! bytes). Each figure is the best of three rounds, in time on the processor as the kernel accounts it
//! for this thread: other work on the machine then costs only what it takes from the caches.

#![expect(clippy::print_stdout, reason = "a bench reports to whoever started it")]

use std::time::Duration;

use resprout_engine::tree::{MemoryLimit, PageMemory, Tree};

const VALUE_BYTES: usize = 100;
const ROUNDS: usize = 3;

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The value of a row: its number and its generation, then filler.
fn value(number: u64, generation: u64) -> [u8; VALUE_BYTES] {
    let mut value = [b'.'; VALUE_BYTES];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value[8..16].copy_from_slice(&generation.to_le_bytes());
    value
}

fn number_of(value: &[u8]) -> u64 {
    u64::from_le_bytes(*value.first_chunk().expect("values have 100 bytes"))
}

fn report(what: &str, operations: u64, best: Duration) {
    let rate = operations as f64 / best.as_secs_f64() / 1e6;
    let each = best.as_secs_f64() * 1e9 / operations as f64;
    println!("{what:<44} {rate:8.2} M/s {each:8.0} ns");
}

/// Time this thread has been on a processor.
struct Started(Duration);

fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.expect("its first field is a number"))
}

impl Started {
    fn now() -> Self {
        Self(on_processor())
    }

    fn elapsed(&self) -> Duration {
        on_processor() - self.0
    }
}

/// Best time of some rounds.
fn best(mut round: impl FnMut(usize) -> Duration) -> Duration {
    (0..ROUNDS).map(&mut round).min().expect("there is a round")
}

fn load(rows: u64) -> (Tree, Duration) {
    let memory = PageMemory::new(MemoryLimit::physical_memory()).expect("addresses");
    let mut tree = Tree::new(memory);
    let start = Started::now();
    for number in 0..rows {
        tree.put(&number.to_be_bytes(), &value(number, 0)).expect("memory");
    }
    let taken = start.elapsed();
    let root = tree.freeze();
    tree.versions().publish(root);
    assert_eq!(root.rows, rows);
    (tree, taken)
}

fn gets(tree: &Tree, rows: u64) {
    let operations = 4_000_000;
    let view = tree.versions().acquire();
    let taken = best(|round| {
        let mut dice = Dice(round as u64);
        let start = Started::now();
        for _ in 0..operations {
            let number = dice.roll() % rows;
            let found = view.get(&number.to_be_bytes()).map(number_of);
            assert_eq!(found, Some(number));
        }
        start.elapsed()
    });
    report("get, uniform", operations, taken);
    let taken = best(|round| {
        let mut dice = Dice(round as u64);
        let start = Started::now();
        for _ in 0..operations {
            let number = dice.roll() % rows;
            let view = tree.versions().acquire();
            let found = view.get(&number.to_be_bytes()).map(number_of);
            assert_eq!(found, Some(number));
        }
        start.elapsed()
    });
    report("get, uniform, a view for each", operations, taken);
    let taken = best(|_| {
        let start = Started::now();
        let mut scan = view.range(&[], None);
        let mut expected = 0;
        while scan.next() {
            assert_eq!(number_of(scan.value()), expected);
            expected += 1;
        }
        assert_eq!(expected, rows);
        start.elapsed()
    });
    report("scan", rows, taken);
}

fn single_puts(tree: &mut Tree, rows: u64, rows_per_freeze: u64) {
    let operations = 1_000_000;
    let taken = best(|round| {
        let mut dice = Dice(100 + round as u64);
        let start = Started::now();
        for operation in 0..operations {
            let number = dice.roll() % rows;
            tree.put(&number.to_be_bytes(), &value(number, 1)).expect("memory");
            if operation % rows_per_freeze == 0 {
                let root = tree.freeze();
                tree.versions().publish(root);
            }
        }
        start.elapsed()
    });
    report(&format!("random put, a root for {rows_per_freeze}"), operations, taken);
}

fn batches(tree: &mut Tree, rows: u64) {
    let operations = (rows * 2 / 5).max(1);
    let mut sorting = Duration::MAX;
    let taken = best(|round| {
        let mut dice = Dice(200 + round as u64);
        let mut numbers: Vec<u64> = (0..operations).map(|_| dice.roll() % rows).collect();
        let start = Started::now();
        numbers.sort_unstable();
        sorting = sorting.min(start.elapsed());
        let keys: Vec<[u8; 8]> = numbers.iter().map(|number| number.to_be_bytes()).collect();
        let values: Vec<_> =
            numbers.iter().map(|&number| value(number, 2 + round as u64)).collect();
        let start = Started::now();
        let pairs = keys.iter().zip(&values).map(|(key, value)| (&key[..], Some(&value[..])));
        tree.apply_sorted(pairs).expect("memory");
        let root = tree.freeze();
        tree.versions().publish(root);
        start.elapsed()
    });
    report("sorted batch", operations, taken);
    report("  of it with the sort", operations, taken + sorting);
}

fn main() {
    let rows = std::env::args().nth(1).map_or(10_000_000, |rows| rows.parse().expect("a number"));
    let first_touch = load(rows).1;
    let mut taken = first_touch;
    let mut tree = None;
    for _ in 1..ROUNDS {
        drop(tree.take());
        let (loaded, time) = load(rows);
        taken = taken.min(time);
        tree = Some(loaded);
    }
    let mut tree = tree.expect("there is a round");
    report("sequential append", rows, taken);
    report("  first time, memory fresh", rows, first_touch);
    let packed = rows * (8 + VALUE_BYTES as u64);
    let taken_bytes = tree.memory().allocated_bytes();
    println!("memory: {:.3} x packed bytes", taken_bytes as f64 / packed as f64);
    println!("height {}, {} pages", tree.height(), tree.pages());
    gets(&tree, rows);
    single_puts(&mut tree, rows, 1);
    single_puts(&mut tree, rows, 64);
    batches(&mut tree, rows);
    let audit = tree.check().expect("the tree keeps its rules");
    assert_eq!(audit.rows, rows);
    println!("checked: {audit:?}");
}
