//! All tables of a partition. A catalog is never changed: creating, changing or dropping a table
//! makes a new one together with the ops that bring the tree to it, so that tables, rows and log
//! cannot disagree (catalogue row R21).
//!
//! Numbers of tables and indexes are never reused, because what remains of a dropped index,
//! such as in an old snapshot or in a log that is replayed, must never be taken for another's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::{self, KeyRange};
use super::runtime::Table;
use super::schema::{Change, IndexId, SchemaDamage, SchemaError, TableId, TableSchema};
use super::system::{self, Property};
use super::writes::Write;
use crate::record::OpKind;

/// The number of the first table.
const FIRST_TABLE: TableId = TableId(1);

/// The tables of a partition. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog(Arc<Tables>);

#[derive(Clone, Debug)]
struct Tables {
    by_id: BTreeMap<TableId, Arc<Table>>,
    by_name: BTreeMap<String, TableId>,
    next_table: TableId,
    next_index: IndexId,
}

/// A catalog after a change, and what the change does to the tree.
#[derive(Clone, Debug)]
pub struct CatalogChange {
    /// The catalog from now on.
    pub catalog: Catalog,
    /// The ops, to be logged as one [`Schema`](crate::record::RecordKind::Schema) record,
    /// together with the entries of new indexes.
    pub ops: Vec<Write>,
    /// The table as it is now; `None` if it was dropped.
    pub table: Option<Arc<Table>>,
    /// Indexes that are to be filled from the table's rows, see
    /// [`index_entry`](super::index_entry).
    pub new_indexes: Vec<IndexId>,
}

/// The numbers that come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextNumbers {
    pub(crate) table: TableId,
    index: IndexId,
}

impl NextNumbers {
    /// What is free in both of two catalogs.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { table: self.table.max(other.table), index: self.index.max(other.index) }
    }

    /// Numbers a new table and its indexes.
    ///
    /// # Errors
    /// If no number is left.
    pub fn number_table(mut self, schema: &mut TableSchema) -> Result<(), SchemaError> {
        schema.id = self.table;
        schema.primary_index = self.take_index()?;
        for index in &mut schema.indexes {
            index.id = self.take_index()?;
        }
        Ok(())
    }

    /// Numbers those indexes of a table that have no number yet.
    ///
    /// # Errors
    /// If no number is left.
    pub fn number_new_indexes(mut self, schema: &mut TableSchema) -> Result<(), SchemaError> {
        for index in schema.indexes.iter_mut().filter(|index| index.id == IndexId::default()) {
            index.id = self.take_index()?;
        }
        Ok(())
    }

    fn take_index(&mut self) -> Result<IndexId, SchemaError> {
        let taken = self.index;
        self.index = IndexId(taken.0.checked_add(1).ok_or(SchemaError::NoIdLeft)?);
        Ok(taken)
    }
}

/// Why the rows of a catalog are damaged.
#[derive(Debug, thiserror::Error)]
pub enum CatalogDamage {
    /// A row under the wrong key.
    #[error("catalog row under unknown key {0:02x?}")]
    Key(Vec<u8>),
    /// A schema that cannot be read.
    #[error("catalog row of table {table}: {source}")]
    Schema {
        /// The table's number, from the key.
        table: TableId,
        /// What is wrong.
        source: SchemaDamage,
    },
    /// A property that is no number.
    #[error("property {0:?} of the partition is no number")]
    Property(Property),
    /// Tables that cannot be together.
    #[error("catalog row of table {table}: {what}")]
    Conflict {
        /// The table's number.
        table: TableId,
        /// What it conflicts with.
        what: &'static str,
    },
}

impl Default for Catalog {
    fn default() -> Self {
        Self::empty()
    }
}

impl Catalog {
    /// The catalog of a partition without tables.
    #[must_use]
    pub fn empty() -> Self {
        Self(Arc::new(Tables {
            by_id: BTreeMap::new(),
            by_name: BTreeMap::new(),
            next_table: FIRST_TABLE,
            next_index: IndexId::FIRST_OF_TABLES,
        }))
    }

    /// The ranges of the tree that hold a catalog: what [`from_rows`](Self::from_rows) is to be
    /// given, in any order.
    #[must_use]
    pub fn ranges() -> [KeyRange; 2] {
        [KeyRange::of_index(IndexId::CATALOG), KeyRange::of_index(IndexId::PROPERTIES)]
    }

    /// Reads the catalog from the rows of the tree.
    ///
    /// # Errors
    /// If a row is damaged or tables contradict each other.
    pub fn from_rows<'r>(
        rows: impl IntoIterator<Item = (&'r [u8], &'r [u8])>,
    ) -> Result<Self, CatalogDamage> {
        let mut tables = Tables::clone(&Self::empty().0);
        for (key, value) in rows {
            match key::index_of(key) {
                Some((IndexId::CATALOG, id)) => {
                    let id = id.try_into().map_err(|_| CatalogDamage::Key(key.to_vec()))?;
                    tables.read_table(TableId(u32::from_be_bytes(id)), value)?;
                }
                Some((IndexId::PROPERTIES, _)) => tables.read_property(key, value)?,
                _ => return Err(CatalogDamage::Key(key.to_vec())),
            }
        }
        tables.check_ids()?;
        Ok(Self(Arc::new(tables)))
    }

    /// The table of this name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.0.by_id.get(self.0.by_name.get(name)?)
    }

    /// The table of this number.
    #[must_use]
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.0.by_id.get(&id)
    }

    /// All tables, by number.
    pub fn tables(&self) -> impl ExactSizeIterator<Item = &Arc<Table>> {
        self.0.by_id.values()
    }

    /// The numbers that the next table and its indexes get.
    #[must_use]
    pub fn next_numbers(&self) -> NextNumbers {
        NextNumbers { table: self.0.next_table, index: self.0.next_index }
    }

    /// Takes in a new table and numbers it and its indexes.
    ///
    /// # Errors
    /// If a table of this name exists, or no number is left.
    pub fn create(&self, mut schema: TableSchema) -> Result<CatalogChange, SchemaError> {
        self.next_numbers().number_table(&mut schema)?;
        self.adopt(schema)
    }

    /// Changes a table.
    ///
    /// # Errors
    /// If there is no such table or the change is not possible.
    pub fn alter(&self, name: &str, change: Change) -> Result<CatalogChange, SchemaError> {
        let mut schema = self.known(name)?.schema().changed(change)?;
        self.next_numbers().number_new_indexes(&mut schema)?;
        self.adopt(schema)
    }

    /// Makes a table what it is elsewhere, numbers and all: creates it, or changes what is there
    /// under its number.
    ///
    /// # Errors
    /// If another table has its name, or its rows are in another index.
    pub fn adopt(&self, schema: TableSchema) -> Result<CatalogChange, SchemaError> {
        let old = self.table_by_id(schema.id);
        if self.0.by_name.get(&schema.name).is_some_and(|id| *id != schema.id) {
            return Err(SchemaError::TableExists(schema.name));
        }
        if old.is_some_and(|old| old.schema().primary_index != schema.primary_index) {
            return Err(SchemaError::TableExists(schema.name));
        }
        let mut tables = Tables::clone(&self.0);
        tables.pass(&schema)?;
        let kept: Vec<_> = schema.index_ids().collect();
        let known: Vec<_> = old.into_iter().flat_map(|old| old.schema().index_ids()).collect();
        let mut ops = Vec::new();
        ops.extend(self.0.property_op(Property::NextTable, &tables));
        ops.extend(self.0.property_op(Property::NextIndex, &tables));
        let write = if old.is_some() { Write::update } else { Write::insert };
        ops.push(write(system::catalog_key(schema.id), schema.to_bytes()?));
        ops.extend(known.iter().filter(|id| !kept.contains(id)).copied().map(delete_index));
        let mut new_indexes = Vec::new();
        if let Some(old) = old {
            tables.by_name.remove(old.name());
            new_indexes.extend(kept.iter().filter(|id| !known.contains(id)));
        }
        let table = tables.put(schema)?;
        Ok(CatalogChange { catalog: Self(Arc::new(tables)), ops, table: Some(table), new_indexes })
    }

    /// Drops a table with all its rows.
    ///
    /// # Errors
    /// If there is no such table.
    pub fn drop_table(&self, name: &str) -> Result<CatalogChange, SchemaError> {
        let old = self.known(name)?;
        let mut tables = Tables::clone(&self.0);
        tables.by_name.remove(name);
        tables.by_id.remove(&old.id());
        let mut ops = vec![Write::delete(system::catalog_key(old.id()))];
        let mut sequences = Vec::new();
        key::start(IndexId::AUTO_INCREMENT, &mut sequences);
        sequences.extend_from_slice(&old.id().0.to_be_bytes());
        ops.push(delete_range(KeyRange::with_prefix(sequences)));
        ops.extend(old.schema().index_ids().map(delete_index));
        let catalog = Self(Arc::new(tables));
        Ok(CatalogChange { catalog, ops, table: None, new_indexes: Vec::new() })
    }

    fn known(&self, name: &str) -> Result<&Arc<Table>, SchemaError> {
        self.table(name).ok_or_else(|| SchemaError::UnknownTable(name.to_owned()))
    }
}

fn delete_index(index: IndexId) -> Write {
    delete_range(KeyRange::of_index(index))
}

fn delete_range(range: KeyRange) -> Write {
    let to = range.to.expect("index and table numbers end before all bits are set");
    Write { kind: OpKind::DeleteRange, key: range.from, value: to }
}

impl Tables {
    /// The numbers of a table are taken.
    fn pass(&mut self, schema: &TableSchema) -> Result<(), SchemaError> {
        let next = schema.id.0.checked_add(1).ok_or(SchemaError::NoIdLeft)?;
        self.next_table = self.next_table.max(TableId(next));
        for id in schema.index_ids() {
            // The last number stays free, so that every index's range of keys has an end.
            let next = id.0.checked_add(1).ok_or(SchemaError::NoIdLeft)?;
            self.next_index = self.next_index.max(IndexId(next));
        }
        Ok(())
    }

    fn put(&mut self, schema: TableSchema) -> Result<Arc<Table>, SchemaError> {
        let table = Arc::new(Table::new(schema)?);
        self.by_name.insert(table.name().to_owned(), table.id());
        self.by_id.insert(table.id(), Arc::clone(&table));
        Ok(table)
    }

    const fn property(&self, property: Property) -> u32 {
        match property {
            Property::NextTable => self.next_table.0,
            Property::NextIndex => self.next_index.0,
        }
    }

    /// The op that brings a property from here to its value in `next`; none if it is the same.
    fn property_op(&self, property: Property, next: &Self) -> Option<Write> {
        let (old, new) = (self.property(property), next.property(property));
        assert!(old <= new, "numbers are never given back");
        if old == new {
            return None;
        }
        let (key, value) = (system::property_key(property), system::number_to_bytes(new.into()));
        // Its row is written when the first number is taken.
        let first = old == Catalog::empty().0.property(property);
        let write = if first { Write::insert } else { Write::update };
        Some(write(key, value.to_vec()))
    }

    fn read_table(&mut self, table: TableId, value: &[u8]) -> Result<(), CatalogDamage> {
        let conflict = |what| CatalogDamage::Conflict { table, what };
        let schema = TableSchema::from_bytes(value);
        let schema = schema.map_err(|source| CatalogDamage::Schema { table, source })?;
        if schema.id != table {
            return Err(conflict("the schema has another number"));
        }
        if self.by_name.contains_key(&schema.name) || self.by_id.contains_key(&table) {
            return Err(conflict("a second table of this name or number"));
        }
        let source = |error| CatalogDamage::Schema { table, source: SchemaDamage::Schema(error) };
        self.put(schema).map_err(source)?;
        Ok(())
    }

    fn read_property(&mut self, key: &[u8], value: &[u8]) -> Result<(), CatalogDamage> {
        let property = Property::from_key(key);
        let property = property.ok_or_else(|| CatalogDamage::Key(key.to_vec()))?;
        let number = system::number_from_bytes(value);
        let number = number.and_then(|number| u32::try_from(number).ok());
        let number = number.ok_or(CatalogDamage::Property(property))?;
        match property {
            Property::NextTable => self.next_table = TableId(number),
            Property::NextIndex => self.next_index = IndexId(number),
        }
        Ok(())
    }

    /// Every number was given once, by the counters.
    fn check_ids(&self) -> Result<(), CatalogDamage> {
        let mut owners = BTreeMap::new();
        for (table, described) in &self.by_id {
            let conflict = |what| Err(CatalogDamage::Conflict { table: *table, what });
            if *table < FIRST_TABLE || *table >= self.next_table {
                return conflict("a number that was never given");
            }
            for index in described.schema().index_ids() {
                if index.is_system() || index >= self.next_index {
                    return conflict("an index number that was never given");
                }
                if owners.insert(index, *table).is_some() {
                    return conflict("an index that also belongs to another table");
                }
            }
        }
        Ok(())
    }
}
