//! The first placement of a database: CREATE DATABASE.

use super::homes::Homes;
use super::{Home, Request, Unplaceable};
use crate::{Copy, Database, Group, Instance, Leaf, Mode, Ordinal, Partition, Term};

/// A copy of a new partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPartition {
    /// Its number.
    pub ordinal: Ordinal,
    /// Where its copies are made.
    pub home: Home,
    /// The master copy's number: counted from 1, masters first.
    pub master: Instance,
    /// The replica's number.
    pub replica: Option<Instance>,
    /// The term of the first mastership: counted from 2. The next one takes the next number of the
    /// database.
    pub term: Term,
}

/// All partitions of a new database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct First {
    /// By ordinal.
    pub partitions: Vec<NewPartition>,
    /// The number of the next copy.
    pub next_instance: Instance,
    /// The next term.
    pub next_term: Term,
}

/// Places `count` new partitions.
///
/// - Redundancy 1: ordinal `i` on leaf `i mod L`.
/// - Pairs: ordinal `i` on pair `i mod P`, masters by turns on both sides; pairs begin on different sides, so
///   that few partitions do not all have their masters in one group.
/// - Load-balanced: masters as with redundancy 1; replicas where [`target`](super::target) copies them to, if
///   there are these masters and nothing else.
///
/// # Errors
/// [`Unplaceable`] if the mode needs leaves that are not there.
pub fn initial(leaves: &[Leaf], mode: Mode, count: u32) -> Result<First, Unplaceable> {
    let database = Database::default();
    let request = Request { leaves, database: &database, mode, full: None, force: false };
    super::target(&request)?;
    let homes = Homes::new(leaves, mode);
    let spread =
        if mode == Mode::LoadBalanced { spread(leaves, &homes, count)? } else { Vec::new() };
    let home = |ordinal: usize| {
        let leaf = |site: usize| homes.sites[site].leaf;
        match mode {
            Mode::Single => Home { master: leaf(ordinal % homes.sites.len()), replica: None },
            Mode::Paired => {
                let (master, replica) = paired(&homes, ordinal);
                Home { master: leaf(master), replica: Some(leaf(replica)) }
            }
            Mode::LoadBalanced => spread[ordinal],
        }
    };
    let number = |n: u32| Instance(1 + u64::from(n));
    let replica = |n: u32| (mode.copies() == 2).then(|| number(count + n));
    let partitions = (0..count).map(|n| {
        let home = home(n as usize);
        let (master, term) = (number(n), Term(2 + u64::from(n)));
        NewPartition { ordinal: Ordinal(n), home, master, replica: replica(n), term }
    });
    Ok(First {
        partitions: partitions.collect(),
        next_instance: Instance(1 + u64::from(count) * mode.copies() as u64),
        next_term: Term(2 + u64::from(count)),
    })
}

fn paired(homes: &Homes, ordinal: usize) -> (usize, usize) {
    let firsts: Vec<(usize, usize)> = homes
        .list
        .iter()
        .map(|(one, two)| (*one, two.expect("each home has a replica")))
        .filter(|(one, _)| homes.sites[*one].group == Group::One)
        .collect();
    let (pair, round) = (ordinal % firsts.len(), ordinal / firsts.len());
    let (one, two) = firsts[pair];
    if (pair + round).is_multiple_of(2) { (one, two) } else { (two, one) }
}

fn spread(leaves: &[Leaf], homes: &Homes, count: u32) -> Result<Vec<Home>, Unplaceable> {
    let partitions = (0..count).map(|n| {
        let leaf = homes.sites[n as usize % homes.sites.len()].leaf;
        let copies = [(leaf, Copy::default())].into();
        Partition { ordinal: Ordinal(n), master: Some(leaf), copies, ..Partition::default() }
    });
    let database = Database { partitions: partitions.collect(), ..Database::default() };
    let mode = Mode::LoadBalanced;
    let request = Request { leaves, database: &database, mode, full: None, force: false };
    let placement = super::target(&request)?;
    Ok(placement.homes.into_iter().map(|home| home.expect("each has a master")).collect())
}
