//! The place of a new leaf: its group and its pair.

use thiserror::Error;

use crate::{Address, Group, Leaf, LeafId, Mode};

/// Where a new leaf belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its group.
    pub group: Group,
    /// The leaf that it is paired with, which is to be told so too.
    pub pair: Option<LeafId>,
}

/// A leaf cannot be added so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JoinError {
    /// That address is a leaf already.
    #[error("{0} is a leaf already")]
    Known(Address),
    /// There are no more groups than copies.
    #[error("availability group {group} is above the redundancy level {redundancy}")]
    GroupAboveRedundancy {
        /// The group that was asked for.
        group: u32,
        /// How many there are.
        redundancy: usize,
    },
}

/// ADD LEAF: without a group it goes into the smallest (of equal ones the first), and in pairs to the first
/// leaf of the other group that has no partner. Nothing moves.
///
/// # Errors
/// [`JoinError`] if the address is in use, or there is no such group.
pub fn join(
    leaves: &[Leaf],
    address: &Address,
    group: Option<Group>,
    mode: Mode,
) -> Result<Slot, JoinError> {
    if leaves.iter().any(|leaf| leaf.address == *address) {
        return Err(JoinError::Known(address.clone()));
    }
    let size = |group: Group| leaves.iter().filter(|leaf| leaf.group == group).count();
    let smallest = if mode.copies() == 1 || size(Group::One) <= size(Group::Two) {
        Group::One
    } else {
        Group::Two
    };
    let group = group.unwrap_or(smallest);
    if group.number() as usize > mode.copies() {
        let (group, redundancy) = (group.number(), mode.copies());
        return Err(JoinError::GroupAboveRedundancy { group, redundancy });
    }
    let is_free = |leaf: &&Leaf| leaf.group != group && leaf.pair.is_none();
    let free = leaves.iter().filter(is_free).map(|leaf| leaf.id).min();
    Ok(Slot { group, pair: free.filter(|_| mode == Mode::Paired) })
}
