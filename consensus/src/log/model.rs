//! The log against a naive one: all entries since the first in a `Vec`, and a disk that takes the
//! writes one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::{Log, Snapshot};
use crate::{
    Entry, EntryId, Index, Member, Membership, NodeId, Payload, Proposal, ProposalId, StoreId,
    Term, Vote, WriteId,
};

/// What happens to one member's log. Numbers are taken modulo what is possible then.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// This member leads a new term and adds so many entries.
    Lead(usize),
    /// The leader of another term sends entries behind one that both have.
    Take { leader: usize, back: usize, entries: usize },
    /// Term and vote are written.
    Vote,
    /// The next writes become durable, at once.
    Persist(usize),
    /// More is committed.
    Commit(usize),
    /// A snapshot of this member's own, some entries before it kept.
    Compact { back: usize, kept: usize },
    /// A leader's snapshot.
    Install { leader: usize, ahead: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (1..4_usize).prop_map(Step::Lead),
        6 => (0..6_usize, 0..5_usize, 0..5_usize)
            .prop_map(|(leader, back, entries)| Step::Take { leader, back, entries }),
        1 => Just(Step::Vote),
        4 => (1..4_usize).prop_map(Step::Persist),
        2 => (0..4_usize).prop_map(Step::Commit),
        1 => (0..4_usize, 0..4_usize).prop_map(|(back, kept)| Step::Compact { back, kept }),
        1 => (0..6_usize, 0..6_usize).prop_map(|(leader, ahead)| Step::Install { leader, ahead }),
    ];
    prop::collection::vec(step, 0..50)
}

/// Logs of the leaders of terms 1 to 6: each begins with a part of an earlier one.
fn leaders() -> impl Strategy<Value = Vec<Vec<Entry>>> {
    prop::collection::vec((0..6_usize, 0..4_usize, 1..4_usize), 6).prop_map(|shapes| {
        let mut logs: Vec<Vec<Entry>> = Vec::new();
        for (term, (of, cut, new)) in shapes.into_iter().enumerate() {
            let mut log = if logs.is_empty() { Vec::new() } else { logs[of % logs.len()].clone() };
            log.truncate(log.len().saturating_sub(cut));
            for _ in 0..new {
                log.push(entry(term as u64 + 1, log.len() as u64 + 1));
            }
            logs.push(log);
        }
        logs
    })
}

/// The entry of that name: its content follows from the name, as in a cluster.
fn entry(term: u64, index: u64) -> Entry {
    let payload = match (term * 7 + index * 3) % 5 {
        0 => Payload::Membership(members(term * 100 + index)),
        1 => Payload::TermStart,
        size => Payload::Command(Proposal {
            id: ProposalId(0),
            since: Index(0),
            command: Bytes::from(vec![7; size as usize]),
        }),
    };
    Entry { id: EntryId::new(Term(term), Index(index)), payload }
}

fn members(store: u64) -> Membership {
    let member = Member { store: StoreId(store), address: String::new(), vote: Vote::Voter };
    Membership { members: BTreeMap::from([(NodeId(1), member)]) }
}

/// What a disk holds: the index before the first entry, and the entries.
type Disk = (usize, Vec<Entry>);

#[derive(Clone, Debug)]
enum Content {
    Vote,
    Entries(Vec<Entry>),
    Snapshot(Arc<Snapshot>, usize),
    Install(Arc<Snapshot>),
}

impl Content {
    fn put_on(&self, disk: &mut Disk) {
        match self {
            Self::Vote => {}
            Self::Entries(entries) => {
                disk.1.truncate(entries[0].id.index.0 as usize - 1 - disk.0);
                disk.1.extend_from_slice(entries);
            }
            Self::Snapshot(_, base) => {
                disk.1.drain(..base - disk.0);
                disk.0 = *base;
            }
            Self::Install(snapshot) => *disk = (snapshot.meta.last.index.0 as usize, Vec::new()),
        }
    }
}

/// The naive log beside the real one.
struct Pair {
    log: Log,
    /// Every entry since the first, also those that are only in a snapshot.
    all: Vec<Entry>,
    base: usize,
    committed: usize,
    snapshot: usize,
    disk: Disk,
    writes: VecDeque<Content>,
    /// What a snapshot that is being installed stands for.
    replaced_by: Option<Vec<Entry>>,
    /// The newest term that this member has led.
    led: u64,
    last_write: u64,
    durable_write: u64,
}

impl Pair {
    fn new() -> Self {
        Self {
            log: Log::recovered(None, EntryId::ZERO, Vec::new()),
            all: Vec::new(),
            base: 0,
            committed: 0,
            snapshot: 0,
            disk: (0, Vec::new()),
            writes: VecDeque::new(),
            replaced_by: None,
            // Behind the terms of the others.
            led: 6,
            last_write: 0,
            durable_write: 0,
        }
    }

    fn write(&mut self, content: Content) {
        self.last_write += 1;
        self.log.wrote(WriteId(self.last_write));
        self.writes.push_back(content);
    }

    fn is_installing(&self) -> bool {
        self.writes.iter().any(|content| matches!(content, Content::Install(_)))
    }

    fn is_storing(&self) -> bool {
        let stores = |content: &Content| matches!(content, Content::Snapshot(..));
        self.is_installing() || self.writes.iter().any(stores)
    }

    fn step(&mut self, step: Step, leaders: &[Vec<Entry>]) {
        let own_last = self.all.len();
        match step {
            // The core takes nothing while a snapshot is about to replace its log.
            Step::Lead(_) | Step::Take { .. } | Step::Commit(_) if self.is_installing() => {}
            Step::Lead(entries) => {
                // A term is led once: so no two entries get one name.
                self.led += 1;
                let new = (1..=entries).map(|n| entry(self.led, (own_last + n) as u64));
                let new: Vec<Entry> = new.collect();
                new.iter().for_each(|entry| self.log.push(entry.clone()));
                self.all.extend_from_slice(&new);
                self.write(Content::Entries(new));
            }
            Step::Take { leader, back, entries } => {
                self.take(&leaders[leader], own_last.saturating_sub(back), entries);
            }
            Step::Vote => self.write(Content::Vote),
            Step::Persist(writes) => self.persist(writes.min(self.writes.len())),
            Step::Commit(more) => {
                let to = (self.committed + more).min(own_last);
                let moved = self.log.commit(Index(to as u64));
                assert_eq!(moved, to > self.committed);
                self.committed = to;
            }
            Step::Compact { back, kept } => self.compact(back, kept),
            Step::Install { leader, ahead } => self.install(&leaders[leader], ahead),
        }
    }

    fn take(&mut self, leader: &[Entry], previous: usize, entries: usize) {
        let previous = previous.max(self.committed);
        let to = (previous + entries).min(leader.len());
        let matches = previous <= leader.len() && self.all[..previous] == leader[..previous];
        if !matches || previous >= to {
            return;
        }
        let sent = leader[previous..to].to_vec();
        let known = sent.iter().zip(&self.all[previous..]).take_while(|(new, own)| new == own);
        let known = known.count();
        if known < sent.len() {
            self.all.truncate(previous + known);
            self.all.extend_from_slice(&sent[known..]);
        }
        let fresh = self.log.take(sent.clone());
        assert_eq!(fresh, sent[known..]);
        if !fresh.is_empty() {
            self.write(Content::Entries(fresh));
        }
    }

    fn compact(&mut self, back: usize, kept: usize) {
        let last = (self.log.ready().0 as usize).saturating_sub(back);
        if self.is_storing() || last <= self.snapshot {
            return;
        }
        let base = last.saturating_sub(kept).max(self.base);
        let snapshot = snapshot(&self.all[..last]);
        self.write(Content::Snapshot(snapshot, base));
    }

    fn install(&mut self, leader: &[Entry], ahead: usize) {
        let last = (self.committed + 1 + ahead).min(leader.len());
        if self.is_storing()
            || last <= self.committed
            // What is committed here is the same there.
            || self.all[..self.committed] != leader[..self.committed]
        {
            return;
        }
        self.write(Content::Install(snapshot(&leader[..last])));
        self.replaced_by = Some(leader[..last].to_vec());
    }

    fn persist(&mut self, writes: usize) {
        let done: Vec<Content> = self.writes.drain(..writes).collect();
        self.durable_write += writes as u64;
        self.log.persisted(WriteId(self.durable_write));
        for content in done {
            content.put_on(&mut self.disk);
            match content {
                Content::Snapshot(snapshot, base) => {
                    self.snapshot = snapshot.meta.last.index.0 as usize;
                    self.base = base;
                    self.log.compact(snapshot, Index(base as u64));
                }
                Content::Install(snapshot) => {
                    self.all = self.replaced_by.take().expect("noted when it was written");
                    let last = self.all.len();
                    (self.base, self.committed, self.snapshot) = (last, last, last);
                    self.log.install(snapshot);
                }
                Content::Vote | Content::Entries(_) => {}
            }
        }
    }

    /// Up to here the disk agrees with the log, now and after each write that is under way: if
    /// power fails at any moment, that much is left.
    fn durable(&self) -> usize {
        let mut disk = self.disk.clone();
        let mut least = self.agrees(&disk);
        for content in &self.writes {
            if let Content::Install(_) = content {
                break;
            }
            content.put_on(&mut disk);
            least = least.min(self.agrees(&disk));
        }
        least
    }

    fn agrees(&self, (base, entries): &Disk) -> usize {
        let own = &self.all[*base..];
        base + entries.iter().zip(own).take_while(|(disk, own)| disk == own).count()
    }

    fn check(&self) {
        let Self { log, all, base, committed, snapshot, .. } = self;
        let id = |index: usize| index.checked_sub(1).map_or(EntryId::ZERO, |at| all[at].id);
        log.check();
        assert_eq!(log.last(), id(all.len()));
        assert_eq!(log.base(), id(*base));
        assert_eq!(log.committed().0 as usize, *committed);
        assert_eq!(log.durable().0 as usize, self.durable(), "durable");
        assert_eq!(log.ready(), log.committed().min(log.durable()));
        let bytes = |entries: &[Entry]| entries.iter().map(Entry::bytes).sum::<usize>();
        assert_eq!(log.entries_bytes(), bytes(&all[*base..]));
        assert_eq!(log.uncommitted_bytes(), bytes(&all[*committed..]));
        for index in 0..all.len() + 2 {
            let known = (index >= *base || index == *snapshot) && index <= all.len();
            let expected = known.then(|| id(index));
            assert_eq!(log.id_at(Index(index as u64)), expected, "at {index}");
            let entry = index.checked_sub(1).and_then(|at| all.get(at)).filter(|_| index > *base);
            assert_eq!(log.get(Index(index as u64)), entry);
        }
        self.check_memberships();
        self.check_terms();
    }

    fn check_memberships(&self) {
        let (index, membership) = self.log.membership();
        assert_eq!((index, membership.clone()), laid_down(&self.all));
        for at in self.snapshot..=self.committed {
            let at_index = self.log.membership_at(Index(at as u64));
            assert_eq!(at_index, laid_down(&self.all[..at]), "members at {at}");
        }
    }

    fn check_terms(&self) {
        for index in self.base..self.all.len() + 2 {
            for term in 0..8 {
                let upto = &self.all[self.base..index.min(self.all.len())];
                let last = upto.iter().rev().find(|entry| entry.id.term.0 <= term);
                let expected = last.map_or(self.log.base(), |entry| entry.id);
                assert_eq!(self.log.last_of_term(Index(index as u64), Term(term)), expected);
            }
        }
    }

    fn check_slice(&self, (from, to, bytes_max): (usize, usize, usize)) {
        let (from, to) = (from.max(self.base + 1), to.min(self.all.len()));
        let taken = self.log.slice(Index(from as u64), Index(to as u64), bytes_max);
        let possible = if from <= to { &self.all[from - 1..to] } else { &[] };
        assert_eq!(taken, possible[..taken.len()]);
        let bytes = |count: usize| possible[..count].iter().map(Entry::bytes).sum::<usize>();
        assert!(taken.len() <= 1 || bytes(taken.len()) <= bytes_max);
        let more = taken.len() + 1;
        assert!(more > possible.len() || (more > 1 && bytes(more) > bytes_max));
    }
}

/// The newest members in these entries, and where.
fn laid_down(entries: &[Entry]) -> (Index, Membership) {
    let newest = entries.iter().rev().find_map(|entry| match &entry.payload {
        Payload::Membership(membership) => Some((entry.id.index, membership.clone())),
        _ => None,
    });
    newest.unwrap_or_default()
}

fn snapshot(entries: &[Entry]) -> Arc<Snapshot> {
    let last = entries.last().expect("a snapshot of something").id;
    Arc::new(Snapshot::new(last, laid_down(entries), Bytes::new()))
}

proptest! {
    #![proptest_config(Config {
        cases: 4000,
        rng_seed: RngSeed::Fixed(0x5EED_0002),
        failure_persistence: None,
        ..Config::default()
    })]

    /// Promise: the log says of itself what the naive one says, above all how much of it a loss of
    /// power at any moment leaves, also after cuts while writes are under way.
    #[test]
    fn the_log_agrees_with_the_naive_one(
        leaders in leaders(),
        steps in steps(),
        slice in (0..12_usize, 0..12_usize, 0..300_usize),
    ) {
        let mut pair = Pair::new();
        for step in steps {
            pair.step(step, &leaders);
            pair.check();
            pair.check_slice(slice);
        }
    }

    /// Promise: a log that is opened again from what is on the disk is the one that was durable.
    #[test]
    fn a_recovered_log_is_the_durable_one(leaders in leaders(), steps in steps()) {
        let mut pair = Pair::new();
        for step in steps {
            pair.step(step, &leaders);
        }
        pair.persist(pair.writes.len());
        let (log, snapshot) = (&pair.log, pair.log.snapshot().cloned());
        let again = Log::recovered(snapshot, log.base(), pair.disk.1.clone());
        prop_assert_eq!(again.last(), log.last());
        prop_assert_eq!(again.durable(), log.durable());
        prop_assert_eq!(again.membership(), log.membership());
        prop_assert_eq!(again.entries_bytes(), log.entries_bytes());
        let committed = log.snapshot().map_or(Index(0), |snapshot| snapshot.meta.last.index);
        prop_assert_eq!(again.committed(), committed);
    }
}
