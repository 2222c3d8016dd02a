//! One copy of a partition: a replica or a master, and the turns between the two.
//!
//! ```text
//!   start ─► Replica ── record: master is this copy, promise stored, log settled ──► Master
//!               ▲                                                                      │
//!               └────────── a newer term: fenced; what waits is unknown ───────────────┘
//! ```

use std::time::Duration;

use crate::{Event, Master, Output, Replica, Seed, Turn};

/// What a copy is at the moment.
#[derive(Clone, Debug)]
pub enum Role {
    /// Follows, or waits to be told whom.
    Replica(Box<Replica>),
    /// Serves.
    Master(Box<Master>),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct PartitionCopy {
    role: Role,
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
        Self { role: Role::Replica(Box::new(Replica::new(seed, now))) }
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
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
        let mut outputs = vec![self.step_role(now, event)];
        while let Some(turn) = outputs.last().and_then(|output| output.turn.clone()) {
            self.turn(turn, now);
            outputs.push(self.step_role(now, Event::Tick));
        }
        outputs
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
