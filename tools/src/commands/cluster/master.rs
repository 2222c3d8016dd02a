//! Statements for the master aggregator.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Row, Value};
use tokio::runtime::Runtime;

use super::look::{self, Seen};
use super::registry::Registry;
use crate::failure::{Exit, Failure};

/// This command's own account.
pub(super) const ACCOUNT: &str = "resprout";

/// An aggregator that does not answer a login by then is as good as away.
const LOGIN: Duration = Duration::from_secs(10);

/// A connection that statements go over one after the other.
pub(super) struct Client {
    runtime: Runtime,
    conn: Conn,
    address: String,
}

/// Rows of a result, as text; NULL is none.
pub(super) type Rows = Vec<Vec<Option<String>>>;

impl Client {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// If nobody answers there, or not to this account.
    pub(super) fn connect(
        address: &str,
        user: &str,
        password: Option<&str>,
    ) -> Result<Self, Failure> {
        let cannot = |why: &dyn std::fmt::Display| {
            let what = format!("cannot connect to {address} as {user}");
            Failure::new(what, why, "see list-nodes and the node's log").exiting(Exit::Unreachable)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| cannot(&error))?;
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "3306"));
        let options = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port.parse().unwrap_or(3306))
            .user(Some(user))
            .pass(password)
            .prefer_socket(false);
        let opening = async { tokio::time::timeout(LOGIN, Conn::new(options)).await };
        let conn = runtime.block_on(opening).map_err(|late| cannot(&late))?;
        let conn = conn.map_err(|error| cannot(&error))?;
        Ok(Self { runtime, conn, address: address.to_owned() })
    }

    /// Connects to the master aggregator, by what the nodes of this machine know.
    ///
    /// # Errors
    /// As [`look::master`] and [`Client::connect`].
    pub(super) fn of_master(registry: &Registry, seen: &[Seen]) -> Result<Self, Failure> {
        let (_, address) = look::master(seen)?;
        Self::connect(&address, ACCOUNT, Some(&registry.password()?))
    }

    /// Where it is connected to.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// What the server says, as it says it.
    pub(super) fn run(&mut self, statement: &str) -> Result<(), Failure> {
        self.query(statement).map(drop)
    }

    /// Runs a statement and takes its rows.
    ///
    /// # Errors
    /// What the server says, as it says it.
    pub(super) fn query(&mut self, statement: &str) -> Result<Rows, Failure> {
        let asked = self.runtime.block_on(self.conn.query::<Row, _>(statement));
        let rows = asked.map_err(|error| self.failed(statement, &error))?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
    }

    fn failed(&self, statement: &str, error: &Error) -> Failure {
        let what = format!("{} refused: {statement}", self.address);
        match error {
            Error::Server(error) => {
                let why = format!("ERROR {} ({}): {}", error.code, error.state, error.message);
                Failure::new(what, why, "correct what it names, or try again later")
            }
            error => {
                let what = format!("the connection to {} is lost", self.address);
                let fix = "see events for whether it was done";
                Failure::new(what, error, fix).exiting(Exit::Unreachable)
            }
        }
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    }
}

/// A text as a literal of SQL.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as SQL takes it, whatever it is.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
