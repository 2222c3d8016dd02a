//! The least work for a load-balanced placement.
//!
//! Parts of the bounds nest, and [`assign`] answers each of them exactly: the *relaxed* answers, which bound the
//! cost. A relaxed answer is moved to the nearest numbers that meet all bounds ([`project`]), partitions are
//! assigned to these numbers, again exactly, and parts of the answer are opened again ([`reopen`]). If that
//! costs as little as the bound, it is proven to be the least. Else a sum is out of its range in the relaxed
//! answer: the search branches on a home in that sum (branch and bound), as long as its effort lasts.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::assign::{Assigned, Bin, assign, assign_among};
use super::cost::{Cost, Weights};
use super::even::{Range, count};
use super::homes::{Candidate, Homes};
use super::limits::{Excess, Limits, bin};
use super::project::project;
use super::reopen::{Open, reopen};
use crate::Group;
use crate::flow::{Amount, Arc, Network};

/// Steps of the search: this by the square of homes and candidates. Some thousand in small clusters, where the
/// search always ends; none for 64 leaves and 1,024 partitions, where a step takes 20 ms and seldom helps.
const EFFORT: usize = 1 << 22;

/// Parts of answers that are opened again for promotions' sake where no steps are taken: about 3 ms each.
const REOPENED_MOST: u32 = 20;

/// The least costly placement that was found, and a cost below which there is none.
pub(crate) struct Found {
    pub(crate) best: Assigned,
    pub(crate) bound: Cost,
}

/// Searches within all limits that are possible.
pub(crate) fn search(
    candidates: &[Candidate],
    homes: &Homes,
    all: &[Limits],
    weights: &Weights,
) -> Option<Found> {
    let mut search = Search {
        candidates,
        homes,
        weights,
        best: None,
        open: BTreeMap::new(),
        seen: 0,
        reopened: 0,
    };
    for limits in all {
        search.look_at(limits);
    }
    for _ in 0..steps(homes, candidates) {
        let Some(((bound, ..), branch)) = search.open.pop_first() else { break };
        if search.best.as_ref().is_some_and(|best| bound >= best.cost) {
            search.open.clear();
            break;
        }
        for limits in branches(&branch) {
            search.look_at(&limits);
        }
    }
    let open = search.open.first_key_value().map(|((bound, ..), _)| *bound);
    let best = search.best?;
    Some(Found { bound: open.map_or(best.cost, |bound| bound.min(best.cost)), best })
}

/// Steps beyond the first look.
fn steps(homes: &Homes, candidates: &[Candidate]) -> usize {
    let size = homes.list.len() + candidates.len();
    EFFORT / (size * size)
}

/// Limits whose relaxed answer is not within them.
struct Branch {
    limits: Limits,
    counts: Vec<u32>,
    excess: Excess,
}

struct Search<'a> {
    candidates: &'a [Candidate],
    homes: &'a Homes,
    weights: &'a Weights,
    best: Option<Assigned>,
    /// The lowest bound first, of equal ones the latest: it is nearest to an end.
    open: BTreeMap<(Cost, Reverse<u64>), Branch>,
    seen: u64,
    /// Parts that were opened again.
    reopened: u32,
}

impl Search<'_> {
    /// Bounds what is within these limits, offers what it finds there, and keeps what is left to look at.
    fn look_at(&mut self, limits: &Limits) {
        let Some((relaxed, bound)) = self.relax(limits) else { return };
        let mut first = None;
        for assigned in relaxed {
            if self.best.as_ref().is_some_and(|best| bound >= best.cost) {
                return;
            }
            let counts = self.counts(&assigned);
            let is_enough = self.is_large() && self.is_near(bound);
            let Some(excess) = limits.excess(self.homes, &counts) else {
                // The least of more than these limits, and within them.
                self.offer(assigned);
                return;
            };
            if !is_enough
                && let Some(near) = project(limits, self.homes, &counts)
                && let Some(found) = self.assign_exactly(&near)
            {
                self.improve(limits, found, bound);
            }
            first = first.or(Some((counts, excess)));
        }
        if let Some((counts, excess)) = first {
            self.seen += 1;
            let branch = Branch { limits: limits.clone(), counts, excess };
            self.open.insert((bound, Reverse(self.seen)), branch);
        }
    }

    /// Whether the copies are proven to be the least and the promotions nearly so.
    fn is_near(&self, bound: Cost) -> bool {
        let few = bound.promotions + bound.promotions / 16 + 1;
        let best = self.best.as_ref().map(|best| best.cost);
        best.is_some_and(|best| best.copies <= bound.copies && best.promotions <= few)
    }

    /// Whether steps take so long that none is taken.
    fn is_large(&self) -> bool {
        steps(self.homes, self.candidates) == 0
    }

    /// Answers to parts of the table, the one that costs most first; and what all of it costs at least.
    fn relax(&self, limits: &Limits) -> Option<(Vec<Assigned>, Cost)> {
        let bins = limits.relaxed(self.homes);
        let assign =
            |bins: &[Bin], weights: &Weights| assign(self.candidates, self.homes, bins, weights);
        let fewest = assign(&bins[0], &self.weights.promotions_only())?.cost.promotions;
        let relaxed = bins.iter().map(|bins| assign(bins, self.weights));
        let mut relaxed: Vec<Assigned> = relaxed.collect::<Option<_>>()?;
        relaxed.sort_by_key(|assigned| Reverse(assigned.cost));
        let most = relaxed[0].cost;
        let sides = sides(self.candidates, self.homes, limits);
        let promotions = if sides > most.copies { fewest } else { fewest.max(most.promotions) };
        Some((relaxed, Cost::new(most.copies.max(sides), promotions)))
    }

    fn counts(&self, assigned: &Assigned) -> Vec<u32> {
        let mut counts = vec![0; self.homes.list.len()];
        for home in &assigned.homes {
            counts[*home] += 1;
        }
        counts
    }

    fn assign_exactly(&self, counts: &[u32]) -> Option<Assigned> {
        let exact = counts.iter().map(|count| bin(None, Range { least: *count, most: *count }));
        let bins: Vec<Bin> = exact.collect();
        assign(self.candidates, self.homes, &bins, self.weights)
    }

    /// Opens one part of the answer after the other and takes the best there, as long as that costs less.
    fn improve(&mut self, limits: &Limits, found: Assigned, bound: Cost) {
        let mut best = found;
        let mut in_vain = 0;
        for open in Open::ALL.into_iter().cycle() {
            if in_vain == Open::ALL.len() || best.cost <= bound {
                break;
            }
            let is_known = best.cost.copies <= bound.copies;
            if is_known && self.is_large() && self.reopened >= REOPENED_MOST {
                break;
            }
            self.reopened += 1;
            in_vain += 1;
            let counts = self.counts(&best);
            let parts = (open, counts.as_slice(), best.homes.as_slice());
            let reopened = reopen(self.candidates, self.homes, limits, parts);
            let parts = (reopened.bins.as_slice(), reopened.choices.as_slice());
            let next = assign_among(self.candidates, self.homes, parts, self.weights);
            // Other numbers at the same cost may be a step to a lower one.
            let next = next.map(|next| self.counts(&next)).filter(|next| *next != counts);
            let next = next.and_then(|next| self.assign_exactly(&next));
            if let Some(next) = next.filter(|next| next.cost < best.cost) {
                (best, in_vain) = (next, 0);
            }
        }
        self.offer(best);
    }

    fn offer(&mut self, assigned: Assigned) {
        if self.best.as_ref().is_none_or(|best| assigned.cost < best.cost) {
            self.best = Some(assigned);
        }
    }
}

/// The fewest copies that even out the copies of leaves, whoever shares what with whom: each partition has
/// one copy in each group, so the groups are two questions.
fn sides(candidates: &[Candidate], homes: &Homes, limits: &Limits) -> u32 {
    let side = |group| {
        let sites = homes.group(group);
        let mut network = Network::default();
        let (source, sink, anew) = (network.node(), network.node(), network.node());
        let nodes = network.nodes(sites.len());
        let all = count(candidates.len());
        for (site, node) in sites.iter().zip(&nodes) {
            let range = limits.copies(*site);
            network.arc(*node, sink, range.least, -i64::from(all) - 1);
            network.arc(*node, sink, range.most - range.least, 0);
            network.arc(anew, *node, all, 0);
        }
        let arcs: Vec<Arc> = candidates
            .iter()
            .map(|candidate| {
                let from = network.node();
                network.arc(source, from, 1, 0);
                for site in &candidate.kept {
                    if let Some(place) = sites.iter().position(|other| other == site) {
                        network.arc(from, nodes[place], 1, 0);
                    }
                }
                // What is made anew takes one copy, wherever its master is.
                network.arc(from, anew, 1, i64::from(!candidate.is_lost))
            })
            .collect();
        network.solve(source, sink, Amount::Units(all));
        let copied = candidates.iter().zip(&arcs).filter(|(candidate, _)| !candidate.is_lost);
        copied.map(|(_, arc)| network.carried(*arc)).sum::<u32>()
    };
    let lost = count(candidates.iter().filter(|candidate| candidate.is_lost).count());
    side(Group::One) + side(Group::Two) + lost
}

/// Two narrower limits that together leave nothing out but the relaxed answer; the likelier one last.
fn branches(branch: &Branch) -> Vec<Limits> {
    let Branch { limits, counts, excess } = branch;
    let with = |home: usize, range: Range| {
        let mut limits = limits.clone();
        limits.homes[home] = range;
        limits
    };
    let movable = excess.homes.iter().copied().find(|home| {
        let range = limits.homes[*home];
        let far = if excess.is_too_much { range.least } else { range.most };
        counts[*home] != far
    });
    // Every home is where it can go no further: these limits cannot be met.
    let Some(home) = movable else { return Vec::new() };
    let (range, here) = (limits.homes[home], counts[home]);
    let (low, high) = if excess.is_too_much { (here - 1, here) } else { (here, here + 1) };
    let fewer = with(home, Range { least: range.least, most: low });
    let more = with(home, Range { least: high, most: range.most });
    if excess.is_too_much { vec![more, fewer] } else { vec![fewer, more] }
}
