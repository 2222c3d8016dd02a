//! Load-balanced bounds, which do not nest.
//!
//! With `N` partitions on `L` leaves, `a` and `b` of them in the groups:
//!
//! | of | how many | why |
//! |---|---|---|
//! | masters of a leaf | `N / L` | load |
//! | replicas of a leaf | the same; in groups of different size even within the group | memory, disk |
//! | partitions of a home (x, y) | `masters of x / leaves of the other group` | x is lost: y gains no more |
//! | copies of a leaf, both roles | `N / a`, `N / b` | memory, disk |
//! | partitions that two leaves share | `N / (a · b)` | both are lost: no more is offline |
//!
//! each rounded down or up. The last two hold for groups of the same size only: otherwise they contradict
//! the first two.

use super::assign::Bin;
use super::even::{Elsewhere, Range, count, shares};
use super::homes::Homes;
use crate::Group;

/// The table above.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// By home.
    pub(crate) homes: Vec<Range>,
    /// By site.
    pub(crate) masters: Vec<Range>,
    /// By site.
    pub(crate) replicas: Vec<Range>,
    /// For groups of the same size: copies of a site, partitions that two share.
    pub(crate) together: Option<(Range, Range)>,
}

/// How many partitions each home has, and the sums of the table.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    pub(crate) masters: Vec<u32>,
    pub(crate) replicas: Vec<u32>,
}

/// Homes whose sum is out of range.
pub(crate) struct Excess {
    pub(crate) homes: Vec<usize>,
    pub(crate) is_too_much: bool,
}

impl Sums {
    pub(crate) fn new(homes: &Homes, counts: &[u32]) -> Self {
        let mut sums =
            Self { masters: vec![0; homes.sites.len()], replicas: vec![0; homes.sites.len()] };
        for ((master, replica), count) in homes.list.iter().zip(counts) {
            sums.masters[*master] += count;
            sums.replicas[replica.expect("redundancy 2")] += count;
        }
        sums
    }
}

impl Limits {
    /// All that are possible: one, or for groups of different size one for each way to share the masters
    /// between the groups that makes other numbers of replicas.
    pub(crate) fn all(homes: &Homes, of: u32, elsewhere: Elsewhere<'_>) -> Vec<Self> {
        let sites = homes.sites.len();
        let there: Option<Vec<u64>> =
            elsewhere.map(|count| homes.sites.iter().map(|site| count(site.leaf)).collect());
        let masters = shares(of, there.as_deref(), sites);
        let group = |site: usize| homes.sites[site].group;
        let sizes = [Group::One, Group::Two].map(|group| count(homes.group(group).len()));
        let other_size = |site: usize| match group(site) {
            Group::One => sizes[1],
            Group::Two => sizes[0],
        };
        let share = Range::share(of, count(sites));
        let shared = homes.list.iter().map(|(master, _)| share.shared(other_size(*master)));
        let homes_ranges: Vec<Range> = shared.collect();
        let limits = |replicas, together| Self {
            homes: homes_ranges.clone(),
            masters: masters.clone(),
            replicas,
            together,
        };
        if sizes[0] == sizes[1] {
            let together = (Range::share(of, sizes[0]), Range::share(of, sizes[0] * sizes[1]));
            return vec![limits(vec![share; sites], Some(together))];
        }
        let sum = |wanted, pick: fn(&Range) -> u32| -> u32 {
            let of_group = (0..sites).filter(|site| group(*site) == wanted);
            of_group.map(|site| pick(&masters[site])).sum()
        };
        let least = sum(Group::One, |r| r.least).max(of - of.min(sum(Group::Two, |r| r.most)));
        let most = sum(Group::One, |r| r.most).min(of - of.min(sum(Group::Two, |r| r.least)));
        let mut splits: Vec<(Range, Range)> = (least..=most)
            .map(|first| (Range::share(of - first, sizes[0]), Range::share(first, sizes[1])))
            .collect();
        splits.dedup();
        let replicas = splits.into_iter().map(|(one, two)| {
            (0..sites).map(|site| if group(site) == Group::One { one } else { two }).collect()
        });
        replicas.map(|replicas| limits(replicas, None)).collect()
    }

    /// Relaxations: bins that nest, each for a part of the table.
    pub(crate) fn relaxed(&self, homes: &Homes) -> Vec<Vec<Bin>> {
        let mut all = vec![self.by_site(homes, &self.masters, |home| home.0)];
        if let Some((copies, share)) = self.together {
            for group in [Group::One, Group::Two] {
                all.push(self.by_share(homes, copies, share, group));
            }
        } else {
            all.push(self.by_site(homes, &self.replicas, |home| home.1.expect("redundancy 2")));
        }
        all
    }

    fn by_site(
        &self,
        homes: &Homes,
        sites: &[Range],
        site: fn(&(usize, Option<usize>)) -> usize,
    ) -> Vec<Bin> {
        let behind = homes.list.len();
        let inner = self.homes.iter().zip(&homes.list);
        let inner = inner.map(|(range, home)| bin(Some(behind + site(home)), *range));
        inner.chain(sites.iter().map(|range| bin(None, *range))).collect()
    }

    fn by_share(&self, homes: &Homes, copies: Range, share: Range, group: Group) -> Vec<Bin> {
        let (rows, columns) = (homes.group(group), homes.group(group.other()));
        let place = |all: &[usize], site| all.iter().position(|other| *other == site);
        let shares = homes.list.len();
        let share_of = |(master, replica): &(usize, Option<usize>)| {
            let replica = replica.expect("redundancy 2");
            let row = place(&rows, *master).or(place(&rows, replica)).expect("one of both");
            let column = place(&columns, replica).or(place(&columns, *master)).expect("the other");
            shares + row * columns.len() + column
        };
        let inner = self.homes.iter().zip(&homes.list);
        let inner = inner.map(|(range, home)| bin(Some(share_of(home)), *range));
        let outer = shares + rows.len() * columns.len();
        let pairs = (0..rows.len()).flat_map(|row| columns.iter().map(move |_| row));
        let pairs = pairs.map(|row| bin(Some(outer + row), share));
        inner.chain(pairs).chain(rows.iter().map(|_| bin(None, copies))).collect()
    }

    /// How many copies a site has in all.
    pub(crate) fn copies(&self, site: usize) -> Range {
        let (masters, replicas) = (self.masters[site], self.replicas[site]);
        let sum =
            Range { least: masters.least + replicas.least, most: masters.most + replicas.most };
        let Some((copies, _)) = self.together else { return sum };
        Range { least: sum.least.max(copies.least), most: sum.most.min(copies.most) }
    }

    /// The first sum that is out of its range; none if all of the table is met.
    pub(crate) fn excess(&self, homes: &Homes, counts: &[u32]) -> Option<Excess> {
        let sums = Sums::new(homes, counts);
        let all = || homes.list.iter().enumerate();
        let select = |wanted: &dyn Fn(usize, usize) -> bool| -> Vec<usize> {
            let chosen = all().filter(|(_, home)| wanted(home.0, home.1.expect("redundancy 2")));
            chosen.map(|(number, _)| number).collect()
        };
        let check = |range: &Range, sum: u32, homes: &dyn Fn() -> Vec<usize>| {
            let is_too_much = sum > range.most;
            (!range.has(sum)).then(|| Excess { homes: homes(), is_too_much })
        };
        for site in 0..homes.sites.len() {
            let (masters, replicas) = (sums.masters[site], sums.replicas[site]);
            let found = check(&self.masters[site], masters, &|| select(&|m, _| m == site))
                .or_else(|| check(&self.replicas[site], replicas, &|| select(&|_, r| r == site)))
                .or_else(|| {
                    let (copies, _) = self.together?;
                    check(&copies, masters + replicas, &|| select(&|m, r| m == site || r == site))
                });
            if found.is_some() {
                return found;
            }
        }
        for (number, (master, replica)) in all() {
            let replica = replica.expect("redundancy 2");
            if let Some((_, share)) = self.together
                && *master < replica
            {
                let back = homes.find(replica, Some(*master)).expect("both ways");
                let sum = counts[number] + counts[back];
                if let Some(found) = check(&share, sum, &|| vec![number, back]) {
                    return Some(found);
                }
            }
            if let Some(found) = check(&self.homes[number], counts[number], &|| vec![number]) {
                return Some(found);
            }
        }
        None
    }

    /// Whether all of the table is met.
    pub(crate) fn are_met(&self, homes: &Homes, counts: &[u32]) -> bool {
        self.excess(homes, counts).is_none()
    }
}

/// A bin that is as good as any other.
pub(crate) fn bin(parent: Option<usize>, range: Range) -> Bin {
    Bin { parent, least: range.least, most: range.most, is_dear: false }
}
