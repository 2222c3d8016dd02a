//! Placement: where the copies of a database belong, and what is the least work to get them there.
//!
//! A [`target`] depends on the leaves, the mode and what is where, and on nothing else. It is *balanced* (see
//! [`check`], which says the rules once more, slowly), it takes the fewest copies that any balanced placement
//! takes, and of those the fewest promotions.
//!
//! ```text
//!   leaves, mode ─► homes (master leaf, replica leaf), how many partitions each may have
//!   copies ───────► candidates (who has a copy, who is master)
//!                        │ minimum-cost flow
//!                        ▼
//!                   a home for each partition
//! ```
//!
//! With redundancy 1 and in pairs the bounds nest, and one flow is the exact answer. Load-balanced bounds do not
//! nest (masters by leaf, replicas by leaf, what two leaves share): `limits.rs` has them, `search.rs` what is done.

use crate::LeafId;

pub use all::{load_elsewhere, target_all};
pub use check::{Violation, check};
pub use cost::Cost;
pub use initial::{First, NewPartition, initial};
pub use join::{JoinError, Slot, join};

mod all;
mod assign;
mod check;
mod cost;
mod even;
mod homes;
mod initial;
mod join;
mod limits;
mod project;
mod reopen;
mod search;
mod target;

pub use target::{Load, Request, Unplaceable, target};

/// Where a partition belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Home {
    /// The leaf of its master.
    pub master: LeafId,
    /// The leaf of its replica, with redundancy 2.
    pub replica: Option<LeafId>,
}

impl Home {
    /// The leaves of its copies.
    pub fn leaves(&self) -> impl Iterator<Item = LeafId> {
        [Some(self.master), self.replica].into_iter().flatten()
    }
}

/// Where the partitions of a database belong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// By ordinal; none for a partition that cannot be placed now, because it has no master.
    pub homes: Vec<Option<Home>>,
    /// The work to get there.
    pub cost: Cost,
    /// No balanced placement takes less (with FULL: none whose remainder lies so). Equal to `cost` when that is
    /// proven to be the least.
    pub bound: Cost,
}
