//! Changes of a table: each makes a new schema from an old one. What happens to the rows and
//! indexes is the [`Catalog`](crate::table::Catalog)'s part.

use super::{Column, ColumnId, ColumnNotes, Index, IndexId, SchemaError, TableSchema, VERSION_MAX};
use crate::table::coerce::ValueError;
use crate::table::column_type::ColumnType;
use crate::table::value::Value;

/// A column to be added.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// The value of rows for which none is given; it is brought to the column's type.
    pub default: Option<Value>,
    /// What is kept for those who write rows.
    pub notes: ColumnNotes,
}

/// An index to be added.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct NewIndex {
    /// Its name.
    pub name: String,
    /// Its columns, in the order of comparison.
    pub columns: Vec<String>,
    /// Whether two rows may not have the same values, NULL apart.
    pub unique: bool,
}

/// A change of a table.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Change {
    /// Adds a column. Rows that exist answer its default.
    AddColumn(NewColumn),
    /// Drops a column.
    DropColumn(String),
    /// Renames a column.
    RenameColumn {
        /// Its present name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// Adds an index, which is then to be filled.
    AddIndex(NewIndex),
    /// Drops an index with all its entries.
    DropIndex(String),
    /// Renames the table.
    RenameTable(String),
}

impl NewColumn {
    /// A column that is NOT NULL and has no default. The type is spelled as in MySQL.
    ///
    /// # Errors
    /// If there is no such type.
    pub fn parse(name: &str, ty: &str) -> Result<Self, SchemaError> {
        let column = || name.to_owned();
        let ty = ColumnType::parse(ty)
            .map_err(|source| SchemaError::Type { column: column(), source })?;
        Ok(Self {
            name: column(),
            ty,
            nullable: false,
            default: None,
            notes: ColumnNotes::default(),
        })
    }

    /// The column as part of a table from `version` on.
    pub(super) fn at_version(self, version: u16) -> Result<Column, SchemaError> {
        let Self { name, ty, nullable, default, notes } = self;
        let default = match default.map(|value| ty.coerce(value)).transpose() {
            Ok(Some(Value::Null)) if !nullable => Err(ValueError::Null),
            other => other,
        };
        let default = default.map_err(|source| {
            let column = name.clone();
            SchemaError::Default { column, source: Some(source) }
        })?;
        Ok(Column { name, ty, nullable, default, added_in: version, dropped_in: None, notes })
    }
}

impl NewIndex {
    /// An index over these columns.
    #[must_use]
    pub fn new(name: &str, columns: &[&str], unique: bool) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { name: name.to_owned(), columns, unique }
    }
}

impl TableSchema {
    /// The table after any one change.
    ///
    /// # Errors
    /// What is wrong with the change. The table stays as it is.
    pub fn changed(&self, change: Change) -> Result<Self, SchemaError> {
        match change {
            Change::AddColumn(column) => self.add_column(column),
            Change::DropColumn(name) => self.drop_column(&name),
            Change::RenameColumn { from, to } => self.rename_column(&from, &to),
            Change::AddIndex(index) => self.add_index(index),
            Change::DropIndex(name) => self.drop_index(&name),
            Change::RenameTable(name) => self.rename(&name),
        }
    }

    /// The table with one more column, at the end.
    ///
    /// # Errors
    /// If the name is taken, the default does not fit, or the rows that exist could have no
    /// value in it.
    pub fn add_column(&self, column: NewColumn) -> Result<Self, SchemaError> {
        let mut changed = self.next_version()?;
        changed.columns.push(column.at_version(changed.version)?);
        changed.checked()
    }

    /// The table without a column.
    ///
    /// # Errors
    /// If there is no such column, it is part of a key, or it is the last one.
    pub fn drop_column(&self, name: &str) -> Result<Self, SchemaError> {
        let id = self.column_named(name);
        let id = id.ok_or_else(|| SchemaError::UnknownIndex(name.to_owned()))?;
        if let Some(index) = self.key_with(id) {
            let (column, index) = (self.column(id).name.clone(), index.to_owned());
            return Err(SchemaError::ColumnInUse { column, index });
        }
        let mut changed = self.next_version()?;
        changed.columns[id.position()].dropped_in = Some(changed.version);
        changed.checked()
    }

    /// The table with a column under a new name.
    ///
    /// # Errors
    /// If there is no such column or the new name is taken.
    pub fn rename_column(&self, from: &str, to: &str) -> Result<Self, SchemaError> {
        let id = self.column_named(from).ok_or_else(|| SchemaError::UnknownColumn {
            column: from.to_owned(),
            place: self.name.clone(),
        })?;
        let mut changed = self.clone();
        to.clone_into(&mut changed.columns[id.position()].name);
        changed.checked()
    }

    /// The table with one more index, which has no number yet.
    ///
    /// # Errors
    /// If the name is taken or its columns cannot be a key.
    pub fn add_index(&self, index: NewIndex) -> Result<Self, SchemaError> {
        let NewIndex { name, columns, unique } = index;
        let columns = self.resolve(&name, &columns)?;
        let mut changed = self.clone();
        changed.indexes.push(Index { id: IndexId::default(), name, columns, unique });
        changed.checked()
    }

    /// The table without an index.
    ///
    /// # Errors
    /// If there is no such index, or the auto-increment column needs it.
    pub fn drop_index(&self, name: &str) -> Result<Self, SchemaError> {
        if self.index_named(name).is_none() {
            return Err(SchemaError::UnknownIndex(name.to_owned()));
        }
        let mut changed = self.clone();
        changed.indexes.retain(|index| !index.name.eq_ignore_ascii_case(name));
        changed.checked()
    }

    /// The table under a new name.
    ///
    /// # Errors
    /// If that is no possible name.
    pub fn rename(&self, name: &str) -> Result<Self, SchemaError> {
        Self { name: name.to_owned(), ..self.clone() }.checked()
    }

    fn next_version(&self) -> Result<Self, SchemaError> {
        if self.version == VERSION_MAX {
            return Err(SchemaError::TooManyVersions(self.name.clone()));
        }
        Ok(Self { version: self.version + 1, ..self.clone() })
    }

    fn checked(self) -> Result<Self, SchemaError> {
        self.validate()?;
        Ok(self)
    }

    /// The name of a key that the column is part of.
    fn key_with(&self, column: ColumnId) -> Option<&str> {
        if self.is_primary(column) {
            return Some("PRIMARY");
        }
        if self.shard_key.contains(&column) {
            return Some("SHARD KEY");
        }
        let index = self.indexes.iter().find(|index| index.columns.contains(&column));
        index.map(|index| &index.name[..])
    }
}
