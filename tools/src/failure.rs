//! How a command ends: exit codes, and errors as three lines that say what, why and what to do.

use std::fmt;
use std::process::ExitCode;

/// Exit codes. They mean the same in every command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, healthy, clean.
    #[default]
    Done = 0,
    /// It did not work.
    Failed = 1,
    /// Asked for something that does not exist or contradicts itself.
    Usage = 2,
    /// A torn tail: normal after a crash, recovery drops it. Of a cluster: all data are there, with less to spare.
    Torn = 3,
    /// Bytes that were once durable are not there: damage. Of a cluster: data cannot be read.
    Damaged = 4,
    /// Nobody of the cluster answers.
    Unreachable = 5,
    /// What was waited for did not come in time.
    Late = 6,
    /// Refused because it would do harm, such as opening a directory that is in use.
    Refused = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What did not work, one line.
    pub what: String,
    /// The reason, one line.
    pub why: String,
    /// What the reader can do about it, one line.
    pub fix: String,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(what: impl Into<String>, why: impl fmt::Display, fix: impl Into<String>) -> Self {
        let (what, fix) = (what.into(), fix.into());
        Self { exit: Exit::Failed, what, why: one_line(&why.to_string()), fix }
    }

    /// The same with another exit code.
    #[must_use]
    pub fn exiting(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

/// An error and its causes in one line, outermost first.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some errors repeat their cause in their own text; saying it twice helps nobody.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    one_line(&text)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\n  why: {}\n  fix: {}", self.what, self.why, self.fix)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: an error is exactly three lines, whatever the cause's text looks like.
    #[test]
    fn an_error_is_three_lines() {
        let failure = Failure::new("cannot load", "first\n\n  second", "try again");
        assert_eq!(failure.to_string().lines().count(), 3);
        assert_eq!(
            failure.to_string(),
            "error: cannot load\n  why: first second\n  fix: try again"
        );
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(failure.exiting(Exit::Refused).exit as u8, 7);
    }
}
