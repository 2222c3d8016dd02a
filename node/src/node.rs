//! Starting and stopping a node: what it is made of, in which order.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use resprout_access::{Client, Server};
use resprout_cluster::carrier::Carrier;
use resprout_cluster::control::{Control, Operation, Returned};
use resprout_cluster::manager::{Answer, Event, Manager, Phase};
use resprout_cluster::metadata::{Command, DatabaseEntry, Decree, Outcome};
use resprout_cluster::plan::Asked;
use resprout_cluster::reconcile::Progress;
use resprout_cluster::survey::Survey;
use resprout_cluster::{Address, Incarnation, LeafId, Mode, NodeId};
use resprout_consensus::node::{Handle, Node as Consensus, Options as ConsensusOptions, Parts};
use resprout_consensus::store::{Store, StoreOptions};
use resprout_consensus::{Config, Identity, Member as Voting, Recovered, StoreId, Timing, Vote};
use resprout_replication::driver::Node as Driver;
use resprout_replication::transport::{self, LocalNode, Secret, Transport, TransportOptions};
use resprout_wal::disk::{Disk, open_default};
use resprout_wal::world::{BootClock, Entropy, OsEntropy, SystemClock};
use resprout_wal::{Device, World};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::authority::Passing;
use crate::calls::{Calls, Came, Served};
use crate::copies::Copies;
use crate::directory::{Directory, reach};
use crate::doubts::Doubts;
use crate::errands::Errands;
use crate::error::{CallError, StartError};
use crate::join;
use crate::member::{Member, NodeKind};
use crate::office::{Office, look_after};
use crate::operations::Operations;
use crate::options::Options;
use crate::orders::Orders;
use crate::pings::Pings;
use crate::post::{CONSENSUS, Inbox, News, Post, addresses};
use crate::settings::{Applying, Given};
use crate::state::{Machine, Shared};
use crate::status::Observer;
use crate::voters;

/// Where the metadata are, in the data directory: a log and snapshots of their own, so that they are there before
/// the rows are.
const METADATA_DIR: &str = "metadata";
/// Where a leaf's engine is.
const ROWS_DIR: &str = "rows";

/// A node of a cluster. Dropping it ends it as a crash would, as far as that is possible inside of a process;
/// [`Node::stop`] ends it in order.
pub struct Node {
    member: Member,
    address: Address,
    given: Given,
    secret: Secret,
    /// Where connections to others come from.
    source: Option<IpAddr>,
    metadata: Shared,
    consensus: Option<Consensus<Machine>>,
    /// The way to it.
    handle: Handle<Machine>,
    copies: Option<Arc<Copies>>,
    calls: Arc<Calls>,
    pings: Pings,
    transport: Arc<Transport>,
    /// Of a leaf, for aggregators.
    server: Option<Server>,
    /// They end with it.
    tasks: JoinSet<()>,
    /// Consensus' log lies on it.
    _device: Device,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({}, {:?}, {})", self.member.node, self.member.kind, self.address)
    }
}

impl Node {
    /// Starts a node on the current runtime. A new directory founds a cluster, or waits here until the node is
    /// added to one.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let (reached, listen) = (options.node_address()?, options.node_listen()?);
        let dir = options.dir.clone();
        std::fs::create_dir_all(&dir)
            .map_err(|error| StartError::File { path: dir.clone(), error })?;
        let (mut member, is_new) = identify(&options, &listen).await?;
        member.run += 1;
        member.store(&dir)?;
        let begins = is_new.then_some(reached);
        let metadata_dir = dir.join(METADATA_DIR);
        let (opened, timing) = (member.clone(), timing(&options)?);
        let opened =
            tokio::task::spawn_blocking(move || open_metadata(&metadata_dir, &opened, begins));
        let opened = opened.await.map_err(|error| StartError::Metadata(error.to_string()))?;
        Self::assemble(options, listen, member, (opened?, timing)).await
    }

    async fn assemble(
        options: Options,
        listen: String,
        member: Member,
        ((device, storage, recovered), timing): ((Device, Store, Recovered), Timing),
    ) -> Result<Self, StartError> {
        let own = NodeId(member.node);
        let mut transport_options =
            TransportOptions::new(&listen, options.secret.clone(), member.store);
        transport_options.source = options.bind;
        let (node, cluster, run) = (transport::NodeId(own.0), member.cluster, member.run);
        let transport = Transport::bind(transport_options, LocalNode { node, cluster, run }).await;
        let transport =
            transport.map_err(|error| StartError::Listen { address: listen.clone(), error })?;
        let transport = Arc::new(transport);
        let metadata = Shared::new();
        let (control, news) = mpsc::unbounded_channel();
        let post = Post::new(own, transport.sender(), control.clone());
        let (carrier, incoming, incomings) = Carrier::new(own, transport.sender(), CONSENSUS);
        let identity = Identity { node: own, store: StoreId(member.store) };
        let parts =
            Parts { state: metadata.machine(), storage, recovered, transport: carrier, incoming };
        let consensus = ConsensusOptions::new(identity, Config::new(timing));
        let consensus = Consensus::start(consensus, parts)
            .map_err(|error| StartError::Metadata(error.to_string()))?;
        let handle = consensus.handle().clone();
        let calls = Arc::new(Calls::new(metadata.clone(), post.clone(), OsEntropy.next()));
        let inbox_copies = Arc::new(OnceLock::new());
        let copies = match member.kind {
            NodeKind::Leaf => {
                let (driver, copies) =
                    start_copies(&options, &member, &transport, (&metadata, &post))?;
                // Nobody else sets it.
                let _first = inbox_copies.set(driver.inbox());
                Some(copies)
            }
            NodeKind::Aggregator => None,
        };
        let inbox = Inbox { consensus: incomings, control, copies: inbox_copies };
        let peers = member.peers.iter();
        let peers = peers.map(|(node, address)| (transport::NodeId(*node), address.clone()));
        transport.set_peers(&peers.collect());
        transport.start(Arc::new(inbox));
        let server = match &copies {
            Some(copies) => Some(serve(&options, copies.clone()).await?),
            None => None,
        };
        let mut node = Self {
            address: options.address.clone(),
            given: Given::of(&options),
            secret: options.secret.clone(),
            source: options.bind,
            metadata,
            consensus: Some(consensus),
            handle: handle.clone(),
            copies,
            calls,
            pings: Pings::default(),
            transport,
            server,
            tasks: JoinSet::new(),
            _device: device,
            member,
        };
        node.run(&options, handle, (post, news));
        Ok(node)
    }

    /// Sets everything going.
    fn run(
        &mut self,
        options: &Options,
        consensus: Handle<Machine>,
        (post, news): (Post, mpsc::UnboundedReceiver<News>),
    ) {
        let own = NodeId(self.member.node);
        let given = self.given;
        let (events, came) = mpsc::unbounded_channel();
        let metadata = self.metadata.clone();
        let follow = Following {
            dir: options.dir.clone(),
            member: self.member.clone(),
            metadata: metadata.clone(),
            transport: self.transport.clone(),
            copies: self.copies.clone(),
        };
        self.tasks.spawn(follow.run());
        let errands = Errands::new(Manager::new(own, given.manager(&metadata.read())));
        if self.member.kind == NodeKind::Aggregator {
            let parts = (metadata.clone(), post.clone());
            let of = (own, given, errands.clone());
            let office = Office::new(of, consensus.clone(), parts, events.clone());
            self.tasks.spawn(office.run(came));
        }
        let orders = |copies| Orders::new(metadata.clone(), post.clone(), copies);
        let orders = self.copies.clone().map(orders);
        let applying = Applying {
            given,
            metadata: metadata.clone(),
            consensus: consensus.clone(),
            copies: self.copies.clone(),
        };
        self.tasks.spawn(applying.run());
        let secret = options.secret.clone();
        let operations = Operations {
            node: own,
            consensus: consensus.clone(),
            metadata,
            access: Client::from_source(secret.clone(), options.bind),
            source: options.bind,
            secret,
            events: events.clone(),
            errands,
            calls: self.calls.clone(),
            defining: Arc::default(),
            voting: Arc::default(),
        };
        if self.member.kind == NodeKind::Aggregator {
            self.tasks.spawn(voters::keep(operations.clone()));
        }
        let desk = Desk {
            run: Incarnation(self.member.run),
            post,
            events,
            operations,
            copies: self.copies.clone(),
            orders,
            calls: self.calls.clone(),
            served: Arc::default(),
        };
        self.tasks.spawn(desk.run(news));
        self.look_after_others(options, consensus);
    }

    /// What nothing else waits for.
    fn look_after_others(&mut self, options: &Options, consensus: Handle<Machine>) {
        let own = self.id();
        if self.member.kind == NodeKind::Aggregator {
            let (metadata, calls) = (self.metadata.clone(), self.calls.clone());
            self.tasks.spawn(self.pings.clone().run(own, metadata, calls));
        }
        if let Some(copies) = self.copies.clone() {
            let access = Client::from_source(options.secret.clone(), options.bind);
            self.tasks.spawn(Doubts::new(own, self.metadata.clone(), (copies, access)).run());
        }
        if let Some(mode) = options.found.filter(|_| self.member.run == 1) {
            let (address, calls) = (self.address.clone(), self.calls.clone());
            let cluster = self.member.cluster;
            self.tasks.spawn(found(consensus, calls, (cluster, address, mode)));
        }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId(self.member.node)
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> NodeKind {
        self.member.kind
    }

    /// Where it listens for clients, or is to.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The metadata as they are known here.
    #[must_use]
    pub fn metadata(&self) -> &Shared {
        &self.metadata
    }

    /// Has the master aggregator do something.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, operation: Operation, within: Duration) -> Result<Outcome, CallError> {
        self.calls.call(operation, within).await
    }

    /// The same, for whoever outlives a borrow of the node.
    #[must_use]
    pub fn calls(&self) -> Arc<Calls> {
        self.calls.clone()
    }

    /// Waits until this node has the metadata as they were when this was called, for at most so long: a node that was away knows
    /// what it knew then. Whether it has them; without a majority it does not learn them.
    pub async fn catch_up(&self, patience: Duration) -> bool {
        self.handle.within(patience).read(|_| ()).await.is_ok()
    }

    /// The cluster as statements see it, and the way to its leaves: for
    /// [`resprout_sql::session::SingleNode::in_cluster`].
    #[must_use]
    pub fn statements(&self) -> (Arc<Directory>, Client) {
        let access = Client::from_source(self.secret.clone(), self.source);
        let state = (self.metadata.clone(), self.handle.clone());
        let own = (self.id(), self.given, self.pings.clone());
        let directory = Directory::new(own, state, self.calls.clone(), access.clone());
        (Arc::new(directory), access)
    }

    /// Whether it leads consensus, and the office is its own.
    #[must_use]
    pub fn is_master(&self) -> bool {
        let leads = self.handle.watch().borrow().leader == Some(self.id());
        leads && self.metadata.read().office().holder == Some(self.id())
    }

    /// Who votes in consensus, as far as this node knows.
    #[must_use]
    pub fn voters(&self) -> Vec<NodeId> {
        self.handle.watch().borrow().membership.1.voters().collect()
    }

    /// For whoever shows it, while it runs and after.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer {
            node: self.id(),
            kind: self.member.kind,
            run: self.member.run,
            address: self.address.clone(),
            metadata: self.metadata.clone(),
            consensus: self.handle.clone(),
            copies: self.copies.clone(),
        }
    }

    /// On a leaf, the engine with its copies.
    #[must_use]
    pub fn engine(&self) -> Option<&resprout_engine::Engine> {
        self.copies.as_ref()?.engine()
    }

    /// On a leaf, the copy of a partition, whatever it is: who wants to write to it learns whether it is master.
    #[must_use]
    pub fn copy(&self, database: u32, ordinal: u32) -> Option<resprout_engine::Partition> {
        self.copies.as_ref()?.serving(database, ordinal)
    }

    /// On a leaf, how far it is with the metadata.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        Some(self.copies.as_ref()?.progress())
    }

    /// Ends in order: copies first, then the metadata. A leaf lets others be masters before, as far as there are any and a
    /// master aggregator can be reached; else nothing changes, as when a whole cluster is stopped.
    pub async fn stop(mut self) {
        if tokio::time::timeout(HAND_OVER, self.hand_over()).await.is_err() {
            tracing::warn!("stops as master: others did not take over within {HAND_OVER:?}");
        }
        self.server = None;
        if let Some(copies) = self.copies.take() {
            let stopped = tokio::task::spawn_blocking(move || copies.stop()).await;
            if stopped.is_err() {
                tracing::error!("the copies were not stopped in order");
            }
        }
        if let Some(consensus) = self.consensus.take() {
            consensus.stop().await;
        }
        self.tasks.shutdown().await;
    }
}

impl Node {
    /// Whether the master aggregator can be reached now.
    fn reaches_master(&self) -> bool {
        let holder = self.metadata.read().office().holder;
        let peers = self.transport.status();
        let is_it = |peer: &transport::PeerStatus| {
            holder.is_some_and(|holder| holder.0 == peer.node.0) && peer.connected.is_some()
        };
        peers.iter().any(is_it)
    }

    async fn hand_over(&self) {
        let leaf = LeafId::from(self.id());
        let databases: Vec<String> = {
            let metadata = self.metadata.read();
            let entries = metadata.databases().values();
            let is_master =
                |entry: &&DatabaseEntry| entry.map.all().any(|one| one.serving() == Some(leaf));
            entries.filter(is_master).map(|entry| entry.map.name.clone()).collect()
        };
        for database in databases {
            if self.kind() != NodeKind::Leaf || !self.reaches_master() {
                return;
            }
            let asked = Asked::HandOver { database, leaf };
            let operation = Operation::Plan { asked, kill: true, ensure_online: false };
            if let Err(error) = self.calls.call(operation, HAND_OVER).await {
                tracing::warn!(%error, "not all masters here were handed over");
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Whoever is killed says nothing: what copies say when they stop stays here.
        self.transport.set_peers(&BTreeMap::new());
        if let Some(copies) = &self.copies {
            copies.end();
        }
    }
}

/// Who this is: as the directory says, or founding, or as it is told by who adds it; and whether a cluster begins.
async fn identify(options: &Options, listen: &str) -> Result<(Member, bool), StartError> {
    let is_other = |kind| options.kind.is_some_and(|wanted| wanted != kind);
    if let Some(member) = Member::load(&options.dir)? {
        if is_other(member.kind) {
            let why = format!("the directory is of a node that is {:?}", member.kind);
            return Err(StartError::Option { option: "role", why: why.to_lowercase() });
        }
        return Ok((member, false));
    }
    let store = OsEntropy.next();
    if options.found.is_some() {
        let cluster = u128::from(OsEntropy.next()) << 64 | u128::from(OsEntropy.next());
        let member = Member { cluster, node: 1, store, ..Member::default() };
        return Ok((member, true));
    }
    let listener = TcpListener::bind(listen).await;
    let listener =
        listener.map_err(|error| StartError::Listen { address: listen.to_owned(), error })?;
    tracing::info!(listen, "waits to be added to a cluster");
    let keep = |member: &Member| {
        if is_other(member.kind) {
            let why = format!("it is to be {:?}, and not {:?}", options.kind, member.kind);
            return Err(std::io::Error::other(why));
        }
        member.store(&options.dir).map_err(std::io::Error::other)
    };
    Ok((join::wait(&listener, &options.secret, store, keep).await, false))
}

/// Opens a leaf's port for aggregators.
async fn serve(options: &Options, copies: Arc<Copies>) -> Result<Server, StartError> {
    let address = reach(&options.listens());
    let server = Server::bind(&address, options.secret.clone(), copies).await;
    server.map_err(|error| StartError::Listen { address, error })
}

fn timing(options: &Options) -> Result<Timing, StartError> {
    Timing::new(options.election_timeout).map_err(|error| StartError::Option {
        option: "consensus_election_timeout",
        why: error.to_string(),
    })
}

/// Opens the store of the metadata, or makes it: with this node as the only voter if a cluster `begins`, with
/// nothing else.
fn open_metadata(
    dir: &Path,
    member: &Member,
    begins: Option<String>,
) -> Result<(Device, Store, Recovered), StartError> {
    let failed = |error: &dyn fmt::Display| StartError::Metadata(error.to_string());
    std::fs::create_dir_all(dir)
        .map_err(|error| StartError::File { path: dir.to_owned(), error })?;
    let disk: Arc<dyn Disk> = open_default();
    let world =
        World { disk: disk.clone(), clock: Arc::new(BootClock), entropy: Arc::new(OsEntropy) };
    let wal = resprout_wal::Options::new(member.cluster, member.store);
    let device = Device::open(world, dir, wal).map_err(|error| failed(&error))?;
    let store = StoreId(member.store);
    let options = StoreOptions { cluster: member.cluster, store, dir: dir.join("raft") };
    if Store::find(&device).is_none() {
        let voting = |address| Voting { store, address, vote: Vote::Voter };
        let first = begins.map(|address| Recovered::first(NodeId(member.node), voting(address)));
        Store::create(&device, disk.clone(), options.clone(), &first.unwrap_or_default())
            .and_then(Store::close_clean)
            .map_err(|error| failed(&error))?;
    }
    let (storage, recovered) =
        Store::open(&device, disk, options).map_err(|error| failed(&error))?;
    Ok((device, storage, recovered))
}

fn start_copies(
    options: &Options,
    member: &Member,
    transport: &Transport,
    (metadata, post): (&Shared, &Post),
) -> Result<(Arc<Driver>, Arc<Copies>), StartError> {
    let authority = Passing { metadata: metadata.clone(), post: post.clone() };
    let clock = Arc::new(SystemClock::default());
    let driver = Driver::start(Arc::new(transport.sender()), Arc::new(authority), clock)?;
    let driver = Arc::new(driver);
    let mut engine = options.engine.clone();
    (engine.cluster, engine.attach) = (Some(member.cluster), false);
    let who = (NodeId(member.node), Incarnation(member.run), member.cluster);
    let dir = options.dir.join(ROWS_DIR);
    std::fs::create_dir_all(&dir).map_err(|error| StartError::File { path: dir.clone(), error })?;
    let place = (dir, engine);
    let copies = Copies::start(who, place, metadata.clone(), driver.clone())?;
    Ok((driver, copies))
}

/// The first commands of a cluster.
async fn found(
    consensus: Handle<Machine>,
    calls: Arc<Calls>,
    (cluster, address, mode): (u128, Address, Mode),
) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let command = Command::Found { cluster, address };
    let decree = Decree { office: 0, at_ms, command };
    if let Err(error) = consensus.propose(decree.encode()).await {
        tracing::error!(%error, "the cluster is not founded; begin with an empty directory");
        return;
    }
    let set = Operation::Propose { command: Command::SetMode { mode } };
    if let Err(error) = calls.call(set, Duration::from_secs(30)).await {
        tracing::error!(%error, "the redundancy of the cluster is not set");
    }
}

/// Follows the metadata: who the others are, and what copies are to do.
struct Following {
    dir: PathBuf,
    member: Member,
    metadata: Shared,
    transport: Arc<Transport>,
    copies: Option<Arc<Copies>>,
}

impl Following {
    async fn run(mut self) {
        let mut changes = self.metadata.watch();
        while changes.changed().await.is_ok() {
            if let Some(copies) = &self.copies {
                copies.wake();
            }
            let peers = {
                let metadata = self.metadata.read();
                let own = NodeId(self.member.node);
                // Before it is known here that this node was added, others are known from who added it.
                if !metadata.nodes().contains_key(&own) {
                    continue;
                }
                addresses(&metadata, own)
            };
            let known = peers.iter().map(|(node, address)| (node.0, address.clone())).collect();
            if self.member.peers == known {
                continue;
            }
            self.transport.set_peers(&peers);
            self.member.peers = known;
            let (member, dir) = (self.member.clone(), self.dir.clone());
            let stored = tokio::task::spawn_blocking(move || member.store(&dir)).await;
            if let Ok(Err(error)) = stored {
                // The next start knows fewer nodes, and learns the others from those.
                tracing::warn!(%error, "who the other nodes are was not stored");
            }
        }
    }
}

/// How long a leaf that stops waits for others to take over.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Takes what comes for the control plane of this node.
struct Desk {
    run: Incarnation,
    post: Post,
    events: mpsc::UnboundedSender<Event>,
    operations: Operations,
    copies: Option<Arc<Copies>>,
    orders: Option<Orders>,
    calls: Arc<Calls>,
    served: Arc<Served>,
}

impl Desk {
    async fn run(self, mut news: mpsc::UnboundedReceiver<News>) {
        while let Some(news) = news.recv().await {
            match news {
                News::Message(from, control) => self.take(from, control),
                News::Lost(node) => {
                    let Operations { metadata, source, .. } = &self.operations;
                    look_after((node, *source), metadata, &self.events);
                }
            }
        }
    }

    /// Events are dropped on a node that has no office to hear them, or that stops.
    fn tell(&self, event: Event) {
        drop(self.events.send(event));
    }

    fn take(&self, from: NodeId, control: Control) {
        match control {
            Control::Beat => self.post.send(from, Control::Answered { answer: self.answer() }),
            Control::Answered { answer } => self.tell(Event::Answered(from, answer)),
            Control::AskReport { copy, decided } => {
                if let Some(copies) = &self.copies {
                    copies.tell(copy, decided);
                }
            }
            Control::Reported { copy, report } => self.tell(Event::Reported(copy, report)),
            Control::Requested { copy, request } => self.tell(Event::Requested(copy, request)),
            Control::Order { office, database, order } => {
                if let Some(orders) = &self.orders {
                    orders.take(from, (office, database), order);
                }
            }
            Control::Drained { office, lock } => self.tell(Event::Drained { office, lock }),
            Control::Call { number, operation } => self.call(from, number, operation),
            Control::Return { number, result } => self.calls.returned(number, result),
        }
    }

    fn answer(&self) -> Answer {
        match &self.copies {
            Some(copies) => copies.answer(),
            None => Answer { incarnation: self.run, phase: Phase::Ready, ..Answer::default() },
        }
    }

    /// What any node answers for itself, at once and as often as it is asked.
    fn question(&self, from: NodeId, number: u64, operation: &Operation) -> bool {
        let applied = self.operations.metadata.read().applied();
        let (post, copies) = (self.post.clone(), self.copies.clone());
        match operation {
            Operation::Ping => {
                let result = Returned::Done { index: applied, outcome: Outcome::Done };
                post.send(from, Control::Return { number, result });
            }
            Operation::Survey => {
                tokio::task::spawn_blocking(move || {
                    let copies = copies.map(|copies| copies.survey()).unwrap_or_default();
                    let result = Returned::Surveyed { survey: Survey { applied, copies } };
                    post.send(from, Control::Return { number, result });
                });
            }
            _ => return false,
        }
        true
    }

    fn call(&self, from: NodeId, number: u64, operation: Operation) {
        if self.question(from, number, &operation) {
            return;
        }
        match self.served.came(from, number) {
            Came::UnderWay => {}
            Came::Done(result) => self.post.send(from, Control::Return { number, result }),
            Came::New => {
                let (operations, post) = (self.operations.clone(), self.post.clone());
                let served = self.served.clone();
                tokio::spawn(async move {
                    let result: Returned = operations.carry_out(operation).await;
                    served.done(from, number, result.clone());
                    post.send(from, Control::Return { number, result });
                });
            }
        }
    }
}
