//! Runs the real node. No waiting by the clock: a node is followed by its own log.

#![expect(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use resprout_engine::table::{TableSchema, Value};
use resprout_engine::{DatabaseOptions, Engine, Options};

#[path = "../../../tests/support/common.rs"]
mod common;
pub(crate) use common::*;

pub(crate) mod cluster;
pub(crate) mod network;
pub(crate) mod outcome;

/// `resproutd node` with these arguments, to its end.
pub(crate) fn node_to_end<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resproutd"));
    command
        .env("RESPROUT_SQL", "off")
        .arg("node")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
        .into()
}

/// Makes table `t` of `data` with numbered rows, in two partitions.
pub(crate) fn make_numbers(data: &Path, rows: u32) {
    let engine = Engine::open(data, Options::default()).expect("it opens");
    let options = DatabaseOptions { partitions: 2, ..DatabaseOptions::default() };
    let database = engine.create_database("demo", options).expect("a new database");
    let schema = TableSchema::builder("t")
        .column("id", "bigint")
        .column("name", "varchar(100)")
        .primary_key(&["id"])
        .build()
        .expect("a good table");
    database.create_table(&schema).expect("a new table");
    for id in 0..rows {
        let key = Value::Int(id.into());
        let partition = database.partition_for("t", std::slice::from_ref(&key)).expect("one");
        let table = partition.table("t").expect("it is there");
        let mut txn = partition.begin().expect("online");
        txn.insert(&table, &[key, Value::Text(format!("name-{id}"))]).expect("a new row");
        txn.commit().expect("durable");
    }
    engine.close().expect("closes");
}

/// How often a test does what it does: once, unless `RESPROUT_ROUNDS` in the environment asks for more.
pub(crate) fn rounds() -> u64 {
    let asked = std::env::var("RESPROUT_ROUNDS");
    asked.map_or(1, |asked| asked.parse().expect("RESPROUT_ROUNDS is a number"))
}

/// Figures of a run, for whoever looks.
#[expect(clippy::print_stdout, reason = "the harness keeps it unless it is asked")]
pub(crate) fn tell(text: &str) {
    println!("{text}");
}

/// A running node.
pub(crate) struct Node {
    child: Child,
    log: BufReader<ChildStderr>,
    pub(crate) lines: Vec<serde_json::Value>,
}

impl Node {
    /// Starts a node on `data` with HTTP on a free port.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resproutd"));
        command.args([
            "node",
            "--http",
            "127.0.0.1:0",
            "--sql",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--data",
        ]);
        command.arg(data).args(more).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, log, lines: Vec::new() }
    }

    /// Reads the log up to a line whose message contains `part`; that message.
    pub(crate) fn until(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).expect("readable");
            assert!(read > 0, "the node ended before it said '{part}': {:?}", self.lines);
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON lines");
            let message = line["msg"].as_str().unwrap_or_default().to_owned();
            self.lines.push(line);
            if message.contains(part) {
                return message;
            }
        }
    }

    /// The address of its HTTP side.
    pub(crate) fn http(&mut self) -> SocketAddr {
        let said = self.until("http on ");
        said.trim_start_matches("http on ").parse().expect("an address")
    }

    pub(crate) fn signal(&self, name: &str) {
        send(&self.child, name);
    }

    /// Waits for the end; exit code, or -1 if a signal ended it.
    pub(crate) fn end(mut self) -> i32 {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("readable");
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A failed test leaves no node behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal.
pub(crate) fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

/// One HTTP request; status and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("writable");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("readable");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.expect("a status line"), body.to_owned())
}
