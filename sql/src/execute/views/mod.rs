//! information_schema: what the node knows, as tables that are made when a statement reads them.
//!
//! Names of views and columns are those of MySQL 5.7, in its order; columns that say nothing here
//! are left out at the end of a view, never in the middle. Everybody sees what concerns him: the
//! tables that he may use, his own sessions.

mod cluster;
mod copies;
mod node;
mod tables;

use std::sync::Arc;

use resprout_engine::Engine;
use resprout_engine::table::{NewColumn, TableSchema, Value};

use crate::accounts::{Access, INFORMATION_SCHEMA};
use crate::error::{Code, SqlError};
use crate::place::Databases;
use crate::planned::Made;
use crate::server::Connections;
use crate::session::Client;

/// What views are made from, for one session.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    engine: Engine,
    databases: Databases,
    access: Access,
    connections: Arc<Connections>,
    user: String,
}

/// A view: its name, its columns with their types, and what makes its rows.
struct View {
    name: &'static str,
    columns: &'static [(&'static str, &'static str)],
    rows: fn(&Views) -> Result<Vec<Vec<Value>>, SqlError>,
}

/// All views, by name.
const VIEWS: [View; 29] = [
    cluster::AGGREGATORS,
    node::CHARACTER_SETS,
    node::COLLATIONS,
    tables::COLUMNS,
    cluster::DISTRIBUTED_DATABASES,
    cluster::DISTRIBUTED_PARTITIONS,
    copies::DISTRIBUTED_PARTITIONS_ON_LEAVES,
    node::ENGINES,
    node::EVENTS,
    tables::KEY_COLUMN_USAGE,
    cluster::LEAVES,
    copies::MV_CLUSTER_STATUS,
    copies::MV_DISTRIBUTED_DATABASES_STATUS,
    cluster::MV_EVENTS,
    copies::MV_ORPHANS,
    cluster::MV_REBALANCE_STATUS,
    node::MV_RECOVERY_STATUS,
    copies::MV_REPLICATION_STATUS,
    node::PARAMETERS,
    node::PLUGINS,
    node::PROCESSLIST,
    tables::REFERENTIAL_CONSTRAINTS,
    node::ROUTINES,
    tables::SCHEMATA,
    tables::STATISTICS,
    tables::TABLES,
    tables::TABLE_CONSTRAINTS,
    node::TRIGGERS,
    tables::VIEWS,
];

impl Views {
    pub(crate) fn of(client: &Client) -> Self {
        Self {
            engine: client.node.engine.clone(),
            databases: client.node.databases.clone(),
            access: client.access.clone(),
            connections: Arc::clone(&client.node.connections),
            user: client.opening.login.user.clone(),
        }
    }

    /// A view with its rows as of now.
    ///
    /// # Errors
    /// 1109 if there is none of that name; those of its rows.
    pub(crate) fn find(&self, name: &str) -> Result<Made, SqlError> {
        let view = VIEWS.iter().find(|view| view.name.eq_ignore_ascii_case(name));
        let view = view.ok_or_else(|| {
            let text = format!("Unknown table '{name}' in {INFORMATION_SCHEMA}");
            SqlError::new(Code::UNKNOWN_TABLE, text)
        })?;
        Ok(Made {
            database: INFORMATION_SCHEMA.to_owned(),
            schema: Arc::new(schema(view)?),
            rows: Arc::new((view.rows)(self)?),
        })
    }
}

/// The names of all views, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    VIEWS.iter().map(|view| view.name)
}

fn schema(view: &View) -> Result<TableSchema, SqlError> {
    let made = || {
        let mut builder = TableSchema::builder(view.name);
        for (name, ty) in view.columns {
            builder =
                builder.new_column(NewColumn { nullable: true, ..NewColumn::parse(name, ty)? });
        }
        builder.build()
    };
    made().map_err(|error| SqlError::new(Code::UNKNOWN_ERROR, error.to_string()))
}

/// A view that is always empty here.
const fn empty(_views: &Views) -> Result<Vec<Vec<Value>>, SqlError> {
    Ok(Vec::new())
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

const fn number(number: u64) -> Value {
    Value::UInt(number)
}

fn yes_or_no(yes: bool) -> Value {
    text(if yes { "YES" } else { "NO" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: views are found by their names, in order, and each can be described.
    #[test]
    fn views_are_in_order() {
        let all: Vec<_> = names().collect();
        assert!(all.is_sorted(), "{all:?}");
        for view in &VIEWS {
            let columns = schema(view).expect(view.name);
            assert_eq!(columns.live_columns().count(), view.columns.len());
        }
    }
}
