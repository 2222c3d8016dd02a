//! `resprout load` from standard input.

mod support;

use support::{directory, file, load, resprout_reading, rows_of};

/// More than a pipe holds, so that it is read while it is written.
const ROWS: u32 = 30_000;

fn numbers() -> String {
    let rows = (0..ROWS).map(|id| format!("{id},name-{id}\n"));
    std::iter::once("id,name\n".to_owned()).chain(rows).collect()
}

fn load_input(input: &[u8], data: &std::path::Path, more: &[&str]) -> support::Ran {
    let data = data.to_str().expect("text");
    let args = ["load", "--table", "t", "--json", "--progress", "none", "--data", data];
    let key = ["--primary-key", "id", "--partitions", "2"];
    resprout_reading(input, args.iter().chain(&key).chain(more).chain(&["-"]))
}

/// Promise: `-` loads what comes on standard input, with inferred types, exactly as from a file.
#[test]
fn standard_input_is_loaded_like_a_file() {
    let dir = directory();
    let text = numbers();
    let (from_input, from_file) = (dir.path().join("a"), dir.path().join("b"));
    let ran = load_input(text.as_bytes(), &from_input, &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let told = ran.json();
    assert_eq!(
        (told["rows"].as_u64(), told["bytes"].as_u64()),
        (Some(30_000), Some(text.len() as u64))
    );
    let csv = file(dir.path(), "numbers.csv", &text);
    let key = ["--primary-key", "id", "--partitions", "2"];
    let other = load(&from_file, &csv, &key);
    assert_eq!(told["columns"], other.json()["columns"]);
    let rows = rows_of(&from_input);
    assert_eq!(rows.len(), ROWS as usize);
    assert_eq!(rows, rows_of(&from_file));
    let more = load_input(b"id\tname\n99999\tlast\n", &from_input, &["--delimiter", "tab"]);
    assert_eq!(more.code, 0, "{}", more.err);
    assert_eq!(rows_of(&from_input).len(), ROWS as usize + 1);
}

/// Promise: a bad row on standard input is told with its line, and nothing is changed, although
/// the rows before it were good.
#[test]
fn a_bad_row_of_standard_input_changes_nothing() {
    let dir = directory();
    let data = dir.path().join("d");
    let text = numbers() + "5,again\n";
    let ran = load_input(text.as_bytes(), &data, &[]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.is_three_lines(), "{}", ran.err);
    let line = ROWS + 2;
    let why = format!("standard input line {line}: the same primary key as line 7");
    assert!(ran.err.contains(&why) && ran.out.is_empty(), "{}", ran.err);
    assert!(!data.exists());
    let empty = load_input(b"", &data, &[]);
    assert!(empty.err.contains("cannot load standard input"), "{}", empty.err);
    assert!(!data.exists());
}
