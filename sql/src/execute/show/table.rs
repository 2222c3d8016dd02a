//! Tables, their columns and indexes, and the statements that make them.

use std::sync::Arc;

use resprout_engine::table::{Column, ColumnId, TableSchema, Value};

use super::listing::{Listing, number, text};
use crate::accounts::{INFORMATION_SCHEMA, is_information_schema};
use crate::error::{Code, SqlError};
use crate::execute::error::unknown_database;
use crate::execute::router::Target;
use crate::execute::views::{self, Views};
use crate::session::Client;
use crate::statement::show_create::{quoted_name, show_create};
use crate::statement::{TableDefinition, TableName};

fn database_name<'a>(client: &'a Client, given: Option<&'a str>) -> Result<&'a str, SqlError> {
    given.or(client.state.database.as_deref()).ok_or_else(|| SqlError::plain(Code::NO_DB))
}

fn target(client: &Client, table: &TableName) -> Result<Target, SqlError> {
    let database = table.database.as_deref().or(client.state.database.as_deref());
    Target::find(&client.node.databases, database, &table.table)
}

/// The schema of a table or view.
fn described(client: &Client, table: &TableName) -> Result<Arc<TableSchema>, SqlError> {
    let database = table.database.as_deref().or(client.state.database.as_deref());
    if database.is_some_and(is_information_schema) {
        return Ok(Views::of(client).find(&table.table)?.schema);
    }
    Ok(Arc::clone(target(client, table)?.table.schema()))
}

/// The tables of a database, by name.
fn all(client: &Client, database: Option<&str>) -> Result<(String, Vec<String>), SqlError> {
    let name = database_name(client, database)?;
    if is_information_schema(name) {
        let views = views::names().map(str::to_owned).collect();
        return Ok((INFORMATION_SCHEMA.to_owned(), views));
    }
    let database = client.node.databases.database(name).map_err(|_| unknown_database(name))?;
    let catalog = database.catalog_now()?;
    let seen = catalog.tables().filter(|table| client.access.sees_table(name, table.name()));
    let mut tables: Vec<_> = seen.map(|table| table.name().to_owned()).collect();
    tables.sort();
    Ok((name.to_owned(), tables))
}

pub(super) fn tables(
    client: &Client,
    database: Option<&str>,
    full: bool,
) -> Result<Listing, SqlError> {
    let (name, tables) = all(client, database)?;
    let head = format!("Tables_in_{name}");
    if !full {
        let mut listing = Listing::new(&["Tables"]).with_first(head);
        tables.into_iter().for_each(|table| listing.push([text(table)]));
        return Ok(listing);
    }
    let mut listing = Listing::new(&["Tables", "Table_type"]).with_first(head);
    let kind = if is_information_schema(&name) { "SYSTEM VIEW" } else { "BASE TABLE" };
    tables.into_iter().for_each(|table| listing.push([text(table), text(kind)]));
    Ok(listing)
}

/// Of what MySQL shows here: what is known without reading all rows. The rest is NULL.
pub(super) fn status(client: &Client, database: Option<&str>) -> Result<Listing, SqlError> {
    let (_, tables) = all(client, database)?;
    let names = ["Name", "Engine", "Version", "Row_format", "Rows", "Collation", "Comment"];
    let mut listing = Listing::new(&names);
    for table in tables {
        let collation = text("utf8mb4_bin");
        let [engine, format] = [text("Resprout"), text("Dynamic")];
        listing.push([text(table), engine, number(1), format, Value::Null, collation, text("")]);
    }
    Ok(listing)
}

pub(super) fn columns(client: &Client, table: &TableName, full: bool) -> Result<Listing, SqlError> {
    let schema = described(client, table)?;
    let mut listing = Listing::new(if full {
        &["Field", "Type", "Collation", "Null", "Key", "Default", "Extra", "Privileges", "Comment"]
    } else {
        &["Field", "Type", "Null", "Key", "Default", "Extra"]
    });
    for (id, column) in schema.live_columns() {
        let [field, ty] = [text(&*column.name), text(column.ty.to_string())];
        let null = text(if column.nullable { "YES" } else { "NO" });
        let (key, default, extra) =
            (text(key_of(&schema, id)), default_of(column), extra(&schema, id));
        if full {
            let collation = if column.ty.is_text() { text("utf8mb4_bin") } else { Value::Null };
            let privileges = text("select,insert,update,references");
            let comment = text(column.notes.comment.as_deref().unwrap_or_default());
            listing.push([field, ty, collation, null, key, default, extra, privileges, comment]);
        } else {
            listing.push([field, ty, null, key, default, extra]);
        }
    }
    Ok(listing)
}

/// `PRI`, `UNI`, `MUL` or nothing, as DESCRIBE says it.
pub(in crate::execute) fn key_of(schema: &TableSchema, id: ColumnId) -> &'static str {
    if schema.primary.columns().contains(&id) {
        return "PRI";
    }
    let leads = |unique: bool| {
        schema.indexes.iter().any(|index| {
            let alone = unique && index.columns.len() == 1;
            index.columns.first() == Some(&id) && (!unique || alone && index.unique)
        })
    };
    if leads(true) {
        "UNI"
    } else if leads(false) {
        "MUL"
    } else {
        ""
    }
}

pub(in crate::execute) fn default_of(column: &Column) -> Value {
    if column.notes.default_now {
        return text("CURRENT_TIMESTAMP");
    }
    let value = column.default.as_ref().filter(|value| !value.is_null());
    value.map_or(Value::Null, |value| text(value.to_string()))
}

pub(in crate::execute) fn extra(schema: &TableSchema, id: ColumnId) -> Value {
    let notes = &schema.column(id).notes;
    let automatic = (schema.auto_increment == Some(id)).then_some("auto_increment");
    let default = notes.default_now.then_some("DEFAULT_GENERATED");
    let update = notes.on_update_now.then_some("on update CURRENT_TIMESTAMP");
    let words: Vec<&str> = automatic.into_iter().chain(default).chain(update).collect();
    text(words.join(" "))
}

pub(super) fn indexes(client: &Client, table: &TableName) -> Result<Listing, SqlError> {
    let target = target(client, table)?;
    let schema = target.schema();
    let mut listing = Listing::new(&[
        "Table",
        "Non_unique",
        "Key_name",
        "Seq_in_index",
        "Column_name",
        "Collation",
        "Cardinality",
        "Sub_part",
        "Packed",
        "Null",
        "Index_type",
        "Comment",
        "Index_comment",
    ]);
    let mut push = |name: &str, unique: bool, columns: &[ColumnId]| {
        for (at, id) in columns.iter().enumerate() {
            let column = schema.column(*id);
            listing.push([
                text(&*schema.name),
                number(u64::from(!unique)),
                text(name),
                number(at as u64 + 1),
                text(&*column.name),
                text("A"),
                Value::Null,
                Value::Null,
                Value::Null,
                text(if column.nullable { "YES" } else { "" }),
                text("BTREE"),
                text(""),
                text(""),
            ]);
        }
    };
    push("PRIMARY", true, schema.primary.columns());
    for index in &schema.indexes {
        push(&index.name, index.unique, &index.columns);
    }
    Ok(listing)
}

pub(super) fn create_table(client: &Client, table: &TableName) -> Result<Listing, SqlError> {
    let target = target(client, table)?;
    let definition = TableDefinition {
        schema: target.schema().clone(),
        reference: target.schema().reference,
        auto_increment: None,
    };
    let mut listing = Listing::new(&["Table", "Create Table"]);
    listing.push([text(target.table.name()), text(show_create(&definition, None))]);
    Ok(listing)
}

pub(super) fn create_database(
    client: &Client,
    name: &str,
    if_not_exists: bool,
) -> Result<Listing, SqlError> {
    let database = client.node.databases.database(name).map_err(|_| unknown_database(name))?;
    let condition = if if_not_exists { "/*!32312 IF NOT EXISTS*/ " } else { "" };
    let partitions = database.count();
    let durability = match database.durability() {
        resprout_engine::Durability::Sync => "SYNC",
        resprout_engine::Durability::Async => "ASYNC",
    };
    let replication = match database.sync_replication() {
        Some(true) => " SYNC REPLICATION",
        Some(false) => " ASYNC REPLICATION",
        None => "",
    };
    let statement = format!(
        "CREATE DATABASE {condition}{} PARTITIONS {partitions} WITH {durability} DURABILITY{replication}",
        quoted_name(name)
    );
    let mut listing = Listing::new(&["Database", "Create Database"]);
    listing.push([text(name), text(statement)]);
    Ok(listing)
}
