//! What the directory promises, on bytes that no honest writer makes: each test that changes
//! bytes makes the checksums right again, so that only the checks of content stand.

use proptest::prelude::*;

use super::*;

const AT: u64 = 1 << 20;

fn built(leaves: &[(u32, u32, Vec<u8>)]) -> (Vec<u8>, Footer) {
    let mut builder = Builder::default();
    for (index, (run, rows, separator)) in leaves.iter().enumerate() {
        let first_page = builder.pages();
        let (run, rows, crc) = (*run, *rows, index as u32);
        let leaf = LeafEntry { first_page, run, rows, crc, separator };
        builder.push(&leaf, Digest(u64::from(rows) << 40)).expect("it fits");
    }
    builder.finish().expect("it fits")
}

fn decoded(bytes: &[u8], footer: &Footer) -> Result<Directory, SnapshotError> {
    Directory::decode(Path::new("s"), AT, AlignedBuf::copied(bytes).unwrap(), footer)
}

fn simple(count: u32) -> (Vec<u8>, Footer) {
    let leaf = |i: u32| (1 + i % 3, i, if i == 0 { vec![] } else { i.to_be_bytes().to_vec() });
    built(&(0..count).map(leaf).collect::<Vec<_>>())
}

/// Makes the checksums of all blocks right, as far as their lengths make sense, and the footer's.
fn reseal(bytes: &mut [u8], footer: &mut Footer) {
    let (mut at, mut crcs) = (0, crc32fast::Hasher::new());
    while at < bytes.len() {
        let len = (u32_at(bytes, at + 20) as usize).clamp(PAGE, bytes.len() - at);
        let crc = crc32fast::hash(&bytes[at + 8..at + len]).to_le_bytes();
        put(bytes, at + 4, &crc);
        crcs.update(&crc);
        at += len.next_multiple_of(PAGE);
    }
    footer.blocks_crc = crcs.finalize();
}

/// Guards: separators of every length and blocks of every filling come back.
#[test]
fn long_separators_fill_many_blocks() {
    let separator = |i: usize| {
        let mut separator = format!("{i:08}").into_bytes();
        separator.resize(8 + (i * 37) % (MAX_SEPARATOR - 7), b'x');
        separator
    };
    let leaves: Vec<_> =
        (0..500).map(|i| (MAX_RUN, 1, if i == 0 { vec![] } else { separator(i) })).collect();
    let (bytes, footer) = built(&leaves);
    assert!(footer.blocks > 10);
    let directory = decoded(&bytes, &footer).unwrap();
    assert_eq!((directory.len(), u64::from(directory.pages())), (500, footer.pages));
    for (index, (run, rows, separator)) in leaves.iter().enumerate() {
        let leaf = directory.leaf(index);
        assert_eq!((leaf.run, leaf.rows, leaf.crc), (*run, *rows, index as u32));
        assert_eq!(leaf.separator, separator);
        assert_eq!(directory.index_of(leaf.first_page), Some(index));
        assert_eq!(directory.index_of(leaf.first_page + 1), None);
    }
}

/// Guards: one page more than 2^32 - 1 is refused when it is pushed.
#[test]
fn too_many_pages_are_refused() {
    let mut builder = Builder::default();
    let mut refused = false;
    for i in 0..=u32::MAX / MAX_RUN {
        let (first_page, separator) = (builder.pages(), &i.to_be_bytes()[..]);
        let leaf = LeafEntry { first_page, run: MAX_RUN, rows: 0, crc: 0, separator };
        refused = builder.push(&leaf, Digest::EMPTY).is_none();
    }
    assert!(refused, "{} pages were taken", builder.pages());
}

/// Guards S21: impossible entries are refused under right checksums, and nothing is allocated for
/// what they announce.
#[test]
fn s21_impossible_entries_are_refused() {
    let (good, footer) = simple(40);
    let first = BLOCK_HEADER;
    let second = first + LEAF_ENTRY;
    let chunks = PAGE;
    let hostile: [(usize, &[u8]); 15] = [
        (first, &0u32.to_le_bytes()),
        (first, &u32::MAX.to_le_bytes()),
        (first, &(MAX_RUN + 1).to_le_bytes()),
        (first + 4, &u32::MAX.to_le_bytes()),
        (first + 12, &u16::MAX.to_le_bytes()),
        (second + LEAF_ENTRY, &u32::MAX.to_le_bytes()),
        (8, &3u16.to_le_bytes()),
        (8, &CHUNKS.to_le_bytes()),
        (12, &u32::MAX.to_le_bytes()),
        (12, &39u32.to_le_bytes()),
        (16, &u32::MAX.to_le_bytes()),
        (16, &0u32.to_le_bytes()),
        (24, &1u32.to_le_bytes()),
        (chunks + 8, &LEAVES.to_le_bytes()),
        (chunks + BLOCK_HEADER + 16, &[1]),
    ];
    for (at, change) in hostile {
        let (mut bytes, mut footer) = (good.clone(), footer);
        put(&mut bytes, at, change);
        reseal(&mut bytes, &mut footer);
        let error = decoded(&bytes, &footer).expect_err("believed");
        assert!(matches!(error, SnapshotError::Damaged { offset, .. } if offset >= AT), "{error}");
    }
    assert!(decoded(&good, &footer).is_ok());
}

/// Guards S21: a footer that announces more than there is costs no memory and is refused.
#[test]
fn s21_a_footer_that_exaggerates_is_refused() {
    let (bytes, footer) = simple(10);
    for wrong in [
        Footer { leaves: u64::MAX, ..footer },
        Footer { chunks: u64::MAX, ..footer },
        Footer { pages: footer.pages + 1, ..footer },
        Footer { rows: footer.rows - 1, ..footer },
        Footer { digest: Digest(1), ..footer },
        Footer { blocks: 9, ..footer },
        Footer { blocks_crc: 9, ..footer },
    ] {
        assert!(decoded(&bytes, &wrong).is_err(), "{wrong:?}");
    }
}

/// Guards D12: an intact block of another snapshot, with the same counts, is noticed.
#[test]
fn d12_a_block_of_another_snapshot_is_noticed() {
    let leaves = |last: &[u8]| [(1, 5, vec![]), (1, 5, last.to_vec())];
    let (ours, footer) = built(&leaves(b"b"));
    let (theirs, _) = built(&leaves(b"c"));
    assert_eq!(ours.len(), theirs.len());
    assert!(decoded(&ours, &footer).is_ok());
    assert!(decoded(&theirs, &footer).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Guards S21: any bytes under right checksums are an error or a directory whose leaves can
    /// all be used; never a panic.
    #[test]
    fn s21_any_change_is_an_error_or_harmless(
        changes in prop::collection::vec((0usize..2 * PAGE, any::<u8>()), 1..6),
    ) {
        let (mut bytes, mut footer) = simple(60);
        for (at, byte) in changes {
            // Most changes go where the fields are.
            let at = if at % 2 == 0 { at % 400 } else { at };
            let last = bytes.len() - 1;
            bytes[at.min(last)] = byte;
        }
        reseal(&mut bytes, &mut footer);
        if let Ok(directory) = decoded(&bytes, &footer) {
            let pages: u64 = (0..directory.len()).map(|i| u64::from(directory.leaf(i).run)).sum();
            prop_assert_eq!(pages, footer.pages);
        }
    }
}
