//! Runs the subject, a real process on a real directory, under faults that come from outside:
//! signals, a tracer that kills it at a system call or makes one fail, limits, small disks.
//!
//! ```text
//!  write (fault) ─► try/ack/refused/unknown ─┐
//!  read (perhaps killed too) ─► row/half/wrong ├─► Promise::check
//!  inspect verify ─► 0, 3, never 4            ─┘
//! ```
//!
//! Tests that need a tool which is not there say `skipped: <why>` on stderr, past the capture of
//! the test runner, and are never counted as something that was checked.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Says that a test is skipped, and why.
pub fn skip(test: &str, why: &str) {
    say(&format!("skipped: {test}: {why}"));
}

/// Says what a test has done, past the capture of the test runner.
pub fn say(text: &str) {
    // Without stderr nobody can be told.
    let _unheard = writeln!(std::io::stderr(), "{text}");
}

/// Whether a program can be run.
#[must_use]
pub fn has_program(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(name).is_file())
}

/// A number from the environment, else the usual one: for runs that are longer than CI's.
///
/// # Panics
/// If it is set and not a number.
#[must_use]
pub fn rounds(variable: &str, usual: u64) -> u64 {
    let asked = std::env::var(variable).ok();
    asked.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// A data directory of its own, removed at the end.
///
/// # Panics
/// If there is no room for one.
#[must_use]
pub fn scratch() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("room for a directory");
    let data = dir.path().join("data");
    (dir, data)
}

/// The subject and where it works.
#[derive(Clone, Debug)]
pub struct Subject {
    program: PathBuf,
    data: PathBuf,
    backend: &'static str,
    threads: bool,
}

/// What a run said and how it ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its lines.
    pub lines: Vec<String>,
    /// What it said to people.
    pub stderr: String,
}

impl Ran {
    /// Of a process that has ended.
    #[must_use]
    pub fn of(output: &Output) -> Self {
        let lines = String::from_utf8_lossy(&output.stdout);
        // A tracer ends as its program did, by a signal or with a code above 128.
        let killed = output.status.signal().is_some() || output.status.code() == Some(137);
        Self {
            code: output.status.code().filter(|_| !killed),
            lines: lines.lines().map(str::to_owned).collect(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The numbers of all lines that begin with a word.
    #[must_use]
    pub fn numbers(&self, word: &str) -> BTreeSet<i64> {
        let rest = |line: &String| Some(line.strip_prefix(word)?.strip_prefix(' ')?.to_owned());
        let number = |rest: String| rest.split(' ').next()?.parse().ok();
        self.lines.iter().filter_map(rest).filter_map(number).collect()
    }

    /// Whether a line begins so.
    #[must_use]
    pub fn says(&self, start: &str) -> bool {
        self.lines.iter().any(|line| line.starts_with(start))
    }

    /// Whether some line, or what it said to people, has this text.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text)) || self.stderr.contains(text)
    }
}

impl Subject {
    /// The subject at `program`, working in `data` with one thread through `pwritev2`.
    #[must_use]
    pub fn new(program: &str, data: &Path) -> Self {
        let (program, data) = (program.into(), data.to_owned());
        Self { program, data, backend: "pwritev2", threads: false }
    }

    /// With another backend.
    #[must_use]
    pub fn backend(mut self, backend: &'static str) -> Self {
        self.backend = backend;
        self
    }

    /// With the engine's own threads.
    #[must_use]
    pub fn threads(mut self) -> Self {
        self.threads = true;
        self
    }

    /// A command of the subject on its directory.
    #[must_use]
    pub fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        self.arguments(&mut command, verb, arguments);
        command
    }

    /// The same under a tracer that does `inject` to the calls it names.
    #[must_use]
    pub fn traced(&self, inject: &str, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("strace");
        let calls = inject.split(':').next().unwrap_or(inject);
        let (trace, inject) = (format!("trace={calls}"), format!("inject={inject}"));
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
        command.arg(&self.program);
        self.arguments(&mut command, verb, arguments);
        command
    }

    fn arguments(&self, command: &mut Command, verb: &str, arguments: &[&str]) {
        command.arg(verb).arg(&self.data).args(["--backend", self.backend]).args(arguments);
        if self.threads {
            command.arg("--threads");
        }
        command.stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
    }

    /// Recovers and checks that the promise holds; what it says then.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self, promise: &Promise, when: &str) -> Ran {
        // A directory that was killed before it had an identity and a log cannot be inspected.
        if ["identity", "wal.arena"].iter().all(|name| self.data.join(name).exists()) {
            let inspected = run(&mut self.inspect());
            let begun = inspected.mentions("neither superblock is good");
            let empty = begun && promise.acknowledged.is_empty();
            let fine = matches!(inspected.code, Some(0 | 3)) || empty;
            assert!(fine, "{when}: inspection before recovery: {inspected:?}");
        }
        let read = run(&mut self.command("read", &[]));
        promise.check(&read, when);
        read
    }

    /// The command `inspect verify` on the directory.
    #[must_use]
    pub fn inspect(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["inspect", "verify"]).arg(&self.data).stdin(Stdio::null());
        command
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be run.
pub fn run(command: &mut Command) -> Ran {
    Ran::of(&command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// What writers were told, and so what a reader must and may find.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    acknowledged: BTreeSet<i64>,
    refused: BTreeSet<i64>,
    tried: BTreeSet<i64>,
}

impl Promise {
    /// Adds what a writer was told.
    pub fn add(&mut self, ran: &Ran) {
        self.acknowledged.extend(ran.numbers("ack"));
        self.refused.extend(ran.numbers("refused"));
        self.tried.extend(ran.numbers("try"));
    }

    /// How many transactions were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// The next number that nobody has tried.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.tried.last().map_or(1, |last| last + 1)
    }

    /// Everything acknowledged is there (A1), nothing refused (A4), nothing half (A6), nothing
    /// that was never tried, no wrong content (A8).
    ///
    /// # Panics
    /// If it is not so.
    pub fn check(&self, read: &Ran, when: &str) {
        assert_eq!(read.code, Some(0), "{when}: recovery fails: {read:?}");
        let rows = read.numbers("row");
        let lost: Vec<_> = self.acknowledged.difference(&rows).collect();
        assert!(lost.is_empty(), "{when}: lost although acknowledged: {lost:?}");
        let back: Vec<_> = self.refused.intersection(&rows).collect();
        assert!(back.is_empty(), "{when}: there although refused: {back:?}");
        let foreign: Vec<_> = rows.difference(&self.tried).collect();
        assert!(foreign.is_empty(), "{when}: there although never tried: {foreign:?}");
        assert!(!read.says("half") && !read.says("wrong"), "{when}: {:?}", read.lines);
    }
}
