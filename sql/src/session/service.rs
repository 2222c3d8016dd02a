//! The node behind the port: an engine, who may come in, and what all sessions share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use resprout_engine::{Engine, Error};
use tokio::sync::Semaphore;

use super::client::Client;
use super::sequences::Sequences;
use super::transaction::{Coordinator, recover};
use super::waiting::Waits;
use crate::accounts::{
    Access, AccountOptions, Accounts, AccountsError, Requirement, Seats, is_information_schema,
};
use crate::error::SqlError;
use crate::execute;
use crate::place::{Databases, Directory};
use crate::planned::Queries;
use crate::protocol::handshake::Login;
use crate::server::{Account, Connections, Limits, Opening, Options, Service};
use crate::variables::Globals;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Node {
    /// What is of this node alone: disk, settings, counters.
    pub(crate) engine: Engine,
    pub(crate) databases: Databases,
    pub(crate) connections: Arc<Connections>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) started: std::time::Instant,
    pub(crate) sequences: Sequences,
    pub(crate) coordinator: Coordinator,
    pub(crate) waits: Arc<Waits>,
    /// Who runs what is not done here.
    pub(crate) queries: Option<Arc<dyn Queries>>,
    /// Bounds the queries that are planned there at once.
    pub(crate) planners: Arc<Semaphore>,
    pub(crate) globals: Arc<Globals>,
    seats: Arc<Seats>,
    /// One change of databases and tables at a time.
    pub(crate) definitions: tokio::sync::Mutex<()>,
}

/// Queries that are planned by the query library at once; others wait. A query that is ended while
/// it is planned keeps its place until its thread is done.
const PLANNERS: usize = 16;

/// A node that stands alone, for a [`Server`](crate::server::Server). A clone is the same node.
#[derive(Clone, Debug)]
pub struct SingleNode {
    node: Arc<Node>,
}

impl SingleNode {
    /// Of an engine, which may recover still: call [`SingleNode::recovered`] when it has. Reads the
    /// accounts, or makes them. Blocks.
    ///
    /// # Errors
    /// If the accounts cannot be read: then nobody may come in.
    pub fn new(
        engine: Engine,
        connections: Arc<Connections>,
        accounts: &AccountOptions,
    ) -> Result<Self, AccountsError> {
        let accounts = Arc::new(Accounts::open(&engine, accounts)?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = now.as_nanos() << 32 | u128::from(std::process::id());
        let globals = Arc::new(Globals::new(&Options::default(), &engine));
        let node = Node {
            databases: Databases::Near(engine.clone()),
            engine,
            connections,
            accounts,
            started: std::time::Instant::now(),
            sequences: Sequences::default(),
            coordinator: Coordinator::new(run),
            waits: Arc::default(),
            queries: None,
            planners: Arc::new(Semaphore::new(PLANNERS)),
            globals,
            seats: Arc::default(),
            definitions: tokio::sync::Mutex::default(),
        };
        Ok(Self { node: Arc::new(node) })
    }

    /// With the databases of a cluster in place of those of the engine, which then has settings, accounts and counters
    /// only. For a node that has no sessions yet.
    ///
    /// # Panics
    /// If there are sessions.
    #[must_use]
    pub fn in_cluster(
        mut self,
        directory: Arc<dyn Directory>,
        access: resprout_access::Client,
    ) -> Self {
        let node = Arc::get_mut(&mut self.node).expect("no sessions yet");
        node.accounts.share(directory.clone());
        let globals = Globals::new(&Options::default(), &node.engine);
        node.globals = Arc::new(globals.in_cluster(Some(directory.clone())));
        node.databases = Databases::far(directory, access);
        self
    }

    /// With somebody who runs joins, groups and subqueries, which answer 1235 else. For a node
    /// that has no sessions yet.
    ///
    /// # Panics
    /// If there are sessions.
    #[must_use]
    pub fn with_queries(mut self, queries: Arc<dyn Queries>) -> Self {
        let node = Arc::get_mut(&mut self.node).expect("no sessions yet");
        node.queries = Some(queries);
        self
    }

    /// With the settings of the server that it stands behind, which are what variables begin with. For a
    /// node that has no sessions yet. Default: those of [`Options::default`].
    ///
    /// # Panics
    /// If there are sessions.
    #[must_use]
    pub fn with_options(mut self, options: &Options) -> Self {
        let node = Arc::get_mut(&mut self.node).expect("no sessions yet");
        let cluster = node.globals.cluster().cloned();
        node.globals = Arc::new(Globals::new(options, &node.engine).in_cluster(cluster));
        self
    }

    /// Ends what a crash left half done. Until then its rows are locked. Blocks.
    ///
    /// # Errors
    /// If something cannot be ended.
    pub fn recovered(&self) -> Result<(), Error> {
        let ended = recover(&self.node.engine)?;
        if ended > 0 {
            tracing::info!(ended, "transactions in doubt were ended");
        }
        for database in self.node.engine.databases() {
            let name = database.name();
            match database.align() {
                Ok(0) => {}
                Ok(tables) => {
                    tracing::info!(database = name, tables, "changes of tables were ended");
                }
                // One that does not serve has none of the others wait for it.
                Err(error @ Error::NotOnline { .. }) => {
                    tracing::warn!(database = name, %error, "tables were not compared");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Service for SingleNode {
    type Session = Client;

    async fn account(&self, login: &Login, peer: SocketAddr) -> Option<Account> {
        Some(self.node.accounts.identify(&login.user, peer.ip()))
    }

    async fn is_password(
        &self,
        _login: &Login,
        account: Option<&Account>,
        password: &[u8],
    ) -> bool {
        let number = account.map_or(0, |account| account.number);
        self.node.accounts.is_password(number, password).await
    }

    fn limits(&self) -> Limits {
        self.node.globals.limits()
    }

    async fn denied(&self, login: &Login, peer: SocketAddr) {
        self.node.accounts.denied(&login.user, peer.ip().to_canonical()).await;
    }

    async fn open(&self, opening: Opening) -> Result<Client, SqlError> {
        let address = opening.peer.ip().to_canonical().to_string();
        let accounts = &self.node.accounts;
        let user = &opening.login.user;
        let access = Access::new(accounts, opening.account, user, &address)?;
        let each = self.node.globals.sessions_of_each();
        let seat = self.node.seats.take((access.id(), user), access.max_sessions(), each)?;
        if let Some(name) = &opening.login.database {
            access.check(&[Requirement::Enter(Some(name.clone()))], None)?;
            if !is_information_schema(name) {
                self.node.databases.database(name).map_err(|_| execute::unknown_database(name))?;
            }
        }
        Ok(Client::new(Arc::clone(&self.node), opening, access, seat))
    }
}
