//! What the tests of both binaries need.

use std::path::{Path, PathBuf};
use std::process::Output;

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
