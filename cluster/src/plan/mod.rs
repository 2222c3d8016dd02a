//! Plans: the steps from what is to what shall be, for one database.
//!
//! ```text
//!   database, placement ─► plan() ─► steps in phases, what they ship, what each leaf needs meanwhile
//!                                        │
//!                                        ├─► rows: EXPLAIN, SHOW … STATUS
//!                                        └─► execution
//! ```
//!
//! A plan is data: it can be shown before it runs, and it says beforehand how many bytes each leaf needs for copies
//! that are there for a while. It is empty exactly if nothing is to be done.
//!
//! Beside it, the questions that are asked around a plan: [`restore`] (second copies, nothing else), [`remove`]
//! (may these leaves go, and how), [`failover`] (who takes over), [`bring_back`] (masters return), [`clear_orphans`] (what may be dropped).

use std::collections::BTreeMap;

use crate::placement::Placement;
use crate::{Database, Instance, Leaf, LeafId, Ordinal, Partition};

pub use action::{Action, Phase};
pub use asked::{Asked, AskedError, One};
pub use back::bring_back;
pub use coming::is_taken_back;
pub use estimate::Averages;
pub use failover::{Failover, FailoverRow, Takeover, failover, failover_rows};
pub use live::{Awaited, Copied, Left, Live};
pub use orphans::{
    Extent, Keep, Masters, Origin, Orphan, OutOfReach, Verdict, clear_orphans, left_behind,
    masters, orphans, out_of_reach, safe_orphans,
};
pub use pace::{Pace, Seen};
pub use removal::{Removal, RemovalError, Unsafe, ensure_online, ensure_safety, remove};
pub use restore::restore;
pub use rows::{ExplainRow, OrphanRow, Progress, Status, StatusRow, explain, orphan_rows, status};

mod action;
mod asked;
mod back;
mod coming;
mod estimate;
mod failover;
mod live;
mod orphans;
mod pace;
mod removal;
mod restore;
mod rows;

/// One step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it runs.
    pub phase: Phase,
    /// Which partition.
    pub ordinal: Ordinal,
    /// The leaf that gets the copy, becomes master, or loses the copy.
    pub target: LeafId,
    /// What is done.
    pub action: Action,
    /// What it ships: 0 unless it is a copy.
    pub bytes: u64,
    /// The copy that it drops, detaches or attaches: never a later one in the same place (O08).
    pub instance: Option<Instance>,
}

impl Step {
    pub(crate) fn new(partition: &Partition, phase: Phase, target: LeafId, action: Action) -> Self {
        let dropped = match action {
            Action::Drop | Action::Detach => Some(target),
            Action::PromoteWithDrop => partition.master,
            _ => None,
        };
        let dropped = dropped.and_then(|leaf| partition.copies.get(&leaf));
        let instance = dropped.map(|copy| copy.instance);
        let bytes = if action.is_copy() { partition.bytes } else { 0 };
        Self { phase, ordinal: partition.ordinal, target, action, bytes, instance }
    }
}

/// The steps for one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub database: String,
    /// By phase, then ordinal, then where the leaf listens.
    pub steps: Vec<Step>,
    /// Copies that a drop leaves at least: the redundancy level, but for leaves that are taken out of pairs.
    pub least_copies: usize,
    /// Masters that it moves go back when their leaf has come and gone.
    pub returns: bool,
    /// Bytes that each leaf has on top of what it has now, at the worst moment. Leaves that never have more
    /// are not listed.
    pub peaks: BTreeMap<LeafId, u64>,
}

impl Plan {
    /// A plan of these steps, in their order.
    pub(crate) fn new(
        leaves: &[Leaf],
        database: &Database,
        mut steps: Vec<Step>,
        least_copies: usize,
    ) -> Self {
        let places: BTreeMap<LeafId, &Leaf> = leaves.iter().map(|leaf| (leaf.id, leaf)).collect();
        let place = |leaf: LeafId| places.get(&leaf).map(|leaf| (&leaf.address, leaf.id));
        steps.sort_by(|one, other| {
            let key = |step: &Step| (step.phase, step.ordinal);
            key(one).cmp(&key(other)).then_with(|| place(one.target).cmp(&place(other.target)))
        });
        let peaks = peaks(&steps);
        let returns = false;
        Self { database: database.name.clone(), steps, least_copies, returns, peaks }
    }

    /// Bytes that it ships in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.steps.iter().map(|step| step.bytes).sum()
    }

    /// What it will take, in milliseconds, with so many steps beside each other on a leaf; none if nothing is
    /// known of some action. A phase takes as long as its busiest leaf.
    #[must_use]
    pub fn expected_ms(&self, averages: &Averages, beside: u32) -> Option<u64> {
        let mut phases: BTreeMap<Phase, BTreeMap<LeafId, u64>> = BTreeMap::new();
        for step in &self.steps {
            let takes = averages.expected_ms(&self.database, step.action)?;
            *phases.entry(step.phase).or_default().entry(step.target).or_default() += takes;
        }
        let busiest = phases.values().filter_map(|leaves| leaves.values().max());
        Some(busiest.map(|all| all.div_ceil(u64::from(beside.max(1)))).sum())
    }
}

/// The steps that bring a database to a placement. Copies that are where they belong are used as they are, also
/// those that an earlier plan left behind.
///
/// Offline copies are left in the record: they are of use when their leaf comes back, and taken for
/// superfluous then.
#[must_use]
pub fn plan(leaves: &[Leaf], database: &Database, placement: &Placement) -> Plan {
    let homes = placement.homes.iter().flatten();
    let least_copies = homes.map(|home| home.leaves().count()).max().unwrap_or(0);
    let placed = database.partitions.iter().zip(&placement.homes);
    let is_present =
        |leaf: LeafId| leaves.iter().any(|other| other.id == leaf && other.standing.is_present());
    let steps = placed.flat_map(|(partition, home)| {
        let wanted: Vec<LeafId> = home.iter().flat_map(super::placement::Home::leaves).collect();
        home.map_or_else(Vec::new, |home| {
            partition_steps((database, partition), home.master, &wanted)
        })
    });
    let steps = steps.filter(|step| step.action != Action::Drop || is_present(step.target));
    Plan::new(leaves, database, steps.collect(), least_copies)
}

/// The steps of one partition: copies to where there are none, a promotion, drops of what is left over.
fn partition_steps(
    (database, partition): (&Database, &Partition),
    master: LeafId,
    wanted: &[LeafId],
) -> Vec<Step> {
    let step = |phase, target, action: Action| Step::new(partition, phase, target, action);
    let mut steps = Vec::new();
    let Some(before) = partition.master else {
        steps.push(step(Phase::Attach, master, Action::Create));
        let others = wanted.iter().filter(|leaf| **leaf != master);
        steps.extend(others.map(|leaf| step(Phase::Redundancy, *leaf, Action::Copy)));
        return steps;
    };
    let is_single = partition.usable().count() < wanted.len();
    let phase = match (is_single, before == master) {
        (true, _) => Phase::Redundancy,
        (false, true) => Phase::Replicas,
        (false, false) => Phase::Masters,
    };
    // The master's copy goes with the promotion.
    let dropped = partition.usable().filter(|leaf| !wanted.contains(leaf) && *leaf != before);
    let dropped: Vec<LeafId> = dropped.collect();
    // A copy that was begun, by an earlier plan, is waited for before anything goes by it.
    let is_begun = |leaf: LeafId| {
        let copy = partition.copies.get(&leaf).filter(|_| leaf != before);
        copy.is_some_and(|copy| !copy.offline && !database.is_promotable(partition, copy))
    };
    let goes = before != master || !dropped.is_empty();
    let missing =
        wanted.iter().filter(|leaf| !partition.is_usable_on(**leaf) || goes && is_begun(**leaf));
    steps.extend(missing.map(|leaf| step(phase, *leaf, Action::Copy)));
    let stays = wanted.contains(&before);
    if before != master {
        let action = if stays { Action::Promote } else { Action::PromoteWithDrop };
        steps.push(step(Phase::Promote, master, action));
    }
    steps.extend(dropped.into_iter().map(|leaf| step(Phase::Drop, leaf, Action::Drop)));
    steps
}

/// What each leaf has more than now, at the worst moment: that is before anything goes, since everything is
/// copied first.
fn peaks(steps: &[Step]) -> BTreeMap<LeafId, u64> {
    let mut peaks: BTreeMap<LeafId, u64> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.action.is_copy()) {
        *peaks.entry(step.target).or_default() += step.bytes;
    }
    peaks
}
