//! Parts of a load-balanced answer that can be chosen anew, exactly, while the rest stays.
//!
//! All bounds together do not nest. But if every partition keeps its two leaves, or its master, or its replica,
//! what is left of them does.

use super::assign::Bin;
use super::even::{Range, rest_too};
use super::homes::{Candidate, Homes};
use super::limits::{Limits, Sums, bin};
use crate::Group;

/// What is chosen anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// Which of its two leaves has the master.
    Roles,
    /// The replicas of partitions whose masters are in a group.
    Replicas(Group),
    /// The masters of partitions whose masters are in a group.
    Masters(Group),
}

impl Open {
    pub(crate) const ALL: [Self; 5] = [
        Self::Roles,
        Self::Replicas(Group::One),
        Self::Replicas(Group::Two),
        Self::Masters(Group::One),
        Self::Masters(Group::Two),
    ];
}

/// Bounds that nest, and the homes that each candidate may choose from.
pub(crate) struct Reopened {
    pub(crate) bins: Vec<Bin>,
    pub(crate) choices: Vec<Vec<usize>>,
}

/// Opens a part of an answer: `counts` and `at` are its numbers by home and its homes by candidate.
pub(crate) fn reopen(
    candidates: &[Candidate],
    homes: &Homes,
    limits: &Limits,
    (open, counts, at): (Open, &[u32], &[usize]),
) -> Reopened {
    let answer = Answer { homes, limits, counts, sums: Sums::new(homes, counts) };
    let choices = candidates.iter().zip(at).map(|(_, home)| answer.choices(open, *home)).collect();
    Reopened { bins: answer.bins(open), choices }
}

struct Answer<'a> {
    homes: &'a Homes,
    limits: &'a Limits,
    counts: &'a [u32],
    sums: Sums,
}

impl Answer<'_> {
    fn ends(&self, home: usize) -> (usize, usize) {
        let (master, replica) = self.homes.list[home];
        (master, replica.expect("redundancy 2"))
    }

    fn back(&self, home: usize) -> usize {
        let (master, replica) = self.ends(home);
        self.homes.find(replica, Some(master)).expect("both ways")
    }

    fn is_open(&self, open: Open, home: usize) -> bool {
        let group = self.homes.sites[self.ends(home).0].group;
        match open {
            Open::Roles => true,
            Open::Replicas(of) | Open::Masters(of) => group == of,
        }
    }

    fn choices(&self, open: Open, home: usize) -> Vec<usize> {
        let (master, replica) = self.ends(home);
        match open {
            _ if !self.is_open(open, home) => vec![home],
            Open::Roles => vec![home, self.back(home)],
            Open::Replicas(_) => self.homes.by_master[master].clone(),
            Open::Masters(_) => self.homes.by_replica[replica].clone(),
        }
    }

    /// Homes first, then sites: of masters, or of replicas where those are open.
    fn bins(&self, open: Open) -> Vec<Bin> {
        let behind = self.homes.list.len();
        let homes = (0..behind).map(|home| {
            let (master, replica) = self.ends(home);
            if !self.is_open(open, home) {
                let count = self.counts[home];
                return bin(None, Range { least: count, most: count });
            }
            let site = if matches!(open, Open::Replicas(_)) { replica } else { master };
            bin(Some(behind + site), self.home(open, home))
        });
        let sites = (0..self.homes.sites.len()).map(|site| bin(None, self.site(open, site)));
        homes.chain(sites).collect()
    }

    fn home(&self, open: Open, home: usize) -> Range {
        let (own, back) = (self.limits.homes[home], self.back(home));
        let there = self.counts[back];
        match (open, self.limits.together) {
            (Open::Roles, _) => rest_too(own, self.limits.homes[back], self.counts[home] + there),
            (_, Some((_, share))) => own.and(share.without(there)),
            (_, None) => own,
        }
    }

    fn site(&self, open: Open, site: usize) -> Range {
        let (masters, replicas) = (self.limits.masters[site], self.limits.replicas[site]);
        let (own, rest) = match open {
            Open::Roles => {
                let copies = self.sums.masters[site] + self.sums.replicas[site];
                return rest_too(masters, replicas, copies);
            }
            Open::Masters(_) => (masters, self.sums.replicas[site]),
            Open::Replicas(_) => (replicas, self.sums.masters[site]),
        };
        let is_used = match open {
            Open::Roles => true,
            Open::Masters(group) => self.homes.sites[site].group == group,
            Open::Replicas(group) => self.homes.sites[site].group != group,
        };
        match self.limits.together {
            _ if !is_used => Range { least: 0, most: 0 },
            Some((copies, _)) => own.and(copies.without(rest)),
            None => own,
        }
    }
}
