//! The engine's errors and those of expressions, as clients see them.

use resprout_engine::Error as EngineError;
use resprout_engine::table::{RowError, ValueError};

use crate::error::{Code, SqlError};
use crate::expression;
use crate::statement::{DefinitionError, ParseError};

impl From<ParseError> for SqlError {
    fn from(error: ParseError) -> Self {
        Self::new(Code(error.mysql_code()), error.to_string())
    }
}

impl From<expression::Error> for SqlError {
    fn from(error: expression::Error) -> Self {
        Self::new(Code(error.mysql_code()), error.to_string())
    }
}

impl From<DefinitionError> for SqlError {
    fn from(error: DefinitionError) -> Self {
        Self::new(Code(error.mysql_code()), error.to_string())
    }
}

impl From<EngineError> for SqlError {
    fn from(error: EngineError) -> Self {
        at_row(error, 1)
    }
}

/// An error of the row of this number of a statement, from 1.
pub(crate) fn at_row(error: EngineError, row: usize) -> SqlError {
    let text = error.to_string();
    let code = match error {
        EngineError::Row(error) => return of_row(&error, row),
        EngineError::Duplicate(duplicate) => {
            let text = format!(
                "Duplicate entry '{}' for key '{}.{}'",
                duplicate.entry, duplicate.table, duplicate.index
            );
            return SqlError::new(Code::DUP_ENTRY, text);
        }
        EngineError::LockWaitTimeout { .. } => return SqlError::plain(Code::LOCK_WAIT_TIMEOUT),
        EngineError::Deadlock => return SqlError::plain(Code::LOCK_DEADLOCK),
        EngineError::NoSuchDatabase { database } => return unknown_database(&database),
        EngineError::DatabaseExists { database } => {
            let text = format!("Can't create database '{database}'; database exists");
            return SqlError::new(Code::DB_CREATE_EXISTS, text);
        }
        EngineError::Schema(error) => Code(error.mysql_code()),
        EngineError::MemoryLimit { .. } => Code::OUT_OF_MEMORY,
        EngineError::LogFull(_) => Code::DISK_FULL,
        EngineError::Unreachable { partition, why } => {
            tracing::debug!(partition, why, "not reached");
            let text = format!("Partition {partition} has no master instance.");
            return SqlError::new(Code::PARTITION_HAS_NO_MASTER, text);
        }
        EngineError::NotOnline { .. } => Code::PARTITION_HAS_NO_MASTER,
        EngineError::NoSuchTable { .. } => Code::NO_SUCH_TABLE,
        EngineError::BadOption { .. } => Code::WRONG_ARGUMENTS,
        EngineError::SchemaChanged { .. } => Code::TABLE_DEF_CHANGED,
        EngineError::Closing => Code::SERVER_SHUTDOWN,
        _ => Code::UNKNOWN_ERROR,
    };
    SqlError::new(code, text)
}

/// A row that cannot be written as given.
pub(crate) fn of_row(error: &RowError, row: usize) -> SqlError {
    let code = Code(error.mysql_code());
    let text = match error {
        RowError::Value { column, source } => match source {
            ValueError::OutOfRange { .. } => {
                format!("Out of range value for column '{column}' at row {row}")
            }
            ValueError::TooLong { .. } => {
                format!("Data too long for column '{column}' at row {row}")
            }
            ValueError::Incorrect { ty, value } => {
                format!("Incorrect {ty} value: '{value}' for column '{column}' at row {row}")
            }
            ValueError::Null => format!("Column '{column}' cannot be null"),
            ValueError::NoDefault => format!("Field '{column}' doesn't have a default value"),
        },
        RowError::Count { .. } => format!("Column count doesn't match value count at row {row}"),
        other => other.to_string(),
    };
    SqlError::new(code, text)
}

/// No such database (1049).
pub(crate) fn unknown_database(name: &str) -> SqlError {
    SqlError::new(Code::BAD_DB, format!("Unknown database '{name}'"))
}

/// No such table (1146).
pub(crate) fn no_such_table(database: &str, table: &str) -> SqlError {
    SqlError::new(Code::NO_SUCH_TABLE, format!("Table '{database}.{table}' doesn't exist"))
}

/// No such column (1054).
pub(crate) fn unknown_column(name: &str) -> SqlError {
    SqlError::new(Code::BAD_FIELD, format!("Unknown column '{name}' in 'field list'"))
}
