//! A cluster of nodes in one process, with a list as state.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use resprout_consensus::machine::{RestoreError, StateMachine};
use resprout_consensus::node::{Handle, MemoryStorage, Node, Options, Parts};
use resprout_consensus::transport::local::Hub;
use resprout_consensus::{
    Config, Identity, Index, Member, NodeId, Recovered, Role, StoreId, Timing, Vote,
};

/// Lines in the order in which they were proposed; the answer is how many there are.
#[derive(Debug, Default)]
pub(crate) struct Lines(pub(crate) Vec<String>);

impl StateMachine for Lines {
    fn apply(&mut self, _index: Index, command: &[u8]) -> Bytes {
        self.0.push(String::from_utf8_lossy(command).into_owned());
        Bytes::from(self.0.len().to_string())
    }

    fn snapshot(&self) -> Bytes {
        Bytes::from(self.0.join("\n"))
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        let text = std::str::from_utf8(state).map_err(|error| RestoreError(error.to_string()))?;
        self.0 = text.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Ok(())
    }
}

pub(crate) struct Cluster {
    pub(crate) hub: Hub,
    pub(crate) stores: BTreeMap<u64, MemoryStorage>,
    pub(crate) nodes: BTreeMap<u64, Node<Lines>>,
    pub(crate) snapshot_log_bytes: usize,
}

fn identity(id: u64) -> Identity {
    Identity { node: NodeId(id), store: StoreId(100 + id) }
}

impl Cluster {
    /// Nodes `1..=count`; the first begins, the others join and vote.
    pub(crate) async fn start(count: u64) -> Self {
        let mut cluster = Self {
            hub: Hub::new(),
            stores: BTreeMap::new(),
            nodes: BTreeMap::new(),
            snapshot_log_bytes: 16 << 20,
        };
        for id in 1..=count {
            let Identity { node, store } = identity(id);
            let address = format!("node{id}");
            let member = Member { store, address: address.clone(), vote: Vote::Voter };
            let first = if id == 1 { Recovered::first(node, member) } else { Recovered::default() };
            cluster.stores.insert(id, MemoryStorage::new(first));
            cluster.run(id);
            if id > 1 {
                let leader = cluster.handle(1);
                leader.add_learner(node, store, address).await.expect("a learner is added");
                leader.promote(node).await.expect("it votes");
            }
        }
        cluster
    }

    /// Starts a node from its store.
    pub(crate) fn run(&mut self, id: u64) {
        let timing = Timing::new(Duration::from_millis(300)).expect("a sound timeout");
        let mut options = Options::new(identity(id), Config::new(timing));
        options.config.limits.entries_kept = 8;
        options.snapshot_log_bytes = self.snapshot_log_bytes;
        let (transport, incoming) = self.hub.join(NodeId(id), 1024);
        let storage = self.stores[&id].clone();
        let recovered = storage.recover();
        let parts = Parts { state: Lines::default(), storage, recovered, transport, incoming };
        let node = Node::start(options, parts).expect("a node starts");
        self.nodes.insert(id, node);
    }

    pub(crate) fn handle(&self, id: u64) -> Handle<Lines> {
        self.nodes[&id].handle().clone()
    }

    /// Waits until the node `id` knows of a leader among the running, and which.
    pub(crate) async fn leader(&self, id: u64) -> u64 {
        let mut state = self.handle(id).watch();
        let running = |leader: NodeId| self.nodes.contains_key(&leader.0);
        let known = state.wait_for(|state| state.leader.is_some_and(running)).await;
        known.expect("the node runs").leader.expect("it is known").0
    }

    /// Waits for a node's snapshot, which is made beside everything else.
    pub(crate) async fn until_snapshot(&self, id: u64) {
        let handle = self.handle(id);
        while handle.status().await.expect("the node runs").snapshot.is_none() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn lines(&self, id: u64) -> Vec<String> {
        self.handle(id).read(|lines| lines.0.clone()).await.expect("a read")
    }
}

pub(crate) async fn until_role(handle: &Handle<Lines>, role: Role) {
    handle.watch().wait_for(|state| state.role == role).await.expect("the node runs");
}
