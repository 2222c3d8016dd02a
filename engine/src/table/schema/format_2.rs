//! Schemas as they were in format 2.

use super::{Column, ColumnId, Index, IndexId, PrimaryKey, TableId};

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
    comment: Option<String>,
}

impl From<TableSchema> for super::TableSchema {
    fn from(old: TableSchema) -> Self {
        Self {
            id: old.id,
            name: old.name,
            version: old.version,
            columns: old.columns,
            primary: old.primary,
            primary_index: old.primary_index,
            indexes: old.indexes,
            shard_key: old.shard_key,
            auto_increment: old.auto_increment,
            comment: old.comment,
            reference: false,
        }
    }
}

impl super::TableSchema {
    /// Before format 3 a reference table was known by a unique key without a shard key, which no other table has.
    pub(super) fn known_by_its_keys(mut self) -> Self {
        let is_unique =
            !self.primary.columns().is_empty() || self.indexes.iter().any(|index| index.unique);
        self.reference = self.shard_key.is_empty() && is_unique;
        self
    }
}

#[cfg(test)]
mod tests {
    use rkyv::rancor;

    use super::*;

    /// Promise (I06): schemas of format 2 are read; a table with a unique key and without a shard key was a reference table
    /// there, and no other was.
    #[test]
    fn schemas_of_format_2_are_read() {
        let start =
            || super::super::TableSchema::builder("t").column("a", "int").column("b", "int");
        let samples = [
            (start().primary_key(&["a"]).reference(), true),
            (start().unique("one", &["a"]).reference(), true),
            (start().primary_key(&["a"]).index("two", &["b"]), false),
            (start().index("two", &["b"]).comment(Some("spread".to_owned())), false),
        ];
        for (builder, reference) in samples {
            let expected = builder.build().unwrap();
            let now = expected.clone();
            let old = TableSchema {
                id: now.id,
                name: now.name,
                version: now.version,
                columns: now.columns,
                primary: now.primary,
                primary_index: now.primary_index,
                indexes: now.indexes,
                shard_key: now.shard_key,
                auto_increment: now.auto_increment,
                comment: now.comment,
            };
            let archive = rkyv::to_bytes::<rancor::Error>(&old).unwrap();
            let bytes = [&2_u16.to_le_bytes()[..], &archive[..]].concat();
            let read = super::super::TableSchema::from_bytes(&bytes).unwrap();
            assert_eq!(read.reference, reference);
            assert_eq!(read, expected);
        }
    }
}
