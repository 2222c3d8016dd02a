//! What a node does about the metadata: everything that they want, once, and nothing else.

use std::collections::BTreeSet;

use resprout_cluster::execution::Change;
use resprout_cluster::metadata::{At, Command, Decree, Metadata, NewHome, NodeState};
use resprout_cluster::reconcile::{
    Action, CopyName, Difference, Doing, Held, HeldCopy, MayGo, Pass, Progress, Success, Turn,
    first_run, may_go, reconcile,
};
use resprout_cluster::{
    Address, Incarnation, Instance, LeafId, Mode, NodeId, Ordinal, Stamp, Term,
};
use resprout_wal::Lsn;

/// The metadata of a pair (nodes 2 and 3) with one database of two partitions, masters on both sides.
struct World {
    state: Metadata,
    index: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self { state: Metadata::default(), index: 0 };
        let address = |port| Address { host: "h".to_owned(), port };
        let home =
            |master, replica| NewHome { master: LeafId(master), replica: Some(LeafId(replica)) };
        let (name, homes) = ("db".to_owned(), vec![home(2, 3), home(3, 2)]);
        for command in [
            Command::Found { cluster: 1, address: address(1) },
            Command::TakeOffice { node: NodeId(1), after: 0 },
            Command::SetMode { mode: Mode::Paired },
            Command::AddLeaf { address: address(2), group: None, incarnation: Incarnation(1) },
            Command::AddLeaf { address: address(3), group: None, incarnation: Incarnation(1) },
            Command::CreateDatabase {
                name,
                homes,
                sync: true,
                durable: false,
                redundancy: 2,
                reference: false,
            },
        ] {
            world.apply(command);
        }
        world
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        let office = self.state.office().number;
        let outcome = self.state.apply(self.index, &Decree { office, at_ms: 0, command });
        let text = format!("{outcome:?}");
        assert!(!text.contains("Refused"), "{text}");
    }

    fn at(&self) -> At {
        let partition = self.state.partition("db", Ordinal(0)).expect("it exists");
        let (term, cfg) = (partition.term, partition.cfg);
        At { database: "db".to_owned(), ordinal: Ordinal(0), term, cfg }
    }

    fn look(&self, leaf: u64, held: &Held) -> Pass {
        reconcile(&self.state, (LeafId(leaf), Incarnation(1)), held)
    }

    /// Does at once whatever is asked for, as copies would.
    fn settle(&self, leaf: u64, held: &mut Held) -> Vec<Action> {
        let mut done = Vec::new();
        for _ in 0..4 {
            let pass = self.look(leaf, held);
            for action in &pass.actions {
                carry_out(leaf, action, &self.state, held);
            }
            done.extend(pass.actions);
        }
        done
    }
}

fn name(ordinal: u32, instance: u64) -> CopyName {
    CopyName { database: 1, ordinal: Ordinal(ordinal), instance: Instance(instance) }
}

fn carry_out(leaf: u64, action: &Action, metadata: &Metadata, held: &mut Held) {
    let (copy, decided) = match action {
        Action::Create { copy, decided }
        | Action::Tell { copy, decided, .. }
        | Action::Provision { copy, decided, .. } => (copy, decided),
        Action::Close { copy } => {
            held.get_mut(copy).expect("it exists").doing = Doing::Pending;
            return;
        }
        Action::Drop { copy } => {
            held.remove(copy);
            return;
        }
    };
    let record = &decided.record;
    let is_master = record.master == Some(copy.instance);
    let doing = match record.master {
        None => Doing::Fenced,
        Some(_) if is_master => Doing::Online(record.term),
        Some(_) => Doing::Following,
    };
    let partition = metadata.partition("db", copy.ordinal).expect("it exists");
    assert_eq!(partition.master == Some(LeafId(leaf)), is_master);
    let entry = held.entry(*copy).or_default();
    (entry.doing, entry.knows, entry.promised) = (doing, decided.stamp, record.term);
    entry.incarnation = entry.incarnation.max(Incarnation(1));
}

fn doing(held: &mut Held, copy: CopyName) -> &mut Doing {
    &mut held.get_mut(&copy).expect("it exists").doing
}

/// Promise: new copies are made, and told what they are; then nothing is left to do.
#[test]
fn new_copies_are_made_once() {
    let world = World::new();
    let mut held = Held::new();
    let first = world.look(2, &held);
    assert_eq!(first, world.look(2, &held), "a pure function");
    let made = first.actions.iter().map(|action| match action {
        Action::Create { copy, .. } => *copy,
        other => panic!("{other:?}"),
    });
    assert_eq!(made.collect::<Vec<_>>(), [name(0, 1), name(1, 4)]);
    assert_eq!(first.difference, Difference::Hard);
    assert_eq!(world.settle(2, &mut held).len(), 2);
    assert_eq!(world.look(2, &held), Pass::default());
    assert_eq!(held[&name(0, 1)].doing, Doing::Online(Term(2)));
    assert_eq!(held[&name(1, 4)].doing, Doing::Following);
}

/// Promise (rule 15): the runs of a copy that is replaced are counted on, also those that the record never named: its master takes
/// no hello of a run that it takes for an older one. A copy that is new everywhere begins with the run on record.
#[test]
fn a_copy_that_is_replaced_is_a_later_run() {
    let first = |recorded, before| first_run(Incarnation(recorded), Incarnation(before)).0;
    assert_eq!((first(1, 0), first(0, 0)), (1, 0));
    assert_eq!((first(4, 0), first(1, 3), first(5, 3), first(1, 1)), (5, 4, 6, 2));
}

/// Promise (I03, rule 14): a leaf that comes back without its rows before anybody noticed that it was away makes no copies: an
/// empty one would be master of the term in which the rows were lost. Once the run is known, the copies are offline.
#[test]
fn i03_an_empty_leaf_that_nobody_missed_makes_nothing() {
    let world = World::new();
    let pass = reconcile(&world.state, (LeafId(2), Incarnation(2)), &Held::new());
    assert_eq!(pass.actions, []);
    assert_eq!(pass.difference, Difference::Hard);
    let known = reconcile(&world.state, (LeafId(2), Incarnation(1)), &Held::new());
    assert_eq!(known.actions.len(), 2, "in the run that was added they are new");
}

/// Promise: a failover is told to each as what it is: fence, promote, demote; each once.
#[test]
fn a_failover_is_told_to_each() {
    let mut world = World::new();
    let (mut old, mut new) = (Held::new(), Held::new());
    world.settle(2, &mut old);
    world.settle(3, &mut new);
    let turns = |actions: Vec<Action>| {
        let turn = |action| match action {
            Action::Tell { turn, copy, .. } if copy.ordinal == Ordinal(0) => turn,
            other => panic!("{other:?}"),
        };
        actions.into_iter().map(turn).collect::<Vec<_>>()
    };
    let at = world.at();
    let to = resprout_replication::CopyRecord {
        state: resprout_replication::CopyState::Sync,
        incarnation: Incarnation(1),
    };
    let request =
        resprout_replication::Request { term: at.term, cfg: at.cfg, instance: Instance(3), to };
    world.apply(Command::Publish { database: at.database, ordinal: at.ordinal, request });
    assert_eq!(turns(world.settle(2, &mut old)), [Turn::Learn]);
    assert_eq!(turns(world.settle(3, &mut new)), [Turn::Learn]);
    let at = world.at();
    world.apply(Command::Intend { at });
    assert_eq!(turns(world.settle(3, &mut new)), [Turn::Fence]);
    let elect = Command::Elect {
        at: world.at(),
        instance: Instance(3),
        incarnation: Incarnation(1),
        reported: BTreeSet::from([Instance(3)]),
        may_have_lost: false,
        forced: false,
        last_term: Term(2),
        last: Lsn(0),
    };
    world.apply(elect);
    assert_eq!(turns(world.settle(3, &mut new)), [Turn::Promote]);
    // The old master slept through the intent.
    assert_eq!(turns(world.settle(2, &mut old)), [Turn::Demote]);
    assert_eq!(world.look(2, &old), Pass::default());
    assert_eq!(world.look(3, &new), Pass::default());
}

/// Promise: what is not taken back waits, whatever it was; but a copy that goes on as if it were master is told.
#[test]
fn what_is_not_taken_back_waits() {
    let mut world = World::new();
    let mut held = Held::new();
    world.settle(2, &mut held);
    let state = |to| Command::SetNodeState {
        node: NodeId(2),
        from: NodeState::Online,
        to,
        incarnation: Incarnation(2),
    };
    world.apply(state(NodeState::Offline));
    let told = world.look(2, &held).actions;
    assert_eq!(told.len(), 2, "it never stopped: {told:?}");
    for copy in [name(0, 1), name(1, 4)] {
        *doing(&mut held, copy) = Doing::Pending;
    }
    let pass = world.look(2, &held);
    assert_eq!((pass.actions, pass.difference), (vec![], Difference::Soft));
    let (at, instance, incarnation) = (world.at(), Instance(1), Incarnation(2));
    world.apply(Command::TakeBack { at, instance, incarnation, clean: true });
    let pass = world.look(2, &held);
    assert!(matches!(pass.actions[..], [Action::Tell { turn: Turn::Promote, .. }]), "{pass:?}");
}

/// Promise (M16, O10): what the metadata do not know is listed and left alone; files go only with a database that
/// is known to have been dropped.
#[test]
fn m16_o10_only_dropped_databases_are_removed() {
    let mut world = World::new();
    let mut held = Held::new();
    world.settle(2, &mut held);
    let other = CopyName { database: 2, ..name(0, 1) };
    let older = name(0, 77);
    for copy in [other, older] {
        held.insert(copy, HeldCopy::default());
    }
    let pass = world.look(2, &held);
    assert_eq!((pass.actions, pass.orphans), (vec![], vec![older, other]));
    // An orphan that acts is closed, and kept.
    *doing(&mut held, older) = Doing::Online(Term(9));
    assert_eq!(world.look(2, &held).actions, [Action::Close { copy: older }]);
    // A master whose term is over is told so first: closing it may take a while.
    *doing(&mut held, older) = Doing::Online(Term(1));
    let actions = world.look(2, &held).actions;
    let [Action::Tell { copy, turn: Turn::Demote, ref decided }, Action::Close { .. }] =
        actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!((copy, decided.record.term), (older, Term(2)));
    world.apply(Command::DropDatabase { name: "db".to_owned() });
    world.settle(2, &mut held);
    assert_eq!(held.keys().copied().collect::<Vec<_>>(), [other]);
}

/// Promise: a copy that cannot be recovered is provisioned from its master; if it is the master, it is left for
/// somebody to decide.
#[test]
fn the_unrecoverable_is_provisioned_from_its_master() {
    let world = World::new();
    let mut held = Held::new();
    world.settle(2, &mut held);
    for copy in [name(0, 1), name(1, 4)] {
        *doing(&mut held, copy) = Doing::Unrecoverable;
    }
    let pass = world.look(2, &held);
    let [Action::Provision { copy, master, .. }] = pass.actions[..] else { panic!("{pass:?}") };
    assert_eq!((copy, master), (name(1, 4), LeafId(3)));
    assert_eq!(pass.difference, Difference::Hard);
}

/// Promise: what is fulfilled is what matched: a synchronous difference holds it back, an asynchronous one does not.
#[test]
fn hard_differences_hold_progress_back() {
    let world = World::new();
    let (node, run) = (NodeId(2), Incarnation(1));
    let (mut held, mut progress) = (Held::new(), Progress::default());
    progress.look(&world.state, (NodeId(9), run), &held);
    assert_eq!((progress.success.text(), progress.fulfilled), ("Node has no self-id", 0));
    progress.look(&world.state, (node, run), &held);
    assert_eq!((progress.working, progress.fulfilled), (6, 0));
    assert_eq!(progress.success.text(), "Hard Failure");
    world.settle(2, &mut held);
    // The replica is asynchronous, and does not follow.
    *doing(&mut held, name(1, 4)) = Doing::Fenced;
    progress.look(&world.state, (node, run), &held);
    assert_eq!((progress.success, progress.fulfilled), (Success::Found(Difference::Soft), 6));
    *doing(&mut held, name(1, 4)) = Doing::Following;
    progress.look(&world.state, (node, run), &held);
    assert_eq!((progress.success.text(), progress.fulfilled), ("Success", 6));
}

/// Promise (W04): a run that the metadata do not know yet does nothing with what it had, whatever they say of the one before:
/// it may be that the leaf was lost meanwhile, or is not to come back by itself.
#[test]
fn w04_a_run_that_is_not_known_waits() {
    let mut world = World::new();
    let mut held = Held::new();
    world.settle(2, &mut held);
    for copy in held.values_mut() {
        (copy.doing, copy.knows) = (Doing::Pending, Stamp::default());
    }
    let (leaf, run) = (LeafId(2), Incarnation(2));
    assert_eq!(world.look(2, &held).actions.len(), 2, "the run that is known acts");
    assert_eq!(reconcile(&world.state, (leaf, run), &held).actions, []);
    for (from, to) in
        [(NodeState::Online, NodeState::Offline), (NodeState::Offline, NodeState::Detached)]
    {
        let (node, incarnation) = (NodeId(2), run);
        world.apply(Command::SetNodeState { node, from, to, incarnation });
        assert_eq!(reconcile(&world.state, (leaf, run), &held).actions, []);
    }
}

/// Promise: what is known already is not told again, and nothing older than what is known.
#[test]
fn nothing_older_is_told() {
    let world = World::new();
    let mut held = Held::new();
    world.settle(2, &mut held);
    for copy in held.values_mut() {
        copy.knows = Stamp { term: 99, index: 99 };
    }
    assert_eq!(world.look(2, &held), Pass::default());
}

/// Promise (M16, O08): files go only where the metadata by which that was ordered are known, the record does not have the
/// copy, it was not in it again since, and somebody serves its partition.
#[test]
fn files_go_only_where_they_are_not_needed() {
    let mut world = World::new();
    let (ordinal, leaf, replica) = (Ordinal(0), LeafId(3), name(0, 3));
    let execute = |change| Command::Execute { database: "db".to_owned(), change };
    let of = |world: &World, known| may_go(&world.state, leaf, replica, known);
    assert_eq!(of(&world, world.index), MayGo::No, "it is recorded");
    let (instance, database) = (replica.instance, replica.database);
    world.apply(execute(Change::Remove { ordinal, leaf, instance, leaving: 1 }));
    let known = world.index;
    assert_eq!(of(&world, known + 1), MayGo::NotYet);
    assert_eq!(of(&world, known), MayGo::Yes);
    world.apply(execute(Change::Attach { ordinal, leaf, instance }));
    assert_eq!(of(&world, known), MayGo::No, "it is recorded again");
    world.apply(execute(Change::Detach { ordinal, leaf, instance }));
    assert_eq!(of(&world, known), MayGo::No, "it was, since that was ordered");
    assert_eq!(of(&world, world.index), MayGo::Yes);
    world.apply(Command::Intend { at: world.at() });
    assert_eq!(of(&world, world.index), MayGo::No, "nobody serves");
    let unknown = CopyName { database: 44, ..replica };
    assert_eq!(may_go(&world.state, leaf, unknown, 0), MayGo::No);
    world.apply(Command::DropDatabase { name: "db".to_owned() });
    assert_eq!(may_go(&world.state, leaf, CopyName { database, ..replica }, 0), MayGo::Yes);
}
