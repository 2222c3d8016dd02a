//! The cluster as statements see it: which databases there are and where their partitions are, from the metadata as
//! they are known here; what changes it goes to the master aggregator.

use std::sync::Arc;
use std::time::Duration;

use resprout_access::{Client, Definition};
use resprout_cluster::control::Operation;
use resprout_cluster::metadata::{Command, DatabaseEntry, Metadata, Node};
use resprout_cluster::{Address, NodeId};
use resprout_consensus::node::Handle;
use resprout_engine::Durability;
use resprout_sql::error::{Code, SqlError};
use resprout_sql::place::{self, ClusterView, Create, Home, Listed, Map, Shown, Work};
use resprout_sql::statement::ClusterStatement;
use tokio::task::JoinSet;

use crate::asked::{AS_LONG_AS_IT_TAKES, wanted};
use crate::calls::Calls;
use crate::error::CallError;
use crate::pings::Pings;
use crate::settings::Given;
use crate::state::{Machine, Shared};
use crate::statements::{Reached, listing, operations};
use crate::survey::{ask_all, wait_beside};
use crate::surveyed::{is_surveyed, surveyed};

/// How long a definition may take.
pub(crate) const DEFINITION: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Directory {
    pub(crate) own: NodeId,
    /// What the node was started with.
    given: Given,
    pub(crate) metadata: Shared,
    pub(crate) calls: Arc<Calls>,
    pub(crate) consensus: Handle<Machine>,
    /// How other aggregators answer.
    pings: Pings,
    access: Client,
}

impl Directory {
    /// As this node knows it. What it says of connections is of those of `access`.
    #[must_use]
    pub(crate) fn new(
        (own, given, pings): (NodeId, Given, Pings),
        (metadata, consensus): (Shared, Handle<Machine>),
        calls: Arc<Calls>,
        access: Client,
    ) -> Self {
        Self { own, given, pings, metadata, consensus, calls, access }
    }

    async fn call(&self, operation: Operation) -> Result<(), SqlError> {
        self.calls.call(operation, DEFINITION).await.map(drop).map_err(|error| refused(&error))
    }

    /// All at once, for as long as they take: leaves that are attached may need each other. The first error of any.
    async fn call_beside(&self, operations: Vec<Operation>) -> Result<(), SqlError> {
        let mut under_way = JoinSet::new();
        for operation in operations {
            let calls = self.calls.clone();
            under_way.spawn(async move { calls.call(operation, AS_LONG_AS_IT_TAKES).await });
        }
        let mut first = Ok(());
        while let Some(ended) = under_way.join_next().await {
            let ended =
                ended.map_err(|error| SqlError::new(Code::UNKNOWN_ERROR, error.to_string()));
            let ended = ended.and_then(|called| called.map_err(|error| refused(&error)));
            first = first.and(ended.map(drop));
        }
        first
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
        sync_replication: entry.map.sync,
        partitions: entry.map.partitions.iter().map(home).collect(),
        reference: entry.map.reference.as_ref().map(|reference| home(&reference.partition)),
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

    fn set_replication<'a>(&'a self, name: &'a str, sync: bool) -> Work<'a, Result<(), SqlError>> {
        let command = Command::SetReplication { name: name.to_owned(), sync };
        Box::pin(self.call(Operation::Propose { command }))
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

    fn variable(&self, name: &str) -> Option<String> {
        self.given.text(&self.metadata.read(), name)
    }

    fn set_variable<'a>(
        &'a self,
        name: &'a str,
        value: Option<String>,
    ) -> Work<'a, Result<(), SqlError>> {
        Box::pin(self.call(Operation::SetVariable { name: name.to_owned(), value }))
    }

    fn carry_out<'a>(&'a self, statement: &'a ClusterStatement) -> Work<'a, Result<(), SqlError>> {
        Box::pin(async move {
            if matches!(statement, ClusterStatement::AggregatorSetAsMaster) {
                return self.set_as_master().await;
            }
            // By the same metadata: what plans have done is not to be done once more.
            let (plans, operations) = {
                let metadata = self.metadata.read();
                (wanted(statement, &metadata)?, operations(statement, &metadata)?)
            };
            for plan in plans {
                self.carry_out_plan(plan).await?;
            }
            if matches!(statement, ClusterStatement::AttachLeaf { .. }) {
                return self.call_beside(operations).await;
            }
            for operation in operations {
                self.call(operation).await?;
            }
            Ok(())
        })
    }

    fn explain<'a>(&'a self, statement: &'a ClusterStatement) -> Work<'a, Result<Shown, SqlError>> {
        Box::pin(self.explained(statement))
    }

    fn plans<'a>(&'a self, database: Option<&'a str>) -> Work<'a, Result<Shown, SqlError>> {
        Box::pin(self.shown_plans(database))
    }

    fn show(&self, listed: &Listed) -> Result<Shown, SqlError> {
        let millis = |latency: Duration| latency.as_secs_f64() * 1e3;
        if *listed == Listed::View(ClusterView::RebalanceStatus) {
            return wait_beside(self.view_of_plans())?;
        }
        if is_surveyed(listed) {
            let metadata = self.metadata.read().clone();
            let surveys = wait_beside(ask_all(&self.calls, &metadata))?;
            return Ok(surveyed(&metadata, &surveys, listed));
        }
        let reached = |id: NodeId, node: &Node| {
            if node.is_leaf() {
                let address = reach(&node.address);
                let latency_ms = self.access.latency(&address).map(millis);
                let connections = self.access.connections(&address);
                return Reached { connections, latency_ms, is_silent: false };
            }
            let last = self.pings.last(id);
            let latency_ms = last.flatten().map(millis);
            // Nodes have one connection with each other, and none with themselves.
            let is_silent = last == Some(None);
            let connections = u64::from(id != self.own && !is_silent);
            Reached { connections, latency_ms, is_silent }
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
