//! The bytes of one page against a sorted map.

use std::collections::BTreeMap;

use super::*;

fn fresh(keys: &[&[u8]]) -> Box<Page> {
    let all: Vec<Entry<'_>> = keys.iter().map(|key| Entry::new(key, b"v")).collect();
    let mut page = Box::new([0xEE; PAGE_BYTES]);
    let prefix = shared_prefix(&all[0], &all[all.len() - 1]);
    rebuild(&mut page, &all, prefix, Sequence::default());
    page
}

/// Guards: every key is found where it is, and a missing one where it would be.
#[test]
fn search_finds_rows_and_gaps() {
    let sets: [&[&[u8]]; 5] = [
        &[b"a"],
        &[b"", b"\0", b"\0\0", b"\0\0\0\0", b"\0\0\0\0\0", b"\x01"],
        &[b"prefix-aaaa1", b"prefix-aaaa2", b"prefix-aaaa2x", b"prefix-b"],
        &[b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\0", b"\xff\xff\xff\xff\xff"],
        &[b"same", b"same0", b"same00", b"same000", b"same0000", b"same00000"],
    ];
    for keys in sets {
        let page = fresh(keys);
        let shared = Shared::new(&page);
        check(&page[..]).unwrap();
        for (row, key) in keys.iter().enumerate() {
            assert_eq!(shared.search(key), Place::Row(row), "{key:?}");
            let after = [key, &b"\0"[..]].concat();
            let expected = keys.partition_point(|k| *k < after.as_slice());
            assert_eq!(shared.lower_bound(&after), expected, "{after:?}");
        }
    }
}

/// Guards: inserting, replacing and removing in place keep the page valid and are what a map does.
#[test]
fn edits_in_place_agree_with_a_map() {
    let mut state = 9u64;
    let mut roll = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % bound
    };
    for _ in 0..200 {
        let mut page = fresh(&[b"k"]);
        rebuild(&mut page, &[Entry::new(b"k", b"v")], 0, Sequence::default());
        let mut model = BTreeMap::from([(b"k".to_vec(), b"v".to_vec())]);
        for _ in 0..120 {
            let key: Vec<u8> = (0..roll(7)).map(|_| [0, 1, 0xff][roll(3) as usize]).collect();
            let value = vec![roll(256) as u8; roll(90) as usize];
            let shared = Shared::new(&page);
            match (shared.search(&key), roll(3)) {
                (Place::Row(row), 0) if shared.rows() > 1 => {
                    remove(&mut page, row, row + 1);
                    model.remove(&key);
                }
                (Place::Row(row), _) => {
                    if overwrite(&mut page, row, &value) || replace(&mut page, row, &value) {
                        model.insert(key, value);
                    }
                }
                (Place::Before(row), _) => {
                    if insert(&mut page, row, &key, &value) {
                        model.insert(key, value);
                    }
                }
                (Place::Outside(_), _) => unreachable!("the page has no prefix"),
            }
            let view = check(&page[..]).unwrap();
            assert_eq!(view.rows(), model.len());
        }
        let shared = Shared::new(&page);
        let rows: Vec<_> = (0..shared.rows())
            .map(|r| shared.record(r))
            .map(|(k, v)| (k.to_vec(), v.to_vec()))
            .collect();
        assert_eq!(rows, model.into_iter().collect::<Vec<_>>());
    }
}

/// Guards: what a page needs is said exactly: it fits in so many bytes and in no fewer.
#[test]
fn used_bytes_are_exact() {
    let keys: Vec<Vec<u8>> = (0..30u8).map(|i| vec![b'p', b'q', i, i]).collect();
    let all: Vec<Entry<'_>> = keys.iter().map(|key| Entry::new(key, b"value")).collect();
    let mut page = Box::new([0; PAGE_BYTES]);
    rebuild(&mut page, &all, 2, Sequence::default());
    assert_eq!(Shared::new(&page).live_bytes(), used_by(&all));
}

/// Guards: a separator is greater than the left key, not greater than the right, and short.
#[test]
fn separators_are_short_and_between() {
    let pairs: [(&[u8], &[u8], &[u8]); 4] = [
        (b"", b"\0", b"\0"),
        (b"abc", b"abd9999", b"abd"),
        (b"ab", b"ab0xyz", b"ab0"),
        (b"a", b"z", b"z"),
    ];
    for (left, right, expected) in pairs {
        let found = separator(&Entry::new(left, b""), &Entry::new(right, b""));
        assert_eq!(found, expected);
        assert!(left < found.as_slice() && found.as_slice() <= right);
    }
}

/// Guards: a jumbo leaf gives back its row, and its unused bytes are zero.
#[test]
fn a_jumbo_leaf_keeps_its_row() {
    for length in [2000usize, 4096 - 16 - 3, 4096 - 16 - 2, 100_000] {
        let value = vec![7; length];
        let pages = run_for(3, length);
        let mut run = vec![0xEE; pages as usize * PAGE_BYTES];
        write_jumbo(&mut run, b"key", &value);
        let ((key, rest), found) = check(&run).unwrap().row(0);
        assert_eq!((key, rest, found), (&b"key"[..], &b""[..], value.as_slice()));
        *run.last_mut().unwrap() = 1;
        let full = 16 + 3 + length == run.len();
        assert_eq!(check(&run).is_err(), !full);
    }
}
