//! SHOW and DESCRIBE: what clients ask about databases, tables, sessions and the node.
//!
//! Each answer is a [`Listing`], a small table that is made whole; LIKE and WHERE pick rows of it.

mod listing;
mod node;
mod table;
mod variables;

use listing::Listing;
pub(super) use node::{character_sets, collations, engines, plugins, without_passwords};
pub(super) use table::{default_of, extra, key_of};

use crate::accounts;
use crate::error::{Code, SqlError};
use crate::place::Listed;
use crate::server::ResultWriter;
use crate::session::Client;
use crate::statement::{ClusterStatement, Filter, Show};

/// Answers SHOW.
///
/// # Errors
/// 1235 for what is not shown yet; what the listing says of unknown databases, tables and columns.
pub(crate) async fn show(
    client: &mut Client,
    show: &Show,
    out: &mut ResultWriter<'_>,
) -> Result<(), SqlError> {
    let mut listing = match show {
        Show::RebalanceStatus { database } => {
            Listing::of(client.node.databases.plans(Some(database)).await?)
        }
        Show::RebalanceAllDatabasesStatus => Listing::of(client.node.databases.plans(None).await?),
        show => list(client, show)?,
    };
    if let Some(filter) = filter_of(show) {
        listing.keep(client, filter)?;
    }
    client.end_reading(out);
    client.state.row_count = -1;
    listing.send(out).await
}

/// Answers EXPLAIN of a statement about the cluster.
///
/// # Errors
/// Those of the statement; 1235 for what has no plan yet.
pub(crate) async fn explain_plan(
    client: &mut Client,
    statement: &ClusterStatement,
    out: &mut ResultWriter<'_>,
) -> Result<(), SqlError> {
    let listing = Listing::of(client.node.databases.explain(statement).await?);
    client.end_reading(out);
    client.state.row_count = -1;
    listing.send(out).await
}

fn list(client: &Client, show: &Show) -> Result<Listing, SqlError> {
    Ok(match show {
        Show::Databases { extended: false, .. } => node::databases(client),
        Show::Databases { extended: true, .. } => node::databases_extended(client)?,
        Show::Processlist { full } => node::processes(client, *full),
        Show::Status { .. } => node::status(client),
        Show::Engines => engines(),
        Show::Plugins => plugins(),
        Show::CharacterSet(_) => character_sets(),
        Show::Collation(_) => collations(),
        Show::Warnings(window) => node::warnings(client, *window),
        Show::Errors(_) => node::errors(),
        Show::Count { errors } => node::count(client, *errors),
        Show::Tables { full, database, .. } => table::tables(client, database.as_deref(), *full)?,
        Show::TableStatus { database, .. } => table::status(client, database.as_deref())?,
        Show::Columns { full, table, .. } => table::columns(client, table, *full)?,
        Show::Index { table, .. } => table::indexes(client, table)?,
        Show::CreateTable(name) => table::create_table(client, name)?,
        Show::CreateDatabase { if_not_exists, name } => {
            table::create_database(client, name, *if_not_exists)?
        }
        Show::Variables { scope, .. } => variables::variables(client, *scope),
        Show::Grants(user) => lines(accounts::show::grants(&client.access, user)?),
        Show::CreateUser(user) => lines(accounts::show::create_user(&client.access, user)?),
        Show::Absent { what, .. } => node::absent(*what),
        show => cluster(client, show)?,
    })
}

/// What a cluster shows of itself.
fn cluster(client: &Client, show: &Show) -> Result<Listing, SqlError> {
    let listed = match show {
        Show::Leaves => Listed::Leaves,
        Show::Aggregators { extended } => Listed::Aggregators { extended: *extended },
        Show::Partitions { extended, database } => {
            let database = database.as_deref().or(client.state.database.as_deref());
            let database = database.ok_or_else(|| SqlError::plain(Code::NO_DB))?;
            Listed::Partitions { database: database.to_owned(), extended: *extended }
        }
        Show::ClusterStatus => Listed::ClusterStatus,
        Show::ReplicationStatus => Listed::ReplicationStatus,
        Show::DatabaseStatus { database } => {
            let database = database.as_deref().or(client.state.database.as_deref());
            let database = database.ok_or_else(|| SqlError::plain(Code::NO_DB))?;
            Listed::DatabaseStatus { database: database.to_owned() }
        }
        _ => return Err(SqlError::not_supported("this SHOW")),
    };
    client.node.databases.show(&listed).map(Listing::of)
}

/// An answer of one column.
fn lines((name, lines): accounts::show::Lines) -> Listing {
    let mut listing = Listing::new(&[&name]);
    lines.into_iter().for_each(|line| listing.push([listing::text(line)]));
    listing
}

const fn filter_of(show: &Show) -> Option<&Filter> {
    match show {
        Show::Databases { filter, .. }
        | Show::Tables { filter, .. }
        | Show::TableStatus { filter, .. }
        | Show::Columns { filter, .. }
        | Show::Index { filter, .. }
        | Show::Variables { filter, .. }
        | Show::Status { filter, .. }
        | Show::CharacterSet(filter)
        | Show::Collation(filter)
        | Show::Absent { filter, .. } => filter.as_ref(),
        _ => None,
    }
}
