//! The benches run, verify, and print the JSON that other tools read.

mod support;

use support::{directory, resprout};

fn bench(args: &[&str]) -> serde_json::Value {
    let dir = directory();
    let data = dir.path().join("bench");
    let mut all = vec!["bench"];
    all.extend(args);
    all.extend(["--json", "--data", data.to_str().expect("text")]);
    let ran = resprout(all);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    ran.json()
}

fn has_numbers(json: &serde_json::Value, names: &[&str]) {
    for name in names {
        assert!(json[name].is_number(), "{name} is not a number in {json}");
    }
}

/// P01: a process that is killed while it writes comes back with every acknowledged row, and the
/// names in the JSON are those that other tools read.
#[test]
fn p01_recovery_verifies_and_reports() {
    for more in [&["--cold"][..], &["--warm", "--secondary-indexes", "1", "--log-fraction", "0"]] {
        let mut args = vec!["recovery", "--rows", "20k", "--partitions", "2", "--runs", "2"];
        args.extend(["--row-bytes", "50", "--seed", "7"]);
        args.extend(more);
        let json = bench(&args);
        assert_eq!(json["schema_version"], 1);
        assert_eq!(json["bench"], "recovery");
        assert_eq!(json["cold"], more[0] == "--cold");
        has_numbers(
            &json,
            &["rows", "row_bytes", "partitions", "snapshot_bytes", "log_bytes", "ratio_to_device"],
        );
        has_numbers(&json["device"], &["sequential_read_bytes_per_s"]);
        let runs = json["runs"].as_array().expect("a list");
        assert_eq!(runs.len(), 2);
        for run in runs.iter().chain([&json["median"]]) {
            has_numbers(run, &["total_s", "snapshot_s", "log_s", "rows_per_s", "bytes_per_s"]);
            assert_eq!(run["verified"], true);
        }
    }
}

/// Promise: commits are counted, verified and set beside the device, for one client and several.
#[test]
fn commit_verifies_and_reports() {
    for clients in ["1", "8"] {
        let json = bench(&["commit", "--clients", clients, "--partitions", "2", "--seconds", "1"]);
        let names = [
            "clients",
            "partitions",
            "commits_per_s",
            "p50_us",
            "p99_us",
            "p999_us",
            "flushes",
            "commits_per_flush",
        ];
        has_numbers(&json, &names);
        has_numbers(&json["device"], &["p50_us"]);
        assert_eq!(json["durability"], "sync");
        assert_eq!(json["verified"], true);
    }
}

/// Promise: a replica in another process has every acknowledged row, and the numbers stand beside their
/// bounds; a mode that promises nothing is bad usage.
#[test]
fn replicate_verifies_and_reports() {
    for (mode, durability) in [("sync", "async"), ("sync", "sync"), ("async", "async")] {
        let args = ["replicate", "--mode", mode, "--durability", durability, "--clients", "2"];
        let json = bench(&[&args[..], &["--seconds", "1"]].concat());
        has_numbers(&json, &["loopback_p50_us", "above_loopback_us", "ratio_to_alone"]);
        for commits in ["replicated", "alone"] {
            has_numbers(&json[commits], &["commits_per_s", "p50_us", "p99_us", "p999_us"]);
        }
        assert_eq!(json["promotion_ms"].is_number(), mode == "sync");
        assert_eq!(json["verified"], true);
    }
    let ran = resprout(["bench", "replicate", "--mode", "async", "--durability", "sync"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
}

/// Promise: a late replica follows the log that its master has; both copies are compared, and the rate stands
/// beside loopback and durable writes of the same run.
#[test]
fn replicate_ship_verifies_and_reports() {
    for durability in ["async", "sync"] {
        let args = ["replicate", "ship", "--size", "8MiB", "--runs", "2"];
        let json = bench(&[&args[..], &["--durability", durability]].concat());
        assert_eq!(json["bench"], "replicate ship");
        has_numbers(&json, &["rows", "log_bytes", "bytes_per_s", "ratio_to_bound"]);
        let runs = json["runs"].as_array().expect("a list");
        assert_eq!(runs.len(), 2);
        for run in runs {
            has_numbers(run, &["total_s", "received_s", "shown_s", "bytes_per_s"]);
            has_numbers(run, &["loopback_bytes_per_s", "disk_bytes_per_s", "ratio_to_bound"]);
            assert!(run["noisy"].is_boolean());
        }
        assert_eq!(json["verified"], true);
    }
}

/// Promise: a fresh replica gets an image, and one that differs in a hundredth of its pages gets little more
/// than that; both copies are compared behind each.
#[test]
fn replicate_provision_verifies_and_reports() {
    let json = bench(&["replicate", "provision", "--size", "16MiB", "--runs", "1"]);
    assert_eq!(json["bench"], "replicate provision");
    has_numbers(&json, &["rows", "row_total_bytes", "bytes_per_s", "ratio_to_bound"]);
    has_numbers(&json, &["scattered_share", "adjacent_share"]);
    let run = &json["runs"][0];
    has_numbers(run, &["total_s", "travelled_bytes", "loopback_bytes_per_s", "disk_bytes_per_s"]);
    for differing in ["scattered", "adjacent"] {
        has_numbers(&run[differing], &["total_s", "travelled_bytes", "share"]);
        let share = run[differing]["share"].as_f64().expect("a number");
        assert!(share < 0.2, "{differing}: {share} of the rows travelled");
    }
    assert!(run["travelled_bytes"].as_u64() >= json["row_total_bytes"].as_u64());
    assert_eq!(json["verified"], true);
}

/// Promise (R09): a former master takes back what nobody else has, follows, and may lead again; what it took back
/// was never acknowledged.
#[test]
fn replicate_rejoin_verifies_and_reports() {
    let json = bench(&["replicate", "rejoin", "--sizes", "1MiB,8MiB", "--runs", "2"]);
    assert_eq!(json["bench"], "replicate rejoin");
    assert_eq!(json["transactions"], 1000);
    has_numbers(&json, &["growth"]);
    let sizes = json["sizes"].as_array().expect("a list");
    assert_eq!(sizes.len(), 2);
    for size in sizes {
        has_numbers(size, &["row_total_bytes", "rows", "rejoin_ms"]);
        for run in size["runs"].as_array().expect("a list") {
            has_numbers(run, &["rejoin_ms", "connected_ms", "following_ms", "cut_bytes"]);
            has_numbers(run, &["loopback_p50_us", "device_p50_us"]);
            // Each of them has at least its row.
            assert!(run["cut_bytes"].as_u64() > Some(100 * 1000), "{run}");
        }
    }
    assert_eq!(json["verified"], true);
    let mixed = resprout(["bench", "replicate", "--clients", "2", "rejoin"]);
    assert_eq!(mixed.code, 2, "{}", mixed.err);
}

/// Promise: replay, read and snapshot print the names that other tools read.
#[test]
fn the_other_benches_verify_and_report() {
    let replay = bench(&["replay", "--rows", "20k", "--partitions", "2", "--runs", "1"]);
    has_numbers(&replay["median"], &["total_s", "rows_per_s", "bytes_per_s"]);
    assert_eq!(replay["verified"], true);
    for batch in ["1", "50"] {
        let args = ["read", "--rows", "20k", "--threads", "2", "--seconds", "1", "--batch", batch];
        let read = bench(&args);
        has_numbers(&read, &["threads", "reads_per_s", "p50_ns", "p99_ns"]);
        assert_eq!(read["batch"].to_string(), batch);
    }
    let snapshot = bench(&["snapshot", "--rows", "20k", "--partitions", "2", "--seconds", "1"]);
    has_numbers(&snapshot, &["loss", "max_pause_ms", "bytes_per_s"]);
    assert_eq!(snapshot["verified"], true);
}

/// Promise: sizes that make no sense are bad usage, and nothing is made.
#[test]
fn bad_sizes_are_bad_usage() {
    let dir = directory();
    let data = dir.path().join("never");
    for (flag, value) in
        [("--rows", "0"), ("--row-bytes", "3"), ("--log-fraction", "1.5"), ("--partitions", "0")]
    {
        let ran =
            resprout(["bench", "recovery", flag, value, "--data", data.to_str().expect("text")]);
        assert_eq!(ran.code, 2, "{flag}: {}", ran.err);
    }
    assert!(!data.exists());
}
