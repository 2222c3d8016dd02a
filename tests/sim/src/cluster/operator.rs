//! People who ask for things: one statement at a time, from some aggregator, said again until there is an answer, and given up or
//! cancelled now and then. When all is well again they have the cluster put in order, and look whether that was thorough.

use std::time::Duration;

use resprout_cluster::manager::Ended;
use resprout_cluster::metadata::{Command, Metadata, NodeState, Outcome};
use resprout_cluster::plan::{Asked, Keep, One, Removal, remove};
use resprout_cluster::reconcile::CopyName;
use resprout_cluster::{Database, Incarnation, LeafId, Mode, NodeId, Ordinal, execution};

use super::asked::{AskedMail, Request, Returned};
use super::simulation::{Event, Simulation};
use crate::{Violation, hold};

/// The one database.
const DATABASE: &str = "db";
const LOOK_EVERY: Duration = Duration::from_millis(60);
/// An unanswered statement is said again.
const AGAIN: Duration = Duration::from_millis(300);
/// In the storm nobody waits for longer than that.
const PATIENCE: Duration = Duration::from_secs(4);
/// Afterwards whatever is asked for is done within this time.
const DONE_WITHIN: Duration = Duration::from_secs(20);
/// The loss of a leaf's rows is noticed by then, also if it was away for long.
const NOTICED_WITHIN: Duration = Duration::from_millis(2_500);
/// So many times is a rebalance asked for until nothing is left to be done: another office may begin, and masters go back by
/// themselves meanwhile.
const REBALANCES_MAX: u32 = 4;
/// So many times orphans are cleared.
const CLEARINGS_MAX: u32 = 5;

/// Who asks.
#[derive(Debug, Default)]
pub(super) struct Operator {
    number: u64,
    open: Option<Open>,
    /// What follows if that is done.
    then: Option<Request>,
    order: Order,
    rebalances: u32,
    clearings: u32,
}

/// A statement that is under way.
#[derive(Debug)]
struct Open {
    number: u64,
    request: Request,
    since: Duration,
    said: Option<Duration>,
    cancelled: bool,
}

/// Putting things in order after the storm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Waits,
    Synchronous,
    Rebalance,
    Clear,
    Drop(Vec<(LeafId, CopyName)>),
    Done,
}

impl Operator {
    /// Whether a statement is under way.
    pub(super) fn is_waiting(&self) -> bool {
        self.open.is_some()
    }
}

impl Simulation {
    /// Whether nothing is left to be asked for.
    pub(super) fn operator_is_done(&self) -> bool {
        self.plan.asks.is_none() || self.operator.order == Order::Done
    }

    /// Whoever asks looks at what became of it.
    pub(super) fn operator(&mut self) -> Result<(), Violation> {
        self.agenda.after(LOOK_EVERY, Event::Operator);
        let Some(asks) = self.plan.asks.filter(|_| self.stormy) else { return Ok(()) };
        let now = self.agenda.now();
        if self.operator.open.is_some() {
            return self.wait(now, asks.cancels);
        }
        if self.healed.is_some() {
            return self.put_in_order();
        }
        let ms = |time: Duration| u64::try_from(time.as_millis()).expect("short");
        // Until it is noticed that rows are lost, a plan takes them for a copy.
        let is_unseen = self.wiped && now - self.wiped_at < NOTICED_WITHIN;
        if self.lull.is_none() && !is_unseen && self.rng.chance(ms(LOOK_EVERY), ms(asks.every)) {
            let request = self.operator.then.take().or_else(|| self.something());
            if let Some(request) = request {
                self.ask(request);
            }
        }
        Ok(())
    }

    fn ask(&mut self, request: Request) {
        self.operator.number += 1;
        let (number, since) = (self.operator.number, self.agenda.now());
        self.says(0, || format!("@ {number} {request:?}"));
        let open = Open { number, request, since, said: None, cancelled: false };
        self.operator.open = Some(open);
    }

    /// Says it again, cancels it, or gives it up.
    fn wait(&mut self, now: Duration, cancels: bool) -> Result<(), Violation> {
        let is_over = self.healed.is_some();
        let wants_no_more = !is_over && cancels && self.rng.chance(1, 12);
        let via = self.some_aggregator();
        let Some(open) = &mut self.operator.open else { return Ok(()) };
        let waited = now - open.since;
        let is_given_up = waited > PATIENCE && !is_over;
        let is_plan = matches!(open.request, Request::Plan(..));
        let cancel = is_plan && !open.cancelled && (wants_no_more || is_given_up);
        open.cancelled |= cancel;
        let shown = format!("{:?}", open.request);
        let late = self.healed.map_or(Duration::ZERO, |healed| now - healed.max(open.since));
        if is_given_up && waited > 2 * PATIENCE {
            self.coverage.note("a statement is given up");
            self.operator.open = None;
            return Ok(());
        }
        let is_due = open.said.is_none_or(|said| now - said >= AGAIN);
        let call = AskedMail::Call(open.number, open.request.clone());
        hold(late < DONE_WITHIN, "without faults what people ask for is done in time", || {
            format!("{shown}\n{}", self.show())
        })?;
        let Some((via, office)) = via else { return Ok(()) };
        if cancel {
            self.coverage.note("a plan is cancelled");
            self.send_asked(via, office, AskedMail::Cancel(DATABASE.to_owned()))?;
        }
        if is_due {
            if let Some(open) = &mut self.operator.open {
                open.said = Some(now);
            }
            self.send_asked(via, office, call)?;
        }
        Ok(())
    }

    /// An aggregator that runs, and whom it takes for the master aggregator.
    fn some_aggregator(&mut self) -> Option<(u64, u64)> {
        let via = 1 + self.rng.below(self.plan.first_leaf() - 1);
        let metadata = self.node(via).active()?.machine.state();
        Some((via, metadata.office().holder?.0))
    }

    /// Something to be asked for in the storm, by what some aggregator knows.
    fn something(&mut self) -> Option<Request> {
        let asks = self.plan.asks?;
        let (via, _) = self.some_aggregator()?;
        let is_first = self.operator.number == 0 && self.rng.chance(1, 2);
        if is_first && asks.alters && !self.plan.durable {
            let (name, sync) = (DATABASE.to_owned(), false);
            return Some(Request::Command(Command::SetReplication { name, sync }));
        }
        // The only copies that have everything are left alone until there are others.
        let which = if self.wiped { 0 } else { self.rng.below(24) };
        let ordinal = Ordinal(u32::try_from(self.rng.below(self.plan.partitions.into())).ok()?);
        let leaf = LeafId(self.any_leaf());
        let kill = self.rng.chance(1, 3);
        let database = DATABASE.to_owned();
        let one = |one| Asked::One { database: DATABASE.to_owned(), ordinal, leaf, one };
        let metadata = self.node(via).metadata()?;
        let asked = match which {
            0..6 => Asked::Rebalance { database, full: kill, force: false },
            6..8 => Asked::Restore { database },
            8..11 => one(One::Copy),
            11..14 => one(One::Promote),
            14 => one(One::PromoteWithDrop),
            15..17 => one(One::Drop),
            17..19 => return self.add_leaf(metadata),
            19 if asks.removes => {
                let request = free(metadata, leaf)?;
                let node = leaf.into();
                self.operator.then =
                    Some(Request::Command(Command::RemoveNode { node, force: false }));
                return Some(Request::Plan(request, kill));
            }
            20 => return Some(Request::ClearOrphans),
            21..23 if asks.alters && !self.plan.durable => {
                let sync = !metadata.databases().get(DATABASE)?.map.sync;
                let command = Command::SetReplication { name: database, sync };
                return Some(Request::Command(command));
            }
            _ => Asked::HandOver { database, leaf },
        };
        Some(Request::Plan(asked, kill))
    }

    /// ADD LEAF: the next one that runs and is no node yet.
    fn add_leaf(&self, metadata: &Metadata) -> Option<Request> {
        let mut spares = self.plan.first_spare()..=self.plan.nodes();
        let next = spares.find(|id| !self.checks.was_added(*id))?;
        let node = self.node(next);
        node.active().filter(|_| !metadata.nodes().contains_key(&NodeId(next)))?;
        let incarnation = Incarnation(node.run);
        let address = super::simulation::address(next);
        Some(Request::Command(Command::AddLeaf { address, group: None, incarnation }))
    }

    /// Somebody is told.
    pub(super) fn returned(&mut self, number: u64, returned: Returned) -> Result<(), Violation> {
        let is_it = |open: &mut Open| open.number == number;
        let Some(open) = self.operator.open.take_if(is_it) else { return Ok(()) };
        self.says(0, || format!("@ {number} {returned:?}"));
        self.coverage.note(match &returned {
            Returned::NotMaster => "told: another aggregator decides",
            Returned::NoPlan => "told: no plan",
            Returned::Cleared(_) => "told: orphans are cleared",
            Returned::Done(Outcome::Refused { .. }) => "told: refused",
            Returned::Done(_) => "told: done",
            Returned::Ended(Ended::Busy) => "told: a plan is under way",
            Returned::Ended(Ended::With(execution::Outcome::Success)) => "told: a plan is done",
            Returned::Ended(Ended::With(execution::Outcome::Canceled)) => "told: cancelled",
            Returned::Ended(_) => "told: a plan has failed",
        });
        if let Returned::NotMaster = returned {
            // Said again there.
            self.operator.open = Some(Open { said: Some(self.agenda.now()), ..open });
            return Ok(());
        }
        let is_done = matches!(
            returned,
            Returned::Done(_) | Returned::Ended(Ended::With(execution::Outcome::Success))
        );
        if !is_done || open.cancelled {
            self.operator.then = None;
        }
        if self.healed.is_some() { self.in_order(&open.request, returned) } else { Ok(()) }
    }
}

/// The storm is over.
impl Simulation {
    fn put_in_order(&mut self) -> Result<(), Violation> {
        self.operator.then = None;
        match self.operator.order.clone() {
            Order::Waits => {
                if self.all_are_online() {
                    self.operator.order = Order::Synchronous;
                }
            }
            Order::Synchronous => {
                let (name, sync) = (DATABASE.to_owned(), true);
                self.ask(Request::Command(Command::SetReplication { name, sync }));
            }
            Order::Rebalance => {
                self.operator.rebalances += 1;
                self.checks.count_copies();
                let database = DATABASE.to_owned();
                let asked = Asked::Rebalance { database, full: false, force: false };
                self.ask(Request::Plan(asked, false));
            }
            Order::Clear => self.ask(Request::ClearOrphans),
            Order::Drop(mut left) => {
                if let Some((leaf, copy)) = left.pop() {
                    self.operator.order = Order::Drop(left);
                    self.ask(Request::DropOrphan(leaf, copy));
                } else {
                    let left = self.unrecorded();
                    hold(left.is_empty(), "orphans are cleared", || format!("{left:?}"))?;
                    self.operator.order = Order::Done;
                }
            }
            Order::Done => {}
        }
        Ok(())
    }

    /// What was asked for to put things in order is done, or not yet.
    fn in_order(&mut self, request: &Request, returned: Returned) -> Result<(), Violation> {
        match (request, self.operator.order.clone()) {
            (Request::Command(Command::SetReplication { sync: true, .. }), Order::Synchronous) => {
                if matches!(returned, Returned::Done(Outcome::Done)) {
                    self.operator.order = Order::Rebalance;
                }
            }
            (Request::Plan(Asked::Rebalance { .. }, _), Order::Rebalance) => {
                return self.is_rebalanced(&returned);
            }
            (Request::ClearOrphans, Order::Clear) => return self.are_cleared(returned),
            _ => {}
        }
        Ok(())
    }

    fn is_rebalanced(&mut self, returned: &Returned) -> Result<(), Violation> {
        let metadata = self.checks.metadata();
        let databases: Vec<Database> =
            metadata.databases().values().map(|entry| entry.map.clone()).collect();
        let asked = Asked::Rebalance { database: DATABASE.to_owned(), full: false, force: false };
        let plan = asked.plan(&metadata.leaves(), &databases, metadata.mode());
        let steps = plan.as_ref().map(|plan| plan.steps.len());
        if steps == Ok(0) && !matches!(returned, Returned::Ended(Ended::Busy)) {
            self.operator.order = Order::Clear;
            return Ok(());
        }
        let tries = self.operator.rebalances;
        hold(tries < REBALANCES_MAX, "REBALANCE comes to rest", || {
            format!("{returned:?}, and then {plan:?}\n{}", self.show())
        })?;
        if matches!(returned, Returned::Ended(Ended::Busy)) {
            // Masters that go back are no business of whoever asks.
            self.operator.rebalances -= 1;
        }
        self.coverage.note("a rebalance was not enough");
        Ok(())
    }

    /// What is left is what only somebody who names it may drop.
    fn are_cleared(&mut self, returned: Returned) -> Result<(), Violation> {
        let Returned::Cleared(kept) = returned else { return Ok(()) };
        self.operator.clearings += 1;
        if kept.iter().any(|(_, _, keep)| *keep == Keep::Silent)
            && self.operator.clearings < CLEARINGS_MAX
        {
            // Masters are moving: it is said again.
            return Ok(());
        }
        let is_right = kept.iter().all(|(_, _, keep)| matches!(keep, Keep::Ahead | Keep::Unread));
        hold(is_right, "an orphan stays only for what it has", || format!("{kept:?}"))?;
        let listed: Vec<_> = kept.iter().map(|(leaf, copy, _)| (*leaf, *copy)).collect();
        let left = self.unrecorded();
        let are_listed = left.iter().all(|one| listed.contains(one));
        hold(are_listed, "orphans are listed, or cleared", || {
            format!("{left:?}, listed {kept:?}\n{}", self.show())
        })?;
        let entry = self.checks.metadata().databases().get(DATABASE);
        let known = left
            .iter()
            .all(|(_, copy)| entry.is_some_and(|entry| entry.left(copy.instance).is_some()));
        hold(known, "every orphan knows what made it", || {
            format!("{left:?}, known {:?}", entry.map(|entry| &entry.left))
        })?;
        self.operator.order = Order::Drop(left);
        Ok(())
    }

    /// Copies that leaves have and the record does not.
    fn unrecorded(&self) -> Vec<(LeafId, CopyName)> {
        let entry = self.checks.metadata().databases().get(DATABASE);
        let is_recorded = |leaf: u64, name: &CopyName| {
            let partition = entry.and_then(|entry| entry.map.partition(name.ordinal));
            let copy = partition.and_then(|partition| partition.copies.get(&LeafId(leaf)));
            copy.is_some_and(|copy| copy.instance == name.instance)
        };
        let names = self
            .leaves()
            .flat_map(|leaf| self.node(leaf).rows.keys().map(move |name| (leaf, *name)));
        let names = names.filter(|(leaf, name)| !is_recorded(*leaf, name));
        names.map(|(leaf, name)| (LeafId(leaf), name)).collect()
    }

    /// Whether everybody is there, and all that happens by itself has happened.
    fn all_are_online(&self) -> bool {
        let metadata = self.checks.metadata();
        let are_served = self.checks.partitions().iter().all(|partition| self.is_served(partition));
        let online = metadata.nodes().values().all(|node| node.state == NodeState::Online);
        online && are_served
    }
}

/// REMOVE LEAF, where the rest can do without it.
fn free(metadata: &Metadata, leaf: LeafId) -> Option<Asked> {
    let (leaves, mode) = (metadata.leaves(), metadata.mode());
    let map = &metadata.databases().get(DATABASE)?.map;
    let going = [leaf].into();
    remove(&leaves, (map, mode), &going, Removal::Remove).ok()?;
    // Who stays can have two copies of everything.
    let stay: Vec<_> = leaves.into_iter().filter(|other| other.id != leaf).collect();
    let full = match mode {
        Mode::Paired => {
            stay.iter().filter(|one| one.pair.is_some_and(|pair| pair != leaf)).count() > 1
        }
        _ => {
            let groups: std::collections::BTreeSet<_> = stay.iter().map(|one| one.group).collect();
            groups.len() > 1
        }
    };
    let database = DATABASE.to_owned();
    full.then(|| Asked::Free { database, leaves: vec![leaf], detach: false })
}
