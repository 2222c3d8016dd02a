//! What the master aggregator does when it is told to: each operation is one or more commands of the metadata, and
//! what goes with them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use resprout_access::{Client, Definition};
use resprout_cluster::control::{Operation, Returned};
use resprout_cluster::manager::Event;
use resprout_cluster::metadata::{
    Command, DatabaseState, Decree, NewHome, NodeState, Outcome, Refusal, Role,
};
use resprout_cluster::placement::initial;
use resprout_cluster::{Address, Group, Incarnation, NodeId};
use resprout_consensus::StoreId;
use resprout_consensus::node::Handle;
use resprout_replication::transport::Secret;
use resprout_sql::error::{Code, SqlError};
use resprout_sql::place::Database;
use tokio::sync::{Mutex, mpsc};

use crate::calls::Calls;
use crate::directory::map;
use crate::errands::Errands;
use crate::join::{Invited, invite};
use crate::member::{Member, NodeKind};
use crate::post::node_address;
use crate::settings::partitions_per_leaf;
use crate::state::{Machine, Shared};

/// How long the copies of a new database may take to be there.
const OPENING: Duration = Duration::from_secs(60);
/// What stands in the way of voting members.
const VOTES_OFF: &str = "consensus_enabled is OFF; SET GLOBAL consensus_enabled = ON first";
/// How long a node that votes may take to catch up.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// What operations need. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Operations {
    pub(crate) node: NodeId,
    pub(crate) consensus: Handle<Machine>,
    pub(crate) metadata: Shared,
    pub(crate) secret: Secret,
    /// Where connections to others come from.
    pub(crate) source: Option<IpAddr>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) errands: Errands,
    pub(crate) calls: Arc<Calls>,
    pub(crate) access: Client,
    /// Changes of tables are made one after the other: two at once could give one number to two tables.
    pub(crate) defining: Arc<Mutex<()>>,
    /// So are changes of who votes.
    pub(crate) voting: Arc<Mutex<()>>,
}

/// Why an operation ended early: what is returned.
pub(crate) type Ended = Returned;

#[expect(clippy::needless_pass_by_value, reason = "errors are mapped by it")]
pub(crate) fn failed(text: impl ToString) -> Ended {
    Returned::Failed { text: text.to_string() }
}

impl Operations {
    /// Carries it out, if this node has the office.
    pub(crate) async fn carry_out(&self, operation: Operation) -> Returned {
        let office = self.metadata.read().office();
        let leads = self.consensus.watch().borrow().leader == Some(self.node);
        if !leads || office.holder != Some(self.node) {
            return Returned::NotMaster;
        }
        let done = match operation {
            Operation::Propose { command } => self.propose(office.number, command).await,
            Operation::CreateDatabase { name, partitions, sync, durable } => {
                self.create_database(office.number, (&name, partitions), sync, durable).await
            }
            Operation::Define { database, definition } => {
                self.define(office.number, &database, &definition).await
            }
            Operation::Plan { asked, kill, ensure_online } => {
                self.carry_out_plan(&asked, (kill, ensure_online)).await
            }
            Operation::CancelPlan { database } => self.cancel_plan(database),
            Operation::ShowPlan { database, asked } => {
                return self.show_plan(&database, asked.as_ref()).unwrap_or_else(|told| told);
            }
            Operation::AddLeaf { address, group } => {
                self.add_leaf(office.number, address, group).await
            }
            Operation::AddAggregator { address, role } => {
                self.add_aggregator(office.number, address, role).await
            }
            Operation::RemoveNode { address, force } => {
                self.remove(office.number, &address, force).await
            }
            Operation::PromoteAggregator { address } => self.promote_aggregator(&address).await,
            Operation::DetachLeaf { address } => self.detach(office.number, &address).await,
            Operation::AttachLeaf { address, force, rebalance } => {
                self.attach(&address, (force, rebalance)).await
            }
            Operation::ClearOrphans => self.clear_orphans(office.number).await,
            Operation::Orphan { database, ordinal, leaf, what } => {
                self.act_on_orphan(office.number, (&database, ordinal, leaf), what).await
            }
            // Answered by whichever node is asked.
            Operation::Survey | Operation::Ping => Ok(Outcome::Done),
            Operation::SetVariable { name, value } => {
                self.set_variable(office.number, name, value).await
            }
        };
        match done {
            Ok(outcome) => Returned::Done { index: self.metadata.read().applied(), outcome },
            Err(ended) => ended,
        }
    }

    async fn propose(&self, office: u64, command: Command) -> Result<Outcome, Ended> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let decree = Decree { office, at_ms, command };
        let applied = self.consensus.propose(decree.encode()).await.map_err(failed)?;
        Outcome::decode(&applied.answer).map_err(failed)
    }

    /// The same, and anything but success ends the operation.
    pub(crate) async fn command(&self, office: u64, command: Command) -> Result<Outcome, Ended> {
        match self.propose(office, command).await? {
            refused @ Outcome::Refused { .. } => {
                Err(Returned::Done { index: self.metadata.read().applied(), outcome: refused })
            }
            outcome => Ok(outcome),
        }
    }

    /// SET GLOBAL: the metadata refuse what does not go with the databases that are there.
    async fn set_variable(
        &self,
        office: u64,
        name: String,
        value: Option<String>,
    ) -> Result<Outcome, Ended> {
        let command = Command::SetVariable { name: name.clone(), value: value.clone() };
        match self.propose(office, command).await? {
            Outcome::Refused { refusal: Refusal::NotPossible { text } } => {
                let value = value.as_deref().unwrap_or("DEFAULT");
                let text =
                    format!("Variable '{name}' can't be set to the value of '{value}': {text}");
                Err(Returned::Told { code: Code::WRONG_VALUE_FOR_VARIABLE.0, text })
            }
            outcome => Ok(outcome),
        }
    }

    async fn create_database(
        &self,
        office: u64,
        (name, partitions): (&str, Option<u32>),
        sync: Option<bool>,
        durable: bool,
    ) -> Result<Outcome, Ended> {
        let (homes, redundancy) = {
            let metadata = self.metadata.read();
            let (leaves, mode) = (metadata.leaves(), metadata.mode());
            let usual = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
            let count = partitions.unwrap_or(usual.saturating_mul(partitions_per_leaf(&metadata)));
            let first = initial(&leaves, mode, count).map_err(failed)?;
            let homes = first
                .partitions
                .iter()
                .map(|one| NewHome { master: one.home.master, replica: one.home.replica });
            (homes.collect::<Vec<_>>(), mode.copies())
        };
        let redundancy = u32::try_from(redundancy).unwrap_or(1);
        // Commits wait for replicas, as far as there are any, unless it is said otherwise.
        let sync = sync.unwrap_or(true);
        let name = name.to_owned();
        let create = Command::CreateDatabase {
            name: name.clone(),
            homes,
            sync,
            durable,
            redundancy,
            reference: true,
        };
        let created = self.propose(office, create).await?;
        // Also one that is being made: it may have been asked for before.
        let exists =
            matches!(&created, Outcome::Refused { refusal: Refusal::DatabaseExists { .. } });
        if exists || !matches!(created, Outcome::Refused { .. }) {
            self.until_open(&name).await?;
        }
        Ok(created)
    }

    async fn until_open(&self, name: &str) -> Result<(), Ended> {
        let mut changes = self.metadata.watch();
        let open = async {
            loop {
                match self.metadata.read().databases().get(name).map(|entry| entry.state) {
                    Some(DatabaseState::Creating) => {}
                    Some(DatabaseState::Open) => return Ok(()),
                    None => return Err(failed(format!("database '{name}' was dropped meanwhile"))),
                }
                if changes.changed().await.is_err() {
                    return Err(failed("the node stops"));
                }
            }
        };
        tokio::time::timeout(OPENING, open).await.unwrap_or_else(|_| {
            Err(failed(format!(
                "database '{name}' is created, and some of its copies are not there yet"
            )))
        })
    }

    async fn define(
        &self,
        office: u64,
        database: &str,
        definition: &[u8],
    ) -> Result<Outcome, Ended> {
        let definition = Definition::decode(definition).map_err(failed)?;
        let _one_at_a_time = self.defining.lock().await;
        self.align_tables(office, database).await?;
        let found = {
            let metadata = self.metadata.read();
            metadata.databases().get(database).map(|entry| map(&metadata, entry))
        };
        let told = |error: SqlError| Ended::Told { code: error.code.0, text: error.text.into() };
        let unknown = || SqlError::new(Code::BAD_DB, format!("Unknown database '{database}'"));
        let found = found.ok_or_else(|| told(unknown()))?;
        let found = Database::far(&found, &self.access).in_office(office);
        let define = move || {
            if !found.begin_office()? {
                return Ok(false);
            }
            match found.define(&definition) {
                // Another one has taken over in the middle: what is refused by then is for that one to do.
                Err(_) if found.begin_office().is_ok_and(|is_in_office| !is_in_office) => Ok(false),
                done => done.map(|()| true),
            }
        };
        let made = tokio::task::spawn_blocking(define).await;
        let made: Result<bool, resprout_engine::Error> = made.map_err(failed)?;
        if made.map_err(|error| told(error.into()))? {
            Ok(Outcome::Done)
        } else {
            Err(Returned::NotMaster)
        }
    }

    async fn invite(&self, address: &Address) -> Result<Invited, Ended> {
        if self.metadata.read().nodes().values().any(|node| node.address == *address) {
            return Err(failed(format!("{address} is a node already")));
        }
        let listens = node_address(address)
            .ok_or_else(|| failed(format!("{address}: the port for nodes would be above 65535")))?;
        invite((&listens, self.source), &self.secret).await.map_err(failed)
    }

    /// Gives a node that was invited its number, and the log of the metadata.
    async fn take_in(
        &self,
        (office, kind): (u64, NodeKind),
        invited: Invited,
        (node, address): (NodeId, &Address),
    ) -> Result<(), Ended> {
        let (cluster, peers) = {
            let metadata = self.metadata.read();
            let peers = metadata.nodes().iter().filter(|(other, _)| **other != node);
            let peers =
                peers.filter_map(|(other, found)| Some((other.0, node_address(&found.address)?)));
            (metadata.cluster(), peers.collect())
        };
        let store = invited.store;
        let member = Member { cluster, node: node.0, kind, store, run: 0, peers };
        let taken = match invited.assign(&member).await {
            Ok(()) => {
                let listens = node_address(address).unwrap_or_default();
                let added = self.consensus.add_learner(node, StoreId(store), listens).await;
                added.map(drop).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        };
        if taken.is_err() {
            // Whatever it knows by now, nobody else does.
            let back = Command::RemoveNode { node, force: true };
            if let Err(ended) = self.command(office, back).await {
                tracing::error!(%node, ?ended, "a node that did not join stays in the metadata");
            }
        }
        taken
    }

    async fn add_leaf(
        &self,
        office: u64,
        address: Address,
        group: Option<Group>,
    ) -> Result<Outcome, Ended> {
        let invited = self.invite(&address).await?;
        let incarnation = Incarnation(1);
        let add = Command::AddLeaf { address: address.clone(), group, incarnation };
        let added = self.command(office, add).await?;
        let Outcome::Added { node } = added else { return Err(failed("no number was given")) };
        self.take_in((office, NodeKind::Leaf), invited, (node, &address)).await?;
        Ok(added)
    }

    async fn add_aggregator(
        &self,
        office: u64,
        address: Address,
        role: Role,
    ) -> Result<Outcome, Ended> {
        if role == Role::Voter && !self.metadata.read().elects() {
            let text = format!("{address} cannot be a voting member while {VOTES_OFF}");
            return Err(Returned::Told { code: Code::WRONG_ARGUMENTS.0, text });
        }
        let invited = self.invite(&address).await?;
        let incarnation = Incarnation(1);
        let _one_at_a_time = self.voting.lock().await;
        let add = Command::AddAggregator { address: address.clone(), role, incarnation };
        let added = self.command(office, add).await?;
        let Outcome::Added { node } = added else { return Err(failed("no number was given")) };
        self.take_in((office, NodeKind::Aggregator), invited, (node, &address)).await?;
        if role == Role::Voter {
            let promoted = self.consensus.within(CATCHING_UP).promote(node).await;
            promoted.map_err(failed)?;
        }
        Ok(added)
    }

    pub(crate) fn named(&self, address: &Address) -> Result<NodeId, Ended> {
        let metadata = self.metadata.read();
        let found = metadata.nodes().iter().find(|(_, node)| node.address == *address);
        found.map(|(node, _)| *node).ok_or_else(|| failed(format!("there is no node {address}")))
    }

    async fn remove(&self, office: u64, address: &Address, force: bool) -> Result<Outcome, Ended> {
        let _one_at_a_time = self.voting.lock().await;
        let node = self.named(address)?;
        let removed = self.command(office, Command::RemoveNode { node, force }).await?;
        self.consensus.remove(node).await.map_err(failed)?;
        Ok(removed)
    }

    async fn detach(&self, office: u64, address: &Address) -> Result<Outcome, Ended> {
        let node = self.named(address)?;
        let found = self.metadata.read().nodes().get(&node).cloned();
        let Some(found) = found else { return Err(failed(format!("there is no node {address}"))) };
        if found.state == NodeState::Detached {
            return Ok(Outcome::Done);
        }
        let (from, to, incarnation) = (found.state, NodeState::Detached, found.incarnation);
        self.command(office, Command::SetNodeState { node, from, to, incarnation }).await
    }
}
