//! openraft on tokio, with the storage traits that let a flush run beside the rest.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Cursor;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result};
use bytes::Bytes;
use openraft::error::{InstallSnapshotError, RPCError, RaftError};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::{LogFlushed, RaftLogStorage, RaftStateMachine, Snapshot};
use openraft::{
    BasicNode, Config, Entry, EntryPayload, LogId, LogState, OptionalSend, RaftLogReader,
    RaftSnapshotBuilder, SnapshotMeta, SnapshotPolicy, StorageError, StoredMembership, Vote,
};
use tokio::sync::oneshot;

use super::{Cluster, ELECTION_TIMEOUT};
use crate::file_log::FileLog;
use crate::ledger::Ledger;

openraft::declare_raft_types!(
    /// What is replicated.
    pub Types:
        D = Bytes,
        R = (),
        NodeId = u64,
        Node = BasicNode,
        Entry = Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

type Raft = openraft::Raft<Types>;
type StoreResult<T> = Result<T, StorageError<u64>>;
type RpcResult<T, E = RaftError<u64>> = Result<T, RPCError<u64, BasicNode, E>>;

/// Where the nodes find each other.
type Peers = Arc<OnceLock<BTreeMap<u64, Raft>>>;

/// Three nodes.
pub struct OpenRaft {
    nodes: BTreeMap<u64, Raft>,
    ledgers: Vec<Ledger>,
    logs: Vec<FileLog>,
    leader: u64,
    first_free: AtomicU64,
}

impl OpenRaft {
    /// Starts three nodes and waits for their leader.
    ///
    /// # Errors
    /// Files that cannot be made, or no leader.
    pub async fn start(folder: &Path) -> Result<Self> {
        let timeout = ELECTION_TIMEOUT.as_millis() as u64;
        let config = Config {
            election_timeout_min: timeout,
            election_timeout_max: timeout * 2,
            heartbeat_interval: timeout / 10,
            // As ours: messages of about 256 KiB.
            max_payload_entries: 1024,
            snapshot_policy: SnapshotPolicy::Never,
            ..Config::default()
        };
        let config = Arc::new(config.validate()?);
        let peers = Peers::default();
        let (mut nodes, mut ledgers, mut logs) = (BTreeMap::new(), Vec::new(), Vec::new());
        for id in 1..=3 {
            let file = FileLog::create(&folder.join(format!("openraft-{id}")))?;
            let log = Log { file: file.clone(), state: Arc::default() };
            let ledger = Ledger::default();
            let machine = Machine { ledger: ledger.clone(), ..Machine::default() };
            let network = Network { target: id, peers: peers.clone() };
            nodes.insert(id, Raft::new(id, config.clone(), network, log, machine).await?);
            ledgers.push(ledger);
            logs.push(file);
        }
        peers.set(nodes.clone()).ok().context("set once")?;
        let members = nodes.keys().map(|id| (*id, BasicNode::default()));
        nodes[&1].initialize(members.collect::<BTreeMap<_, _>>()).await?;
        let has_leader =
            |metrics: &openraft::RaftMetrics<u64, BasicNode>| metrics.current_leader.is_some();
        let wait = nodes[&1].wait(Some(ELECTION_TIMEOUT * 20));
        let leader = wait.metrics(has_leader, "a leader").await?.current_leader;
        let leader = leader.context("a leader was waited for")?;
        Ok(Self { nodes, ledgers, logs, leader, first_free: AtomicU64::new(0) })
    }

    /// Ends all nodes.
    pub async fn stop(&self) {
        for node in self.nodes.values() {
            drop(node.shutdown().await);
        }
    }
}

impl Cluster for OpenRaft {
    async fn propose(&self, _number: u64, command: Vec<u8>) -> Result<()> {
        self.nodes[&self.leader].client_write(Bytes::from(command)).await?;
        Ok(())
    }

    async fn ledgers(&self) -> Result<Vec<Ledger>> {
        Ok(self.ledgers.clone())
    }

    fn flushes(&self) -> Option<u64> {
        Some(self.logs.iter().map(FileLog::flushes).sum())
    }

    fn first_free(&self) -> u64 {
        self.first_free.load(Ordering::Relaxed)
    }

    fn set_first_free(&self, number: u64) {
        self.first_free.store(number, Ordering::Relaxed);
    }
}

/// Calls the other node's handle, which is a channel.
struct Network {
    target: u64,
    peers: Peers,
}

impl Network {
    fn peer(&self) -> Raft {
        self.peers.get().expect("nobody talks before all are there")[&self.target].clone()
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Self;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Self {
        Self { target, peers: self.peers.clone() }
    }
}

fn remote<E: std::error::Error>(target: u64, error: E) -> RPCError<u64, BasicNode, E> {
    RPCError::RemoteError(openraft::error::RemoteError::new(target, error))
}

impl RaftNetwork<Types> for Network {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<u64>> {
        self.peer().append_entries(rpc).await.map_err(|error| remote(self.target, error))
    }

    async fn install_snapshot(
        &mut self,
        _rpc: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> RpcResult<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>> {
        unreachable!("nobody makes snapshots here")
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        _option: RPCOption,
    ) -> RpcResult<VoteResponse<u64>> {
        self.peer().vote(rpc).await.map_err(|error| remote(self.target, error))
    }
}

/// The log in memory, beside its file.
#[derive(Clone)]
struct Log {
    file: FileLog,
    state: Arc<Mutex<LogInMemory>>,
}

#[derive(Default)]
struct LogInMemory {
    entries: BTreeMap<u64, Entry<Types>>,
    vote: Option<Vote<u64>>,
}

impl Log {
    fn lock(&self) -> std::sync::MutexGuard<'_, LogInMemory> {
        self.state.lock().expect("nobody panics with it")
    }

    async fn write(&self, bytes: Vec<u8>) {
        let (done, durable) = oneshot::channel();
        self.file.append(bytes, move || {
            // Who waits for it may have ended.
            let _ = done.send(());
        });
        durable.await.expect("the log outlives its node");
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> StoreResult<Vec<Entry<Types>>> {
        Ok(self.lock().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> StoreResult<LogState<Types>> {
        let last_log_id = self.lock().entries.values().next_back().map(|entry| entry.log_id);
        Ok(LogState { last_purged_log_id: None, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> StoreResult<()> {
        self.lock().vote = Some(*vote);
        self.write(vote.leader_id.term.to_le_bytes().to_vec()).await;
        Ok(())
    }

    async fn read_vote(&mut self) -> StoreResult<Option<Vote<u64>>> {
        Ok(self.lock().vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> StoreResult<()>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut bytes = Vec::new();
        {
            let mut state = self.lock();
            for entry in entries {
                bytes.extend(entry.log_id.leader_id.term.to_le_bytes());
                bytes.extend(entry.log_id.index.to_le_bytes());
                if let EntryPayload::Normal(command) = &entry.payload {
                    bytes.extend_from_slice(command);
                }
                state.entries.insert(entry.log_id.index, entry);
            }
        }
        self.file.append(bytes, move || callback.log_io_completed(Ok(())));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> StoreResult<()> {
        self.lock().entries.split_off(&log_id.index);
        Ok(())
    }

    async fn purge(&mut self, _log_id: LogId<u64>) -> StoreResult<()> {
        unreachable!("nobody makes snapshots here")
    }
}

#[derive(Clone, Default)]
struct Machine {
    ledger: Ledger,
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, BasicNode>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> StoreResult<(Option<LogId<u64>>, StoredMembership<u64, BasicNode>)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> StoreResult<Vec<()>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut commands, mut answers) = (Vec::new(), Vec::new());
        for entry in entries {
            self.applied = Some(entry.log_id);
            answers.push(());
            match entry.payload {
                EntryPayload::Normal(command) => commands.push(command),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                EntryPayload::Blank => {}
            }
        }
        self.ledger.apply(commands.iter().map(|command| &command[..]));
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> StoreResult<Box<Cursor<Vec<u8>>>> {
        unreachable!("nobody makes snapshots here")
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta<u64, BasicNode>,
        _snapshot: Box<Cursor<Vec<u8>>>,
    ) -> StoreResult<()> {
        unreachable!("nobody makes snapshots here")
    }

    async fn get_current_snapshot(&mut self) -> StoreResult<Option<Snapshot<Types>>> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> StoreResult<Snapshot<Types>> {
        unreachable!("nobody makes snapshots here")
    }
}
