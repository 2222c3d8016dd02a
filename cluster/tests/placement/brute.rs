//! The slow and obvious way: all placements, one after the other.

use resprout_cluster::placement::{Cost, Home, check};
use resprout_cluster::{Database, Leaf, Mode, Partition, Standing};

/// What it takes to bring a partition to a home.
pub(crate) fn cost_of(partition: &Partition, home: &Home) -> Cost {
    let copies = home.leaves().filter(|leaf| !partition.is_usable_on(*leaf)).count() as u32;
    let promotions = u32::from(partition.master != Some(home.master));
    Cost { copies, promotions }
}

/// The cost of all that are placed.
pub(crate) fn total(database: &Database, homes: &[Option<Home>]) -> Cost {
    let placed = database.partitions.iter().zip(homes);
    let costs = placed.filter_map(|(partition, home)| Some(cost_of(partition, home.as_ref()?)));
    costs.fold(Cost::default(), |sum, cost| Cost {
        copies: sum.copies + cost.copies,
        promotions: sum.promotions + cost.promotions,
    })
}

/// Any home that is right for one partition alone.
pub(crate) fn homes(leaves: &[Leaf], mode: Mode) -> Vec<Home> {
    let mut homes = Vec::new();
    for master in leaves {
        let replicas = leaves.iter().map(|leaf| Some(leaf.id)).chain([None]);
        homes.extend(replicas.map(|replica| Home { master: master.id, replica }));
    }
    homes.retain(|home| check(leaves, mode, &[Some(*home)]).is_empty());
    homes
}

/// Looks for a balanced placement that takes less than a given one.
pub(crate) struct Search<'a> {
    pub(crate) leaves: &'a [Leaf],
    pub(crate) mode: Mode,
    /// Homes of each partition, cheapest first; none for those that are not placed.
    options: Vec<Vec<(Cost, Home)>>,
    /// The least that the partitions from here on take.
    rest: Vec<Cost>,
    most_masters: usize,
    pub(crate) below: Cost,
    pub(crate) looked_at: u64,
}

impl<'a> Search<'a> {
    pub(crate) fn new(
        (leaves, mode, database): (&'a [Leaf], Mode, &'a Database),
        placed: &[Option<Home>],
        below: Cost,
    ) -> Self {
        let all = homes(leaves, mode);
        let options = database.partitions.iter().zip(placed).map(|(partition, home)| {
            let mut options: Vec<(Cost, Home)> =
                all.iter().map(|home| (cost_of(partition, home), *home)).collect();
            options.sort();
            if home.is_some() { options } else { Vec::new() }
        });
        let options: Vec<Vec<(Cost, Home)>> = options.collect();
        let mut rest = vec![Cost::default()];
        for options in options.iter().rev() {
            let least = options.first().map_or(Cost::default(), |(cost, _)| *cost);
            rest.push(plus(rest[rest.len() - 1], least));
        }
        rest.reverse();
        let used = leaves.iter().filter(|leaf| leaf.standing == Standing::Online);
        let used = used.filter(|leaf| all.iter().any(|home| home.master == leaf.id)).count();
        let count = options.iter().filter(|options| !options.is_empty()).count();
        let most_masters = count.div_ceil(used.max(1));
        Self { leaves, mode, options, rest, most_masters, below, looked_at: 0 }
    }

    /// A cheaper balanced placement, if there is one.
    pub(crate) fn cheaper(&mut self) -> Option<Vec<Option<Home>>> {
        self.from(&mut Vec::new(), Cost::default())
    }

    fn from(&mut self, taken: &mut Vec<Option<Home>>, cost: Cost) -> Option<Vec<Option<Home>>> {
        self.looked_at += 1;
        if taken.len() == self.options.len() {
            let is_found = cost < self.below && check(self.leaves, self.mode, taken).is_empty();
            return is_found.then(|| taken.clone());
        }
        if self.options[taken.len()].is_empty() {
            taken.push(None);
            let found = self.from(taken, cost);
            taken.pop();
            return found;
        }
        for option in 0..self.options[taken.len()].len() {
            let (own, home) = self.options[taken.len()][option];
            let with = plus(cost, own);
            if plus(with, self.rest[taken.len() + 1]) >= self.below {
                break;
            }
            let masters = taken.iter().flatten().filter(|other| other.master == home.master);
            if masters.count() >= self.most_masters {
                continue;
            }
            taken.push(Some(home));
            let found = self.from(taken, with);
            taken.pop();
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

fn plus(one: Cost, other: Cost) -> Cost {
    Cost { copies: one.copies + other.copies, promotions: one.promotions + other.promotions }
}
