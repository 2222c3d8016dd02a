//! How many of each kind a leaf, a pair or a home may have: even to within one.

use super::assign::Bin;
use super::homes::Homes;
use crate::{LeafId, Mode};

/// Not fewer than the one, not more than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) least: u32,
    pub(crate) most: u32,
}

impl Range {
    /// Shares of so many among so many, even to within one.
    pub(crate) fn share(of: u32, among: u32) -> Self {
        Self { least: of / among, most: of.div_ceil(among) }
    }

    /// Shares of any number within this range.
    pub(crate) fn shared(self, among: u32) -> Self {
        Self { least: self.least / among, most: self.most.div_ceil(among) }
    }

    /// What is in both; nothing, if they do not meet.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.min(other.most) }
    }

    /// What is left for the rest of a sum.
    pub(crate) fn without(self, part: u32) -> Self {
        Self { least: self.least.saturating_sub(part), most: self.most.saturating_sub(part) }
    }

    pub(crate) fn has(self, count: u32) -> bool {
        (self.least..=self.most).contains(&count)
    }
}

/// What leaves already have of other databases; the remainder goes where there is least of it.
pub(crate) type Elsewhere<'a> = Option<&'a dyn Fn(LeafId) -> u64>;

/// Shares of so many among sites, as [`Range::share`]; but with other databases counted, the remainder
/// is only where there is least elsewhere: sites below the last that gets some must, sites above must not.
pub(crate) fn shares(of: u32, elsewhere: Option<&[u64]>, among: usize) -> Vec<Range> {
    let share = Range::share(of, count(among));
    let Some(elsewhere) = elsewhere else { return vec![share; among] };
    let remainder = of as usize % among;
    if remainder == 0 {
        return vec![share; among];
    }
    let mut sorted = elsewhere.to_vec();
    sorted.sort_unstable();
    let last = sorted[remainder - 1];
    let bound = |there: &u64| match there.cmp(&last) {
        std::cmp::Ordering::Less => Range { least: share.most, most: share.most },
        std::cmp::Ordering::Equal => share,
        std::cmp::Ordering::Greater => Range { least: share.least, most: share.least },
    };
    elsewhere.iter().map(bound).collect()
}

/// The part of a sum that leaves a rest within its own range.
pub(crate) fn rest_too(part: Range, rest: Range, sum: u32) -> Range {
    let least = part.least.max(sum.saturating_sub(rest.most));
    Range { least, most: part.most.min(sum.saturating_sub(rest.least)).max(least) }
}

pub(crate) fn count(many: usize) -> u32 {
    u32::try_from(many).expect("counted in 32 bits")
}

/// Bins of [`Mode::Single`] and [`Mode::Paired`]: there they nest, so the flow is exact.
///
/// In pairs, `q` or `q + 1` partitions go to a pair, and `q / 2` or one more to each side as masters: that is
/// even to within one in the pair and over all leaves, whether `q` is even or odd.
pub(crate) fn nested(homes: &Homes, mode: Mode, of: u32, elsewhere: Elsewhere<'_>) -> Vec<Bin> {
    let there: Option<Vec<u64>> =
        elsewhere.map(|count| homes.sites.iter().map(|site| count(site.leaf)).collect());
    let there = there.as_deref();
    match mode {
        Mode::Single => {
            let shares = shares(of, there, homes.sites.len());
            let remainder = of as usize % homes.sites.len();
            let bin = |(site, share): (usize, &Range)| bin(None, *share, site >= remainder);
            shares.iter().enumerate().map(bin).collect()
        }
        Mode::Paired => pairs(homes, of, there),
        Mode::LoadBalanced => unreachable!("its bounds do not nest"),
    }
}

fn bin(parent: Option<usize>, range: Range, is_dear: bool) -> Bin {
    Bin { parent, least: range.least, most: range.most, is_dear }
}

fn pairs(homes: &Homes, of: u32, there: Option<&[u64]>) -> Vec<Bin> {
    let sites = homes.sites.len();
    let partner = |site: usize| homes.list[site].1.expect("each home has a replica");
    let firsts: Vec<usize> = (0..sites).filter(|site| *site < partner(*site)).collect();
    let together: Option<Vec<u64>> =
        there.map(|there| firsts.iter().map(|site| there[*site] + there[partner(*site)]).collect());
    let shares = shares(of, together.as_deref(), firsts.len());
    let whole = of / count(firsts.len());
    let side = Range { least: whole / 2, most: whole / 2 + 1 };
    let pair_of = |site: usize| {
        let first = site.min(partner(site));
        firsts.iter().position(|other| *other == first).expect("listed")
    };
    let is_dear = |site: usize| match there {
        Some(there) => there[site] > there[partner(site)],
        None => site > partner(site),
    };
    let homes = (0..sites).map(|site| bin(Some(sites + pair_of(site)), side, is_dear(site)));
    let remainder = of as usize % firsts.len();
    let pairs = shares.iter().enumerate();
    let pairs = pairs.map(|(pair, share)| bin(None, *share, pair >= remainder));
    homes.chain(pairs).collect()
}
