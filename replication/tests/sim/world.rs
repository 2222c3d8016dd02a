//! One run: copies, an authority and clients, under faults and then without.
//!
//! ```text
//!   storm: faults, safety checked at every step ──► healing: none; a new write must be acknowledged
//!                                                   and all copies must be equal, in time
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use resprout_replication::{Envelope, Event as Input, Instance, Mode, Role, State, wire};
use resprout_sim::agenda::Agenda;
use resprout_sim::copy::Promises;
use resprout_sim::coverage::Coverage;
use resprout_sim::network::{Fate, Network};
use resprout_sim::trace::Trace;
use resprout_sim::{Violation, hold};
use resprout_wal::world::Rng;

use crate::authority::{Authority, Said};
use crate::drive::state_term;
use crate::faults::Undo;
use crate::node::Node;
use crate::plan::Plan;

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Mail {
    Peer(Box<Envelope>),
    Record(Box<resprout_replication::Decided>),
    Said(Instance, Said),
}

/// What happens at some time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Something arrives; 0 is the authority.
    Arrives(u64, Mail),
    /// An answer of a node's own disk or tree.
    Local(u64, u64, Box<Input>),
    DiskDone(u64, u64),
    PromiseDone(u64, u64, resprout_replication::Promise),
    Deadline(u64, u64),
    Client,
    Reader,
    Authority,
    Fault,
    Alter,
    Undo(Undo),
    Heal,
    Poll,
}

/// See the module.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) network: Network<Event>,
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) authority: Authority,
    /// The authority does nothing for now.
    pub(crate) authority_down: bool,
    pub(crate) promises: Promises,
    pub(crate) coverage: Coverage,
    pub(crate) trace: Trace,
    pub(crate) next_value: u64,
    pub(crate) healed: Option<Duration>,
    pub(crate) images: u64,
    done: bool,
}

/// What a run did.
pub(crate) struct Summary {
    pub(crate) coverage: Coverage,
    pub(crate) digest: u64,
}

/// A cluster without faults is well again within this time.
const HEALED_WITHIN: Duration = Duration::from_secs(12);

pub(crate) const MS: Duration = Duration::from_millis(1);

/// Runs one plan.
pub(crate) fn run(plan: Plan, prints: bool) -> Result<Summary, Violation> {
    let mut world = World::new(plan, prints);
    world.begin()?;
    while !world.done {
        let event = world.agenda.pass().expect("a poll is always due");
        world.happen(event)?;
    }
    Ok(Summary { digest: world.trace.digest(), coverage: world.coverage })
}

impl World {
    fn new(plan: Plan, prints: bool) -> Self {
        let mut rng = Rng::new(plan.seed);
        let network = Network::new(rng.next(), plan.weather);
        Self {
            authority: Authority::new(plan.copies, plan.config, plan.alters.is_some()),
            // What is read where nobody is waited for is as old as it may be.
            promises: Promises::new(plan.alters.map_or(plan.config.mode, |_| Mode::Local)),
            nodes: (1..=plan.copies).map(|number| (number, Node::default())).collect(),
            plan,
            rng,
            agenda: Agenda::default(),
            network,
            authority_down: false,
            coverage: Coverage::default(),
            trace: Trace::new(prints),
            next_value: 1,
            healed: None,
            images: 0,
            done: false,
        }
    }

    fn begin(&mut self) -> Result<(), Violation> {
        let plan = self.plan;
        self.trace.line(Duration::ZERO, 0, || format!("{plan:?}"));
        for number in 1..=self.plan.copies {
            self.start(number)?;
        }
        let first = [(Event::Client, 30), (Event::Reader, 50), (Event::Authority, 1)];
        for (event, at) in first {
            self.agenda.at(MS * at, event);
        }
        self.agenda.at(MS * 300, Event::Fault);
        if self.plan.alters.is_some() {
            self.agenda.at(MS * 200, Event::Alter);
        }
        self.agenda.at(self.plan.storm, Event::Heal);
        self.agenda.at(self.plan.storm, Event::Poll);
        Ok(())
    }

    pub(crate) fn start(&mut self, number: u64) -> Result<(), Violation> {
        let (config, now) = (self.plan.config, self.agenda.now());
        let node = self.nodes.get_mut(&number).expect("a node");
        if node.process.is_some() {
            return Ok(());
        }
        node.start(number, config, now);
        self.trace.line(now, number, || "+ starts".to_owned());
        self.step(number, Input::Tick)
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Arrives(0, Mail::Said(from, said)) => {
                if !self.authority_down {
                    self.trace.line(self.agenda.now(), 0, || format!("< {from} {said:?}"));
                    self.authority.hear(from, said, self.agenda.now());
                }
                Ok(())
            }
            Event::Arrives(to, mail) => self.arrives(to, mail),
            Event::Local(number, run, input) if self.is_run(number, run) => {
                if self.keeps(number, || Event::Local(number, run, input.clone())) {
                    return Ok(());
                }
                self.step(number, *input)
            }
            Event::DiskDone(number, run) if self.is_run(number, run) => self.disk_done(number),
            Event::PromiseDone(number, run, promise) if self.is_run(number, run) => {
                self.promise_done(number, promise)
            }
            Event::Deadline(number, run) if self.is_run(number, run) => {
                if self.keeps(number, || Event::Deadline(number, run)) {
                    return Ok(());
                }
                self.step(number, Input::Tick)
            }
            Event::Local(..)
            | Event::DiskDone(..)
            | Event::PromiseDone(..)
            | Event::Deadline(..) => Ok(()),
            Event::Client => self.client(),
            Event::Reader => self.reader(),
            Event::Authority => self.authority_looks(),
            Event::Fault => self.fault(),
            Event::Alter => self.alter(),
            Event::Undo(undo) => self.undo(undo),
            Event::Heal => self.heal(),
            Event::Poll => self.poll(),
        }
    }

    fn is_run(&self, number: u64, run: u64) -> bool {
        let node = self.nodes.get(&number);
        node.is_some_and(|node| node.run == run && node.process.is_some())
    }

    /// A paused process takes nothing now.
    fn keeps(&mut self, number: u64, event: impl FnOnce() -> Event) -> bool {
        let node = self.nodes.get_mut(&number).expect("a node");
        if node.paused {
            node.kept.push(event());
        }
        node.paused
    }

    fn arrives(&mut self, to: u64, mail: Mail) -> Result<(), Violation> {
        let running = self.nodes.get(&to).is_some_and(|node| node.process.is_some());
        if !running || self.keeps(to, || Event::Arrives(to, mail.clone())) {
            return Ok(());
        }
        let now = self.agenda.now();
        self.trace.line(now, to, || match &mail {
            Mail::Peer(envelope) => format!("< {}", crate::line(envelope)),
            other => format!("< {other:?}"),
        });
        let input = match mail {
            Mail::Peer(envelope) => Input::Receive(*envelope),
            Mail::Record(decided) => Input::Record(*decided),
            Mail::Said(..) => return Ok(()),
        };
        self.step(to, input)
    }

    /// Sends; what travels between copies goes through its bytes now and then.
    pub(crate) fn send(&mut self, from: u64, to: u64, mail: Mail) -> Result<(), Violation> {
        if let Mail::Peer(envelope) = &mail
            && self.rng.chance(1, 16)
        {
            self.through_bytes(envelope)?;
        }
        let now = self.agenda.now();
        let again = mail.clone();
        match self.network.send(from, to, || Event::Arrives(to, mail.clone())) {
            Fate::Lost => self.coverage.note("lost"),
            Fate::Kept => {}
            Fate::Sent(delay, second) => {
                self.agenda.at(now + delay, Event::Arrives(to, mail));
                if let Some(second) = second {
                    self.agenda.at(now + second, Event::Arrives(to, again));
                }
            }
        }
        Ok(())
    }

    /// Promise (N15): bytes give the message back, and a flipped bit is noticed.
    fn through_bytes(&mut self, envelope: &Envelope) -> Result<(), Violation> {
        let mut bytes = wire::encode(envelope);
        let back = wire::decode(&bytes.clone().into(), wire::MESSAGE_BYTES_MAX);
        hold(back.as_ref() == Ok(envelope), "bytes give the message back", || format!("{back:?}"))?;
        let bit = usize::try_from(self.rng.below(bytes.len() as u64 * 8)).expect("a length");
        bytes[bit / 8] ^= 1 << (bit % 8);
        let flipped = wire::decode(&bytes.into(), wire::MESSAGE_BYTES_MAX);
        hold(flipped.is_err(), "a flipped bit is noticed", || format!("{flipped:?}"))
    }

    /// The authority looks around, and tells every node the record.
    fn authority_looks(&mut self) -> Result<(), Violation> {
        let now = self.agenda.now();
        self.agenda.after(MS * 25, Event::Authority);
        for number in 1..=self.plan.copies {
            self.says_alive(number)?;
        }
        if self.authority_down {
            return Ok(());
        }
        let before = self.authority.decided.clone();
        self.authority.look(now);
        self.promises.may_have_lost = self.authority.may_have_lost;
        let decided = self.authority.decided.clone();
        if before != decided {
            self.trace.line(now, 0, || format!("* {decided:?}"));
        }
        for number in 1..=self.plan.copies {
            self.send(0, number, Mail::Record(Box::new(decided.clone())))?;
        }
        Ok(())
    }

    /// ALTER DATABASE, now and then twice at once.
    fn alter(&mut self) -> Result<(), Violation> {
        let Some(every) = self.plan.alters.filter(|_| self.healed.is_none()) else {
            return Ok(());
        };
        let wait = 1 + self.rng.below(2 * every);
        self.agenda.after(MS * u32::try_from(wait).expect("short"), Event::Alter);
        if !self.authority_down {
            let times = if self.rng.chance(1, 4) { 2 } else { 1 };
            (0..times).for_each(|_| self.authority.alter());
            self.coverage.note("another replication");
            let decided = self.authority.decided.clone();
            self.trace.line(self.agenda.now(), 0, || format!("* {decided:?}"));
        }
        Ok(())
    }

    fn says_alive(&mut self, number: u64) -> Result<(), Violation> {
        let node = self.nodes.get(&number).expect("a node");
        if node.process.is_none() || node.paused {
            return Ok(());
        }
        let incarnation = resprout_replication::Incarnation(node.disk.incarnation);
        self.send(number, 0, Mail::Said(Instance(number), Said::Alive(incarnation)))
    }

    /// The faults are over.
    fn heal(&mut self) -> Result<(), Violation> {
        let now = self.agenda.now();
        self.trace.line(now, 0, || "~ the storm is over".to_owned());
        self.healed = Some(now);
        self.network.set_weather(crate::plan::CALM);
        self.network.mend_all();
        for (from, to) in self.network.clogged() {
            for event in self.network.release(from, to) {
                self.agenda.after(MS, event);
            }
        }
        self.authority_down = false;
        for number in 1..=self.plan.copies {
            self.resume(number);
            self.fast(number);
            self.space_back(number)?;
            self.start(number)?;
        }
        Ok(())
    }

    /// Whether all copies are one again, and a new write was acknowledged.
    fn poll(&mut self) -> Result<(), Violation> {
        let (now, healed) = (self.agenda.now(), self.healed.expect("polled after healing"));
        let equal = self.promises.acknowledged_since(healed) && self.is_whole();
        if equal {
            self.finish()?;
            self.done = true;
            return Ok(());
        }
        hold(now - healed < HEALED_WITHIN, "a cluster without faults heals in time", || {
            let states: Vec<_> = self
                .nodes
                .values()
                .map(|node| node.process.as_ref().map(|process| (process.state, process.log.end())))
                .collect();
            let masters: Vec<_> = self
                .nodes
                .values()
                .filter_map(|node| match node.process.as_ref()?.copy.role() {
                    Role::Master(master) => Some(master.status()),
                    Role::Replica(_) => None,
                })
                .collect();
            format!("{states:?}, {masters:?}, {:?}", self.authority.decided.record)
        })?;
        self.agenda.after(MS * 20, Event::Poll);
        Ok(())
    }

    /// Whether every copy has what the master has, and the record calls all synchronous.
    fn is_whole(&self) -> bool {
        let processes = || self.nodes.values().filter_map(|node| node.process.as_ref());
        let online = processes().filter(|process| matches!(process.state, State::Online(_)));
        let Some(master) = online.max_by_key(|process| state_term(process)) else { return false };
        let record = &self.authority.decided.record;
        let sync = |copy: &resprout_replication::CopyRecord| {
            copy.state == resprout_replication::CopyState::Sync
        };
        let mode = record.mode.unwrap_or(self.plan.config.mode);
        let all_sync = !mode.is_sync() || record.copies.values().all(sync);
        let lost = self.authority.may_have_lost;
        let equal = processes().all(|process| {
            let (end, chain) = (process.log.end(), process.log.chain_at(process.log.end()));
            let same = end == master.log.end() && chain == master.log.chain_at(end);
            let shows = process.visible == master.visible;
            same && shows || lost && matches!(process.state, State::Halted(_))
        });
        let halted = processes().any(|process| matches!(process.state, State::Halted(_)));
        equal && (all_sync || lost && halted)
    }

    fn finish(&mut self) -> Result<(), Violation> {
        let rows: Vec<Vec<u64>> = self
            .nodes
            .values()
            .filter_map(|node| node.process.as_ref())
            .filter(|process| !matches!(process.state, State::Halted(_)))
            .map(super::node::Process::rows)
            .collect();
        let now = self.agenda.now();
        self.trace.line(now, 0, || "~ whole".to_owned());
        self.coverage.note("healed");
        self.promises.finish(&rows)
    }
}
