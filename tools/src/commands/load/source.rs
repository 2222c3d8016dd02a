//! The file that is loaded: rows with their line numbers, read as often as needed.
//!
//! Standard input can be read once only, so it is copied to an unnamed file first, which the
//! system removes when the command ends, however it ends.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv::{Reader, ReaderBuilder, StringRecord};

use crate::failure::{Failure, causes};

/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The path that means standard input.
const STDIN: &str = "-";

/// A CSV or TSV file with a header.
#[derive(Clone, Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// What was copied from standard input.
    copy: Option<Arc<File>>,
    delimiter: u8,
    header: Vec<String>,
    bytes: u64,
}

/// One pass over a file from its beginning, whoever else reads it.
#[derive(Debug)]
struct Pass {
    file: Arc<File>,
    at: u64,
}

impl Read for Pass {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// One row.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// Line in the file on which it begins, counted from 1.
    pub line: u64,
    /// Its fields, as many as the header has.
    pub fields: &'a StringRecord,
    /// Bytes of the file up to here.
    pub offset: u64,
}

impl Source {
    /// Opens a file, or takes in standard input if it is called `-`, and reads its header. Without
    /// a `delimiter`, `.tsv` and `.tab` files have tabs, all others commas.
    ///
    /// # Errors
    /// If it cannot be read, is empty, or two columns have the same name.
    pub(super) fn open(path: &Path, delimiter: Option<u8>) -> Result<Self, Failure> {
        let delimiter = delimiter.unwrap_or_else(|| usual_delimiter(path));
        let (path, header) = (path.to_owned(), Vec::new());
        let source = Self { path, copy: None, delimiter, header, bytes: 0 };
        if source.path.as_os_str() == STDIN {
            return Self { path: "standard input".into(), ..source }.taking_in(io::stdin().lock());
        }
        source.with_header()
    }

    /// Copies everything from `input`, and reads its header.
    fn taking_in(mut self, mut input: impl Read) -> Result<Self, Failure> {
        let mut copy = tempfile::tempfile().map_err(|error| self.uncopied(&error))?;
        io::copy(&mut input, &mut copy).map_err(|error| self.uncopied(&error))?;
        self.copy = Some(Arc::new(copy));
        self.with_header()
    }

    fn with_header(self) -> Result<Self, Failure> {
        let mut source = self;
        let file = source.file()?;
        source.bytes = file.metadata().map_err(|error| source.unreadable(&error))?.len();
        let mut reader = source.reader()?;
        let header = reader.headers().map_err(|error| source.bad(&error))?;
        source.header = header.iter().map(|name| name.trim().to_owned()).collect();
        if source.header.iter().all(String::is_empty) {
            let fix = "the first line must name the columns";
            return Err(Failure::new(source.cannot(), "the file has no header", fix));
        }
        for (index, name) in source.header.iter().enumerate() {
            let same = |other: &String| other.eq_ignore_ascii_case(name) && !name.is_empty();
            if source.header[..index].iter().any(same) {
                let why = format!("two columns are called '{name}'");
                return Err(Failure::new(source.cannot(), why, "rename one in the first line"));
            }
        }
        Ok(source)
    }

    /// Names of the columns.
    #[must_use]
    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    /// Length of the file.
    #[must_use]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands every row to `each`, in order.
    ///
    /// # Errors
    /// Of the file, of a row with too few or too many fields, and of `each`.
    pub(super) fn for_each(
        &self,
        mut each: impl FnMut(Row<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut reader = self.reader()?;
        // Read first, so that an error in the first row knows its line.
        reader.headers().map_err(|error| self.bad(&error))?;
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| self.bad(&error))? {
            let line = record.position().map_or(0, csv::Position::line);
            if record.len() != self.header.len() {
                let why = format!("{} fields, but {} columns", record.len(), self.header.len());
                return Err(self.bad_row(line, why));
            }
            each(Row { line, fields: &record, offset: reader.position().byte() })?;
        }
        Ok(())
    }

    /// A value that does not fit: line, column, value and reason.
    pub(super) fn bad_value(
        &self,
        line: u64,
        column: usize,
        value: &str,
        reason: impl std::fmt::Display,
    ) -> Failure {
        let name = self.header.get(column).map_or("", String::as_str);
        self.bad_row(line, format!("column '{name}', value '{}': {reason}", excerpt(value)))
    }

    /// A row that cannot be loaded.
    pub(super) fn bad_row(&self, line: u64, why: impl std::fmt::Display) -> Failure {
        let why = format!("{} line {line}: {why}", self.path.display());
        Failure::new(self.cannot(), why, "correct the file or the request; nothing was changed")
    }

    /// What all errors of this file begin with.
    #[must_use]
    pub(super) fn cannot(&self) -> String {
        format!("cannot load {}", self.path.display())
    }

    /// The file, to be read by position.
    fn file(&self) -> Result<Arc<File>, Failure> {
        match &self.copy {
            Some(copy) => Ok(Arc::clone(copy)),
            None => File::open(&self.path).map(Arc::new).map_err(|error| self.unreadable(&error)),
        }
    }

    fn reader(&self) -> Result<Reader<BufReader<Pass>>, Failure> {
        let file = Pass { file: self.file()?, at: 0 };
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        // Lengths are compared by `for_each`, which knows the line.
        Ok(ReaderBuilder::new().delimiter(self.delimiter).flexible(true).from_reader(file))
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::new(self.cannot(), error, "check the path and its permissions")
    }

    fn uncopied(&self, error: &io::Error) -> Failure {
        let dir = std::env::temp_dir();
        let why = format!("copying it to {} for reading it twice: {error}", dir.display());
        Failure::new(self.cannot(), why, "set TMPDIR to a folder with space, or name a file")
    }

    fn bad(&self, error: &csv::Error) -> Failure {
        let at = error.position().map_or(String::new(), |at| format!("line {}: ", at.line()));
        let why = match error.kind() {
            csv::ErrorKind::Utf8 { err, .. } => {
                format!("{at}field {} is not UTF-8", err.field() + 1)
            }
            _ => format!("{at}{}", causes(error)),
        };
        Failure::new(
            self.cannot(),
            why,
            "the file must be UTF-8 text with a header; nothing was changed",
        )
    }
}

fn usual_delimiter(path: &Path) -> u8 {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    if extension == "tsv" || extension == "tab" { b'\t' } else { b',' }
}

/// At most 64 characters of a value.
fn excerpt(value: &str) -> String {
    match value.char_indices().nth(64) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

/// Reads `,`, `;`, `tab`, `\t` or any other single byte.
///
/// # Errors
/// A sentence that says what is allowed.
pub(super) fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text {
        "tab" | "\\t" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err("one character, or tab".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        (dir, path)
    }

    fn lines(source: &Source) -> Result<Vec<(u64, Vec<String>)>, Failure> {
        let mut rows = Vec::new();
        source.for_each(|row| {
            rows.push((row.line, row.fields.iter().map(str::to_owned).collect()));
            Ok(())
        })?;
        Ok(rows)
    }

    /// Promise: rows know the line they begin on, also behind quoted line breaks.
    #[test]
    fn rows_know_their_line() {
        let (_dir, path) = file("a.csv", b"id,text\n1,\"two\nlines\"\n2,x\n");
        let source = Source::open(&path, None).expect("a header");
        assert_eq!(source.header(), ["id", "text"]);
        let rows = lines(&source).expect("good rows");
        assert_eq!(rows[1], (4, vec!["2".into(), "x".into()]));
        let (_dir, path) = file("a.tsv", b"id\ttext\n1\ta,b\n");
        let rows = lines(&Source::open(&path, None).expect("a header")).expect("good rows");
        assert_eq!(rows[0].1[1], "a,b");
    }

    /// Promise: a row with too few fields, text that is not UTF-8 and a doubtful header are
    /// refused, each with its place.
    #[test]
    fn bad_files_are_refused_with_their_place() {
        let (_dir, path) = file("a.csv", b"a,b\n1,2\n3\n");
        let error = lines(&Source::open(&path, None).expect("a header")).expect_err("one field");
        assert!(error.why.ends_with("a.csv line 3: 1 fields, but 2 columns"), "{error}");
        let (_dir, path) = file("a.csv", b"a,b\n1,\xff\n");
        let error = lines(&Source::open(&path, None).expect("a header")).expect_err("no text");
        assert!(error.why.contains("line 2: field 2 is not UTF-8"), "{error}");
        for text in [&b""[..], b"a,A\n1,2\n"] {
            let (_dir, path) = file("a.csv", text);
            assert!(Source::open(&path, None).is_err());
        }
        let error = Source::open(Path::new("/no/such.csv"), None).expect_err("no file");
        assert!(error.what.contains("/no/such.csv"), "{error}");
    }
}
