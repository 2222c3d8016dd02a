//! From text to statements: what a client sends, as typed nodes. Nothing is looked up or run here.
//!
//! ```text
//!  text ─► Lexer ─► tokens of one statement ─► Cursor: our own statements ──────────► Statement
//!            │  (strings, comments, `;`, `?`)     └─ sqlparser: expressions, queries ──┘
//!            └─► Rows: the values of INSERT, straight from the text
//! ```
//!
//! sqlparser's own statements are not used: it takes `SHARD KEY (id)` for a column, loses the
//! quoted part of `SHOW GRANTS FOR 'a'@'%'`, and has no word for the cluster. Its expressions and
//! queries are the ones that the query library plans, so they stay as they are.
//!
//! ```
//! use resprout_sql::statement::{Statement, parse};
//!
//! let parsed = parse(b"REBALANCE PARTITIONS ON shop FULL")?;
//! assert!(matches!(parsed.statement, Statement::Cluster(_)));
//!
//! let error = parse(b"SELEC 1").unwrap_err();
//! assert_eq!(error.mysql_code(), 1064);
//! # Ok::<(), resprout_sql::statement::ParseError>(())
//! ```
//!
//! # What may be relied on
//!
//! * Any bytes give a statement or a [`ParseError`], within [`limits`]: never a panic, a request
//!   for memory out of proportion, or a stack that overflows.
//! * What is not supported is refused by name ([`ParseError::Unsupported`]), never left out in
//!   silence. What is taken and means nothing here is a node that says so
//!   ([`AlterAction::Nothing`], [`TableOptions::ignored`]).
//! * Passwords are [`Secret`]s: they print as stars.
//! * How names compare is told in [`TableName`]'s module: databases and tables by case, the rest
//!   not.

mod admin;
mod alter_table;
mod change;
mod charset;
mod cluster;
mod column;
mod column_type;
mod create_table;
mod cursor;
mod database;
mod definition;
mod dialect;
pub mod direct;
mod error;
mod explain;
mod index;
mod insert;
mod lexer;
pub mod limits;
mod load_data;
mod name;
mod operand;
mod parse;
mod query;
mod refused;
mod rows;
mod secret;
mod set;
mod show;
pub mod show_create;
mod statements;
mod table_options;
mod tokens;
mod transaction;
mod tree;
mod users;

use sqlparser::ast::{Expr, Query};

pub use admin::{Flush, Kill, Maintenance, TableLock};
pub use alter_table::{AlterAction, AlterTable, Position};
pub use change::{ColumnValue, Delete, Selection, Update};
pub use cluster::{ClusterStatement, Login, OldMaster, PartitionAction, RebalanceOptions};
pub use column::{ColumnDefinition, ColumnKey, DefaultValue};
pub use create_table::{CreateTable, CreateTableLike, DropTables};
pub use database::{AlterDatabase, CreateDatabase, DropDatabase, Replication};
pub use definition::{DefinitionError, TableDefinition};
pub use error::ParseError;
pub use explain::{Explain, ExplainFormat, Explained};
pub use index::{CreateIndex, DropIndex, KeyColumn, KeyDefinition, KeyKind};
pub use insert::{Insert, InsertSource, RowAlias};
pub use lexer::VERSION_OF_COMMENTS;
pub use load_data::{Duplicates, FieldTarget, Fields, Lines, LoadData};
pub use name::{Account, DEFAULT_PORT, NodeAddress, PartitionName, TableName, User};
pub use operand::Operand;
pub use query::{RowLock, row_lock};
pub use rows::Rows;
pub use secret::Secret;
pub use set::{Assignment, Isolation, Scope, SetValue};
pub use show::{Absent, Filter, Show, Window};
pub use statements::{Parsed, Statements, parse};
pub use table_options::TableOptions;
pub use transaction::{Afterwards, TransactionStatement};
pub use tree::Sql;
pub use users::{
    Credential, DropUsers, Grant, Identified, Level, Privilege, Revoke, UserDefinition,
    UserDefinitions,
};

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// A query: SELECT, UNION, WITH, VALUES. Whether it locks rows: [`row_lock`].
    Query(Sql<Box<Query>>),
    /// `EXPLAIN …` of a statement.
    Explain(Box<Explain>),
    /// INSERT and REPLACE.
    Insert(Box<Insert>),
    /// UPDATE of one table.
    Update(Box<Update>),
    /// DELETE from one table.
    Delete(Box<Delete>),
    /// LOAD DATA.
    LoadData(Box<LoadData>),
    /// BEGIN, COMMIT, ROLLBACK, savepoints.
    Transaction(TransactionStatement),
    /// CREATE DATABASE.
    CreateDatabase(CreateDatabase),
    /// ALTER DATABASE.
    AlterDatabase(AlterDatabase),
    /// DROP DATABASE.
    DropDatabase(DropDatabase),
    /// CREATE TABLE.
    CreateTable(Box<CreateTable>),
    /// CREATE TABLE … LIKE.
    CreateTableLike(CreateTableLike),
    /// ALTER TABLE.
    AlterTable(AlterTable),
    /// DROP TABLE.
    DropTables(DropTables),
    /// `TRUNCATE [TABLE]`.
    TruncateTable(TableName),
    /// RENAME TABLE: old names and new ones, to be done in order.
    RenameTables(Vec<(TableName, TableName)>),
    /// CREATE INDEX.
    CreateIndex(CreateIndex),
    /// DROP INDEX.
    DropIndex(DropIndex),
    /// ANALYZE, CHECK, CHECKSUM, OPTIMIZE, REPAIR TABLE.
    Maintenance(Maintenance, Vec<TableName>),
    /// LOCK TABLES.
    LockTables(Vec<TableLock>),
    /// UNLOCK TABLES.
    UnlockTables,
    /// USE.
    Use(String),
    /// SET.
    Set(Vec<Assignment>),
    /// SHOW and DESCRIBE.
    Show(Show),
    /// DO: expressions whose values are thrown away.
    Do(Vec<Sql<Box<Expr>>>),
    /// KILL.
    Kill(Kill),
    /// FLUSH.
    Flush(Flush),
    /// CREATE USER.
    CreateUsers(UserDefinitions),
    /// ALTER USER.
    AlterUsers(UserDefinitions),
    /// DROP USER.
    DropUsers(DropUsers),
    /// RENAME USER: old names and new ones.
    RenameUsers(Vec<(Account, Account)>),
    /// GRANT.
    Grant(Grant),
    /// REVOKE.
    Revoke(Revoke),
    /// Statements about the cluster.
    Cluster(ClusterStatement),
}

impl Statement {
    /// Whether the text has a password in it, so that nobody may log or show it.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        let identified =
            |users: &[UserDefinition]| users.iter().any(|user| user.identified.is_some());
        match self {
            Self::Set(assignments) => {
                assignments.iter().any(|item| matches!(item, Assignment::Password { .. }))
            }
            Self::CreateUsers(users) | Self::AlterUsers(users) => identified(&users.users),
            Self::Grant(grant) => identified(&grant.users),
            Self::Cluster(
                ClusterStatement::AddLeaf { node, .. }
                | ClusterStatement::AddAggregator { node, .. },
            ) => node.password.is_some(),
            _ => false,
        }
    }

    /// Whether the statement ends the session's transaction before it runs, as MySQL's DDL and
    /// SingleStore's cluster statements do.
    #[must_use]
    pub fn commits_implicitly(&self) -> bool {
        match self {
            Self::Transaction(TransactionStatement::Begin { .. }) => true,
            Self::Query(_)
            | Self::Explain(_)
            | Self::Insert(_)
            | Self::Update(_)
            | Self::Delete(_)
            | Self::LoadData(_)
            | Self::Transaction(_)
            | Self::UnlockTables
            | Self::Use(_)
            | Self::Set(_)
            | Self::Show(_)
            | Self::Do(_)
            | Self::Kill(_) => false,
            _ => true,
        }
    }
}
