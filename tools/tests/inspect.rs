//! `resprout inspect`: clean, torn and damaged are three words and three exit codes, and looking
//! changes nothing.

mod support;

use std::fs;
use std::path::Path;

use support::{Ran, directory, load_numbers, resprout};

fn inspect(what: &str, data: &Path, more: &[&str]) -> Ran {
    let mut args = vec!["inspect", what, data.to_str().expect("text")];
    args.extend(more);
    resprout(args)
}

/// Promise: every record is shown with position, term and what it does; `--from` and `-n` narrow.
#[test]
fn records_are_shown_and_narrowed() {
    let dir = directory();
    let data = dir.path().join("d");
    assert_eq!(load_numbers(dir.path(), &data, 2_500).code, 0);
    let all = inspect("wal", &data, &["--json"]).json();
    let logs = all["logs"].as_array().expect("a list");
    assert_eq!(logs.len(), 2);
    let inserted = |log: &serde_json::Value| {
        let shown = log["shown"].as_array().expect("a list").iter();
        let commits = shown.filter(|line| line["record"] == "COMMIT");
        commits.map(|line| line["operations"].as_u64().expect("a count")).sum::<u64>()
    };
    assert!(logs.iter().map(inserted).sum::<u64>() >= 2_500);
    let second = logs[0]["shown"][1]["lsn"].as_u64().expect("a position").to_string();
    let narrowed =
        inspect("wal", &data, &["--json", "--partition", "demo:0", "--from", &second, "-n", "1"]);
    let narrowed = narrowed.json();
    assert_eq!(narrowed["logs"].as_array().map(Vec::len), Some(1));
    let shown = narrowed["logs"][0]["shown"].as_array().expect("a list").clone();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["lsn"].to_string(), second);
    assert_eq!(inspect("wal", &data, &["--partition", "demo:9"]).code, 2);
}

/// D01: what a crash left unfinished is called torn, and normal, with exit code 3; recovery drops
/// it and the log is clean again.
#[test]
fn d01_torn_is_normal_after_a_crash() {
    let dir = directory();
    let data = dir.path().join("d");
    assert_eq!(load_numbers(dir.path(), &data, 10).code, 0);
    crash_in_the_middle_of_a_frame(&data);
    let ran = inspect("wal", &data, &[]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("torn at"), "{}", ran.out);
    assert!(ran.out.contains("This is normal after a crash."), "{}", ran.out);
    let ran = inspect("verify", &data, &["--json"]);
    assert_eq!((ran.code, ran.json()["verdict"].as_str()), (3, Some("torn")));
    assert_eq!(support::rows_of(&data).len(), 10);
    assert_eq!(inspect("wal", &data, &[]).code, 0, "recovery dropped it");
}

const SECTOR: usize = 4096;

/// Leaves the arena as a power cut would that kept only the first sector of a frame: everything as
/// it was before a commit of several sectors, and that one sector of it.
fn crash_in_the_middle_of_a_frame(data: &Path) {
    let arena = data.join("wal.arena");
    let options = resprout_engine::Options::default();
    let engine = resprout_engine::Engine::open(data, options).expect("it opens");
    let partition = engine.database("demo").expect("it is there").partitions()[0].clone();
    let before = fs::read(&arena).expect("readable");
    let table = partition.table("t").expect("it is there");
    let mut txn = partition.begin().expect("online");
    for id in 0..100 {
        let name = resprout_engine::table::Value::Text("x".repeat(200));
        let id = resprout_engine::table::Value::Int(1_000 + id);
        txn.insert(&table, &[id, name]).expect("a new row");
    }
    txn.commit().expect("on disk");
    let after = fs::read(&arena).expect("readable");
    drop((partition, engine));
    let is_new_frame =
        |at: &usize| after[*at..*at + 4] == *b"RSFR" && before.get(*at..*at + 4) != Some(b"RSFR");
    let frame = (0..after.len()).step_by(SECTOR).find(is_new_frame).expect("the commit's frame");
    let mut torn = before;
    torn[frame..frame + SECTOR].copy_from_slice(&after[frame..frame + SECTOR]);
    fs::write(&arena, torn).expect("writable");
}

/// D04: a flipped bit in what was acknowledged is called damaged, with file and place, exit code 4.
#[test]
fn d04_damage_is_not_torn() {
    let dir = directory();
    let data = dir.path().join("d");
    assert_eq!(load_numbers(dir.path(), &data, 10).code, 0);
    let arena = data.join("wal.arena");
    let mut bytes = fs::read(&arena).expect("readable");
    let at = bytes.windows(6).position(|window| window == b"name-7").expect("row 7 is logged");
    bytes[at] ^= 4;
    fs::write(&arena, bytes).expect("writable");
    for what in ["wal", "verify"] {
        let ran = inspect(what, &data, &[]);
        assert_eq!(ran.code, 4, "{what}: {}", ran.out);
        assert!(
            ran.out.to_lowercase().contains("damaged") && ran.out.contains("wal.arena"),
            "{}",
            ran.out
        );
    }
}

/// D30: a flipped bit anywhere in a snapshot is found, and the file and offset are named.
#[test]
fn d30_damaged_snapshot_is_found() {
    let dir = directory();
    let data = dir.path().join("d");
    assert_eq!(load_numbers(dir.path(), &data, 1_000).code, 0);
    let path = take_snapshots(&data);
    let ran = inspect("snapshot", &data, &["--stats"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert_eq!(ran.out.matches("clean: every byte was checked").count(), 2, "{}", ran.out);
    let good = fs::read(&path).expect("readable");
    for at in (0..good.len()).step_by(good.len() / 7) {
        let mut bad = good.clone();
        bad[at] ^= 16;
        fs::write(&path, &bad).expect("writable");
        let ran = inspect("snapshot", &data, &["--json"]);
        assert_eq!(ran.code, 4, "byte {at}: {}", ran.out);
        assert!(ran.out.contains("rsnap"), "{}", ran.out);
    }
}

/// One snapshot of each partition; the path of the first.
fn take_snapshots(data: &Path) -> std::path::PathBuf {
    let options = resprout_engine::Options::default();
    let engine = resprout_engine::Engine::open(data, options).expect("it opens");
    let database = engine.database("demo").expect("it is there");
    let taken: Vec<_> =
        database.partitions().iter().map(|p| p.snapshot().expect("a snapshot").path).collect();
    engine.close().expect("closes");
    taken[0].clone()
}

/// Promise: looking changes nothing.
#[test]
fn looking_changes_nothing() {
    let dir = directory();
    let data = dir.path().join("d");
    assert_eq!(load_numbers(dir.path(), &data, 10).code, 0);
    let arena = data.join("wal.arena");
    let seen = || {
        let meta = fs::metadata(&arena).expect("readable");
        (meta.modified().expect("a time"), fs::read(&arena).expect("readable"))
    };
    let before = seen();
    for what in ["wal", "snapshot", "verify"] {
        assert_eq!(inspect(what, &data, &[]).code, 0, "{what}");
    }
    assert_eq!(seen(), before);
}
