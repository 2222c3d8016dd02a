//! The rules of one member.
//!
//! ```text
//!                 election timeout           majority would vote        majority votes
//!   Follower ─────────────────► PreCandidate ─────────────► Candidate ─────────────► Leader
//!      ▲  ▲                         │                           │                      │
//!      │  └──── a leader's sign ────┴───── lost, higher term ───┘                      │
//!      └───────────── higher term, no majority for an election timeout, removed ───────┘
//! ```
//!
//! Every step takes the time and one event and gives what is to be done. What promises something
//! (a vote, an acknowledgement) is held back here until the writes before it are durable, and
//! dropped if the term has moved on by then; so no driver can get that wrong.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use resprout_wal::world::Rng;

use crate::log::{Log, Snapshot};
use crate::quorum::Tally;
use crate::{
    Alarm, Ballot, Config, Content, EntryId, Envelope, Event, Index, Membership, Message, NodeId,
    Output, ProposeError, Recovered, Refusal, Role, State, StoreId, TakeOverError, Term, Timing,
    TransferError, Write, WriteId,
};

pub use status::{MemberStatus, Status};

use install::Receiving;
use leader::Leader;

/// Whether the tests want this bug. In production there is none to want.
macro_rules! planted {
    ($raft:expr, $bug:ident) => {{
        #[cfg(any(test, feature = "testing"))]
        let wanted = $raft.config.planted == Some(crate::testing::Planted::$bug);
        #[cfg(not(any(test, feature = "testing")))]
        let wanted = false;
        wanted
    }};
}

mod change;
mod commit;
mod election;
mod follower;
mod install;
mod leader;
#[cfg(any(test, feature = "testing"))]
mod projection;
mod read;
mod receive;
mod replicate;
mod status;
mod takeover;
mod transfer;

/// Most messages that wait for the medium. One that hangs must not take the memory; whoever waits
/// for an answer asks again.
const HELD_MAX: usize = 1024;

/// Who a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub node: NodeId,
    /// Its data directory.
    pub store: StoreId,
}

/// One member's rules and what they know.
#[derive(Clone, Debug)]
pub struct Raft {
    identity: Identity,
    config: Config,
    rng: Rng,
    now: Duration,
    ballot: Ballot,
    log: Log,
    part: Part,
    /// Who leads in this term, as far as known.
    leader: Option<NodeId>,
    /// When a leader last gave a sign, or this run began: it may hold a lease since.
    heard: Duration,
    /// When to stand for election.
    election_at: Duration,
    /// A leader whose times became shorter steps down for want of a majority no sooner than this.
    patient_until: Duration,
    /// That time was missed once since a leader was heard of.
    woke_late: bool,
    /// Somebody who lacks entries that are here counts on a vote that this member has not.
    called: bool,
    /// Which start of its process this is, counted durably.
    boot: u64,
    /// Whose message this step takes: its store may be news to the members known here.
    answering: Option<(NodeId, StoreId)>,
    writes: Writes,
    /// Up to here entries were handed out.
    applied: Index,
    /// A snapshot on its way here.
    receiving: Option<Receiving>,
    /// A snapshot on its way to the store.
    storing: Option<Storing>,
    told: Told,
    out: Output,
}

/// What a member does in its term.
#[derive(Clone, Debug, Hash)]
enum Part {
    Follower,
    PreCandidate(Tally),
    Candidate { tally: Tally, own_vote: WriteId },
    Leader(Box<Leader>),
    Ended(Refusal),
}

/// Writes under way, and what waits for them.
#[derive(Clone, Debug, Default, Hash)]
struct Writes {
    last: WriteId,
    durable: WriteId,
    held: VecDeque<(WriteId, Envelope)>,
}

/// A snapshot that the store is writing.
#[derive(Clone, Debug, Hash)]
struct Storing {
    write: WriteId,
    snapshot: Arc<Snapshot>,
    base: EntryId,
    installed: bool,
}

/// What was last told of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    term: Term,
    role: Role,
    leader: Option<NodeId>,
    membership: Option<EntryId>,
}

impl Raft {
    /// A member as its store has it, at time `now`. `seed` decides its random times.
    ///
    /// The state machine must hold the snapshot's state; entries behind are handed out again.
    #[must_use]
    pub fn new(
        identity: Identity,
        config: Config,
        recovered: Recovered,
        (now, seed): (Duration, u64),
    ) -> Self {
        let Recovered { ballot, snapshot, base, entries, boot } = recovered;
        let log = Log::recovered(snapshot, base, entries);
        assert!(log.last().term <= ballot.term, "entries of a term that was never begun");
        let mut raft = Self {
            identity,
            config,
            rng: Rng::new(seed),
            now,
            ballot,
            applied: log.committed(),
            log,
            part: Part::Follower,
            leader: None,
            // A vote soon after a restart could end a lease that this member has granted before.
            heard: now,
            election_at: now,
            patient_until: Duration::ZERO,
            woke_late: false,
            called: false,
            boot,
            answering: None,
            writes: Writes::default(),
            receiving: None,
            storing: None,
            told: Told::default(),
            out: Output::default(),
        };
        if !raft.is_only_voter() {
            raft.reset_election_timer();
        }
        raft
    }

    /// Takes one event at time `now`, which never goes back: a clock that runs while the machine is
    /// suspended (catalogue row T03).
    pub fn step(&mut self, now: Duration, event: Event) -> Output {
        self.now = self.now.max(now);
        match event {
            Event::Persisted(write) => self.persisted(write),
            _ if matches!(self.part, Part::Ended(_)) => self.refuse(event),
            Event::Tick => self.tick(),
            Event::Receive(envelope) => self.receive(envelope),
            Event::Propose(proposals) => self.propose(proposals),
            Event::Change(change) => self.out.changed = Some(self.change(&change)),
            Event::Read { ids, proof } => self.read(ids, proof),
            Event::Transfer(to) => self.out.transferred = Some(self.transfer(to)),
            Event::TakeOver => self.out.taken_over = Some(self.take_over()),
            Event::Compact(snapshot) => self.compact(snapshot),
            Event::Unreachable(node) => self.unreachable(node),
        }
        self.finish()
    }

    /// Other times from now on. All members are to have the same: a leader that beats too seldom for the others is
    /// deposed. Reads by [`crate::ReadProof::Lease`] rely on no voter having a shorter election timeout than its leader, so
    /// whoever uses them lengthens it on the others first, and shortens it on the leader first.
    pub fn set_timing(&mut self, timing: Timing) {
        let before = std::mem::replace(&mut self.config.timing, timing);
        let is_alone = self.is_only_voter();
        match &mut self.part {
            Part::Leader(leader) => {
                // What was asked at the old pace may be answered at the old pace.
                self.patient_until = leader.vouched().1 + before.election();
                leader.heartbeat_at = leader.heartbeat_at.min(self.now + timing.heartbeat());
            }
            Part::Ended(_) => {}
            _ if is_alone => {}
            _ => self.reset_election_timer(),
        }
    }

    /// When to step with [`Event::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        match &self.part {
            Part::Leader(leader) => leader.deadline(),
            Part::Ended(_) => Duration::MAX,
            _ => self.election_at,
        }
    }

    /// Who this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Its term and its vote in it.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Bytes of entries in memory: what a snapshot would free.
    #[must_use]
    pub fn entries_bytes(&self) -> usize {
        self.log.entries_bytes()
    }

    /// What a snapshot at `applied` must carry: the entry's name, the members, and where they were
    /// laid down. `applied` must have been handed out, and not be behind the newest snapshot.
    #[must_use]
    pub fn snapshot_point(&self, applied: Index) -> (EntryId, (Index, Membership)) {
        assert!(applied <= self.applied, "a snapshot of what was not handed out");
        let id = self.log.id_at(applied).expect("entries behind the newest snapshot are kept");
        (id, self.log.membership_at(applied))
    }

    /// What became of an event after the end.
    fn refuse(&mut self, event: Event) {
        match event {
            Event::Propose(proposals) => {
                let refused = proposals.iter().map(|one| (one.id, ProposeError::Ended));
                self.out.refused.extend(refused);
            }
            Event::Read { ids, .. } => self.out.reads_refused.extend(ids),
            Event::Change(_) => {
                self.out.changed = Some(Err(crate::ChangeError::NotLeader { leader: None }));
            }
            Event::Transfer(_) => self.out.transferred = Some(Err(TransferError::NotLeader)),
            Event::TakeOver => self.out.taken_over = Some(Err(TakeOverError::NotMember)),
            _ => {}
        }
    }

    fn tick(&mut self) {
        match self.part {
            Part::Leader(_) => self.tick_leader(),
            _ => self.tick_voter(),
        }
    }

    /// Hands out what may be applied, tells what is new, and checks what must hold.
    fn finish(&mut self) -> Output {
        while self.applied < self.log.ready() {
            let next = self.applied.next();
            let entry = self.log.get(next).expect("entries are kept until they are applied");
            self.out.apply.push(entry.clone());
            self.applied = next;
        }
        self.tell();
        self.check();
        std::mem::take(&mut self.out)
    }

    fn tell(&mut self) {
        let (index, membership) = self.log.membership();
        let now = Told {
            term: self.ballot.term,
            role: self.role(),
            leader: self.leader,
            membership: Some(self.log.id_at(index).unwrap_or(EntryId::new(Term(0), index))),
        };
        if now != self.told {
            let membership = (index, membership.clone());
            let Told { term, role, leader, .. } = now;
            self.out.state = Some(State { term, role, leader, membership });
            self.told = now;
        }
    }

    fn check(&self) {
        self.log.check();
        assert!(self.applied <= self.log.ready(), "handed out what may yet go");
        assert!(self.log.last().term <= self.ballot.term, "an entry of a later term");
        assert!(self.writes.durable <= self.writes.last, "durable before it was written");
        if let Part::Leader(_) = self.part {
            assert_eq!(self.leader, Some(self.identity.node), "a leader follows another");
        }
    }

    fn role(&self) -> Role {
        match &self.part {
            Part::Follower => Role::Follower,
            Part::PreCandidate(_) => Role::PreCandidate,
            Part::Candidate { .. } => Role::Candidate,
            Part::Leader(_) => Role::Leader,
            Part::Ended(why) => Role::Ended(*why),
        }
    }

    fn is_only_voter(&self) -> bool {
        let membership = self.log.membership().1;
        membership.voters().eq([self.identity.node]) && self.has_vote(membership)
    }

    /// Whether this member decides by that membership: not if another store had its vote. One that was
    /// added again under its old id reads of such times in the log.
    fn has_vote(&self, membership: &Membership) -> bool {
        let Identity { node, store } = self.identity;
        let own = membership.get(node);
        own.is_some_and(|member| member.store == store && member.vote == crate::Vote::Voter)
    }

    /// Hands a write to the store.
    fn write(&mut self, content: Content) -> WriteId {
        self.writes.last = WriteId(self.writes.last.0 + 1);
        let id = self.writes.last;
        self.log.wrote(id);
        self.out.writes.push(Write { id, content });
        id
    }

    /// Writes are durable: what they held back goes out.
    fn persisted(&mut self, write: WriteId) {
        assert!(write <= self.writes.last, "durable before it was written");
        self.writes.durable = self.writes.durable.max(write);
        self.log.persisted(write);
        while let Some((_, envelope)) =
            self.writes.held.pop_front_if(|(id, _)| *id <= self.writes.durable)
        {
            // A promise of an older term is void: since then this member may have promised
            // otherwise to a newer leader.
            if envelope.term == self.ballot.term && !matches!(self.part, Part::Ended(_)) {
                self.out.messages.push(envelope);
            } else {
                self.mark("promise of an older term dropped");
            }
        }
        self.stored();
        self.own_vote_durable();
        self.own_log_durable();
    }

    /// Sends a message; one that promises when what was written before it is durable.
    fn send(&mut self, to: NodeId, message: Message) {
        self.send_in(self.ballot.term, to, message);
    }

    fn send_in(&mut self, term: Term, to: NodeId, message: Message) {
        let to_store = match self.answering.filter(|(node, _)| *node == to) {
            Some((_, store)) => store,
            None => self.log.membership().1.get(to).map_or(StoreId(0), |member| member.store),
        };
        self.send_to((to, to_store), term, message);
    }

    /// Sends a message for one directory.
    fn send_to(&mut self, (to, to_store): (NodeId, StoreId), term: Term, message: Message) {
        let Identity { node: from, store: from_store } = self.identity;
        assert!(to != from, "a message to itself");
        let waits = message.promises()
            && self.writes.durable < self.writes.last
            && !self.skips_flush(&message);
        let envelope = Envelope { from, from_store, to, to_store, term, message };
        if waits && self.writes.held.len() >= HELD_MAX {
            self.mark("promise dropped: too many wait");
        } else if waits {
            self.writes.held.push_back((self.writes.last, envelope));
        } else {
            self.out.messages.push(envelope);
        }
    }

    fn skips_flush(&self, message: &Message) -> bool {
        match message {
            Message::VoteAnswer { .. } => planted!(self, VoteBeforeFlush),
            Message::AppendAnswer { .. } => planted!(self, AckBeforeFlush),
            _ => false,
        }
    }

    fn end(&mut self, by: NodeId, why: Refusal) {
        self.out.alarms.push(Alarm::Refused { by, why });
        self.drop_leadership();
        self.part = Part::Ended(why);
        self.leader = None;
    }

    /// Ties a line to the tests that explain it.
    #[cfg(any(test, feature = "testing"))]
    fn mark(&mut self, mark: &'static str) {
        self.out.marks.push(mark);
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[expect(clippy::unused_self, reason = "only tests have marks")]
    fn mark(&mut self, _mark: &'static str) {}
}
