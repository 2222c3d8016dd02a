//! The partition of reference tables: a copy on every leaf, with the failover and the ways back that all partitions have.

use resprout_cluster::execution::Config as Limits;
use resprout_cluster::manager::{Errand, Event};
use resprout_cluster::metadata::{Command, Happened, NodeState, Outcome, Refusal};
use resprout_cluster::plan::Asked;
use resprout_cluster::{Following, LeafId, Mode, NodeId, Partition};

use crate::scenarios::{crash, ms, online, partition, start, state, stop, whole};
use crate::world::{Setup, World};

/// Behind two partitions.
const REFERENCE: u32 = 2;

fn setup() -> Setup {
    Setup { leaves: 4, reference: true, ..Setup::default() }
}

fn of(world: &World) -> &Partition {
    partition(world, REFERENCE)
}

fn has(world: &World) -> Vec<u64> {
    of(world).copies.keys().map(|leaf| leaf.0).collect()
}

fn master(world: &World) -> NodeId {
    of(world).master.expect("a master").into()
}

fn acknowledged(world: &World) -> usize {
    world.checker.acknowledged[&resprout_cluster::Ordinal(REFERENCE)].len()
}

/// Promise: a database begins with a copy of its reference tables on every leaf, all of which are waited for, with numbers
/// that leave those of the others as they are; several databases have their masters on different leaves.
#[test]
fn all_leaves_have_a_copy() {
    let world = whole(setup());
    assert_eq!(has(&world), [4, 5, 6, 7]);
    let map = &world.metadata.databases()["db"].map;
    assert_eq!(map.partitions.len(), 2, "it is none of those that rows are spread over");
    assert_eq!((map.next_instance.0, map.next_term.0), (5, 4), "as without it");
    let instances: Vec<u64> = of(&world).copies.values().map(|copy| copy.instance.0).collect();
    let first = 1 << 32;
    assert_eq!(instances, [first + 1, first, first + 2, first + 3]);
    let (on, others) = (LeafId::from(master(&world)), of(&world).copies.iter());
    let mut others = others.filter(|(leaf, _)| **leaf != on);
    assert!(others.all(|(_, copy)| copy.following == Following::Sync), "{}", world.show());
    assert!(acknowledged(&world) > 0);
}

/// Promise: when the leaf of their master is killed another one takes over, with everything that was acknowledged,
/// also where the database is asynchronous; the leaf follows when it is back.
#[test]
fn another_leaf_takes_over() {
    for sync in [true, false] {
        let mut world = whole(Setup { sync, mode: Mode::LoadBalanced, ..setup() });
        let lost = master(&world);
        crash(&mut world, lost);
        let is_over = |world: &World| online(world, REFERENCE).is_some_and(|on| on != lost);
        let took = world.until(60, "failover", is_over);
        assert!(ms(took) <= 1_500, "{} ms", ms(took));
        let before = acknowledged(&world);
        world.run(40);
        assert!(acknowledged(&world) > before, "nobody waits for the lost leaf");
        start(&mut world, lost, 5);
        world.until(300, "it is back", World::is_whole);
        assert_ne!(master(&world), lost, "masters of reference tables stay where they are");
        assert_eq!(of(&world).copies[&lost.into()].following, Following::Sync);
        // Of an asynchronous database other partitions may have lost something, and say so.
        let is_lossy = |happened: &Happened| {
            let Happened::Elected { ordinal, may_have_lost, .. } = happened else { return false };
            *may_have_lost && (sync || ordinal.0 == REFERENCE)
        };
        let mut events = world.metadata.events().iter();
        assert!(!events.any(|event| is_lossy(&event.happened)), "{}", world.show());
    }
}

/// Promise: whichever leaf is lost and comes back, its copy is taken back for what it is, beside any master.
#[test]
fn a_leaf_that_returns_keeps_its_copy() {
    for mode in [Mode::Paired, Mode::LoadBalanced, Mode::Single] {
        let mut world = whole(Setup { mode, durable: true, ..setup() });
        let copies = of(&world).copies.clone();
        for node in world.leaves.keys().copied().collect::<Vec<_>>() {
            crash(&mut world, node);
            world.run(40);
            start(&mut world, node, 5);
            world.until(400, "it is back", World::is_whole);
            let instance = of(&world).copies[&node.into()].instance;
            assert_eq!(instance, copies[&node.into()].instance, "{mode:?}, {node}");
        }
    }
}

/// Promise: a leaf that is added gets a copy, from whoever is master then.
#[test]
fn an_added_leaf_gets_a_copy() {
    let mut world = whole(setup());
    let added = [world.add_leaf(), world.add_leaf()];
    world.until(200, "they have copies", World::is_whole);
    assert_eq!(has(&world), [4, 5, 6, 7, added[0].0, added[1].0]);
    assert_eq!(partition(&world, 0).copies.len(), 2, "the others stay where they are");
}

/// Promise: while nobody serves no copy is added; a leaf that is not there gets its own when it comes.
#[test]
fn a_leaf_that_is_away_is_waited_for() {
    let mut world = whole(setup());
    let late = NodeId(7);
    world.leaves.get_mut(&late).expect("a leaf").stop(true);
    let added = world.add_leaf();
    world.leaves.get_mut(&added).expect("a leaf").stop(true);
    world.run(100);
    assert!(!has(&world).contains(&added.0), "{}", world.show());
    for node in [late, added] {
        start(&mut world, node, 5);
    }
    world.until(400, "all have copies", World::is_whole);
    assert_eq!(has(&world), [4, 5, 6, 7, added.0]);
}

fn ask(world: &mut World, asked: &Asked) {
    let databases: Vec<_> =
        world.metadata.databases().values().map(|entry| entry.map.clone()).collect();
    let plan = asked.plan(&world.metadata.leaves(), &databases, world.metadata.mode());
    let errand = Errand { number: 1, plan: plan.expect("a plan"), config: Limits::default() };
    world.aggregator(world.leader, Event::Run(errand));
}

/// Promise: a leaf that goes hands the reference tables over, and its copy of them holds nothing up: it leaves the record with
/// the leaf. While it is their master the leaf stays.
#[test]
fn a_removed_leaf_loses_its_copy() {
    let mut world = whole(setup());
    let going = master(&world);
    let remove = Command::RemoveNode { node: going, force: false };
    let asked =
        Asked::Free { database: "db".to_owned(), leaves: vec![going.into()], detach: false };
    let plan = {
        let map = world.metadata.databases()["db"].map.clone();
        asked.plan(&world.metadata.leaves(), &[map], world.metadata.mode()).expect("a plan")
    };
    assert_eq!(plan.least_copies, 1);
    ask(&mut world, &asked);
    let is_free = |world: &World| {
        let copies = world.metadata.copies_on(going).count();
        copies == 1 && master(world) != going
    };
    world.until(200, "it is free", is_free);
    world.commit(remove);
    let gone = world.leaves.remove(&going);
    assert!(gone.is_some());
    assert!(!world.metadata.nodes().contains_key(&going), "{}", world.show());
    assert!(!has(&world).contains(&going.0));
    world.run(100);
    assert!(!has(&world).contains(&going.0), "it is not added again: {}", world.show());
    assert!(of(&world).serving().is_some());
}

/// Promise: a leaf with the master of reference tables, or with the last copy, does not go.
#[test]
fn the_master_of_reference_tables_does_not_go() {
    let mut world = whole(Setup { mode: Mode::Single, leaves: 2, ..setup() });
    let node = master(&world);
    let refused = world.commit(Command::RemoveNode { node, force: false });
    let own = world.metadata.copies_on(node).count() as u64;
    let expected = Refusal::HasCopies { node, copies: own };
    assert_eq!(refused, Outcome::Refused { refusal: expected });
}

/// Promise: a leaf that stops in order hands the reference tables over before it does.
#[test]
fn a_leaf_that_stops_hands_over() {
    let mut world = whole(setup());
    let stops = master(&world);
    ask(&mut world, &Asked::HandOver { database: "db".to_owned(), leaf: stops.into() });
    world.until(100, "another is master", |world| online(world, REFERENCE) != Some(stops));
    world.until(100, "it serves", |world| online(world, REFERENCE).is_some());
    stop(&mut world, stops);
    world.run(20);
    assert_eq!(world.checker.elections, 0);
    start(&mut world, stops, 5);
    world.until(600, "it is back", World::is_whole);
}

/// Promise: a leaf that is detached keeps its copy on record, and catches up when it is attached.
#[test]
fn a_detached_leaf_catches_up() {
    let mut world = whole(setup());
    let node = world.leaves.keys().copied().find(|leaf| *leaf != master(&world)).expect("another");
    let asked = Asked::Free { database: "db".to_owned(), leaves: vec![node.into()], detach: true };
    ask(&mut world, &asked);
    world.run(100);
    let (from, to) = (NodeState::Online, NodeState::Detached);
    let incarnation = world.metadata.nodes()[&node].incarnation;
    world.commit(Command::SetNodeState { node, from, to, incarnation });
    world.run(100);
    assert!(of(&world).copies[&node.into()].offline && has(&world).len() == 4);
    world.aggregator(world.leader, Event::Attach(node, false));
    world.until(400, "attached", |world| state(world, node) == NodeState::Online);
    world.until(400, "whole", World::is_whole);
}

/// Promise: after everything has crashed at once, every acknowledged row of reference tables is there, although the database
/// is made for neither disks nor replicas.
#[test]
fn everything_crashes_at_once() {
    let mut world =
        whole(Setup { sync: false, durable: false, mode: Mode::LoadBalanced, ..setup() });
    for node in world.leaves.keys().copied().collect::<Vec<_>>() {
        crash(&mut world, node);
    }
    world.run(20);
    for node in world.leaves.keys().copied().collect::<Vec<_>>() {
        start(&mut world, node, 10);
    }
    world.until(600, "all is back", |world| online(world, REFERENCE).is_some());
    world.run(200);
    assert_eq!(has(&world), [4, 5, 6, 7]);
}
