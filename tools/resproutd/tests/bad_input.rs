//! Bad input to the node: one clear error in three lines, the right exit code, nothing changed.

mod support;

use std::fs;
use std::path::Path;

use support::{Node, directory, file, make_numbers, node_to_end, rows_of};

/// Names and contents of everything below `dir`.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.display().to_string(), fs::read(&path).expect("readable")));
        }
    }
    all.sort();
    all
}

/// Promise: an option that does not exist is bad usage, and is named.
#[test]
fn an_unknown_option_is_bad_usage() {
    let ran = node_to_end(["--nonsense"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("nonsense") && ran.out.is_empty(), "{}", ran.err);
}

/// Promise: settings that make no sense are refused before anything is opened, with their origin.
#[test]
fn bad_settings_are_refused_with_their_origin() {
    let dir = directory();
    let config = file(dir.path(), "n.toml", "data = \"/d\"\n[memory]\nmaximun = \"1GiB\"\n");
    let ran = node_to_end(["--config".as_ref(), config.as_os_str()]);
    assert_eq!(ran.code, 2);
    assert!(ran.is_three_lines(), "{}", ran.err);
    assert!(
        ran.err.contains("n.toml:3") && ran.err.contains("did you mean 'maximum'"),
        "{}",
        ran.err
    );
    let data = dir.path().join("never");
    for (flag, value) in [
        ("--http", "here"),
        ("--sql", "there"),
        ("--memory", "much"),
        ("--disk", "floppy"),
        ("--log-format", "xml"),
    ] {
        let ran = node_to_end(["--data".as_ref(), data.as_os_str(), flag.as_ref(), value.as_ref()]);
        assert_eq!(ran.code, 2, "{flag}: {}", ran.err);
        assert!(ran.err.contains(value), "{}", ran.err);
    }
    assert_eq!(node_to_end(Vec::<String>::new()).code, 2, "without --data");
    assert!(!data.exists());
}

/// Promise: `--check-config` shows every setting with where it comes from, and opens nothing.
#[test]
fn check_config_shows_origins() {
    let dir = directory();
    let config = file(dir.path(), "n.toml", "data = \"/nowhere\"\n[memory]\nmaximum = \"1GiB\"\n");
    let config = config.to_str().expect("text");
    let ran = node_to_end(["--check-config", "--config", config, "--memory", "2GiB"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("n.toml:1") && ran.out.contains("memory.maximum = 2GiB   # --memory"));
    assert!(!Path::new("/nowhere").exists());
}

/// D36: a directory that cannot be written is an error with path and reason.
#[test]
fn d36_unwritable_directory_is_named() {
    for path in ["/proc/nothing-can-be-made-here", "/dev/null/below-a-file"] {
        let ran = node_to_end(["--log-format", "text", "--data", path]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains(path), "{}", ran.err);
    }
}

/// D11: a directory with something else in it is refused and left alone.
#[test]
fn d11_foreign_directory_is_left_alone() {
    let dir = directory();
    file(dir.path(), "precious.txt", "mine");
    let before = contents(dir.path());
    let data = dir.path().to_str().expect("text");
    let ran = node_to_end(["--log-format", "text", "--data", data]);
    assert_eq!(ran.code, 7, "{}", ran.err);
    assert!(ran.is_three_lines() && ran.err.contains("precious.txt"), "{}", ran.err);
    let after: Vec<_> =
        contents(dir.path()).into_iter().filter(|(name, _)| !name.ends_with("lock")).collect();
    assert_eq!(after, before);
}

/// D38: a second process on the same directory is refused at once, and the first goes on.
#[test]
fn d38_second_process_is_refused() {
    let dir = directory();
    let data = dir.path().join("d");
    make_numbers(&data, 10);
    let mut first = Node::start(&data, &[]);
    let address = first.http();
    first.until("recovery node done");
    let text = data.to_str().expect("text");
    let ran = node_to_end(["--log-format", "text", "--data", text]);
    assert!(ran.err.contains("in use by another process"), "{}", ran.err);
    assert_eq!(ran.code, 7);
    assert_eq!(support::get(address, "/readyz").0, 200);
    first.signal("TERM");
    assert_eq!(first.end(), 0);
    assert_eq!(rows_of(&data).len(), 10);
}

/// I06: a directory of a newer format version is refused with both versions, and left alone.
#[test]
fn i06_wrong_version_is_refused() {
    let dir = directory();
    let data = dir.path().join("d");
    make_numbers(&data, 3);
    let identity = data.join("identity");
    let mut bytes = fs::read(&identity).expect("readable");
    // Version 2 with its right checksum: the layout is drawn in the engine's `identity` module.
    bytes[8] = 2;
    let at = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..at]);
    bytes[at..].copy_from_slice(&crc.to_le_bytes());
    fs::write(&identity, &bytes).expect("writable");
    let before = contents(&data);
    let ran = node_to_end(["--log-format", "text", "--data", data.to_str().expect("text")]);
    assert_eq!(ran.code, 7, "{}", ran.err);
    assert!(ran.err.contains("version 2") && ran.err.contains("version 1"), "{}", ran.err);
    assert_eq!(contents(&data), before);
}
