//! Nodes, the office, and what they may.

use resprout_cluster::metadata::{
    Command, EVENTS_MAX, Happened, Kind, LeftBy, Metadata, NewHome, NodeState, Outcome, Refusal,
    Role,
};
use resprout_cluster::placement::initial;
use resprout_cluster::{Group, Incarnation, Instance, LeafId, Mode, NodeId, Term};
use resprout_replication::Mode as Replication;

use crate::world::{DB, World, address};

/// Promise: instances and terms are numbered as clients know them: masters first from 1, replicas behind; terms from 2.
#[test]
fn numbers_are_those_that_clients_know() {
    let mut world = World::new(Mode::Paired, 8);
    let first = initial(&world.state.leaves(), Mode::Paired, 16).unwrap();
    let homes = first
        .partitions
        .iter()
        .map(|new| NewHome { master: new.home.master, replica: new.home.replica });
    let (homes, name) = (homes.collect(), DB.to_owned());
    let create = Command::CreateDatabase {
        name,
        homes,
        sync: true,
        durable: false,
        redundancy: 2,
        reference: false,
    };
    assert_eq!(world.done(create.clone()), Outcome::Created { database: 1 });
    for new in &first.partitions {
        let partition = world.partition(new.ordinal.0);
        assert_eq!((partition.term, partition.master), (new.term, Some(new.home.master)));
        assert_eq!(partition.copies[&new.home.master].instance, new.master);
        let replica = new.home.replica.unwrap();
        assert_eq!(Some(partition.copies[&replica].instance), new.replica);
    }
    let third = world.partition(3);
    assert_eq!(
        (third.term, third.record(Replication::Received).master),
        (Term(5), Some(Instance(4)))
    );
    let map = &world.state.databases()[DB].map;
    assert_eq!((map.next_term, map.next_instance), (Term(18), Instance(33)));
    // The first failover of test:3 is term 18.
    let at = world.at(3);
    world.done(Command::Intend { at });
    assert_eq!(world.partition(3).term, Term(18));
    assert_eq!(world.refused(create), Refusal::DatabaseExists { name: DB.to_owned() });
}

/// Promise (M10, M18): what was decided under an office that is over does nothing, and says who decides now.
#[test]
fn m10_m18_late_decisions_do_nothing() {
    let mut world = World::pair(true, false);
    let old = world.state.office().number;
    let second = Command::AddAggregator {
        address: address(4000),
        role: Role::Voter,
        incarnation: Incarnation(1),
    };
    let Outcome::Added { node } = world.done(second) else { panic!("a node") };
    let taken = world.done(Command::TakeOffice { node, after: old });
    let office = world.state.office().number;
    assert_eq!(taken, Outcome::Office { office });
    // Whoever led before that, and asks late, takes nothing.
    let again = Command::TakeOffice { node: NodeId(1), after: old };
    assert_eq!(world.refused(again), Refusal::NotInOffice { office });
    let at = world.at(0);
    let late = world.apply_in(old, Command::Intend { at: at.clone() });
    assert_eq!(late, Outcome::Refused { refusal: Refusal::NotInOffice { office } });
    world.done(Command::Intend { at });
    assert!(world.partition(0).stamp > world.partition(1).stamp);
    assert_eq!(world.partition(0).stamp.term, office);
}

/// Promise: only an aggregator takes office, and has a vote from then on; the last that has one stays.
#[test]
fn only_aggregators_take_office() {
    let mut world = World::new(Mode::Single, 1);
    let wrong = |node| Refusal::WrongKind { node };
    let take_office = |node| Command::TakeOffice { node: NodeId(node), after: 2 };
    assert_eq!(world.refused(take_office(2)), wrong(NodeId(2)));
    let learner = Command::AddAggregator {
        address: address(4000),
        role: Role::Learner,
        incarnation: Incarnation(1),
    };
    world.done(learner);
    let last = Refusal::LastVoter { node: NodeId(1) };
    assert_eq!(world.refused(Command::RemoveNode { node: NodeId(1), force: true }), last);
    let demote = Command::SetRole { node: NodeId(1), role: Role::Learner };
    assert_eq!(world.refused(demote.clone()), last);
    world.done(take_office(3));
    world.done(demote);
    let again = Command::Found { cluster: 8, address: address(5000) };
    assert_eq!(world.refused(again), Refusal::Founded);
}

/// Promise: new leaves go to the smaller group and are paired, mutually; the slot of a removed one is free.
#[test]
fn leaves_are_paired() {
    let mut world = World::new(Mode::Paired, 2);
    let kind = |world: &World, node| world.state.nodes()[&NodeId(node)].kind;
    let pair = |n| Some(NodeId(n));
    assert_eq!(kind(&world, 2), Kind::Leaf { group: Group::One, pair: pair(3) });
    assert_eq!(kind(&world, 3), Kind::Leaf { group: Group::Two, pair: pair(2) });
    world.done(Command::RemoveNode { node: NodeId(3), force: false });
    assert_eq!(kind(&world, 2), Kind::Leaf { group: Group::One, pair: None });
    world.done(Command::AddLeaf {
        address: address(9000),
        group: None,
        incarnation: Incarnation(1),
    });
    assert_eq!(kind(&world, 4), Kind::Leaf { group: Group::Two, pair: pair(2) });
    let twice =
        Command::AddLeaf { address: address(9000), group: None, incarnation: Incarnation(1) };
    assert!(matches!(world.refused(twice), Refusal::NotJoined { .. }));
}

/// Promise (I02): a node's states follow each other as the table says, and an older run of it changes nothing.
#[test]
fn states_and_runs_follow_each_other() {
    let mut world = World::pair(true, false);
    world.node_state(2, NodeState::Offline, 4);
    let refused = |refusal| Outcome::Refused { refusal };
    let node = NodeId(2);
    let online = world.node_state(2, NodeState::Online, 4);
    assert_eq!(online, refused(Refusal::NodeState { node, state: NodeState::Offline }));
    let older = world.node_state(2, NodeState::Attaching, 3);
    let known = Incarnation(4);
    assert_eq!(older, refused(Refusal::OlderRun { node, incarnation: known }));
    assert_eq!(world.node_state(2, NodeState::Attaching, 5), Outcome::Done);
    assert_eq!(world.node_state(2, NodeState::Online, 5), Outcome::Done);
    // Its copies are used when they are taken back, each for itself.
    assert_eq!(world.partition(0).serving(), None);
}

/// Promise (O07): a leaf that has copies is removed only by force; then nobody waits for it, and a mastership
/// there is fenced.
#[test]
fn o07_copies_are_given_up_by_force_only() {
    let mut world = World::pair(true, false);
    let node = NodeId(2);
    let remove = |force| Command::RemoveNode { node, force };
    assert_eq!(world.refused(remove(false)), Refusal::HasCopies { node, copies: 2 });
    let before = world.partition(0).term;
    world.done(remove(true));
    let fenced = world.partition(0);
    assert_eq!((fenced.master, fenced.former), (None, None));
    assert!(fenced.term > before);
    assert_eq!(fenced.copies.keys().copied().collect::<Vec<_>>(), [LeafId(3)]);
    assert_eq!(world.partition(1).master, Some(LeafId(3)));
    let last = world.state.events().back().unwrap();
    assert_eq!(last.happened, Happened::NodeRemoved { copies_lost: 2 });
}

/// Promise: what a leaf has that is removed by force is noted, with where the leaf was, until somebody can say that it is gone: one at
/// the same address, or an operator.
#[test]
fn o07_what_a_removed_leaf_has_is_noted() {
    let mut world = World::pair(true, false);
    let (node, leaf) = (NodeId(2), LeafId(2));
    let was_at = world.state.nodes()[&node].address.clone();
    let copies = [0, 1].map(|ordinal| world.partition(ordinal).copies[&leaf].instance);
    assert_eq!(world.state.holder_of(leaf), Some(node));
    world.done(Command::RemoveNode { node, force: true });
    let left = &world.state.databases()[DB].left;
    let noted: Vec<_> = left.iter().map(|left| (left.leaf, left.instance, left.by)).collect();
    assert_eq!(noted, copies.map(|copy| (leaf, copy, LeftBy::RemoveLeaf)));
    assert_eq!(world.state.removed(), &[(node, was_at.clone())].into());
    assert_eq!(world.state.holder_of(leaf), None);
    let coded = Metadata::decode(&world.state.encode());
    assert_eq!(coded.as_ref(), Ok(&world.state));
    let again = Command::AddLeaf { address: was_at, group: None, incarnation: Incarnation(1) };
    let Outcome::Added { node: next } = world.done(again) else { panic!("a node") };
    assert_eq!(world.state.holder_of(leaf), Some(next));
    let forget =
        |copies: &[_]| Command::ForgetLeft { database: DB.to_owned(), copies: copies.to_vec() };
    world.done(forget(&copies[..1]));
    assert!(world.state.removed().contains_key(&node), "the other one is still noted");
    world.done(forget(&copies[1..]));
    assert_eq!(world.state.removed().len(), 0);
}

/// Promise (O10): a database that was dropped is known for one, and its number is never used again.
#[test]
fn o10_dropped_databases_are_known() {
    let mut world = World::pair(true, false);
    world.done(Command::DropDatabase { name: DB.to_owned() });
    assert!(world.state.was_dropped(1));
    assert!(!world.state.was_dropped(2), "never given out: not known to be dropped");
    let name = DB.to_owned();
    let homes = vec![NewHome { master: LeafId(2), replica: None }];
    let again = Command::CreateDatabase {
        name,
        homes,
        sync: true,
        durable: false,
        redundancy: 1,
        reference: false,
    };
    assert_eq!(world.done(again), Outcome::Created { database: 2 });
    assert!(world.state.was_dropped(1) && !world.state.was_dropped(2));
    let none = Command::DropDatabase { name: "none".to_owned() };
    assert_eq!(world.refused(none), Refusal::NoDatabase { name: "none".to_owned() });
}

/// Promise: what belongs to others changes by its version; events are bounded.
#[test]
fn versions_guard_what_others_keep() {
    let mut world = World::pair(true, false);
    let schema = |version, byte| Command::SetSchema {
        database: DB.to_owned(),
        version,
        bytes: Box::new([byte]),
    };
    world.done(schema(0, 1));
    assert_eq!(world.refused(schema(0, 2)), Refusal::Version { version: 1 });
    world.done(schema(1, 3));
    assert_eq!(world.state.databases()[DB].schema.bytes[..], [3]);
    let accounts = |version, byte| Command::SetAccounts { version, bytes: Box::new([byte]) };
    world.done(accounts(0, 5));
    assert_eq!(world.refused(accounts(0, 6)), Refusal::Version { version: 1 });
    world.done(accounts(1, 7));
    assert_eq!(world.state.accounts().bytes[..], [7]);
    assert_eq!(world.state.accounts().version, 2);
    for _ in 0..EVENTS_MAX + 5 {
        world.done(Command::Record { node: None, happened: Happened::NodeAdded });
    }
    assert_eq!(world.state.events().len(), EVENTS_MAX);
    assert_eq!(world.state.events().back().unwrap().index, world.index);
}

/// Promise (O17): a variable is set for all nodes, or whoever set it is told that it is not.
#[test]
fn o17_a_variable_is_set_everywhere_or_refused() {
    let mut world = World::pair(true, false);
    let set = |value: Option<&str>| Command::SetVariable {
        name: "auto_attach".to_owned(),
        value: value.map(str::to_owned),
    };
    let office = world.state.office().number;
    world.done(set(Some("off")));
    let late = world.apply_in(office - 1, set(Some("on")));
    assert_eq!(late, Outcome::Refused { refusal: Refusal::NotInOffice { office } });
    assert_eq!(world.state.variables()["auto_attach"], "off");
    world.done(set(None));
    assert!(world.state.variables().is_empty());
}

/// Promise: redundancy and fan-out change how copies are placed, together; not below the copies that there are, and not so
/// that copies on leaves that are no pair would be given up.
#[test]
fn redundancy_and_fanout_go_with_what_is_there() {
    let set = |name: &str, value: Option<&str>| Command::SetVariable {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    };
    let mut world = World::new(Mode::Paired, 4);
    world.done(set("leaf_failover_fanout", Some("load_balanced")));
    assert_eq!(world.state.mode(), Mode::LoadBalanced);
    world.done(set("redundancy_level", Some("1")));
    assert_eq!((world.state.mode(), world.state.fanout()), (Mode::Single, "load_balanced"));
    world.done(set("redundancy_level", Some("2")));
    assert_eq!(world.state.mode(), Mode::LoadBalanced);
    // Leaves 2 and 3 are a pair, 2 and 5 are none.
    let home = |master, replica| NewHome { master: LeafId(master), replica: Some(LeafId(replica)) };
    let create = |homes| Command::CreateDatabase {
        name: DB.to_owned(),
        homes,
        sync: true,
        durable: true,
        redundancy: 2,
        reference: false,
    };
    world.done(create(vec![home(2, 3), home(2, 5)]));
    for lost in [set("redundancy_level", Some("1")), set("leaf_failover_fanout", None)] {
        let refused = world.refused(lost);
        assert!(matches!(refused, Refusal::NotPossible { .. }), "{refused}");
        assert_eq!(world.state.mode(), Mode::LoadBalanced);
    }
    world.done(Command::DropDatabase { name: DB.to_owned() });
    world.done(create(vec![home(2, 3)]));
    world.done(set("leaf_failover_fanout", None));
    assert_eq!(world.state.mode(), Mode::Paired);
}

/// Promise: what cannot be is refused with its reason: a place that is none, modes that do not go together.
#[test]
fn impossible_databases_are_refused() {
    let mut world = World::new(Mode::Paired, 2);
    let create = |homes: Vec<(u64, Option<u64>)>, sync, durable| Command::CreateDatabase {
        name: DB.to_owned(),
        homes: homes
            .into_iter()
            .map(|(master, replica)| NewHome {
                master: LeafId(master),
                replica: replica.map(LeafId),
            })
            .collect(),
        sync,
        durable,
        redundancy: 2,
        reference: false,
    };
    let text = |refusal: Refusal| refusal.to_string();
    assert!(text(world.refused(create(vec![], true, false))).contains("1 to 65536 partitions"));
    assert!(text(world.refused(create(vec![(2, Some(2))], true, false))).contains("one leaf"));
    assert!(text(world.refused(create(vec![(1, None)], true, false))).contains("not of that kind"));
    assert!(text(world.refused(create(vec![(9, None)], true, false))).contains("no node"));
    let mixed = create(vec![(2, Some(3)), (3, None)], true, false);
    assert!(text(world.refused(mixed)).contains("some have none"));
    let modes = create(vec![(2, None)], false, true);
    assert!(text(world.refused(modes)).contains("not allowed"));
    world.node_state(3, NodeState::Offline, 1);
    let away = create(vec![(2, Some(3))], true, false);
    assert!(text(world.refused(away)).contains("is offline"));
}

/// Promise (P01, P04): a leaf that is lost while its copies are taken back has none that can be used: neither those that were
/// back already, or a partition would keep a master that is gone.
#[test]
fn what_was_taken_back_of_a_leaf_that_is_lost_again_is_away() {
    let mut world = World::pair(true, false);
    let node = NodeId(2);
    let goes = |world: &mut World, from, to, run| {
        let incarnation = Incarnation(run);
        world.done(Command::SetNodeState { node, from, to, incarnation });
    };
    goes(&mut world, NodeState::Online, NodeState::Recovering, 2);
    goes(&mut world, NodeState::Recovering, NodeState::Attaching, 2);
    let (at, instance) = (world.at(0), Instance(1));
    let incarnation = Incarnation(1);
    world.done(Command::TakeBack { at, instance, incarnation, clean: true });
    assert_eq!(world.partition(0).serving(), Some(LeafId(2)), "it is back");
    let attaching = world.state.clone();
    goes(&mut world, NodeState::Attaching, NodeState::Offline, 2);
    assert_eq!(world.partition(0).serving(), None, "and lost again");
    // Who is online now keeps what was taken back.
    world.state = attaching;
    goes(&mut world, NodeState::Attaching, NodeState::Online, 2);
    assert_eq!(world.partition(0).serving(), Some(LeafId(2)));
}
