//! Bad input: one clear error in three lines, the right exit code, nothing changed.

mod support;

use std::path::Path;

use support::{directory, file, load, load_numbers, resprout, rows_of};

/// Promise: an option that does not exist is bad usage, and is named.
#[test]
fn an_unknown_option_is_bad_usage() {
    for args in [&["load", "--nonsense"][..], &["bench", "recovery", "--nonsense"], &["nonsense"]] {
        let ran = resprout(args);
        assert_eq!(ran.code, 2, "{args:?}");
        assert!(ran.err.contains("nonsense") && ran.out.is_empty(), "{}", ran.err);
    }
}

/// D38: while another process has a directory, every command is refused at once, and the first
/// goes on.
#[test]
fn d38_second_process_is_refused() {
    let dir = directory();
    let data = dir.path().join("d");
    assert_eq!(load_numbers(dir.path(), &data, 10).code, 0);
    let options = resprout_engine::Options::default();
    let first = resprout_engine::Engine::open(&data, options).expect("it opens");
    let text = data.to_str().expect("text");
    let csv = dir.path().join("numbers.csv");
    let second =
        [load(&data, &csv, &["--primary-key", "id"]), resprout(["inspect", "verify", text])];
    for ran in second {
        assert!(ran.err.contains("in use by another process"), "{}", ran.err);
        assert_ne!(ran.code, 0);
    }
    first.close().expect("it goes on and ends in order");
    drop(first);
    assert_eq!(rows_of(&data).len(), 10);
}

/// Promise: a bad row stops a load with file, line, column, value and reason, and changes nothing,
/// wherever it is in the file.
#[test]
fn a_bad_row_changes_nothing() {
    let dir = directory();
    let data = dir.path().join("d");
    let mut text = String::from("id,price\n");
    for id in 0..5_000 {
        text.push_str(&format!("{id},1.5\n"));
    }
    text.push_str("5000,cheap\n");
    let csv = file(dir.path(), "bad.csv", &text);
    let types = ["--types", "id=bigint,price=double", "--primary-key", "id"];
    let ran = load(&data, &csv, &types);
    assert_eq!(ran.code, 1);
    assert!(ran.is_three_lines(), "{}", ran.err);
    for part in ["bad.csv line 5002", "column 'price'", "value 'cheap'", "double"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    assert!(!data.exists(), "not even the directory is made");

    assert_eq!(load_numbers(dir.path(), &data, 3).code, 0);
    let rows = rows_of(&data);
    for (name, text, part) in [
        ("value.csv", "id,name\n7,a\nx,b\n", "line 3"),
        ("fields.csv", "id,name\n7,a\n8\n", "line 3"),
        ("twice.csv", "id,name\n7,a\n7,b\n", "same primary key as line 2"),
        ("there.csv", "id,name\n7,a\n1,b\n", "has a row with this primary key (1)"),
        ("columns.csv", "id,other\n7,a\n", "no column 'other'"),
        ("null.csv", "id,name\n7,a\n,b\n", "NOT NULL"),
    ] {
        let ran = load(&data, &file(dir.path(), name, text), &[]);
        assert_ne!(ran.code, 0, "{name}");
        assert!(ran.is_three_lines() && ran.err.contains(part), "{name}: {}", ran.err);
        assert_eq!(rows_of(&data), rows, "{name} changed something");
    }
}

/// Promise: a file or directory that is not there is an error that names it.
#[test]
fn missing_paths_are_named() {
    for command in ["wal", "snapshot", "verify"] {
        let ran = resprout(["inspect", command, "/no/such/path"]);
        assert_eq!(ran.code, 1, "{command}: {}", ran.err);
        assert!(ran.is_three_lines() && ran.err.contains("/no/such/path"), "{}", ran.err);
    }
    let dir = directory();
    let data = dir.path().join("d");
    let ran = load(&data, Path::new("/no/such.csv"), &[]);
    assert!(ran.err.contains("/no/such.csv") && !data.exists(), "{}", ran.err);
}
