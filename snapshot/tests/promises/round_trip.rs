//! What was pushed comes back.

use std::path::Path;

use resprout_snapshot::{Digest, Verdict};
use resprout_snapshot::{
    LeafPage, PAGE, Progress, Snapshot, WriteOptions, Writer, file_name, inspect,
};
use resprout_wal::Lsn;

use crate::sample::{DIR, IDENTITY, Sample, disk, header, shared};

/// Guards: pages, counts, separators, schema and header come back byte for byte, for every shape.
#[test]
fn what_was_written_comes_back() {
    let many: Vec<u32> = (0..3000).map(|i| if i % 97 == 0 { 3 } else { 1 }).collect();
    for runs in [&[][..], &[1], &[2, 1, 1], &[1; 300], &[700, 1, 300], &many] {
        let disk = disk(1);
        let sample = Sample::new(4096 * 5, runs);
        let written = sample.write(&disk).unwrap();
        assert_eq!(written.path, Path::new(DIR).join(file_name(Lsn(4096 * 5))));
        assert_eq!(written.pages as usize, runs.iter().sum::<u32>() as usize);
        assert_eq!((written.rows, written.digest), (sample.rows(), sample.digest()));
        sample.assert_is_at(&disk, &written.path);
        assert_eq!(disk.files(), [written.path]);
    }
}

/// Guards: the sizes of transfers change nothing about the bytes of the file.
#[test]
fn the_file_does_not_depend_on_transfer_sizes() {
    let sample = Sample::new(8192, &[1, 5, 1, 1, 2, 1]);
    let contents = [(1, 1), (2, 3), (7, 2), (512, 1)].map(|(pages, in_flight)| {
        let disk = disk(pages as u64);
        let buffer_bytes = pages * PAGE;
        let options = WriteOptions { buffer_bytes, in_flight, expected_bytes: None };
        let written = sample.write_with(&shared(&disk), Path::new(DIR), options).unwrap();
        let contents = disk.contents(&written.path).unwrap();
        assert_eq!(contents.len() as u64, written.bytes);
        contents
    });
    assert!(contents.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Guards: a schema of any length comes back, aligned for archives.
#[test]
fn the_schema_comes_back_aligned() {
    for len in [0, 1, 15, PAGE - 1, PAGE, PAGE + 1, 100_000] {
        let disk = disk(2);
        let mut sample = Sample::small(4096);
        sample.schema = (0..len).map(|i| i as u8).collect();
        let written = sample.write(&disk).unwrap();
        let snapshot = Snapshot::open(&disk, &written.path, Some(IDENTITY)).unwrap();
        assert_eq!(snapshot.schema(), sample.schema);
        assert_eq!(snapshot.schema().as_ptr().align_offset(16), 0);
        sample.assert_is_at(&disk, &written.path);
    }
}

/// Guards: the chunks of the directory cover all leaves, and their digests add up.
#[test]
fn chunks_add_up_to_the_whole() {
    let disk = disk(3);
    let sample = Sample::new(4096, &[100; 13]);
    let written = sample.write(&disk).unwrap();
    let snapshot = Snapshot::open(&disk, &written.path, None).unwrap();
    let mut leaf = 0;
    for chunk in snapshot.chunks() {
        let of_chunk = &sample.leaves[leaf..leaf + chunk.leaves as usize];
        let digest: Digest = of_chunk.iter().map(|leaf| leaf.digest()).sum();
        assert_eq!(chunk.digest, digest);
        assert_eq!(chunk.rows, of_chunk.iter().map(|leaf| u64::from(leaf.rows)).sum::<u64>());
        leaf += chunk.leaves as usize;
    }
    assert_eq!(leaf, sample.leaves.len());
    assert_eq!(snapshot.chunks().len(), 5, "three leaves of 100 pages fill a chunk of 256");
}

/// Guards: progress counts up to the totals, in writing and in verifying.
#[test]
fn progress_ends_at_the_totals() {
    let disk = disk(4);
    let sample = Sample::new(4096, &[1; 600]);
    let options = WriteOptions { buffer_bytes: 4 * PAGE, ..WriteOptions::default() };
    let writer = sample.push_all(&shared(&disk), Path::new(DIR), options).unwrap();
    let pushed = writer.progress();
    assert_eq!((pushed.pages, pushed.rows), (600, sample.rows()));
    assert!(pushed.bytes_written > 0 && pushed.bytes_written <= 602 * PAGE as u64);
    let mut steps: Vec<Progress> = Vec::new();
    let written = writer.finish_paced(|progress| steps.push(progress)).unwrap();
    assert!(steps.len() > 1 && steps.is_sorted_by_key(|step| step.pages_verified));
    let last = steps.last().unwrap();
    assert_eq!((last.pages_verified, last.bytes_written), (600, written.bytes));
}

/// Guards: inspection reports header, counts and a clean verdict, and changes nothing.
#[test]
fn inspection_reports_a_clean_snapshot() {
    let disk = disk(5);
    let sample = Sample::new(4096, &[1, 4, 1]);
    let written = sample.write(&disk).unwrap();
    let operations = disk.operations();
    let mut steps = Vec::new();
    let report = inspect(&disk, &written.path, |done, all| steps.push((done, all))).unwrap();
    assert!(matches!(report.verdict, Verdict::Clean));
    assert_eq!(report.header.as_ref(), Some(&sample.header));
    let statistics = report.statistics.unwrap();
    assert_eq!((statistics.leaves, statistics.pages, statistics.rows), (3, 6, sample.rows()));
    assert_eq!((statistics.long_leaves, statistics.longest_run, statistics.most_rows), (1, 4, 12));
    assert_eq!(steps.last(), Some(&(6, 6)));
    assert_eq!(disk.operations(), operations);
}

/// Guards: leaves out of key order are a bug of the caller that never reaches the disk's reader.
#[test]
#[should_panic(expected = "separators grow")]
fn leaves_out_of_order_are_refused() {
    let disk = shared(&disk(6));
    let mut writer = Writer::create(&disk, Path::new(DIR), &header(0), b"").unwrap();
    let bytes = [1; PAGE];
    for separator in [b"a", b"c", b"b"] {
        let leaf = LeafPage { bytes: &bytes, rows: 1, digest: Digest::EMPTY, separator };
        writer.push(leaf).unwrap();
    }
}
