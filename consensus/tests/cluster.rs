//! Three members in memory: the shortest way through all of the core.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use resprout_consensus::{
    Change, Config, Entry, Envelope, Event, Identity, Index, Member, NodeId, Output, Payload,
    Proposal, ProposalId, Raft, ReadId, ReadProof, Recovered, Role, StoreId, Timing, Vote,
};

struct Cluster {
    now: Duration,
    nodes: BTreeMap<NodeId, Raft>,
    network: VecDeque<Envelope>,
    applied: BTreeMap<NodeId, Vec<Entry>>,
    reads: Vec<(ReadId, Index)>,
}

fn member(id: u64) -> Member {
    Member { store: StoreId(id + 100), address: format!("host{id}:1"), vote: Vote::Voter }
}

impl Cluster {
    fn new(ids: &[u64]) -> Self {
        let config = Config::new(Timing::new(Duration::from_secs(1)).unwrap());
        let mut nodes = BTreeMap::new();
        for id in ids {
            let identity = Identity { node: NodeId(*id), store: StoreId(*id + 100) };
            let recovered = if *id == ids[0] {
                Recovered::first(NodeId(*id), member(*id))
            } else {
                Recovered::default()
            };
            let raft = Raft::new(identity, config.clone(), recovered, (Duration::ZERO, *id));
            nodes.insert(NodeId(*id), raft);
        }
        let (network, applied, reads) = Default::default();
        Self { now: Duration::ZERO, nodes, network, applied, reads }
    }

    fn step(&mut self, node: u64, event: Event) -> Output {
        let raft = self.nodes.get_mut(&NodeId(node)).unwrap();
        let mut all = raft.step(self.now, event);
        if let Some(write) = all.writes.last() {
            let then = raft.step(self.now, Event::Persisted(write.id));
            assert!(then.writes.len() <= 1);
            all.messages.extend(then.messages);
            all.apply.extend(then.apply);
            all.reads.extend(then.reads);
            if let Some(write) = then.writes.last() {
                let last = raft.step(self.now, Event::Persisted(write.id));
                assert!(last.writes.is_empty());
                all.messages.extend(last.messages);
                all.apply.extend(last.apply);
            }
        }
        self.network.extend(all.messages.drain(..));
        self.applied.entry(NodeId(node)).or_default().extend(all.apply.drain(..));
        self.reads.append(&mut all.reads);
        all
    }

    fn settle(&mut self) {
        while let Some(envelope) = self.network.pop_front() {
            self.step(envelope.to.0, Event::Receive(envelope));
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            let next =
                self.nodes.iter().map(|(node, raft)| (raft.deadline(), *node)).min().unwrap();
            if next.0 > until {
                break;
            }
            self.now = self.now.max(next.0);
            self.step(next.1.0, Event::Tick);
        }
        self.now = until;
    }

    fn leader(&self) -> Option<u64> {
        let leads = |raft: &Raft| raft.status().state.role == Role::Leader;
        self.nodes.iter().find(|(_, raft)| leads(raft)).map(|(node, _)| node.0)
    }

    fn change(&mut self, change: Change) {
        let leader = self.leader().unwrap();
        self.step(leader, Event::Change(change)).changed.unwrap().unwrap();
        self.settle();
    }

    fn commands(&self, node: u64) -> Vec<Bytes> {
        let entries = self.applied.get(&NodeId(node)).into_iter().flatten();
        let command = |entry: &Entry| match &entry.payload {
            Payload::Command(proposal) => Some(proposal.command.clone()),
            _ => None,
        };
        entries.filter_map(command).collect()
    }
}

fn proposal(id: u128, command: &'static str) -> Proposal {
    Proposal {
        id: ProposalId(id),
        since: Index(0),
        command: Bytes::from_static(command.as_bytes()),
    }
}

/// Promise: one node begins alone, others join, commands reach all, a read sees them, and when the
/// leader is gone another leads and has everything.
#[test]
fn members_join_replicate_and_replace_their_leader() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.pass(Duration::from_millis(1));
    assert_eq!(cluster.leader(), Some(1));
    for id in [2, 3] {
        let Member { store, address, .. } = member(id);
        cluster.change(Change::AddLearner { node: NodeId(id), store, address });
        cluster.change(Change::Promote(NodeId(id)));
    }
    cluster.step(2, Event::Propose(vec![proposal(1, "a"), proposal(2, "b")]));
    cluster.settle();
    for node in [1, 2, 3] {
        assert_eq!(cluster.commands(node), ["a", "b"], "node {node}");
    }
    cluster.step(3, Event::Read { ids: vec![ReadId(7)], proof: ReadProof::Round });
    cluster.settle();
    let committed = cluster.nodes[&NodeId(1)].status().committed;
    assert_eq!(cluster.reads, [(ReadId(7), committed)]);

    let lost = cluster.nodes.remove(&NodeId(1)).unwrap();
    cluster.network.retain(|envelope| envelope.to != NodeId(1));
    while cluster.leader().is_none() {
        cluster.network.retain(|envelope| envelope.to != NodeId(1));
        let next = cluster.nodes.iter().map(|(node, raft)| (raft.deadline(), *node)).min().unwrap();
        cluster.now = next.0;
        cluster.step(next.1.0, Event::Tick);
        while let Some(envelope) = cluster.network.pop_front() {
            if envelope.to != NodeId(1) {
                cluster.step(envelope.to.0, Event::Receive(envelope));
            }
        }
    }
    assert!(cluster.now < Duration::from_secs(3), "{:?}", cluster.now);
    let leader = cluster.leader().unwrap();
    assert!(cluster.nodes[&NodeId(leader)].status().state.term > lost.status().state.term);
}
