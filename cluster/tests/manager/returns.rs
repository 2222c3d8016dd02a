//! Leaves that come back: what of theirs is kept, and what plans make of it meanwhile.

use resprout_cluster::execution::{self, Change};
use resprout_cluster::manager::{Errand, Event};
use resprout_cluster::metadata::{Command, Happened, NodeState};
use resprout_cluster::plan::{Action, Asked, Awaited, Plan};
use resprout_cluster::{LeafId, Mode, NodeId, Ordinal};

use crate::scenarios::{crash, online, partition, start, state, whole};
use crate::world::{Setup, World};

fn four(mode: Mode) -> World {
    whole(Setup { mode, leaves: 4, ..Setup::default() })
}

/// A third copy of partition 0 is made on that leaf.
fn third_copy(world: &mut World, leaf: LeafId) {
    let change = Change::AddCopy { ordinal: Ordinal(0), leaf };
    world.commit(Command::Execute { database: "db".to_owned(), change });
    world.until(200, "a third copy", World::is_whole);
}

/// Full copies of partition 0 as the record has it.
fn full(world: &World) -> usize {
    world.metadata.databases()["db"].map.full_copies(partition(world, 0))
}

fn orphaned(world: &World) -> usize {
    let mut events = world.metadata.events().iter();
    let is_it = |happened: &Happened| matches!(happened, Happened::Orphaned { .. });
    events.by_ref().filter(|event| is_it(&event.happened)).count()
}

/// Promise (rule 19): the last leaf but one that has a partition comes back beside a master that is not its counterpart: what it has
/// is the second copy. The leaf after that is one too many, and its copy an orphan.
#[test]
fn a_second_copy_is_kept_whoever_serves() {
    // The one that comes back first is not the pair of the one that serves then, or of its group.
    for (mode, first, third) in [(Mode::Paired, 5, 6), (Mode::LoadBalanced, 7, 5)] {
        let mut world = four(mode);
        let leaves = partition(&world, 0).copies.keys().map(|leaf| leaf.0).collect::<Vec<_>>();
        assert_eq!(leaves, [4, first], "{mode:?}");
        third_copy(&mut world, LeafId(third));
        let (first, second) = (NodeId(first), NodeId(4));
        for node in [first, second] {
            crash(&mut world, node);
            world.until(200, "it is lost", |world| state(world, node) == NodeState::Offline);
            world.until(200, "others serve", |world| online(world, 0).is_some());
        }
        assert_eq!((online(&world, 0), full(&world)), (Some(NodeId(third)), 1), "{mode:?}");
        start(&mut world, first, 5);
        world.until(400, "it is back", |world| state(world, first) == NodeState::Online);
        assert_eq!((full(&world), orphaned(&world)), (2, 0), "{mode:?} {}", world.show());
        start(&mut world, second, 5);
        world.until(400, "everything is there", World::is_whole);
        assert!(full(&world) >= 2, "{mode:?}");
        assert_eq!(world.checker.losses, 0);
    }
}

/// REBALANCE PARTITIONS ON db, as it would be made now.
fn rebalance(world: &World) -> Plan {
    let databases = [world.metadata.databases()["db"].map.clone()];
    let asked = Asked::Rebalance { database: "db".to_owned(), full: false, force: false };
    asked.plan(&world.metadata.leaves(), &databases, world.mode).expect("there are leaves")
}

fn run(world: &mut World, plan: Plan) {
    let config = execution::Config::default();
    let leader = world.leader;
    world.aggregator(leader, Event::Run(Errand { number: 1, plan, config }));
}

/// A leaf with masters and replicas is lost, and comes back without reaching the others: it stays where it is attached.
fn while_it_attaches(mode: Mode, node: NodeId) -> World {
    let mut world = whole(Setup { mode, leaves: 4, partitions: 8, ..Setup::default() });
    crash(&mut world, node);
    world.until(200, "failover", |world| state(world, node) == NodeState::Offline);
    world.run(60);
    let leaves: Vec<NodeId> = world.leaves.keys().copied().collect();
    for other in leaves {
        if other != node {
            world.cut(node, other);
        }
    }
    start(&mut world, node, 5);
    world.until(400, "it is attached", |world| state(world, node) == NodeState::Attaching);
    world
}

/// Promise: while a leaf is being attached, REBALANCE counts on what it brings: nothing is copied elsewhere and nobody is emptied. What
/// needs it waits for it, and says so; in the end copies are as they were and masters even.
#[test]
fn a_rebalance_counts_on_who_is_being_attached() {
    for mode in [Mode::Paired, Mode::LoadBalanced] {
        let node = NodeId(4);
        let mut world = while_it_attaches(mode, node);
        let places = |world: &World| -> Vec<Vec<LeafId>> {
            let partitions = &world.metadata.databases()["db"].map.partitions;
            partitions.iter().map(|one| one.copies.keys().copied().collect()).collect()
        };
        let before = places(&world);
        let plan = rebalance(&world);
        let elsewhere = |action: Action| {
            plan.steps.iter().any(|step| step.action == action && step.target != LeafId::from(node))
        };
        assert!(!elsewhere(Action::Copy) && !elsewhere(Action::Drop), "{mode:?} {plan:?}");
        assert!(plan.steps.iter().any(|step| step.action == Action::Promote), "{mode:?} {plan:?}");
        run(&mut world, plan);
        world.run(60);
        assert_eq!(state(&world, node), NodeState::Attaching);
        let database = world.metadata.databases()["db"].number;
        let shown = |world: &World| world.aggregators[&world.leader].manager.shown(database);
        let waits = shown(&world).expect("it runs").progress;
        let attaches = waits.iter().filter(|one| one.awaits == Some(Awaited::Attach)).count();
        assert!(attaches > 0, "{mode:?} {waits:?}");
        world.cuts.clear();
        world.until(600, "it is back", |world| {
            let shown = shown(world).expect("it ran");
            world.is_whole() && shown.progress.iter().all(|one| one.awaits.is_none())
        });
        assert_eq!(places(&world), before, "{mode:?}");
        assert_eq!(rebalance(&world).steps, [], "{mode:?}: balanced");
        assert_eq!(world.checker.losses, 0);
    }
}

/// Promise: a leaf that is lost while a plan waits for it to be attached ends the plan; nothing of it was begun there.
#[test]
fn a_rebalance_ends_with_who_is_being_attached() {
    let node = NodeId(4);
    let mut world = while_it_attaches(Mode::Paired, node);
    let plan = rebalance(&world);
    run(&mut world, plan);
    world.run(20);
    crash(&mut world, node);
    let database = world.metadata.databases()["db"].number;
    world.until(200, "the plan ends", |world| {
        let shown = world.aggregators[&world.leader].manager.shown(database).expect("it ran");
        shown.progress.iter().all(|one| one.awaits.is_none())
    });
    let copies = partition(&world, 0).copies.keys().map(|leaf| leaf.0).collect::<Vec<_>>();
    assert_eq!(copies, [4, 5]);
    world.cuts.clear();
    start(&mut world, node, 5);
    world.until(600, "everything is there", World::is_whole);
    assert_eq!(world.checker.losses, 0);
}

/// The plan that runs or ran last in the database.
fn last_plan(world: &World) -> Option<Plan> {
    let database = world.metadata.databases()["db"].number;
    world.aggregators[&world.leader].manager.shown(database).map(|shown| shown.plan)
}

fn rebalanced(world: &World) -> usize {
    let events = world.metadata.events().iter();
    events.filter(|event| event.happened == Happened::Rebalanced).count()
}

/// A leaf is lost, its second copies are made elsewhere, and it comes back: now there are copies too many, and they are uneven.
fn back_with_copies_too_many(mode: Mode) -> World {
    let node = NodeId(4);
    let mut world = whole(Setup { mode, leaves: 4, partitions: 8, ..Setup::default() });
    crash(&mut world, node);
    world.until(200, "failover", |world| state(world, node) == NodeState::Offline);
    world.run(60);
    let databases = [world.metadata.databases()["db"].map.clone()];
    let restore = Asked::Restore { database: "db".to_owned() };
    let plan = restore.plan(&world.metadata.leaves(), &databases, mode).expect("there are leaves");
    assert!(!plan.steps.is_empty());
    run(&mut world, plan);
    world.run(120);
    start(&mut world, node, 5);
    world.until(400, "it is back", World::is_whole);
    assert_ne!(rebalance(&world).steps, [], "{mode:?}");
    world
}

/// Promise (section 4.4): with `load_balanced`, when a leaf has come back and nothing has changed for the stable period, everything is
/// evened out over all leaves, once; in pairs only masters go back.
#[test]
fn what_a_return_leaves_uneven_is_evened_out() {
    let mut world = back_with_copies_too_many(Mode::LoadBalanced);
    let back = world.round;
    world.until(1_000, "evened out", |world| rebalanced(world) == 1);
    assert!(world.round - back >= 195, "after the stable period: {}", world.round - back);
    world.until(100, "everything is there", World::is_whole);
    assert_eq!(rebalance(&world).steps, [], "{}", world.show());
    world.run(600);
    assert_eq!(rebalanced(&world), 1);
    assert_eq!(world.checker.losses, 0);
    let mut paired = back_with_copies_too_many(Mode::Paired);
    paired.run(600);
    assert_eq!(rebalanced(&paired), 0);
    let moved = last_plan(&paired).expect("masters went back").steps;
    assert!(moved.iter().all(|step| step.action == Action::Promote), "{moved:?}");
}

/// Promise: another master aggregator evens out what the one before did not come to, and only that.
#[test]
fn whoever_is_next_evens_out() {
    let mut world = back_with_copies_too_many(Mode::LoadBalanced);
    world.run(50);
    world.change_leader(NodeId(2), 0);
    world.until(1_000, "evened out", |world| rebalanced(world) == 1);
    world.until(100, "everything is there", World::is_whole);
    assert_eq!(rebalance(&world).steps, [], "{}", world.show());
    world.change_leader(NodeId(3), 0);
    world.run(600);
    assert_eq!((rebalanced(&world), last_plan(&world)), (1, None));
}

/// Promise: a leaf that is added gets nothing by itself, also if another one had come back just before.
#[test]
fn an_added_leaf_evens_nothing_out() {
    for returns in [false, true] {
        let mut world = four(Mode::LoadBalanced);
        if returns {
            crash(&mut world, NodeId(4));
            world.until(200, "failover", |world| state(world, NodeId(4)) == NodeState::Offline);
            start(&mut world, NodeId(4), 5);
            world.until(400, "it is back", World::is_whole);
        }
        world.add_leaf();
        world.run(700);
        let ordinals = [0, 1].map(|ordinal| partition(&world, ordinal).copies.len());
        assert_eq!((ordinals, rebalanced(&world)), ([2, 2], 0), "returns: {returns}");
        let moved = last_plan(&world).map_or_else(Vec::new, |plan| plan.steps);
        let moves = |action: Action| !matches!(action, Action::Promote | Action::Attach);
        assert!(!moved.iter().any(|step| moves(step.action)), "{moved:?}");
    }
}

/// Promise: what a leaf has that was removed by force is noted until one at its address says that it does not have it.
#[test]
fn what_a_removed_leaf_has_is_noted_until_it_is_looked_for() {
    let mut world = four(Mode::Paired);
    let node = NodeId(4);
    crash(&mut world, node);
    world.until(200, "it is lost", |world| state(world, node) == NodeState::Offline);
    world.run(60);
    world.commit(Command::RemoveNode { node, force: true });
    let notes = |world: &World| world.metadata.databases()["db"].left.len();
    world.run(200);
    assert_eq!((notes(&world), world.metadata.removed().len()), (1, 1));
    let address = world.metadata.removed()[&node].clone();
    let mut gone = world.leaves.remove(&node).expect("a leaf");
    gone.start(world.round);
    // It comes back under another number, first with what it has, then without.
    let next = world.add_leaf_at(address);
    world.leaves.get_mut(&next).expect("a leaf").copies = gone.copies;
    world.run(200);
    assert_eq!(notes(&world), 1);
    world.leaves.get_mut(&next).expect("a leaf").copies.clear();
    world.until(100, "forgotten", |world| notes(world) == 0);
    assert_eq!(world.metadata.removed().len(), 0);
}
