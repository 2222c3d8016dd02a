//! `resprout bench failover` over real processes, where there is a program for them.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};

use support::{directory, resprout};

/// The nodes' program, from the environment or beside what is tested: this package does not build it.
fn resproutd() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("RESPROUTD").map(PathBuf::from) {
        let is_there = path.is_file();
        return if is_there { Ok(path) } else { Err(format!("no file {}", path.display())) };
    }
    let beside = Path::new(env!("CARGO_BIN_EXE_resprout")).with_file_name("resproutd");
    let why = "no RESPROUTD in the environment, and no resproutd beside resprout";
    if beside.is_file() { Ok(beside) } else { Err(why.to_owned()) }
}

/// Promise (P01): clients of a killed leaf go on, every acknowledged row is there, and the names in the JSON are those
/// that other tools read.
#[test]
fn p01_a_killed_leaf_is_measured_and_verified() {
    let resproutd = match resproutd() {
        Ok(path) => path,
        Err(why) => {
            // Past the harness, which keeps what a test that passes prints.
            let said = writeln!(std::io::stderr(), "skipped: a_killed_leaf: {why}");
            said.expect("stderr is there");
            return;
        }
    };
    let dir = directory();
    let data = dir.path().join("bench");
    let ran = resprout([
        "bench",
        "failover",
        "--json",
        "--only",
        "leaf",
        "--rounds",
        "1",
        "--partitions",
        "4",
        "--resproutd",
        resproutd.to_str().expect("text"),
        "--data",
        data.to_str().expect("text"),
    ]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let json = ran.json();
    assert_eq!(json["bench"], "failover");
    assert_eq!(json["verified"], true);
    assert!(json["acknowledged"].as_u64() > Some(4), "{json}");
    let figure = &json["killed_leaf"];
    for of in ["next", "pause", "all"] {
        for name in ["samples", "p50_ms", "p99_ms", "max_ms"] {
            assert!(figure[of][name].is_number(), "{of}.{name} is not a number in {json}");
        }
    }
    let rounds = figure["rounds"].as_array().expect("a list");
    assert_eq!(rounds.len(), 1);
    assert_eq!(figure["next"]["samples"], rounds[0]["affected"]);
    assert!(json.get("silent_leaf").is_none());
}

/// Promise: what makes no sense is bad usage, and nothing is started.
#[test]
fn bad_clusters_are_bad_usage() {
    let dir = directory();
    let data = dir.path().join("never");
    for (flag, value) in [
        ("--leaves", "3"),
        ("--redundancy", "1"),
        ("--voters", "1"),
        ("--partitions", "0"),
        ("--rounds", "0"),
        ("--only", "everything"),
        ("--resproutd", "/there/is/none"),
    ] {
        let ran =
            resprout(["bench", "failover", flag, value, "--data", data.to_str().expect("text")]);
        assert_eq!(ran.code, 2, "{flag}: {}", ran.err);
    }
    assert!(!data.exists());
}
