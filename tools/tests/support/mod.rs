//! Runs the real binary.

#![expect(dead_code, reason = "each test file uses a part of it")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

mod common;
pub(crate) use common::*;

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
