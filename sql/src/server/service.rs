//! What a server has to implement: accounts, and sessions that run statements.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use super::interrupt::Interrupt;
use super::options::{Limits, Times};
use super::results::ResultWriter;
use crate::error::{Code, SqlError};
use crate::protocol::column::{Column, Columns, WireType};
use crate::protocol::handshake::Login;
use crate::protocol::session::Identity;
use crate::protocol::value::Value;

/// An account that a login names.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// How it proves itself.
    pub identity: Identity,
    /// Whether it may take the place that is kept beyond `max_connections`.
    pub is_administrator: bool,
    /// What the service knows it by.
    pub number: u64,
}

/// A client that is let in.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Who, and how the connection is to be. The database, if one is named, is to be used.
    pub login: Login,
    /// Number of the connection: `SELECT connection_id()`.
    pub number: u32,
    /// Where the client is.
    pub peer: SocketAddr,
    /// The [number](Account::number) of the account that it logged in as.
    pub account: u64,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// Whether it could be: whether the server offers TLS.
    pub tls_offered: bool,
    /// Fires when the session has to stop. Sessions must then return from what they do, in
    /// bounded time: they are never cancelled by dropping a call halfway.
    pub interrupt: Arc<Interrupt>,
}

/// What stands behind the port.
pub trait Service: Send + Sync + 'static {
    /// A client's session.
    type Session: Session;

    /// The account that a login names; none if there is no such user, which the client cannot
    /// tell from a wrong password.
    fn account(
        &self,
        login: &Login,
        peer: SocketAddr,
    ) -> impl Future<Output = Option<Account>> + Send;

    /// Whether a password is the account's, where only a salted hash of it is kept. Where the login
    /// named none it has to take as long. Default: it is not.
    fn is_password(
        &self,
        _login: &Login,
        _account: Option<&Account>,
        _password: &[u8],
    ) -> impl Future<Output = bool> + Send {
        async { false }
    }

    /// Opens a session for a client that proved its password.
    ///
    /// # Errors
    /// With what the client is told, for example 1049 or 1044 for its database.
    fn open(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<Self::Session, SqlError>> + Send;

    /// A login was refused. The client is told when this returns, so a delay here slows guessing.
    fn denied(&self, _login: &Login, _peer: SocketAddr) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Limits that changed since the server began. Default: none.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// A line about the server (COM_STATISTICS).
    fn statistics(&self) -> String {
        String::new()
    }
}

/// A statement that was prepared.
#[derive(Debug)]
pub struct Preparation<T> {
    /// What the session keeps of it.
    pub statement: T,
    /// Its parameters.
    pub parameters: Columns,
    /// Columns of its rows; none if it gives no rows.
    pub columns: Columns,
    /// Warnings.
    pub warnings: u16,
}

impl<T> Preparation<T> {
    /// A statement with so many parameters of any type.
    #[must_use]
    pub fn new(statement: T, parameters: usize, columns: Columns) -> Self {
        let parameter = || Column::new("?", WireType::VarString);
        let parameters = Columns::new(std::iter::repeat_with(parameter).take(parameters).collect());
        Self { statement, parameters, columns, warnings: 0 }
    }
}

/// One client's session. Dropping it rolls back what was not committed.
pub trait Session: Send {
    /// What is kept of a prepared statement.
    type Statement: Send;

    /// Runs the statements of a query; several only if [`ResultWriter::multi_statements`]. The
    /// text is bytes as they came ([`crate::error::utf8`] checks them). Each statement ends with
    /// [`ResultWriter::ok`] or [`Rows::end`](super::Rows::end).
    ///
    /// # Errors
    /// With what the client is told; results before stay.
    fn query(
        &mut self,
        text: &[u8],
        out: &mut ResultWriter<'_>,
    ) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// Prepares a statement.
    ///
    /// # Errors
    /// With what the client is told.
    fn prepare(
        &mut self,
        text: &[u8],
    ) -> impl Future<Output = Result<Preparation<Self::Statement>, SqlError>> + Send;

    /// Runs a prepared statement with one value for each parameter.
    ///
    /// # Errors
    /// With what the client is told.
    fn execute(
        &mut self,
        statement: &mut Self::Statement,
        values: &[Value<'_>],
        out: &mut ResultWriter<'_>,
    ) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// Uses a database.
    ///
    /// # Errors
    /// With what the client is told.
    fn use_database(&mut self, name: &str) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// Becomes as new: rolls back, forgets variables and temporary things.
    ///
    /// # Errors
    /// With what the client is told.
    fn reset(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// The session's times, if they changed since this was asked last; it is after each command.
    /// Default: they do not change.
    fn take_times(&mut self) -> Option<Times> {
        None
    }

    /// Ends another connection ([`Connections::kill`](super::Connections::kill)), if the user may.
    ///
    /// # Errors
    /// 1094 if there is no such connection, 1095 if the user may not.
    fn kill(&mut self, number: u32) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// Columns of a table, for old clients that complete names. Default: refused.
    ///
    /// # Errors
    /// With what the client is told.
    fn field_list(
        &mut self,
        _table: &str,
        _pattern: &str,
    ) -> impl Future<Output = Result<Vec<Column>, SqlError>> + Send {
        async { Err(SqlError::plain(Code::UNKNOWN_COMMAND)) }
    }
}
