//! One copy of a partition: a replica or a master, and the turns between the two.
//!
//! ```text
//!   start ─► Replica ── record: master is this copy, promise stored, log settled ──► Master
//!               ▲                                                                      │
//!               └────────── a newer term: fenced; what waits is unknown ───────────────┘
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use resprout_wal::{Lsn, Term};

use crate::{
    Envelope, Event, Incarnation, Instance, Master, Message, Mode, Output, Replica, Seed, Stamp,
    State, Turn,
};

/// Hellos that are kept for the master that a copy is about to be: more copies than a partition has.
const EARLY_MAX: usize = 16;

/// What a copy is at the moment.
#[derive(Clone, Debug)]
pub enum Role {
    /// Follows, or waits to be told whom.
    Replica(Box<Replica>),
    /// Serves.
    Master(Box<Master>),
}

/// What a copy says of itself to whoever asks: the control plane above all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stance {
    /// The run that speaks.
    pub incarnation: Incarnation,
    /// What it is.
    pub state: State,
    /// The newest decision that it goes by, in this run.
    pub knows: Stamp,
    /// The term that it promised to take nothing older than.
    pub promised: Term,
    /// Term of its last record.
    pub last_term: Term,
    /// End of its last whole group.
    pub end: Lsn,
    /// Known acknowledged.
    pub committed: Lsn,
}

/// Where a log ended in order, everything of it on the medium: in that term, there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The term of its last record.
    pub term: Term,
    /// Its end.
    pub lsn: Lsn,
}

impl Stance {
    /// Where its log ends.
    #[must_use]
    pub fn at(&self) -> End {
        End { term: self.last_term, lsn: self.end }
    }

    /// Whether nothing has happened to the copy since the run before ended there in order; it began as that run.
    #[must_use]
    pub fn is_untouched(&self, began: Incarnation, ended: Option<End>) -> bool {
        self.incarnation == began && ended == Some(self.at())
    }

    /// Whether a run that stops now, with everything on the medium, ends in order: the next run may go on in its term (rule 14). A
    /// master that had not begun, or a copy on its way to another state, has nothing to go on with. One that has waited since
    /// it began is what the run before left: if that crashed, what it lost may be elsewhere, in the same term.
    #[must_use]
    pub fn ends_in_order(&self, began: Incarnation, ended: Option<End>) -> bool {
        match self.state {
            State::Online(_) | State::Replicating => true,
            State::Pending => self.is_untouched(began, ended),
            _ => false,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct PartitionCopy {
    role: Role,
    /// Hellos that came before the record did which makes this copy their master. They would be said again only when they
    /// are late, and a commit may wait for whoever said them.
    early: BTreeMap<Instance, Envelope>,
}

impl PartitionCopy {
    /// A copy that has recovered. It waits for the record, whatever it was before (rule 14).
    ///
    /// # Panics
    /// If the settings cannot work together: [`crate::Config::validate`] says which.
    #[must_use]
    pub fn new(seed: Seed, now: Duration) -> Self {
        let settings = seed.config.validate();
        assert_eq!(settings, Ok(()), "settings that work together");
        Self { role: Role::Replica(Box::new(Replica::new(seed, now))), early: BTreeMap::new() }
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// When its commits are acknowledged, by the newest record that it goes by.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match &self.role {
            Role::Replica(replica) => replica.mode(),
            Role::Master(master) => master.mode(),
        }
    }

    /// What it says of itself; `told` is the state of the last output that was carried out. What it is about to be as
    /// master counts already: who asks meanwhile must not take it for a refusal.
    #[must_use]
    pub fn stance(&self, told: State) -> Stance {
        match &self.role {
            Role::Replica(replica) => Stance {
                incarnation: replica.incarnation(),
                state: replica.turns_in().map_or(told, State::Transitioning),
                knows: replica.decided().map_or_else(Stamp::default, |known| known.stamp),
                promised: replica.promised(),
                last_term: replica.tail().last_term(),
                end: replica.tail().whole(),
                committed: replica.visible(),
            },
            Role::Master(master) => {
                let known = master.status();
                // It is master, and that is not carried out yet.
                let is_early =
                    matches!(told, State::Pending | State::Connecting | State::Replicating);
                let state = if is_early { State::Transitioning(known.term) } else { told };
                Stance {
                    incarnation: master.incarnation(),
                    state,
                    knows: master.decided().stamp,
                    promised: known.term,
                    last_term: known.last_term,
                    end: known.end,
                    committed: known.committed,
                }
            }
        }
    }

    /// When to step at the latest.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        match &self.role {
            Role::Replica(replica) => replica.deadline(),
            Role::Master(master) => master.deadline(),
        }
    }

    /// Takes an event. The outputs are to be carried out one after the other: there are two or more
    /// where the copy takes another role.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Output> {
        self.keep_early(&event);
        let mut outputs = vec![self.step_role(now, event)];
        while let Some(turn) = outputs.last().and_then(|output| output.turn.clone()) {
            self.turn(turn, now);
            outputs.push(self.step_role(now, Event::Tick));
            for hello in std::mem::take(&mut self.early).into_values() {
                let is_for_master =
                    matches!(&self.role, Role::Master(master) if master.term() == hello.term);
                if is_for_master {
                    outputs.push(self.step_role(now, Event::Receive(hello)));
                }
            }
        }
        outputs
    }

    fn keep_early(&mut self, event: &Event) {
        let Event::Receive(envelope) = event else { return };
        let Role::Replica(replica) = &self.role else { return };
        let from = envelope.from.instance;
        let has_room = self.early.len() < EARLY_MAX || self.early.contains_key(&from);
        let is_early = envelope.term >= replica.promised();
        if has_room && is_early && matches!(envelope.message, Message::Hello(_)) {
            self.early.insert(from, envelope.clone());
        }
    }

    fn step_role(&mut self, now: Duration, event: Event) -> Output {
        match &mut self.role {
            Role::Replica(replica) => replica.step(now, event),
            Role::Master(master) => master.step(now, event),
        }
    }

    fn turn(&mut self, turn: Turn, now: Duration) {
        self.role = match (&self.role, turn) {
            (Role::Replica(replica), Turn::Master(decided)) => {
                Role::Master(Box::new(Master::new(replica.seed(), decided, now)))
            }
            (Role::Master(master), Turn::Replica(decided)) => {
                let mut replica = Replica::new(master.seed(), now);
                replica.demoted(master.fenced_by(), decided);
                Role::Replica(Box::new(replica))
            }
            (role, turn) => panic!("{turn:?} of {role:?}"),
        };
    }
}
