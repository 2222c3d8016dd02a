//! Names of tables, users and nodes.
//!
//! Which case counts: names of databases and tables are case-sensitive, as on MySQL under Linux
//! (`lower_case_table_names = 0`) and in SingleStore; names of columns, indexes, variables and
//! users' hosts are not. The parser keeps all as they were written.

use std::fmt;

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsing};
use super::error::ParseError;

/// Most characters of a name, as in MySQL.
pub(super) const NAME_CHARACTERS_MAX: usize = 64;

/// Most characters of a host, as in MySQL.
const HOST_CHARACTERS_MAX: usize = 255;

/// The port of a node for which none is given.
pub const DEFAULT_PORT: u16 = 3306;

pub(super) fn check_length(name: &str) -> Parsing<()> {
    // As many bytes as characters are always few enough to skip the count.
    if name.len() > NAME_CHARACTERS_MAX && name.chars().count() > NAME_CHARACTERS_MAX {
        let shown = name.chars().take(NAME_CHARACTERS_MAX).collect();
        return Err(ParseError::NameTooLong(shown));
    }
    Ok(())
}

/// A table, in a database or in the one in use.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    /// The database, if named.
    pub database: Option<String>,
    /// The table.
    pub table: String,
}

impl TableName {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let first = cursor.name()?;
        if !cursor.symbol(&Token::Period) {
            return Ok(Self { database: None, table: first });
        }
        Ok(Self { database: Some(first), table: cursor.name()? })
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(database) = &self.database {
            write!(f, "{database}.")?;
        }
        f.write_str(&self.table)
    }
}

impl fmt::Debug for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A user, from a host: `'user'@'host'`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Account {
    /// The user; empty for anybody.
    pub user: String,
    /// Hosts from which, a pattern as of LIKE; `%` if none is given.
    pub host: String,
}

impl Account {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let user = cursor.name_or_string()?;
        check_length(&user)?;
        let host = host_after_at(cursor)?.unwrap_or_else(|| "%".to_owned());
        Ok(Self { user, host })
    }
}

/// `@host`, with or without blanks and quotes.
pub(super) fn host_after_at(cursor: &mut Cursor<'_>) -> Parsing<Option<String>> {
    let host = match cursor.peek() {
        Token::AtSign => {
            cursor.advance();
            cursor.name_or_string()?
        }
        Token::Word(word) if word.value.starts_with('@') && !word.value.starts_with("@@") => {
            let host = word.value[1..].to_owned();
            cursor.advance();
            host
        }
        _ => return Ok(None),
    };
    if host.chars().count() > HOST_CHARACTERS_MAX {
        return Err(ParseError::NameTooLong(host.chars().take(HOST_CHARACTERS_MAX).collect()));
    }
    Ok(Some(host))
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.user, self.host)
    }
}

/// Whom a statement about users means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// `CURRENT_USER`.
    Current,
    /// One by name.
    Named(Account),
}

impl User {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        if !cursor.word("CURRENT_USER") {
            return Account::parse(cursor).map(Self::Named);
        }
        if cursor.symbol(&Token::LParen) {
            cursor.expect(&Token::RParen)?;
        }
        Ok(Self::Current)
    }
}

/// Where a node listens: `'host':port`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl NodeAddress {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let host = cursor.name_or_string()?;
        Self::with_port(host, cursor)
    }

    /// The host is read already.
    pub(super) fn with_port(host: String, cursor: &mut Cursor<'_>) -> Parsing<Self> {
        if host.is_empty() || host.chars().count() > HOST_CHARACTERS_MAX {
            return Err(ParseError::Argument("host"));
        }
        if !cursor.symbol(&Token::Colon) {
            return Ok(Self { host, port: DEFAULT_PORT });
        }
        let port = u16::try_from(cursor.number()?).ok().filter(|port| *port > 0);
        Ok(Self { host, port: port.ok_or(ParseError::Argument("port"))? })
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A partition of a database: `db:n`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PartitionName {
    /// The database.
    pub database: String,
    /// Which of its partitions, from 0.
    pub ordinal: u32,
}

impl PartitionName {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let database = cursor.name()?;
        cursor.expect(&Token::Colon)?;
        Ok(Self { database, ordinal: cursor.small_number()? })
    }
}

impl fmt::Debug for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.database, self.ordinal)
    }
}
