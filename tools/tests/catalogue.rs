//! The table of the reliability catalogue names tests that exist, and has every row.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// Names of all functions with `#[test]` or `#[tokio::test]` above them, or made by a macro that says
/// so.
fn tests_below(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                if let Some(rest) = function.filter(|_| is_test) {
                    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                    found.extend(name.map(str::to_owned));
                }
                // Other attributes and comments may stand between the two.
                let between = line.starts_with("#[") || line.starts_with("//");
                let begins = line == "#[test]" || line.starts_with("#[tokio::test");
                is_test = begins || is_test && between;
            }
        }
    }
}

/// The rows of the table: number, tests, what is left.
fn rows() -> Vec<(String, Vec<String>, String)> {
    let text = fs::read_to_string(root().join("docs/catalogue.md")).expect("the table");
    let is_row = |line: &&str| {
        let name = line.strip_prefix("| ").unwrap_or_default().as_bytes();
        name.len() > 2 && b"DPMTKSRNOI".contains(&name[0]) && name[1].is_ascii_digit()
    };
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows = text.lines().filter(is_row).map(|line| -> Vec<String> { cells(line) });
    rows.map(|cells| {
        assert_eq!(cells.len(), 6, "four cells: {cells:?}");
        let tests = cells[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (cells[1].clone(), tests, cells[4].clone())
    })
    .collect()
}

/// Promise: each row of the catalogue that is named here has its tests, which exist, or says why
/// it has none yet; and every test that is named after a row is in that row.
#[test]
fn every_row_has_its_tests() {
    let mut existing = BTreeSet::new();
    for member in [
        "wal",
        "snapshot",
        "engine",
        "consensus",
        "replication",
        "access",
        "node",
        "cluster",
        "sql",
        "tools",
        "tests",
    ] {
        tests_below(&root().join(member), &mut existing);
    }
    let rows = rows();
    let parts = [
        ("D", 38),
        ("P", 18),
        ("M", 19),
        ("T", 6),
        ("K", 19),
        ("S", 22),
        ("R", 24),
        ("N", 18),
        ("O", 19),
        ("I", 12),
    ];
    let expected: Vec<String> = parts
        .into_iter()
        .flat_map(|(kind, last)| (1..=last).map(move |n| format!("{kind}{n:02}")))
        .collect();
    let numbers: Vec<String> = rows.iter().map(|(number, ..)| number.clone()).collect();
    assert_eq!(numbers, expected);
    for (number, tests, left) in &rows {
        for test in tests {
            assert!(existing.contains(test), "{number}: there is no test {test}");
        }
        assert!(!tests.is_empty() || left.starts_with("not yet"), "{number}: neither nor");
        let prefix = format!("{}_", number.to_lowercase());
        for test in existing.iter().filter(|test| test.starts_with(&prefix)) {
            assert!(tests.contains(test), "{number}: {test} is not in its row");
        }
    }
}
