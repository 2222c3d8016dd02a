//! Answers: OK, errors, and rows.
//!
//! A query may have several results, and each but the last says that another follows. Who runs
//! statements need not know in advance: the end of a result is kept until the next one begins or
//! the command ends, and only then written, with or without that flag.
//!
//! ```text
//!   ok() ─► kept ─┬─ rows() ─► written, MORE_RESULTS set; columns, rows, end kept ─┬─ finish() ─► written
//!                 └─ finish() ─► written                                           └─ error() ─► written, then the error
//! ```

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::column::{Column, Columns};
use super::flags::Status;
use super::packet::Outbound;
use super::value::{Value, put_binary, put_text};
use super::wire::{put_lenenc, put_lenenc_bytes};
use crate::error::{Code, SqlError};

/// What a statement without rows did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Rows changed; as MySQL counts them.
    pub affected_rows: u64,
    /// First AUTO_INCREMENT value that was made.
    pub last_insert_id: u64,
    /// Warnings that SHOW WARNINGS has.
    pub warnings: u16,
    /// A line for people: `Rows matched: 1  Changed: 1  Warnings: 0`.
    pub info: Cow<'static, str>,
}

impl Completion {
    /// So many rows changed, and nothing else.
    #[must_use]
    pub fn rows(affected_rows: u64) -> Self {
        Self { affected_rows, ..Self::default() }
    }
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As text: answers to queries.
    Text,
    /// Binary: answers to executions.
    Binary,
}

/// The end of a result, not written yet.
#[derive(Debug)]
enum End {
    Ok(Completion, Status),
    Rows { warnings: u16, status: Status },
}

/// The results of one command after another.
#[derive(Debug, Default)]
pub struct Results {
    /// State of the session as it is told with each result from now on.
    pub status: Status,
    /// Whether rows end with an OK packet instead of an EOF packet.
    pub deprecate_eof: bool,
    end: Option<End>,
    open_rows: bool,
}

impl Results {
    /// A result without rows.
    pub fn ok(&mut self, out: &mut Outbound, completion: Completion) {
        self.write_end(out, true);
        self.end = Some(End::Ok(completion, self.status));
    }

    /// Begins a result with rows: its columns.
    pub fn begin_rows(&mut self, out: &mut Outbound, columns: &Columns) {
        self.write_end(out, true);
        self.open_rows = true;
        out.packet(|payload| put_lenenc(payload, columns.len() as u64));
        out.prepared(columns.packets());
        if !self.deprecate_eof {
            let status = self.status;
            out.packet(|payload| put_eof(payload, 0, status));
        }
    }

    /// Ends a result with rows.
    pub fn end_rows(&mut self, warnings: u16) {
        self.open_rows = false;
        self.end = Some(End::Rows { warnings, status: self.status });
    }

    /// The command failed; results before it stay.
    pub fn error(&mut self, out: &mut Outbound, error: &SqlError) {
        self.write_end(out, true);
        self.open_rows = false;
        out.packet(|payload| put_error(payload, error, true));
    }

    /// Whether rows were begun and not ended.
    #[must_use]
    pub const fn has_open_rows(&self) -> bool {
        self.open_rows
    }

    /// Whether a result waits to be ended.
    #[must_use]
    pub const fn has_end(&self) -> bool {
        self.end.is_some()
    }

    /// Writes a result that waits, as something else than a result follows it.
    pub fn before_file(&mut self, out: &mut Outbound) {
        self.write_end(out, true);
    }

    /// The command has ended. Gives whether there was a result to end.
    pub fn finish(&mut self, out: &mut Outbound) -> bool {
        let had_end = self.end.is_some();
        self.write_end(out, false);
        had_end
    }

    fn write_end(&mut self, out: &mut Outbound, more: bool) {
        match self.end.take() {
            None => {}
            Some(End::Ok(completion, status)) => {
                let status = status.with(Status::MORE_RESULTS, more);
                out.packet(|payload| put_ok(payload, 0, &completion, status));
            }
            Some(End::Rows { warnings, status }) => {
                let status = status.with(Status::MORE_RESULTS, more);
                let completion = Completion { warnings, ..Completion::default() };
                if self.deprecate_eof {
                    out.packet(|payload| put_ok(payload, 0xFE, &completion, status));
                } else {
                    out.packet(|payload| put_eof(payload, warnings, status));
                }
            }
        }
    }

    /// The answer to a COM_STMT_PREPARE.
    pub fn prepared(&self, out: &mut Outbound, answer: &PreparedAnswer<'_>) {
        let (columns, parameters) = (answer.columns, answer.parameters);
        out.packet(|payload| {
            payload.put_u8(0);
            payload.put_u32_le(answer.number);
            payload.put_u16_le(columns.len() as u16);
            payload.put_u16_le(parameters.len() as u16);
            payload.put_u8(0);
            payload.put_u16_le(answer.warnings);
        });
        for definitions in [parameters, columns] {
            out.prepared(definitions.packets());
            if !definitions.is_empty() && !self.deprecate_eof {
                out.packet(|payload| put_eof(payload, 0, self.status));
            }
        }
    }

    /// The answer to a COM_FIELD_LIST: definitions, each with its default, and an end.
    pub fn field_list(&mut self, out: &mut Outbound, columns: &[Column]) {
        for column in columns {
            out.packet(|payload| {
                column.encode(payload);
                payload.put_u8(0xFB);
            });
        }
        self.end_rows(0);
        self.write_end(out, false);
    }
}

/// What a prepared statement is like.
#[derive(Clone, Copy, Debug)]
pub struct PreparedAnswer<'a> {
    /// Its number.
    pub number: u32,
    /// Columns of its rows.
    pub columns: &'a Columns,
    /// Its parameters.
    pub parameters: &'a Columns,
    /// Warnings.
    pub warnings: u16,
}

fn put_ok(out: &mut BytesMut, header: u8, completion: &Completion, status: Status) {
    out.put_u8(header);
    put_lenenc(out, completion.affected_rows);
    put_lenenc(out, completion.last_insert_id);
    out.put_u16_le(status.0);
    out.put_u16_le(completion.warnings);
    if !completion.info.is_empty() {
        let end = completion.info.floor_char_boundary(crate::error::TEXT_BYTES_MAX);
        put_lenenc_bytes(out, &completion.info.as_bytes()[..end]);
    }
}

fn put_eof(out: &mut BytesMut, warnings: u16, status: Status) {
    out.put_u8(0xFE);
    out.put_u16_le(warnings);
    out.put_u16_le(status.0);
}

/// An error. Before a client said that it speaks protocol 4.1 there is no SQLSTATE in it.
pub fn put_error(out: &mut BytesMut, error: &SqlError, with_state: bool) {
    out.put_u8(0xFF);
    out.put_u16_le(error.code.0);
    if with_state {
        out.put_u8(b'#');
        out.put_slice(error.code.sql_state().as_bytes());
    }
    out.put_slice(error.sent_text().as_bytes());
}

/// A row being written, value by value. One that is not ended is taken back, so that an error can
/// stand in its place.
#[derive(Debug)]
pub struct Row<'a> {
    out: &'a mut Outbound,
    columns: &'a [Column],
    form: Form,
    start: usize,
    /// Column of the next value.
    next: usize,
    misfit: bool,
    ended: bool,
}

impl<'a> Row<'a> {
    /// Begins a row of these columns.
    pub fn begin(out: &'a mut Outbound, columns: &'a [Column], form: Form) -> Self {
        let start = out.begin();
        if form == Form::Binary {
            out.payload().put_u8(0);
            out.payload().put_bytes(0, (columns.len() + 2).div_ceil(8));
        }
        Self { out, columns, form, start, next: 0, misfit: false, ended: false }
    }

    /// The value of the next column.
    pub fn put(&mut self, value: &Value<'_>) -> &mut Self {
        let Some(column) = self.columns.get(self.next) else {
            self.misfit = true;
            return self;
        };
        match (self.form, value) {
            (Form::Text, value) => put_text(self.out.payload(), value, column.decimals),
            (Form::Binary, Value::Null) => {
                let bit = self.next + 2;
                let at = self.start + super::packet::HEADER_LEN + 1 + bit / 8;
                self.out.payload()[at] |= 1 << (bit % 8);
            }
            (Form::Binary, value) => {
                self.misfit |= put_binary(self.out.payload(), value, column).is_err();
            }
        }
        self.next += 1;
        self
    }

    /// Ends the row.
    ///
    /// # Errors
    /// If values are missing or too many, or one does not fit its column: a mistake of who makes
    /// the rows, which a client must not see as data.
    pub fn end(mut self) -> Result<(), SqlError> {
        if self.misfit || self.next != self.columns.len() {
            let text = format!("a row of {} columns does not fit them", self.columns.len());
            return Err(SqlError::new(Code::UNKNOWN_ERROR, text));
        }
        self.ended = true;
        self.out.end(self.start);
        Ok(())
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.out.abandon(self.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::column::WireType;

    fn results(deprecate_eof: bool) -> (Results, Outbound) {
        let mut out = Outbound::default();
        out.expect(1);
        (Results { deprecate_eof, ..Results::default() }, out)
    }

    fn one_column() -> Columns {
        Columns::new(vec![Column::new("c", WireType::LongLong)])
    }

    fn row(results: &mut Results, out: &mut Outbound, form: Form, values: &[Value<'_>]) {
        let columns = one_column();
        results.begin_rows(out, &columns);
        let mut row = Row::begin(out, columns.columns(), form);
        values.iter().for_each(|value| {
            row.put(value);
        });
        row.end().unwrap();
        results.end_rows(0);
    }

    /// Payloads of the packets that were written, whose numbers count up from 1.
    fn payloads(out: &Outbound) -> Vec<Vec<u8>> {
        let mut rest = out.bytes();
        let mut found = Vec::new();
        while let [low, middle, high, number, after @ ..] = rest {
            found.push(after);
            assert_eq!(usize::from(*number), found.len());
            rest = &after[u32::from_le_bytes([*low, *middle, *high, 0]) as usize..];
            let len = after.len() - rest.len();
            let last = found.last_mut().unwrap();
            *last = &last[..len];
        }
        found.into_iter().map(<[u8]>::to_vec).collect()
    }

    /// Promise: an OK has its counts, the session's state, warnings and a line for people.
    #[test]
    fn ok_is_laid_out_as_documented() {
        let (mut results, mut out) = results(true);
        results.status = Status::AUTOCOMMIT.with(Status::IN_TRANSACTION, true);
        let info = Cow::Borrowed("Records: 3");
        let done = Completion { affected_rows: 3, last_insert_id: 251, warnings: 2, info };
        results.ok(&mut out, done);
        assert!(out.is_empty(), "it may not be the last");
        assert!(results.finish(&mut out));
        let expected = b"\0\x03\xfc\xfb\0\x03\0\x02\0\x0aRecords: 3";
        assert_eq!(payloads(&out), [expected.to_vec()]);
        assert!(!results.finish(&mut out));
    }

    /// Promise: an error has its number, SQLSTATE and text; without protocol 4.1 no SQLSTATE.
    #[test]
    fn errors_are_laid_out_as_documented() {
        let error = SqlError::new(Code(1777), "Partition test:3 has no master instance.");
        let mut out = BytesMut::new();
        put_error(&mut out, &error, true);
        assert_eq!(&out[..], b"\xff\xf1\x06#HY000Partition test:3 has no master instance.");
        let mut out = BytesMut::new();
        put_error(&mut out, &SqlError::plain(Code::TOO_MANY_CONNECTIONS), false);
        assert_eq!(&out[..], b"\xff\x10\x04Too many connections");
    }

    /// Promise: rows end with EOF or with OK, as agreed, and only results that others follow say so.
    #[test]
    fn each_result_but_the_last_says_that_more_follow() {
        let more = 0x0A;
        for deprecate_eof in [false, true] {
            let (mut results, mut out) = results(deprecate_eof);
            row(&mut results, &mut out, Form::Text, &[Value::Int(5)]);
            results.ok(&mut out, Completion::rows(1));
            row(&mut results, &mut out, Form::Text, &[Value::Null]);
            results.finish(&mut out);
            let eof = |status: u8| vec![0xFE, 0, 0, status, 0];
            let end = |status: u8| {
                if deprecate_eof { vec![0xFE, 0, 0, status, 0, 0, 0] } else { eof(status) }
            };
            let mut column = BytesMut::new();
            Column::new("c", WireType::LongLong).encode(&mut column);
            let mut expected = Vec::new();
            for (row, status) in [(b"\x015".to_vec(), more), (b"\xfb".to_vec(), 2)] {
                expected.extend([vec![1], column.to_vec()]);
                if !deprecate_eof {
                    expected.push(eof(2));
                }
                expected.extend([row, end(status)]);
                if status == more {
                    expected.push(vec![0, 1, 0, more, 0, 0, 0]);
                }
            }
            assert_eq!(payloads(&out), expected);
        }
    }

    /// Promise: an error after results leaves them, and the last one says that something follows.
    #[test]
    fn an_error_follows_results() {
        let (mut results, mut out) = results(true);
        results.ok(&mut out, Completion::rows(1));
        results.error(&mut out, &SqlError::plain(Code::EMPTY_QUERY));
        assert!(!results.finish(&mut out));
        let found = payloads(&out);
        assert_eq!(found[0], [0, 1, 0, 0x0A, 0, 0, 0]);
        assert_eq!(found[1][..3], [0xFF, 0x29, 0x04]);
    }

    /// Promise: a row that is not ended, or does not fit, leaves no bytes.
    #[test]
    fn unfinished_rows_are_taken_back() {
        let mut out = Outbound::default();
        let columns = one_column();
        for form in [Form::Text, Form::Binary] {
            Row::begin(&mut out, columns.columns(), form).put(&Value::Int(1));
            let none = Row::begin(&mut out, columns.columns(), form);
            assert!(none.end().is_err());
            let mut two = Row::begin(&mut out, columns.columns(), form);
            two.put(&Value::Int(1)).put(&Value::Int(2));
            assert!(two.end().is_err());
        }
        let mut wrong = Row::begin(&mut out, columns.columns(), Form::Binary);
        wrong.put(&Value::from("x"));
        assert!(wrong.end().is_err());
        assert!(out.is_empty());
    }

    /// Promise: a binary row marks NULLs in its bits, from the third on.
    #[test]
    fn binary_rows_have_bits_for_nulls() {
        let columns = vec![Column::new("c", WireType::Tiny); 8];
        let mut out = Outbound::default();
        let mut row = Row::begin(&mut out, &columns, Form::Binary);
        for number in 0..8 {
            let value = if number % 7 == 0 { Value::Null } else { Value::Int(number) };
            row.put(&value);
        }
        row.end().unwrap();
        assert_eq!(&out.bytes()[4..], [0, 0b100, 0b10, 1, 2, 3, 4, 5, 6]);
    }

    /// Promise: a prepared statement tells its number, parameters and columns.
    #[test]
    fn a_prepared_statement_is_described() {
        for deprecate_eof in [false, true] {
            let (results, mut out) = results(deprecate_eof);
            let (columns, none) = (one_column(), Columns::default());
            let answer =
                PreparedAnswer { number: 7, columns: &columns, parameters: &none, warnings: 0 };
            results.prepared(&mut out, &answer);
            let found = payloads(&out);
            assert_eq!(found[0], [0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
            assert_eq!(found.len(), if deprecate_eof { 2 } else { 3 });
        }
    }
}
