//! Partition records: the catalogue's rules 1, 5 to 9, 14 and 15 as far as the state holds them.

use resprout_cluster::execution::{Change, Refused};
use resprout_cluster::metadata::{At, Command, Happened, LeftBy, NodeState, Outcome, Refusal};
use resprout_cluster::{Cfg, Following, Incarnation, Instance, LeafId, Ordinal, Term};
use resprout_replication::{CopyState, Mode};

use crate::world::{DB, World};

/// A pair whose replica is synchronous.
fn in_step(durable: bool) -> World {
    let mut world = World::pair(true, durable);
    for (ordinal, replica) in [(0, 3), (1, 4)] {
        world.done(world.publish(ordinal, replica, CopyState::Sync));
    }
    world
}

/// A leaf is online again, in its next run.
fn back(world: &mut World, leaf: u64) {
    for state in [NodeState::Recovering, NodeState::Attaching, NodeState::Online] {
        let outcome = world.node_state(leaf, state, 2);
        assert_eq!(outcome, Outcome::Done, "{state}");
    }
}

fn take_back(world: &World, ordinal: u32, instance: u64, run: u64, clean: bool) -> Command {
    let (at, instance, incarnation) = (world.at(ordinal), Instance(instance), Incarnation(run));
    Command::TakeBack { at, instance, incarnation, clean }
}

/// Promise (rule 1): a change holds for one version of the record, and each one makes another.
#[test]
fn changes_hold_for_one_version() {
    let mut world = World::pair(true, false);
    let early = world.publish(0, 3, CopyState::Sync);
    let before = world.partition(0).clone();
    world.done(world.publish(0, 3, CopyState::Ready));
    let after = world.partition(0);
    assert_eq!((after.term, after.cfg), (before.term, Cfg(before.cfg.0 + 1)));
    assert!(after.stamp > before.stamp);
    let changed = Refusal::Changed { term: after.term, cfg: after.cfg };
    assert_eq!(world.refused(early), changed);
    let at = At { cfg: Cfg(99), ..world.at(0) };
    assert_eq!(world.refused(Command::Intend { at }), changed);
    let at = At { ordinal: Ordinal(7), ..world.at(0) };
    assert_eq!(world.refused(Command::Intend { at }), Refusal::NoPartition { ordinal: Ordinal(7) });
}

/// Promise (R04): an intent makes what was asked in the term before void.
#[test]
fn r04_an_intent_voids_what_was_asked_before() {
    let mut world = in_step(false);
    let demotion = world.publish(0, 3, CopyState::Async);
    let at = world.at(0);
    world.done(Command::Intend { at });
    assert!(matches!(world.refused(demotion), Refusal::Changed { .. }));
    let fenced = world.partition(0);
    assert_eq!((fenced.master, fenced.former), (None, Some(LeafId(2))));
    assert_eq!(fenced.copies[&LeafId(3)].following, Following::Sync);
}

/// Promise (rule 8): only who has everything becomes master, in a fenced term, where the leaf is; and whoever did
/// not report is not waited for.
#[test]
fn only_synchronous_copies_are_elected() {
    let mut world = in_step(false);
    let too_early = world.refused(world.elect(0, 3, 1, &[3]));
    assert!(too_early.to_string().contains("has a master"), "{too_early}");
    world.node_state(2, NodeState::Offline, 1);
    let at = world.at(0);
    world.done(Command::Intend { at });
    let lost = world.refused(world.elect(0, 1, 1, &[1]));
    assert!(lost.to_string().contains("not there"), "{lost}");
    world.done(world.elect(0, 3, 1, &[3]));
    let partition = world.partition(0);
    assert_eq!((partition.master, partition.former), (Some(LeafId(3)), Some(LeafId(2))));
    let old = partition.copies[&LeafId(2)];
    assert_eq!((old.following, old.offline), (Following::Async, true));
    let event = &world.state.events().back().unwrap().happened;
    assert!(matches!(event, Happened::Elected { may_have_lost: false, forced: false, .. }));
}

/// Promise (rule 8, N03): in a synchronous database nobody stands in for the only copy that has everything; an
/// operator can insist, and then it is written down with the end of what there is.
#[test]
fn o18_force_is_written_down() {
    let mut world = World::pair(true, false);
    world.node_state(2, NodeState::Offline, 1);
    let at = world.at(0);
    world.done(Command::Intend { at });
    let behind = world.elect(0, 3, 1, &[3]);
    let refused = world.refused(behind.clone());
    assert!(refused.to_string().contains("may miss acknowledged writes"), "{refused}");
    let Command::Elect { at, instance, incarnation, reported, last_term, last, .. } = behind else {
        panic!("an election")
    };
    let forced = Command::Elect {
        at,
        instance,
        incarnation,
        reported,
        may_have_lost: false,
        forced: true,
        last_term,
        last,
    };
    world.done(forced);
    let event = &world.state.events().back().unwrap().happened;
    let said =
        matches!(event, Happened::Elected { may_have_lost: true, forced: true, last: 4096, .. });
    assert!(said, "{event:?}");
}

/// Promise (rules 6, 8): a lost leaf takes from its copies the use, not the right: a master that waited for a
/// copy still does until the record says otherwise.
#[test]
fn a_lost_leaf_keeps_what_it_has() {
    let mut world = in_step(false);
    let before = world.partition(0).clone();
    world.node_state(3, NodeState::Offline, 1);
    let partition = world.partition(0);
    let copy = partition.copies[&LeafId(3)];
    assert_eq!((copy.offline, copy.following), (true, Following::Sync));
    assert_eq!(partition.serving(), Some(LeafId(2)));
    assert_eq!(partition.term, before.term);
    assert_eq!(world.partition(1).serving(), None);
    assert_eq!(world.partition(1).master, Some(LeafId(3)));
    // It cannot be published while its leaf is not there; it can be left behind.
    let published = world.refused(world.publish(0, 3, CopyState::Ready));
    assert!(published.to_string().contains("not there"), "{published}");
    world.done(world.publish(0, 3, CopyState::Async));
    assert_eq!(
        world.partition(0).record(Mode::Received).copy(Instance(3)).state,
        CopyState::Offline
    );
}

/// Promise (rule 14): a master that comes back goes on in its term if it stopped in order or never stopped;
/// otherwise its mastership is over, and nobody has the next before an election.
#[test]
fn p07_a_restart_ends_a_mastership_unless_it_was_clean() {
    for (run, clean, goes_on) in [(1, false, true), (2, true, true), (2, false, false)] {
        let mut world = in_step(false);
        let term = world.partition(0).term;
        world.node_state(2, NodeState::Offline, 1);
        world.done(take_back(&world, 0, 1, run, clean));
        let partition = world.partition(0);
        assert_eq!(partition.master == Some(LeafId(2)), goes_on, "run {run}, clean {clean}");
        assert_eq!(partition.term == term, goes_on, "run {run}, clean {clean}");
        let copy = partition.copies[&LeafId(2)];
        assert_eq!((copy.offline, copy.following), (false, Following::Sync));
        let named = if clean { run } else { 1 };
        assert_eq!(copy.incarnation, Incarnation(named), "a choice must see the restart");
    }
}

/// Promise (rule 15, P06): a replica that crashed is synchronous no more, unless it flushes before it
/// acknowledges, stopped in order, or did not stop at all.
#[test]
fn p06_a_replica_that_crashed_is_synchronous_no_more() {
    let cases = [
        (false, 2, false, Following::Async),
        (false, 2, true, Following::Sync),
        (false, 1, false, Following::Sync),
        (true, 2, false, Following::Sync),
    ];
    for (durable, run, clean, following) in cases {
        let mut world = in_step(durable);
        world.node_state(3, NodeState::Offline, 1);
        world.done(take_back(&world, 0, 3, run, clean));
        let copy = world.partition(0).copies[&LeafId(3)];
        assert_eq!((copy.following, copy.offline), (following, false), "{durable} {run} {clean}");
        assert_eq!(copy.incarnation, Incarnation(run));
        let older = world.refused(take_back(&world, 0, 3, 0, true));
        assert!(older.to_string().contains("a newer run"), "{older}");
    }
}

/// Promise (rule 15, P05): if the master is lost too, a replica that crashed keeps its right, and its old run's
/// number: whoever chooses sees that it restarted.
#[test]
fn p05_if_all_crashed_all_are_compared() {
    let mut world = in_step(false);
    for leaf in [2, 3] {
        world.node_state(leaf, NodeState::Offline, 1);
    }
    world.done(take_back(&world, 0, 3, 2, false));
    let copy = world.partition(0).copies[&LeafId(3)];
    assert_eq!((copy.following, copy.incarnation), (Following::Sync, Incarnation(1)));
}

/// Promise: a copy leaves the record only if somebody else serves.
#[test]
fn the_last_copy_stays_in_the_record() {
    let mut world = in_step(false);
    let orphan =
        |world: &World, instance| Command::Orphan { at: world.at(0), instance: Instance(instance) };
    assert!(world.refused(orphan(&world, 1)).to_string().contains("last copy"));
    world.done(orphan(&world, 3));
    assert_eq!(world.partition(0).copies.len(), 1);
    assert!(world.refused(orphan(&world, 1)).to_string().contains("last copy"));
}

/// Promise (O03, O08): what leaves the record is noted with what took it out and when, in the same command, until it is
/// attached again or its leaf does not have it; the note of another copy in its place is not its own.
#[test]
fn what_leaves_the_record_is_noted() {
    let mut world = in_step(false);
    let (ordinal, leaf, instance) = (Ordinal(0), LeafId(3), Instance(3));
    let execute = |change| Command::Execute { database: DB.to_owned(), change };
    let noted = |world: &World| -> Vec<(Instance, LeftBy)> {
        world.state.databases()[DB].left.iter().map(|left| (left.instance, left.by)).collect()
    };
    world.done(execute(Change::Detach { ordinal, leaf, instance }));
    assert_eq!(noted(&world), [(instance, LeftBy::Detach)]);
    let left = *world.state.databases()[DB].left(instance).unwrap();
    assert_eq!((left.leaf, left.index, left.at_ms), (leaf, world.index, 1000 * world.index));
    world.done(execute(Change::Attach { ordinal, leaf, instance }));
    assert_eq!(noted(&world), []);
    world.done(execute(Change::Remove { ordinal, leaf, instance, leaving: 1 }));
    world.done(execute(Change::AddCopy { ordinal, leaf }));
    assert_eq!(noted(&world), [(instance, LeftBy::Drop)]);
    world.node_state(3, NodeState::Offline, 1);
    back(&mut world, 3);
    world.done(execute(Change::AddCopy { ordinal, leaf }));
    assert_eq!(noted(&world), [(instance, LeftBy::Drop), (Instance(5), LeftBy::Copy)]);
    let copies = vec![instance];
    world.done(Command::ForgetLeft { database: DB.to_owned(), copies });
    assert_eq!(noted(&world), [(Instance(5), LeftBy::Copy)]);
}

/// Promise (W24): who is elected from an orphan may lack what was acknowledged without it, and the event says so.
#[test]
fn w24_the_election_of_an_orphan_says_so() {
    let mut world = in_step(true);
    for leaf in [2, 3] {
        world.node_state(leaf, NodeState::Offline, 1);
    }
    let execute = |change| Command::Execute { database: DB.to_owned(), change };
    let ordinal = Ordinal(0);
    for (leaf, instance) in [(2, 1), (3, 3)] {
        let (leaf, instance) = (LeafId(leaf), Instance(instance));
        world.done(execute(Change::Detach { ordinal, leaf, instance }));
    }
    assert!(world.partition(0).copies.is_empty());
    back(&mut world, 2);
    let (leaf, instance) = (LeafId(2), Instance(1));
    world.done(execute(Change::Attach { ordinal, leaf, instance }));
    world.done(world.elect(0, 1, 2, &[1]));
    let last = &world.state.events().back().unwrap().happened;
    assert!(matches!(last, Happened::Elected { may_have_lost: true, .. }), "{last:?}");
    assert_eq!(world.partition(0).attached, None);
}

/// Promise: steps of plans change the same record, with the same terms, numbers and versions.
#[test]
fn plans_change_the_same_record() {
    let mut world = in_step(false);
    let (ordinal, before) = (Ordinal(0), world.partition(0).clone());
    let promote = |to| {
        let (to, term) = (LeafId(to), before.term);
        let change = Change::Promote { ordinal, term, to, drop_leaving: None, returns: false };
        Command::Execute { database: DB.to_owned(), change }
    };
    world.done(promote(3));
    let after = world.partition(0);
    assert_eq!((after.master, after.term), (Some(LeafId(3)), Term(4)));
    assert!(after.cfg > before.cfg && after.stamp > before.stamp);
    let again = world.refused(promote(2));
    assert_eq!(again, Refusal::Step { refused: Refused::OtherTerm });
    let change = Change::AddCopy { ordinal, leaf: LeafId(9) };
    let nowhere = Command::Execute { database: DB.to_owned(), change };
    assert!(matches!(world.refused(nowhere), Refusal::NoNode { .. }));
}

/// Promise (rules 5 to 7): ALTER DATABASE makes one more version of every partition, so that what was asked for or chosen
/// under the replication before is void; nobody keeps a right that it had for being waited for, and none is given while
/// nobody is waited for. Said again it changes nothing. A database whose commits wait for disks stays synchronous.
#[test]
fn replication_is_changed_by_version() {
    let mut world = in_step(false);
    let alter = |sync| Command::SetReplication { name: DB.to_owned(), sync };
    let before = world.partition(0).clone();
    let (asked, at) = (world.publish(0, 3, CopyState::Sync), world.at(0));
    world.done(alter(true));
    assert_eq!(*world.partition(0), before);
    world.done(alter(false));
    let after = world.partition(0).clone();
    assert_eq!((after.term, after.cfg), (before.term, Cfg(before.cfg.0 + 1)));
    assert!(after.stamp > before.stamp);
    assert_eq!(after.copies[&LeafId(3)].following, Following::Async);
    let entry = &world.state.databases()[DB];
    assert_eq!(after.record(entry.replication(after.ordinal)).mode, Some(Mode::Local));
    assert!(matches!(world.refused(asked), Refusal::Changed { .. }));
    assert!(matches!(world.refused(Command::Intend { at }), Refusal::Changed { .. }));
    let nobody = world.refused(world.publish(0, 3, CopyState::Sync));
    assert!(nobody.to_string().contains("does not wait for replicas"), "{nobody}");
    world.done(alter(false));
    assert_eq!(*world.partition(0), after);
    world.done(alter(true));
    assert_eq!(world.partition(0).copies[&LeafId(3)].following, Following::Async);
    world.done(world.publish(0, 3, CopyState::Sync));
    let event = &world.state.events().back().unwrap().happened;
    assert_eq!(*event, Happened::Replication { database: DB.to_owned(), sync: true });
    let mut durable = in_step(true);
    let refused = durable.refused(alter(false));
    assert!(refused.to_string().contains("asynchronous replication with synchronous durability"));
}

/// Promise (rule 8): who is synchronous while a master is being chosen has everything that was acknowledged, and keeps its
/// right; elected without waiting, the others lose it. Of a synchronous database only such a copy is elected, also if it was
/// asynchronous a moment ago.
#[test]
fn an_election_goes_by_the_replication_of_its_time() {
    let alter = |sync| Command::SetReplication { name: DB.to_owned(), sync };
    let mut world = in_step(false);
    let at = world.at(0);
    world.done(Command::Intend { at });
    let chosen = world.elect(0, 3, 1, &[1, 3]);
    world.done(alter(false));
    assert!(matches!(world.refused(chosen), Refusal::Changed { .. }));
    assert_eq!(world.partition(0).copies[&LeafId(3)].following, Following::Sync);
    world.done(world.elect(0, 3, 1, &[1, 3]));
    assert_eq!(world.partition(0).copies[&LeafId(2)].following, Following::Async);
    let at = world.at(0);
    world.done(Command::Intend { at });
    world.done(alter(true));
    let behind = world.refused(world.elect(0, 1, 1, &[1, 3]));
    assert!(behind.to_string().contains("may miss acknowledged writes"), "{behind}");
    world.done(world.elect(0, 3, 1, &[1, 3]));
}
