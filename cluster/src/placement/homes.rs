//! Where partitions can go: sites, and the homes that they make.

use std::collections::BTreeMap;

use super::{Home, Request};
use crate::{Group, Leaf, LeafId, Mode, Standing};

/// A leaf that may get copies. Sites are numbered in leaf order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) leaf: LeafId,
    pub(crate) group: Group,
}

/// All homes of a mode: a master's site and, with redundancy 2, a replica's.
#[derive(Clone, Debug)]
pub(crate) struct Homes {
    pub(crate) sites: Vec<Site>,
    pub(crate) list: Vec<(usize, Option<usize>)>,
    /// Homes by the site of their master.
    pub(crate) by_master: Vec<Vec<usize>>,
    /// Homes by the site of their replica.
    pub(crate) by_replica: Vec<Vec<usize>>,
    /// Number of a home by the sites of master and replica; without replica in the last column.
    index: Vec<Option<usize>>,
    numbers: BTreeMap<LeafId, usize>,
}

impl Homes {
    pub(crate) fn new(leaves: &[Leaf], mode: Mode) -> Self {
        let sites = sites(leaves, mode);
        let numbers: BTreeMap<LeafId, usize> =
            sites.iter().enumerate().map(|(number, site)| (site.leaf, number)).collect();
        let pair_of = |site: usize| {
            let leaf = leaves.iter().find(|leaf| leaf.id == sites[site].leaf)?;
            numbers.get(&leaf.pair?).copied()
        };
        let homes_of = |master: usize| -> Vec<Option<usize>> {
            match mode {
                Mode::Single => vec![None],
                Mode::Paired => vec![pair_of(master)],
                Mode::LoadBalanced => {
                    let other = sites[master].group.other();
                    let there = (0..sites.len()).filter(|site| sites[*site].group == other);
                    there.map(Some).collect()
                }
            }
        };
        let list: Vec<(usize, Option<usize>)> = (0..sites.len())
            .flat_map(|master| homes_of(master).into_iter().map(move |replica| (master, replica)))
            .collect();
        let mut by_master = vec![Vec::new(); sites.len()];
        let mut by_replica = vec![Vec::new(); sites.len()];
        for (number, (master, replica)) in list.iter().enumerate() {
            by_master[*master].push(number);
            if let Some(replica) = replica {
                by_replica[*replica].push(number);
            }
        }
        let mut index = vec![None; sites.len() * (sites.len() + 1)];
        for (number, (master, replica)) in list.iter().enumerate() {
            index[master * (sites.len() + 1) + replica.unwrap_or(sites.len())] = Some(number);
        }
        Self { sites, list, by_master, by_replica, index, numbers }
    }

    pub(crate) fn site(&self, leaf: LeafId) -> Option<usize> {
        self.numbers.get(&leaf).copied()
    }

    pub(crate) fn find(&self, master: usize, replica: Option<usize>) -> Option<usize> {
        let sites = self.sites.len();
        self.index[master * (sites + 1) + replica.unwrap_or(sites)]
    }

    pub(crate) fn home(&self, number: usize) -> Home {
        let (master, replica) = self.list[number];
        let leaf = |site: usize| self.sites[site].leaf;
        Home { master: leaf(master), replica: replica.map(leaf) }
    }

    /// The sites of a group, in leaf order.
    pub(crate) fn group(&self, group: Group) -> Vec<usize> {
        (0..self.sites.len()).filter(|site| self.sites[*site].group == group).collect()
    }
}

/// Leaves that may get copies: online ones, and in pairs only both together.
fn sites(leaves: &[Leaf], mode: Mode) -> Vec<Site> {
    let online = |leaf: &&Leaf| leaf.standing == Standing::Online;
    let is_paired = |leaf: &Leaf| {
        let pair = leaves.iter().filter(online).find(|other| Some(other.id) == leaf.pair);
        pair.is_some_and(|other| other.pair == Some(leaf.id) && other.group != leaf.group)
    };
    let taken = leaves.iter().filter(online).filter(|leaf| mode != Mode::Paired || is_paired(leaf));
    let mut sites: Vec<Site> =
        taken.map(|leaf| Site { leaf: leaf.id, group: leaf.group }).collect();
    sites.sort_by_key(|site| site.leaf);
    sites
}

/// A partition that has to be placed, in numbers of sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its place in the database.
    pub(crate) partition: usize,
    /// Sites with a copy that can be used.
    pub(crate) kept: Vec<usize>,
    /// The master's site; none if it is on a leaf that gets no copies, or is to be made anew.
    pub(crate) master: Option<usize>,
    /// To be made anew and empty, because no copy is left.
    pub(crate) is_lost: bool,
}

/// The partitions that can be placed: those with a master, and those without any copy if forced.
pub(crate) fn candidates(request: &Request<'_>, homes: &Homes) -> Vec<Candidate> {
    let present: BTreeMap<LeafId, Standing> =
        request.leaves.iter().map(|leaf| (leaf.id, leaf.standing)).collect();
    let is_present = |leaf: LeafId| present.get(&leaf).is_some_and(|s| s.is_present());
    let numbered = request.database.partitions.iter().enumerate();
    let candidates = numbered.filter_map(|(number, partition)| {
        let usable = || partition.usable().filter(|leaf| is_present(*leaf));
        let served = partition.master.is_some_and(|leaf| usable().any(|other| other == leaf));
        let is_lost = usable().next().is_none();
        (served || is_lost && request.force).then(|| Candidate {
            partition: number,
            kept: usable().filter_map(|leaf| homes.site(leaf)).collect(),
            master: partition.master.filter(|_| served).and_then(|leaf| homes.site(leaf)),
            is_lost,
        })
    });
    candidates.collect()
}
