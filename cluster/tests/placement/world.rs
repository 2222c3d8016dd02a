//! Clusters and databases for the tests, by hand or drawn from a seed.

use std::collections::BTreeMap;

use resprout_cluster::placement::Home;
use resprout_cluster::{
    Address, Copy, Database, Following, Group, Instance, Leaf, LeafId, Mode, Ordinal, Partition,
    Standing, Term,
};

/// A generator that is the same everywhere (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// A leaf that is online.
pub(crate) fn leaf(id: u64, group: Group, pair: Option<u64>) -> Leaf {
    let address = Address { host: format!("leaf-{id}"), port: 3306 };
    Leaf { id: LeafId(id), address, group, pair: pair.map(LeafId), standing: Standing::Online }
}

/// `one` leaves in the first group, numbered from 1, then `two` in the second; paired in order.
pub(crate) fn leaves(one: usize, two: usize) -> Vec<Leaf> {
    let pair = |id: usize, shift: isize| (id <= one.min(two)).then(|| (id as isize + shift) as u64);
    let first = (1..=one).map(|n| leaf(n as u64, Group::One, pair(n, one as isize)));
    let second = (1..=two).map(|n| leaf((one + n) as u64, Group::Two, pair(n, 0)));
    first.chain(second).collect()
}

/// A partition with its master first.
pub(crate) fn partition(ordinal: u32, on: &[LeafId]) -> Partition {
    let copies = on.iter().enumerate().map(|(n, leaf)| {
        let instance = Instance(u64::from(ordinal) * 8 + 1 + n as u64);
        (*leaf, Copy { instance, following: Following::Sync, offline: false, ..Copy::default() })
    });
    let copies: BTreeMap<LeafId, Copy> = copies.collect();
    let master = on.first().copied();
    let term = Term(2 + u64::from(ordinal));
    Partition {
        ordinal: Ordinal(ordinal),
        master,
        term,
        copies,
        bytes: 1 << 20,
        ..Partition::default()
    }
}

/// A database that lies as its homes say.
pub(crate) fn database(homes: impl IntoIterator<Item = Home>) -> Database {
    let homes = homes.into_iter().map(|home| home.leaves().collect::<Vec<LeafId>>());
    let partitions = (0..).zip(homes).map(|(n, on)| partition(n, &on)).collect();
    named(partitions)
}

/// The database of the tests: `test`, synchronous.
pub(crate) fn named(partitions: Vec<Partition>) -> Database {
    let (next_instance, next_term) = (Instance(10_000), Term(10_000));
    let (name, sync) = ("test".to_owned(), true);
    Database { name, sync, partitions, next_instance, next_term, reference: None }
}

/// Some leaves are away, some are to be emptied.
pub(crate) fn lose_some(rng: &mut Rng, leaves: &mut [Leaf]) {
    for leaf in leaves {
        leaf.standing = match rng.below(8) {
            0 => Standing::Away,
            1 => Standing::Leaving,
            _ => Standing::Online,
        };
    }
}

/// Copies anywhere: rather one in each group, but also lost, doubled, offline, without master.
pub(crate) fn any_database(rng: &mut Rng, leaves: &[Leaf], partitions: u32) -> Database {
    let partitions = (0..partitions).map(|ordinal| {
        let mut on = Vec::new();
        for _ in 0..1 + rng.below(2) + rng.below(2) * rng.below(2) {
            let leaf = &leaves[rng.below(leaves.len())];
            let crowded = on.iter().any(|other: &LeafId| {
                let other =
                    leaves.iter().find(|leaf| leaf.id == *other).expect("a leaf of the cluster");
                other.id == leaf.id || other.group == leaf.group && !rng.chance(4)
            });
            if !crowded {
                on.push(leaf.id);
            }
        }
        let mut partition = partition(ordinal, &on);
        for (leaf, copy) in &mut partition.copies {
            let standing = leaves
                .iter()
                .find(|other| other.id == *leaf)
                .expect("a leaf of the cluster")
                .standing;
            copy.offline = standing == Standing::Away;
        }
        let served = |leaf: &LeafId| partition.copies.get(leaf).is_some_and(|copy| !copy.offline);
        let master = partition.master.filter(served).or_else(|| partition.usable().next());
        partition.master = master;
        if rng.chance(40) {
            partition.master = None;
        }
        partition
    });
    named(partitions.collect())
}

pub(crate) const MODES: [Mode; 3] = [Mode::Single, Mode::Paired, Mode::LoadBalanced];
