//! Views that are kept and refreshed: they show the newest committed root and keep nothing older.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use resprout_engine::tree::{MemoryLimit, PageMemory, Root, Tree, View};

const ROWS: u64 = 2000;

fn key(number: u64) -> [u8; 12] {
    let mut key = [b'k'; 12];
    key[4..].copy_from_slice(&number.to_be_bytes());
    key
}

/// A tree whose rows are all 0, published.
fn tree() -> Tree {
    let mut tree = Tree::new(PageMemory::new(MemoryLimit::new(256 << 20)).unwrap());
    for number in 0..ROWS {
        tree.put(&key(number), &0u64.to_le_bytes()).unwrap();
    }
    publish(&mut tree);
    tree
}

fn publish(tree: &mut Tree) -> Root {
    let root = tree.freeze();
    tree.versions().publish(root);
    root
}

/// Adds one to a row, as a version of its own.
fn count_up(tree: &mut Tree, number: u64) {
    let old = u64::from_le_bytes(tree.get(&key(number)).unwrap().try_into().unwrap());
    tree.put(&key(number), &(old + 1).to_le_bytes()).unwrap();
    publish(tree);
}

fn sum(view: &View) -> u64 {
    let mut scan = view.range(&[], None);
    let mut sum = 0;
    while scan.next() {
        sum += u64::from_le_bytes(scan.value().try_into().unwrap());
    }
    sum
}

/// Guards: a refreshed view shows what is committed now, a frozen root that is not published does not
/// count, and going back to an older root is a move as well. In a slot, counted, and of a hold.
#[test]
fn a_refreshed_view_shows_what_is_committed_now() {
    let mut tree = tree();
    let hold = tree.versions().hold(&tree.versions().committed());
    let crowd: Vec<View> = (0..300).map(|_| tree.versions().acquire()).collect();
    let counted = tree.versions().acquire();
    drop(crowd);
    let mut views = [tree.versions().acquire(), counted, hold.view()];
    for view in &mut views {
        assert!(!view.refresh());
    }
    count_up(&mut tree, 7);
    for view in &mut views {
        assert_eq!(sum(view), 0);
        assert!(view.refresh());
        assert!(!view.refresh());
        assert_eq!((sum(view), view.root()), (1, tree.versions().committed()));
    }
    tree.put(&key(8), &5u64.to_le_bytes()).unwrap();
    let unpublished = tree.freeze();
    for view in &mut views {
        assert!(!view.refresh(), "a root that is not published is no reason to move");
    }
    tree.versions().publish(unpublished);
    tree.versions().publish(hold.root());
    for view in &mut views {
        assert!(view.refresh());
        assert_eq!((sum(view), view.root()), (0, hold.root()));
    }
    drop(views);
    tree.check().unwrap();
}

/// Guards: a view that is refreshed with every commit keeps no page of the versions it has left.
#[test]
fn a_refreshed_view_keeps_nothing_older() {
    let mut tree = tree();
    let mut view = tree.versions().acquire();
    let before = tree.memory().allocated_bytes();
    for round in 0..50_000 {
        count_up(&mut tree, round % ROWS);
        assert!(view.refresh());
    }
    let grown = tree.memory().allocated_bytes() - before;
    assert!(grown <= 8 << 20, "{grown} bytes more");
    assert_eq!(sum(&view), 50_000);
    tree.check().unwrap();
}

/// Guards: while the writer goes on and uses pages again, threads that keep one view and refresh it
/// see whole versions only.
#[test]
fn refreshing_threads_see_whole_versions() {
    let mut tree = tree();
    let first = tree.versions().committed();
    let versions = Arc::clone(tree.versions());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut view = versions.acquire();
                let mut seen = 0;
                while !stop.load(Ordering::Relaxed) {
                    view.refresh();
                    // Every version adds one to one row.
                    assert_eq!(sum(&view), view.root().version - first.version);
                    assert!(view.root().version >= seen, "committed versions only go forward here");
                    seen = view.root().version;
                }
            });
        }
        for round in 0..60_000 {
            count_up(&mut tree, (round * 7919) % ROWS);
        }
        stop.store(true, Ordering::Relaxed);
    });
    tree.check().unwrap();
}
