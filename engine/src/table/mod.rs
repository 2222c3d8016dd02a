//! Typed tables as pure functions over the keys and values of one ordered tree per partition: no
//! input or output, no threads, no clock.
//!
//! All tables and indexes of a partition share one tree. Every key starts with the number of its
//! index, four bytes big endian, so an index is one range of keys:
//!
//! ```text
//! index    key after the number               value
//! 0        table id                           schema               catalog
//! 1        global transaction id              write set, locks     prepared transactions
//! 2        table id                           first number not reserved   auto-increment
//! 3        global transaction id              outcome              decisions
//! 4        property                           number               properties of the partition
//! 16…      primary key columns                row                  a table's rows
//! 17…      columns                            primary key          a unique index
//!          columns with a NULL, primary key   (empty)              … which NULLs do not bind
//! 18…      columns, primary key               (empty)              a plain index
//! ```
//!
//! Where to look: [`value`](Value) and [`ColumnType`] for values, [`TableSchema`] for what a
//! table is, [`Table`] for one in use, [`RowView`] and [`RowEncoder`] for rows, [`key`] for keys,
//! [`plan_insert`], [`plan_update`] and [`plan_delete`] for what a statement does to the tree,
//! [`Catalog`] for all tables of a partition, [`infer`] for types of data from outside.

mod catalog;
mod coerce;
mod column_type;
mod fixed;
pub mod infer;
mod json;
pub mod key;
mod row;
mod runtime;
mod schema;
pub mod system;
mod value;
mod writes;

pub use catalog::{Catalog, CatalogChange, CatalogDamage, NextNumbers};
pub use coerce::ValueError;
pub use column_type::{ColumnType, IntSize, LobSize, Shown, TypeError};
pub use key::{KEY_MAX, KeyDamage, KeyError, KeyRange};
pub(crate) use row::WholeColumn;
pub use row::encode::Cell;
pub use row::{ROW_MAX, RowDamage, RowEncoder, RowView};
pub use runtime::{RowError, Table};
pub use schema::{
    Builder, COLUMNS_MAX, Change, Column, ColumnId, ColumnNotes, INDEXES_MAX, Index, IndexId,
    KEY_COLUMNS_MAX, NAME_MAX, NewColumn, NewIndex, PrimaryKey, SchemaDamage, SchemaError, TableId,
    TableSchema, VERSION_MAX,
};
pub use value::{
    Date, DateTime, Decimal, FSP_MAX, PRECISION_MAX, SCALE_MAX, Time, Value, ValueRef,
};
pub use writes::{
    DuplicateEntry, MustBeAbsent, RowWrites, Write, index_entry, index_entry_to_primary_key,
    plan_delete, plan_insert, plan_update,
};
pub(crate) use writes::{each_inserted_key, fitting};
