//! Which statement it is, by its first words.

use super::admin::{self, Flush, Kill, TableLock};
use super::alter_table::AlterTable;
use super::change::{Delete, Update};
use super::create_table::{self, CreateTable, Created, DropTables};
use super::cursor::{Cursor, Parsing};
use super::database::{AlterDatabase, CreateDatabase, DropDatabase};
use super::explain::Explain;
use super::index::{CreateIndex, DropIndex};
use super::insert::Insert;
use super::load_data::LoadData;
use super::name::TableName;
use super::refused::refusal;
use super::rows::Rows;
use super::show::Show;
use super::users::{self, DropUsers, Grant, Revoke, UserDefinitions};
use super::{Statement, cluster, query, set, transaction};

/// The statement that is next. `rows` are those of an INSERT, which were gathered apart.
pub(super) fn statement(cursor: &mut Cursor<'_>, rows: Option<Rows>) -> Parsing<Statement> {
    if starts_query(cursor) {
        return query::parse(cursor).map(Statement::Query);
    }
    if cursor.is_word("INSERT") || cursor.is_word("REPLACE") {
        return Insert::parse(cursor, rows).map(Box::new).map(Statement::Insert);
    }
    if let Some(change) = change(cursor)? {
        return Ok(change);
    }
    if let Some(transaction) = transaction::parse(cursor)? {
        return Ok(Statement::Transaction(transaction));
    }
    if let Some(session) = session(cursor)? {
        return Ok(session);
    }
    if let Some(definition) = definition(cursor)? {
        return Ok(definition);
    }
    if let Some(users) = users(cursor)? {
        return Ok(users);
    }
    if let Some(cluster) = cluster::parse(cursor)? {
        return Ok(Statement::Cluster(cluster));
    }
    if let Some((kind, tables)) = admin::maintenance(cursor)? {
        return Ok(Statement::Maintenance(kind, tables));
    }
    Err(refusal(cursor).unwrap_or_else(|| cursor.unexpected()))
}

fn starts_query(cursor: &Cursor<'_>) -> bool {
    let query = ["SELECT", "WITH", "VALUES"];
    let parenthesis = *cursor.peek() == sqlparser::tokenizer::Token::LParen;
    parenthesis || query.iter().any(|word| cursor.is_word(word))
}

fn change(cursor: &mut Cursor<'_>) -> Parsing<Option<Statement>> {
    Ok(Some(match cursor.one_of(&["UPDATE", "DELETE", "LOAD DATA"]) {
        Some("UPDATE") => Statement::Update(Box::new(Update::parse(cursor)?)),
        Some("DELETE") => Statement::Delete(Box::new(Delete::parse(cursor)?)),
        Some(_) => Statement::LoadData(Box::new(LoadData::parse(cursor)?)),
        None => return Ok(None),
    }))
}

fn session(cursor: &mut Cursor<'_>) -> Parsing<Option<Statement>> {
    const STARTS: &[&str] = &[
        "SET",
        "SHOW",
        "USE",
        "USING",
        "DESCRIBE",
        "DESC",
        "EXPLAIN",
        "DO",
        "KILL",
        "FLUSH",
        "LOCK TABLES",
        "LOCK TABLE",
        "UNLOCK TABLES",
        "UNLOCK TABLE",
    ];
    let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
    Ok(Some(match start {
        "SET" => Statement::Set(set::parse(cursor)?),
        "SHOW" => Statement::Show(Show::parse(cursor)?),
        "USE" => Statement::Use(cursor.name()?),
        "USING" => {
            let database = Some(cursor.name()?);
            cursor.expect_words("SHOW DATABASE STATUS")?;
            Statement::Show(Show::DatabaseStatus { database })
        }
        "DESCRIBE" | "DESC" | "EXPLAIN" if Explain::is_next(cursor) => {
            Statement::Explain(Box::new(Explain::parse(cursor)?))
        }
        "DESCRIBE" | "DESC" | "EXPLAIN" => Statement::Show(Show::describe(cursor)?),
        "DO" => Statement::Do(admin::discarded(cursor)?),
        "KILL" => Statement::Kill(Kill::parse(cursor)?),
        "FLUSH" => Statement::Flush(Flush::parse(cursor)?),
        "LOCK TABLES" | "LOCK TABLE" => Statement::LockTables(cursor.list(TableLock::parse)?),
        _ => Statement::UnlockTables,
    }))
}

fn definition(cursor: &mut Cursor<'_>) -> Parsing<Option<Statement>> {
    const STARTS: &[&str] = &[
        "CREATE DATABASE",
        "CREATE SCHEMA",
        "ALTER DATABASE",
        "ALTER SCHEMA",
        "DROP DATABASE",
        "DROP SCHEMA",
        "ALTER TABLE",
        "ALTER ONLINE TABLE",
        "ALTER IGNORE TABLE",
        "DROP TABLE",
        "DROP TABLES",
        "DROP INDEX",
        "TRUNCATE TABLE",
        "TRUNCATE",
        "RENAME TABLE",
        "RENAME TABLES",
    ];
    let Some(start) = cursor.one_of(STARTS) else { return created(cursor) };
    Ok(Some(match start {
        "CREATE DATABASE" | "CREATE SCHEMA" => {
            Statement::CreateDatabase(CreateDatabase::parse(cursor)?)
        }
        "ALTER DATABASE" | "ALTER SCHEMA" => {
            Statement::AlterDatabase(AlterDatabase::parse(cursor)?)
        }
        "DROP DATABASE" | "DROP SCHEMA" => Statement::DropDatabase(DropDatabase::parse(cursor)?),
        "DROP TABLE" | "DROP TABLES" => Statement::DropTables(DropTables::parse(cursor)?),
        "DROP INDEX" => Statement::DropIndex(DropIndex::parse(cursor)?),
        "TRUNCATE TABLE" | "TRUNCATE" => Statement::TruncateTable(TableName::parse(cursor)?),
        "RENAME TABLE" | "RENAME TABLES" => Statement::RenameTables(create_table::rename(cursor)?),
        _ => Statement::AlterTable(AlterTable::parse(cursor)?),
    }))
}

/// CREATE of a table or an index.
fn created(cursor: &mut Cursor<'_>) -> Parsing<Option<Statement>> {
    let table = ["TABLE", "ROWSTORE", "REFERENCE"];
    let index = ["UNIQUE", "ONLINE", "OFFLINE", "INDEX", "KEY"];
    let is = |words: &[&str]| words.iter().any(|word| cursor.is_word_at(1, word));
    let (is_table, is_index) = (is(&table), is(&index));
    if !cursor.is_word("CREATE") || !is_table && !is_index {
        return Ok(None);
    }
    cursor.advance();
    if is_index {
        let create = CreateIndex::parse(cursor)?.ok_or_else(|| cursor.unexpected())?;
        return Ok(Some(Statement::CreateIndex(create)));
    }
    Ok(Some(match CreateTable::parse(cursor)?.ok_or_else(|| cursor.unexpected())? {
        Created::Table(table) => Statement::CreateTable(Box::new(table)),
        Created::Like(like) => Statement::CreateTableLike(like),
    }))
}

fn users(cursor: &mut Cursor<'_>) -> Parsing<Option<Statement>> {
    const STARTS: &[&str] =
        &["CREATE USER", "ALTER USER", "DROP USER", "RENAME USER", "GRANT", "REVOKE"];
    let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
    Ok(Some(match start {
        "CREATE USER" => Statement::CreateUsers(UserDefinitions::parse(cursor, true)?),
        "ALTER USER" => Statement::AlterUsers(UserDefinitions::parse(cursor, false)?),
        "DROP USER" => Statement::DropUsers(DropUsers::parse(cursor)?),
        "RENAME USER" => Statement::RenameUsers(users::rename(cursor)?),
        "GRANT" => Statement::Grant(Grant::parse(cursor)?),
        _ => Statement::Revoke(Revoke::parse(cursor)?),
    }))
}
