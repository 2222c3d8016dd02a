//! Statements that look after the server and its tables: KILL, FLUSH, ANALYZE, LOCK TABLES.

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsing};
use super::name::TableName;
use super::operand::Operand;

/// `KILL [CONNECTION | QUERY] id`.
#[derive(Clone, Debug, PartialEq)]
pub struct Kill {
    /// Only what it is doing, not the connection.
    pub query_only: bool,
    /// Which one: a number or a parameter.
    pub connection: Operand,
    /// `KILL … node`: on another node of the cluster.
    pub node: Option<u64>,
}

impl Kill {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let query_only = match cursor.one_of(&["CONNECTION", "QUERY"]) {
            Some(word) => word == "QUERY",
            None => false,
        };
        let connection = Operand::parse(cursor)?;
        let node = if cursor.at_end() { None } else { Some(cursor.number()?) };
        Ok(Self { query_only, connection, node })
    }
}

/// What a statement does to tables that needs nothing from a store in memory, or only statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// `ANALYZE TABLE`.
    Analyze,
    /// `CHECK TABLE`.
    Check,
    /// `CHECKSUM TABLE`.
    Checksum,
    /// `OPTIMIZE TABLE`.
    Optimize,
    /// `REPAIR TABLE`.
    Repair,
}

/// `{ANALYZE | CHECK | …} TABLE t, … [options]`, if it is next.
pub(super) fn maintenance(
    cursor: &mut Cursor<'_>,
) -> Parsing<Option<(Maintenance, Vec<TableName>)>> {
    const STARTS: &[&str] = &[
        "ANALYZE NO_WRITE_TO_BINLOG TABLE",
        "ANALYZE LOCAL TABLE",
        "ANALYZE TABLE",
        "CHECK TABLE",
        "CHECKSUM TABLE",
        "OPTIMIZE NO_WRITE_TO_BINLOG TABLE",
        "OPTIMIZE LOCAL TABLE",
        "OPTIMIZE TABLE",
        "REPAIR TABLE",
    ];
    let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
    let kind = match start.split(' ').next() {
        Some("ANALYZE") => Maintenance::Analyze,
        Some("CHECK") => Maintenance::Check,
        Some("CHECKSUM") => Maintenance::Checksum,
        Some("OPTIMIZE") => Maintenance::Optimize,
        _ => Maintenance::Repair,
    };
    let tables = cursor.list(TableName::parse)?;
    let options =
        ["QUICK", "FAST", "MEDIUM", "EXTENDED", "CHANGED", "FOR UPGRADE", "FULL", "FLUSH"];
    while cursor.one_of(&options).is_some() {}
    Ok(Some((kind, tables)))
}

/// `FLUSH …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flush {
    /// `FLUSH PRIVILEGES`.
    Privileges,
    /// `FLUSH TABLES [t, …] [WITH READ LOCK]`.
    Tables {
        /// Which ones; all if empty.
        tables: Vec<TableName>,
        /// Whether writers are then kept out.
        read_lock: bool,
    },
    /// `FLUSH STATUS`.
    Status,
    /// `FLUSH [BINARY | ERROR | …] LOGS`.
    Logs,
    /// `FLUSH HOSTS`, `FLUSH USER_RESOURCES`.
    Hosts,
}

impl Flush {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let _optional = cursor.one_of(&["NO_WRITE_TO_BINLOG", "LOCAL"]);
        const KINDS: &[&str] = &[
            "PRIVILEGES",
            "TABLES",
            "TABLE",
            "STATUS",
            "BINARY LOGS",
            "ENGINE LOGS",
            "ERROR LOGS",
            "GENERAL LOGS",
            "SLOW LOGS",
            "LOGS",
            "HOSTS",
            "USER_RESOURCES",
        ];
        Ok(match cursor.one_of(KINDS) {
            Some("PRIVILEGES") => Self::Privileges,
            Some("TABLES" | "TABLE") => {
                let named = !cursor.at_end() && !cursor.is_word("WITH");
                let tables = if named { cursor.list(TableName::parse)? } else { Vec::new() };
                Self::Tables { tables, read_lock: cursor.words("WITH READ LOCK") }
            }
            Some("STATUS") => Self::Status,
            Some("HOSTS" | "USER_RESOURCES") => Self::Hosts,
            Some(_) => Self::Logs,
            None => return Err(cursor.unexpected()),
        })
    }
}

/// A table of LOCK TABLES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLock {
    /// The table.
    pub table: TableName,
    /// Whether others may not even read it.
    pub write: bool,
}

impl TableLock {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        const KINDS: &[&str] = &["READ LOCAL", "READ", "LOW_PRIORITY WRITE", "WRITE"];
        let table = TableName::parse(cursor)?;
        if !KINDS.iter().any(|kind| cursor.are_words(kind)) {
            let _optional = cursor.word("AS");
            cursor.name()?;
        }
        match cursor.one_of(KINDS) {
            Some(kind) => Ok(Self { table, write: kind.ends_with("WRITE") }),
            None => Err(cursor.unexpected()),
        }
    }
}

/// `DO expression, …`: the values are thrown away.
pub(super) fn discarded(
    cursor: &mut Cursor<'_>,
) -> Parsing<Vec<super::tree::Sql<Box<sqlparser::ast::Expr>>>> {
    cursor.list(Cursor::expression)
}

/// Whether a list of statements' ends has come.
pub(super) fn ends_list(token: &Token) -> bool {
    matches!(token, Token::Comma | Token::RParen | Token::EOF)
}
