//! Runs the real binaries. No waiting by the clock: a node is followed by its own log.

#![expect(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// A run of a command to its end.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// The error is three lines: what, why, what to do.
    pub(crate) fn is_three_lines(&self) -> bool {
        let starts: Vec<&str> =
            self.err.lines().map(|line| line.split(':').next().unwrap_or("").trim()).collect();
        starts == ["error", "why", "fix"]
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

/// `resprout` with these arguments.
pub(crate) fn resprout<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resprout"));
    command.args(args).stdin(Stdio::null()).output().expect("the binary runs").into()
}

/// The same with something on standard input.
pub(crate) fn resprout_reading<S: AsRef<std::ffi::OsStr>>(
    input: &[u8],
    args: impl IntoIterator<Item = S>,
) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resprout"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        // Beside the reading of its answer, so that neither waits for the other. A command that
        // ends early does not take it all.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("it ends").into()
    })
}

/// `resproutd node` with these arguments, to its end.
pub(crate) fn node_to_end<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resproutd"));
    command.arg("node").args(args).stdin(Stdio::null()).output().expect("the binary runs").into()
}

/// A directory on a real disk: what is under test writes around the page cache.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// Writes a file into `dir`; its path.
pub(crate) fn file(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("writable");
    path
}

/// Loads `rows` numbered rows into table `t` of `data`.
pub(crate) fn load_numbers(dir: &Path, data: &Path, rows: u32) -> Ran {
    let mut text = String::from("id,name\n");
    for id in 0..rows {
        text.push_str(&format!("{id},name-{id}\n"));
    }
    let csv = file(dir, "numbers.csv", text);
    load(data, &csv, &["--primary-key", "id", "--partitions", "2"])
}

/// `resprout load` into table `t`.
pub(crate) fn load(data: &Path, csv: &Path, more: &[&str]) -> Ran {
    let mut args = vec!["load", "--table", "t", "--json", "--progress", "none", "--data"];
    let (data, csv) = (data.to_str().expect("text"), csv.to_str().expect("text"));
    args.push(data);
    args.extend(more);
    args.push(csv);
    resprout(args)
}

/// All rows of table `t`, by their first column; opened by the engine itself.
pub(crate) fn rows_of(data: &Path) -> Vec<Vec<resprout_engine::table::Value>> {
    let engine = resprout_engine::Engine::open(data, resprout_engine::Options::default());
    let engine = engine.expect("it opens");
    let database = engine.database("demo").expect("it is there");
    let mut rows = Vec::new();
    for partition in database.partitions() {
        let table = partition.table("t").expect("it is there");
        let txn = partition.begin().expect("online");
        let visit = |row: &resprout_engine::table::RowView<'_>| {
            let values = row.values().expect("whole rows");
            rows.push(
                values.into_iter().map(resprout_engine::table::ValueRef::into_owned).collect(),
            );
            std::ops::ControlFlow::Continue(())
        };
        txn.scan(&table, &table.rows(), visit).expect("readable");
    }
    engine.close().expect("closes");
    rows.sort_by_key(|row: &Vec<_>| row[0].to_string().parse::<i64>().unwrap_or(0));
    rows
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
        command.args(["node", "--http", "127.0.0.1:0", "--log-format", "json", "--data"]);
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
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill runs").success());
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
