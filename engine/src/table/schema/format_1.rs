//! Schemas as they were in format 1.

use super::{ColumnId, ColumnNotes, Index, IndexId, PrimaryKey, TableId};
use crate::table::column_type::ColumnType;
use crate::table::value::Value;

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(super) struct Column {
    name: String,
    ty: ColumnType,
    nullable: bool,
    default: Option<Value>,
    added_in: u16,
    dropped_in: Option<u16>,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(super) struct TableSchema {
    id: TableId,
    name: String,
    version: u16,
    columns: Vec<Column>,
    primary: PrimaryKey,
    primary_index: IndexId,
    indexes: Vec<Index>,
    shard_key: Vec<ColumnId>,
    auto_increment: Option<ColumnId>,
}

impl From<Column> for super::Column {
    fn from(old: Column) -> Self {
        let Column { name, ty, nullable, default, added_in, dropped_in } = old;
        let notes = ColumnNotes::default();
        Self { name, ty, nullable, default, added_in, dropped_in, notes }
    }
}

impl From<TableSchema> for super::TableSchema {
    fn from(old: TableSchema) -> Self {
        Self {
            id: old.id,
            name: old.name,
            version: old.version,
            columns: old.columns.into_iter().map(Into::into).collect(),
            primary: old.primary,
            primary_index: old.primary_index,
            indexes: old.indexes,
            shard_key: old.shard_key,
            auto_increment: old.auto_increment,
            comment: None,
            reference: false,
        }
    }
}
