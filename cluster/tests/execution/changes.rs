//! What the record takes and what it refuses.

use resprout_cluster::execution::{Change, Refused, apply};
use resprout_cluster::placement::Home;
use resprout_cluster::{Database, Following, Instance, LeafId, Ordinal, Term};

use crate::world::database;

const ORDINAL: Ordinal = Ordinal(0);

/// One partition: master on leaf 1 (instance 1), replica on leaf 3 (instance 2), in step.
fn record() -> Database {
    database([Home { master: LeafId(1), replica: Some(LeafId(3)) }])
}

fn refused(database: &Database, change: Change) -> Refused {
    let mut after = database.clone();
    let refused = apply(&mut after, &change).expect_err("not allowed");
    assert_eq!(after, *database, "nothing has changed");
    refused
}

fn promote(term: u64, to: u64, drop_leaving: Option<usize>) -> Change {
    let (ordinal, term, to) = (ORDINAL, Term(term), LeafId(to));
    Change::Promote { ordinal, term, to, drop_leaving, returns: false }
}

fn remove(leaf: u64, instance: u64, leaving: usize) -> Change {
    let (leaf, instance) = (LeafId(leaf), Instance(instance));
    Change::Remove { ordinal: ORDINAL, leaf, instance, leaving }
}

/// Promise: a promotion is one change: role, term, and the old copy if it goes; twice, or late, it is
/// refused.
#[test]
fn o02_a_promotion_is_one_change() {
    let mut database = record();
    apply(&mut database, &promote(2, 3, None)).unwrap();
    let partition = &database.partitions[0];
    assert_eq!((partition.master, partition.term), (Some(LeafId(3)), Term(10_000)));
    assert_eq!(partition.copies[&LeafId(1)].following, Following::Sync);
    assert_eq!(refused(&database, promote(2, 3, None)), Refused::OtherTerm);
    assert_eq!(refused(&database, promote(2, 1, None)), Refused::OtherTerm, "of a past term");
    assert_eq!(refused(&database, promote(10_000, 3, None)), Refused::OtherTerm, "it is master");
    assert_eq!(refused(&database, promote(10_000, 4, None)), Refused::NoCopy);
    assert_eq!(refused(&record(), promote(2, 3, Some(2))), Refused::TooFewCopies(2));
    let mut alone = record();
    apply(&mut alone, &promote(2, 3, Some(1))).unwrap();
    assert_eq!(alone.partitions[0].copies.len(), 1);
}

/// Promise: no copy is promoted that may miss something.
#[test]
fn who_is_behind_is_not_promoted() {
    for following in [Following::Async, Following::Ready] {
        let mut database = record();
        database.partitions[0].copies.get_mut(&LeafId(3)).unwrap().following = following;
        assert_eq!(refused(&database, promote(2, 3, None)), Refused::Behind);
        database.sync = false;
        apply(&mut database, &promote(2, 3, None)).unwrap();
    }
    let mut database = record();
    database.partitions[0].copies.get_mut(&LeafId(3)).unwrap().offline = true;
    assert_eq!(refused(&database, promote(2, 3, None)), Refused::Behind);
}

/// Promise (O08): a drop names an instance: executed late, against a copy that was made anew in the same
/// place, it has no effect.
#[test]
fn o08_a_late_drop_hits_nobody() {
    let mut database = record();
    apply(&mut database, &remove(3, 2, 1)).unwrap();
    apply(&mut database, &Change::AddCopy { ordinal: ORDINAL, leaf: LeafId(3) }).unwrap();
    let copy = database.partitions[0].copies[&LeafId(3)];
    assert_eq!((copy.instance, copy.following), (Instance(10_000), Following::Async));
    assert_eq!(refused(&database, remove(3, 2, 1)), Refused::NoCopy);
    assert_eq!(database.next_instance, Instance(10_001));
}

/// Promise: a drop leaves as many full copies as it must, and never takes the master.
#[test]
fn drops_leave_enough() {
    let mut database = record();
    assert_eq!(refused(&database, remove(3, 2, 2)), Refused::TooFewCopies(2));
    assert_eq!(refused(&database, remove(1, 1, 0)), Refused::IsMaster);
    assert_eq!(refused(&database, remove(4, 1, 0)), Refused::NoCopy);
    // One that is not complete is no second copy, and is not missed.
    let add = Change::AddCopy { ordinal: ORDINAL, leaf: LeafId(4) };
    apply(&mut database, &add).unwrap();
    assert_eq!(refused(&database, add), Refused::HasCopy);
    assert_eq!(refused(&database, remove(3, 2, 2)), Refused::TooFewCopies(2));
    apply(&mut database, &remove(4, 10_000, 2)).unwrap();
    assert_eq!(database.full_copies(&database.partitions[0]), 2);
}

/// Promise (W24): what is attached is the one to be elected if there is no master, in a new term; else a replica that has
/// to catch up. Nothing is made anew where a copy is.
#[test]
fn w24_attach_and_create() {
    let mut database = record();
    let attach =
        |leaf| Change::Attach { ordinal: ORDINAL, leaf: LeafId(leaf), instance: Instance(77) };
    let create = Change::Create { ordinal: ORDINAL, leaf: LeafId(2) };
    assert_eq!(refused(&database, attach(3)), Refused::HasCopy);
    assert_eq!(refused(&database, create), Refused::HasCopy);
    apply(&mut database, &attach(4)).unwrap();
    assert_eq!(database.partitions[0].copies[&LeafId(4)].following, Following::Async);
    let mut lost = record();
    lost.partitions[0].master = None;
    lost.partitions[0].copies.clear();
    let mut attached = lost.clone();
    apply(&mut attached, &attach(2)).unwrap();
    assert_eq!(attached.partitions[0].master, None, "it is elected");
    assert_eq!(attached.partitions[0].copies[&LeafId(2)].following, Following::Sync);
    assert_eq!(attached.partitions[0].term, Term(10_000));
    assert_eq!(
        refused(&lost, Change::AddCopy { ordinal: ORDINAL, leaf: LeafId(1) }),
        Refused::NoMaster
    );
    assert_eq!(refused(&lost, promote(2, 1, None)), Refused::NoMaster);
    apply(&mut lost, &create).unwrap();
    assert_eq!(lost.partitions[0].copies[&LeafId(2)].instance, Instance(10_000));
    let nowhere = Change::AddCopy { ordinal: Ordinal(9), leaf: LeafId(1) };
    assert_eq!(refused(&lost, nowhere), Refused::NoPartition);
}

/// Promise (W24, rule 8): an orphan is not elected while a copy is on record that may have more; to detach that one is to
/// say that it does not count.
#[test]
fn w24_an_orphan_gives_way_to_who_may_have_more() {
    let mut database = record();
    let attach = Change::Attach { ordinal: ORDINAL, leaf: LeafId(4), instance: Instance(77) };
    let detach = |leaf, instance| {
        let (leaf, instance) = (LeafId(leaf), Instance(instance));
        Change::Detach { ordinal: ORDINAL, leaf, instance }
    };
    let master = database.partitions[0].master.unwrap();
    for copy in database.partitions[0].copies.values_mut() {
        copy.offline = true;
    }
    assert_eq!(refused(&database, attach), Refused::MayHaveMore(master));
    let before = database.partitions[0].clone();
    for (leaf, copy) in &before.copies {
        apply(&mut database, &detach(leaf.0, copy.instance.0)).unwrap();
        assert_eq!(refused(&database, detach(leaf.0, copy.instance.0)), Refused::NoCopy);
    }
    assert_eq!(database.partitions[0].master, None);
    assert!(database.partitions[0].term > before.term, "the lost mastership is over");
    let fenced = database.partitions[0].term;
    apply(&mut database, &attach).unwrap();
    assert!(database.partitions[0].term > fenced);
}

/// Promise (O07): a master that is there is not detached, nor a copy that is there while nobody serves.
#[test]
fn o07_who_is_needed_is_not_detached() {
    let mut database = record();
    let master = database.partitions[0].master.unwrap();
    let detach = |database: &Database, leaf: LeafId| Change::Detach {
        ordinal: ORDINAL,
        leaf,
        instance: database.partitions[0].copies[&leaf].instance,
    };
    assert_eq!(refused(&database, detach(&database, master)), Refused::IsMaster);
    let copies = database.partitions[0].copies.keys();
    let replica = *copies.into_iter().find(|leaf| **leaf != master).unwrap();
    let mut bereft = database.clone();
    bereft.partitions[0].master = None;
    assert_eq!(refused(&bereft, detach(&bereft, replica)), Refused::NoMaster);
    let change = detach(&database, replica);
    apply(&mut database, &change).unwrap();
    assert!(!database.partitions[0].copies.contains_key(&replica));
}
