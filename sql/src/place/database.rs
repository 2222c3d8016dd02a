//! A database: its partitions, near or far.

use std::collections::BTreeSet;
use std::sync::Arc;

use resprout_access::{Client, Definition, Place};
use resprout_engine::table::{Catalog, Table, Value};
use resprout_engine::{Durability, Error, TablesOf, copy_tables, shard_of};

use super::directory::Map;
use super::partition::Partition;

/// A database. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Database {
    /// In the engine of this process.
    Near(resprout_engine::Database),
    /// On other nodes, as it was when it was looked up.
    Far(Arc<FarDatabase>),
}

/// A database on other nodes.
#[derive(Debug)]
pub struct FarDatabase {
    name: String,
    number: u32,
    durability: Durability,
    sync_replication: bool,
    /// That of reference tables last.
    partitions: Vec<Partition>,
    /// So many of them have rows that are spread.
    spread: usize,
}

impl FarDatabase {
    fn new(map: &Map, client: &Client) -> Arc<Self> {
        let partition = |(ordinal, home): (u32, &super::Home)| {
            let place = Place { database: map.number, ordinal };
            let address = home.leaf.as_deref().unwrap_or_default();
            Partition::Far(client.partition(address, place, &format!("{}:{ordinal}", map.name)))
        };
        Arc::new(Self {
            name: map.name.clone(),
            number: map.number,
            durability: map.durability,
            sync_replication: map.sync_replication,
            partitions: (0..)
                .zip(map.partitions.iter().chain(&map.reference))
                .map(partition)
                .collect(),
            spread: map.partitions.len(),
        })
    }
}

impl FarDatabase {
    /// All partitions, the one that says what tables there are first.
    fn by_authority(&self) -> Vec<Partition> {
        let (spread, reference) = self.partitions.split_at(self.spread);
        [reference, spread].concat()
    }
}

impl Database {
    /// On other nodes, as a map says.
    #[must_use]
    pub fn far(map: &Map, client: &Client) -> Self {
        Self::Far(FarDatabase::new(map, client))
    }

    /// Whether its partitions are on other nodes.
    #[must_use]
    pub const fn is_far(&self) -> bool {
        matches!(self, Self::Far(_))
    }

    /// The same for the master aggregator that has this office: its tables are changed by that.
    #[must_use]
    pub fn in_office(&self, office: u64) -> Self {
        let Self::Far(far) = self else { return self.clone() };
        let partitions = far.partitions.iter().map(|partition| match partition {
            Partition::Near(near) => Partition::Near(near.clone()),
            Partition::Far(far) => Partition::Far(far.in_office(office)),
        });
        let partitions = partitions.collect();
        let (name, number) = (far.name.clone(), far.number);
        let (durability, sync_replication) = (far.durability, far.sync_replication);
        let spread = far.spread;
        Self::Far(Arc::new(FarDatabase {
            name,
            number,
            durability,
            sync_replication,
            partitions,
            spread,
        }))
    }

    /// Its leaves hear of the office: nothing that an earlier one asked for is under way on them any more, or will be done.
    /// Whether none knows of a newer one. Blocks.
    ///
    /// # Errors
    /// If one of them cannot be asked.
    pub fn begin_office(&self) -> Result<bool, Error> {
        let Self::Far(far) = self else { return Ok(true) };
        let mut asked = BTreeSet::new();
        for partition in &far.partitions {
            if let Partition::Far(partition) = partition
                && asked.insert(partition.address().to_owned())
                && !partition.begin_office()?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Near(near) => near.name(),
            Self::Far(far) => &far.name,
        }
    }

    /// Its number in the cluster.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::Near(near) => near.number(),
            Self::Far(far) => far.number,
        }
    }

    /// When its commits are acknowledged.
    #[must_use]
    pub fn durability(&self) -> Durability {
        match self {
            Self::Near(near) => near.durability(),
            Self::Far(far) => far.durability,
        }
    }

    /// Whether its commits wait for replicas; none where there are no replicas.
    #[must_use]
    pub fn sync_replication(&self) -> Option<bool> {
        match self {
            Self::Near(_) => None,
            Self::Far(far) => Some(far.sync_replication),
        }
    }

    /// Over how many partitions rows are spread: the first so many of all.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Near(near) => near.partitions().len(),
            Self::Far(far) => far.spread,
        }
    }

    /// The ordinal of the partition that has the rows of reference tables: one of its own in a cluster, of which each leaf has
    /// a copy; else the first.
    #[must_use]
    pub fn reference(&self) -> usize {
        match self {
            Self::Far(far) if far.partitions.len() > far.spread => far.spread,
            Self::Near(_) | Self::Far(_) => 0,
        }
    }

    /// A partition.
    ///
    /// # Panics
    /// If there is none of that ordinal.
    #[must_use]
    pub fn partition(&self, ordinal: usize) -> Partition {
        match self {
            Self::Near(near) => Partition::Near(near.partitions()[ordinal].clone()),
            Self::Far(far) => far.partitions[ordinal].clone(),
        }
    }

    /// All of them, by ordinal: also that of reference tables.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        let all = match self {
            Self::Near(near) => near.partitions().len(),
            Self::Far(far) => far.partitions.len(),
        };
        (0..all).map(|ordinal| self.partition(ordinal))
    }

    /// The ordinal of the partition with rows of these values of the shard key.
    ///
    /// # Errors
    /// If a value does not fit its column.
    pub fn partition_of(&self, table: &Table, shard_values: &[Value]) -> Result<usize, Error> {
        shard_of(table, shard_values, self.count())
    }

    /// The partition that says what tables there are: that of reference tables, of which most copies are there; else the first.
    #[must_use]
    pub fn definitions(&self) -> Partition {
        self.partition(self.reference())
    }

    /// A table, as [`Database::definitions`] has it.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`]; if no partition serves.
    pub fn table(&self, name: &str) -> Result<Arc<Table>, Error> {
        match self {
            Self::Near(near) => near.partitions()[0].table(name),
            Self::Far(_) => self.by_any(|partition| partition.table(name)),
        }
    }

    /// The tables, as [`Database::definitions`] has them now.
    ///
    /// # Errors
    /// If no partition serves.
    pub fn catalog_now(&self) -> Result<Catalog, Error> {
        self.by_any(Partition::catalog_now)
    }

    /// Asks whoever says what tables there are; if it does not serve, the others, which have the same. If none does, the error of
    /// the lowest ordinal.
    fn by_any<T>(&self, ask: impl Fn(&Partition) -> Result<T, Error>) -> Result<T, Error> {
        let is_away =
            |error: &Error| matches!(error, Error::Unreachable { .. } | Error::NotOnline { .. });
        let mut asked = ask(&self.definitions());
        let Self::Far(far) = self else { return asked };
        let others = if self.reference() == 0 { &[] } else { &far.partitions[..far.spread] };
        if asked.as_ref().is_err_and(is_away) {
            let mut lowest = None;
            for partition in others {
                match ask(partition) {
                    Err(error) if is_away(&error) => {
                        lowest.get_or_insert(error);
                    }
                    other => return other,
                }
            }
            asked = lowest.map_or(asked, Err);
        }
        asked
    }

    /// Gives a partition the tables of another one, numbers and all, and no others. Blocks. As [`Database::define`] for the master
    /// aggregator alone, and in turn with that.
    ///
    /// # Errors
    /// If one of them does not serve.
    pub fn copy_tables(&self, from: usize, to: usize) -> Result<(), Error> {
        let copied = match self {
            Self::Near(near) => copy_tables(&near.partitions()[from], &near.partitions()[to]),
            Self::Far(far) => copy_tables(&far.partitions[from], &far.partitions[to]),
        };
        self.forget_tables();
        copied.map(drop)
    }

    /// What is known of far tables may be out of date.
    pub fn forget_tables(&self) {
        if let Self::Far(far) = self {
            far.partitions.iter().for_each(Partition::forget_catalog);
        }
    }

    /// Changes its tables, in all partitions. Blocks. In a cluster that is for the master aggregator alone.
    ///
    /// # Errors
    /// As [`resprout_engine::Database::create_table`] and the methods beside it.
    pub fn define(&self, definition: &Definition) -> Result<(), Error> {
        match self {
            Self::Near(near) => match definition {
                Definition::Create(schema) => near.create_table(schema),
                Definition::Drop(name) => near.drop_table(name),
                Definition::Truncate(name) => near.truncate_table(name),
                Definition::Alter(name, change) => near.alter_table(name, change.clone()),
            },
            Self::Far(far) => {
                let partitions = far.by_authority();
                let tables = TablesOf { database: &far.name, partitions: &partitions };
                let done = match definition {
                    Definition::Create(schema) => tables.create(schema),
                    Definition::Drop(name) => tables.drop(name),
                    Definition::Truncate(name) => tables.truncate(name),
                    Definition::Alter(name, change) => tables.alter(name, change.clone()),
                };
                self.forget_tables();
                done
            }
        }
    }
}
