//! Putting a new table together, column by column.

use super::alter::{NewColumn, NewIndex};
use super::{ColumnId, Index, IndexId, PrimaryKey, SchemaError, TableId, TableSchema};
use crate::table::value::Value;

/// A table in the making: collects what is asked for, and [`build`](Self::build) checks it all.
///
/// ```
/// use resprout_engine::table::TableSchema;
///
/// let schema = TableSchema::builder("users")
///     .column("id", "bigint")
///     .column("name", "varchar(50)").nullable(true)
///     .column("visits", "int unsigned").default(0_u64)
///     .primary_key(&["id"])
///     .index("by_name", &["name"])
///     .auto_increment("id")
///     .build()?;
/// assert_eq!(schema.columns.len(), 3);
/// # Ok::<(), resprout_engine::table::SchemaError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    columns: Vec<NewColumn>,
    primary: Option<Vec<String>>,
    indexes: Vec<NewIndex>,
    shard_key: Option<Vec<String>>,
    auto_increment: Option<String>,
    comment: Option<String>,
    reference: bool,
    /// The first thing asked for that cannot be; said by `build`.
    error: Option<SchemaError>,
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl Builder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            columns: Vec::new(),
            primary: None,
            indexes: Vec::new(),
            shard_key: None,
            auto_increment: None,
            comment: None,
            reference: false,
            error: None,
        }
    }

    fn fail(&mut self, error: SchemaError) {
        self.error.get_or_insert(error);
    }

    /// Adds a column, NOT NULL and without default. The type is spelled as in MySQL.
    #[must_use]
    pub fn column(mut self, name: &str, ty: &str) -> Self {
        match NewColumn::parse(name, ty) {
            Ok(column) => self.columns.push(column),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Adds a column that is already described.
    #[must_use]
    pub fn new_column(mut self, column: NewColumn) -> Self {
        self.columns.push(column);
        self
    }

    /// Says whether the column added last may be NULL.
    #[must_use]
    pub fn nullable(mut self, nullable: bool) -> Self {
        if let Some(column) = self.columns.last_mut() {
            column.nullable = nullable;
        }
        self
    }

    /// Sets the default of the column added last.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        if let Some(column) = self.columns.last_mut() {
            column.default = Some(value.into());
        }
        self
    }

    /// Sets the primary key. A table without one gets a hidden key.
    #[must_use]
    pub fn primary_key(mut self, columns: &[&str]) -> Self {
        if self.primary.replace(owned(columns)).is_some() {
            self.fail(SchemaError::SeveralPrimaryKeys);
        }
        self
    }

    /// Adds a plain index.
    #[must_use]
    pub fn index(self, name: &str, columns: &[&str]) -> Self {
        self.new_index(NewIndex::new(name, columns, false))
    }

    /// Adds a unique index.
    #[must_use]
    pub fn unique(self, name: &str, columns: &[&str]) -> Self {
        self.new_index(NewIndex::new(name, columns, true))
    }

    /// Adds an index that is already described.
    #[must_use]
    pub fn new_index(mut self, index: NewIndex) -> Self {
        self.indexes.push(index);
        self
    }

    /// Sets the shard key. Without, it is the primary key.
    #[must_use]
    pub fn shard_key(mut self, columns: &[&str]) -> Self {
        self.shard_key = Some(owned(columns));
        self
    }

    /// Says which column gets fresh numbers.
    #[must_use]
    pub fn auto_increment(mut self, column: &str) -> Self {
        if self.auto_increment.replace(column.to_owned()).is_some() {
            self.fail(SchemaError::AutoIncrement(column.to_owned()));
        }
        self
    }

    /// Sets what people are told of the table.
    #[must_use]
    pub fn comment(mut self, comment: Option<String>) -> Self {
        self.comment = comment;
        self
    }

    /// Makes it a reference table, which has no shard key.
    #[must_use]
    pub fn reference(mut self) -> Self {
        (self.reference, self.shard_key) = (true, Some(Vec::new()));
        self
    }

    /// The table, checked. Its numbers are given when a [`Catalog`](crate::table::Catalog) takes
    /// it in.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn build(self) -> Result<TableSchema, SchemaError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let columns = self.columns.into_iter().map(|column| column.at_version(1));
        let mut schema = TableSchema {
            id: TableId::default(),
            name: self.name,
            version: 1,
            columns: columns.collect::<Result<_, _>>()?,
            primary: PrimaryKey::Hidden,
            primary_index: IndexId::default(),
            indexes: Vec::new(),
            shard_key: Vec::new(),
            auto_increment: None,
            comment: self.comment,
            reference: self.reference,
        };
        if let Some(primary) = &self.primary {
            schema.primary = PrimaryKey::Columns(schema.resolve("PRIMARY", primary)?);
        }
        for NewIndex { name, columns, unique } in self.indexes {
            let columns = schema.resolve(&name, &columns)?;
            schema.indexes.push(Index { id: IndexId::default(), name, columns, unique });
        }
        schema.shard_key = match &self.shard_key {
            Some(names) => schema.resolve("SHARD KEY", names)?,
            None => schema.primary.columns().to_vec(),
        };
        if let Some(name) = self.auto_increment {
            schema.auto_increment = schema.resolve("AUTO_INCREMENT", &[name])?.first().copied();
        }
        schema.validate()?;
        Ok(schema)
    }
}

impl TableSchema {
    /// The columns of these names; `place` says in errors where they were named.
    pub(super) fn resolve(
        &self,
        place: &str,
        names: &[String],
    ) -> Result<Vec<ColumnId>, SchemaError> {
        let resolve = |name: &String| {
            let (column, place) = (name.clone(), place.to_owned());
            self.column_named(name).ok_or(SchemaError::UnknownColumn { column, place })
        };
        names.iter().map(resolve).collect()
    }
}
