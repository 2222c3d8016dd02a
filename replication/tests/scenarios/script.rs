//! Scenario files: blocks of commands, each followed by what came of them.
//!
//! ```text
//! # why
//! write n1 7          one or more commands
//! ----
//! n1 writes [7]         what came of them, up to an empty line
//!
//! ```

use std::path::{Path, PathBuf};
use std::{env, fs};

use resprout_replication::testing::Planted;

use crate::commands;
use crate::world::World;

const RULE: &str = "----";

/// Where the files are.
pub(crate) fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// Plays a file. What comes of it must be what it says; with `REWRITE=1` in the environment, the
/// file is made to say what came of it.
pub(crate) fn play(name: &str) {
    let path = dir().join(name).with_extension("txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let played = played(&path, &text, None);
    if env::var_os("REWRITE").is_some() {
        fs::write(&path, played).expect("a file that can be written");
        return;
    }
    if let Some(line) = first_difference(&text, &played) {
        let expected = text.lines().nth(line).unwrap_or("(the end)");
        let found = played.lines().nth(line).unwrap_or("(the end)");
        panic!(
            "{}:{}:\n expected: {expected}\n    found: {found}\n\n{played}",
            path.display(),
            line + 1
        );
    }
}

/// Whether a file says something else of the core with this bug, or is stopped by it.
pub(crate) fn notices(name: &str, bug: Planted) -> bool {
    let path = dir().join(name).with_extension("txt");
    let text = fs::read_to_string(&path).expect("a file of a scenario");
    let played = std::panic::catch_unwind(|| played(&path, &text, Some(bug)));
    played.is_err() || played.is_ok_and(|played| first_difference(&text, &played).is_some())
}

fn first_difference(expected: &str, found: &str) -> Option<usize> {
    let (mut left, mut right) = (expected.lines(), found.lines());
    let mut line = 0;
    loop {
        match (left.next(), right.next()) {
            (None, None) => return None,
            (left, right) if left != right => return Some(line),
            _ => line += 1,
        }
    }
}

/// The text of the file with what came of it.
fn played(path: &Path, text: &str, planted: Option<Planted>) -> String {
    let mut world = World::default();
    world.planted = planted;
    let mut played = String::new();
    let mut lines = text.lines().enumerate();
    let mut block = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line == RULE {
            played.push_str(RULE);
            played.push('\n');
            for (number, command) in block.drain(..) {
                world.at = format!("{}:{}", path.display(), number + 1);
                commands::run(&mut world, command);
            }
            played.push_str(&world.take_output());
            played.push('\n');
            for (_, expected) in lines.by_ref() {
                if expected.is_empty() {
                    break;
                }
            }
            continue;
        }
        played.push_str(line);
        played.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            block.push((number, line));
        }
    }
    assert!(block.is_empty(), "{}: commands without {RULE} at the end", path.display());
    played.truncate(played.trim_end().len());
    played.push('\n');
    played
}
