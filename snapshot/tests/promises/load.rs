//! Loading: every page once, in reads that end with a leaf, and errors that do not spread.

use proptest::prelude::*;
use resprout_snapshot::{Loader, PAGE, READ_BYTES, Snapshot, SnapshotError, load_all};
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::disk::{AlignedBuf, Disk};

use crate::sample::{Sample, disk, load};

const EIO: i32 = 5;

fn written(runs: &[u32]) -> (SimDisk, Snapshot, Sample) {
    let disk = disk(1);
    let sample = Sample::new(4096, runs);
    let path = sample.write(&disk).unwrap().path;
    let snapshot = Snapshot::open(&disk, &path, None).unwrap();
    (disk, snapshot, sample)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Guards: the reads cover every page once and in order, never cut a leaf, and are as large as
    /// allowed.
    #[test]
    fn reads_tile_the_pages_and_end_with_leaves(
        runs in prop::collection::vec(1u32..9, 0..60),
        pages_per_read in 1usize..20,
    ) {
        let (_, snapshot, _) = written(&runs);
        let mut plan = Loader::new(&snapshot, pages_per_read * PAGE);
        let (mut page, mut leaf) = (0, 0);
        while let Some(read) = plan.next_read() {
            prop_assert_eq!((read.first_page, read.first_leaf), (page, leaf));
            prop_assert_eq!(read.offset, snapshot.offset_of(page));
            prop_assert_eq!(read.offset % PAGE as u64, 0);
            let of_read = &runs[leaf..leaf + read.leaves];
            prop_assert_eq!(of_read.iter().sum::<u32>(), read.pages);
            prop_assert!(read.pages as usize <= pages_per_read || read.leaves == 1);
            let next = runs.get(leaf + read.leaves).copied().unwrap_or(u32::MAX);
            prop_assert!(read.pages.saturating_add(next) as usize > pages_per_read);
            page += read.pages;
            leaf += read.leaves;
            prop_assert_eq!(plan.pages_planned(), page);
        }
        prop_assert_eq!((page, leaf), (plan.pages_total(), runs.len()));
    }
}

/// Guards: a leaf longer than one read comes whole.
#[test]
fn a_leaf_longer_than_a_read_comes_whole() {
    let long = (READ_BYTES / PAGE) as u32 + 3;
    let (disk, snapshot, sample) = written(&[1, long, 1, long * 2]);
    assert!(load(&disk, &snapshot).unwrap() == sample.pages());
}

/// Guards D25: reads that fail are tried again, and fail for good only after three attempts, with
/// the offset in the error.
#[test]
fn d25_a_failed_read_is_tried_three_times() {
    for failures in 1..=3 {
        let (disk, snapshot, sample) = written(&[1, 1]);
        for _ in 0..failures {
            disk.fail(Fault::on(OpKind::Read, 0, Effect::Error(EIO)));
        }
        match load(&disk, &snapshot) {
            Ok(pages) => assert!(failures < 3 && pages == sample.pages()),
            Err(SnapshotError::Read { offset, attempts, source, .. }) => {
                assert_eq!((failures, attempts), (3, 3));
                assert_eq!(offset, snapshot.offset_of(0));
                assert_eq!(source.raw_os_error(), Some(EIO));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Guards D25: the reads of opening are tried again too, each of them.
#[test]
fn d25_opening_survives_a_failed_read() {
    let (disk, snapshot, sample) = written(&[1, 1]);
    for at in 0..4 {
        disk.fail(Fault::on(OpKind::Read, at, Effect::Error(EIO)));
        sample.assert_is_at(&disk, snapshot.path());
        disk.heal();
    }
    (0..3).for_each(|_| disk.fail(Fault::on(OpKind::Read, 0, Effect::Error(EIO))));
    let error = Snapshot::open(&disk, snapshot.path(), None).unwrap_err();
    assert!(matches!(error, SnapshotError::Read { attempts: 3, .. }), "{error}");
}

/// Guards: after an error nothing is in flight any more, the queue can be used again, and nothing
/// unchecked was handed out.
#[test]
fn an_error_leaves_the_queue_empty() {
    let (disk, snapshot, sample) = written(&[200; 12]);
    let page = 200 * 5 + 7;
    disk.flip(snapshot.path(), snapshot.offset_of(page), 2);
    let mut queue = disk.queue(4).unwrap();
    let mut handed_out = Vec::new();
    let error = load_all(
        &snapshot,
        queue.as_mut(),
        4,
        |read| Ok(AlignedBuf::new(read.bytes())?.into_io()),
        |read, buf| handed_out.push((read, buf.as_slice().to_vec())),
    )
    .unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
    assert_eq!(queue.in_flight(), 0);
    let pages = sample.pages();
    for (read, bytes) in handed_out {
        let start = read.first_page as usize * PAGE;
        assert!(bytes == pages[start..start + read.bytes()]);
    }
    disk.flip(snapshot.path(), snapshot.offset_of(page), 2);
    let mut pages = 0;
    load_all(
        &snapshot,
        queue.as_mut(),
        64,
        |read| Ok(AlignedBuf::new(read.bytes())?.into_io()),
        |read, _| pages += read.pages,
    )
    .unwrap();
    assert_eq!(pages, snapshot.pages());
}

/// Guards: no memory for a read is an error, not a panic, and ends the load.
#[test]
fn no_memory_ends_the_load() {
    let (disk, snapshot, _) = written(&[512; 4]);
    let mut queue = disk.queue(2).unwrap();
    let mut left = 2;
    let span = |read: resprout_snapshot::PageRead| {
        if left == 0 {
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        left -= 1;
        Ok(AlignedBuf::new(read.bytes())?.into_io())
    };
    let error = load_all(&snapshot, queue.as_mut(), 2, span, |_, _| {}).unwrap_err();
    assert!(matches!(error, SnapshotError::Io { .. }), "{error}");
    assert_eq!(queue.in_flight(), 0);
}

/// Guards: a file that was cut after it was opened is damage, not an endless wait.
#[test]
fn a_file_cut_under_the_reader_is_damage() {
    let (disk, snapshot, _) = written(&[1; 8]);
    disk.truncate(snapshot.path(), snapshot.offset_of(5));
    let error = load(&disk, &snapshot).unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
}

/// Guards: other threads may check other pages of the same snapshot.
#[test]
fn threads_may_check_pages_at_once() {
    let (_, snapshot, sample) = written(&[3; 100]);
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (snapshot, sample) = (snapshot.clone(), &sample);
            scope.spawn(move || {
                for leaf in (thread..100).step_by(4) {
                    snapshot.verify(leaf as u32 * 3, &sample.leaves[leaf].bytes).unwrap();
                    let wrong = &sample.leaves[(leaf + 1) % 100].bytes;
                    assert!(snapshot.verify(leaf as u32 * 3, wrong).is_err());
                }
            });
        }
    });
}
