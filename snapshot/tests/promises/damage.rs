//! Bytes that are not what was written are noticed, wherever they lie.

use std::path::{Path, PathBuf};

use resprout_snapshot::{PAGE, Snapshot, SnapshotError, Verdict, inspect, list};
use resprout_wal::LogIdentity;
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::disk::{Cache, Disk, Open};

use crate::sample::{DIR, IDENTITY, Sample, disk, open_and_load};

fn small() -> (SimDisk, PathBuf, Sample) {
    let disk = disk(1);
    let sample = Sample::small(4096 * 3);
    let path = sample.write(&disk).unwrap().path;
    (disk, path, sample)
}

/// Guards D30, S21: each byte of the file, flipped, is noticed on opening or loading, in header,
/// schema, pages, directory, footer and padding alike.
#[test]
fn d30_every_flipped_byte_is_noticed() {
    let (disk, path, sample) = small();
    let len = disk.contents(&path).unwrap().len() as u64;
    assert_eq!(len, 9 * PAGE as u64, "header, schema, 4 pages, 2 directory blocks, footer");
    for offset in 0..len {
        let bit = (offset % 8) as u8;
        disk.flip(&path, offset, bit);
        let error = open_and_load(&disk, &path).expect_err("a flipped byte was believed");
        assert!(error.is_bad_file(), "byte {offset}: {error}");
        if let SnapshotError::Damaged { offset: told, .. } = &error {
            let distance = told.abs_diff(offset);
            assert!(distance < 2 * PAGE as u64, "byte {offset} was reported as {told}");
        }
        disk.flip(&path, offset, bit);
    }
    sample.assert_is_at(&disk, &path);
}

/// Guards D30: a file cut at any sector, or beside it, or grown, is refused.
#[test]
fn d30_a_file_of_another_length_is_refused() {
    let (disk, path, _) = small();
    let whole = disk.contents(&path).unwrap();
    let sectors = (0..=whole.len()).step_by(PAGE);
    let lengths = sectors.flat_map(|at| [at.saturating_sub(1), at, at + 1, at + PAGE]);
    for len in lengths.filter(|len| *len != whole.len()) {
        disk.truncate(&path, len as u64);
        let error = open_and_load(&disk, &path).expect_err("a cut file was believed");
        assert!(error.is_bad_file(), "length {len}: {error}");
        disk.truncate(&path, whole.len() as u64);
        disk.overwrite(&path, 0, &whole);
    }
}

/// Guards D12, D30: any sector replaced by the same sector of another snapshot is noticed.
#[test]
fn d12_a_sector_of_another_snapshot_is_noticed() {
    let (disk, path, sample) = small();
    let mut other = Sample::small(4096 * 3);
    other.schema = b"another one".to_vec();
    other.header.chain ^= 1;
    let pages = other.leaves.iter_mut().flat_map(|leaf| leaf.bytes.chunks_mut(PAGE));
    pages.for_each(|page| page[7] ^= 1);
    let other_disk = crate::sample::disk(2);
    let theirs = other.write(&other_disk).unwrap().path;
    let theirs = other_disk.contents(&theirs).unwrap();
    let ours = disk.contents(&path).unwrap();
    assert_eq!(ours.len(), theirs.len());
    for at in (0..ours.len()).step_by(PAGE) {
        assert!(ours[at..at + PAGE] != theirs[at..at + PAGE], "sectors at {at} are alike");
        disk.overwrite(&path, at as u64, &theirs[at..at + PAGE]);
        let error = open_and_load(&disk, &path).expect_err("a foreign sector was believed");
        assert!(error.is_bad_file(), "sector at {at}: {error}");
        disk.overwrite(&path, at as u64, &ours[at..at + PAGE]);
    }
    sample.assert_is_at(&disk, &path);
}

/// Guards D11: an intact snapshot of another partition, cluster or instance is called foreign,
/// with both identities.
#[test]
fn d11_a_foreign_snapshot_is_refused() {
    let (disk, path, _) = small();
    for expected in [
        LogIdentity { cluster: 1, ..IDENTITY },
        LogIdentity { database: 9, ..IDENTITY },
        LogIdentity { partition: 9, ..IDENTITY },
        LogIdentity { instance: 9, ..IDENTITY },
    ] {
        let error = Snapshot::open(&disk, &path, Some(expected)).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, SnapshotError::Foreign { found, .. } if found == IDENTITY));
        assert!(message.contains(&expected.to_string()), "{message}");
        assert!(message.contains(&IDENTITY.to_string()), "{message}");
    }
    assert!(Snapshot::open(&disk, &path, None).is_ok());
}

/// Guards D11: a snapshot whose name says another LSN is refused, as its place in the order of
/// snapshots would be wrong.
#[test]
fn d11_a_renamed_snapshot_is_refused() {
    let (disk, path, _) = small();
    let renamed = Path::new(DIR).join(resprout_snapshot::file_name(resprout_wal::Lsn(1 << 50)));
    disk.copy(&path, &renamed);
    let error = Snapshot::open(&disk, &renamed, Some(IDENTITY)).unwrap_err();
    assert!(matches!(error, SnapshotError::Misnamed { .. }), "{error}");
}

/// Guards: a file of a later version is refused with both versions in the message.
#[test]
fn another_version_is_refused_with_both_versions() {
    let (disk, path, _) = small();
    disk.overwrite(&path, 8, &7u16.to_le_bytes());
    let message = Snapshot::open(&disk, &path, None).unwrap_err().to_string();
    assert!(message.contains("version 7") && message.contains("version 1"), "{message}");
    assert!(message.contains(path.to_str().unwrap()), "{message}");
}

/// Guards S21: a file that is no snapshot at all is refused, whatever its length.
#[test]
fn s21_files_of_other_kinds_are_refused() {
    let disk = disk(1);
    let path = Path::new(DIR).join("x");
    drop(disk.open(&path, Open::Create, Cache::Buffered).unwrap());
    for len in [0, 1, PAGE - 1, PAGE, 2 * PAGE, 3 * PAGE + 5] {
        for byte in [0, 0xff, b'R'] {
            disk.truncate(&path, 0);
            disk.overwrite(&path, 0, &vec![byte; len]);
            let error = Snapshot::open(&disk, &path, None).unwrap_err();
            assert!(error.is_bad_file(), "{len} x {byte}: {error}");
        }
    }
}

/// Guards D30: when the newest snapshot is damaged, the list leads on to the one before, which is
/// untouched.
#[test]
fn d30_the_snapshot_before_serves_when_the_newest_is_damaged() {
    let disk = disk(1);
    let (old, new) = (Sample::small(4096), Sample::small(8192));
    old.write(&disk).unwrap();
    let newest = new.write(&disk).unwrap().path;
    for offset in [0, 5000, 3 * PAGE as u64, 6 * PAGE as u64 + 40, 8 * PAGE as u64 + 3] {
        disk.flip(&newest, offset, 3);
        let good: Vec<_> = list(&disk, Path::new(DIR))
            .unwrap()
            .into_iter()
            .filter(|found| open_and_load(&disk, &found.path).is_ok())
            .collect();
        assert_eq!(good.len(), 1, "damage at {offset}");
        assert_eq!(good[0].lsn, old.header.lsn);
        old.assert_is_at(&disk, &good[0].path);
        disk.flip(&newest, offset, 3);
    }
}

/// Guards: inspection tells damage with its offset, and is an answer, not an error.
#[test]
fn inspection_tells_where_the_damage_is() {
    let (disk, path, _) = small();
    let page_2 = 4 * PAGE as u64;
    disk.flip(&path, page_2 + 100, 0);
    let report = inspect(&disk, &path, |_, _| {}).unwrap();
    let Verdict::Damaged(SnapshotError::Damaged { offset, damage, .. }) = report.verdict else {
        panic!("no damage found: {report:?}");
    };
    assert_eq!(offset, page_2 - PAGE as u64, "where the leaf of two pages starts");
    assert!(damage.to_string().contains("leaf at page 1"), "{damage}");
    assert!(report.statistics.is_some(), "the directory is whole");
    disk.flip(&path, 20, 0);
    let report = inspect(&disk, &path, |_, _| {}).unwrap();
    assert!(report.header.is_none() && matches!(report.verdict, Verdict::Damaged(_)));
}
