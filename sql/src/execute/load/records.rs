//! The records of a file for LOAD DATA: bytes go in as they come, records come out. No I/O.
//!
//! ```text
//!  STARTING BY      TERMINATED BY (fields)        TERMINATED BY (lines)
//!      │                 │                                  │
//!      ▼                 ▼                                  ▼
//!   …  >>>  plain field  ,  "quoted, with ""both"" and \n"  ⏎
//! ```
//!
//! Rules are MySQL's: a quote counts at the start of a field only; in a quoted field, ends of fields
//! and lines are text; `\N` alone is NULL, and so is the word NULL where fields can be quoted or
//! nothing escapes.

use std::ops::Range;

use memchr::memchr3;

use crate::error::{Code, SqlError};
use crate::statement::{Fields, Lines, LoadData};

/// Bytes of one record, at most.
const RECORD_MAX: usize = 64 << 20;

/// How a file is written.
#[derive(Debug)]
struct Format {
    field_end: Vec<u8>,
    line_end: Vec<u8>,
    line_start: Vec<u8>,
    quote: Option<u8>,
    escape: Option<u8>,
}

/// A field of the present record.
#[derive(Clone, Debug)]
enum Field {
    Null,
    /// As it stands in the file.
    Plain(Range<usize>),
    /// With escapes and quotes resolved, in the other buffer.
    Resolved(Range<usize>),
}

/// Takes a file apart.
#[derive(Debug)]
pub(super) struct Records {
    format: Format,
    /// What has come and is not yet passed.
    buffer: Vec<u8>,
    /// Where the next record begins.
    at: usize,
    /// Nothing more comes.
    ended: bool,
    /// Lines that are still to be passed over.
    ignored: u64,
    /// Number of the present record, from 1.
    number: u64,
    fields: Vec<Field>,
    resolved: Vec<u8>,
}

/// What is at a place of the buffer.
enum Found {
    Yes,
    No,
    /// It depends on what comes.
    Unknown,
}

/// What follows a field.
enum After {
    Field,
    Record,
}

/// A field, where the next begins, and what that is.
type Read = Option<(Field, usize, After)>;

impl Records {
    /// # Errors
    /// 1083 and 1235 for what separators cannot be.
    pub(super) fn new(load: &LoadData) -> Result<Self, SqlError> {
        Ok(Self {
            format: Format::new(&load.fields, &load.lines)?,
            buffer: Vec::new(),
            at: 0,
            ended: false,
            ignored: load.ignored_lines,
            number: 0,
            fields: Vec::new(),
            resolved: Vec::new(),
        })
    }

    /// Takes in what follows.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..std::mem::take(&mut self.at));
        self.buffer.extend_from_slice(bytes);
    }

    /// Nothing follows.
    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    /// The number of the present record, from 1.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Goes to the next record; `false` if it has not come whole, or there is none.
    ///
    /// # Errors
    /// If it is too long.
    pub(super) fn next(&mut self) -> Result<bool, SqlError> {
        while self.ignored > 0 {
            let Some(end) = find(&self.buffer[self.at..], &self.format.line_end) else {
                return self.wait();
            };
            self.at += end + self.format.line_end.len();
            self.ignored -= 1;
        }
        let Some(start) = find(&self.buffer[self.at..], &self.format.line_start) else {
            return self.wait();
        };
        let mut at = self.at + start + self.format.line_start.len();
        if at == self.buffer.len() && (self.ended || self.format.line_start.is_empty()) {
            return self.wait();
        }
        self.fields.clear();
        self.resolved.clear();
        loop {
            let Some((field, next, after)) = self.field(at) else { return self.wait() };
            self.fields.push(field);
            at = next;
            if let After::Record = after {
                self.at = at;
                self.number += 1;
                return Ok(true);
            }
        }
    }

    /// The fields of the present record.
    pub(super) fn fields(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        self.fields.iter().map(|field| match field {
            Field::Null => None,
            Field::Plain(range) => Some(&self.buffer[range.clone()]),
            Field::Resolved(range) => Some(&self.resolved[range.clone()]),
        })
    }

    fn wait(&self) -> Result<bool, SqlError> {
        if self.buffer.len() - self.at <= RECORD_MAX {
            return Ok(false);
        }
        let text = format!("record {} of the file is longer than 64 MiB", self.number + 1);
        Err(SqlError::new(Code::UNKNOWN_ERROR, text))
    }

    fn field(&mut self, at: usize) -> Read {
        match (self.format.quote, self.buffer.get(at)) {
            (Some(quote), Some(first)) if quote == *first => self.quoted(at + 1, quote),
            _ => self.plain(at),
        }
    }

    /// A field from `at` that is not quoted.
    fn plain(&mut self, at: usize) -> Read {
        let (field_first, line_first) = (self.format.field_end[0], self.format.line_end[0]);
        let escape = self.format.escape;
        let (mut from, mut copied) = (at, None);
        loop {
            let next = memchr3(
                field_first,
                line_first,
                escape.unwrap_or(field_first),
                &self.buffer[from..],
            );
            let Some(next) = next.map(|next| from + next) else {
                let end = self.buffer.len();
                return self.ended.then(|| (self.unquoted(at, end, copied), end, After::Record));
            };
            if let Some((length, after)) = self.separator(next)? {
                return Some((self.unquoted(at, next, copied), next + length, after));
            }
            if escape == Some(self.buffer[next]) {
                let meant = *self.buffer.get(next + 1)?;
                copied = Some(self.copy(copied.unwrap_or((at, self.resolved.len())), next, meant));
                from = next + 2;
            } else {
                from = next + 1;
            }
        }
    }

    /// Copies what is between the last escape and this one, and what this one means. Gives where
    /// to go on, and where the copy began.
    fn copy(&mut self, (from, start): (usize, usize), to: usize, meant: u8) -> (usize, usize) {
        self.resolved.extend_from_slice(&self.buffer[from..to]);
        self.resolved.push(match meant {
            b'0' => 0,
            b'b' => 8,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'Z' => 26,
            other => other,
        });
        (to + 2, start)
    }

    fn unquoted(&mut self, at: usize, end: usize, copied: Option<(usize, usize)>) -> Field {
        let text = &self.buffer[at..end];
        let escape = self.format.escape;
        let is_null = match escape {
            Some(escape) if text == [escape, b'N'] => true,
            Some(_) => self.format.quote.is_some() && text == b"NULL",
            None => text == b"NULL",
        };
        match copied {
            _ if is_null => Field::Null,
            None => Field::Plain(at..end),
            Some((from, start)) => {
                self.resolved.extend_from_slice(&self.buffer[from..end]);
                Field::Resolved(start..self.resolved.len())
            }
        }
    }

    /// A field whose opening quote is passed.
    fn quoted(&mut self, at: usize, quote: u8) -> Read {
        let escape = self.format.escape;
        let start = self.resolved.len();
        let (mut from, mut last) = (at, at);
        loop {
            let next = memchr3(quote, escape.unwrap_or(quote), quote, &self.buffer[from..]);
            let Some(next) = next.map(|next| from + next) else {
                if !self.ended {
                    return None;
                }
                // A quote that is never closed: as MySQL, to the end of the file.
                self.resolved.extend_from_slice(&self.buffer[last..]);
                let end = self.buffer.len();
                return Some((Field::Resolved(start..self.resolved.len()), end, After::Record));
            };
            if self.buffer[next] != quote || escape == Some(quote) && self.is_doubled(next) {
                let meant = *self.buffer.get(next + 1)?;
                (last, _) = self.copy((last, start), next, meant);
                from = last;
                continue;
            }
            match self.buffer.get(next + 1) {
                None if !self.ended => return None,
                Some(second) if *second == quote => {
                    self.resolved.extend_from_slice(&self.buffer[last..=next]);
                    last = next + 2;
                    from = last;
                }
                _ => {
                    if let Some((length, after)) = self.separator(next + 1)? {
                        self.resolved.extend_from_slice(&self.buffer[last..next]);
                        let field = Field::Resolved(start..self.resolved.len());
                        return Some((field, next + 1 + length, after));
                    }
                    from = next + 1;
                }
            }
        }
    }

    fn is_doubled(&self, at: usize) -> bool {
        self.buffer.get(at + 1) == self.buffer.get(at)
    }

    /// What ends at a place: its length and what follows it, or nothing. None if that depends on what
    /// comes.
    fn separator(&self, at: usize) -> Option<Option<(usize, After)>> {
        if self.ended && at == self.buffer.len() {
            return Some(Some((0, After::Record)));
        }
        // A longer separator may begin as a shorter one does.
        let (field, line) = (&self.format.field_end, &self.format.line_end);
        let (long, short) = if line.len() >= field.len() { (line, field) } else { (field, line) };
        for needle in [long, short] {
            match self.is_at(at, needle) {
                Found::Yes if std::ptr::eq(needle, line) => {
                    return Some(Some((line.len(), After::Record)));
                }
                Found::Yes => return Some(Some((field.len(), After::Field))),
                Found::Unknown => return None,
                Found::No => {}
            }
        }
        Some(None)
    }

    fn is_at(&self, at: usize, needle: &[u8]) -> Found {
        let there = &self.buffer[at..];
        if there.starts_with(needle) {
            Found::Yes
        } else if !self.ended && there.len() < needle.len() && needle.starts_with(there) {
            Found::Unknown
        } else {
            Found::No
        }
    }
}

impl Format {
    fn new(fields: &Fields, lines: &Lines) -> Result<Self, SqlError> {
        if fields.terminated_by.is_empty() || lines.terminated_by.is_empty() {
            return Err(SqlError::not_supported("LOAD DATA of fields or lines without an end"));
        }
        let one = |character: Option<char>| match character.map(u8::try_from) {
            None => Ok(None),
            Some(Ok(byte)) if byte.is_ascii() => Ok(Some(byte)),
            Some(_) => {
                let text = "Field separator argument is not what is expected; it has to be ASCII";
                Err(SqlError::new(Code(1083), text))
            }
        };
        Ok(Self {
            field_end: fields.terminated_by.clone().into_bytes(),
            line_end: lines.terminated_by.clone().into_bytes(),
            line_start: lines.starting_by.clone().into_bytes(),
            quote: one(fields.enclosed_by)?,
            escape: one(fields.escaped_by)?,
        })
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{Statement, parse};

    fn load(format: &str) -> LoadData {
        let text = format!("LOAD DATA LOCAL INFILE 'f' INTO TABLE t {format}");
        match parse(text.as_bytes()).unwrap().statement {
            Statement::LoadData(load) => *load,
            other => panic!("{other:?}"),
        }
    }

    /// The records of a file that comes in pieces of so many bytes.
    fn read(format: &str, file: &[u8], piece: usize) -> Vec<Vec<Option<String>>> {
        let mut records = Records::new(&load(format)).unwrap();
        let mut found = Vec::new();
        let mut take = |records: &mut Records| {
            while records.next().unwrap() {
                let text =
                    |field: Option<&[u8]>| field.map(|f| String::from_utf8(f.into()).unwrap());
                found.push(records.fields().map(text).collect());
                assert_eq!(records.number(), found.len() as u64);
            }
        };
        for bytes in file.chunks(piece) {
            records.push(bytes);
            take(&mut records);
        }
        records.end();
        take(&mut records);
        found
    }

    fn some(fields: &[&str]) -> Vec<Option<String>> {
        fields.iter().map(|field| (*field != "∅").then(|| (*field).to_owned())).collect()
    }

    /// Promise: files are taken apart as MySQL does, however they are cut into pieces.
    #[test]
    fn files_are_taken_apart_as_by_mysql() {
        let csv =
            r#"FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"' LINES TERMINATED BY '\r\n'"#;
        let cases: &[(&str, &str, &[&[&str]])] = &[
            ("", "1\ta\n2\tb\n", &[&["1", "a"], &["2", "b"]]),
            ("", "1\ta\n2\tb", &[&["1", "a"], &["2", "b"]]),
            ("", "\\N\tx\\N\n\\\\\tt\\tn\\nZ\n", &[&["∅", "xN"], &["\\", "t\tn\nZ"]]),
            ("", "NULL\t\n", &[&["NULL", ""]]),
            ("", "\n\n", &[&[""], &[""]]),
            ("", "", &[]),
            ("", "a\\\nb\tc\n", &[&["a\nb", "c"]]),
            ("IGNORE 2 LINES", "head\nhead\n1\n", &[&["1"]]),
            ("LINES STARTING BY '>>'", "x>>1\t2\nnothing\n>>3\n", &[&["1", "2"], &["3"]]),
            ("FIELDS ESCAPED BY ''", "NULL\t\\N\n", &[&["∅", "\\N"]]),
            ("FIELDS TERMINATED BY '||' LINES TERMINATED BY '|\n'", "a|b||c|\n", &[&["a|b", "c"]]),
            (csv, "1,\"a,\r\nb\",\"say \"\"hi\"\"\"\r\n", &[&["1", "a,\r\nb", "say \"hi\""]]),
            (csv, "NULL,\"NULL\",\"\"\r\n", &[&["∅", "NULL", ""]]),
            (csv, "\"a\"b\",c\"d\r\n", &[&["a\"b", "c\"d"]]),
            (csv, "\"open\r\n", &[&["open\r\n"]]),
            (csv, "\"esc \\\" aped\",2\r\n", &[&["esc \" aped", "2"]]),
            (csv, "a\rb,c\r\n", &[&["a\rb", "c"]]),
        ];
        for (format, file, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|record| some(record)).collect();
            for piece in 1..=file.len().max(1) {
                assert_eq!(read(format, file.as_bytes(), piece), expected, "{file:?} by {piece}");
            }
        }
    }

    /// Promise: what cannot separate is refused.
    #[test]
    fn impossible_separators_are_refused() {
        for (format, expected) in [
            ("FIELDS TERMINATED BY ''", 1235),
            ("LINES TERMINATED BY ''", 1235),
            ("FIELDS ENCLOSED BY 'ä'", 1083),
        ] {
            assert_eq!(Records::new(&load(format)).unwrap_err().code.0, expected, "{format}");
        }
    }

    proptest::proptest! {
        /// Promise (S20): any bytes are records, the same ones in whatever pieces they come.
        #[test]
        fn s20_any_file_is_the_same_in_any_pieces(
            file in "[ab,|\"\\\\\\n\\rN\\t>]{0,40}",
            piece in 1_usize..6,
            format in 0_usize..5,
        ) {
            let formats = [
                "",
                "FIELDS TERMINATED BY ',' ENCLOSED BY '\"'",
                "FIELDS TERMINATED BY '||' LINES TERMINATED BY '|\\n'",
                "FIELDS TERMINATED BY ',' ENCLOSED BY '\"' ESCAPED BY '\"'",
                "LINES STARTING BY '>a' TERMINATED BY '\\r\\n' IGNORE 1 LINES",
            ];
            let whole = read(formats[format], file.as_bytes(), file.len().max(1));
            proptest::prop_assert_eq!(read(formats[format], file.as_bytes(), piece), whole);
        }
    }
}
