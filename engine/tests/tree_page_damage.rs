//! A damaged leaf page is told, or what it holds can be read without harm (rows D04, D05 of the
//! catalogue meet the checksum first; this is the line behind it).

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use resprout_engine::tree::{MemoryLimit, PAGE_BYTES, PageMemory, Tree, leaf};

fn sample_pages() -> Vec<Vec<u8>> {
    let mut tree = Tree::new(PageMemory::new(MemoryLimit::new(64 << 20)).unwrap());
    for number in 0..200u64 {
        let key = [&[0, 0, 0, 1][..], &(number * 977).to_be_bytes()].concat();
        tree.put(&key, &vec![7; usize::try_from(number % 90).unwrap()]).unwrap();
    }
    for number in (0..200u64).step_by(3) {
        let key = [&[0, 0, 0, 1][..], &(number * 977).to_be_bytes()].concat();
        tree.remove(&key).unwrap();
    }
    tree.put(b"jumbo", &vec![5; 5000]).unwrap();
    tree.put(b"zz", b"").unwrap();
    let root = tree.freeze();
    let view = tree.versions().hold(&root).view();
    view.leaves().map(|leaf| leaf.bytes.to_vec()).collect()
}

/// Reads everything a page says; must not panic once the page was checked.
fn read_all(bytes: &[u8]) -> Option<usize> {
    let view = leaf::check(bytes).ok()?;
    let mut sum = 0;
    for row in 0..view.rows() {
        let ((prefix, suffix), value) = view.row(row);
        sum += prefix.len() + suffix.len() + value.len();
    }
    Some(sum)
}

/// Guards: whatever bit of a page is flipped, checking and then reading it never panics.
#[test]
fn every_bit_flipped_is_told_or_harmless() {
    for page in sample_pages() {
        assert!(read_all(&page).is_some(), "a good page is accepted");
        let mut damaged = page.clone();
        let mut told = 0;
        for at in 0..page.len() {
            for bit in 0..8 {
                damaged[at] ^= 1 << bit;
                told += usize::from(read_all(&damaged).is_none());
                damaged[at] ^= 1 << bit;
            }
        }
        assert!(told > 100, "{told} flips told");
    }
}

/// Guards: bytes that were never a page are refused without a panic, whatever their length.
#[test]
fn noise_is_refused() {
    let mut state = 1u64;
    for length in [0, 1, 15, 4095, 4096, 4097, 8192] {
        for _ in 0..200 {
            let noise: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            assert!(leaf::check(&noise).is_err());
        }
    }
    assert!(leaf::check(&vec![0; PAGE_BYTES]).is_err());
}
