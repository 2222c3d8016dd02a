//! The target itself: one flow, or the search.

use std::collections::BTreeMap;

use thiserror::Error;

use super::assign::{Assigned, assign};
use super::cost::Weights;
use super::even::{Elsewhere, count, nested};
use super::homes::{Candidate, Homes, candidates};
use super::limits::Limits;
use super::search::search;
use super::{Cost, Placement, check};
use crate::{Database, Group, Leaf, LeafId, Mode};

/// What a leaf has of all other databases: `REBALANCE … FULL` goes by it.
pub type Load = BTreeMap<LeafId, u64>;

/// What to place, and how.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// All leaves of the cluster, in any order.
    pub leaves: &'a [Leaf],
    /// What is where.
    pub database: &'a Database,
    /// How to place.
    pub mode: Mode,
    /// Masters of other databases by leaf: the remainder goes where there are fewest. Without it, to the
    /// first leaves, if that takes no more work.
    pub full: Option<&'a Load>,
    /// Partitions without any copy get an empty one: their rows are given up.
    pub force: bool,
}

/// There is nowhere to place copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unplaceable {
    /// No leaf is online.
    #[error("no leaf is online")]
    NoLeaf,
    /// Redundancy 2, and every leaf of a group is offline or leaving.
    #[error("availability group {} has no leaf that is online", .0.number())]
    NoLeafInGroup(Group),
    /// No two leaves of a pair are online.
    #[error("no pair has both of its leaves online")]
    NoPair,
}

/// Where the partitions of a database belong.
///
/// Pure, and the same for the same request. Partitions without a master are left alone, unless `force` makes
/// those anew that have no copy at all.
///
/// # Errors
/// [`Unplaceable`] if the mode needs leaves that are not there.
pub fn target(request: &Request<'_>) -> Result<Placement, Unplaceable> {
    let homes = Homes::new(request.leaves, request.mode);
    let groups = [Group::One, Group::Two];
    let empty = groups.into_iter().find(|group| homes.group(*group).is_empty());
    match (request.mode, empty) {
        (_, Some(_)) if homes.sites.is_empty() && request.mode == Mode::Paired => {
            return Err(Unplaceable::NoPair);
        }
        (_, Some(_)) if homes.sites.is_empty() => return Err(Unplaceable::NoLeaf),
        (Mode::LoadBalanced, Some(group)) => return Err(Unplaceable::NoLeafInGroup(group)),
        _ => {}
    }
    let candidates = candidates(request, &homes);
    let weigh = |leaf: LeafId| request.full.and_then(|load| load.get(&leaf)).copied().unwrap_or(0);
    let elsewhere: Elsewhere<'_> = request.full.is_some().then_some(&weigh);
    let mut placement = Placement {
        homes: vec![None; request.database.partitions.len()],
        cost: Cost::default(),
        bound: Cost::default(),
    };
    if candidates.is_empty() {
        return Ok(placement);
    }
    let (assigned, bound) = solve(&candidates, &homes, request.mode, elsewhere);
    for (candidate, home) in candidates.iter().zip(&assigned.homes) {
        placement.homes[candidate.partition] = Some(homes.home(*home));
    }
    (placement.cost, placement.bound) = (assigned.cost, bound);
    debug_assert_eq!(check(request.leaves, request.mode, &placement.homes), []);
    Ok(placement)
}

fn solve(
    candidates: &[Candidate],
    homes: &Homes,
    mode: Mode,
    elsewhere: Elsewhere<'_>,
) -> (Assigned, Cost) {
    let of = count(candidates.len());
    let is_full = elsewhere.is_some();
    if mode != Mode::LoadBalanced {
        let bins = nested(homes, mode, of, elsewhere);
        let weights = Weights::new(candidates.len(), bins.len(), is_full);
        let assigned = assign(candidates, homes, &bins, &weights).expect("even shares always fit");
        let cost = assigned.cost;
        return (assigned, cost);
    }
    let weights = Weights::new(candidates.len(), 2 * homes.list.len(), is_full);
    // Where the remainder should be for the sake of other databases may contradict the rest.
    let found = search(candidates, homes, &Limits::all(homes, of, elsewhere), &weights)
        .or_else(|| search(candidates, homes, &Limits::all(homes, of, None), &weights));
    let found = found.expect("there is always a balanced placement: see `project`");
    (found.best, found.bound)
}
