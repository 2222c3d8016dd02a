//! Chosen courses of events, with what must be seen at each.

use resprout_cluster::execution::Change;
use resprout_cluster::manager::{Config, Event, Manager};
use resprout_cluster::metadata::{Command, Decree, Happened, NodeState};
use resprout_cluster::plan::{Action, Status};
use resprout_cluster::reconcile::{CopyName, Doing};
use resprout_cluster::{Following, Instance, LeafId, Mode, NodeId, Ordinal, Partition, Term};

use crate::leaf::ModelCopy;
use crate::world::{ROUND, Setup, World};

/// Promise: an aggregator that leads and has no office yet, or lost it, waits before it asks again: whoever drives it does not
/// step it at once, and at once again, for as long as a quorum is away.
#[test]
fn who_has_no_office_waits_before_it_asks_again() {
    let world = whole(Setup::default());
    let mut manager = Manager::new(NodeId(2), Config::default());
    let mut now = world.now();
    let mut asked = manager.step(now, &world.metadata, Event::Leads(true)).proposals.len();
    for _ in 0..10 {
        assert!(manager.deadline() > now.at, "it would be stepped at once: {:?}", now.at);
        now.at = manager.deadline();
        asked += manager.step(now, &world.metadata, Event::Look).proposals.len();
    }
    assert_eq!(asked, 11, "once each time");
}

/// The first two leaves.
const ONE: NodeId = NodeId(4);
const TWO: NodeId = NodeId(5);

pub(crate) fn whole(setup: Setup) -> World {
    let mut world = World::new(setup);
    world.until(400, "a cluster begins", World::is_whole);
    // Long enough for disks to have everything, and for the stable period to be over.
    world.run(250);
    world
}

pub(crate) fn crash(world: &mut World, node: NodeId) {
    world.leaves.get_mut(&node).expect("a leaf").stop(false);
    world.checker.quiet_since = world.round;
}

pub(crate) fn stop(world: &mut World, node: NodeId) {
    world.leaves.get_mut(&node).expect("a leaf").stop(true);
    world.checker.quiet_since = world.round;
}

pub(crate) fn start(world: &mut World, node: NodeId, recovers: u64) {
    let ready = world.round + recovers;
    world.leaves.get_mut(&node).expect("a leaf").start(ready);
    world.checker.quiet_since = world.round;
}

pub(crate) fn partition(world: &World, ordinal: u32) -> &Partition {
    world.metadata.partition("db", Ordinal(ordinal)).expect("it exists")
}

pub(crate) fn state(world: &World, node: NodeId) -> NodeState {
    world.metadata.nodes()[&node].state
}

/// Terms, masters and instances: what a restart must not change.
fn roles(world: &World) -> Vec<(Ordinal, Term, Option<LeafId>, Vec<Instance>)> {
    let partitions = &world.metadata.databases()["db"].map.partitions;
    let role = |partition: &Partition| {
        let instances = partition.copies.values().map(|copy| copy.instance).collect();
        (partition.ordinal, partition.term, partition.master, instances)
    };
    partitions.iter().map(role).collect()
}

/// The leaf that is master and serves.
pub(crate) fn online(world: &World, ordinal: u32) -> Option<NodeId> {
    let term = partition(world, ordinal).term;
    let copies = world.copies_that(|copy| copy.doing == Doing::Online(term));
    let is_up = |node: &NodeId| world.leaves[node].is_ready(world.round);
    let of = copies.iter().filter(|(node, name)| name.ordinal == Ordinal(ordinal) && is_up(node));
    of.map(|(node, _)| *node).next()
}

pub(crate) fn ms(rounds: u64) -> u128 {
    (ROUND * u32::try_from(rounds).expect("small")).as_millis()
}

fn happened(world: &World, is: impl Fn(&Happened) -> bool) -> usize {
    world.metadata.events().iter().filter(|event| is(&event.happened)).count()
}

/// Promise (P01): a killed leaf's partitions are served by the others within a second and a half; nobody's
/// acknowledged write is lost, and the replica whose leaf is gone holds nobody up.
#[test]
fn p01_a_killed_leaf_is_replaced() {
    let mut world = whole(Setup::default());
    assert_eq!(online(&world, 0), Some(ONE));
    crash(&mut world, ONE);
    let took = world.until(60, "failover", |world| online(world, 0) == Some(TWO));
    assert!(ms(took) <= 1_500, "{} ms", ms(took));
    let record = partition(&world, 0);
    assert_eq!((record.master, record.former), (Some(LeafId(5)), Some(LeafId(4))));
    assert_eq!(state(&world, ONE), NodeState::Offline);
    let written = world.checker.acknowledged.clone();
    world.run(20);
    assert!(world.checker.acknowledged[&Ordinal(0)].len() > written[&Ordinal(0)].len());
    assert!(world.checker.acknowledged[&Ordinal(1)].len() > written[&Ordinal(1)].len());
    let left = partition(&world, 1).copies[&LeafId(4)];
    assert_eq!((left.following, left.offline), (Following::Async, true));
    assert_eq!(world.checker.losses, 0);
}

/// Promise (P09, N13): a silent leaf is replaced after twenty beats, and when it goes on it has acknowledged
/// nothing meanwhile; it follows, and is master again when it is quiet.
#[test]
fn p09_a_silent_leaf_is_replaced() {
    let mut world = whole(Setup::default());
    world.leaves.get_mut(&ONE).expect("a leaf").paused_until = world.round + 200;
    let took = world.until(120, "failover", |world| online(world, 0) == Some(TWO));
    assert!((3_000..5_000).contains(&ms(took)), "{} ms", ms(took));
    world.until(600, "it comes back", |world| world.is_whole() && online(world, 0) == Some(ONE));
    assert_eq!(partition(&world, 0).former, None);
    assert_eq!(world.checker.losses, 0);
}

/// Promise (W03, O13): who comes back follows first; masters go back when nothing has changed for the stable
/// period, and each change begins it anew.
#[test]
fn w03_o13_masters_go_back_when_it_is_quiet() {
    let mut world = whole(Setup { leaves: 4, ..Setup::default() });
    crash(&mut world, ONE);
    world.until(60, "failover", |world| online(world, 0) == Some(TWO));
    start(&mut world, ONE, 10);
    world.until(200, "attach", |world| state(world, ONE) == NodeState::Online);
    let back = world.round;
    assert_eq!(partition(&world, 0).master, Some(LeafId(5)), "all masters are still there");
    assert!(world.is_whole(), "redundancy is restored: {}", world.show());
    world.run(150);
    // Another leaf comes and goes: the period begins anew.
    crash(&mut world, NodeId(7));
    world.run(30);
    start(&mut world, NodeId(7), 5);
    world.until(200, "attach", |world| state(world, NodeId(7)) == NodeState::Online);
    let changed = world.round;
    world.until(400, "promotions", |world| online(world, 0) == Some(ONE));
    let (since_back, since_change) = (world.round - back, world.round - changed);
    assert!(since_back > 300 && since_change >= 200, "{since_back} {since_change}");
    world.until(200, "rest", World::is_whole);
    let moved = happened(&world, |event| matches!(event, Happened::Fenced { .. }));
    assert_eq!(moved as u64, world.checker.elections, "going back fences nobody");
}

/// Promise (W02, W04): with auto_attach off, a leaf that comes back is detached and its copies wait; ATTACH LEAF takes
/// it in.
#[test]
fn w04_without_auto_attach_it_waits_for_attach_leaf() {
    let setup = Setup::default();
    let config = Config { auto_attach: false, ..setup.config };
    let mut world = whole(Setup { config, ..setup });
    crash(&mut world, ONE);
    world.until(60, "failover", |world| online(world, 0) == Some(TWO));
    start(&mut world, ONE, 5);
    world.until(60, "detached", |world| state(world, ONE) == NodeState::Detached);
    world.run(100);
    assert_eq!(state(&world, ONE), NodeState::Detached);
    let doing = world.copies_that(|copy| copy.doing == Doing::Pending);
    assert_eq!(doing.len(), 2, "{}", world.show());
    world.aggregator(NodeId(1), Event::Attach(ONE, false));
    world.until(200, "attach", World::is_whole);
    let database = world.metadata.databases()["db"].number;
    let shown = world.aggregators[&NodeId(1)].manager.shown(database).expect("it was attached");
    let steps = shown.plan.steps.iter().map(|step| (step.ordinal.0, step.target, step.action));
    let expected = [0, 1].map(|ordinal| (ordinal, LeafId::from(ONE), Action::Attach));
    assert_eq!(steps.collect::<Vec<_>>(), expected);
    assert!(shown.progress.iter().all(|one| one.status == Status::Success));
}

/// Promise (W01): with one copy, a lost leaf's partitions wait for it, are attached at once when it is back, and go on
/// in a new term.
#[test]
fn w01_with_one_copy_partitions_wait_for_their_leaf() {
    let mut world = whole(Setup { mode: Mode::Single, ..Setup::default() });
    let term = partition(&world, 0).term;
    crash(&mut world, ONE);
    world.run(100);
    assert_eq!((online(&world, 0), partition(&world, 0).serving()), (None, None));
    assert!(online(&world, 1).is_some());
    start(&mut world, ONE, 5);
    let took = world.until(60, "attach", World::is_whole);
    assert!(partition(&world, 0).term > term, "after {took} rounds");
}

/// Promise (W07, O11): after a stop in order everything goes on as it was, in its term: whether the master aggregator
/// comes last, or before the leaves have recovered.
#[test]
fn w07_o11_a_restart_in_order_changes_nothing() {
    for manager_first in [false, true] {
        let mut world = whole(Setup { leaves: 4, partitions: 8, ..Setup::default() });
        let before = roles(&world);
        world.aggregator(NodeId(1), Event::Leads(false));
        // What was decided last has arrived.
        world.run(10);
        let leaves: Vec<NodeId> = world.leaves.keys().copied().collect();
        for node in &leaves {
            stop(&mut world, *node);
        }
        world.run(100);
        for (node, recovers) in leaves.iter().zip([5, 60, 20, 45]) {
            start(&mut world, *node, recovers);
        }
        if !manager_first {
            world.run(70);
        }
        world.aggregator(NodeId(1), Event::Leads(true));
        world.until(400, "everything is there", World::is_whole);
        assert_eq!(roles(&world), before, "manager first: {manager_first}");
        assert_eq!(world.checker.elections, 0);
    }
}

/// Promise (O19): leaves are restarted in order, one after the other, with nothing but short pauses; nothing that was
/// acknowledged is lost, and in the end each is master of what it was.
#[test]
fn o19_leaves_are_restarted_one_by_one() {
    let mut world = whole(Setup { leaves: 4, partitions: 8, ..Setup::default() });
    let masters = |world: &World| -> Vec<_> {
        roles(world).into_iter().map(|(ordinal, _, master, _)| (ordinal, master)).collect()
    };
    let before = masters(&world);
    for node in world.leaves.keys().copied().collect::<Vec<_>>() {
        stop(&mut world, node);
        world.run(25);
        start(&mut world, node, 10);
        world.until(300, "redundancy is restored", World::is_whole);
    }
    world.until(600, "masters are back", |world| world.is_whole() && masters(world) == before);
    assert_eq!(world.checker.losses, 0);
}

/// Promise (O12): after all were killed at once, the same masters go on, in new terms, and with synchronous
/// durability nothing can be lost.
#[test]
fn o12_all_nodes_killed_at_once_come_back_as_they_were() {
    let setup = Setup { leaves: 4, partitions: 8, durable: true, ..Setup::default() };
    let mut world = whole(setup);
    let before = roles(&world);
    let leaves: Vec<NodeId> = world.leaves.keys().copied().collect();
    world.aggregator(NodeId(1), Event::Leads(false));
    // What was under way has arrived.
    world.run(10);
    for node in &leaves {
        crash(&mut world, *node);
    }
    for (node, recovers) in leaves.iter().zip([5, 60, 20, 45]) {
        start(&mut world, *node, recovers);
    }
    world.aggregator(NodeId(1), Event::Leads(true));
    world.until(600, "everything is there", World::is_whole);
    let masters = |roles: &[(Ordinal, Term, Option<LeafId>, Vec<Instance>)]| {
        roles.iter().map(|role| (role.2, role.3.clone())).collect::<Vec<_>>()
    };
    let after = roles(&world);
    assert_eq!(masters(&after), masters(&before), "{}", world.show());
    assert!(after.iter().zip(&before).all(|(after, before)| after.1 > before.1), "new terms");
    assert_eq!(world.checker.losses, 0);
}

/// Promise (P05): with asynchronous durability, after all copies crashed, all are waited for and what may be gone is
/// written down.
#[test]
fn p05_what_may_be_gone_is_written_down() {
    let mut world = whole(Setup::default());
    for node in [ONE, TWO] {
        crash(&mut world, node);
    }
    world.run(80);
    start(&mut world, TWO, 5);
    world.run(200);
    assert_eq!((online(&world, 0), online(&world, 1)), (None, None), "{}", world.show());
    start(&mut world, ONE, 5);
    world.until(300, "everything is there", World::is_whole);
    assert_eq!(world.checker.losses, world.checker.elections);
    let lost = |event: &Happened| matches!(event, Happened::Elected { may_have_lost: true, .. });
    assert_eq!(happened(&world, lost), 2);
}

/// Promise (P07): a master that crashed and is back before anybody noticed has a new term.
#[test]
fn p07_a_quick_restart_gets_a_new_term() {
    let mut world = whole(Setup::default());
    let term = partition(&world, 0).term;
    crash(&mut world, ONE);
    start(&mut world, ONE, 1);
    world.until(200, "it is master again, or the other is", |world| online(world, 0).is_some());
    assert!(partition(&world, 0).term > term);
    world.until(300, "everything is there", World::is_whole);
    assert_eq!(world.checker.losses, 0);
}

/// Promise (N03, split brain case 2): a replica that was left behind is not promoted; the partition waits for its
/// master, who goes on in its term when it is reached again.
#[test]
fn n03_a_replica_that_was_left_behind_is_not_promoted() {
    let mut world = whole(Setup::default());
    world.cut(ONE, TWO);
    world.until(160, "left behind", |world| {
        partition(world, 0).copies[&LeafId(5)].following == Following::Async
    });
    let before = world.checker.acknowledged[&Ordinal(0)].len();
    world.cut(ONE, NodeId(1));
    let term = partition(&world, 0).term;
    world.run(150);
    let record = partition(&world, 0);
    assert_eq!((record.master, record.serving()), (Some(LeafId(4)), None));
    assert_eq!(record.term, term, "nobody is fenced for nothing");
    assert!(world.checker.acknowledged[&Ordinal(0)].len() > before, "it serves its side");
    world.cuts.clear();
    world.until(300, "everything is there", World::is_whole);
    assert_eq!(partition(&world, 0).term, term);
}

/// Promise (N01, split brain case 1): cut off from the master aggregator and from its replica, a master's writes wait;
/// the replica is promoted, and what waited is never acknowledged.
#[test]
fn n01_a_master_that_is_cut_off_acknowledges_nothing() {
    let mut world = whole(Setup::default());
    for other in [TWO, NodeId(1), NodeId(2), NodeId(3)] {
        world.cut(ONE, other);
    }
    world.until(120, "failover", |world| online(world, 0) == Some(TWO));
    let zombie = world.leaves[&ONE].copies.values().find(|copy| copy.is_master());
    let zombie = zombie.map(|copy| (copy.log.len(), copy.committed));
    assert!(zombie.is_some_and(|(end, committed)| end > committed), "{zombie:?}");
    world.run(40);
    world.cuts.clear();
    world.until(600, "everything is there", World::is_whole);
    assert_eq!(world.checker.losses, 0);
}

/// Promise (M10, P10, R05): another master aggregator goes on in the middle of a failover; what the one before still
/// proposes is refused.
#[test]
fn m10_another_manager_goes_on_in_the_middle() {
    for rounds in 0..30 {
        let mut world = whole(Setup::default());
        crash(&mut world, ONE);
        world.run(rounds);
        world.change_leader(NodeId(2), 200);
        world.checker.quiet_since = world.round;
        world.until(150, "failover", |world| online(world, 0) == Some(TWO));
        world.run(10);
        assert_eq!(world.metadata.office().holder, Some(NodeId(2)));
        start(&mut world, ONE, 5);
        world.until(400, "everything is there", World::is_whole);
    }
}

/// Promise: with failure detection off nothing fails over; what is lost is noticed when it is on again.
#[test]
fn w07_failure_detection_can_be_off() {
    let mut world = whole(Setup::default());
    let mut config = Setup::default().config;
    config.detector.leaves = false;
    world.aggregator(NodeId(1), Event::Configure(config));
    stop(&mut world, ONE);
    world.run(120);
    assert_eq!(state(&world, ONE), NodeState::Online);
    let before = roles(&world);
    start(&mut world, ONE, 5);
    world.until(200, "it is back", World::is_whole);
    assert_eq!(roles(&world), before, "it stopped in order, and nobody took over");
}

/// Promise (I03): a leaf with a new disk gets new copies, with new numbers, where somebody has them.
#[test]
fn a_new_disk_gets_new_copies() {
    let mut world = whole(Setup::default());
    crash(&mut world, ONE);
    world.until(60, "failover", |world| online(world, 0) == Some(TWO));
    let leaf = world.leaves.get_mut(&ONE).expect("a leaf");
    leaf.copies.clear();
    start(&mut world, ONE, 5);
    world.until(300, "everything is there", World::is_whole);
    let copies = &partition(&world, 0).copies;
    assert_eq!(copies[&LeafId(4)].instance, Instance(5), "the first number that was free");
    assert_eq!(world.checker.losses, 0);
}

/// Promise: a copy that nobody can recover gets its pages from its master.
#[test]
fn an_unrecoverable_copy_is_provisioned() {
    let mut world = whole(Setup::default());
    crash(&mut world, ONE);
    world.until(60, "failover", |world| online(world, 0) == Some(TWO));
    start(&mut world, ONE, 5);
    for copy in world.leaves.get_mut(&ONE).expect("a leaf").copies.values_mut() {
        *copy = ModelCopy { run: copy.run, doing: Doing::Unrecoverable, ..ModelCopy::default() };
    }
    world.until(300, "everything is there", World::is_whole);
    assert_eq!(world.checker.losses, 0);
}

/// Promise (R18): a copy that nobody can recover is not elected while pages take its place, also where acknowledgements outlive a
/// crash: its master, which has everything, is waited for.
#[test]
fn what_could_not_be_recovered_is_not_elected() {
    // Whether it was left behind by then depends on when messages come.
    for seed in 0..20 {
        not_elected(whole(Setup { seed, durable: true, ..Setup::default() }));
    }
}

fn not_elected(mut world: World) {
    assert_eq!(online(&world, 1), Some(TWO));
    let run = world.metadata.nodes()[&ONE].incarnation;
    // Back before anybody noticed: the record has it for synchronous.
    crash(&mut world, ONE);
    start(&mut world, ONE, 1);
    for copy in world.leaves.get_mut(&ONE).expect("a leaf").copies.values_mut() {
        *copy = ModelCopy { run: copy.run, doing: Doing::Unrecoverable, ..ModelCopy::default() };
    }
    let is_back = |world: &World| {
        let is_known = world.metadata.nodes()[&ONE].incarnation > run;
        is_known && !partition(world, 1).copies[&LeafId(4)].offline
    };
    world.until(200, "it is taken back", is_back);
    crash(&mut world, TWO);
    for _ in 0..100 {
        world.checker.quiet_since = world.round;
        world.step();
    }
    assert_eq!(online(&world, 1), None, "{}", world.show());
    start(&mut world, TWO, 5);
    world.until(400, "everything is there", World::is_whole);
    assert_eq!(world.checker.losses, 0);
}

/// Promise (M15): a copy that knows a newer term than the metadata: nothing is decided for its partition, and people
/// are told once.
#[test]
fn m15_stale_metadata_decide_nothing() {
    let mut world = whole(Setup::default());
    let before = partition(&world, 0).clone();
    for copy in world.leaves.get_mut(&TWO).expect("a leaf").copies.values_mut() {
        copy.promised = Term(99);
    }
    world.run(5);
    crash(&mut world, ONE);
    for _ in 0..150 {
        world.checker.quiet_since = world.round;
        world.step();
    }
    let after = partition(&world, 0);
    assert_eq!((after.term, after.master), (before.term, before.master));
    let stale = |event: &Happened| matches!(event, Happened::MetadataStale { term: Term(99), .. });
    assert_eq!(happened(&world, stale), 2, "one for each partition");
}

/// Promise (M16): a leaf that comes back with copies of databases that were never made here is not taken in unless
/// somebody insists; then they stay, as orphans.
#[test]
fn m16_unknown_copies_are_a_conflict() {
    let mut world = whole(Setup::default());
    crash(&mut world, ONE);
    world.until(60, "failover", |world| online(world, 0) == Some(TWO));
    let unknown = CopyName { database: 44, ordinal: Ordinal(0), instance: Instance(1) };
    let leaf = world.leaves.get_mut(&ONE).expect("a leaf");
    leaf.copies.insert(unknown, ModelCopy::default());
    start(&mut world, ONE, 5);
    world.until(60, "detached", |world| state(world, ONE) == NodeState::Detached);
    world.run(60);
    assert_eq!(state(&world, ONE), NodeState::Detached);
    assert_eq!(happened(&world, |event| matches!(event, Happened::Conflict { .. })), 1);
    world.aggregator(NodeId(1), Event::Attach(ONE, false));
    world.run(20);
    assert_eq!(state(&world, ONE), NodeState::Detached);
    world.aggregator(NodeId(1), Event::Attach(ONE, true));
    world.until(300, "attach", World::is_whole);
    assert!(world.leaves[&ONE].copies.contains_key(&unknown), "it is kept");
}

/// Promise (O10): a database that was dropped while a leaf was away goes when it comes back, and nothing else.
#[test]
fn o10_dropped_while_away() {
    let mut world = whole(Setup::default());
    crash(&mut world, ONE);
    world.until(60, "failover", |world| online(world, 0) == Some(TWO));
    world.commit(Command::DropDatabase { name: "db".to_owned() });
    world.run(20);
    start(&mut world, ONE, 5);
    world.until(200, "attach", |world| {
        world.is_whole() && world.leaves.values().all(|leaf| leaf.copies.is_empty())
    });
}

/// Promise (table 4.3): a copy whose partition is served by somebody that is not its counterpart is an orphan.
#[test]
fn a_copy_beside_other_counterparts_is_an_orphan() {
    let mut world = whole(Setup { leaves: 4, ..Setup::default() });
    // Partition 0 is on the pair 4, 5; a third copy is made on 6.
    let change = Change::AddCopy { ordinal: Ordinal(0), leaf: LeafId(6) };
    world.commit(Command::Execute { database: "db".to_owned(), change });
    world.until(200, "a third copy", World::is_whole);
    crash(&mut world, NodeId(6));
    world.run(40);
    start(&mut world, NodeId(6), 5);
    world.until(300, "everything is there", World::is_whole);
    assert!(!partition(&world, 0).copies.contains_key(&LeafId(6)));
    let kept = world.leaves[&NodeId(6)].copies.keys().any(|name| name.ordinal == Ordinal(0));
    assert!(kept, "its files stay");
    assert_eq!(happened(&world, |event| matches!(event, Happened::Orphaned { .. })), 1);
}

/// Promise: leaves that come back together are taken in together, so that nothing moves that need not.
#[test]
fn those_who_come_back_together_are_taken_in_together() {
    let mut world = whole(Setup { durable: true, ..Setup::default() });
    for node in [ONE, TWO] {
        crash(&mut world, node);
    }
    world.run(80);
    start(&mut world, TWO, 5);
    start(&mut world, ONE, 60);
    world.run(50);
    assert_eq!(state(&world, TWO), NodeState::Recovering, "it waits for the other");
    world.until(200, "everything is there", World::is_whole);
    assert_eq!(partition(&world, 0).master, Some(LeafId(4)));
    // One that does not recover is waited for no longer than the limit.
    for node in [ONE, TWO] {
        crash(&mut world, node);
    }
    world.run(80);
    start(&mut world, TWO, 20);
    start(&mut world, ONE, 10_000);
    let took = world.until(250, "it serves alone", |world| online(world, 0) == Some(TWO));
    let limit = Setup::default().config.attach_wait.as_millis();
    assert!(ms(took) >= limit && ms(took) < limit + 2_000, "{} ms", ms(took));
}

/// Promise: what a manager has not heard an answer to is asked again, whatever is lost on the way.
#[test]
fn lost_messages_are_sent_again() {
    for seed in 0..20 {
        let mut world = whole(Setup { seed, ..Setup::default() });
        world.loss = 2;
        crash(&mut world, ONE);
        world.until(150, "failover", |world| online(world, 0) == Some(TWO));
        start(&mut world, ONE, 5);
        world.until(600, "everything is there", World::is_whole);
    }
}

/// Promise: a copy that does not report holds an election up for no longer than half a second.
#[test]
fn who_does_not_report_is_not_waited_for_long() {
    let mut world = whole(Setup { leaves: 4, ..Setup::default() });
    let change = Change::AddCopy { ordinal: Ordinal(0), leaf: LeafId(6) };
    world.commit(Command::Execute { database: "db".to_owned(), change });
    world.until(200, "a third copy", World::is_whole);
    world.leaves.get_mut(&NodeId(6)).expect("a leaf").paused_until = world.round + 1_000;
    crash(&mut world, ONE);
    let took = world.until(60, "failover", |world| partition(world, 0).master == Some(LeafId(5)));
    assert!(ms(took) <= 2_000, "{} ms", ms(took));
    let silent = partition(&world, 0).copies[&LeafId(6)];
    assert_eq!(silent.following, Following::Async, "who did not report is not waited for");
    assert_eq!(online(&world, 0), Some(TWO));
}

/// Promise (P02): a killed replica holds writes up for a second and a half, not for the five seconds after which its
/// master would ask.
#[test]
fn p02_a_killed_replica_is_left_behind() {
    let mut world = whole(Setup::default());
    crash(&mut world, ONE);
    let began = world.round;
    world.until(60, "left behind", |world| {
        partition(world, 1).copies[&LeafId(4)].following == Following::Async
    });
    let before = world.checker.acknowledged[&Ordinal(1)].len();
    world.until(10, "writes go on", |world| world.checker.acknowledged[&Ordinal(1)].len() > before);
    assert!(ms(world.round - began) <= 1_500, "{} ms", ms(world.round - began));
}

/// Promise (rules 6 and 15): while a replica is away, a master that starts again so quickly that nobody missed it, and has lost its
/// rows, is not taken for all that is left: the replica has everything, and is the next master.
#[test]
fn i03_a_master_that_lost_its_rows_is_not_all_that_is_left() {
    let lost = |world: &World| state(world, TWO) == NodeState::Offline;
    let without_replica = || {
        let mut world = whole(Setup::default());
        for other in [ONE, NodeId(1), NodeId(2), NodeId(3)] {
            world.cut(TWO, other);
        }
        world
    };
    let rounds = without_replica().until(160, "the replica is lost", lost);
    // The same once more, and the master goes just before that.
    let mut world = without_replica();
    world.run(rounds - 2);
    crash(&mut world, ONE);
    world.leaves.get_mut(&ONE).expect("a leaf").copies.clear();
    world.until(60, "the replica is lost", lost);
    assert_eq!(state(&world, ONE), NodeState::Online, "nobody missed it");
    let before = world.log.len();
    start(&mut world, ONE, 0);
    world.run(100);
    // Not even proposed: it would be in time or not.
    let is_publication = |decree: &Decree| matches!(decree.command, Command::Publish { .. });
    assert!(!world.log[before..].iter().any(is_publication), "{}", world.show());
    world.cuts.clear();
    world.until(400, "the replica serves", |world| online(world, 0) == Some(TWO));
    world.until(400, "everything is there", World::is_whole);
    assert_eq!(world.checker.losses, 0);
}

/// Promise (rule 14): a master that does not go on in its term, though it could, is heard of and gets the next.
#[test]
fn a_master_that_declines_gets_another_term() {
    let mut world = whole(Setup::default());
    let before = roles(&world);
    for node in [ONE, TWO] {
        world.leaves.get_mut(&node).expect("a leaf").resumes = false;
        stop(&mut world, node);
    }
    for node in [ONE, TWO] {
        start(&mut world, node, 5);
    }
    world.until(400, "everything is there", World::is_whole);
    let after = roles(&world);
    assert!(after.iter().zip(&before).all(|(after, before)| after.1 > before.1), "{after:?}");
    assert_eq!(world.checker.losses, 0);
}

/// Promise: of one look at the same nothing is proposed twice.
#[test]
fn a_manager_that_waits_proposes_nothing() {
    let mut world = whole(Setup::default());
    let before = world.log.len();
    world.run(200);
    assert_eq!(world.log.len(), before, "{}", world.show());
}

/// Promise (W24): while a copy is an orphan nobody is elected who misses what it has; attached, it is elected in a new term,
/// the other one follows it, and its note is gone.
#[test]
fn w24_an_orphan_is_elected_and_followed() {
    let mut world = whole(Setup::default());
    let (ordinal, leaf) = (Ordinal(0), LeafId(4));
    let instance = partition(&world, 0).copies[&leaf].instance;
    let execute = |change| Command::Execute { database: "db".to_owned(), change };
    crash(&mut world, TWO);
    world.until(200, "the replica is left behind", |world| {
        partition(world, 0).copies[&LeafId(5)].following == Following::Async
    });
    world.run(100);
    crash(&mut world, ONE);
    world.until(200, "the master is lost", |world| state(world, ONE) == NodeState::Offline);
    let before = partition(&world, 0).term;
    world.commit(execute(Change::Detach { ordinal, leaf, instance }));
    for node in [TWO, ONE] {
        start(&mut world, node, 5);
        world.until(400, "it is back", |world| state(world, node) == NodeState::Online);
    }
    world.run(200);
    assert_eq!(partition(&world, 0).serving(), None);
    assert!(world.metadata.databases()["db"].left(instance).is_some());
    world.commit(execute(Change::Attach { ordinal, leaf, instance }));
    world.until(400, "it serves", |world| online(world, 0) == Some(ONE));
    assert!(partition(&world, 0).term > before);
    world.until(600, "the other one follows", World::is_whole);
    assert_eq!(partition(&world, 0).copies.len(), 2);
    assert!(world.metadata.databases()["db"].left(instance).is_none());
}
