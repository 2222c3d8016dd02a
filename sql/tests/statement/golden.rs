//! Files of statements and what they become.
//!
//! A file is a list of blocks: the statement, a line `=> ` with the debug form of what it becomes
//! or its error, an empty line. Lines that begin with `-- #` are headings. With
//! `RESPROUT_WRITE_FIXTURES=1` the answers are written anew; the change is then to be read.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use resprout_sql::statement::{Statements, parse};

/// A block: the statement and the answer that the file has.
pub(crate) struct Block {
    pub(crate) statement: String,
    pub(crate) answer: String,
}

pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/statement/corpus").join(name)
}

/// The blocks of a file, headings as blocks without an answer.
pub(crate) fn read(path: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(path).expect("a file of statements");
    let mut blocks = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        if line.starts_with("-- #") {
            blocks.push(Block { statement: line.to_owned(), answer: String::new() });
        } else if let Some(answer) = line.strip_prefix("=> ") {
            blocks.push(Block { statement: lines.join("\n"), answer: answer.to_owned() });
            lines.clear();
        } else if !line.is_empty() {
            lines.push(line);
        }
    }
    assert!(lines.is_empty(), "{}: a statement without answer: {lines:?}", path.display());
    blocks
}

/// Compares each statement's answer with the file, or writes the file anew.
pub(crate) fn check(name: &str, answer: impl Fn(&str) -> String) {
    let path = file(name);
    let (mut written, mut wrong) = (String::new(), Vec::new());
    for block in read(&path) {
        if block.statement.starts_with("-- #") {
            let _fits = write!(written, "{}\n\n", block.statement);
            continue;
        }
        let found = answer(&block.statement);
        if found != block.answer {
            wrong.push(format!("{}\n  is   {found}\n  file {}", block.statement, block.answer));
        }
        let _fits = write!(written, "{}\n=> {found}\n\n", block.statement);
    }
    if std::env::var_os("RESPROUT_WRITE_FIXTURES").is_some() {
        std::fs::write(&path, written).expect("a file of statements");
        return;
    }
    assert!(wrong.is_empty(), "{name}: {}\n{}", wrong.len(), wrong.join("\n"));
}

/// The debug form of a statement on one line, or its error.
fn answer(text: &str) -> String {
    let found = match parse(text.as_bytes()) {
        Ok(parsed) if parsed.parameters > 0 => {
            format!("{:?} parameters: {}", parsed.statement, parsed.parameters)
        }
        Ok(parsed) => format!("{:?}", parsed.statement),
        Err(error) => format!("{} {}: {error}", error.mysql_code(), error.sqlstate()),
    };
    found.replace('\n', "\\n")
}

/// Guards: each file's statements become what the file says, in every detail.
#[test]
fn statements_become_what_they_should() {
    for name in ["cluster.txt", "ddl.txt", "dml.txt", "session.txt", "users.txt", "query.txt"] {
        check(name, answer);
    }
}

/// Guards: errors of a statement tell MySQL's number, state and position.
#[test]
fn errors_are_those_of_mysql() {
    check("errors.txt", answer);
}

/// Guards: what drivers, sysbench and dump tools send at their start is understood.
#[test]
fn clients_are_understood() {
    check("clients.txt", answer);
    for block in read(&file("clients.txt")) {
        if !block.answer.is_empty() {
            let refused = block.answer.starts_with(|c: char| c.is_ascii_digit());
            assert!(!refused, "{}: {}", block.statement, block.answer);
        }
    }
}

/// Guards: a text of all statements of a file, joined by `;`, is split into the same ones.
#[test]
fn joined_statements_are_the_same() {
    for name in ["cluster.txt", "ddl.txt", "dml.txt", "session.txt", "users.txt", "query.txt"] {
        let blocks = read(&file(name));
        let sound =
            |block: &&Block| !block.answer.is_empty() && parse(block.statement.as_bytes()).is_ok();
        let alone: Vec<_> = blocks.iter().filter(sound).map(|block| &block.statement[..]).collect();
        let text = alone.join("\n;\n");
        let split: Vec<_> = Statements::new(text.as_bytes())
            .map(|parsed| parsed.expect("each was sound alone").statement)
            .collect();
        let expected: Vec<_> = alone
            .iter()
            .map(|text| parse(text.as_bytes()).expect("it was sound").statement)
            .collect();
        assert_eq!(split, expected, "{name}");
    }
}
