//! RESTORE REDUNDANCY: a second copy for every partition that has one, and nothing else.

use std::collections::BTreeMap;

use super::{Action, Phase, Plan, Step};
use crate::flow::{Amount, Arc, Network, Node};
use crate::placement::Unplaceable;
use crate::{Database, Group, Leaf, LeafId, Mode, Partition, Standing};

/// A plan of copies only: no master moves, nothing is dropped, nobody is evened out. New copies go to the other
/// group, to where there are fewest, and from each leaf's masters to different leaves; in pairs to the
/// partner, if it is online.
///
/// # Errors
/// [`Unplaceable`] if a partition needs a copy in a group that has no leaf that is online.
pub fn restore(leaves: &[Leaf], database: &Database, mode: Mode) -> Result<Plan, Unplaceable> {
    let is_single = |partition: &&Partition| {
        let master = partition.master.and_then(|leaf| find(leaves, leaf));
        mode.copies() == 2
            && master.is_some_and(|leaf| leaf.standing.is_present())
            && partition.usable().filter(|leaf| is_present(leaves, *leaf)).count() == 1
    };
    let mut by_master: BTreeMap<LeafId, Vec<&Partition>> = BTreeMap::new();
    for partition in database.partitions.iter().filter(is_single) {
        let master = partition.master.expect("it was asked for");
        by_master.entry(master).or_default().push(partition);
    }
    let takers = takers(leaves, database, mode, &by_master)?;
    let steps = by_master.values().zip(takers).flat_map(|(partitions, takers)| {
        partitions.iter().zip(takers).map(|(partition, target)| {
            Step::new(partition, Phase::Redundancy, target, Action::CopyForce)
        })
    });
    let steps: Vec<Step> = steps.collect();
    Ok(Plan::new(leaves, database, steps, mode.copies()))
}

fn find(leaves: &[Leaf], id: LeafId) -> Option<&Leaf> {
    leaves.iter().find(|leaf| leaf.id == id)
}

fn is_present(leaves: &[Leaf], id: LeafId) -> bool {
    find(leaves, id).is_some_and(|leaf| leaf.standing.is_present())
}

/// For each master leaf the leaves that take its copies: the flow with the least sum of squares, of copies
/// by leaf first, then of copies by master leaf and taker.
fn takers(
    leaves: &[Leaf],
    database: &Database,
    mode: Mode,
    by_master: &BTreeMap<LeafId, Vec<&Partition>>,
) -> Result<Vec<Vec<LeafId>>, Unplaceable> {
    let online: Vec<&Leaf> =
        leaves.iter().filter(|leaf| leaf.standing == Standing::Online).collect();
    let all = by_master.values().map(Vec::len).sum::<usize>();
    let all = u32::try_from(all).expect("partitions are counted in 32 bits");
    let mut network = Network::default();
    let (source, sink) = (network.node(), network.node());
    let nodes = network.nodes(online.len());
    for (leaf, node) in online.iter().zip(&nodes) {
        let has = database.partitions.iter().filter(|p| p.is_usable_on(leaf.id)).count();
        let has = i64::try_from(has).expect("partitions are counted in 32 bits");
        rising(&mut network, (*node, sink), all, |k| (has + k) * (i64::from(all) + 1));
    }
    let mut arcs: Vec<Vec<(LeafId, Vec<Arc>)>> = Vec::new();
    for (master, partitions) in by_master {
        let master = find(leaves, *master).expect("it is known");
        let count = u32::try_from(partitions.len()).expect("counted in 32 bits");
        let node = network.node();
        network.arc(source, node, count, 0);
        let to: Vec<usize> = choices(&online, master, mode);
        if to.is_empty() {
            return Err(Unplaceable::NoLeafInGroup(master.group.other()));
        }
        let to = to
            .into_iter()
            .map(|at| (online[at].id, rising(&mut network, (node, nodes[at]), count, |k| k)));
        arcs.push(to.collect());
    }
    network.solve(source, sink, Amount::Units(all));
    let taken = |(leaf, arcs): &(LeafId, Vec<Arc>)| {
        let units: u32 = arcs.iter().map(|arc| network.carried(*arc)).sum();
        std::iter::repeat_n(*leaf, units as usize)
    };
    Ok(arcs.iter().map(|arcs| arcs.iter().flat_map(taken).collect()).collect())
}

/// Arcs for one unit each, the next at a higher cost.
fn rising(
    network: &mut Network,
    (from, to): (Node, Node),
    count: u32,
    cost: impl Fn(i64) -> i64,
) -> Vec<Arc> {
    (0..count).map(|unit| network.arc(from, to, 1, cost(i64::from(unit)))).collect()
}

/// Who may take second copies of a leaf's masters.
fn choices(online: &[&Leaf], master: &Leaf, mode: Mode) -> Vec<usize> {
    let other: Group = master.group.other();
    let is_partner = |leaf: &Leaf| mode == Mode::Paired && master.pair == Some(leaf.id);
    let partner = online.iter().position(|leaf| is_partner(leaf));
    match partner {
        Some(partner) => vec![partner],
        None => (0..online.len()).filter(|at| online[*at].group == other).collect(),
    }
}
