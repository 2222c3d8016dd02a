//! What can be wrong with a statement's text. Every error has MySQL's number, SQLSTATE and wording,
//! because drivers and people's scripts look at them.

use std::borrow::Cow;

use resprout_engine::table::TypeError;

use super::limits::NEAR_CHARACTERS_MAX;

/// Why a text is not a statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text makes no sense from `near` on (MySQL 1064).
    #[error(
        "You have an error in your SQL syntax; check the manual that corresponds to your Resprout \
         version for the right syntax to use near '{near}' at line {line}"
    )]
    Syntax {
        /// The text from where it went wrong, at most 80 characters.
        near: String,
        /// Its line in the text that was sent, from 1.
        line: u32,
    },
    /// Parentheses, operators or subqueries are nested too deeply (MySQL 1064).
    #[error(
        "You have an error in your SQL syntax; the statement is nested too deeply near '{near}' at line {line}"
    )]
    TooDeep {
        /// The text from where it went too far, at most 80 characters.
        near: String,
        /// Its line in the text that was sent, from 1.
        line: u32,
    },
    /// The statement has more of something than there may be (MySQL 1153).
    #[error(
        "Got a packet bigger than 'max_allowed_packet' bytes: the statement has more than {limit} {what}"
    )]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// The most there may be.
        limit: usize,
    },
    /// There is no statement at all (MySQL 1065).
    #[error("Query was empty")]
    Empty,
    /// A statement or clause of MySQL that this server does not have (MySQL 1235).
    #[error("This version of Resprout doesn't yet support '{0}'")]
    Unsupported(Cow<'static, str>),
    /// Text that is not UTF-8 where characters are needed (MySQL 1300).
    #[error("Invalid utf8mb4 character string: '{0}'")]
    Characters(String),
    /// Too many parameters (MySQL 1390).
    #[error("Prepared statement contains too many placeholders")]
    TooManyParameters,
    /// A row of an INSERT has another number of values than its columns (MySQL 1136).
    #[error("Column count doesn't match value count at row {row}")]
    ValueCount {
        /// The row, from 1.
        row: usize,
    },
    /// A column that belongs to none of the statement's tables (MySQL 1054).
    #[error("Unknown column '{0}' in 'field list'")]
    UnknownColumn(String),
    /// A column's type is unknown or wrong (MySQL 1064, 1074).
    #[error("{column}: {source}")]
    Type {
        /// The column.
        column: String,
        /// What is wrong.
        source: TypeError,
    },
    /// A default that a column cannot have (MySQL 1067).
    #[error("Invalid default value for '{0}'")]
    Default(String),
    /// A name is too long (MySQL 1059).
    #[error("Identifier name '{0}' is too long")]
    NameTooLong(String),
    /// An unknown character set (MySQL 1115) or collation (MySQL 1273).
    #[error("Unknown {}: '{name}'", if *collation { "collation" } else { "character set" })]
    UnknownCharset {
        /// Whether it was named as a collation.
        collation: bool,
        /// The name.
        name: String,
    },
    /// Asynchronous replication of a database whose commits wait for the disk (2038).
    #[error("Synchronous durability cannot be combined with asynchronous replication")]
    AsyncReplicationSyncDurability,
    /// ALTER DATABASE of what is said once, when a database is made (MySQL 1235).
    #[error(
        "Durability is chosen by CREATE DATABASE and cannot be changed; copy the rows to a database that is made with the other one"
    )]
    AlterDurability,
    /// A number outside of its range (MySQL 1210).
    #[error("Incorrect arguments to {0}")]
    Argument(&'static str),
}

impl ParseError {
    /// MySQL's number of this error.
    #[must_use]
    pub const fn mysql_code(&self) -> u16 {
        match self {
            Self::Syntax { .. } | Self::TooDeep { .. } => 1064,
            Self::TooLarge { .. } => 1153,
            Self::Empty => 1065,
            Self::Unsupported(_) | Self::AlterDurability => 1235,
            Self::Characters(_) => 1300,
            Self::TooManyParameters => 1390,
            Self::ValueCount { .. } => 1136,
            Self::UnknownColumn(_) => 1054,
            Self::Type { source: TypeError::TooLarge { .. }, .. } => 1074,
            Self::Type { .. } => 1064,
            Self::Default(_) => 1067,
            Self::NameTooLong(_) => 1059,
            Self::UnknownCharset { collation: false, .. } => 1115,
            Self::UnknownCharset { collation: true, .. } => 1273,
            Self::AsyncReplicationSyncDurability => 2038,
            Self::Argument(_) => 1210,
        }
    }

    /// The SQLSTATE that goes with it.
    #[must_use]
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            Self::Syntax { .. }
            | Self::TooDeep { .. }
            | Self::Empty
            | Self::Unsupported(_)
            | Self::AlterDurability
            | Self::NameTooLong(_)
            | Self::Type { .. }
            | Self::Default(_)
            | Self::UnknownCharset { collation: false, .. } => "42000",
            Self::TooLarge { .. } => "08S01",
            Self::ValueCount { .. } => "21S01",
            Self::UnknownColumn(_) => "42S22",
            _ => "HY000",
        }
    }

    /// Refuses something by its name.
    pub(super) fn unsupported(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Unsupported(what.into())
    }
}

/// A position in the text that was sent, to speak of it in errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Bytes before it.
    pub(super) start: usize,
    /// Its line, from 1.
    pub(super) line: u32,
}

impl Place {
    /// The error that the text makes no sense from here on.
    pub(super) fn syntax(self, text: &[u8]) -> ParseError {
        ParseError::Syntax { near: self.near(text), line: self.line }
    }

    /// The error that nesting goes too far here.
    pub(super) fn too_deep(self, text: &[u8]) -> ParseError {
        ParseError::TooDeep { near: self.near(text), line: self.line }
    }

    /// What follows in the text, shortened as MySQL does.
    fn near(self, text: &[u8]) -> String {
        let rest = text.get(self.start..).unwrap_or_default();
        // A character has at most four bytes: no need to look at a whole megabyte.
        let rest = &rest[..rest.len().min(4 * NEAR_CHARACTERS_MAX)];
        String::from_utf8_lossy(rest).chars().take(NEAR_CHARACTERS_MAX).collect()
    }
}
