//! The kill matrix: the master aggregator, the source and the target of a step end at its boundaries and inside it.

use std::time::Duration;

use resprout_cluster::Partition;
use resprout_cluster::execution::Change;
use resprout_cluster::metadata::Command;

use super::simulation::{Event, Simulation};

/// Where in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// The copy is on record, and being made.
    Copy,
    /// The partition is being locked.
    Lock,
    /// It stands still.
    Drained,
    /// The promotion is on record.
    Promote,
    /// The copy has left the record.
    Drop,
    /// Its files are to go.
    Files,
}

/// Who.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Office,
    Source,
    Target,
}

impl Moment {
    /// Copies take their time; the rest is over soon.
    fn within(self) -> Duration {
        Duration::from_millis(if self == Self::Copy { 120 } else { 8 })
    }

    fn text(self, victim: Victim) -> &'static str {
        match (self, victim) {
            (Self::Copy, Victim::Office) => "killed in a copy: office",
            (Self::Copy, Victim::Source) => "killed in a copy: source",
            (Self::Copy, Victim::Target) => "killed in a copy: target",
            (Self::Lock, Victim::Office) => "killed while locking: office",
            (Self::Lock, Victim::Source) => "killed while locking: source",
            (Self::Lock, Victim::Target) => "killed while locking: target",
            (Self::Drained, Victim::Office) => "killed when drained: office",
            (Self::Drained, Victim::Source) => "killed when drained: source",
            (Self::Drained, Victim::Target) => "killed when drained: target",
            (Self::Promote, Victim::Office) => "killed after a promotion: office",
            (Self::Promote, Victim::Source) => "killed after a promotion: source",
            (Self::Promote, Victim::Target) => "killed after a promotion: target",
            (Self::Drop, Victim::Office) => "killed after a drop: office",
            (Self::Drop, Victim::Source) => "killed after a drop: source",
            (Self::Drop, Victim::Target) => "killed after a drop: target",
            (Self::Files, Victim::Office) => "killed while files go: office",
            (Self::Files, Victim::Source) => "killed while files go: source",
            (Self::Files, Victim::Target) => "killed while files go: target",
        }
    }
}

impl Simulation {
    /// A change of a plan was committed.
    pub(super) fn change_is_committed(&mut self, command: &Command, before: &[Partition]) {
        let Command::Execute { change, .. } = command else { return };
        let (moment, target) = match change {
            Change::AddCopy { leaf, .. } => (Moment::Copy, *leaf),
            Change::Promote { to, .. } => (Moment::Promote, *to),
            Change::Remove { leaf, .. } => (Moment::Drop, *leaf),
            _ => return,
        };
        let master = before.iter().find(|partition| partition.ordinal == change.ordinal());
        let source = master.and_then(|partition| partition.master).map_or(target.0, |leaf| leaf.0);
        self.step_is_at(moment, (source, target.0));
    }

    /// Somebody may be killed now, or soon.
    pub(super) fn step_is_at(&mut self, moment: Moment, (source, target): (u64, u64)) {
        let is_storm = self.stormy && self.lull.is_none() && self.healed.is_none() && !self.wiped;
        let kills = self.plan.asks.is_some_and(|asks| asks.kills);
        let of = if moment == Moment::Copy { 2 } else { 4 };
        if !is_storm || !kills || !self.rng.chance(1, of) {
            return;
        }
        let (victim, id) = match self.rng.below(4) {
            0 | 3 => (Victim::Office, self.checks.office_holder()),
            1 => (Victim::Source, Some(source)),
            _ => (Victim::Target, Some(target)),
        };
        let Some(id) = id else { return };
        self.coverage.note(moment.text(victim));
        self.says(id, || format!("~ to be {}", moment.text(victim)));
        let most = u64::try_from(moment.within().as_micros()).expect("short");
        let wait = self.micros(most);
        self.agenda.after(wait, Event::Kill(id));
    }

    pub(super) fn kill(&mut self, id: u64) {
        if self.lull.is_none() && self.healed.is_none() && !self.wiped {
            let long = if self.rng.chance(1, 3) { 1_500_000 } else { 200_000 };
            let time = self.micros(long);
            self.crash_for(id, time);
        }
    }
}
