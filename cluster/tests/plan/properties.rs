//! What holds for any plan, on clusters drawn from seeds.

use std::collections::BTreeMap;

use resprout_cluster::placement::{Request, target};
use resprout_cluster::plan::{Action, Phase, Plan, plan, restore};
use resprout_cluster::{Copy, Database, Following, Group, Instance, Leaf, LeafId, Mode, Standing};

use crate::world::{MODES, Rng, any_database, leaves, lose_some, named, partition};

/// Does what a step says; what a partition has, and what a leaf has, is looked at after each.
fn carry_out(database: &mut Database, plan: &Plan, mut look: impl FnMut(&Database, Phase)) {
    for step in &plan.steps {
        let at =
            database.partitions.binary_search_by_key(&step.ordinal, |p| p.ordinal).expect("known");
        let partition = &mut database.partitions[at];
        let before = partition.master;
        match step.action {
            Action::Copy | Action::CopyForce => {
                assert!(!partition.is_usable_on(step.target), "copied twice");
                assert_eq!(step.bytes, partition.bytes);
                let instance = Instance(1000 + step.target.0);
                let copy = Copy {
                    instance,
                    following: Following::Sync,
                    offline: false,
                    ..Copy::default()
                };
                partition.copies.insert(step.target, copy);
            }
            Action::Promote | Action::PromoteWithDrop => {
                assert!(partition.is_usable_on(step.target), "promoted before it is copied");
                partition.master = Some(step.target);
                if step.action == Action::PromoteWithDrop {
                    partition.copies.remove(&before.expect("a master"));
                }
            }
            Action::Drop => {
                assert_ne!(partition.master, Some(step.target), "a master is dropped");
                assert!(partition.copies.remove(&step.target).is_some());
            }
            Action::Attach | Action::Create | Action::Detach => unreachable!("not asked for"),
        }
        look(database, step.phase);
    }
}

fn usable(database: &Database) -> Vec<usize> {
    database.partitions.iter().map(|partition| partition.usable().count()).collect()
}

fn bytes(database: &Database) -> BTreeMap<LeafId, u64> {
    let mut bytes = BTreeMap::new();
    for partition in &database.partitions {
        for leaf in partition.copies.keys() {
            *bytes.entry(*leaf).or_default() += partition.bytes;
        }
    }
    bytes
}

fn draw(rng: &mut Rng) -> (Vec<Leaf>, Database) {
    let mut leaves = leaves(1 + rng.below(4), 1 + rng.below(4));
    lose_some(rng, &mut leaves);
    let partitions = rng.below(20) as u32;
    let mut database = any_database(rng, &leaves, partitions);
    for partition in &mut database.partitions {
        partition.bytes = 1 + rng.next() % 1000;
    }
    (leaves, database)
}

/// Promise: carried out, a plan reaches its placement with as many copies and promotions as that costs; no
/// partition ever has fewer usable copies than before or than its redundancy, and each always has a master; the
/// bytes on a leaf are at most what was foretold, and that much once; and then the plan is empty.
#[test]
fn a_plan_reaches_its_placement_and_lowers_nothing() {
    let mut rng = Rng(31);
    let mut done = 0;
    for round in 0..1500 {
        let (leaves, mut database) = draw(&mut rng);
        let mode = MODES[round % 3];
        let ask = |database: &Database| {
            target(&Request { leaves: &leaves, database, mode, full: None, force: false })
        };
        let Ok(placement) = ask(&database) else { continue };
        let plan_made = plan(&leaves, &database, &placement);
        let count = |wanted: fn(Action) -> bool| {
            plan_made.steps.iter().filter(|step| wanted(step.action)).count() as u32
        };
        assert_eq!(count(Action::is_copy), placement.cost.copies);
        assert_eq!(count(Action::is_promotion), placement.cost.promotions);
        let (before, before_bytes) = (usable(&database), bytes(&database));
        let masters: Vec<bool> = database.partitions.iter().map(|p| p.master.is_some()).collect();
        let mut peaks: BTreeMap<LeafId, u64> = BTreeMap::new();
        carry_out(&mut database, &plan_made, |now, _| {
            for ((has, had), partition) in usable(now).iter().zip(&before).zip(&now.partitions) {
                assert!(has >= had.min(&mode.copies()), "{partition:?}");
            }
            let served = now.partitions.iter().map(|p| p.master.is_some_and(|m| p.is_usable_on(m)));
            assert!(served.zip(&masters).all(|(now, before)| now || !before));
            for (leaf, now) in bytes(now) {
                let more = now.saturating_sub(before_bytes.get(&leaf).copied().unwrap_or(0));
                let peak = peaks.entry(leaf).or_default();
                *peak = more.max(*peak);
            }
        });
        peaks.retain(|_, peak| *peak > 0);
        assert_eq!(plan_made.peaks, peaks);
        for (partition, home) in database.partitions.iter().zip(&placement.homes) {
            let Some(home) = home else { continue };
            assert_eq!(partition.master, Some(home.master));
            let mut wanted: Vec<LeafId> = home.leaves().collect();
            wanted.sort_unstable();
            assert_eq!(partition.usable().collect::<Vec<LeafId>>(), wanted);
        }
        let again = plan(&leaves, &database, &ask(&database).unwrap());
        assert_eq!(again.steps, [], "nothing is left to do");
        done += 1;
    }
    assert!(done > 800, "{done}");
}

/// Promise: a plan that ended anywhere is gone on with: the next one copies nothing that is there.
#[test]
fn a_plan_that_ended_early_copies_nothing_twice() {
    let mut rng = Rng(37);
    for round in 0..600 {
        let (leaves, mut database) = draw(&mut rng);
        let mode = MODES[round % 3];
        let ask = |database: &Database| {
            target(&Request { leaves: &leaves, database, mode, full: None, force: false })
        };
        let Ok(placement) = ask(&database) else { continue };
        let mut begun = plan(&leaves, &database, &placement);
        let end = rng.below(begun.steps.len() + 1);
        let copied = |plan: &Plan| plan.steps.iter().filter(|s| s.action.is_copy()).count();
        let all = copied(&begun);
        begun.steps.truncate(end);
        let first = copied(&begun);
        carry_out(&mut database, &begun, |_, _| {});
        let rest = plan(&leaves, &database, &ask(&database).unwrap());
        assert!(first + copied(&rest) <= all, "{first} + {} > {all}", copied(&rest));
        carry_out(&mut database, &rest, |_, _| {});
        assert_eq!(plan(&leaves, &database, &ask(&database).unwrap()).steps, []);
    }
}

/// Promise (W15): RESTORE REDUNDANCY makes exactly one copy for each partition that has one, in the other
/// group, and takes it to where there are fewest.
#[test]
fn w15_restoring_copies_and_nothing_else() {
    let mut rng = Rng(41);
    let mut restored = 0;
    for round in 0..600 {
        let (leaves, mut database) = draw(&mut rng);
        let mode = [Mode::Paired, Mode::LoadBalanced][round % 2];
        let Ok(plan) = restore(&leaves, &database, mode) else { continue };
        let before = database.clone();
        let group = |leaf| leaves.iter().find(|other| other.id == leaf).unwrap().group;
        let present = |leaf: &LeafId| {
            leaves.iter().any(|other| other.id == *leaf && other.standing != Standing::Away)
        };
        carry_out(&mut database, &plan, |_, _| {});
        for (now, before) in database.partitions.iter().zip(&before.partitions) {
            let usable = before.usable().filter(present).count();
            let served = before.master.is_some_and(|master| present(&master));
            let expected = usable + usize::from(served && usable == 1);
            assert_eq!(now.usable().filter(present).count(), expected);
            assert_eq!(now.master, before.master);
            if expected > usable {
                let groups: Vec<Group> = now.usable().filter(present).map(group).collect();
                assert_ne!(groups[0], groups[1]);
                restored += 1;
            }
        }
        assert!(plan.steps.iter().all(|step| step.action == Action::CopyForce));
    }
    assert!(restored > 500, "{restored}");
}

/// Promise: redundancy 1 has nothing to restore.
#[test]
fn one_copy_is_enough_for_redundancy_one() {
    let leaves = leaves(2, 2);
    let single = named((0..4).map(|n| partition(n, &[LeafId(1)])).collect());
    assert_eq!(restore(&leaves, &single, Mode::Single).unwrap().steps, []);
    assert_eq!(restore(&leaves, &single, Mode::LoadBalanced).unwrap().steps.len(), 4);
}
