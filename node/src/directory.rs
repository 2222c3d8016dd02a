//! The cluster as statements see it: which databases there are and where their partitions are, from the metadata as
//! they are known here; what changes it goes to the master aggregator.

use std::sync::Arc;
use std::time::Duration;

use resprout_access::{Client, Definition};
use resprout_cluster::control::Operation;
use resprout_cluster::metadata::{Command, DatabaseEntry, Metadata};
use resprout_cluster::{Address, NodeId};
use resprout_engine::Durability;
use resprout_sql::error::{Code, SqlError};
use resprout_sql::place::{self, Create, Home, Listed, Map, Shown, Work};
use resprout_sql::statement::ClusterStatement;

use crate::calls::Calls;
use crate::error::CallError;
use crate::state::Shared;
use crate::statements::{Reached, listing, operations};

/// How long a definition may take.
pub(crate) const DEFINITION: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Directory {
    own: NodeId,
    metadata: Shared,
    calls: Arc<Calls>,
    access: Client,
}

impl Directory {
    /// As this node knows it. What it says of connections is of those of `access`.
    #[must_use]
    pub fn new(own: NodeId, metadata: Shared, calls: Arc<Calls>, access: Client) -> Self {
        Self { own, metadata, calls, access }
    }

    async fn call(&self, operation: Operation) -> Result<(), SqlError> {
        self.calls.call(operation, DEFINITION).await.map(drop).map_err(|error| refused(&error))
    }
}

/// What a client is told.
pub(crate) fn refused(error: &CallError) -> SqlError {
    let code = if let CallError::Told(code, _) = error { Code(*code) } else { Code::UNKNOWN_ERROR };
    SqlError::new(code, error.to_string())
}

/// Where clients and aggregators reach a node.
pub(crate) fn reach(address: &Address) -> String {
    let Address { host, port } = address;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

pub(crate) fn map(metadata: &Metadata, entry: &DatabaseEntry) -> Map {
    let home = |partition: &resprout_cluster::Partition| {
        let leaf = partition.serving().and_then(|leaf| metadata.nodes().get(&leaf.into()));
        Home { leaf: leaf.map(|leaf| reach(&leaf.address)), term: partition.term.0 }
    };
    Map {
        name: entry.map.name.clone(),
        number: entry.number,
        durability: if entry.durable { Durability::Sync } else { Durability::Async },
        partitions: entry.map.partitions.iter().map(home).collect(),
    }
}

impl place::Directory for Directory {
    fn version(&self) -> u64 {
        self.metadata.read().applied()
    }

    fn database(&self, name: &str) -> Option<Arc<Map>> {
        let metadata = self.metadata.read();
        metadata.databases().get(name).map(|entry| Arc::new(map(&metadata, entry)))
    }

    fn databases(&self) -> Vec<Arc<Map>> {
        let metadata = self.metadata.read();
        metadata.databases().values().map(|entry| Arc::new(map(&metadata, entry))).collect()
    }

    fn create<'a>(&'a self, name: &'a str, how: Create) -> Work<'a, Result<(), SqlError>> {
        Box::pin(async move {
            if self.database(name).is_some() {
                let text = format!("Can't create database '{name}'; database exists");
                return Err(SqlError::new(Code::DB_CREATE_EXISTS, text));
            }
            let Create { partitions, durability, sync_replication } = how;
            // What a commit does not wait for elsewhere it does not wait for here, unless that is asked for and refused.
            let usual = match sync_replication {
                Some(false) => Durability::Async,
                Some(true) | None => Durability::Sync,
            };
            let durable = durability.unwrap_or(usual) == Durability::Sync;
            let name = name.to_owned();
            self.call(Operation::CreateDatabase {
                name,
                partitions,
                sync: sync_replication,
                durable,
            })
            .await
        })
    }

    fn drop_database<'a>(&'a self, name: &'a str) -> Work<'a, Result<(), SqlError>> {
        Box::pin(async move {
            if self.database(name).is_none() {
                let text = format!("Unknown database '{name}'");
                return Err(SqlError::new(Code::BAD_DB, text));
            }
            let command = Command::DropDatabase { name: name.to_owned() };
            self.call(Operation::Propose { command }).await
        })
    }

    fn define<'a>(
        &'a self,
        database: &'a str,
        definition: Definition,
    ) -> Work<'a, Result<(), SqlError>> {
        let (database, definition) = (database.to_owned(), definition.encode());
        Box::pin(self.call(Operation::Define { database, definition }))
    }

    fn accounts_version(&self) -> u64 {
        self.metadata.read().accounts().version
    }

    fn accounts(&self) -> (u64, Vec<u8>) {
        let metadata = self.metadata.read();
        let accounts = metadata.accounts();
        (accounts.version, accounts.bytes.to_vec())
    }

    fn set_accounts(&self, version: u64, bytes: Vec<u8>) -> Work<'_, Result<bool, SqlError>> {
        let command = Command::SetAccounts { version, bytes: bytes.into() };
        Box::pin(async move {
            match self.calls.call(Operation::Propose { command }, DEFINITION).await {
                Ok(_) => Ok(true),
                Err(CallError::Changed) => Ok(false),
                Err(error) => Err(refused(&error)),
            }
        })
    }

    fn carry_out<'a>(&'a self, statement: &'a ClusterStatement) -> Work<'a, Result<(), SqlError>> {
        Box::pin(async move {
            let operations = operations(statement, &self.metadata.read())?;
            for operation in operations {
                self.call(operation).await?;
            }
            Ok(())
        })
    }

    fn show(&self, listed: &Listed) -> Result<Shown, SqlError> {
        let reached = |address: &str| Reached {
            connections: self.access.connections(address),
            latency_ms: self.access.latency(address).map(|latency| latency.as_secs_f64() * 1e3),
        };
        listing(&self.metadata.read(), self.own, listed, reached)
    }

    fn changed(&self, within: Duration) -> Work<'_, ()> {
        let mut changes = self.metadata.watch();
        Box::pin(async move {
            // Whether something came or not: whoever asked looks again.
            drop(tokio::time::timeout(within, changes.changed()).await);
        })
    }
}
