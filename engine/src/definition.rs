//! Tables of a database: made, changed and dropped in every partition, each of which logs the change
//! for itself.
//!
//! The first partition says what tables there are. It is the last to get what others would miss in
//! it, a table or an index, and the first in all else; whatever a crash or an error cuts off, making
//! the others like the first ([`Database::align`]) ends it, forwards or backwards:
//!
//! ```text
//!  CREATE, ADD INDEX:  n … 2, 1 ─► 0     cut off: the others lose it
//!  all else:           0 ─► 1, 2 … n     cut off: the others follow
//! ```
//!
//! Tables and indexes have the same numbers everywhere, so that one description fits all
//! partitions: new ones get numbers that are free in each.

use std::sync::Arc;

use crate::database::Database;
use crate::error::Error;
use crate::partition::Partition;
use crate::table::{Catalog, Change, NextNumbers, SchemaError, Table, TableSchema};

/// A partition whose tables are changed with those of the others of its database.
pub trait TableHome {
    /// Its tables as they are now.
    ///
    /// # Errors
    /// If it does not serve.
    fn tables_now(&self) -> Result<Catalog, Error>;

    /// See [`Partition::adopt_table`].
    ///
    /// # Errors
    /// As there.
    fn adopt(&self, schema: TableSchema) -> Result<(), Error>;

    /// See [`Partition::replace_table`].
    ///
    /// # Errors
    /// As there.
    fn replace(&self, name: &str, with: TableSchema) -> Result<(), Error>;

    /// See [`Partition::drop_table`].
    ///
    /// # Errors
    /// As there.
    fn remove(&self, name: &str) -> Result<(), Error>;
}

impl TableHome for Partition {
    fn tables_now(&self) -> Result<Catalog, Error> {
        self.catalog()
    }

    fn adopt(&self, schema: TableSchema) -> Result<(), Error> {
        self.adopt_table(schema).map(drop)
    }

    fn replace(&self, name: &str, with: TableSchema) -> Result<(), Error> {
        self.replace_table(name, with)
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        self.drop_table(name)
    }
}

impl Database {
    /// Creates a table. One that is there already and has the same columns and primary key is left
    /// as it is, so that a repeat after a failure is fine.
    ///
    /// # Errors
    /// [`Error::Schema`] if there is another of that name, and of any partition that refuses: then
    /// it is nowhere.
    pub fn create_table(&self, schema: &TableSchema) -> Result<(), Error> {
        self.tables(|tables| tables.create(schema))
    }

    /// Drops a table with all its rows.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], and of any partition that fails: the next change of a table, or the
    /// next start, ends it there.
    pub fn drop_table(&self, name: &str) -> Result<(), Error> {
        self.tables(|tables| tables.drop(name))
    }

    /// Puts an empty table in the place of one.
    ///
    /// # Errors
    /// As [`Database::drop_table`].
    pub fn truncate_table(&self, name: &str) -> Result<(), Error> {
        self.tables(|tables| tables.truncate(name))
    }

    /// Changes a table.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`]; [`Error::Schema`] if the change is not possible; [`Error::Duplicate`]
    /// for rows that a new unique index does not allow, which is then nowhere; and of any partition
    /// that fails, as [`Database::drop_table`].
    pub fn alter_table(&self, name: &str, change: Change) -> Result<(), Error> {
        self.tables(|tables| tables.alter(name, change))
    }

    /// Ends changes of tables that a crash cut off: the partitions get the tables of the first. For a
    /// start, when all serve. Gives how many tables were changed, in all partitions together.
    ///
    /// # Errors
    /// Of the first partition that fails; calling it again goes on.
    pub fn align(&self) -> Result<usize, Error> {
        self.tables(|tables| tables.align())
    }

    fn tables<T>(
        &self,
        change: impl FnOnce(&TablesOf<'_, Partition>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _one_at_a_time = self.definitions();
        change(&TablesOf { database: self.name(), partitions: self.partitions() })
    }
}

/// The tables of a database with these partitions, all of them and in the order of their ordinals. One change at a
/// time: who calls sees to that.
#[derive(Debug)]
pub struct TablesOf<'a, P> {
    /// Its name, for people.
    pub database: &'a str,
    /// At least one.
    pub partitions: &'a [P],
}

impl<P: TableHome> TablesOf<'_, P> {
    /// See [`Database::create_table`].
    ///
    /// # Errors
    /// As there.
    pub fn create(&self, schema: &TableSchema) -> Result<(), Error> {
        self.align()?;
        if let Some(there) = self.first().tables_now()?.table(&schema.name) {
            let now = there.schema();
            if now.columns == schema.columns && now.primary == schema.primary {
                return Ok(());
            }
            return Err(SchemaError::TableExists(schema.name.clone()).into());
        }
        let mut schema = schema.clone();
        self.next_numbers()?.number_table(&mut schema)?;
        self.first_last(|partition| partition.adopt(schema.clone()))
    }

    /// See [`Database::drop_table`].
    ///
    /// # Errors
    /// As there.
    pub fn drop(&self, name: &str) -> Result<(), Error> {
        self.align()?;
        self.first_first(|partition| partition.remove(name))
    }

    /// See [`Database::truncate_table`].
    ///
    /// # Errors
    /// As there.
    pub fn truncate(&self, name: &str) -> Result<(), Error> {
        self.align()?;
        let mut schema = self.schema(name)?;
        self.next_numbers()?.number_table(&mut schema)?;
        self.first_first(|partition| partition.replace(name, schema.clone()))
    }

    /// See [`Database::alter_table`].
    ///
    /// # Errors
    /// As there.
    pub fn alter(&self, name: &str, change: Change) -> Result<(), Error> {
        self.align()?;
        let adds_index = matches!(change, Change::AddIndex(_));
        let mut schema = self.schema(name)?.changed(change)?;
        self.next_numbers()?.number_new_indexes(&mut schema)?;
        let adopt = |partition: &P| partition.adopt(schema.clone());
        if adds_index { self.first_last(adopt) } else { self.first_first(adopt) }
    }

    /// See [`Database::align`].
    ///
    /// # Errors
    /// As there.
    pub fn align(&self) -> Result<usize, Error> {
        let right = self.first().tables_now()?;
        self.partitions[1..].iter().map(|partition| follow(partition, &right)).sum()
    }

    fn first(&self) -> &P {
        &self.partitions[0]
    }

    fn schema(&self, name: &str) -> Result<TableSchema, Error> {
        let tables = self.first().tables_now()?;
        let table = tables.table(name);
        let table = table.ok_or_else(|| Error::NoSuchTable { table: name.to_owned() })?;
        Ok(TableSchema::clone(table.schema()))
    }

    /// Numbers that are free everywhere.
    fn next_numbers(&self) -> Result<NextNumbers, Error> {
        let mut next = self.first().tables_now()?.next_numbers();
        for partition in &self.partitions[1..] {
            next = next.max(partition.tables_now()?.next_numbers());
        }
        Ok(next)
    }

    fn first_first(&self, change: impl Fn(&P) -> Result<(), Error>) -> Result<(), Error> {
        self.partitions.iter().try_for_each(change)
    }

    /// If one fails, the others go back.
    fn first_last(&self, change: impl Fn(&P) -> Result<(), Error>) -> Result<(), Error> {
        let done = self.partitions.iter().rev().try_for_each(change);
        if done.is_err()
            && let Err(error) = self.align()
        {
            let database = self.database;
            tracing::warn!(%error, database, "a change of a table is taken back later");
        }
        done
    }
}

/// Gives a partition the tables of another one of its database, numbers and all, and no others; how many changed.
///
/// # Errors
/// As [`TableHome::adopt`].
pub fn copy_tables(from: &impl TableHome, to: &impl TableHome) -> Result<usize, Error> {
    follow(to, &from.tables_now()?)
}

/// Gives a partition the tables of another; how many changed.
fn follow(partition: &impl TableHome, right: &Catalog) -> Result<usize, Error> {
    let now = partition.tables_now()?;
    let gone: Vec<&Arc<Table>> =
        now.tables().filter(|table| right.table_by_id(table.id()).is_none()).collect();
    for table in &gone {
        partition.remove(table.name())?;
    }
    let differs = |table: &&Arc<Table>| {
        now.table_by_id(table.id()).is_none_or(|there| there.schema() != table.schema())
    };
    let other: Vec<&Arc<Table>> = right.tables().filter(differs).collect();
    for table in &other {
        partition.adopt(TableSchema::clone(table.schema()))?;
    }
    Ok(gone.len() + other.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{NewColumn, NewIndex, Value};
    use crate::{DatabaseOptions, Engine, Options};

    const PARTITIONS: u32 = 4;

    fn numbers(database: &Database) -> Result<NextNumbers, Error> {
        database.tables(|tables| tables.next_numbers())
    }

    fn engine(dir: &std::path::Path) -> Engine {
        Engine::open(dir, Options { maximum_memory: 64 << 20, ..Options::default() }).unwrap()
    }

    fn schema(name: &str) -> TableSchema {
        let columns = TableSchema::builder(name).column("id", "int").column("v", "int");
        columns.primary_key(&["id"]).build().unwrap()
    }

    fn fill(database: &Database, table: &str) {
        for id in 0..40 {
            let row = [Value::Int(id), Value::Int(id % 20)];
            let table = database.partitions()[0].table(table).unwrap();
            let home = database.partition_of(&table, &row[..1]).unwrap();
            let mut txn = home.begin().unwrap();
            txn.insert(&table, &row).unwrap();
            txn.commit().unwrap();
        }
    }

    /// Changes of tables as they are made partition by partition.
    fn step(database: &Database, change: &str) -> Box<dyn Fn(&Partition)> {
        let adopt = |schema: TableSchema| -> Box<dyn Fn(&Partition)> {
            Box::new(move |partition| drop(partition.adopt_table(schema.clone()).unwrap()))
        };
        let now = || TableSchema::clone(database.partitions()[0].table("t").unwrap().schema());
        let altered = |change: Change| {
            let mut schema = now().changed(change).unwrap();
            numbers(database).unwrap().number_new_indexes(&mut schema).unwrap();
            adopt(schema)
        };
        let numbered = |mut schema: TableSchema| {
            numbers(database).unwrap().number_table(&mut schema).unwrap();
            schema
        };
        match change {
            "create" => adopt(numbered(schema("u"))),
            "add index" => altered(Change::AddIndex(NewIndex::new("by_v", &["v"], false))),
            "add column" => altered(Change::AddColumn(NewColumn {
                nullable: true,
                ..NewColumn::parse("w", "int").unwrap()
            })),
            "drop column" => altered(Change::DropColumn("v".into())),
            "rename" => altered(Change::RenameTable("renamed".into())),
            "drop" => Box::new(|partition: &Partition| partition.drop_table("t").unwrap()),
            "truncate" => {
                let schema = numbered(now());
                Box::new(move |partition| partition.replace_table("t", schema.clone()).unwrap())
            }
            other => panic!("{other}"),
        }
    }

    fn rows(database: &Database, table: &str) -> usize {
        let table = database.partitions()[0].table(table).unwrap();
        let mut rows = 0;
        for partition in database.partitions() {
            let reader = partition.begin().unwrap();
            let found = reader.scan(&table, &table.rows(), |_| {
                rows += 1;
                std::ops::ControlFlow::Continue(())
            });
            found.unwrap();
        }
        rows
    }

    fn check_alike(database: &Database, what: &str) {
        let tables = |partition: &Partition| -> Vec<TableSchema> {
            let catalog = partition.catalog().unwrap();
            catalog.tables().map(|table| TableSchema::clone(table.schema())).collect()
        };
        for partition in database.partitions() {
            assert_eq!(tables(partition), tables(&database.partitions()[0]), "{what}");
        }
    }

    /// Promise: a change of tables that is cut off between any two partitions is ended by the next
    /// start, and tables that are made afterwards work in all partitions.
    #[test]
    fn a_change_cut_off_anywhere_is_ended() {
        let names =
            ["create", "add index", "add column", "drop column", "rename", "drop", "truncate"];
        for name in names {
            let backwards = ["create", "add index"].contains(&name);
            for cut in 1..PARTITIONS as usize {
                let what = format!("{name} after {cut}");
                let dir = tempfile::tempdir().unwrap();
                let first_run = engine(dir.path());
                let options = DatabaseOptions { partitions: PARTITIONS, ..Default::default() };
                let database = first_run.create_database("d", options).unwrap();
                database.create_table(&schema("t")).unwrap();
                fill(&database, "t");
                let step = step(&database, name);
                let mut order: Vec<&Partition> = database.partitions().iter().collect();
                if backwards {
                    order.reverse();
                }
                order.into_iter().take(cut).for_each(step);
                // No close: as after a kill.
                drop((database, first_run));
                let engine = engine(dir.path());
                let database = engine.database("d").unwrap();
                assert!(database.align().unwrap() > 0, "{what}");
                assert_eq!(database.align().unwrap(), 0, "{what}");
                check_alike(&database, &what);
                let kept = match name {
                    "drop" => None,
                    "truncate" => Some(("t", 0)),
                    "rename" => Some(("renamed", 40)),
                    _ => Some(("t", 40)),
                };
                if let Some((table, expected)) = kept {
                    assert_eq!(rows(&database, table), expected, "{what}");
                }
                let next =
                    |partition: &Partition| partition.catalog().unwrap().next_numbers().table;
                let free = database.partitions().iter().map(next).max();
                database.create_table(&schema("u")).unwrap();
                let made = database.partitions()[0].table("u").unwrap();
                assert_eq!(Some(made.id()), free, "{what}: numbers are used once");
                check_alike(&database, &what);
                fill(&database, "u");
                assert_eq!(rows(&database, "u"), 40, "{what}");
                engine.close().unwrap();
            }
        }
    }

    /// Promise: a unique index that some partition cannot have is nowhere, and leaves nothing behind.
    #[test]
    fn a_refused_index_is_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path());
        let options = DatabaseOptions { partitions: PARTITIONS, ..Default::default() };
        let database = engine.create_database("d", options).unwrap();
        database.create_table(&schema("t")).unwrap();
        let table = database.partitions()[0].table("t").unwrap();
        // Equal values in the first partition, which is asked last, and in no other.
        let mut at_home = (0..).map(Value::Int).filter(|id| {
            database.partition_of(&table, std::slice::from_ref(id)).unwrap().ordinal() == 0
        });
        for id in at_home.by_ref().take(2) {
            let mut txn = database.partitions()[0].begin().unwrap();
            txn.insert(&table, &[id, Value::Int(7)]).unwrap();
            txn.commit().unwrap();
        }
        let unique = || Change::AddIndex(NewIndex::new("once", &["v"], true));
        let refused = database.alter_table("t", unique()).unwrap_err();
        assert!(matches!(refused, Error::Duplicate(_)), "{refused}");
        check_alike(&database, "after it was refused");
        assert!(
            database.partitions()[0].table("t").unwrap().schema().index_named("once").is_none()
        );
        database.alter_table("t", Change::AddIndex(NewIndex::new("by_v", &["v"], false))).unwrap();
        check_alike(&database, "after another");
        database.create_table(&schema("u")).unwrap();
        fill(&database, "u");
        engine.close().unwrap();
    }
}
