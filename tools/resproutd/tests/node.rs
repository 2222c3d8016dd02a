//! The node as an operator sees it: probes, states, signals, and rows that come back.

mod support;

use std::os::unix::net::UnixDatagram;

use support::{Node, directory, get, make_numbers, rows_of};

/// Promise: what was loaded is served after every restart, through the states in their order.
#[test]
fn loaded_rows_come_back_through_all_states() {
    let dir = directory();
    let data = dir.path().join("d");
    make_numbers(&data, 500);
    for _ in 0..2 {
        let mut node = Node::start(&data, &[]);
        node.until("recovery node done");
        for partition in ["demo:0", "demo:1"] {
            let of = |key: &str| {
                let lines = node.lines.iter().filter(|line| line["partition"] == partition);
                let words = lines.filter_map(|line| line[key].as_str().map(str::to_owned));
                words.collect::<Vec<_>>()
            };
            assert_eq!(of("from"), ["RECOVERING", "PENDING", "TRANSITIONING"]);
            assert_eq!(of("to"), ["PENDING", "TRANSITIONING", "ONLINE"]);
        }
        node.signal("TERM");
        assert_eq!(node.end(), 0);
    }
    let rows = rows_of(&data);
    assert_eq!(rows.len(), 500);
    assert_eq!(rows[499][1].to_string(), "name-499");
}

/// Promise: probes, metrics and status answer under their names, with what they promise.
#[test]
fn http_answers_as_documented() {
    let dir = directory();
    let data = dir.path().join("d");
    make_numbers(&data, 50);
    let mut node = Node::start(&data, &[]);
    let address = node.http();
    assert_eq!(get(address, "/livez").0, 200, "also while it recovers");
    node.until("recovery node done");
    assert_eq!(get(address, "/startupz").0, 200);
    let (status, body) = get(address, "/readyz");
    assert_eq!(status, 200);
    assert!(body.contains("2 of 2 partitions are online"), "{body}");
    let (status, metrics) = get(address, "/metrics");
    assert_eq!(status, 200);
    assert!(
        metrics.contains("resprout_partition_state{db=\"demo\",ordinal=\"1\",state=\"online\"} 1")
    );
    assert!(metrics.trim_end().ends_with("# EOF"));
    let (_, status) = get(address, "/api/status");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(
        (status["schema_version"].as_u64(), status["state"].as_str()),
        (Some(1), Some("ONLINE"))
    );
    assert_eq!(status["partitions"].as_array().map(Vec::len), Some(2));
    assert_eq!(get(address, "/nonsense").0, 404);
    node.signal("INT");
    assert_eq!(node.end(), 0);
}

/// Promise: a node that is told not to attach stays PENDING and is not ready, with the reason.
#[test]
fn no_attach_stays_pending_and_unready() {
    let dir = directory();
    let data = dir.path().join("d");
    make_numbers(&data, 5);
    let mut node = Node::start(&data, &["--no-attach"]);
    let address = node.http();
    node.until("recovery node done");
    assert_eq!(get(address, "/startupz").0, 200);
    let (status, body) = get(address, "/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("0 of 2 partitions are online"), "{body}");
    node.signal("TERM");
    assert_eq!(node.end(), 0);
}

/// P08: SIGTERM ends a node in order: its logs say so, and the term goes on.
#[test]
fn p08_sigterm_closes_in_order() {
    let dir = directory();
    let data = dir.path().join("d");
    make_numbers(&data, 5);
    let mut node = Node::start(&data, &[]);
    node.until("recovery node done");
    node.signal("TERM");
    assert_eq!(node.end(), 0);
    assert_eq!(terms(&data), [1, 1]);
}

/// The term of each partition once a node has opened the directory.
fn terms(data: &std::path::Path) -> Vec<u64> {
    let mut node = Node::start(data, &[]);
    let address = node.http();
    node.until("recovery node done");
    let status: serde_json::Value =
        serde_json::from_str(&get(address, "/api/status").1).expect("JSON");
    let partitions = status["partitions"].as_array().expect("a list");
    let terms = partitions.iter().map(|partition| partition["term"].as_u64().expect("a number"));
    let terms = terms.collect();
    node.signal("TERM");
    assert_eq!(node.end(), 0);
    terms
}

/// P01: after SIGKILL everything acknowledged is there, in a new term.
#[test]
fn p01_sigkill_loses_nothing_and_begins_a_new_term() {
    let dir = directory();
    let data = dir.path().join("d");
    make_numbers(&data, 100);
    let mut node = Node::start(&data, &[]);
    node.until("recovery node done");
    node.signal("KILL");
    assert_eq!(node.end(), -1);
    assert_eq!(rows_of(&data).len(), 100);
    assert_eq!(terms(&data), [2, 2]);
}

/// D04: a partition with damage is UNRECOVERABLE with the reason; the others serve.
#[test]
fn d04_damage_takes_one_partition_and_leaves_the_others() {
    let dir = directory();
    let data = dir.path().join("d");
    make_numbers(&data, 100);
    flip_a_name(&data);
    let mut node = Node::start(&data, &[]);
    let address = node.http();
    let said = node.until("recovery node done");
    assert!(said.ends_with("1 of them UNRECOVERABLE"), "{said}");
    let (status, body) = get(address, "/readyz");
    assert_eq!(status, 200, "the other partition serves");
    assert!(body.contains("1 of 2 partitions are online"), "{body}");
    let (_, status) = get(address, "/api/status");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let errors: Vec<_> = status["partitions"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|partition| partition["error"].as_str())
        .collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("wal.arena"), "file and place: {}", errors[0]);
    node.signal("TERM");
    assert_eq!(node.end(), 0);
}

/// Changes one bit of an acknowledged row in the log.
fn flip_a_name(data: &std::path::Path) {
    let arena = data.join("wal.arena");
    let mut bytes = std::fs::read(&arena).expect("readable");
    let at = bytes.windows(7).position(|window| window == b"name-42").expect("row 42 is logged");
    bytes[at] ^= 1;
    std::fs::write(&arena, bytes).expect("writable");
}

/// Promise: a supervisor hears when the node is ready and when it stops.
#[test]
fn a_supervisor_is_told() {
    let dir = directory();
    let data = dir.path().join("d");
    make_numbers(&data, 5);
    let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
    // Inherited by the node alone: the variable is given to the child, not set here.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_resproutd"));
    command
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .args(["node", "--sql", "off", "--data"])
        .arg(&data);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("the binary runs");
    let mut said = String::new();
    let mut hear = |wanted: &str| {
        while !said.contains(wanted) {
            let mut bytes = [0; 512];
            let len = socket.recv(&mut bytes).expect("a message");
            said.push_str(&String::from_utf8_lossy(&bytes[..len]));
            said.push('\n');
        }
    };
    hear("READY=1");
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status()
            .expect("kill runs")
            .success()
    );
    hear("STOPPING=1");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
