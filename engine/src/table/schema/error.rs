//! What can be wrong with a table or a change of one.

use crate::table::coerce::ValueError;
use crate::table::column_type::{ColumnType, TypeError};

/// Why a table cannot be as it was asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SchemaError {
    /// The name is empty, has a zero byte, or ends in a blank (MySQL 1166 for columns, 1103 for
    /// tables, 1280 for indexes).
    #[error("incorrect name '{0}'")]
    Name(String),
    /// The name has more than 64 characters (MySQL 1059).
    #[error("identifier name '{0}' is too long")]
    NameTooLong(String),
    /// Two columns of one name (MySQL 1060).
    #[error("duplicate column name '{0}'")]
    DuplicateColumn(String),
    /// Two indexes of one name (MySQL 1061).
    #[error("duplicate key name '{0}'")]
    DuplicateIndex(String),
    /// A table of this name exists (MySQL 1050).
    #[error("table '{0}' already exists")]
    TableExists(String),
    /// No table of this name (MySQL 1146).
    #[error("table '{0}' doesn't exist")]
    UnknownTable(String),
    /// No column of this name (MySQL 1054).
    #[error("unknown column '{column}' in '{place}'")]
    UnknownColumn {
        /// The column as named.
        column: String,
        /// Where it was named, such as an index.
        place: String,
    },
    /// No index of this name (MySQL 1091).
    #[error("can't drop '{0}'; check that column/key exists")]
    UnknownIndex(String),
    /// The type is unknown or wrong (MySQL 1064).
    #[error("column '{column}': {source}")]
    Type {
        /// The column.
        column: String,
        /// What is wrong.
        source: TypeError,
    },
    /// A default that the column's type cannot hold, or that its type cannot have (MySQL 1067,
    /// 1101).
    #[error("invalid default value for '{column}'")]
    Default {
        /// The column.
        column: String,
        /// Why; absent for types that cannot have a default.
        source: Option<ValueError>,
    },
    /// A NOT NULL column without default is added, and its type has no implicit default that
    /// the rows that exist could have (MySQL 1292 in strict mode).
    #[error("column '{column}' of type {ty} needs a default or must allow NULL")]
    NoImplicitDefault {
        /// The column.
        column: String,
        /// Its type.
        ty: ColumnType,
    },
    /// More than one auto-increment column, or one that is not the first of a key (MySQL 1075).
    #[error("there can be only one auto column and it must be the first of a key: '{0}'")]
    AutoIncrement(String),
    /// An auto-increment column that is no integer, or has a default (MySQL 1063).
    #[error("incorrect column specifier for column '{0}'")]
    AutoIncrementType(String),
    /// Two primary keys (MySQL 1068).
    #[error("multiple primary key defined")]
    SeveralPrimaryKeys,
    /// A nullable column in the primary key (MySQL 1171).
    #[error("column '{0}' is part of the primary key and must be NOT NULL")]
    NullablePrimary(String),
    /// TEXT, BLOB or JSON in a key (MySQL 1170, 3152).
    #[error("column '{column}' of type {ty} cannot be part of a key")]
    KeyColumn {
        /// The column.
        column: String,
        /// Its type.
        ty: ColumnType,
    },
    /// A key whose values may be longer than is possible (MySQL 1071).
    #[error("key '{index}' is too long: {bytes} bytes, at most {limit} are possible")]
    KeyTooLong {
        /// The index, `PRIMARY` for the primary key.
        index: String,
        /// Its longest key in bytes, before escaping.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A key without or with too many columns, or one column twice (MySQL 1070, 1060).
    #[error("key '{0}' needs 1 to 16 different columns")]
    KeyColumns(String),
    /// No column, or none left (MySQL 1113, 1090).
    #[error("a table must have at least 1 column")]
    NoColumns,
    /// Too many columns (MySQL 1117).
    #[error("too many columns, at most 4096 are possible, dropped ones included")]
    TooManyColumns,
    /// Too many indexes (MySQL 1069).
    #[error("too many keys, at most 64 are possible")]
    TooManyIndexes,
    /// The table's columns were changed too often.
    #[error("the columns of table '{0}' were changed too often: make a new table")]
    TooManyVersions(String),
    /// The partition has used up its table or index numbers.
    #[error("no table or index number is left")]
    NoIdLeft,
    /// The column is part of a key and so cannot be dropped (SingleStore 1706).
    #[error("column '{column}' is used by key '{index}'")]
    ColumnInUse {
        /// The column.
        column: String,
        /// The index, `PRIMARY` or `SHARD KEY`.
        index: String,
    },
    /// The parts of a schema contradict each other: it was damaged or put together by hand.
    #[error("inconsistent schema of table '{table}': {what}")]
    Inconsistent {
        /// The table.
        table: String,
        /// The contradiction.
        what: &'static str,
    },
    /// The schema is too large to be stored.
    #[error("the schema of table '{table}' takes {bytes} bytes, at most {limit} are possible")]
    TooLarge {
        /// The table.
        table: String,
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

impl SchemaError {
    /// MySQL's number of this error.
    #[must_use]
    pub const fn mysql_code(&self) -> u16 {
        match self {
            Self::Name(_) => 1166,
            Self::NameTooLong(_) => 1059,
            Self::DuplicateColumn(_) => 1060,
            Self::DuplicateIndex(_) => 1061,
            Self::TableExists(_) => 1050,
            Self::UnknownTable(_) => 1146,
            Self::UnknownColumn { .. } => 1054,
            Self::UnknownIndex(_) => 1091,
            Self::Type { .. } => 1064,
            Self::Default { source: Some(_), .. } => 1067,
            Self::Default { source: None, .. } => 1101,
            Self::NoImplicitDefault { .. } => 1292,
            Self::AutoIncrement(_) => 1075,
            Self::AutoIncrementType(_) => 1063,
            Self::SeveralPrimaryKeys => 1068,
            Self::NullablePrimary(_) => 1171,
            Self::KeyColumn { ty: ColumnType::Json, .. } => 3152,
            Self::KeyColumn { .. } => 1170,
            Self::KeyTooLong { .. } => 1071,
            Self::KeyColumns(_) => 1070,
            Self::NoColumns => 1113,
            Self::TooManyColumns => 1117,
            Self::TooManyIndexes => 1069,
            Self::ColumnInUse { .. } => 1706,
            Self::TooManyVersions(_)
            | Self::NoIdLeft
            | Self::Inconsistent { .. }
            | Self::TooLarge { .. } => 1105,
        }
    }
}
