//! Snapshots let the log go, and only what is not needed. Rows M12, M13, M17.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use resprout_consensus::store::Store;
use resprout_consensus::{
    Config, Content, Entry, EntryId, Event, Identity, Index, NodeId, Output, Payload, Proposal,
    ProposalId, Raft, Recovered, Snapshot, Term, Timing, Write, WriteId,
};
use resprout_wal::Device;
use resprout_wal::disk::sim::{Effect, Fault, SimDisk};

use crate::harness::*;
use crate::model::{Model, entry, membership, snapshot};

/// Promise (M17): however long a member lives, its log takes a bounded part of the arena and its
/// snapshots are two files; and it comes back at any time, also where a slot begins within a group
/// whose front was given up.
#[test]
fn m17_compaction_bounds_the_arena() {
    let disk = SimDisk::new(1);
    let mut device = device(&disk, 1);
    let mut store = create(&device, &disk);
    let mut id = 0;
    let mut used_most = 0;
    for round in 0..120_u64 {
        let (first, last) = (round * 20 + 1, round * 20 + 20);
        let mut contents = vec![];
        if round == 0 {
            let ballot = resprout_consensus::Ballot { term: Term(1), vote: None };
            contents.push(Content::Vote(ballot));
        }
        // Groups of one to three slots.
        for few in (first..=last).collect::<Vec<_>>().chunks(4) {
            let len = 1000 + (round as usize % 5) * 9000;
            contents.push(Content::Entries(few.iter().map(|n| entry(1, *n, len)).collect()));
        }
        let at = EntryId::new(Term(1), Index(last));
        let kept = last.saturating_sub(round % 7 * 5);
        let base = EntryId::new(Term(u64::from(kept > 0)), Index(kept));
        let installed = false;
        contents.push(Content::Snapshot { snapshot: snapshot(at, 300), base, installed });
        for content in contents {
            id += 1;
            commit(&device, &mut store, vec![Write { id: WriteId(id), content }]);
        }
        store.tidy().expect("given up");
        let (slots, free) = device.slots_and_free();
        used_most = used_most.max(slots - free);
        let files = disk.files().iter().filter(|path| path.starts_with(raft_dir())).count();
        assert!(files <= 2, "{files} files");
        if round % 3 == 2 {
            drop((store, device));
            device = crate::harness::device(&disk, round + 2);
            let (opened, recovered) = open(&device, &disk);
            assert_eq!(Model::of(&recovered).last(), at);
            assert_eq!(recovered.base, base);
            (store, id) = (opened, 0);
        }
    }
    // Twenty entries and those that are kept, of 37 KB at most, in slots of 52 KB.
    assert!(used_most <= 60, "{used_most} slots");
    let (slots, _) = device.slots_and_free();
    assert!(slots <= 64, "the arena has grown to {slots} slots");
}

/// The only member of a cluster, and its state: how often each command was applied.
struct Node {
    device: Device,
    store: Store,
    raft: Raft,
    state: Vec<u8>,
    applied: u64,
}

const COMMANDS: u64 = 24;

impl Node {
    fn start(disk: &SimDisk, seed: u64) -> Option<Self> {
        let device = try_device(disk, seed).ok()?;
        let member = membership().members.into_values().next().expect("one");
        let member = resprout_consensus::Member { store: STORE, ..member };
        let (store, recovered) = if Store::find(&device).is_some() {
            try_open(&device, disk).ok()?
        } else {
            let first = Recovered::first(NodeId(1), member);
            (try_create(&device, disk, &first).ok()?, first)
        };
        let snapshot = recovered.snapshot.as_ref();
        let state = snapshot.map_or(vec![0; COMMANDS as usize], |it| it.state.to_vec());
        let applied = snapshot.map_or(0, |snapshot| snapshot.meta.last.index.0);
        let mut config = Config::new(Timing::new(Duration::from_secs(1)).expect("a timeout"));
        config.limits.entries_kept = 3;
        let identity = Identity { node: NodeId(1), store: STORE };
        let raft = Raft::new(identity, config, recovered, (Duration::ZERO, seed));
        let mut node = Self { device, store, raft, state, applied };
        node.step(Event::Tick)?;
        Some(node)
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            assert_eq!(entry.id.index.0, self.applied + 1, "applied in order, none twice");
            self.applied += 1;
            if let Payload::Command(proposal) = entry.payload {
                self.state[proposal.id.0 as usize] += 1;
            }
        }
    }

    /// Steps, writes, and steps with what became durable, until nothing is left to do.
    fn step(&mut self, event: Event) -> Option<()> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Output { writes, apply, .. } = self.raft.step(Duration::from_secs(1), event);
            let last = writes.last().map(|write| write.id);
            self.store.write(writes).ok()?;
            self.apply(apply);
            if let Some(last) = last {
                while durable(&self.store) < last {
                    if !self.device.turn() || self.store.progress().borrow().failed.is_some() {
                        return None;
                    }
                }
                events.push_back(Event::Persisted(last));
            }
        }
        Some(())
    }

    /// Proposes the commands from `from` on; `acknowledged` says how far they are applied.
    fn work(&mut self, from: u64, acknowledged: &mut u64) -> Option<()> {
        for n in from..COMMANDS {
            let (id, since) = (ProposalId(u128::from(n)), Index(0));
            let command = Bytes::from(vec![n as u8; 5000]);
            self.step(Event::Propose(vec![Proposal { id, since, command }]))?;
            assert_eq!(self.state[n as usize], 1, "applied once");
            *acknowledged = n + 1;
            if n % 4 == 3 {
                let (last, membership) = self.raft.snapshot_point(Index(self.applied));
                let state = Bytes::from(self.state.clone());
                let snapshot = Snapshot::new(last, membership, state);
                self.step(Event::Compact(snapshot.into()))?;
            }
        }
        Some(())
    }
}

/// Promise (M12, M13): a member that is alone proposes, applies and takes snapshots, and power fails
/// at each operation. After the start each command is applied once or, if it was never
/// acknowledged, perhaps not at all: what it applied before it counts was durable.
#[test]
fn m12_m13_each_command_is_applied_once_over_a_crash() {
    let disk = SimDisk::new(3);
    Node::start(&disk, 1).expect("no faults").work(0, &mut 0).expect("no faults");
    let total = disk.operations() as u64;
    for k in 0..total {
        let effect = [Effect::CrashBefore, Effect::CrashDuring, Effect::CrashAfter][k as usize % 3];
        let disk = SimDisk::new(3);
        disk.fail(Fault::at(k, effect));
        let mut acknowledged = 0;
        if let Some(mut node) = Node::start(&disk, 1) {
            assert!(node.work(0, &mut acknowledged).is_none(), "operation {k} was reached");
        }
        let disk = disk.crash(k);
        disk.heal();
        let mut node = Node::start(&disk, 2).expect("no faults any more");
        let applied = node.state.iter().take_while(|times| **times == 1).count() as u64;
        assert!(applied >= acknowledged, "{applied} of {acknowledged}, operation {k}");
        assert!(node.state[applied as usize..].iter().all(|times| *times == 0), "{:?}", node.state);
        node.work(applied, &mut acknowledged).expect("no faults any more");
    }
}
