//! Masters go back to where they were before failovers moved them.

use super::{Action, Phase, Plan, Step};
use crate::{Database, Leaf, LeafId, Partition, Standing};

/// Promotions of copies that were masters before, as far as they and those that are masters now are on leaves that are
/// online. With `only`, of copies on that leaf.
#[must_use]
pub fn bring_back(leaves: &[Leaf], database: &Database, only: Option<LeafId>) -> Plan {
    let is_online =
        |id: LeafId| leaves.iter().any(|leaf| leaf.id == id && leaf.standing == Standing::Online);
    let step = |partition: &Partition| {
        let former = partition.former.filter(|former| only.is_none_or(|only| only == *former))?;
        let master = partition.serving().filter(|master| *master != former)?;
        let copy = partition.copies.get(&former)?;
        let may = database.is_promotable(partition, copy) && is_online(former) && is_online(master);
        may.then(|| Step::new(partition, Phase::Promote, former, Action::Promote))
    };
    let steps = database.partitions.iter().filter_map(step).collect();
    Plan::new(leaves, database, steps, 0)
}
