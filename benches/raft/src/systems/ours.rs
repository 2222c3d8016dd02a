//! Ours: nodes as a user starts them, on the same log file as the others.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use resprout_consensus::machine::{RestoreError, StateMachine};
use resprout_consensus::node::{
    Durability, Handle, Keeper, Node, Options, Parts, Storage, StorageFailure,
};
use resprout_consensus::transport::local::Hub;
use resprout_consensus::{
    Ballot, Config, Content, Entry, EntryId, Identity, Index, Member, Membership, NodeId, Payload,
    Recovered, Role, StoreId, Term, Timing, Vote, Write,
};
use tokio::sync::watch;

use super::{Cluster, ELECTION_TIMEOUT, QUEUE_MAX};
use crate::file_log::FileLog;
use crate::ledger::Ledger;

/// Three nodes.
pub struct Ours {
    nodes: Vec<Node<Ledger>>,
    leader: Handle<Ledger>,
    ledgers: Vec<Ledger>,
    logs: Vec<FileLog>,
    first_free: AtomicU64,
}

/// Three voters from the beginning.
fn recovered() -> Recovered {
    let member = |id: u64| Member { store: StoreId(id), address: String::new(), vote: Vote::Voter };
    let members = [1, 2, 3].map(|id| (NodeId(id), member(id))).into_iter().collect();
    let id = EntryId::new(Term(1), Index(1));
    Recovered {
        ballot: Ballot { term: Term(1), vote: None },
        entries: vec![Entry { id, payload: Payload::Membership(Membership { members }) }],
        boot: 1,
        ..Recovered::default()
    }
}

impl Ours {
    /// Starts three nodes and waits for their leader.
    ///
    /// # Errors
    /// Files that cannot be made, or no leader.
    pub async fn start(folder: &Path) -> Result<Self> {
        let hub = Hub::new();
        let (mut nodes, mut ledgers, mut logs) = (Vec::new(), Vec::new(), Vec::new());
        for id in 1..=3 {
            let log = FileLog::create(&folder.join(format!("ours-{id}")))?;
            let ledger = Ledger::default();
            let identity = Identity { node: NodeId(id), store: StoreId(id) };
            let mut options = Options::new(identity, Config::new(Timing::new(ELECTION_TIMEOUT)?));
            options.requests_max = QUEUE_MAX;
            options.snapshot_log_bytes = usize::MAX;
            let (transport, incoming) = hub.join(identity.node, QUEUE_MAX);
            let storage = FileStorage { log: log.clone(), told: watch::Sender::default() };
            let state = ledger.clone();
            let parts = Parts { state, storage, recovered: recovered(), transport, incoming };
            nodes.push(Node::start(options, parts)?);
            ledgers.push(ledger);
            logs.push(log);
        }
        let leader = wait_leader(&nodes).await?;
        let leader = nodes[leader].handle().clone();
        Ok(Self { nodes, leader, ledgers, logs, first_free: AtomicU64::new(0) })
    }

    /// Ends the leader in the middle of what it does, and tells how long it takes until another
    /// has committed and applied a command.
    ///
    /// # Errors
    /// Nobody does.
    pub async fn fail_over(mut self, number: u64) -> Result<Duration> {
        let leader = self.nodes.iter().position(|node| node.handle().node() == self.leader.node());
        drop(self.nodes.swap_remove(leader.context("the leader runs")?));
        let begun = Instant::now();
        while begun.elapsed() < ELECTION_TIMEOUT * 20 {
            let leader = wait_leader(&self.nodes).await?;
            let command = crate::ledger::command(number);
            if self.nodes[leader].handle().propose(command).await.is_ok() {
                return Ok(begun.elapsed());
            }
        }
        bail!("nobody took over")
    }
}

/// Which of the nodes leads, when one does.
async fn wait_leader(nodes: &[Node<Ledger>]) -> Result<usize> {
    let until = Instant::now() + ELECTION_TIMEOUT * 20;
    let leads = |node: &Node<Ledger>| node.handle().watch().borrow().role == Role::Leader;
    while Instant::now() < until {
        if let Some(leader) = nodes.iter().position(leads) {
            return Ok(leader);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bail!("no leader")
}

impl Cluster for Ours {
    async fn propose(&self, _number: u64, command: Vec<u8>) -> Result<()> {
        self.leader.propose(command).await?;
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

impl StateMachine for Ledger {
    fn apply(&mut self, _index: Index, command: &[u8]) -> Bytes {
        Ledger::apply(self, std::iter::once(command));
        Bytes::new()
    }

    fn snapshot(&self) -> Bytes {
        unreachable!("nobody makes snapshots here")
    }

    fn restore(&mut self, _state: &[u8]) -> Result<(), RestoreError> {
        unreachable!("nobody makes snapshots here")
    }
}

/// The log file as a node's store.
#[derive(Debug)]
struct FileStorage {
    log: FileLog,
    told: watch::Sender<Durability<StorageFailure>>,
}

impl Storage for FileStorage {
    type Failure = StorageFailure;

    fn write(&mut self, writes: Vec<Write>) -> Result<(), StorageFailure> {
        let Some(durable) = writes.last().map(|write| write.id) else { return Ok(()) };
        let mut bytes = Vec::new();
        writes.iter().for_each(|write| encode(&write.content, &mut bytes));
        let told = self.told.clone();
        self.log.append(bytes, move || told.send_modify(|all| all.durable = durable));
        Ok(())
    }

    fn durability(&self) -> watch::Receiver<Durability<StorageFailure>> {
        self.told.subscribe()
    }

    fn keeper(&self) -> Keeper<StorageFailure> {
        unreachable!("nobody makes snapshots here")
    }

    fn close(self) -> Result<(), StorageFailure> {
        Ok(())
    }
}

fn encode(content: &Content, bytes: &mut Vec<u8>) {
    match content {
        Content::Vote(ballot) => bytes.extend(ballot.term.0.to_le_bytes()),
        Content::Entries(entries) => {
            for entry in entries {
                bytes.extend(entry.id.term.0.to_le_bytes());
                bytes.extend(entry.id.index.0.to_le_bytes());
                if let Payload::Command(proposal) = &entry.payload {
                    bytes.extend(proposal.id.0.to_le_bytes());
                    bytes.extend_from_slice(&proposal.command);
                }
            }
        }
        Content::Snapshot { .. } => unreachable!("nobody makes snapshots here"),
    }
}
