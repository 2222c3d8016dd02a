//! tikv's raft-rs, driven as its documentation asks for writes that do not hold up the loop: what may
//! be sent at once is sent at once, the rest when its ready is durable.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use raft::prelude::{Entry, Message};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::{Cluster, ELECTION_TIMEOUT, QUEUE_MAX};
use crate::file_log::FileLog;
use crate::ledger::Ledger;

/// Most inputs that one step of the loop takes together.
const BATCH_MAX: usize = 1024;
/// Ticks of an election timeout.
const ELECTION_TICKS: u32 = 10;

enum Input {
    Message(Message),
    Propose(u64, Vec<u8>, oneshot::Sender<bool>),
    /// The ready of that number is durable, and these messages wait for it.
    Persisted(u64, Vec<Message>),
}

struct Node {
    raft: RawNode<MemStorage>,
    log: FileLog,
    ledger: Ledger,
    own: mpsc::Sender<Input>,
    peers: Vec<mpsc::Sender<Input>>,
    waiting: HashMap<u64, oneshot::Sender<bool>>,
    leads: watch::Sender<bool>,
    /// Readies that the log has and that are not durable.
    unfinished: usize,
}

struct Handle {
    inputs: mpsc::Sender<Input>,
    ledger: Ledger,
    log: FileLog,
    leads: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// Three nodes.
pub struct RaftRs {
    nodes: Vec<Handle>,
    first_free: AtomicU64,
}

fn config(id: u64) -> Config {
    Config {
        id,
        election_tick: ELECTION_TICKS as usize,
        heartbeat_tick: 1,
        // As ours: messages of so many bytes, so many ahead.
        max_size_per_msg: 256 << 10,
        max_inflight_msgs: 64,
        check_quorum: true,
        pre_vote: true,
        ..Config::default()
    }
}

impl RaftRs {
    /// Starts three nodes and waits for their leader.
    ///
    /// # Errors
    /// Files that cannot be made, or no leader.
    pub async fn start(folder: &Path) -> Result<Self> {
        let queues: Vec<_> = (0..3).map(|_| mpsc::channel(QUEUE_MAX)).collect();
        let peers: Vec<_> = queues.iter().map(|(sender, _)| sender.clone()).collect();
        let mut nodes = Vec::new();
        for (at, (own, queue)) in queues.into_iter().enumerate() {
            let id = at as u64 + 1;
            let log = FileLog::create(&folder.join(format!("raft-rs-{id}")))?;
            let (leads, sees) = watch::channel(false);
            let store = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
            let logger = slog::Logger::root(slog::Discard, slog::o!());
            let raft = RawNode::new(&config(id), store, &logger)?;
            let ledger = Ledger::default();
            let node = Node {
                raft,
                log: log.clone(),
                ledger: ledger.clone(),
                own: own.clone(),
                peers: peers.clone(),
                waiting: HashMap::new(),
                leads,
                unfinished: 0,
            };
            let task = tokio::spawn(node.run(queue));
            nodes.push(Handle { inputs: own, ledger, log, leads: sees, task });
        }
        let until = Instant::now() + ELECTION_TIMEOUT * 20;
        while !nodes.iter().any(|node| *node.leads.borrow()) {
            if Instant::now() > until {
                bail!("no leader");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Self { nodes, first_free: AtomicU64::new(0) })
    }
}

impl Cluster for RaftRs {
    async fn propose(&self, number: u64, command: Vec<u8>) -> Result<()> {
        let leader = self.nodes.iter().find(|node| *node.leads.borrow()).context("no leader")?;
        let (answer, answered) = oneshot::channel();
        let input = Input::Propose(number, command, answer);
        leader.inputs.send(input).await.ok().context("the node has ended")?;
        if answered.await.context("the node has ended")? { Ok(()) } else { bail!("not taken") }
    }

    async fn ledgers(&self) -> Result<Vec<Ledger>> {
        Ok(self.nodes.iter().map(|node| node.ledger.clone()).collect())
    }

    fn flushes(&self) -> Option<u64> {
        Some(self.nodes.iter().map(|node| node.log.flushes()).sum())
    }

    fn first_free(&self) -> u64 {
        self.first_free.load(Ordering::Relaxed)
    }

    fn set_first_free(&self, number: u64) {
        self.first_free.store(number, Ordering::Relaxed);
    }
}

impl Drop for RaftRs {
    fn drop(&mut self) {
        self.nodes.iter().for_each(|node| node.task.abort());
    }
}

impl Node {
    async fn run(mut self, mut queue: mpsc::Receiver<Input>) {
        let mut inputs = Vec::with_capacity(BATCH_MAX);
        let mut ticks = tokio::time::interval(ELECTION_TIMEOUT / ELECTION_TICKS);
        loop {
            tokio::select! {
                taken = queue.recv_many(&mut inputs, BATCH_MAX) => if taken == 0 { return },
                _ = ticks.tick() => { self.raft.tick(); }
            }
            for input in inputs.drain(..) {
                self.take(input);
            }
            while self.raft.has_ready() {
                self.handle_ready();
            }
            self.leads.send_if_modified(|leads| {
                let now = self.raft.raft.state == StateRole::Leader;
                std::mem::replace(leads, now) != now
            });
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            // It refuses messages of nodes that it does not know: there are none.
            Input::Message(message) => drop(self.raft.step(message)),
            Input::Persisted(number, messages) => {
                self.unfinished -= 1;
                self.raft.on_persist_ready(number);
                self.send(messages);
            }
            Input::Propose(number, command, answer) => match self.raft.propose(Vec::new(), command)
            {
                Ok(()) => drop(self.waiting.insert(number, answer)),
                Err(_) => {
                    // The client may have ended.
                    let _ = answer.send(false);
                }
            },
        }
    }

    fn handle_ready(&mut self) {
        let mut ready = self.raft.ready();
        self.send(ready.take_messages());
        self.apply(&ready.take_committed_entries());
        let entries = ready.take_entries();
        let mut bytes = Vec::new();
        for entry in &entries {
            bytes.extend(entry.term.to_le_bytes());
            bytes.extend(entry.index.to_le_bytes());
            bytes.extend_from_slice(&entry.data);
        }
        let store = self.raft.store().clone();
        store.wl().append(&entries).expect("entries follow each other");
        if let Some(state) = ready.hs() {
            store.wl().set_hardstate(state.clone());
            if ready.must_sync() {
                bytes.extend(state.term.to_le_bytes());
            }
        }
        let (number, messages) = (ready.number(), ready.take_persisted_messages());
        self.raft.advance_append_async(ready);
        if bytes.is_empty() && self.unfinished == 0 {
            self.raft.on_persist_ready(number);
            self.send(messages);
            return;
        }
        // Without bytes it only keeps its place in the order.
        self.unfinished += 1;
        let own = self.own.clone();
        let done = move || drop(own.blocking_send(Input::Persisted(number, messages)));
        self.log.append(bytes, done);
    }

    fn send(&self, messages: Vec<Message>) {
        for message in messages {
            // What does not fit is lost, as on a network.
            drop(self.peers[message.to as usize - 1].try_send(Input::Message(message)));
        }
    }

    fn apply(&mut self, entries: &[Entry]) {
        let Some(last) = entries.last() else { return };
        // A new leader's first entry is empty.
        let commands =
            || entries.iter().map(|entry| &entry.data[..]).filter(|data| !data.is_empty());
        self.ledger.apply(commands());
        for command in commands() {
            let number = u64::from_le_bytes(command[..8].try_into().expect("eight bytes"));
            if let Some(answer) = self.waiting.remove(&number) {
                // The client may have ended.
                let _ = answer.send(true);
            }
        }
        self.raft.advance_apply_to(last.index);
    }
}
