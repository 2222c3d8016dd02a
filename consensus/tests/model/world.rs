//! Three members, their disks, and the messages between them.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use resprout_consensus::{
    Ballot, Config, Content, Entry, EntryId, Envelope, Event, Identity, Index, Membership, Message,
    NodeId, Output, Payload, Proposal, ProposalId, Raft, Recovered, Role, StoreId, Term, Vote,
    WriteId,
};

use crate::checks::{Broken, History};
use crate::search::Bounds;

/// One member: the core and what is around it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) raft: Raft,
    /// The log as the core has handed it out.
    pub(crate) log: Vec<Entry>,
    ballot: Ballot,
    entries: Vec<Entry>,
    /// Writes that are under way.
    pub(crate) writes: VecDeque<Content>,
    /// Of all above: members are compared much more often than changed.
    hash: u64,
}

/// A message, found again by its content.
#[derive(Clone, Debug)]
pub(crate) struct Flying {
    pub(crate) hash: u64,
    pub(crate) envelope: Arc<Envelope>,
}

/// One state of everything.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) members: [Arc<Member>; 3],
    /// In order of their hashes, equal ones once: how they came to be there does not matter.
    pub(crate) network: Vec<Flying>,
    pub(crate) history: History,
    pub(crate) broken: Option<Broken>,
    /// How often somebody stood, proposed and crashed.
    pub(crate) stands: usize,
    pub(crate) proposals: usize,
    pub(crate) crashes: usize,
    bounds: Bounds,
    /// An entry was taken back.
    pub(crate) has_cut: bool,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.members.iter().for_each(|member| member.hash.hash(state));
        self.network.iter().for_each(|flying| flying.hash.hash(state));
        self.history.hash(state);
        (self.broken, self.stands, self.proposals, self.crashes, self.has_cut).hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        hash_of(self) == hash_of(other)
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    // Its keys are fixed, so that every run sees the same.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn node(at: usize) -> NodeId {
    NodeId(at as u64 + 1)
}

fn membership() -> Membership {
    let member = |at: usize| resprout_consensus::Member {
        store: StoreId(at as u64 + 1),
        address: String::new(),
        vote: Vote::Voter,
    };
    Membership { members: (0..3).map(|at| (node(at), member(at))).collect::<BTreeMap<_, _>>() }
}

/// A log whose entries are of these terms; the first lays down the members.
fn log(terms: &[u64]) -> Vec<Entry> {
    let entry = |(place, term): (usize, &u64)| Entry {
        id: EntryId::new(Term(*term), Index(place as u64 + 1)),
        payload: if place == 0 { Payload::Membership(membership()) } else { Payload::TermStart },
    };
    terms.iter().enumerate().map(entry).collect()
}

impl Member {
    fn new(at: usize, config: &Config, ballot: Ballot, entries: Vec<Entry>) -> Self {
        let identity = Identity { node: node(at), store: StoreId(at as u64 + 1) };
        let log = entries.clone();
        let recovered =
            Recovered { ballot, entries: entries.clone(), boot: 1, ..Recovered::default() };
        let raft = Raft::new(identity, config.clone(), recovered, (Duration::ZERO, 0));
        let mut member = Self { raft, log, ballot, entries, writes: VecDeque::new(), hash: 0 };
        member.project();
        member
    }

    fn project(&mut self) {
        self.raft.project();
        self.hash = hash_of(&(
            &self.raft,
            &self.log,
            self.ballot,
            &self.entries,
            hash_writes(&self.writes),
        ));
    }

    /// Whether a message need not arrive any more: fewer messages make far fewer states. Answers to
    /// questions that this member does not ask any more, nor after a crash, mean nothing; and a
    /// question of an older term can only make who asks give up, which it may do without.
    fn is_deaf_to(&self, envelope: &Envelope) -> bool {
        let asks = match envelope.message {
            Message::VoteAnswer { .. } => Role::Candidate,
            Message::AppendAnswer { .. } => Role::Leader,
            _ => return envelope.term < self.ballot.term,
        };
        let asked = self.raft.ballot().term == envelope.term && self.role() == asks;
        envelope.term <= self.ballot.term && !asked
    }

    pub(crate) fn role(&self) -> Role {
        self.raft.status().state.role
    }

    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        let place = (index.0 as usize).checked_sub(1)?;
        self.log.get(place).map(|entry| entry.id)
    }

    /// The oldest write under way reaches the disk.
    fn put_write(&mut self) {
        match self.writes.pop_front().expect("a write under way") {
            Content::Vote(ballot) => self.ballot = ballot,
            Content::Entries(entries) => put(&mut self.entries, &entries),
            Content::Snapshot { .. } => unreachable!("nobody makes snapshots here"),
        }
    }
}

fn put(log: &mut Vec<Entry>, entries: &[Entry]) {
    log.truncate(entries[0].id.index.0 as usize - 1);
    log.extend_from_slice(entries);
}

fn hash_writes(writes: &VecDeque<Content>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for content in writes {
        match content {
            Content::Vote(ballot) => ballot.hash(&mut hasher),
            Content::Entries(entries) => entries.hash(&mut hasher),
            Content::Snapshot { .. } => unreachable!("nobody makes snapshots here"),
        }
    }
    hasher.finish()
}

impl World {
    /// All is quiet, and the logs are of these terms.
    pub(crate) fn new(config: &Config, bounds: Bounds) -> Self {
        let term = bounds.logs.into_iter().flatten().max().copied().map_or(Term(0), Term);
        let ballot = Ballot { term, vote: None };
        let member = |at: usize| Arc::new(Member::new(at, config, ballot, log(bounds.logs[at])));
        Self {
            members: [member(0), member(1), member(2)],
            network: Vec::new(),
            history: History::default(),
            broken: None,
            stands: 0,
            proposals: 0,
            crashes: 0,
            bounds,
            has_cut: false,
        }
    }

    /// The member finds that it could win an election, and begins a term.
    pub(crate) fn stand(&mut self, config: &Config, at: usize) {
        self.stands += 1;
        if self.members[at].role() == Role::Leader {
            self.step_later(at, config.timing.election() * 3, Event::Tick);
        }
        self.step(at, Event::Tick);
        let term = self.members[at].raft.ballot().term.next();
        let other = (at + 1) % 3;
        let message = Message::PreVoteAnswer { granted: true };
        let (from, to) = (node(other), node(at));
        let (from_store, to_store) = (StoreId(from.0), StoreId(to.0));
        let yes = Envelope { from, from_store, to, to_store, term, message };
        self.step(at, Event::Receive(yes));
    }

    pub(crate) fn propose(&mut self, at: usize) {
        self.proposals += 1;
        let id = ProposalId(self.proposals as u128);
        let proposal = Proposal { id, since: Index(0), command: Bytes::new() };
        self.step(at, Event::Propose(vec![proposal]));
    }

    /// A message arrives; whether it will again is said by `stays`.
    pub(crate) fn deliver(&mut self, hash: u64, stays: bool) {
        let place = self.network.binary_search_by_key(&hash, |flying| flying.hash);
        let place = place.expect("only what is under way arrives");
        let envelope = self.network[place].envelope.clone();
        if !stays {
            self.network.remove(place);
        }
        let at = envelope.to.0 as usize - 1;
        self.step(at, Event::Receive((*envelope).clone()));
    }

    /// What was written becomes durable, and the member hears of it. That only a part of it is on
    /// the disk matters in a crash.
    pub(crate) fn persist(&mut self, at: usize) {
        let member = Arc::make_mut(&mut self.members[at]);
        let writes = member.writes.len() as u64;
        while !member.writes.is_empty() {
            member.put_write();
        }
        self.step(at, Event::Persisted(WriteId(writes)));
    }

    /// The member crashes when `kept` of its writes are on the disk, and starts again.
    pub(crate) fn crash(&mut self, config: &Config, at: usize, kept: usize) {
        self.crashes += 1;
        let member = Arc::make_mut(&mut self.members[at]);
        for _ in 0..kept {
            member.put_write();
        }
        let entries = member.entries.clone();
        self.members[at] = Arc::new(Member::new(at, config, member.ballot, entries));
    }

    fn step(&mut self, at: usize, event: Event) {
        self.step_later(at, Duration::ZERO, event);
    }

    fn step_later(&mut self, at: usize, later: Duration, event: Event) {
        if self.broken.is_some() {
            return;
        }
        let member = Arc::make_mut(&mut self.members[at]);
        let was = member.role();
        // Timers are due at the time that stands for all times.
        let now = member.raft.deadline() + later;
        let step = AssertUnwindSafe(|| member.raft.step(now, event));
        let Ok(out) = catch_unwind(step) else {
            self.broken = Some(Broken::Asserted);
            return;
        };
        self.carry_out(at, out);
        self.broken = self.history.check(&self.members, at, was);
        if self.bounds.prompt && !self.members[at].writes.is_empty() {
            self.persist(at);
        }
    }

    fn carry_out(&mut self, at: usize, out: Output) {
        let member = Arc::make_mut(&mut self.members[at]);
        for write in out.writes {
            if let Content::Entries(entries) = &write.content {
                let first = entries[0].id.index.0 as usize;
                self.has_cut |= member.log.len() >= first;
                put(&mut member.log, entries);
            }
            member.writes.push_back(write.content);
        }
        member.project();
        for envelope in out.messages {
            self.send(envelope);
        }
        let member = &self.members[at];
        let to_this = |envelope: &Envelope| envelope.to == node(at);
        self.network
            .retain(|flying| !to_this(&flying.envelope) || !member.is_deaf_to(&flying.envelope));
    }

    fn send(&mut self, envelope: Envelope) {
        match &envelope.message {
            // Answered when it is asked.
            Message::PreVote { .. } => return,
            // It can only make a candidate give up, which it may do without.
            Message::VoteAnswer { granted: false } => return,
            Message::Append { .. } if self.bounds.votes_only => return,
            _ => {}
        }
        if self.members[envelope.to.0 as usize - 1].is_deaf_to(&envelope) {
            return;
        }
        let hash = hash_of(&envelope);
        let place = self.network.partition_point(|flying| flying.hash < hash);
        let is_there = self.network.get(place).is_some_and(|flying| flying.hash == hash);
        // That one message may arrive twice is `Bounds::repeats`.
        if !is_there {
            self.network.insert(place, Flying { hash, envelope: Arc::new(envelope) });
        }
    }
}
