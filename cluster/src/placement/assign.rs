//! Which partition goes to which home, so that every bound is met at the least cost: exactly.
//!
//! ```text
//!                   both copies are there
//!              ┌───────────────────────────────────────┐
//!   partition ─┤ a copy stays as master ─► stays l ───►│ home (l, r) ─► bin ─► … ─► all
//!              ├ a copy stays as replica ─► stays r ──►│
//!              └ no copy stays ─────────► anew ───────►│
//! ```
//!
//! The nodes in the middle keep the network small: without them there would be an arc from each partition
//! to each home (two million for 64 leaves and 1,024 partitions).

use super::cost::{Cost, Weights};
use super::homes::{Candidate, Homes};
use crate::flow::{Amount, Arc, Network, Node};

/// How many partitions a bin takes. Bins nest: a home lies in one, that in another, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bin {
    /// The bin around it, listed behind it; none around the outermost.
    pub(crate) parent: Option<usize>,
    /// Not fewer.
    pub(crate) least: u32,
    /// Not more.
    pub(crate) most: u32,
    /// Between equal plans, a partition beyond the least is rather somewhere else.
    pub(crate) is_dear: bool,
}

/// Where the candidates go.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    /// A home for each candidate.
    pub(crate) homes: Vec<usize>,
    /// Copies and promotions of it.
    pub(crate) cost: Cost,
}

/// What becomes of a partition's copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// Both stay, as the two of that home.
    Home(usize),
    /// The one on that site stays, as master.
    Master(usize),
    /// The one on that site stays, as replica.
    Replica(usize),
    /// None stays.
    Anew,
}

/// What a candidate costs in a home.
pub(crate) fn cost_in(candidate: &Candidate, homes: &Homes, home: usize) -> Cost {
    let (master, replica) = homes.list[home];
    let is_new = |site: usize| u32::from(!candidate.kept.contains(&site));
    // What is made anew is no copy of anything.
    let made = if candidate.is_lost { 0 } else { is_new(master) };
    Cost::new(made + replica.map_or(0, is_new), promotions(candidate, Some(master)))
}

fn promotions(candidate: &Candidate, master: Option<usize>) -> u32 {
    let stays = master.is_some() && master == candidate.master;
    u32::from(!stays && !candidate.is_lost)
}

/// The choices of a candidate. The cost of one that names a copy is right unless the other copy happens
/// to stay as well; then the choice of that home is cheaper.
fn choices(candidate: &Candidate, homes: &Homes) -> Vec<(Choice, Cost)> {
    let has_replicas = homes.list.iter().any(|(_, replica)| replica.is_some());
    let kept = &candidate.kept;
    let mut choices = Vec::new();
    for &master in kept {
        let cost = Cost::new(0, promotions(candidate, Some(master)));
        let others = kept.iter().map(|site| Some(*site)).chain([None]);
        let both = others.filter_map(|other| homes.find(master, other));
        choices.extend(both.map(|home| (Choice::Home(home), cost)));
        if has_replicas {
            choices.push((Choice::Master(master), cost.plus(Cost::new(1, 0))));
            let other_master = Cost::new(1, promotions(candidate, None));
            choices.push((Choice::Replica(master), other_master));
        }
    }
    let copies = 1 + u32::from(has_replicas);
    choices.push((Choice::Anew, Cost::new(copies, promotions(candidate, None))));
    choices
}

/// The least costly way to give each candidate a home within the bounds; none if they cannot be met. The
/// first bins are the homes, in their order.
pub(crate) fn assign(
    candidates: &[Candidate],
    homes: &Homes,
    bins: &[Bin],
    weights: &Weights,
) -> Option<Assigned> {
    let mut network = Network::default();
    let (source, sink) = (network.node(), network.node());
    let nodes = network.nodes(bins.len());
    let filled = add_bins(&mut network, (bins, &nodes), weights, sink);
    let all = u32::try_from(candidates.len()).expect("partitions are counted in 32 bits");
    let mut middle = Middle::add(&mut network, homes, &nodes, all);
    let mut leaving: Vec<Vec<(Arc, Choice)>> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let node = network.node();
        network.arc(source, node, 1, 0);
        let arcs = choices(candidate, homes).into_iter().map(|(choice, cost)| {
            let to = middle.node(choice, &nodes);
            (network.arc(node, to, 1, weights.price(cost)), choice)
        });
        leaving.push(arcs.collect());
    }
    let (sent, _) = network.solve(source, sink, Amount::Units(all));
    let met = filled.iter().all(|(arc, least)| network.carried(*arc) == *least);
    if sent < all || !met {
        return None;
    }
    middle.read(&network);
    let homes_taken: Vec<usize> = leaving
        .iter()
        .map(|arcs| {
            let taken = arcs.iter().find(|(arc, _)| network.carried(*arc) > 0);
            middle.home(taken.expect("each candidate was sent").1)
        })
        .collect();
    Some(Assigned { cost: total(candidates, homes, &homes_taken), homes: homes_taken })
}

/// The same, but each candidate has only some homes to choose from.
pub(crate) fn assign_among(
    candidates: &[Candidate],
    homes: &Homes,
    (bins, choices): (&[Bin], &[Vec<usize>]),
    weights: &Weights,
) -> Option<Assigned> {
    let mut network = Network::default();
    let (source, sink) = (network.node(), network.node());
    let nodes = network.nodes(bins.len());
    let filled = add_bins(&mut network, (bins, &nodes), weights, sink);
    let mut leaving: Vec<Vec<(Arc, usize)>> = Vec::with_capacity(candidates.len());
    for (candidate, choices) in candidates.iter().zip(choices) {
        let node = network.node();
        network.arc(source, node, 1, 0);
        let arcs = choices.iter().map(|home| {
            let price = weights.price(cost_in(candidate, homes, *home));
            (network.arc(node, nodes[*home], 1, price), *home)
        });
        leaving.push(arcs.collect());
    }
    let all = u32::try_from(candidates.len()).expect("partitions are counted in 32 bits");
    let (sent, _) = network.solve(source, sink, Amount::Units(all));
    let met = filled.iter().all(|(arc, least)| network.carried(*arc) == *least);
    let taken = leaving.iter().filter_map(|arcs| {
        arcs.iter().find(|(arc, _)| network.carried(*arc) > 0).map(|(_, home)| *home)
    });
    let taken: Vec<usize> = taken.collect();
    (sent == all && met).then(|| Assigned { cost: total(candidates, homes, &taken), homes: taken })
}

fn total(candidates: &[Candidate], homes: &Homes, taken: &[usize]) -> Cost {
    let costs = candidates.iter().zip(taken);
    let costs = costs.map(|(candidate, home)| cost_in(candidate, homes, *home));
    costs.fold(Cost::default(), Cost::plus)
}

/// Arcs from each bin to the one around it; answers those that must be full, and with how much.
fn add_bins(
    network: &mut Network,
    (bins, nodes): (&[Bin], &[Node]),
    weights: &Weights,
    sink: Node,
) -> Vec<(Arc, u32)> {
    let mut filled = Vec::new();
    for (bin, node) in bins.iter().zip(nodes) {
        let to = bin.parent.map_or(sink, |parent| nodes[parent]);
        if bin.least > 0 {
            filled.push((network.arc(*node, to, bin.least, -weights.bound), bin.least));
        }
        if bin.most > bin.least {
            network.arc(*node, to, bin.most - bin.least, weights.extra(bin.is_dear));
        }
    }
    filled
}

/// The nodes between partitions and homes, and what they hand out.
struct Middle {
    masters: Vec<Node>,
    replicas: Vec<Node>,
    anew: Node,
    arcs: Vec<(Arc, Choice, usize)>,
    /// Homes still to be given, by kind and site.
    given: Vec<Vec<usize>>,
}

impl Middle {
    fn add(network: &mut Network, homes: &Homes, bins: &[Node], all: u32) -> Self {
        let sites = homes.sites.len();
        let (masters, replicas) = (network.nodes(sites), network.nodes(sites));
        let anew = network.node();
        let mut arcs = Vec::with_capacity(3 * homes.list.len());
        for (home, (master, replica)) in homes.list.iter().enumerate() {
            arcs.push((network.arc(anew, bins[home], all, 0), Choice::Anew, home));
            if let Some(replica) = replica {
                let stays = network.arc(masters[*master], bins[home], all, 0);
                arcs.push((stays, Choice::Master(*master), home));
                let stays = network.arc(replicas[*replica], bins[home], all, 0);
                arcs.push((stays, Choice::Replica(*replica), home));
            }
        }
        Self { masters, replicas, anew, arcs, given: vec![Vec::new(); 2 * sites + 1] }
    }

    fn node(&self, choice: Choice, bins: &[Node]) -> Node {
        match choice {
            Choice::Home(home) => bins[home],
            Choice::Master(site) => self.masters[site],
            Choice::Replica(site) => self.replicas[site],
            Choice::Anew => self.anew,
        }
    }

    fn place(&self, choice: Choice) -> usize {
        match choice {
            Choice::Home(_) => unreachable!("a home is given as it is"),
            Choice::Master(site) => site,
            Choice::Replica(site) => self.masters.len() + site,
            Choice::Anew => 2 * self.masters.len(),
        }
    }

    /// Takes down which homes each node was sent to; in reverse, so that they are given in order.
    fn read(&mut self, network: &Network) {
        for (arc, choice, home) in self.arcs.iter().rev() {
            let units = network.carried(*arc) as usize;
            let place = self.place(*choice);
            self.given[place].extend(std::iter::repeat_n(*home, units));
        }
    }

    fn home(&mut self, choice: Choice) -> usize {
        if let Choice::Home(home) = choice {
            return home;
        }
        let place = self.place(choice);
        self.given[place].pop().expect("what flows in flows out")
    }
}
