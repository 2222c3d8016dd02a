//! The record of the partition of reference tables.

use resprout_cluster::execution::{Change, Refused};
use resprout_cluster::metadata::{Command, Outcome, Refusal};
use resprout_cluster::{Following, LeafId, NodeId, Ordinal, Reference, Term};
use resprout_replication::{CopyState, Mode as Replication};

use crate::world::{DB, World};

/// Behind two partitions.
const REFERENCE: u32 = 2;
/// Its first copies: the master's, and then by leaf.
const FIRST: u64 = Reference::FIRST_INSTANCE.0;

fn add(leaf: u64) -> Command {
    let change = Change::AddCopy { ordinal: Ordinal(REFERENCE), leaf: LeafId(leaf) };
    Command::Execute { database: DB.to_owned(), change }
}

/// Promise: commits in it wait for replicas and disks, whatever the database is made for.
#[test]
fn it_is_synchronous_and_durable() {
    let world = World::with_reference(false, false);
    let entry = &world.state.databases()[DB];
    assert_eq!(entry.replication(Ordinal(REFERENCE)), Replication::Durable);
    assert_ne!(entry.replication(Ordinal(0)), Replication::Durable);
    assert!(entry.is_durable(Ordinal(REFERENCE)) && !entry.is_durable(Ordinal(0)));
    let (first, reference) = (world.partition(0), world.partition(REFERENCE));
    let map = &entry.map;
    assert!(map.is_reference(reference.ordinal) && !map.is_reference(Ordinal(1)));
    assert!(!map.is_reference(Ordinal(3)) && map.partition(Ordinal(3)).is_none());
    let follower = reference.copies.values().find(|copy| copy.following == Following::Async);
    assert!(!map.is_promotable(reference, follower.unwrap()));
    assert!(first.copies.values().all(|copy| map.is_promotable(first, copy)));
    assert_eq!((map.partitions.len(), map.all().count()), (2, 3));
}

/// Promise: it counts its own copies and masterships, and no number of a copy comes twice in a database.
#[test]
fn it_counts_for_itself() {
    let mut world = World::with_reference(true, true);
    let before = world.state.databases()[DB].map.clone();
    assert_eq!((before.next_instance.0, before.next_term), (5, Term(4)));
    let master = world.partition(REFERENCE).master.unwrap();
    let other = if master == LeafId(2) { 3 } else { 2 };
    let instance = world.partition(REFERENCE).copies[&LeafId(other)].instance.0;
    assert!(instance > FIRST);
    world.done(world.publish(REFERENCE, instance, CopyState::Sync));
    let at = world.at(REFERENCE);
    world.done(Command::Intend { at });
    assert_eq!(world.partition(REFERENCE).term, Term(3));
    world.done(world.elect(REFERENCE, instance, 1, &[instance]));
    assert_eq!(world.partition(REFERENCE).master, Some(LeafId(other)));
    let third = if master == LeafId(4) { 5 } else { 4 };
    let (ordinal, leaf) = (Ordinal(REFERENCE), LeafId(third));
    let instance = world.partition(REFERENCE).copies[&leaf].instance;
    let change = Change::Remove { ordinal, leaf, instance, leaving: 1 };
    world.done(Command::Execute { database: DB.to_owned(), change });
    world.done(add(third));
    assert_eq!(world.partition(REFERENCE).copies[&leaf].instance.0, FIRST + 4);
    let after = world.state.databases()[DB].map.clone();
    assert_eq!((after.next_instance, after.next_term), (before.next_instance, before.next_term));
    assert_eq!(after.next_term_of(Ordinal(REFERENCE)), Term(4));
}

/// Promise: only who has everything is elected, also where the database is asynchronous.
#[test]
fn only_who_has_everything_is_elected() {
    let mut world = World::with_reference(false, false);
    let reference = world.partition(REFERENCE);
    let copy = reference.copies.values().find(|copy| copy.following == Following::Async);
    let instance = copy.unwrap().instance.0;
    let at = world.at(REFERENCE);
    world.done(Command::Intend { at });
    let refused = world.refused(world.elect(REFERENCE, instance, 1, &[instance]));
    assert!(matches!(refused, Refusal::NotEligible { .. }), "{refused:?}");
}

/// Promise: a leaf goes with its copy, unless that is the master's, or nobody serves; with force whatever it has.
#[test]
fn a_leaf_goes_with_its_copy() {
    let mut world = World::with_reference(true, true);
    let remove = |node, force| Command::RemoveNode { node: NodeId(node), force };
    let master = world.partition(REFERENCE).master.unwrap();
    // Leaves 2 and 3 have partitions, 4 and 5 have not.
    let free = if master == LeafId(4) { 5 } else { 4 };
    world.done(remove(free, false));
    let left = &world.partition(REFERENCE).copies;
    assert!(!left.contains_key(&LeafId(free)) && left.len() == 3);
    assert_eq!(world.refused(add(master.0)), Refusal::Step { refused: Refused::HasCopy });
    let copies = world.state.copies_on(master.into()).count() as u64;
    let needed = Refusal::HasCopies { node: master.into(), copies };
    assert_eq!(world.refused(remove(master.0, false)), needed);
    assert!(matches!(world.apply(remove(master.0, true)), Outcome::Done));
    let reference = world.partition(REFERENCE);
    assert_eq!((reference.master, reference.term), (None, Term(3)));
    let other = if free == 4 { 5 } else { 4 };
    let refused = world.apply(remove(other, false));
    let is_needed =
        matches!(refused, Outcome::Refused { refusal: Refusal::HasCopies { copies: 1, .. } });
    assert!(is_needed || other == master.0, "nobody serves: {refused:?}");
}
