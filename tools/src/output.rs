//! The only place that writes to the terminal: data on stdout, talk on stderr.
//!
//! A reader that goes away (`resprout inspect … | head`) ends the command quietly.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::failure::{Exit, Failure};

/// Writes one line of data to stdout.
pub fn line(text: impl fmt::Display) {
    let written = writeln!(io::stdout().lock(), "{text}");
    if let Err(error) = written {
        give_up(&error);
    }
}

/// Writes one JSON document to stdout, on one line.
///
/// # Panics
/// If a value cannot be told as JSON: only maps with keys that are no strings, which none of ours
/// has.
pub fn json(value: &impl Serialize) {
    let text = serde_json::to_string(value).expect("all our maps have strings as keys");
    line(text);
}

/// Writes one line of talk to stderr. A closed stderr changes nothing.
pub fn talk(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a person sees stderr: bars and colour only then.
#[must_use]
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

fn give_up(error: &io::Error) {
    let exit = match error.kind() {
        io::ErrorKind::BrokenPipe => Exit::Done,
        _ => Exit::Failed,
    };
    if exit == Exit::Failed {
        talk(format_args!("error: cannot write to stdout: {error}"));
    }
    std::process::exit(i32::from(exit as u8));
}

/// Ends a command: its exit code, and its error in three lines.
#[must_use]
pub fn exit(outcome: Result<Exit, Failure>) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            talk(&failure);
            failure.exit.into()
        }
    }
}
