//! The command language: one line, one thing that happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use resprout_consensus::{
    Ballot, Change, Entry, EntryId, Event, Index, Limits, NodeId, Payload, Proposal, ProposalId,
    ReadId, ReadProof, Recovered, Snapshot, StoreId, Term, Vote,
};

use crate::forge::forge;
use crate::show;
use crate::store::Store;
use crate::world::{Node, World, member};

/// Runs one line.
pub(crate) fn run(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, rest) = words.split_first().expect("a line that is not empty");
    if setup(world, name, rest) || network(world, name, rest) || node_command(world, name, rest) {
        return;
    }
    panic!("{}: no such command: {line}", world.at);
}

pub(crate) fn node(word: &str) -> NodeId {
    let digits = word.strip_prefix('n').unwrap_or(word);
    NodeId(digits.parse().unwrap_or_else(|_| panic!("not a node: {word}")))
}

pub(crate) fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

/// `+500ms`.
fn millis(word: &str) -> Duration {
    let digits = word.strip_prefix('+').and_then(|word| word.strip_suffix("ms"));
    Duration::from_millis(number(digits.unwrap_or_else(|| panic!("not a time: {word}"))))
}

/// `term/index`.
pub(crate) fn entry_id(word: &str) -> EntryId {
    let (term, index) = word.split_once('/').unwrap_or_else(|| panic!("not an entry: {word}"));
    EntryId::new(Term(number(term)), Index(number(index)))
}

/// A command that is the same wherever its entry is.
pub(crate) fn entry(id: EntryId) -> Entry {
    let (term, index) = (id.term.0, id.index.0);
    let name = ProposalId(u128::from(term) << 64 | u128::from(index));
    let command = Bytes::from(format!("{term}.{index}"));
    Entry { id, payload: Payload::Command(Proposal { id: name, since: Index(0), command }) }
}

/// What is there before anything happens.
fn setup(world: &mut World, name: &str, words: &[&str]) -> bool {
    match (name, words) {
        ("nodes", _) => nodes(world, words),
        // A node that is no member, with nothing in its store.
        ("empty", [id]) => {
            let id = node(id);
            world.nodes.insert(id, Node::new(id, Recovered::default()));
            world.start(id);
        }
        // Terms of the entries from 2 on.
        ("log", [id, terms @ ..]) => {
            let id = node(id);
            let store = &mut world.node(id).store;
            store.entries.truncate(1);
            for (place, term) in terms.iter().enumerate() {
                let name = EntryId::new(Term(number(term)), Index(place as u64 + 2));
                store.ballot.term = store.ballot.term.max(name.term);
                store.entries.push(entry(name));
            }
            world.start(id);
        }
        ("ballot", [id, term, vote @ ..]) => {
            let vote = vote.first().map(|vote| node(vote));
            world.node(node(id)).store.ballot = Ballot { term: Term(number(term)), vote };
            world.start(node(id));
        }
        ("limits", [which, values @ ..]) => {
            let ids: Vec<NodeId> = world.nodes.keys().copied().collect();
            for id in ids.into_iter().filter(|id| *which == "*" || node(which) == *id) {
                for value in values {
                    set_limit(&mut world.node(id).config.limits, value);
                }
                world.start(id);
            }
        }
        // Percent of the true speed.
        ("clock", [id, percent]) => {
            let now = world.now;
            let node = world.node(node(id));
            node.clock = (number(percent), now, node.local(now));
        }
        ("repeat", [times, rest @ ..]) => {
            for _ in 0..number(times) {
                run(world, &rest.join(" "));
            }
        }
        ("quiet", []) => world.quiet = true,
        ("loud", []) => world.quiet = false,
        _ => return false,
    }
    true
}

fn nodes(world: &mut World, words: &[&str]) {
    let mut members = BTreeMap::new();
    let mut vote = Vote::Voter;
    for word in words {
        match *word {
            "learners" => vote = Vote::Learner,
            word => _ = members.insert(node(word), member(node(word), vote)),
        }
    }
    let ids: Vec<NodeId> = members.keys().copied().collect();
    let membership = resprout_consensus::Membership { members };
    let first = EntryId::new(Term(1), Index(1));
    let entries = vec![Entry { id: first, payload: Payload::Membership(membership) }];
    let ballot = Ballot { term: Term(1), vote: None };
    let recovered = Recovered { ballot, entries, ..Recovered::default() };
    for id in ids {
        world.nodes.insert(id, Node::new(id, recovered.clone()));
        world.start(id);
    }
}

fn set_limit(limits: &mut Limits, value: &str) {
    let (name, value) = value.split_once('=').expect("name=value");
    let size = usize::try_from(number(value)).expect("64 bits");
    match name {
        "command_bytes_max" => limits.command_bytes_max = size,
        "append_bytes_max" => limits.append_bytes_max = size,
        "inflight_appends_max" => limits.inflight_appends_max = size,
        "inflight_bytes_max" => limits.inflight_bytes_max = size,
        "uncommitted_bytes_max" => limits.uncommitted_bytes_max = size,
        "reads_max" => limits.reads_max = size,
        "snapshot_piece_bytes" => limits.snapshot_piece_bytes = size,
        "snapshot_pieces_max" => limits.snapshot_pieces_max = size,
        "snapshot_bytes_max" => limits.snapshot_bytes_max = size as u64,
        "entries_kept" => limits.entries_kept = size as u64,
        _ => panic!("no such limit: {name}"),
    }
}

/// What happens between the members, and to the time.
fn network(world: &mut World, name: &str, words: &[&str]) -> bool {
    match (name, words) {
        // Nobody is woken meanwhile.
        ("now", [time]) => world.now += millis(time),
        // Everybody is woken in time, and what is sent arrives at once.
        ("pass", [time]) => world.pass(millis(time)),
        ("settle", []) => world.settle(),
        ("deliver", _) => {
            let link = Link::parse(words);
            for _ in 0..link.count(world) {
                let place = link.first(world).expect("counted");
                world.deliver(place);
            }
        }
        ("drop", _) => {
            let link = Link::parse(words);
            for _ in 0..link.count(world) {
                let place = link.first(world).expect("counted");
                let lost = world.network.remove(place);
                world.say(format!("lost: {}", show::envelope(&lost, "→")));
            }
        }
        // The first message comes twice.
        ("dup", _) => {
            let place = Link::parse(words).first(world).expect("a message to double");
            let twice = world.network[place].clone();
            world.network.push(twice);
        }
        // The first message comes after all others.
        ("late", _) => {
            let place = Link::parse(words).first(world).expect("a message to hold up");
            let late = world.network.remove(place);
            world.network.push(late);
        }
        ("cut", [from, "to", to]) => _ = world.cuts.insert((node(from), node(to))),
        ("cut", [id]) => {
            for other in world.nodes.keys() {
                world.cuts.insert((node(id), *other));
                world.cuts.insert((*other, node(id)));
            }
        }
        ("heal", []) => world.cuts.clear(),
        _ => return false,
    }
    true
}

/// Messages from one to another, `*` being anybody.
struct Link<'a> {
    from: &'a str,
    to: &'a str,
    most: usize,
}

impl<'a> Link<'a> {
    fn parse(words: &[&'a str]) -> Self {
        let (from, to) = (words.first().unwrap_or(&"*"), words.get(1).unwrap_or(&"*"));
        let most = words.get(2).map_or(usize::MAX, |most| number(most) as usize);
        Self { from, to, most }
    }

    fn places(&self, world: &World) -> impl Iterator<Item = usize> {
        let is = |word: &str, id: NodeId| word == "*" || node(word) == id;
        let all = world.network.iter().enumerate();
        let found = all.filter(move |(_, one)| is(self.from, one.from) && is(self.to, one.to));
        found.map(|(place, _)| place)
    }

    fn count(&self, world: &World) -> usize {
        self.places(world).count().min(self.most)
    }

    fn first(&self, world: &World) -> Option<usize> {
        self.places(world).next()
    }
}

/// What happens to one node.
fn node_command(world: &mut World, name: &str, words: &[&str]) -> bool {
    let Some((id, rest)) = words.split_first() else { return false };
    let id = node(id);
    match (name, rest) {
        ("tick", []) => world.step(id, Event::Tick),
        // Time goes on until it wants to be woken.
        ("timeout", []) => {
            let deadline = world.node(id).deadline().expect("it waits for something");
            world.now = world.now.max(deadline);
            world.step(id, Event::Tick);
        }
        ("elect", []) => {
            run(world, &format!("timeout {id}"));
            world.settle();
        }
        ("propose", commands) => propose(world, id, commands),
        ("change", change) => world.step(id, Event::Change(self::change(change))),
        ("read", [read, proof]) => {
            let proof = if *proof == "lease" { ReadProof::Lease } else { ReadProof::Round };
            let ids = read.split(',').map(|read| ReadId(number(read))).collect();
            world.step(id, Event::Read { ids, proof });
        }
        ("transfer", [to]) => world.step(id, Event::Transfer(node(to))),
        ("takeover", []) => world.step(id, Event::TakeOver),
        ("unreachable", [other]) => world.step(id, Event::Unreachable(node(other))),
        ("compact", []) => compact(world, id),
        ("status", []) => {
            let raft = world.node(id).raft.as_ref();
            let lines = raft.map_or_else(Vec::new, |raft| show::status(&raft.status()));
            for line in lines {
                world.say(format!("{id} {line}"));
            }
        }
        ("forge", [to, term, what @ ..]) => {
            let envelope = forge(world, (id, node(to)), Term(number(term)), what);
            world.say(show::envelope(&envelope, "→"));
            world.network.push(envelope);
        }
        _ => return store_command(world, name, id, rest),
    }
    true
}

/// What happens to a node's process and medium.
fn store_command(world: &mut World, name: &str, id: NodeId, rest: &[&str]) -> bool {
    match (name, rest) {
        ("disk", [speed]) => {
            world.node(id).slow_disk = *speed == "slow";
            if *speed != "slow" {
                world.persist(id, usize::MAX);
            }
        }
        ("persist", count) => {
            let count = count.first().map_or(usize::MAX, |count| number(count) as usize);
            world.persist(id, count);
        }
        // What is not durable is lost, and what was on its way to the process.
        ("crash", []) => {
            world.node(id).raft = None;
            world.network.retain(|envelope| envelope.to != id);
        }
        ("start", []) => world.start(id),
        ("wipe", []) => {
            let node = world.node(id);
            node.store = Store::default();
            node.identity.store = StoreId(node.identity.store.0 + 1000);
            world.start(id);
        }
        ("save", [image]) => {
            let store = world.node(id).store.clone();
            world.images.insert((*image).to_owned(), store);
        }
        ("restore", [image]) => {
            world.node(id).store = world.images[*image].clone();
            world.start(id);
        }
        ("show", ["store"]) => {
            let store = &world.node(id).store;
            let old = store.snapshot.as_ref().map(|one| show::snapshot(one)).unwrap_or_default();
            let (ballot, entries) = (show::ballot(&store.ballot), show::entries(&store.entries));
            world.say(format!("{id} has stored {ballot}, {old} [{entries}]"));
        }
        ("show", ["state"]) => {
            let Node { state, applied, .. } = world.node(id);
            let line = format!("{id} has applied up to {applied}: {state}");
            world.say(line);
        }
        _ => return false,
    }
    true
}

fn propose(world: &mut World, id: NodeId, commands: &[&str]) {
    let mut proposals = Vec::new();
    for command in commands {
        world.proposals += 1;
        let command = match command.strip_prefix("bytes:") {
            Some(bytes) => Bytes::from(vec![b'x'; number(bytes) as usize]),
            None => Bytes::from((*command).to_owned()),
        };
        proposals.push(Proposal { id: ProposalId(world.proposals), since: Index(0), command });
    }
    world.step(id, Event::Propose(proposals));
}

fn change(words: &[&str]) -> Change {
    match words {
        ["add", id, store @ ..] => {
            let member = member(node(id), Vote::Learner);
            let store = store.first().map_or(member.store, |store| StoreId(number(store)));
            Change::AddLearner { node: node(id), store, address: member.address }
        }
        ["promote", id] => Change::Promote(node(id)),
        ["demote", id] => Change::Demote(node(id)),
        ["remove", id] => Change::Remove(node(id)),
        _ => panic!("no such change: {words:?}"),
    }
}

/// The state as it is now goes to the store.
fn compact(world: &mut World, id: NodeId) {
    let Node { applied: at, state, .. } = world.node(id);
    let (at, state) = (*at, state.clone());
    let raft = world.node(id).raft.as_ref().expect("it runs");
    let (last, membership) = raft.snapshot_point(at);
    let snapshot = Snapshot::new(last, membership, Bytes::from(state));
    world.step(id, Event::Compact(Arc::new(snapshot)));
}
