//! The numbers nearest to given ones that meet all load-balanced bounds.
//!
//! Groups of different size: masters by leaf and replicas by leaf are the two sides of one flow. Groups of
//! the same size in two flows: first how much two leaves share (copies by leaf are the sides), then which part of
//! it the one is master of. The second can be done whatever the first answers: half of each share, half of each
//! leaf's copies is within all bounds, and a flow that may be fractional may be whole.

use super::even::{Range, rest_too};
use super::homes::Homes;
use super::limits::Limits;
use crate::Group;
use crate::flow::{Amount, Arc, Network, Node};

/// Weighs more than any distance.
const BOUND: i64 = 1 << 40;

/// Counts by home, or none if the bounds cannot be met.
pub(crate) fn project(limits: &Limits, homes: &Homes, wanted: &[u32]) -> Option<Vec<u32>> {
    let counts = match limits.together {
        None => one_flow(limits, homes, wanted),
        Some((copies, share)) => {
            let sides = Sides { limits, homes, wanted };
            let shares = sides.shares(copies, share);
            sides.split(&shares)?
        }
    };
    limits.are_met(homes, &counts).then_some(counts)
}

/// An arc, or several, that carry a number in a range, rather the wanted one.
struct Near(Vec<Arc>);

impl Near {
    fn add(network: &mut Network, (from, to): (Node, Node), range: Range, wanted: u32) -> Self {
        let most = range.most.max(range.least);
        let wanted = wanted.clamp(range.least, most);
        let parts = [(range.least, -BOUND), (wanted - range.least, -1), (most - wanted, 1)];
        let parts = parts.into_iter().filter(|(units, _)| *units > 0);
        Self(parts.map(|(units, cost)| network.arc(from, to, units, cost)).collect())
    }

    fn carried(&self, network: &Network) -> u32 {
        self.0.iter().map(|arc| network.carried(*arc)).sum()
    }
}

/// An arc that carries a number in a range.
fn within(network: &mut Network, from: Node, to: Node, range: Range) {
    network.arc(from, to, range.least, -BOUND);
    network.arc(from, to, range.most.saturating_sub(range.least), 0);
}

fn one_flow(limits: &Limits, homes: &Homes, wanted: &[u32]) -> Vec<u32> {
    let mut network = Network::default();
    let (source, sink) = (network.node(), network.node());
    let masters = network.nodes(homes.sites.len());
    let replicas = network.nodes(homes.sites.len());
    for site in 0..homes.sites.len() {
        within(&mut network, source, masters[site], limits.masters[site]);
        within(&mut network, replicas[site], sink, limits.replicas[site]);
    }
    let arcs: Vec<Near> = (0..homes.list.len())
        .map(|home| {
            let (master, replica) = homes.list[home];
            let ends = (masters[master], replicas[replica.expect("redundancy 2")]);
            Near::add(&mut network, ends, limits.homes[home], wanted[home])
        })
        .collect();
    network.solve(source, sink, Amount::Units(wanted.iter().sum()));
    arcs.iter().map(|arc| arc.carried(&network)).collect()
}

/// Both groups as the sides of a flow.
struct Sides<'a> {
    limits: &'a Limits,
    homes: &'a Homes,
    wanted: &'a [u32],
}

impl Sides<'_> {
    /// Each pair of leaves, with the homes that they make both ways.
    fn pairs(&self) -> Vec<(usize, usize, usize, usize)> {
        let other = self.homes.group(Group::Two);
        let pairs = self.homes.group(Group::One).into_iter().flat_map(|one| {
            other.iter().map(move |two| {
                let home = |master, replica| self.homes.find(master, Some(replica));
                let there = home(one, *two).expect("every pair of leaves is a home");
                (one, *two, there, home(*two, one).expect("both ways"))
            })
        });
        pairs.collect()
    }

    /// How much two leaves share.
    fn shares(&self, copies: Range, share: Range) -> Vec<u32> {
        let mut network = Network::default();
        let (source, sink) = (network.node(), network.node());
        let sites = network.nodes(self.homes.sites.len());
        for (site, node) in self.homes.sites.iter().zip(&sites) {
            let ends = if site.group == Group::One { (source, *node) } else { (*node, sink) };
            within(&mut network, ends.0, ends.1, copies);
        }
        let arcs: Vec<Near> = self
            .pairs()
            .iter()
            .map(|(one, two, there, back)| {
                let (there_range, back_range) =
                    (self.limits.homes[*there], self.limits.homes[*back]);
                let range = Range {
                    least: share.least.max(there_range.least + back_range.least),
                    most: share.most.min(there_range.most + back_range.most),
                };
                let wanted = self.wanted[*there] + self.wanted[*back];
                Near::add(&mut network, (sites[*one], sites[*two]), range, wanted)
            })
            .collect();
        network.solve(source, sink, Amount::Units(self.wanted.iter().sum()));
        arcs.iter().map(|arc| arc.carried(&network)).collect()
    }

    /// Which part of the shares the leaf of group one is master of; the rest is the other's.
    fn split(&self, shares: &[u32]) -> Option<Vec<u32>> {
        let pairs = self.pairs();
        let mut copies = vec![0; self.homes.sites.len()];
        for ((one, two, ..), share) in pairs.iter().zip(shares) {
            copies[*one] += share;
            copies[*two] += share;
        }
        let mut network = Network::default();
        let (source, sink) = (network.node(), network.node());
        let sites = network.nodes(self.homes.sites.len());
        for (site, node) in sites.iter().enumerate() {
            let (masters, replicas) = (self.limits.masters[site], self.limits.replicas[site]);
            // What flows is the masters of group one, which are the replicas of group two.
            let (own, others, ends) = match self.homes.sites[site].group {
                Group::One => (masters, replicas, (source, *node)),
                Group::Two => (replicas, masters, (*node, sink)),
            };
            within(&mut network, ends.0, ends.1, rest_too(own, others, copies[site]));
        }
        let arcs: Vec<Near> = pairs
            .iter()
            .zip(shares)
            .map(|((one, two, there, back), share)| {
                let range = rest_too(self.limits.homes[*there], self.limits.homes[*back], *share);
                Near::add(&mut network, (sites[*one], sites[*two]), range, self.wanted[*there])
            })
            .collect();
        network.solve(source, sink, Amount::Profitable);
        let mut counts = vec![0; self.homes.list.len()];
        for (((_, _, there, back), arc), share) in pairs.iter().zip(&arcs).zip(shares) {
            counts[*there] = arc.carried(&network);
            // Where the search has narrowed a range to nothing, no part fits.
            counts[*back] = share.checked_sub(counts[*there])?;
        }
        Some(counts)
    }
}
