//! Target of snapshots: the bytes of a file through opening, checking and inspection.

use std::cell::Cell;
use std::path::Path;

use resprout_snapshot::{PAGE, Snapshot, Verdict, inspect, verify_all};
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::disk::{Cache, Disk, Open};

use crate::Outcome;

/// Longest file; longer inputs say nothing new.
const FILE_BYTES_MAX: usize = 1 << 20;
const FILE: &str = "/s/x.rsnap";

/// The bytes of a file.
pub(crate) fn file(input: &[u8]) -> Outcome {
    let path = Path::new(FILE);
    let disk = disk(&input[..input.len().min(FILE_BYTES_MAX)], path);
    let inspection = inspect(&disk, path, |_, _| {}).expect("the file can be reached");
    let clean = matches!(inspection.verdict, Verdict::Clean);
    let Ok(snapshot) = Snapshot::open(&disk, path, None) else {
        assert!(!clean, "inspection praises what cannot be opened");
        return Outcome::Refused;
    };
    check_directory(&snapshot);
    let pages = Cell::new(0);
    let verified = verify_all(&disk, &snapshot, |read| pages.set(pages.get() + read.pages));
    assert_eq!(verified.is_ok(), clean, "inspection and loading agree");
    if verified.is_ok() {
        assert_eq!(pages.get(), snapshot.pages(), "every page was checked");
    }
    Outcome::of(&verified)
}

/// What loading relies on: leaves follow each other without gaps, in the order of their keys,
/// inside the file.
fn check_directory(snapshot: &Snapshot) {
    let (mut next_page, mut rows, mut before) = (0, 0, None);
    for leaf in snapshot.leaves() {
        assert_eq!(leaf.first_page, next_page);
        assert!(leaf.run > 0);
        assert!(before.is_none_or(|before| before < leaf.separator), "separators grow");
        before = Some(leaf.separator);
        next_page += leaf.run;
        rows += u64::from(leaf.rows);
    }
    assert_eq!((next_page, rows), (snapshot.pages(), snapshot.rows()));
    let end = snapshot.offset_of(next_page) + snapshot.directory_bytes() + PAGE as u64;
    assert_eq!(end, snapshot.bytes(), "the parts fill the file");
}

fn disk(bytes: &[u8], path: &Path) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new("/s")).expect("an empty disk takes a directory");
    let file = disk.open(path, Open::Create, Cache::Buffered).expect("and a file");
    file.write_at(bytes, 0).expect("and its bytes");
    disk
}
