//! Known clusters, with the numbers that are known of them.

use std::collections::BTreeMap;

use resprout_cluster::placement::{
    Home, JoinError, Placement, Request, Slot, Unplaceable, check, initial, join, load_elsewhere,
    target, target_all,
};
use resprout_cluster::{Database, Group, Leaf, LeafId, Mode, Standing};

use crate::world::{Rng, any_database, database, leaf, leaves, partition};

fn placed(leaves: &[Leaf], database: &Database, mode: Mode) -> Placement {
    let request = Request { leaves, database, mode, full: None, force: false };
    let placement = target(&request).expect("leaves enough");
    assert_eq!(check(leaves, mode, &placement.homes), []);
    placement
}

fn created(leaves: &[Leaf], mode: Mode, partitions: u32) -> Database {
    let first = initial(leaves, mode, partitions).expect("leaves enough");
    database(first.partitions.iter().map(|new| new.home))
}

fn moved(database: &Database, placement: &Placement) -> Database {
    let homes = database.partitions.iter().zip(&placement.homes);
    self::database(homes.map(|(_, home)| home.expect("placed")))
}

/// Masters by leaf.
fn masters<'a>(homes: impl IntoIterator<Item = &'a Home>) -> BTreeMap<LeafId, u64> {
    let mut masters = BTreeMap::new();
    for home in homes {
        *masters.entry(home.master).or_default() += 1;
    }
    masters
}

/// Promise (W14): switching from pairs to load-balanced gives `N (f - 1) / f` replicas a new leaf, with
/// `f` half the number of leaves, and no master moves.
#[test]
fn w14_switching_moves_the_known_number_of_replicas() {
    for (each, partitions, copies) in [(2, 16, 8), (4, 16, 12), (3, 36, 24), (8, 128, 112)] {
        let leaves = leaves(each, each);
        let paired = created(&leaves, Mode::Paired, partitions);
        let placement = placed(&leaves, &paired, Mode::LoadBalanced);
        assert_eq!((placement.cost.copies, placement.cost.promotions), (copies, 0));
        assert_eq!(placement.bound, placement.cost);
        let back = placed(&leaves, &moved(&paired, &placement), Mode::Paired);
        assert_eq!(back.cost, placement.cost, "the way back");
    }
}

/// Promise (W12): a new load-balanced database has as many masters and replicas on each leaf, and a lost
/// leaf's masters go to several.
#[test]
fn w12_a_new_database_is_spread() {
    let mut four = leaves(2, 2);
    // Groups by turns, as in the walkthrough: 1 and 3, 2 and 4.
    for (leaf, (group, pair)) in
        four.iter_mut().zip([(Group::One, 2), (Group::Two, 1), (Group::One, 4), (Group::Two, 3)])
    {
        (leaf.group, leaf.pair) = (group, Some(LeafId(pair)));
    }
    let heirs = |mode| -> BTreeMap<LeafId, u64> {
        let database = created(&four, mode, 8);
        let homes: Vec<Home> = placed(&four, &database, mode).homes.into_iter().flatten().collect();
        let after = homes.iter().map(|home| match home.replica {
            Some(replica) if home.master == LeafId(1) => Home { master: replica, replica: None },
            _ => *home,
        });
        masters(&after.collect::<Vec<Home>>())
    };
    let spread = [(LeafId(2), 3), (LeafId(3), 2), (LeafId(4), 3)];
    assert_eq!(heirs(Mode::LoadBalanced), spread.into());
    assert_eq!(heirs(Mode::Paired), [(LeafId(2), 4), (LeafId(3), 2), (LeafId(4), 2)].into());
}

/// Promise: new databases are balanced in every mode and size, masters of ordinal `i` on leaf `i mod L`
/// (in pairs: on pair `i mod P`), numbers as they are handed out.
#[test]
fn new_databases_are_balanced() {
    for (one, two) in [(1, 1), (2, 2), (3, 3), (2, 3), (4, 1), (5, 5), (8, 8), (7, 9)] {
        for partitions in (0..40).chain([64, 100, 129]) {
            let leaves = leaves(one, two);
            for mode in [Mode::Single, Mode::Paired, Mode::LoadBalanced] {
                let first = initial(&leaves, mode, partitions).unwrap();
                let homes: Vec<Option<Home>> =
                    first.partitions.iter().map(|new| Some(new.home)).collect();
                assert_eq!(check(&leaves, mode, &homes), [], "{one}+{two} {partitions} {mode:?}");
                for (n, new) in (0..).zip(&first.partitions) {
                    assert_eq!(new.master.0, n + 1);
                    assert_eq!(new.term.0, n + 2);
                    let replica = new.replica.map(|replica| replica.0);
                    let expected = (mode != Mode::Single).then(|| u64::from(partitions) + n + 1);
                    assert_eq!(replica, expected);
                    if mode != Mode::Paired {
                        assert_eq!(new.home.master.0, 1 + n % (one + two) as u64);
                    } else {
                        let pair = 1 + n % one.min(two) as u64;
                        assert!(new.home.leaves().any(|leaf| leaf.0 == pair));
                    }
                }
                let copies = u64::from(partitions) * mode.copies() as u64;
                assert_eq!(first.next_instance.0, 1 + copies);
                assert_eq!(first.next_term.0, 2 + u64::from(partitions));
            }
        }
    }
}

/// Promise (W01, W03): the examples that are known: 8 partitions on 4 leaves; with 4 pairs the last has 3,
/// 7, 11 and 15, two masters on each side, partition 3's on its second leaf.
#[test]
fn w01_w03_known_first_placements() {
    let first = initial(&leaves(4, 0), Mode::Single, 8).unwrap();
    let on: Vec<u64> = first.partitions.iter().map(|new| new.home.master.0).collect();
    assert_eq!(on, [1, 2, 3, 4, 1, 2, 3, 4]);
    let first = initial(&leaves(4, 4), Mode::Paired, 16).unwrap();
    let of_8: Vec<(u32, bool)> = first
        .partitions
        .iter()
        .filter(|new| new.home.leaves().any(|leaf| leaf == LeafId(8)))
        .map(|new| (new.ordinal.0, new.home.master == LeafId(8)))
        .collect();
    assert_eq!(of_8, [(3, true), (7, false), (11, true), (15, false)]);
    let third = first.partitions[3];
    assert_eq!((third.term.0, third.master.0, third.replica.map(|i| i.0)), (5, 4, Some(20)));
}

/// Promise (W13): growing and shrinking keeps everything even; adding a leaf alone moves nothing.
#[test]
fn w13_grow_and_shrink() {
    let mut all = leaves(3, 3);
    for leaf in &mut all {
        let late = [LeafId(3), LeafId(6)].contains(&leaf.id);
        leaf.standing = if late { Standing::Away } else { Standing::Online };
    }
    let four = created(&all, Mode::LoadBalanced, 24);
    for leaf in &mut all {
        leaf.standing = Standing::Online;
    }
    let grown = placed(&all, &four, Mode::LoadBalanced);
    assert_eq!(
        (grown.cost.copies, grown.cost.promotions),
        (16, 8),
        "two leaves with 8 copies each"
    );
    let six = moved(&four, &grown);
    all[0].standing = Standing::Leaving;
    let shrunk = placed(&all, &six, Mode::LoadBalanced);
    assert_eq!(shrunk.bound, shrunk.cost);
    assert!(shrunk.homes.iter().flatten().flat_map(Home::leaves).all(|leaf| leaf != LeafId(1)));
}

/// Promise (W15): in pairs, a leaf whose partner is away is left empty.
#[test]
fn w15_without_its_partner_a_leaf_is_emptied() {
    let mut all = leaves(2, 2);
    let mut lost = created(&all, Mode::Paired, 8);
    all[3].standing = Standing::Away;
    for partition in &mut lost.partitions {
        if let Some(copy) = partition.copies.get_mut(&LeafId(4)) {
            copy.offline = true;
        }
        if partition.master == Some(LeafId(4)) {
            partition.master = Some(LeafId(2));
        }
    }
    let placement = placed(&all, &lost, Mode::Paired);
    assert!(placement.homes.iter().flatten().flat_map(Home::leaves).all(|leaf| leaf != LeafId(2)));
    all[2].standing = Standing::Away;
    let request =
        Request { leaves: &all, database: &lost, mode: Mode::Paired, full: None, force: false };
    assert_eq!(target(&request), Err(Unplaceable::NoPair));
    let balanced = Request { mode: Mode::LoadBalanced, ..request };
    assert_eq!(target(&balanced), Err(Unplaceable::NoLeafInGroup(Group::Two)));
}

/// Promise: with nothing else to choose by, the first leaves have the remainder; what is even already stays.
#[test]
fn the_remainder_goes_to_the_first_leaves() {
    let all = leaves(8, 0);
    let piled = database((0..20).map(|_| Home { master: LeafId(1), replica: None }));
    let placement = placed(&all, &piled, Mode::Single);
    let counts: Vec<u64> = masters(placement.homes.iter().flatten()).into_values().collect();
    assert_eq!(counts, [3, 3, 3, 3, 2, 2, 2, 2]);
    let other = |n: u64| Home { master: LeafId(8 - n % 8), replica: None };
    let even = database((0..20).map(other));
    assert_eq!(placed(&all, &even, Mode::Single).cost.copies, 0);
}

/// Promise: REBALANCE ALL DATABASES makes masters even over all databases, and a second run does nothing.
#[test]
fn all_databases_together_are_even() {
    let mut rng = Rng(11);
    for round in 0..60 {
        let each = 1 + rng.below(4);
        let all = leaves(each, each);
        let mode = [Mode::Single, Mode::Paired, Mode::LoadBalanced][round % 3];
        let names = ["beta", "alpha", "delta", "gamma"];
        let mut databases: Vec<Database> = names
            .iter()
            .map(|name| {
                let partitions = 1 + rng.below(14) as u32;
                let mut database = any_database(&mut rng, &all, partitions);
                database.partitions.retain(|partition| partition.master.is_some());
                Database { name: (*name).to_owned(), ..database }
            })
            .collect();
        let run = |databases: &[Database]| -> Vec<(String, Placement)> {
            let all = target_all(&all, databases, mode).unwrap();
            all.into_iter().map(|(name, placement)| (name.to_owned(), placement)).collect()
        };
        let first = run(&databases);
        let order: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(order, ["alpha", "beta", "delta", "gamma"]);
        for (name, placement) in &first {
            let database = databases.iter_mut().find(|database| database.name == *name).unwrap();
            *database = Database { name: name.clone(), ..moved(database, placement) };
        }
        for (name, placement) in run(&databases) {
            assert_eq!(placement.cost.copies + placement.cost.promotions, 0, "{name} {mode:?}");
        }
        if mode != Mode::Paired {
            let total = load_elsewhere(&databases, "");
            let counts = || all.iter().map(|leaf| total.get(&leaf.id).copied().unwrap_or(0));
            let (least, most) = (counts().min().unwrap(), counts().max().unwrap());
            assert!(most - least <= 1, "{mode:?} {total:?}");
        }
    }
}

/// Promise: FORCE makes partitions anew that have no copy, and only those.
#[test]
fn force_makes_anew_what_is_lost() {
    let all = leaves(2, 2);
    let mut database = created(&all, Mode::LoadBalanced, 8);
    database.partitions[3] = partition(3, &[]);
    database.partitions[5].master = None;
    let request = |force| Request {
        leaves: &all,
        database: &database,
        mode: Mode::LoadBalanced,
        full: None,
        force,
    };
    let left = target(&request(false)).unwrap();
    assert_eq!((left.homes[3], left.homes[5]), (None, None));
    let forced = target(&request(true)).unwrap();
    assert!(forced.homes[3].is_some());
    assert_eq!(
        (forced.cost.copies, forced.cost.promotions),
        (1, 0),
        "a replica of what is made anew"
    );
    assert_eq!(forced.homes[5], None, "it has copies, and somebody may know better");
}

/// Promise: a copy on a leaf that is away counts for nothing, whatever the record says of it yet.
#[test]
fn who_is_away_has_nothing() {
    let mut all = leaves(2, 2);
    let database = created(&all, Mode::LoadBalanced, 4);
    all[0].standing = Standing::Away;
    let placement = placed(&all, &database, Mode::LoadBalanced);
    for (partition, home) in database.partitions.iter().zip(&placement.homes) {
        assert_eq!(home.is_some(), partition.master != Some(LeafId(1)), "{partition:?}");
    }
    let request =
        Request { leaves: &all, database: &database, mode: Mode::Single, full: None, force: true };
    let single = created(&leaves(2, 2), Mode::Single, 4);
    let forced = target(&Request { database: &single, ..request }).unwrap();
    assert!(forced.homes.iter().all(Option::is_some), "its only copy is given up");
}

/// Promise: a new leaf goes to the smaller group and to the first leaf without a partner; never twice.
#[test]
fn joining() {
    let mut all = leaves(2, 1);
    let new = leaf(9, Group::One, None).address;
    let slot = |leaves: &[Leaf], group, mode| join(leaves, &new, group, mode);
    let expected = Slot { group: Group::Two, pair: Some(LeafId(2)) };
    assert_eq!(slot(&all, None, Mode::Paired), Ok(expected));
    let alone = Slot { group: Group::Two, pair: None };
    assert_eq!(slot(&all, None, Mode::LoadBalanced), Ok(alone));
    let one = Slot { group: Group::One, pair: None };
    assert_eq!(slot(&all, Some(Group::One), Mode::Paired), Ok(one));
    assert_eq!(slot(&all, None, Mode::Single), Ok(one));
    let above = JoinError::GroupAboveRedundancy { group: 2, redundancy: 1 };
    assert_eq!(slot(&all, Some(Group::Two), Mode::Single), Err(above));
    // The slot of a leaf that was removed is free again, and the lowest is taken first.
    all[0].pair = None;
    assert_eq!(slot(&all, None, Mode::Paired).unwrap().pair, Some(LeafId(1)));
    all[1].address = new.clone();
    assert_eq!(slot(&all, None, Mode::Paired), Err(JoinError::Known(new.clone())));
}
