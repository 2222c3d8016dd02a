//! Databases, tables and indexes: made, changed and dropped.

use resprout_access::Definition;
use resprout_engine::table::{Change, TableSchema};

use super::change::moment;
use super::error::{no_such_table, unknown_database};
use super::router::Target;
use crate::accounts::is_information_schema;
use crate::error::{Code, SqlError};
use crate::expression::Context;
use crate::place::{Create, Database, blocking};
use crate::protocol::resultset::Completion;
use crate::session::Client;
use crate::statement::{
    AlterAction, AlterDatabase, AlterTable, CreateDatabase, CreateTable, CreateTableLike,
    DropTables, KeyDefinition, KeyKind, Replication, Statement, TableDefinition, TableName,
};

/// Runs a statement that defines something.
///
/// # Errors
/// With what the client is told.
pub(crate) async fn define(
    client: &mut Client,
    statement: &Statement,
) -> Result<Completion, SqlError> {
    let node = std::sync::Arc::clone(&client.node);
    let _one_at_a_time = node.definitions.lock().await;
    match statement {
        Statement::CreateDatabase(create) => create_database(client, create).await,
        Statement::DropDatabase(drop) => match node.databases.drop_database(&drop.name).await {
            Ok(()) => {
                if client.state.database.as_ref() == Some(&drop.name) {
                    client.state.database = None;
                }
                Ok(Completion::default())
            }
            Err(error) if error.code == Code::BAD_DB && drop.if_exists => Ok(Completion::default()),
            Err(error) if error.code == Code::BAD_DB => {
                let text = format!("Can't drop database '{}'; database doesn't exist", drop.name);
                Err(SqlError::new(Code::DB_DROP_EXISTS, text))
            }
            Err(error) => Err(error),
        },
        Statement::AlterDatabase(alter) => alter_database(client, alter).await,
        Statement::CreateTable(create) => create_table(client, create).await,
        Statement::CreateTableLike(create) => create_like(client, create).await,
        Statement::DropTables(drop) => drop_tables(client, drop).await,
        Statement::TruncateTable(name) => truncate(client, name).await,
        Statement::AlterTable(alter) => alter_table(client, alter).await,
        Statement::CreateIndex(create) => {
            let action = AlterAction::AddKey(create.key.clone());
            let alter = AlterTable { table: create.table.clone(), actions: vec![action] };
            alter_table(client, &alter).await
        }
        Statement::DropIndex(drop) => {
            let action = AlterAction::DropKey(drop.name.clone());
            let alter = AlterTable { table: drop.table.clone(), actions: vec![action] };
            alter_table(client, &alter).await
        }
        _ => Err(SqlError::not_supported("this statement")),
    }
}

async fn create_database(client: &Client, create: &CreateDatabase) -> Result<Completion, SqlError> {
    if is_information_schema(&create.name) {
        let text = format!("Can't create database '{}'; database exists", create.name);
        return Err(SqlError::new(Code::DB_CREATE_EXISTS, text));
    }
    let how = Create {
        partitions: create.partitions,
        durability: create.durability,
        sync_replication: create.replication.map(|wanted| wanted == Replication::Sync),
    };
    match client.node.databases.create(&create.name, how).await {
        Err(error) if error.code == Code::DB_CREATE_EXISTS && create.if_not_exists => {
            Ok(Completion::default())
        }
        made => made.map(|()| Completion::rows(1)),
    }
}

/// There is one character set, so of that nothing changes.
async fn alter_database(client: &Client, alter: &AlterDatabase) -> Result<Completion, SqlError> {
    let name = alter.name.as_deref().or(client.state.database.as_deref());
    let name = name.ok_or_else(|| SqlError::plain(Code::NO_DB))?;
    match alter.replication {
        Some(wanted) => {
            let sync = wanted == Replication::Sync;
            client.node.databases.set_replication(name, sync).await?;
        }
        None => drop(client.node.databases.database(name).map_err(|_| unknown_database(name))?),
    }
    Ok(Completion::rows(1))
}

fn database(client: &Client, table: &TableName) -> Result<Database, SqlError> {
    let name = table.database.as_deref().or(client.state.database.as_deref());
    let name = name.ok_or_else(|| SqlError::plain(Code::NO_DB))?;
    client.node.databases.database(name).map_err(|_| unknown_database(name))
}

async fn create_table(client: &Client, create: &CreateTable) -> Result<Completion, SqlError> {
    let database = database(client, &create.name)?;
    let definition = create.definition()?;
    if is_there(&database, &create.name.table, create.if_not_exists)? {
        return Ok(Completion::default());
    }
    let schema = definition.schema;
    client.node.databases.define(&database, Definition::Create(schema)).await?;
    Ok(Completion::default())
}

/// CREATE TABLE … LIKE: columns, keys and comments, but no rows and no running numbers.
async fn create_like(client: &Client, create: &CreateTableLike) -> Result<Completion, SqlError> {
    let to = database(client, &create.name)?;
    if is_there(&to, &create.name.table, create.if_not_exists)? {
        return Ok(Completion::default());
    }
    let from = database(client, &create.like)?;
    let like = Target::find(&client.node.databases, Some(from.name()), &create.like.table)?;
    if create.reference && !like.schema().reference {
        return Err(SqlError::not_supported("CREATE REFERENCE TABLE … LIKE a table with shards"));
    }
    let schema = TableSchema { name: create.name.table.clone(), ..like.schema().clone() };
    client.node.databases.define(&to, Definition::Create(schema)).await?;
    Ok(Completion::default())
}

/// Whether a table of this name exists, which may be no error.
fn is_there(database: &Database, table: &str, allowed: bool) -> Result<bool, SqlError> {
    match database.table(table) {
        Err(_) => Ok(false),
        Ok(_) if allowed => Ok(true),
        Ok(_) => Err(SqlError::new(Code::TABLE_EXISTS, format!("Table '{table}' already exists"))),
    }
}

async fn drop_tables(client: &Client, drop: &DropTables) -> Result<Completion, SqlError> {
    let mut missing = Vec::new();
    for name in &drop.tables {
        let database = database(client, name)?;
        let table = name.table.clone();
        if database.table(&table).is_err() {
            missing.push(name.to_string());
            continue;
        }
        client.node.databases.define(&database, Definition::Drop(table)).await?;
    }
    if missing.is_empty() || drop.if_exists {
        return Ok(Completion::default());
    }
    Err(SqlError::new(Code::BAD_TABLE, format!("Unknown table '{}'", missing.join(","))))
}

async fn truncate(client: &Client, name: &TableName) -> Result<Completion, SqlError> {
    let database = database(client, name)?;
    let target = Target::find(&client.node.databases, Some(database.name()), &name.table)?;
    client.node.sequences.forget(database.number(), target.table.id());
    let definition = Definition::Truncate(name.table.clone());
    client.node.databases.define(&database, definition).await?;
    Ok(Completion::default())
}

async fn alter_table(client: &Client, alter: &AlterTable) -> Result<Completion, SqlError> {
    let database = database(client, &alter.table)?;
    let mut name = alter.table.table.clone();
    for action in &alter.actions {
        if matches!(action, AlterAction::Nothing(_) | AlterAction::Options(_)) {
            continue;
        }
        let now = database.table(&name);
        let table = now.map_err(|_| no_such_table(database.name(), &name))?;
        if let AlterAction::AddKey(key) = action
            && key.kind == KeyKind::Unique
        {
            check_unique(table.schema(), key)?;
        }
        let change = action.change(table.schema());
        let mut change = change.ok_or_else(|| SqlError::not_supported("this change of a table"))?;
        if let Change::AddColumn(column) = &mut change
            && column.notes.default_now
        {
            // What rows have that exist.
            let surroundings = client.state.surroundings();
            column.default = Some(moment(&Context::new(&surroundings, &[]), column.ty));
        }
        let definition = Definition::Alter(name.clone(), change);
        client.node.databases.define(&database, definition).await?;
        if let AlterAction::Rename(to) = action {
            name.clone_from(&to.table);
        }
    }
    Ok(Completion::default())
}

/// A unique key that partitions cannot keep apart from each other is none (1744).
fn check_unique(schema: &TableSchema, key: &KeyDefinition) -> Result<(), SqlError> {
    let (reference, auto_increment) = (schema.reference, None);
    let now = TableDefinition { schema: schema.clone(), reference, auto_increment };
    Ok(now.check_index(key).map(drop)?)
}

/// SNAPSHOT DATABASE: of each partition, one after the other, so that writers keep the device.
///
/// # Errors
/// 1049; if a partition does not serve, or a snapshot cannot be written.
pub(crate) async fn snapshot(client: &Client, name: &str) -> Result<(), SqlError> {
    let database = client.node.databases.database(name).map_err(|_| unknown_database(name))?;
    blocking(move || {
        for partition in database.partitions() {
            partition.snapshot()?;
        }
        Ok(())
    })
    .await
}
