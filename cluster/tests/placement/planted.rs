//! The checker finds what is wrong: each test breaks a good placement in one way.

use resprout_cluster::placement::{Home, Violation, check, initial};
use resprout_cluster::{Leaf, LeafId, Mode, Ordinal, Standing};

use crate::world::leaves;

fn good(leaves: &[Leaf], mode: Mode, partitions: u32) -> Vec<Option<Home>> {
    let first = initial(leaves, mode, partitions).expect("leaves enough");
    let homes: Vec<Option<Home>> = first.partitions.iter().map(|new| Some(new.home)).collect();
    assert_eq!(check(leaves, mode, &homes), []);
    homes
}

fn uneven(found: &[Violation], wanted: &str) -> bool {
    found.iter().any(|one| matches!(one, Violation::Uneven { what, .. } if *what == wanted))
}

/// Promise: master and replica in one group, or on one leaf, are found.
#[test]
fn one_group_is_found() {
    let all = leaves(2, 2);
    for replica in [1, 2] {
        let mut homes = good(&all, Mode::LoadBalanced, 8);
        homes[0] = Some(Home { master: LeafId(1), replica: Some(LeafId(replica)) });
        assert_eq!(check(&all, Mode::LoadBalanced, &homes), [Violation::OneGroup(Ordinal(0))]);
    }
}

/// Promise: one copy too many or too few is found, and one on a leaf that gets none.
#[test]
fn copies_are_counted() {
    let mut all = leaves(2, 2);
    let mut homes = good(&all, Mode::Single, 8);
    homes[2] = Some(Home { master: LeafId(3), replica: Some(LeafId(1)) });
    assert_eq!(check(&all, Mode::Single, &homes), [Violation::WrongCopies(Ordinal(2))]);
    let mut homes = good(&all, Mode::Paired, 8);
    homes[2] = Some(Home { master: LeafId(3), replica: None });
    assert_eq!(check(&all, Mode::Paired, &homes), [Violation::WrongCopies(Ordinal(2))]);
    let homes = good(&all, Mode::Single, 4);
    for standing in [Standing::Away, Standing::Leaving] {
        all[1].standing = standing;
        let expected = [Violation::NotOnline(Ordinal(1), LeafId(2))];
        assert_eq!(check(&all, Mode::Single, &homes), expected);
    }
}

/// Promise: uneven by two is found, of masters, replicas, pairs, and what two leaves share.
#[test]
fn uneven_by_two_is_found() {
    let all = leaves(2, 2);
    let mut homes = good(&all, Mode::Single, 8);
    homes[0] = homes[1];
    assert!(uneven(&check(&all, Mode::Single, &homes), "masters"));
    let mut homes = good(&all, Mode::Paired, 8);
    for home in homes.iter_mut().flatten().filter(|home| home.replica == Some(LeafId(1))) {
        *home = Home { master: LeafId(1), replica: Some(home.master) };
    }
    assert!(uneven(&check(&all, Mode::Paired, &homes), "masters in a pair"));
    let mut homes = good(&all, Mode::Paired, 8);
    homes[1] = homes[0];
    assert!(uneven(&check(&all, Mode::Paired, &homes), "partitions of pairs"));
    // Everything is even, but each leaf has one partner only: pairs.
    let homes = good(&all, Mode::Paired, 16);
    let found = check(&all, Mode::LoadBalanced, &homes);
    assert!(uneven(&found, "failover") && uneven(&found, "shares"), "{found:?}");
    let mut homes = good(&all, Mode::LoadBalanced, 16);
    for home in homes.iter_mut().flatten().filter(|home| home.replica == Some(LeafId(4))) {
        home.replica = Some(LeafId(3));
    }
    let found = check(&all, Mode::LoadBalanced, &homes);
    assert!(uneven(&found, "replicas") && uneven(&found, "copies"), "{found:?}");
}

/// Promise: in pairs, copies on leaves of two groups that are not partners are found.
#[test]
fn strangers_are_found() {
    let all = leaves(2, 2);
    let mut homes = good(&all, Mode::Paired, 8);
    homes[0] = Some(Home { master: LeafId(1), replica: Some(LeafId(4)) });
    let found = check(&all, Mode::Paired, &homes);
    assert_eq!(found, [Violation::NotPaired(Ordinal(0))]);
    assert_eq!(found[0].to_string(), "partition 0: copies not in a pair");
}
