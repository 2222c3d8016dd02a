//! Databases, tables and indexes: made, changed and dropped.

use resprout_engine::{Database, DatabaseOptions, Durability, Error};

use super::error::{no_such_table, unknown_database};
use super::router::Target;
use crate::accounts::is_information_schema;
use crate::error::{Code, SqlError};
use crate::protocol::resultset::Completion;
use crate::session::Client;
use crate::statement::{
    AlterAction, AlterTable, CreateDatabase, CreateTable, DropTables, Statement, TableName,
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
        Statement::DropDatabase(drop) => {
            let name = drop.name.clone();
            let engine = client.node.engine.clone();
            let dropped = blocking(move || engine.drop_database(&name)).await;
            match dropped {
                Ok(()) => {
                    if client.state.database.as_ref() == Some(&drop.name) {
                        client.state.database = None;
                    }
                    Ok(Completion::default())
                }
                Err(error) if error.code == Code::BAD_DB && drop.if_exists => {
                    Ok(Completion::default())
                }
                Err(error) if error.code == Code::BAD_DB => {
                    let text =
                        format!("Can't drop database '{}'; database doesn't exist", drop.name);
                    Err(SqlError::new(Code::DB_DROP_EXISTS, text))
                }
                Err(error) => Err(error),
            }
        }
        Statement::CreateTable(create) => create_table(client, create).await,
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

/// The engine waits for disks here, which a task must not.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, SqlError> {
    let done = tokio::task::spawn_blocking(work).await;
    let ended = |_| SqlError::new(Code::UNKNOWN_ERROR, "the thread of the statement ended");
    Ok(done.map_err(ended)??)
}

async fn create_database(client: &Client, create: &CreateDatabase) -> Result<Completion, SqlError> {
    if is_information_schema(&create.name) {
        let text = format!("Can't create database '{}'; database exists", create.name);
        return Err(SqlError::new(Code::DB_CREATE_EXISTS, text));
    }
    let defaults = DatabaseOptions::default();
    let options = DatabaseOptions {
        partitions: create.partitions.unwrap_or(defaults.partitions),
        durability: create.durability.unwrap_or(Durability::Sync),
    };
    let (engine, name) = (client.node.engine.clone(), create.name.clone());
    match blocking(move || engine.create_database(&name, options)).await {
        Err(error) if error.code == Code::DB_CREATE_EXISTS && create.if_not_exists => {
            Ok(Completion::default())
        }
        made => made.map(|_| Completion::rows(1)),
    }
}

fn database(client: &Client, table: &TableName) -> Result<Database, SqlError> {
    let name = table.database.as_deref().or(client.state.database.as_deref());
    let name = name.ok_or_else(|| SqlError::plain(Code::NO_DB))?;
    client.node.engine.database(name).map_err(|_| unknown_database(name))
}

async fn create_table(client: &Client, create: &CreateTable) -> Result<Completion, SqlError> {
    let database = database(client, &create.name)?;
    let definition = create.definition()?;
    if database.partitions()[0].table(&create.name.table).is_ok() {
        if create.if_not_exists {
            return Ok(Completion::default());
        }
        let text = format!("Table '{}' already exists", create.name.table);
        return Err(SqlError::new(Code::TABLE_EXISTS, text));
    }
    let lost = definition.extras.iter().any(|extras| extras.default_now || extras.on_update_now);
    if lost {
        return Err(SqlError::not_supported("DEFAULT and ON UPDATE CURRENT_TIMESTAMP"));
    }
    let schema = definition.schema;
    blocking(move || database.create_table(&schema)).await?;
    Ok(Completion::default())
}

async fn drop_tables(client: &Client, drop: &DropTables) -> Result<Completion, SqlError> {
    let mut missing = Vec::new();
    for name in &drop.tables {
        let database = database(client, name)?;
        let table = name.table.clone();
        if database.partitions()[0].table(&table).is_err() {
            missing.push(name.to_string());
            continue;
        }
        blocking(move || database.drop_table(&table)).await?;
    }
    if missing.is_empty() || drop.if_exists {
        return Ok(Completion::default());
    }
    Err(SqlError::new(Code::BAD_TABLE, format!("Unknown table '{}'", missing.join(","))))
}

async fn truncate(client: &Client, name: &TableName) -> Result<Completion, SqlError> {
    let database = database(client, name)?;
    let target = Target::find(&client.node.engine, Some(database.name()), &name.table)?;
    client.node.sequences.forget(database.number(), target.table.id());
    let table = name.table.clone();
    blocking(move || database.truncate_table(&table)).await?;
    Ok(Completion::default())
}

async fn alter_table(client: &Client, alter: &AlterTable) -> Result<Completion, SqlError> {
    let database = database(client, &alter.table)?;
    let mut name = alter.table.table.clone();
    for action in &alter.actions {
        if matches!(action, AlterAction::Nothing(_) | AlterAction::Options(_)) {
            continue;
        }
        let now = database.partitions()[0].table(&name);
        let table = now.map_err(|_| no_such_table(database.name(), &name))?;
        let change = action.change(table.schema());
        let change = change.ok_or_else(|| SqlError::not_supported("this change of a table"))?;
        let (of, old) = (database.clone(), name.clone());
        blocking(move || of.alter_table(&old, change)).await?;
        if let AlterAction::Rename(to) = action {
            name.clone_from(&to.table);
        }
    }
    Ok(Completion::default())
}

/// SNAPSHOT DATABASE: of each partition, one after the other, so that writers keep the device.
///
/// # Errors
/// 1049; if a partition does not serve, or a snapshot cannot be written.
pub(crate) async fn snapshot(client: &Client, name: &str) -> Result<(), SqlError> {
    let database = client.node.engine.database(name).map_err(|_| unknown_database(name))?;
    blocking(move || {
        for partition in database.partitions() {
            partition.snapshot()?;
        }
        Ok(())
    })
    .await
}
