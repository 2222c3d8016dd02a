//! The members, their stores, and what is under way between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use resprout_consensus::testing::Planted;
use resprout_consensus::{
    Config, Entry, Envelope, Event, Identity, Index, Member, NodeId, Output, Payload, Raft,
    Recovered, Role, State, StoreId, Term, Timing, Vote,
};

use crate::show;
use crate::store::Store;

/// The election timeout of all scenarios.
pub(crate) const ELECTION: Duration = Duration::from_millis(1000);

/// Steps after which messages only beget messages.
const SETTLE_STEPS_MAX: usize = 5000;

/// One member and what is around it.
pub(crate) struct Node {
    pub(crate) raft: Option<Raft>,
    pub(crate) store: Store,
    pub(crate) identity: Identity,
    pub(crate) config: Config,
    /// Writes wait until they are told to be durable.
    pub(crate) slow_disk: bool,
    /// What the state machine holds, and up to where.
    pub(crate) state: String,
    pub(crate) applied: Index,
    /// Its clock's speed in percent, since when, and what it showed then.
    pub(crate) clock: (u64, Duration, Duration),
    told: Option<State>,
}

/// All of it.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) network: Vec<Envelope>,
    pub(crate) cuts: BTreeSet<(NodeId, NodeId)>,
    pub(crate) images: BTreeMap<String, Store>,
    pub(crate) now: Duration,
    pub(crate) quiet: bool,
    /// A bug in all members.
    pub(crate) planted: Option<Planted>,
    pub(crate) proposals: u128,
    /// Where in which file.
    pub(crate) at: String,
    output: String,
    /// What was applied anywhere, and who led: to be the same everywhere.
    history: BTreeMap<(u64, Index), Entry>,
    leaders: BTreeMap<Term, NodeId>,
}

fn scaled(time: Duration, times: u64, by: u64) -> Duration {
    let nanos = u64::try_from(time.as_nanos()).expect("centuries");
    Duration::from_nanos(nanos * times / by)
}

pub(crate) fn member(node: NodeId, vote: Vote) -> Member {
    Member { store: StoreId(node.0 + 100), address: format!("{node}:1"), vote }
}

impl Node {
    /// A member whose store holds this.
    pub(crate) fn new(node: NodeId, recovered: Recovered) -> Self {
        Self {
            raft: None,
            store: Store::of(recovered),
            identity: Identity { node, store: StoreId(node.0 + 100) },
            config: Config::new(Timing::new(ELECTION).expect("a timeout that works")),
            slow_disk: false,
            state: String::new(),
            applied: Index(0),
            clock: (100, Duration::ZERO, Duration::ZERO),
            told: None,
        }
    }

    /// What its clock shows.
    pub(crate) fn local(&self, now: Duration) -> Duration {
        let (percent, since, shown) = self.clock;
        shown + scaled(now - since, percent, 100)
    }

    /// When its clock will show that.
    fn global(&self, local: Duration) -> Duration {
        let (percent, since, shown) = self.clock;
        // Rounded up, so that it is not woken before its time.
        since + scaled(local.saturating_sub(shown), 100, percent) + Duration::from_nanos(1)
    }

    /// When it wants to be woken.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let deadline = self.raft.as_ref()?.deadline();
        (deadline != Duration::MAX).then(|| self.global(deadline))
    }
}

impl World {
    pub(crate) fn say(&mut self, line: impl AsRef<str>) {
        if !self.quiet {
            self.output.push_str(line.as_ref());
            self.output.push('\n');
        }
    }

    pub(crate) fn take_output(&mut self) -> String {
        std::mem::take(&mut self.output)
    }

    pub(crate) fn node(&mut self, node: NodeId) -> &mut Node {
        let at = self.at.clone();
        self.nodes.get_mut(&node).unwrap_or_else(|| panic!("{at}: there is no {node}"))
    }

    /// Starts the process of a member on what its store holds.
    pub(crate) fn start(&mut self, id: NodeId) {
        let (now, planted) = (self.now, self.planted);
        let node = self.node(id);
        node.config.planted = planted;
        let recovered = node.store.recover();
        node.state = recovered.snapshot.as_ref().map_or_else(String::new, |snapshot| {
            String::from_utf8_lossy(&snapshot.state).into_owned()
        });
        node.applied = recovered.snapshot.as_ref().map_or(Index(0), |one| one.meta.last.index);
        let seed = id.0 + 100 * recovered.boot;
        let local = node.local(now);
        node.raft = Some(Raft::new(node.identity, node.config.clone(), recovered, (local, seed)));
        node.told = None;
    }

    /// One step of one member, and what comes of it.
    pub(crate) fn step(&mut self, id: NodeId, event: Event) {
        self.say(format!("{id} {}", show::event(&event)));
        let mut output = self.raw_step(id, event);
        loop {
            let wrote = !output.writes.is_empty();
            self.carry_out(id, output);
            if !wrote || self.node(id).slow_disk {
                return;
            }
            let Some(write) = self.node(id).store.persist(usize::MAX) else { return };
            output = self.raw_step(id, Event::Persisted(write));
            let silent = output.messages.is_empty() && output.apply.is_empty();
            if !silent {
                self.say("  durable");
            }
        }
    }

    fn raw_step(&mut self, id: NodeId, event: Event) -> Output {
        let now = self.now;
        let node = self.node(id);
        let local = node.local(now);
        node.raft.as_mut().expect("it runs").step(local, event)
    }

    /// Makes writes durable that wait.
    pub(crate) fn persist(&mut self, id: NodeId, count: usize) {
        if let Some(write) = self.node(id).store.persist(count) {
            self.step(id, Event::Persisted(write));
        }
    }

    fn carry_out(&mut self, id: NodeId, output: Output) {
        let Output { writes, messages, restore, apply, reads, reads_refused, .. } = output;
        if let Some(state) = &output.state {
            self.check_leader(id, state.role, state.term);
            self.say_state(id, state);
        }
        for write in &writes {
            self.say(format!("  {id} writes {}", show::content(&write.content)));
        }
        self.node(id).store.write(writes);
        for envelope in messages {
            self.send(envelope);
        }
        if let Some(snapshot) = restore {
            self.say(format!("  {id} restores {}", show::snapshot(&snapshot)));
            let node = self.node(id);
            node.state = String::from_utf8_lossy(&snapshot.state).into_owned();
            node.applied = snapshot.meta.last.index;
        }
        for entry in apply {
            self.apply(id, &entry);
        }
        for (read, index) in reads {
            self.say(format!("  {id} serves read {} at {index}", read.0));
        }
        for read in reads_refused {
            self.say(format!("  {id} refuses read {}", read.0));
        }
        for (proposal, error) in output.refused {
            self.say(format!("  {id} refuses proposal {}: {error}", proposal.0));
        }
        match output.changed {
            Some(Ok(entry)) => self.say(format!("  {id} begins change {entry}")),
            Some(Err(error)) => self.say(format!("  {id} refuses change: {error}")),
            None => {}
        }
        if let Some(Err(error)) = output.taken_over {
            self.say(format!("  {id} does not take over: {error}"));
        }
        if let Some(Err(error)) = output.transferred {
            self.say(format!("  {id} refuses transfer: {error}"));
        }
        for alarm in output.alarms {
            self.say(format!("  {id} alarm: {}", show::alarm(&alarm)));
        }
        for mark in output.marks {
            self.say(format!("  mark {mark}"));
        }
    }

    /// Says what is new in a state. That of a start is not.
    fn say_state(&mut self, id: NodeId, state: &State) {
        let told = self.node(id).told.replace(state.clone());
        let is = show::state(state);
        if told.as_ref().is_none_or(|told| show::state(told) != is) {
            self.say(format!("  {id} {is}"));
        }
        let (index, membership) = &state.membership;
        if told.is_some_and(|told| told.membership != state.membership) {
            self.say(format!("  {id} has members {} of {index}", show::members(membership)));
        }
    }

    /// No two leaders of one term, wherever they are.
    fn check_leader(&mut self, id: NodeId, role: Role, term: Term) {
        if role == Role::Leader {
            let leader = *self.leaders.entry(term).or_insert(id);
            assert_eq!(leader, id, "{}: two leaders of term {term}", self.at);
        }
    }

    fn send(&mut self, envelope: Envelope) {
        let link = (envelope.from, envelope.to);
        let runs = self.nodes.get(&envelope.to).is_some_and(|node| node.raft.is_some());
        if self.cuts.contains(&link) || !runs {
            self.say(format!("  {}", show::envelope(&envelope, "↛")));
        } else {
            self.say(format!("  {}", show::envelope(&envelope, "→")));
            self.network.push(envelope);
        }
    }

    /// Applies an entry: in order, and the same everywhere.
    fn apply(&mut self, id: NodeId, entry: &Entry) {
        self.say(format!("  {id} applies {}", show::entry(entry)));
        let at = self.at.clone();
        let node = self.node(id);
        assert_eq!(entry.id.index, node.applied.next(), "{at}: {id} applies out of order");
        node.applied = entry.id.index;
        if let Payload::Command(proposal) = &entry.payload {
            node.state.push_str(&String::from_utf8_lossy(&proposal.command));
            node.state.push(' ');
        }
        // Of what nobody knew who took over, another generation may have something else there.
        let place = (entry.id.term.generation(), entry.id.index);
        let known = &*self.history.entry(place).or_insert_with(|| entry.clone());
        assert_eq!(known, entry, "{at}: {id} applies something else than others");
    }

    /// Hands over the message at this place of the network.
    pub(crate) fn deliver(&mut self, place: usize) {
        let envelope = self.network.remove(place);
        let id = envelope.to;
        if self.node(id).raft.is_some() {
            self.step(id, Event::Receive(envelope));
        }
    }

    /// Lets time pass: everybody is woken when it wants to be, and nothing stays under way.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            let deadlines =
                self.nodes.iter().filter_map(|(id, node)| Some((node.deadline()?, *id)));
            let Some((deadline, id)) = deadlines.min().filter(|(next, _)| *next <= until) else {
                break;
            };
            self.now = self.now.max(deadline);
            self.step(id, Event::Tick);
        }
        self.now = until;
    }

    /// Delivers until nothing is under way. Slow disks stay as they are.
    pub(crate) fn settle(&mut self) {
        for _ in 0..SETTLE_STEPS_MAX {
            if self.network.is_empty() {
                return;
            }
            self.deliver(0);
        }
        panic!("{}: messages without end: {:#?}", self.at, self.network.first());
    }
}
