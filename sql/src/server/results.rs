//! Where a session writes its results: into the connection's buffer, which is sent when it is full
//! enough. A client that reads slowly makes the session wait, not the buffer grow.

use bytes::Bytes;
use tokio::time::Instant;

use super::wire::{Gone, WRITE_FROM, Wire};
use crate::error::{Code, SqlError};
use crate::protocol::column::{COLUMNS_MAX, Column, Columns};
use crate::protocol::flags::{Capabilities, Status};
use crate::protocol::handshake::Login;
use crate::protocol::resultset::{Completion, Form, Row};
use crate::protocol::value::Value;

/// Takes the results of a command.
pub struct ResultWriter<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) form: Form,
    /// The client was told something.
    pub(super) has_begun: bool,
}

impl ResultWriter<'_> {
    /// Who logged in, and what the client can do.
    #[must_use]
    pub const fn login(&self) -> &Login {
        self.wire.connection.login()
    }

    /// Whether several statements in one query are allowed.
    #[must_use]
    pub const fn multi_statements(&self) -> bool {
        self.wire.connection.multi_statements()
    }

    /// State of the session as clients were told last.
    #[must_use]
    pub fn status(&mut self) -> Status {
        self.wire.connection.answers().0.status
    }

    /// Sets what clients are told of the session's state, from the next result on. It stays until
    /// it is set again or the session is reset.
    pub fn set_status(&mut self, status: Status) {
        self.wire.connection.answers().0.status = status;
    }

    /// Sets what SHOW PROCESSLIST says of the database.
    pub fn set_database(&mut self, name: &str) {
        self.wire.entry.database(name);
    }

    /// Whether something of the command's results is on its way to the client: it cannot be begun anew.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Ends a statement without rows.
    ///
    /// # Errors
    /// If the statement is to stop.
    pub async fn ok(&mut self, completion: Completion) -> Result<(), SqlError> {
        self.has_begun = true;
        let (results, out) = self.wire.connection.answers();
        results.ok(out, completion);
        ready(self.wire).await
    }

    /// Begins a result with rows.
    ///
    /// # Errors
    /// If the statement is to stop, or there are too many columns or none.
    pub async fn rows<'w>(&'w mut self, columns: &'w Columns) -> Result<Rows<'w>, SqlError> {
        if columns.is_empty() || columns.len() > COLUMNS_MAX {
            return Err(SqlError::not_supported("a result of no columns or of more than 4096"));
        }
        self.has_begun = true;
        let (results, out) = self.wire.connection.answers();
        results.begin_rows(out, columns);
        ready(self.wire).await?;
        Ok(Rows { wire: self.wire, columns: columns.columns(), form: self.form })
    }

    /// Asks the client for a file (LOAD DATA LOCAL INFILE). The client may send anything, whatever
    /// the name.
    ///
    /// # Errors
    /// If the client hands over no files, or the statement is to stop.
    pub async fn file(&mut self, name: &str) -> Result<File<'_>, SqlError> {
        if !self.login().capabilities.contains(Capabilities::LOCAL_FILES) {
            return Err(SqlError::plain(Code::NOT_ALLOWED_COMMAND));
        }
        let (results, out) = self.wire.connection.answers();
        results.before_file(out);
        self.wire.connection.ask_for_file(name.as_bytes());
        self.wire.file_open = true;
        send(self.wire).await?;
        Ok(File { wire: self.wire })
    }

    /// Returns with why when the client is gone, as far as that shows: for waiting beside work
    /// that writes nothing for long.
    pub async fn left(&mut self) -> SqlError {
        left(self.wire).await
    }

    /// What tells the session to stop, for work that writes nothing for long.
    ///
    /// # Errors
    /// If the statement is to stop.
    pub fn check(&self) -> Result<(), SqlError> {
        check(self.wire)
    }
}

impl std::fmt::Debug for ResultWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultWriter").field("form", &self.form).finish_non_exhaustive()
    }
}

/// A result with rows, being written. One that is dropped instead of ended has to be followed by
/// an error.
pub struct Rows<'a> {
    wire: &'a mut Wire,
    columns: &'a [Column],
    form: Form,
}

impl Rows<'_> {
    /// Begins a row; values are put one after the other.
    pub fn row(&mut self) -> Row<'_> {
        Row::begin(self.wire.connection.answers().1, self.columns, self.form)
    }

    /// Writes a row.
    ///
    /// # Errors
    /// If the values do not fit the columns.
    pub fn put(&mut self, values: &[Value<'_>]) -> Result<(), SqlError> {
        let mut row = self.row();
        for value in values {
            row.put(value);
        }
        row.end()
    }

    /// Waits until there is room for more rows: call it after each row or few. Without waiting it
    /// costs a comparison.
    ///
    /// # Errors
    /// If the statement is to stop.
    pub async fn ready(&mut self) -> Result<(), SqlError> {
        ready(self.wire).await
    }

    /// As [`ResultWriter::left`].
    pub async fn left(&mut self) -> SqlError {
        left(self.wire).await
    }

    /// Whether [`Rows::ready`] has something to send: for producers that are not async.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.wire.connection.waiting() >= WRITE_FROM
    }

    /// Ends the result.
    pub fn end(self, warnings: u16) {
        self.wire.connection.answers().0.end_rows(warnings);
    }
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("columns", &self.columns.len()).finish_non_exhaustive()
    }
}

fn check(wire: &Wire) -> Result<(), SqlError> {
    if let Some(gone) = &wire.broken {
        return Err(gone.to_error());
    }
    wire.entry.interrupt.check()
}

async fn left(wire: &mut Wire) -> SqlError {
    wire.left().await;
    let error = Gone::Client.to_error();
    wire.broken = Some(Gone::Client);
    error
}

async fn ready(wire: &mut Wire) -> Result<(), SqlError> {
    check(wire)?;
    if wire.connection.waiting() < WRITE_FROM {
        return Ok(());
    }
    send(wire).await
}

async fn send(wire: &mut Wire) -> Result<(), SqlError> {
    check(wire)?;
    if let Err(gone) = wire.flush().await {
        let error = gone.to_error();
        wire.broken = Some(gone);
        return Err(error);
    }
    Ok(())
}

/// A file that the client sends, in pieces as they come. What is left when it is dropped is read
/// and thrown away before the next command.
pub struct File<'a> {
    wire: &'a mut Wire,
}

impl std::fmt::Debug for File<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("File")
    }
}

impl File<'_> {
    /// The next piece; none at the end. Nothing more is read until it is asked for, so the client
    /// waits for who reads.
    ///
    /// # Errors
    /// If the client is gone or the statement is to stop.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SqlError> {
        check(self.wire)?;
        next_of_file(self.wire).await.map_err(|gone| {
            let error = gone.to_error();
            self.wire.broken = Some(gone);
            error
        })
    }
}

pub(super) async fn next_of_file(wire: &mut Wire) -> Result<Option<Bytes>, Gone> {
    if !wire.file_open {
        return Ok(None);
    }
    let began = Instant::now();
    loop {
        if let Some(piece) = wire.connection.next_of_file()? {
            wire.file_open = !piece.is_empty();
            return Ok(Some(piece).filter(|piece| !piece.is_empty()));
        }
        wire.fill(began + wire.options.read_timeout).await?;
    }
}
