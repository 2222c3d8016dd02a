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

/// Promise: `--frames` shows every frame where it lies in the arena, in order and without gaps,
/// narrowed as records are.
#[test]
fn frames_are_shown_with_their_place() {
    let dir = directory();
    let data = dir.path().join("d");
    assert_eq!(load_numbers(dir.path(), &data, 2_500).code, 0);
    let arena = fs::read(data.join("wal.arena")).expect("readable");
    let all = inspect("wal", &data, &["--frames", "--json"]).json();
    for log in all["logs"].as_array().expect("a list") {
        let frames = log["frames"].as_array().expect("a list");
        assert_eq!(log["frame_counts"]["count"].as_u64(), Some(frames.len() as u64));
        let mut next = 0;
        for frame in frames {
            let offset = number(&frame["offset"]) as usize;
            assert_eq!(arena[offset..offset + 4], *b"RSFR", "{frame}");
            assert_eq!(arena[offset + 8..offset + 16], number(&frame["lsn"]).to_le_bytes());
            let payload = number(&frame["header"]["payload_bytes"]).to_le_bytes();
            assert_eq!(arena[offset + 32..offset + 36], payload[..4]);
            assert_eq!(number(&frame["lsn"]), next, "no gap");
            next = number(&frame["header"]["end_lsn"]);
            assert_eq!(frame["verdict"], "ok");
        }
        assert_eq!(number(&log["end_lsn"]), next);
    }
    let second = &all["logs"][1]["frames"][1];
    let from = second["lsn"].to_string();
    let narrow = ["--frames", "--json", "--partition", "demo:1", "--from", &from, "-n", "1"];
    let narrowed = inspect("wal", &data, &narrow).json();
    assert_eq!(narrowed["logs"][0]["frames"], serde_json::json!([second]));
    let text = inspect("wal", &data, &["--frames", "-n", "2"]).out;
    let chain = second["header"]["chain"].as_str().expect("hexadecimal");
    assert!(text.contains(chain) && text.contains("CHECKSUMS"), "{text}");
    assert_eq!(inspect("wal", &data, &["--frames", "--stats"]).code, 2);
}

fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Promise: records name the tables they change, also when only a snapshot still knows them and
/// the log begins inside a group; `--table` shows one table and refuses one that is not there.
#[test]
fn records_name_their_tables() {
    let dir = directory();
    let data = dir.path().join("d");
    released_log(&data);
    let all = inspect("wal", &data, &["--json"]);
    assert_eq!(all.code, 0, "{}{}", all.out, all.err);
    let log = &all.json()["logs"][0];
    assert!(number(&log["first_lsn"]) > 0, "the log was released");
    assert!(!all.out.contains("SCHEMA"), "no record of the log makes the tables");
    let tables: std::collections::BTreeSet<String> = log["tables"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|of| {
            format!(
                "{} {}",
                of["kind"].as_str().expect("text"),
                of["table"].as_str().expect("text")
            )
        })
        .collect();
    let named = ["INSERT notes", "INSERT orders", "INSERT orders.by_name", "UPDATE orders"];
    assert_eq!(tables, named.map(str::to_owned).into());
    let notes = inspect("wal", &data, &["--table", "notes", "--json"]).json();
    for line in notes["logs"][0]["shown"].as_array().expect("a list") {
        assert_eq!(line["tables"].as_array().map(Vec::len), Some(1), "{line}");
        assert_eq!(line["tables"][0]["table"], "notes");
    }
    assert_eq!(number(&notes["logs"][0]["records"]), 3);
    assert_eq!(number(&notes["logs"][0]["operations"]), 3);
    let refused = inspect("wal", &data, &["--table", "note"]);
    assert_eq!(refused.code, 2);
    assert!(refused.is_three_lines(), "{}", refused.err);
    assert!(refused.err.contains("the tables are notes, orders"), "{}", refused.err);
    let text = inspect("wal", &data, &["--table", "notes"]).out;
    assert_eq!(text.matches("INSERT notes 1").count(), 3, "{text}");
    let stats = inspect("wal", &data, &["--stats"]).out;
    for part in ["frames of", "COMMIT", "orders.by_name INSERT", "End: clean"] {
        assert!(stats.contains(part), "{part} is not in\n{stats}");
    }
}

/// A directory whose only log begins in the middle of a group that a snapshot covers.
fn released_log(data: &Path) {
    use resprout_engine::table::{TableSchema, Value};
    let options = resprout_engine::Options {
        slot_bytes: 64 << 10,
        snapshots_to_keep: 1,
        ..resprout_engine::Options::default()
    };
    let engine = resprout_engine::Engine::open(data, options).expect("it opens");
    let one = resprout_engine::DatabaseOptions { partitions: 1, ..Default::default() };
    let partition = engine.create_database("demo", one).expect("made").partitions()[0].clone();
    let schema = |name: &str| {
        let schema = TableSchema::builder(name).column("id", "bigint").column("name", "mediumtext");
        schema.primary_key(&["id"])
    };
    let orders = schema("orders").index("by_name", &["id"]).build().expect("a sound schema");
    let orders = partition.create_table(orders).expect("a new table");
    let notes = schema("notes").build().expect("a sound schema");
    let notes = partition.create_table(notes).expect("a new table");
    let put = |table: &std::sync::Arc<_>, id, bytes| {
        let mut txn = partition.begin().expect("online");
        let name = Value::Text("x".repeat(bytes));
        txn.insert(table, &[Value::Int(id), name]).expect("a new row");
        txn.commit().expect("on disk");
    };
    put(&orders, 1, 200_000);
    partition.snapshot().expect("a snapshot");
    for id in 2..5 {
        put(&orders, id, 10);
        put(&notes, id, 10);
    }
    let mut txn = partition.begin().expect("online");
    let column = orders.live()[1];
    let assigned = [(column, Value::Text("y".to_owned()))];
    assert!(txn.update(&orders, &[Value::Int(2)], &assigned).expect("an update"));
    txn.commit().expect("on disk");
    engine.close().expect("closes");
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

/// D04: damage is told with file, offset, LSN, what was expected and found, and what is good
/// behind it; `--frames` shows all of that in its place.
#[test]
fn d04_damage_says_where_and_what_is_good_behind() {
    let dir = directory();
    let data = dir.path().join("d");
    assert_eq!(load_numbers(dir.path(), &data, 10).code, 0);
    // One record in each frame: frames and records behind the damage are known.
    for id in 0..5 {
        let csv = support::file(dir.path(), "one.csv", format!("id,name\n{},late\n", 100 + id));
        assert_eq!(support::load(&data, &csv, &[]).code, 0);
    }
    let whole = inspect("wal", &data, &["--frames", "--json", "--partition", "demo:0"]).json();
    let frames = whole["logs"][0]["frames"].as_array().expect("a list").clone();
    let at = frames.iter().position(|frame| number(&frame["header"]["payload_bytes"]) > 100);
    let at = at.expect("a frame with a record");
    let (offset, lsn) = (number(&frames[at]["offset"]), number(&frames[at]["lsn"]));
    let arena = data.join("wal.arena");
    let mut bytes = fs::read(&arena).expect("readable");
    bytes[offset as usize + 70] ^= 1;
    fs::write(&arena, bytes).expect("writable");

    let ran = inspect("wal", &data, &["--json", "--partition", "demo:0"]);
    assert_eq!(ran.code, 4, "{}", ran.out);
    let damage = &ran.json()["logs"][0]["damage_at"];
    assert_eq!(damage["file"].as_str(), arena.to_str());
    assert_eq!((number(&damage["offset"]), number(&damage["lsn"])), (offset, lsn));
    let stored = frames[at]["header"]["payload_crc"].as_str().expect("hexadecimal");
    assert_eq!(damage["expected"], format!("crc {stored}"));
    assert!(damage["found"].as_str().is_some_and(|found| found != format!("crc {stored}")));
    let behind = &frames[at + 1..];
    assert_eq!(number(&damage["good_frames_behind"]), behind.len() as u64);
    let records = behind.iter().filter(|frame| number(&frame["header"]["payload_bytes"]) > 0);
    assert_eq!(number(&damage["good_records_behind"]), records.count() as u64);

    let ran = inspect("wal", &data, &["--frames", "--json", "--partition", "demo:0"]);
    assert_eq!(ran.code, 4, "{}", ran.out);
    let shown = ran.json()["logs"][0]["frames"].as_array().expect("a list").clone();
    let verdicts: Vec<_> = shown.iter().map(|frame| frame["verdict"].as_str()).collect();
    let mut expected = vec![Some("ok"); at];
    expected.push(Some("damaged"));
    expected.resize(frames.len(), Some("behind damage"));
    assert_eq!(verdicts, expected);
    assert_eq!(number(&shown[at]["offset"]), offset);
    let text = inspect("wal", &data, &[]).out;
    let told = format!("{} good records in {} frames follow", behind.len(), behind.len());
    assert!(text.contains(&told), "{told}: {text}");
}

/// D31: a log that does not reach back to the newest snapshot, or to its beginning without one, is
/// damage in the eyes of an inspection as in those of recovery.
#[test]
fn d31_a_log_that_begins_too_late_is_damage() {
    let dir = directory();
    let data = dir.path().join("d");
    released_log(&data);
    assert_eq!(inspect("wal", &data, &[]).code, 0);
    let snapshots = data.join("partitions/demo/0");
    fs::remove_dir_all(&snapshots).expect("removed");
    fs::create_dir(&snapshots).expect("made");
    let ran = inspect("wal", &data, &["--json"]);
    assert_eq!(ran.code, 4, "{}", ran.out);
    assert!(ran.out.contains("lacks 0:0.."), "{}", ran.out);
    assert_eq!(inspect("verify", &data, &[]).code, 4);
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
