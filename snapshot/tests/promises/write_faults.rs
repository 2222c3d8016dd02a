//! A device that refuses, fails or lies while a snapshot is written.

use std::path::Path;

use resprout_snapshot::{SnapshotError, WriteOptions, file_name, list};
use resprout_wal::Lsn;
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};

use crate::sample::{DIR, Sample, disk, open_and_load, shared};

const OLD: u64 = 4096;
const NEW: u64 = 8192;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

fn with_old(seed: u64) -> SimDisk {
    let disk = disk(seed);
    Sample::small(OLD).write(&disk).unwrap();
    disk
}

fn final_path() -> std::path::PathBuf {
    Path::new(DIR).join(file_name(Lsn(NEW)))
}

fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

/// How many operations of a kind writing the new snapshot takes.
fn count(kind: OpKind) -> u64 {
    let disk = with_old(1);
    let before = disk.operations();
    Sample::small(NEW).write(&disk).unwrap();
    disk.log()[before..].iter().filter(|op| op.kind == kind).count() as u64
}

/// Guards D20, D24: an error at any operation is reported, leaves the old snapshot whole, and the
/// next attempt succeeds.
#[test]
fn d20_d24_an_error_at_every_operation_leaves_the_old_snapshot() {
    let clean = with_old(1);
    let before = clean.operations();
    Sample::small(NEW).write(&clean).unwrap();
    for at in 0..(clean.operations() - before) as u64 {
        for errno in [EIO, ENOSPC] {
            let disk = with_old(1);
            disk.fail(Fault::at(at, Effect::Error(errno)));
            let result = Sample::small(NEW).write(&disk);
            let error = result.expect_err("an error was swallowed");
            assert!(error.to_string().contains(DIR), "{error}");
            Sample::small(OLD).assert_is_at(&disk, &Path::new(DIR).join(file_name(Lsn(OLD))));
            let unfinished = disk.files().iter().filter(|path| is_unfinished(path)).count();
            assert_eq!(unfinished, 0, "operation {at}, error {errno}");
            disk.heal();
            Sample::small(NEW).write(&disk).unwrap();
            Sample::small(NEW).assert_is_at(&disk, &final_path());
        }
    }
}

/// Guards D24: a full device refuses with the bytes needed and those it took; the temporary file
/// goes, and with space again the same snapshot succeeds.
#[test]
fn d24_a_full_device_says_how_much_is_needed() {
    let disk = with_old(2);
    let old_len = disk.contents(&Path::new(DIR).join(file_name(Lsn(OLD)))).unwrap().len() as u64;
    for room in (0..old_len).step_by(4096) {
        disk.set_capacity(Some(old_len + room));
        let options =
            WriteOptions { buffer_bytes: 4096, in_flight: 2, expected_bytes: Some(old_len) };
        let sample = Sample::small(NEW);
        let error = sample.write_with(&shared(&disk), Path::new(DIR), options).unwrap_err();
        let SnapshotError::NoSpace { needed, written, .. } = &error else { panic!("{error}") };
        assert_eq!(*needed, Some(old_len));
        assert!(*written <= room, "{written} bytes into room for {room}");
        assert!(error.to_string().contains(&format!("{old_len} bytes")), "{error}");
        assert_eq!(disk.files().len(), 1, "the temporary file is gone");
    }
    disk.set_capacity(None);
    Sample::small(NEW).write(&disk).unwrap();
    Sample::small(NEW).assert_is_at(&disk, &final_path());
}

/// Guards rule 18: a write that the device lost, cut or put elsewhere is found by reading back,
/// before the file gets its name.
#[test]
fn lost_and_misdirected_writes_are_found_before_the_rename() {
    let writes = count(OpKind::Write);
    assert!(writes >= 4, "only {writes} writes");
    let effects = [
        Effect::Lost,
        Effect::Short(4096),
        Effect::Misdirected(4096),
        Effect::Misdirected(-4096),
        Effect::Misdirected(8192),
    ];
    for at in 0..writes {
        for effect in effects {
            let disk = with_old(at);
            disk.fail(Fault::on(OpKind::Write, at, effect));
            let result = Sample::small(NEW).write(&disk);
            let harmless = effect == Effect::Misdirected(-4096) && at == 0;
            if let Ok(written) = &result {
                // Nothing lies before the first sector; elsewhere the lie must be found.
                assert!(harmless || effect == Effect::Short(4096), "write {at}, {effect:?}");
                Sample::small(NEW).assert_is_at(&disk, &written.path);
                continue;
            }
            let names = list(&disk, Path::new(DIR)).unwrap();
            assert_eq!(names.len(), 1, "write {at}, {effect:?}: {}", result.unwrap_err());
            assert_eq!(disk.files().len(), 1, "the temporary file is gone");
        }
    }
}

/// Guards: a writer that is dropped halfway leaves no trace.
#[test]
fn a_dropped_writer_leaves_no_trace() {
    let disk = with_old(4);
    let options = WriteOptions { buffer_bytes: 4096, in_flight: 2, expected_bytes: None };
    let writer = Sample::small(NEW).push_all(&shared(&disk), Path::new(DIR), options).unwrap();
    assert_eq!(disk.files().len(), 2);
    drop(writer);
    assert_eq!(disk.files().len(), 1);
    Sample::small(OLD).assert_is_at(&disk, &Path::new(DIR).join(file_name(Lsn(OLD))));
}

/// Guards: after its first error a writer refuses more, instead of writing a file with a hole.
#[test]
fn a_failed_writer_refuses_more() {
    let disk = with_old(5);
    disk.fail(Fault::on(OpKind::Write, 1, Effect::Error(EIO)));
    let sample = Sample::new(NEW, &[1; 40]);
    let options = WriteOptions { buffer_bytes: 4096, in_flight: 1, expected_bytes: None };
    let dir = Path::new(DIR);
    let created = resprout_snapshot::Writer::create_with(
        &shared(&disk),
        dir,
        &sample.header,
        &sample.schema,
        options,
    );
    let mut errors = Vec::new();
    if let Ok(mut writer) = created {
        for leaf in &sample.leaves {
            let (bytes, separator) = (leaf.bytes.as_slice(), leaf.separator.as_slice());
            let digest = leaf.digest();
            let page = resprout_snapshot::LeafPage { bytes, rows: 1, digest, separator };
            errors.extend(writer.push(page).err());
        }
        errors.extend(writer.finish().err());
    }
    assert!(matches!(errors.last(), Some(SnapshotError::GivenUp { .. })), "{errors:?}");
    assert!(errors.len() > 2);
    assert_eq!(disk.files().len(), 1);
}

/// Guards D36: a folder that became read-only is reported with path and error, and the old
/// snapshot still opens.
#[test]
fn d36_a_read_only_folder_is_reported_with_its_path() {
    let disk = with_old(6);
    disk.fail(Fault::on(OpKind::Create, 0, Effect::Error(EROFS)));
    let error = Sample::small(NEW).write(&disk).unwrap_err();
    let SnapshotError::Io { doing, path, source } = &error else { panic!("{error}") };
    assert_eq!((*doing, source.raw_os_error()), ("create", Some(EROFS)));
    assert!(path.starts_with(DIR));
    open_and_load(&disk, &Path::new(DIR).join(file_name(Lsn(OLD)))).unwrap();
}

/// Guards: a leftover of the same name, of a run that did not tidy up, does not stop the next one.
#[test]
fn a_leftover_of_the_same_name_is_replaced() {
    let disk = with_old(7);
    disk.fail(Fault::on(OpKind::Rename, 0, Effect::CrashBefore));
    Sample::small(NEW).write(&disk).unwrap_err();
    let disk = disk.restart();
    Sample::small(NEW).write(&disk).unwrap();
    Sample::small(NEW).assert_is_at(&disk, &final_path());
}
