//! Statements, run: one file for each kind.
//!
//! ```text
//!  statement ─► plan ─► router: partitions and keys ─► engine transactions of the session
//! ```
//!
//! Everything on one table is done here; joins, grouping and the like are [planned](crate::planned)
//! elsewhere, or answer 1235.

mod aggregate;
mod change;
mod definition;
mod error;
mod insert;
mod load;
mod order;
mod planned;
mod query;
mod router;
mod rows;
mod select;
mod setting;
mod show;
mod value;
mod views;

use crate::error::SqlError;
use crate::protocol::column::Column;
use crate::session::Client;

pub(crate) use change::{delete, update};
pub(crate) use definition::{define, snapshot};
pub(crate) use error::unknown_database;
pub(crate) use insert::insert;
pub(crate) use load::load;
pub(crate) use planned::explain;
pub(crate) use query::{SharedPlan, plan, prepare, query};
pub(crate) use router::{Target, key_range, of_shard_values as partition_of};
pub(crate) use select::name_of;
pub(crate) use setting::{evaluate_all, kill, kill_connection, set};
pub(crate) use show::{explain_plan, show};
pub(crate) use value::{of_column, of_expression, of_parameter};
pub(crate) use views::Views;

/// The columns of a table, as clients are told of them.
///
/// # Errors
/// 1046, 1146.
pub(crate) fn columns_of(client: &Client, table: &str) -> Result<Vec<Column>, SqlError> {
    let database = client.state.database.as_deref();
    let target = Target::find(&client.node.databases, database, table)?;
    let (schema, name) = (target.schema(), target.database.name());
    let column = |(id, own): (_, &resprout_engine::table::Column)| {
        of_column(name, schema, id, None, &own.name)
    };
    Ok(schema.live_columns().map(column).collect())
}
