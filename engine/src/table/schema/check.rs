//! What every schema promises, whether it was built, changed or read from a disk. All code
//! behind relies on these, so that it needs no checks of its own.

use std::collections::BTreeSet;

use super::{
    COLUMNS_MAX, Column, ColumnId, INDEXES_MAX, IndexId, KEY_COLUMNS_MAX, NAME_MAX, PrimaryKey,
    SchemaError, TableSchema, VERSION_MAX,
};
use crate::table::column_type::ColumnType;
use crate::table::key::KEY_MAX;

/// What the primary key is called where keys have names.
pub(crate) const PRIMARY: &str = "PRIMARY";

impl TableSchema {
    /// Checks everything that the rest of the engine relies on.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), SchemaError> {
        check_name(&self.name)?;
        self.check_versions()?;
        self.check_columns()?;
        self.check_keys()?;
        if self.reference && !self.shard_key.is_empty() {
            return Err(self.inconsistent("a reference table with a shard key"));
        }
        self.check_auto_increment()
    }

    fn inconsistent(&self, what: &'static str) -> SchemaError {
        SchemaError::Inconsistent { table: self.name.clone(), what }
    }

    fn check_versions(&self) -> Result<(), SchemaError> {
        if !(1..=VERSION_MAX).contains(&self.version) {
            return Err(self.inconsistent("version out of range"));
        }
        for column in &self.columns {
            let end = column.dropped_in.unwrap_or(self.version + 1);
            let lived = column.added_in >= 1 && column.added_in < end;
            if !lived || column.dropped_in.is_some_and(|dropped| dropped > self.version) {
                return Err(self.inconsistent("column outside of the table's versions"));
            }
        }
        Ok(())
    }

    fn check_columns(&self) -> Result<(), SchemaError> {
        if self.columns.len() > COLUMNS_MAX {
            return Err(SchemaError::TooManyColumns);
        }
        if self.live_columns().next().is_none() {
            return Err(SchemaError::NoColumns);
        }
        let mut names = BTreeSet::new();
        for column in &self.columns {
            check_name(&column.name)?;
            if column.is_live() && !names.insert(column.name.to_ascii_lowercase()) {
                return Err(SchemaError::DuplicateColumn(column.name.clone()));
            }
            check_column(column)?;
            // Rows from before the column need a value for it.
            let unfilled = !column.nullable && column.value_of_older_rows().is_null();
            if column.added_in > 1 && unfilled {
                let (column, ty) = (column.name.clone(), column.ty);
                return Err(SchemaError::NoImplicitDefault { column, ty });
            }
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<(), SchemaError> {
        if self.indexes.len() > INDEXES_MAX {
            return Err(SchemaError::TooManyIndexes);
        }
        if let PrimaryKey::Columns(columns) = &self.primary {
            self.check_key(PRIMARY, columns)?;
            let nullable = columns.iter().map(|id| self.column(*id)).find(|found| found.nullable);
            if let Some(column) = nullable {
                return Err(SchemaError::NullablePrimary(column.name.clone()));
            }
        }
        let mut names = BTreeSet::from([PRIMARY.to_ascii_lowercase()]);
        for index in &self.indexes {
            check_name(&index.name)?;
            self.check_key(&index.name, &index.columns)?;
            if !names.insert(index.name.to_ascii_lowercase()) {
                return Err(SchemaError::DuplicateIndex(index.name.clone()));
            }
        }
        self.check_index_ids()?;
        if self.shard_key.is_empty() {
            return Ok(());
        }
        self.check_key("SHARD KEY", &self.shard_key)
    }

    /// Index ids are all yet to be given, or all different and not the system's.
    fn check_index_ids(&self) -> Result<(), SchemaError> {
        if self.primary_index == IndexId::default() {
            let given = self.index_ids().any(|id| id != IndexId::default());
            return if given { Err(self.inconsistent("index without a table")) } else { Ok(()) };
        }
        let mut ids = BTreeSet::new();
        for id in self.index_ids().filter(|id| *id != IndexId::default()) {
            if id.is_system() || id.0 == u32::MAX || !ids.insert(id) {
                return Err(self.inconsistent("index number used twice or reserved"));
            }
        }
        Ok(())
    }

    fn check_key(&self, index: &str, columns: &[ColumnId]) -> Result<(), SchemaError> {
        let different = columns.iter().collect::<BTreeSet<_>>().len() == columns.len();
        if !different || !(1..=KEY_COLUMNS_MAX).contains(&columns.len()) {
            return Err(SchemaError::KeyColumns(index.to_owned()));
        }
        let mut bytes = size_of::<IndexId>();
        for id in columns {
            let column = self.columns.get(id.position()).filter(|column| column.is_live());
            let column = column.ok_or_else(|| self.inconsistent("key over a missing column"))?;
            if !column.ty.can_be_key() {
                let (column, ty) = (column.name.clone(), column.ty);
                return Err(SchemaError::KeyColumn { column, ty });
            }
            bytes += column.ty.max_bytes() + usize::from(column.nullable);
        }
        if bytes > KEY_MAX {
            let index = index.to_owned();
            return Err(SchemaError::KeyTooLong { index, bytes, limit: KEY_MAX });
        }
        Ok(())
    }

    fn check_auto_increment(&self) -> Result<(), SchemaError> {
        let Some(id) = self.auto_increment else { return Ok(()) };
        let column = self.columns.get(id.position()).filter(|column| column.is_live());
        let column = column.ok_or_else(|| self.inconsistent("auto column is missing"))?;
        if !matches!(column.ty, ColumnType::Int { .. }) || column.default.is_some() {
            return Err(SchemaError::AutoIncrementType(column.name.clone()));
        }
        let mut keys = self.indexes.iter().map(|index| &index.columns[..]);
        let leads = |columns: &[ColumnId]| columns.first() == Some(&id);
        if !leads(self.primary.columns()) && !keys.any(leads) {
            return Err(SchemaError::AutoIncrement(column.name.clone()));
        }
        Ok(())
    }
}

fn check_column(column: &Column) -> Result<(), SchemaError> {
    let bad_default = |source| {
        let column = column.name.clone();
        Err(SchemaError::Default { column, source })
    };
    if !column.ty.is_valid() {
        let source = crate::table::TypeError::Arguments(column.name.clone());
        return Err(SchemaError::Type { column: column.name.clone(), source });
    }
    let Some(default) = &column.default else { return Ok(()) };
    if matches!(column.ty, ColumnType::Text(_) | ColumnType::Blob(_) | ColumnType::Json)
        && !default.is_null()
    {
        return bad_default(None);
    }
    if default.is_null() && !column.nullable {
        return bad_default(Some(crate::table::ValueError::Null));
    }
    // Only exact values: coercion happens where a default is given, not where it is checked.
    if column.ty.fits(&default.as_ref()) {
        return Ok(());
    }
    let (ty, value) = (column.ty, String::from("default"));
    bad_default(Some(crate::table::ValueError::Incorrect { ty, value }))
}

/// Checks the name of a table, column or index.
pub(crate) fn check_name(name: &str) -> Result<(), SchemaError> {
    if name.chars().count() > NAME_MAX {
        return Err(SchemaError::NameTooLong(name.to_owned()));
    }
    if name.is_empty() || name.ends_with(' ') || name.contains('\0') {
        return Err(SchemaError::Name(name.to_owned()));
    }
    Ok(())
}
