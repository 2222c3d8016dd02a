//! What a table is: its columns, keys and indexes, as data. A schema is never changed; a change
//! makes a new one ([`alter`](self)), so whoever holds one may rely on it.
//!
//! Columns keep their number for life, also when they are dropped or renamed, because rows know
//! their columns only by the *version* under which they were written:
//!
//! ```text
//! version         1         2                3
//! columns   0 id  ├─────────┼────────────────┼──▶
//!           1 a   ├─────────┼────────────────┤     dropped_in = 3
//!           2 b             ├────────────────┼──▶  added_in = 2: rows of version 1 answer its default
//! ```
//!
//! The version grows with every column added or dropped and with nothing else: so it is the
//! version of the row layout.

mod alter;
mod archive;
mod builder;
mod check;
mod error;
mod format_1;
mod format_2;

use std::fmt;

pub use alter::{Change, NewColumn, NewIndex};
pub use archive::SchemaDamage;
pub use builder::Builder;
pub use error::SchemaError;

use super::column_type::ColumnType;
use super::value::Value;

/// Most columns of a table, dropped ones included.
pub const COLUMNS_MAX: usize = 4096;

/// Most indexes of a table beside its primary one, as in MySQL.
pub const INDEXES_MAX: usize = 64;

/// Most columns of one key, as in MySQL.
pub const KEY_COLUMNS_MAX: usize = 16;

/// Most characters of a name, as in MySQL.
pub const NAME_MAX: usize = 64;

/// The last version of a table: the top bit of a row's version says something else.
pub const VERSION_MAX: u16 = 0x7FFF;

/// Number of a table in its partition. Never reused.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct TableId(pub u32);

/// Number of an index in its partition, the first four bytes of all its keys. Never reused.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct IndexId(pub u32);

/// Number of a column in its table: its position in [`TableSchema::columns`]. Never reused.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct ColumnId(pub u16);

impl ColumnId {
    /// Its position in a list with one entry for every column that ever was.
    #[must_use]
    pub const fn position(self) -> usize {
        self.0 as usize
    }
}

impl IndexId {
    /// The tables themselves: key is the table id, value the schema.
    pub const CATALOG: Self = Self(0);
    /// Prepared transactions: key is the global transaction id, value the write set.
    pub const PREPARED: Self = Self(1);
    /// Bounds of auto-increment: key is the table id, value the first number not yet reserved.
    pub const AUTO_INCREMENT: Self = Self(2);
    /// Decisions about transactions over several partitions: key is the global transaction id.
    pub const DECISIONS: Self = Self(3);
    /// Properties of the partition, such as the next free ids.
    pub const PROPERTIES: Self = Self(4);
    /// The first index that belongs to a table.
    pub const FIRST_OF_TABLES: Self = Self(16);

    /// Whether the index is one of the system's.
    #[must_use]
    pub fn is_system(self) -> bool {
        self < Self::FIRST_OF_TABLES
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for IndexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ColumnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Column {
    /// Its name, unique among the living columns whatever the case.
    pub name: String,
    /// Its type.
    pub ty: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// The value of a row for which none is given. Fixed for the column's life, because rows
    /// from before the column answer with it.
    pub default: Option<Value>,
    /// The first version of the table that has it.
    pub added_in: u16,
    /// The first version of the table that has it no more.
    pub dropped_in: Option<u16>,
    /// What is kept for those who write rows.
    pub notes: ColumnNotes,
}

/// What is kept of a column for those who write its rows; the engine reads none of it.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct ColumnNotes {
    /// A row that is inserted without a value gets the time (`DEFAULT CURRENT_TIMESTAMP`).
    pub default_now: bool,
    /// A row that changes gets the time (`ON UPDATE CURRENT_TIMESTAMP`).
    pub on_update_now: bool,
    /// What people are told of it.
    pub comment: Option<String>,
}

impl Column {
    /// Whether the table has it at `version`.
    #[must_use]
    pub fn lives_in(&self, version: u16) -> bool {
        self.added_in <= version && self.dropped_in.is_none_or(|dropped| version < dropped)
    }

    /// Whether the table has it now.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.dropped_in.is_none()
    }

    /// The value of rows that are older than the column: its default, else NULL if it may be,
    /// else the implicit default of its type.
    #[must_use]
    pub fn value_of_older_rows(&self) -> Value {
        let implicit = || if self.nullable { None } else { self.ty.implicit_default() };
        self.default.clone().or_else(implicit).unwrap_or(Value::Null)
    }
}

/// What identifies a row.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum PrimaryKey {
    /// The values of these columns, none of which may be NULL.
    Columns(Vec<ColumnId>),
    /// A number of its own that nobody sees, taken from the table's auto-increment.
    Hidden,
}

impl PrimaryKey {
    /// The columns; none for a hidden key.
    #[must_use]
    pub fn columns(&self) -> &[ColumnId] {
        match self {
            Self::Columns(columns) => columns,
            Self::Hidden => &[],
        }
    }
}

/// A secondary index.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Index {
    /// Its number.
    pub id: IndexId,
    /// Its name, unique in the table whatever the case.
    pub name: String,
    /// Its columns, in the order of comparison.
    pub columns: Vec<ColumnId>,
    /// Whether two rows may not have the same values, NULL apart.
    pub unique: bool,
}

/// A table: columns, keys and indexes.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct TableSchema {
    /// Its number; zero until a [`Catalog`](super::Catalog) has taken it in.
    pub id: TableId,
    /// Its name.
    pub name: String,
    /// Its row layout's version, from 1.
    pub version: u16,
    /// All columns that ever were, by number.
    pub columns: Vec<Column>,
    /// What identifies a row.
    pub primary: PrimaryKey,
    /// The index that holds the rows; zero until a [`Catalog`](super::Catalog) has taken the
    /// table in.
    pub primary_index: IndexId,
    /// The secondary indexes.
    pub indexes: Vec<Index>,
    /// The columns whose values choose a row's partition; empty if rows may lie anywhere.
    pub shard_key: Vec<ColumnId>,
    /// The column that gets a fresh number when none is given.
    pub auto_increment: Option<ColumnId>,
    /// What people are told of it.
    pub comment: Option<String>,
    /// A reference table: its rows are not spread, so that unique keys hold without a shard key.
    pub reference: bool,
}

impl TableSchema {
    /// Starts a new table.
    #[must_use]
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    /// The living columns in order.
    pub fn live_columns(&self) -> impl Iterator<Item = (ColumnId, &Column)> {
        self.numbered_columns().filter(|(_, column)| column.is_live())
    }

    /// All columns that ever were, with their numbers.
    pub(crate) fn numbered_columns(&self) -> impl Iterator<Item = (ColumnId, &Column)> {
        (0..).map(ColumnId).zip(&self.columns)
    }

    /// The living column of this name, whatever the case.
    #[must_use]
    pub fn column_named(&self, name: &str) -> Option<ColumnId> {
        let mut columns = self.live_columns();
        columns.find(|(_, column)| column.name.eq_ignore_ascii_case(name)).map(|(id, _)| id)
    }

    /// A column by number.
    ///
    /// # Panics
    /// If the table never had a column of this number.
    #[must_use]
    pub fn column(&self, id: ColumnId) -> &Column {
        let found = self.columns.get(id.position());
        found.unwrap_or_else(|| panic!("table '{}' has no column {id}", self.name))
    }

    /// The secondary index of this name, whatever the case.
    #[must_use]
    pub fn index_named(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.name.eq_ignore_ascii_case(name))
    }

    /// All its indexes' numbers, the primary one first.
    pub fn index_ids(&self) -> impl Iterator<Item = IndexId> {
        std::iter::once(self.primary_index).chain(self.indexes.iter().map(|index| index.id))
    }

    /// Whether the column is part of the primary key.
    #[must_use]
    pub fn is_primary(&self, column: ColumnId) -> bool {
        self.primary.columns().contains(&column)
    }
}
