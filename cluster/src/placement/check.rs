//! The rules of a balanced placement, said slowly: nothing here shares code with what makes placements.

use std::collections::BTreeMap;
use std::fmt;

use super::Home;
use crate::{Group, Leaf, LeafId, Mode, Ordinal, Standing};

/// A rule that a placement breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A copy is placed on a leaf that gets none.
    NotOnline(Ordinal, LeafId),
    /// Not as many copies as the redundancy level says.
    WrongCopies(Ordinal),
    /// Master and replica in one group, or on one leaf.
    OneGroup(Ordinal),
    /// Master and replica are not a pair.
    NotPaired(Ordinal),
    /// Two numbers that should be within one are not.
    Uneven {
        /// Of what: `masters`, `replicas`, `copies`, `partitions of pairs`, `masters in a pair`, `shares`,
        /// `failover`.
        what: &'static str,
        /// The smaller number.
        least: u64,
        /// The larger.
        most: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOnline(ordinal, leaf) => write!(f, "partition {ordinal} on {leaf}"),
            Self::WrongCopies(ordinal) => write!(f, "partition {ordinal}: number of copies"),
            Self::OneGroup(ordinal) => write!(f, "partition {ordinal}: copies in one group"),
            Self::NotPaired(ordinal) => write!(f, "partition {ordinal}: copies not in a pair"),
            Self::Uneven { what, least, most } => write!(f, "{what}: from {least} to {most}"),
        }
    }
}

/// Everything that is wrong with a placement; empty if it is balanced. Partitions without a home are not
/// counted.
#[must_use]
pub fn check(leaves: &[Leaf], mode: Mode, homes: &[Option<Home>]) -> Vec<Violation> {
    let placed: Vec<(Ordinal, Home)> =
        (0..).map(Ordinal).zip(homes).filter_map(|(n, home)| Some((n, (*home)?))).collect();
    let by_id: BTreeMap<LeafId, &Leaf> = leaves.iter().map(|leaf| (leaf.id, leaf)).collect();
    let mut found = Vec::new();
    for (ordinal, home) in &placed {
        single(*ordinal, home, &by_id, mode, &mut found);
    }
    // Sums mean nothing while single partitions are wrong.
    if found.is_empty() {
        let homes: Vec<Home> = placed.into_iter().map(|(_, home)| home).collect();
        found.extend(sums(leaves, mode, &homes));
    }
    found
}

fn single(
    ordinal: Ordinal,
    home: &Home,
    leaves: &BTreeMap<LeafId, &Leaf>,
    mode: Mode,
    found: &mut Vec<Violation>,
) {
    if home.leaves().count() != mode.copies() {
        found.push(Violation::WrongCopies(ordinal));
    }
    let is_online =
        |leaf: &LeafId| leaves.get(leaf).is_some_and(|leaf| leaf.standing == Standing::Online);
    let absent = home.leaves().filter(|leaf| !is_online(leaf));
    found.extend(absent.map(|leaf| Violation::NotOnline(ordinal, leaf)));
    let Some(replica) = home.replica else { return };
    let (Some(one), Some(two)) = (leaves.get(&home.master), leaves.get(&replica)) else { return };
    if one.group == two.group {
        found.push(Violation::OneGroup(ordinal));
    }
    if mode == Mode::Paired && (one.pair != Some(two.id) || two.pair != Some(one.id)) {
        found.push(Violation::NotPaired(ordinal));
    }
}

fn within_one(what: &'static str, numbers: impl IntoIterator<Item = u64>) -> Option<Violation> {
    let numbers: Vec<u64> = numbers.into_iter().collect();
    let (least, most) = (*numbers.iter().min()?, *numbers.iter().max()?);
    (most - least > 1).then_some(Violation::Uneven { what, least, most })
}

fn number(homes: &[Home], wanted: impl Fn(&Home) -> bool) -> u64 {
    homes.iter().filter(|home| wanted(home)).count() as u64
}

fn sums(leaves: &[Leaf], mode: Mode, homes: &[Home]) -> Vec<Violation> {
    let online: Vec<&Leaf> =
        leaves.iter().filter(|leaf| leaf.standing == Standing::Online).collect();
    let is_used = |leaf: &&&Leaf| {
        mode != Mode::Paired || online.iter().any(|other| Some(other.id) == leaf.pair)
    };
    let used: Vec<&Leaf> = online.iter().filter(is_used).copied().collect();
    let masters = |leaf: &Leaf| number(homes, |home| home.master == leaf.id);
    let replicas = |leaf: &Leaf| number(homes, |home| home.replica == Some(leaf.id));
    let mut found = Vec::from_iter(within_one("masters", used.iter().map(|leaf| masters(leaf))));
    let group = |group: Group| used.iter().filter(move |leaf| leaf.group == group);
    match mode {
        Mode::Single => {}
        Mode::Paired => {
            let firsts = used.iter().filter(|leaf| leaf.pair.is_some_and(|pair| leaf.id < pair));
            let whole = firsts.map(|leaf| masters(leaf) + replicas(leaf));
            found.extend(within_one("partitions of pairs", whole));
            let sides = used.iter().map(|leaf| [masters(leaf), replicas(leaf)]);
            found.extend(sides.filter_map(|side| within_one("masters in a pair", side)));
        }
        Mode::LoadBalanced => {
            let all = [Group::One, Group::Two];
            let sizes = all.map(|one| group(one).count());
            for one in all {
                let numbers = group(one).map(|leaf| replicas(leaf));
                found.extend(within_one("replicas", numbers));
                for lost in group(one) {
                    let gains = group(one.other()).map(|heir| {
                        let is_theirs =
                            |home: &Home| home.master == lost.id && home.replica == Some(heir.id);
                        number(homes, is_theirs)
                    });
                    found.extend(within_one("failover", gains));
                }
            }
            if sizes[0] == sizes[1] {
                found.extend(together(&used, homes));
            }
        }
    }
    found
}

/// What holds for groups of the same size besides.
fn together(used: &[&Leaf], homes: &[Home]) -> Vec<Violation> {
    let has = |home: &Home, leaf: &Leaf| home.leaves().any(|other| other == leaf.id);
    let copies = used.iter().map(|leaf| number(homes, |home| has(home, leaf)));
    let replicas = used.iter().map(|leaf| number(homes, |home| home.replica == Some(leaf.id)));
    let group = |group: Group| used.iter().filter(move |leaf| leaf.group == group);
    let pairs = group(Group::One).flat_map(|one| group(Group::Two).map(move |two| (one, two)));
    let shares = pairs.map(|(one, two)| number(homes, |home| has(home, one) && has(home, two)));
    let (copies, replicas) = (within_one("copies", copies), within_one("replicas", replicas));
    copies.into_iter().chain(replicas).chain(within_one("shares", shares)).collect()
}
