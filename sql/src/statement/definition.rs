//! From CREATE TABLE to a table of the engine.
//!
//! Choices where SingleStore leaves them or this server differs:
//!
//! * Without SHARD KEY, rows are spread by the primary key; without one, by the first unique key;
//!   without any, anyhow. A reference table is not spread.
//! * Unique keys are kept by each partition alone, so they must contain the shard key, as in
//!   SingleStore.
//! * Indexes without name are called after their first column, `_2`, `_3` … behind if need be.
//! * The engine fills constant defaults in. Times of the statement, ON UPDATE and comments it keeps as
//!   [`ColumnNotes`], for whoever writes rows.

use resprout_engine::table::{
    Builder, ColumnNotes, NewColumn, NewIndex, SchemaError, TableSchema, Value,
};

use super::alter_table::{AlterAction, Position};
use super::column::{ColumnDefinition, ColumnKey, DefaultValue};
use super::create_table::CreateTable;
use super::index::{KeyDefinition, KeyKind};

/// A table as asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDefinition {
    /// What the engine stores.
    pub schema: TableSchema,
    /// Whether every node has all rows.
    pub reference: bool,
    /// The first number that AUTO_INCREMENT gives; 1 unless set.
    pub auto_increment: Option<u64>,
}

/// Why a table cannot be as it was asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DefinitionError {
    /// The engine says so.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A unique key that partitions cannot keep apart from each other (SingleStore 1744).
    #[error("the unique key '{0}' must contain all columns of the shard key")]
    UniqueWithoutShardKey(String),
    /// A reference table with a shard key (MySQL 1064).
    #[error("a reference table has no shard key")]
    ReferenceWithShardKey,
    /// AUTO_INCREMENT on two columns (MySQL 1075).
    #[error("there can be only one auto column: '{0}'")]
    SeveralAutoIncrement(String),
}

impl DefinitionError {
    /// MySQL's number of this error.
    #[must_use]
    pub const fn mysql_code(&self) -> u16 {
        match self {
            Self::Schema(error) => error.mysql_code(),
            Self::UniqueWithoutShardKey(_) => 1744,
            Self::ReferenceWithShardKey => 1064,
            Self::SeveralAutoIncrement(_) => 1075,
        }
    }
}

impl CreateTable {
    /// The table that is asked for, checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn definition(&self) -> Result<TableDefinition, DefinitionError> {
        let keys = self.all_keys()?;
        let primary = keys.iter().find(|key| key.kind == KeyKind::Primary);
        let mut builder = TableSchema::builder(&self.name.table);
        for column in &self.columns {
            let in_primary = primary.is_some_and(|key| key.has(&column.name));
            builder = builder.new_column(column.engine_column(in_primary));
        }
        builder = self.with_keys(builder, &keys);
        let automatic: Vec<_> =
            self.columns.iter().filter(|column| column.auto_increment).collect();
        if let [_, second, ..] = automatic[..] {
            return Err(DefinitionError::SeveralAutoIncrement(second.name.clone()));
        }
        if let Some(column) = automatic.first() {
            builder = builder.auto_increment(&column.name);
        }
        let schema = builder.comment(self.options.comment.clone()).build()?;
        self.check_shard_key(&schema)?;
        Ok(TableDefinition {
            schema,
            reference: self.reference,
            auto_increment: self.options.auto_increment,
        })
    }

    /// Keys, also those behind columns, all secondary ones with names.
    fn all_keys(&self) -> Result<Vec<KeyDefinition>, DefinitionError> {
        let behind = self.columns.iter().filter_map(|column| {
            let kind = match column.key? {
                ColumnKey::Primary => KeyKind::Primary,
                ColumnKey::Unique => KeyKind::Unique,
            };
            Some(KeyDefinition::on(kind, &column.name))
        });
        let mut keys: Vec<_> = behind.chain(self.keys.iter().cloned()).collect();
        if keys.iter().filter(|key| key.kind == KeyKind::Primary).count() > 1 {
            return Err(SchemaError::SeveralPrimaryKeys.into());
        }
        // The order in which MySQL lists them: it matters for the shard key.
        keys.sort_by_key(|key| match key.kind {
            KeyKind::Primary => 0,
            KeyKind::Unique => 1,
            KeyKind::Plain => 2,
        });
        let mut taken: Vec<String> = keys.iter().filter_map(|key| key.name.clone()).collect();
        for key in keys.iter_mut().filter(|key| key.kind != KeyKind::Primary) {
            if key.name.is_none() {
                let name = free_name(key, &taken);
                taken.push(name.clone());
                key.name = Some(name);
            }
        }
        Ok(keys)
    }

    fn with_keys(&self, mut builder: Builder, keys: &[KeyDefinition]) -> Builder {
        let mut spread_by: Option<Vec<&str>> = None;
        for key in keys {
            let columns = key.column_names();
            if key.kind == KeyKind::Primary {
                builder = builder.primary_key(&columns);
            } else {
                builder = builder.new_index(key.engine_index());
            }
            if key.kind != KeyKind::Plain {
                spread_by.get_or_insert(columns);
            }
        }
        if let Some(columns) = &self.shard_key {
            spread_by = Some(columns.iter().map(String::as_str).collect());
        }
        if self.reference {
            return builder.reference();
        }
        match spread_by {
            Some(columns) => builder.shard_key(&columns),
            None => builder,
        }
    }

    fn check_shard_key(&self, schema: &TableSchema) -> Result<(), DefinitionError> {
        if self.reference {
            let given = self.shard_key.as_ref().is_some_and(|columns| !columns.is_empty());
            return if given { Err(DefinitionError::ReferenceWithShardKey) } else { Ok(()) };
        }
        check_unique_keys(schema)
    }
}

/// Whether each unique key contains the shard key, so that a partition can keep it alone.
fn check_unique_keys(schema: &TableSchema) -> Result<(), DefinitionError> {
    let contains = |columns: &[_]| {
        !schema.shard_key.is_empty() && schema.shard_key.iter().all(|id| columns.contains(id))
    };
    let primary = schema.primary.columns();
    if !primary.is_empty() && !contains(primary) {
        return Err(DefinitionError::UniqueWithoutShardKey("PRIMARY".to_owned()));
    }
    match schema.indexes.iter().find(|index| index.unique && !contains(&index.columns)) {
        Some(index) => Err(DefinitionError::UniqueWithoutShardKey(index.name.clone())),
        None => Ok(()),
    }
}

impl TableDefinition {
    /// The table with one more index.
    ///
    /// # Errors
    /// If it cannot be, also because a unique one does not contain the shard key.
    pub fn check_index(&self, key: &KeyDefinition) -> Result<NewIndex, DefinitionError> {
        let index = key.new_index(&self.schema);
        let changed = self.schema.add_index(index.clone())?;
        if !self.reference {
            check_unique_keys(&changed)?;
        }
        Ok(index)
    }
}

/// The first column's name, `_2`, `_3` … behind if it is taken.
fn free_name(key: &KeyDefinition, taken: &[String]) -> String {
    let base = key.columns.first().map_or("key", |column| &column.name);
    let is_free = |name: &String| {
        !name.eq_ignore_ascii_case("PRIMARY")
            && !taken.iter().any(|other| other.eq_ignore_ascii_case(name))
    };
    let numbered = (2_u32..).map(|number| format!("{base}_{number}"));
    let mut names = std::iter::once(base.to_owned()).chain(numbered);
    names.find(is_free).expect("one of endlessly many names is free")
}

impl KeyDefinition {
    /// A key on one column, without a name.
    fn on(kind: KeyKind, column: &str) -> Self {
        let column =
            super::index::KeyColumn { name: column.to_owned(), prefix: None, descending: false };
        Self { kind, name: None, columns: vec![column] }
    }

    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|own| own.name.eq_ignore_ascii_case(column))
    }

    fn column_names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| &column.name[..]).collect()
    }

    fn engine_index(&self) -> NewIndex {
        let name = self.name.as_deref().unwrap_or_default();
        NewIndex::new(name, &self.column_names(), self.kind == KeyKind::Unique)
    }

    /// The index to be added to a table, with a name that is free there.
    #[must_use]
    pub fn new_index(&self, schema: &TableSchema) -> NewIndex {
        let mut index = self.engine_index();
        if self.name.is_none() {
            let taken: Vec<_> = schema.indexes.iter().map(|index| index.name.clone()).collect();
            index.name = free_name(self, &taken);
        }
        index
    }
}

impl ColumnDefinition {
    fn engine_column(&self, in_primary: bool) -> NewColumn {
        let nullable = match self.nullable {
            None => self.may_be_null() && !in_primary,
            Some(nullable) => nullable,
        };
        let default = match &self.default {
            // DEFAULT NULL is what every nullable column has.
            Some(DefaultValue::Literal(Value::Null)) if nullable => None,
            Some(DefaultValue::Literal(value)) => Some(value.clone()),
            Some(DefaultValue::Now) | None => None,
        };
        let notes = ColumnNotes {
            default_now: self.default == Some(DefaultValue::Now),
            on_update_now: self.on_update_now,
            comment: self.comment.clone(),
        };
        NewColumn { name: self.name.clone(), ty: self.ty, nullable, default, notes }
    }

    /// The column to be added to a table.
    #[must_use]
    pub fn new_column(&self) -> NewColumn {
        self.engine_column(false)
    }
}

impl AlterAction {
    /// The engine's change, if this is one that it can do on its own.
    #[must_use]
    pub fn change(&self, schema: &TableSchema) -> Option<resprout_engine::table::Change> {
        use resprout_engine::table::Change;
        Some(match self {
            Self::AddColumn { column, position: Position::Unspecified }
                if column.key.is_none() && !column.auto_increment =>
            {
                Change::AddColumn(column.new_column())
            }
            Self::DropColumn(name) => Change::DropColumn(name.clone()),
            Self::RenameColumn { from, to } => {
                Change::RenameColumn { from: from.clone(), to: to.clone() }
            }
            Self::AddKey(key) if key.kind != KeyKind::Primary => {
                Change::AddIndex(key.new_index(schema))
            }
            Self::DropKey(name) if !name.eq_ignore_ascii_case("PRIMARY") => {
                Change::DropIndex(name.clone())
            }
            Self::Rename(name) if name.database.is_none() => {
                Change::RenameTable(name.table.clone())
            }
            _ => return None,
        })
    }
}
