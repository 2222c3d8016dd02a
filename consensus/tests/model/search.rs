//! What may happen next, for the search through all states.

use resprout_consensus::testing::Planted;
use resprout_consensus::{Config, Role, Timing};
use stateright::{Model, Property};

use crate::checks::Broken;
use crate::world::World;

/// How often things happen at most, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) stands: usize,
    pub(crate) proposals: usize,
    pub(crate) crashes: usize,
    /// Messages arrive any number of times.
    pub(crate) repeats: bool,
    /// Every write is durable at once.
    pub(crate) prompt: bool,
    /// Leaders say nothing.
    pub(crate) votes_only: bool,
    /// Every message carries one entry.
    pub(crate) single_entries: bool,
    /// Terms of the entries in each log at the beginning.
    pub(crate) logs: [&'static [u64]; 3],
}

impl Bounds {
    pub(crate) const NONE: Self = Self {
        stands: 0,
        proposals: 0,
        crashes: 0,
        repeats: false,
        prompt: false,
        votes_only: false,
        single_entries: false,
        logs: [&[1]; 3],
    };
}

/// The search.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub(crate) bounds: Bounds,
    pub(crate) planted: Option<Planted>,
}

/// One thing that happens. Members are 0 to 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Stand(usize),
    Propose(usize),
    /// The message with this hash.
    Deliver(u64),
    Persist(usize),
    Crash {
        at: usize,
        kept: usize,
    },
}

impl Search {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, planted: None }
    }

    fn config(&self) -> Config {
        let mut config = Config::new(Timing::default());
        config.planted = self.planted;
        if self.bounds.single_entries {
            config.limits.append_bytes_max = 1;
        }
        config
    }
}

impl Model for Search {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.config(), self.bounds)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.broken.is_some() {
            return;
        }
        let bounds = &self.bounds;
        // At first equal members need not all be tried.
        let alike = world.stands == 0 && bounds.logs.iter().all(|log| *log == bounds.logs[0]);
        for (at, member) in world.members.iter().enumerate() {
            if world.stands < bounds.stands && !(alike && at > 0) {
                actions.push(Action::Stand(at));
            }
            if world.proposals < bounds.proposals && member.role() == Role::Leader {
                actions.push(Action::Propose(at));
            }
            if !member.writes.is_empty() {
                actions.push(Action::Persist(at));
            }
            if world.crashes < bounds.crashes && world.stands > 0 {
                let kept = 0..=member.writes.len();
                actions.extend(kept.map(|kept| Action::Crash { at, kept }));
            }
        }
        actions.extend(world.network.iter().map(|flying| Action::Deliver(flying.hash)));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Stand(at) => next.stand(&self.config(), at),
            Action::Propose(at) => next.propose(at),
            Action::Deliver(hash) => next.deliver(hash, self.bounds.repeats),
            Action::Persist(at) => next.persist(at),
            Action::Crash { at, kept } => next.crash(&self.config(), at, kept),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds(broken: Broken) -> Property<Search> {
            let condition: fn(&Search, &World) -> bool = match broken {
                Broken::TwoLeaders => |_, world| world.broken != Some(Broken::TwoLeaders),
                Broken::LogsDiffer => |_, world| world.broken != Some(Broken::LogsDiffer),
                Broken::CommittedDiffer => |_, world| world.broken != Some(Broken::CommittedDiffer),
                Broken::IncompleteLeader => {
                    |_, world| world.broken != Some(Broken::IncompleteLeader)
                }
                Broken::Asserted => |_, world| world.broken != Some(Broken::Asserted),
            };
            Property::always(broken.name(), condition)
        }
        let mut properties: Vec<_> = Broken::ALL.into_iter().map(holds).collect();
        // A search that never gets there proves nothing.
        let two = |_: &Self, world: &World| world.history.leaderships() >= 2;
        properties.push(Property::sometimes("two members lead one after the other", two));
        let commits = |_: &Self, world: &World| {
            world.history.committed.last().is_some_and(|(id, _)| id.index.0 > 1)
        };
        let cuts = |_: &Self, world: &World| world.has_cut;
        if !self.bounds.votes_only {
            properties.push(Property::sometimes("an entry is committed", commits));
            properties.push(Property::sometimes("an entry is taken back", cuts));
        }
        properties
    }
}
