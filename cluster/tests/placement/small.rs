//! Small clusters, against all placements there are.

use resprout_cluster::placement::{Request, check, target};
use resprout_cluster::{Group, Leaf, Mode};

use crate::brute::{Search, total};
use crate::world::{MODES, Rng, any_database, leaves, lose_some};

/// One cluster: what is found is balanced, costs what it says, and nothing balanced costs less.
fn one_case(leaves: &[Leaf], mode: Mode, partitions: u32, rng: &mut Rng) -> bool {
    let database = any_database(rng, leaves, partitions);
    let request = Request { leaves, database: &database, mode, full: None, force: false };
    let Ok(placement) = target(&request) else { return false };
    let context = || format!("{mode:?} {leaves:#?} {database:#?} {placement:#?}");
    let wrong = check(leaves, mode, &placement.homes);
    assert!(wrong.is_empty(), "{wrong:?} {}", context());
    assert_eq!(placement.cost, total(&database, &placement.homes), "{}", context());
    assert_eq!(placement.bound, placement.cost, "not proven: {}", context());
    let mut search = Search::new((leaves, mode, &database), &placement.homes, placement.cost);
    let cheaper = search.cheaper();
    assert_eq!(cheaper, None, "{}", context());
    true
}

/// Promise: no balanced placement takes fewer copies, or as many and fewer promotions. Every size up to 6
/// leaves and 8 partitions, in every mode, some leaves lost or leaving, copies lost, doubled or misplaced.
#[test]
fn no_placement_is_cheaper() {
    let draws = if std::env::var_os("RESPROUT_EXHAUSTIVE").is_some() { 2500 } else { 80 };
    let mut placed = 0;
    for mode in MODES {
        let mut rng = Rng(7);
        for (one, two) in (1..=6).flat_map(|one| (0..=6 - one).map(move |two| (one, two))) {
            for partitions in 0..=8 {
                for draw in 0..draws {
                    let mut leaves = leaves(one, two);
                    if draw % 4 > 0 {
                        lose_some(&mut rng, &mut leaves);
                    }
                    placed += u64::from(one_case(&leaves, mode, partitions, &mut rng));
                }
            }
        }
    }
    assert!(placed > 300 * draws, "{placed} of {draws} draws each were placed");
}

/// The search that would find something cheaper does: it is given a cost that is one too high.
#[test]
fn the_slow_way_finds_what_is_cheaper() {
    let mut rng = Rng(3);
    for mode in MODES {
        let leaves = leaves(2, 2);
        let database = any_database(&mut rng, &leaves, 6);
        let request =
            Request { leaves: &leaves, database: &database, mode, full: None, force: false };
        let placement = target(&request).unwrap();
        let mut above = placement.cost;
        above.promotions += 1;
        let mut search = Search::new((&leaves, mode, &database), &placement.homes, above);
        let found = search.cheaper().expect("at least the least one");
        assert_eq!(total(&database, &found), placement.cost);
    }
}

/// Promise: the order in which leaves are listed changes nothing, and nor does asking twice.
#[test]
fn equal_questions_have_equal_answers() {
    let mut rng = Rng(5);
    for round in 0..200 {
        let mut leaves = leaves(1 + rng.below(3), 1 + rng.below(3));
        let database = any_database(&mut rng, &leaves, 8);
        let mode = MODES[round % 3];
        let ask = |leaves: &[Leaf]| {
            target(&Request { leaves, database: &database, mode, full: None, force: false })
        };
        let first = ask(&leaves);
        leaves.reverse();
        assert_eq!(ask(&leaves), first);
        leaves.sort_by_key(|leaf| leaf.group != Group::Two);
        assert_eq!(ask(&leaves), first);
    }
}
