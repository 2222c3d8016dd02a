//! Known failures, step by step.

use std::collections::BTreeMap;

use resprout_cluster::execution::{
    Change, Config, Event, Execution, Failure, Outcome, Output, Refused, World, apply,
};
use resprout_cluster::placement::{Home, Placement};
use resprout_cluster::plan::{Action, Asked, Awaited, Left, Live, One, Plan, Status, plan};
use resprout_cluster::{
    Database, Following, Instance, Leaf, LeafId, Mode, Ordinal, Standing, Term,
};

use crate::world::{database, leaves};

/// Partition 0 moves with both copies from leaves 1 and 3 to 2 and 4.
struct Script {
    leaves: Vec<Leaf>,
    database: Database,
    free: BTreeMap<LeafId, u64>,
    plan: Plan,
    execution: Execution,
    now_ms: u64,
}

const COPIES: [Output; 2] = [
    Output::Commit(0, Change::AddCopy { ordinal: Ordinal(0), leaf: LeafId(2) }),
    Output::Commit(1, Change::AddCopy { ordinal: Ordinal(0), leaf: LeafId(4) }),
];

impl Script {
    fn new() -> Self {
        let home =
            |master, replica| Home { master: LeafId(master), replica: Some(LeafId(replica)) };
        let (leaves, database) = (leaves(2, 2), database([home(1, 3)]));
        let homes = vec![Some(home(2, 4))];
        let plan = plan(&leaves, &database, &Placement { homes, ..Placement::default() });
        let execution = Execution::new(plan.clone(), Config::default());
        Self { leaves, database, free: BTreeMap::new(), plan, execution, now_ms: 0 }
    }

    fn send(&mut self, event: Event) -> Vec<Output> {
        self.now_ms += 10;
        let world = World { leaves: &self.leaves, database: &self.database, free: &self.free };
        self.execution.step(self.now_ms, &world, event)
    }

    /// Commits a change that was proposed.
    fn commit(&mut self, output: Output) -> Vec<Output> {
        let Output::Commit(step, change) = output else { panic!("no change: {output:?}") };
        match apply(&mut self.database, &change) {
            Ok(()) => self.send(Event::Committed(step)),
            Err(refused) => self.send(Event::Refused(step, refused)),
        }
    }

    fn follows(&mut self, leaf: u64, following: Following) -> Vec<Output> {
        let copies = &mut self.database.partitions[0].copies;
        copies.get_mut(&LeafId(leaf)).expect("a copy").following = following;
        self.send(Event::Look)
    }

    /// As far as the lock.
    fn copied() -> (Self, Output) {
        let mut script = Self::new();
        assert_eq!(script.send(Event::Look), COPIES);
        assert_eq!(script.commit(COPIES[0]), []);
        assert_eq!(script.commit(COPIES[1]), []);
        assert_eq!(script.follows(2, Following::Sync), []);
        let lock = script.follows(4, Following::Sync);
        assert_eq!(lock.len(), 1);
        (script, lock[0])
    }

    fn statuses(&self) -> Vec<Status> {
        self.execution.progress(self.now_ms).iter().map(|progress| progress.status).collect()
    }

    fn awaits(&self) -> Vec<Option<Awaited>> {
        self.execution.progress(self.now_ms).iter().map(|progress| progress.awaits).collect()
    }

    fn map(&self) -> (Option<u64>, Vec<u64>) {
        let partition = &self.database.partitions[0];
        let copies = partition.copies.keys().map(|leaf| leaf.0);
        (partition.master.map(|leaf| leaf.0), copies.collect())
    }
}

const LOCK: Output = Output::Lock { step: 2, ordinal: Ordinal(0), to: LeafId(2), kill: false };
const UNLOCK: Output = Output::Unlock(Ordinal(0));
const PROMOTE: Output = Output::Commit(
    2,
    Change::Promote {
        ordinal: Ordinal(0),
        term: Term(2),
        to: LeafId(2),
        drop_leaving: Some(2),
        returns: false,
    },
);
const DROP: Output = Output::Commit(
    3,
    Change::Remove { ordinal: Ordinal(0), leaf: LeafId(3), instance: Instance(2), leaving: 2 },
);

fn remove_files(step: usize, leaf: u64, instance: u64) -> Output {
    let (leaf, instance) = (LeafId(leaf), Instance(instance));
    Output::RemoveFiles { step, leaf, ordinal: Ordinal(0), instance }
}

/// Promise: copies, then the promotion, then the drop; statuses on the way.
#[test]
fn from_beginning_to_end() {
    let (mut script, lock) = Script::copied();
    assert_eq!(lock, LOCK);
    use Status::{Running, Scheduled, Success};
    assert_eq!(script.statuses(), [Success, Success, Running, Scheduled]);
    let replay = Some(Left { bytes: 5, rate: 10 });
    let live = Live { awaits: Awaited::Log, replay, ..Live::default() };
    assert_eq!(script.awaits()[2..], [Some(Awaited::Transactions), Some(Awaited::Phase)]);
    assert_eq!(script.send(Event::Live(2, live)), []);
    assert_eq!(script.execution.progress(1000)[2].live, Some(live));
    assert_eq!(script.awaits()[2], Some(Awaited::Log));
    assert_eq!(script.send(Event::Drained(2)), [PROMOTE]);
    assert_eq!(script.commit(PROMOTE), [UNLOCK, remove_files(2, 1, 1)]);
    assert_eq!(script.map(), (Some(2), vec![2, 3, 4]));
    assert_eq!(script.send(Event::FilesGone(2)), [DROP]);
    assert_eq!(script.commit(DROP), [remove_files(3, 3, 2)]);
    assert_eq!(script.send(Event::FilesGone(3)), [Output::Done(Outcome::Success)]);
    assert_eq!(script.map(), (Some(2), vec![2, 4]));
    assert_eq!(script.statuses(), [Success; 4]);
}

/// Promise (W09, O01, O04): cancelled while it copies, the source is untouched; the copy that is not complete
/// leaves the record with its files, the complete one stays, and nothing else begins.
#[test]
fn w09_o04_cancelled_in_copy() {
    let mut script = Script::new();
    script.send(Event::Look);
    script.commit(COPIES[0]);
    script.commit(COPIES[1]);
    script.follows(4, Following::Sync);
    let discard = script.send(Event::Cancel);
    let instance = script.database.partitions[0].copies[&LeafId(2)].instance;
    let change = Change::Remove { ordinal: Ordinal(0), leaf: LeafId(2), instance, leaving: 2 };
    assert_eq!(discard, [Output::Commit(0, change)]);
    assert_eq!(script.commit(discard[0]), [remove_files(0, 2, instance.0)]);
    assert_eq!(script.send(Event::FilesGone(0)), [Output::Done(Outcome::Canceled)]);
    use Status::{Canceled, Success};
    assert_eq!(script.statuses(), [Canceled, Success, Canceled, Canceled]);
    assert_eq!(script.map(), (Some(1), vec![1, 3, 4]), "an extra replica");
    assert_eq!(script.database.partitions[0].term, Term(2));
}

/// Promise (W09): a target that is lost, a copy that breaks, a lock that a change of a table holds: the plan fails,
/// the source serves on.
#[test]
fn w09_the_target_is_lost() {
    let mut script = Script::new();
    script.send(Event::Look);
    script.commit(COPIES[0]);
    script.commit(COPIES[1]);
    script.leaves[1].standing = Standing::Away;
    script.database.partitions[0].copies.get_mut(&LeafId(2)).expect("a copy").offline = true;
    let discards = script.send(Event::Look);
    // The other copy is not complete either; both leave the record.
    assert_eq!(discards.len(), 2);
    assert_eq!(script.commit(discards[0]).len(), 1);
    assert_eq!(script.commit(discards[1]).len(), 1);
    assert_eq!(script.send(Event::FilesStay(0)), []);
    let outcome = Outcome::Failed(0, Failure::TargetLost(LeafId(2)));
    assert_eq!(script.send(Event::FilesGone(1)), [Output::Done(outcome)]);
    use Status::{Canceled, Failed};
    assert_eq!(script.statuses(), [Failed, Canceled, Canceled, Canceled]);
    assert_eq!(script.map(), (Some(1), vec![1, 3]));
}

/// Promise (O14, D24): a leaf without space is asked for nothing; the failure says how much is needed.
#[test]
fn o14_d24_a_full_target_is_found_before() {
    let mut script = Script::new();
    script.free = [(LeafId(2), 1000)].into();
    let outputs = script.send(Event::Look);
    let failure = Failure::NoSpace { leaf: LeafId(2), needed: 1 << 20, free: 1000 };
    assert_eq!(outputs, [Output::Done(Outcome::Failed(0, failure))]);
    assert_eq!(failure.to_string(), "leaf 2 has 1000 bytes free and needs 1048576");
    assert_eq!(script.map(), (Some(1), vec![1, 3]));
}

/// Promise (W10, O02): a promotion that is not ready in time, or not locked, or refused, leaves the old master in
/// its term, unlocked; copies stay, and the next plan copies nothing: it waits for the one that fell behind.
#[test]
fn w10_o02_the_promotion_fails() {
    for how in 0..4 {
        let (mut script, _) = Script::copied();
        let done = match how {
            0 => script.send(Event::LockFailed(2, Failure::Timeout)),
            1 => {
                script.now_ms += 60_000;
                script.send(Event::Look)
            }
            2 => script.send(Event::Cancel),
            _ => {
                // The copy fell behind between the lock and the change.
                assert_eq!(script.send(Event::Drained(2)), [PROMOTE]);
                script.follows(2, Following::Async);
                script.commit(PROMOTE)
            }
        };
        assert_eq!(done[0], UNLOCK);
        let outcome = match how {
            2 => Outcome::Canceled,
            3 => Outcome::Failed(2, Failure::Changed(Refused::Behind)),
            _ => Outcome::Failed(2, Failure::Timeout),
        };
        assert_eq!(done[1..], [Output::Done(outcome)]);
        assert_eq!(script.map(), (Some(1), vec![1, 2, 3, 4]));
        assert_eq!(script.database.partitions[0].term, Term(2));
        let home = Home { master: LeafId(2), replica: Some(LeafId(4)) };
        let placement = Placement { homes: vec![Some(home)], ..Placement::default() };
        let next = plan(&script.leaves, &script.database, &placement);
        let copies = next.steps.iter().filter(|step| step.action.is_copy());
        let waited_for: Vec<u64> = copies.map(|step| step.target.0).collect();
        assert_eq!(waited_for, if how == 3 { vec![2] } else { vec![] }, "{next:?}");
    }
}

/// Promise: with KILL, transactions that hold up a promotion are waited for as long as without, then ended, and
/// then it fails too.
#[test]
fn kill_ends_what_holds_up() {
    let (mut script, _) = Script::copied();
    let config = Config { kill: true, ..Config::default() };
    script.execution = Execution::new(script.plan.clone(), config);
    assert_eq!(script.send(Event::Look), [LOCK]);
    let with_kill = Output::Lock { step: 2, ordinal: Ordinal(0), to: LeafId(2), kill: true };
    script.now_ms += 59_980;
    assert_eq!(script.send(Event::Look), []);
    assert_eq!(script.send(Event::Look), [with_kill]);
    script.now_ms += 59_980;
    assert_eq!(script.send(Event::Look), []);
    let outcome = Outcome::Failed(2, Failure::Timeout);
    assert_eq!(
        script.send(Event::LockFailed(2, Failure::Timeout)),
        [UNLOCK, Output::Done(outcome)]
    );
}

/// Promise: a promotion whose change is under way is not cancelled any more; its answer is waited for.
#[test]
fn no_return_once_the_change_is_proposed() {
    let (mut script, _) = Script::copied();
    assert_eq!(script.send(Event::Drained(2)), [PROMOTE]);
    assert_eq!(script.send(Event::Cancel), []);
    assert_eq!(script.commit(PROMOTE), [UNLOCK, remove_files(2, 1, 1)]);
    assert_eq!(script.send(Event::FilesGone(2)), [Output::Done(Outcome::Canceled)]);
    use Status::{Canceled, Success};
    assert_eq!(script.statuses(), [Success, Success, Success, Canceled]);
}

/// Promise (W11, O03): files that cannot be removed fail the plan; the new master serves, and they are
/// orphans.
#[test]
fn w11_o03_files_stay() {
    let (mut script, _) = Script::copied();
    script.send(Event::Drained(2));
    script.commit(PROMOTE);
    let outcome = Outcome::Failed(2, Failure::FilesStay);
    assert_eq!(script.send(Event::FilesStay(2)), [Output::Done(outcome)]);
    assert_eq!(script.map(), (Some(2), vec![2, 3, 4]));
}

/// Promise (O05): a leaf is lost during the promotion and another copy becomes master: the plan of before is
/// not carried out on it.
#[test]
fn o05_a_failover_ends_the_promotion() {
    let (mut script, _) = Script::copied();
    let partition = &mut script.database.partitions[0];
    (partition.master, partition.term) = (Some(LeafId(3)), Term(9));
    let failure = Failure::Changed(Refused::OtherTerm);
    let done = script.send(Event::Drained(2));
    assert_eq!(done, [UNLOCK, Output::Done(Outcome::Failed(2, failure))]);
    assert_eq!(script.map().0, Some(3));
}

/// Promise: on another master aggregator the plan goes on by what the record has, wherever it was.
#[test]
fn another_leader_goes_on() {
    let (mut script, _) = Script::copied();
    script.execution = Execution::new(script.plan.clone(), Config::default());
    assert_eq!(script.send(Event::Look), [LOCK], "copies are there");
    script.send(Event::Drained(2));
    // Committed, and nobody is told.
    let Output::Commit(_, change) = PROMOTE else { unreachable!("it is one") };
    apply(&mut script.database, &change).expect("it is allowed");
    script.execution = Execution::new(script.plan.clone(), Config::default());
    assert_eq!(script.send(Event::Look), [DROP], "it is promoted");
    let Output::Commit(_, change) = DROP else { unreachable!("it is one") };
    apply(&mut script.database, &change).expect("it is allowed");
    script.execution = Execution::new(script.plan.clone(), Config::default());
    assert_eq!(script.send(Event::Look), [Output::Done(Outcome::Success)]);
}

/// Promise: late and doubled news of a step that is elsewhere by now change nothing.
#[test]
fn late_news_change_nothing() {
    let (mut script, _) = Script::copied();
    let before = script.statuses();
    for event in [
        Event::Committed(0),
        Event::Refused(0, Refused::Behind),
        Event::CopyFailed(0, Failure::Broken),
        Event::LockFailed(0, Failure::Timeout),
        Event::Drained(0),
        Event::FilesGone(0),
        Event::FilesStay(0),
        Event::FilesStay(3),
        Event::CopyFailed(3, Failure::Broken),
        Event::CaughtUp(0),
    ] {
        assert_eq!(script.send(event), [], "{event:?}");
        assert_eq!(script.statuses(), before, "{event:?}");
    }
    assert_eq!(script.send(Event::Drained(2)), [PROMOTE]);
}

/// Promise: in a database with asynchronous replication a copy is complete when its master says so.
#[test]
fn asynchronous_copies_are_told() {
    let mut script = Script::new();
    script.database.sync = false;
    script.send(Event::Look);
    script.commit(COPIES[0]);
    script.commit(COPIES[1]);
    assert_eq!(script.send(Event::CaughtUp(0)), []);
    assert_eq!(script.send(Event::CaughtUp(1)), [LOCK]);
}

/// Promise: PROMOTE PARTITION … WITH DROP that was asked for while nobody was master drops nobody whom it did not mean.
#[test]
fn a_promotion_without_a_master_to_drop_fails() {
    let mut script = Script::new();
    let master = script.database.partitions[0].master.take();
    let one = One::PromoteWithDrop;
    let (database, ordinal) = (script.database.name.clone(), Ordinal(0));
    let asked = Asked::One { database, ordinal, leaf: LeafId(3), one };
    let all = [script.database.clone()];
    let plan = asked.plan(&script.leaves, &all, Mode::Paired).unwrap();
    script.execution = Execution::new(plan, Config::default());
    assert_eq!(script.send(Event::Look), [], "a master is waited for");
    script.database.partitions[0].master = master;
    let failure = Failure::Changed(Refused::OtherTerm);
    assert_eq!(script.send(Event::Look), [Output::Done(Outcome::Failed(0, failure))]);
}

/// A database with asynchronous replication, whose new copies another execution has begun.
fn taken_over(config: Config) -> Script {
    let mut script = Script::new();
    script.database.sync = false;
    for leaf in [2, 4] {
        let change = Change::AddCopy { ordinal: Ordinal(0), leaf: LeafId(leaf) };
        apply(&mut script.database, &change).expect("allowed");
    }
    let home = Home { master: LeafId(2), replica: Some(LeafId(4)) };
    let placement = Placement { homes: vec![Some(home)], ..Placement::default() };
    script.plan = plan(&script.leaves, &script.database, &placement);
    let actions: Vec<Action> = script.plan.steps.iter().map(|step| step.action).collect();
    assert_eq!(actions, [Action::PromoteWithDrop, Action::Drop]);
    script.execution = Execution::new(script.plan.clone(), config);
    script
}

/// Promise: asynchronous copies that another execution began are waited for before anything goes by them: with the record alone
/// nobody knows whether they are complete.
#[test]
fn asynchronous_copies_of_another_are_waited_for() {
    let mut script = taken_over(Config::default());
    assert_eq!(script.send(Event::Look), []);
    // Of the drop, which has not its turn.
    assert_eq!(script.send(Event::CaughtUp(1)), []);
    let lock = script.send(Event::CaughtUp(0));
    assert!(matches!(lock[..], [Output::Lock { step: 0, .. }]), "{lock:?}");
    let promote = script.send(Event::Drained(0));
    let removed = script.commit(promote[0]);
    assert_eq!(removed[0], UNLOCK);
    assert_eq!(script.send(Event::FilesGone(0)), [], "it was known a while ago");
    let drop = script.send(Event::CaughtUp(1));
    assert!(matches!(drop[..], [Output::Commit(1, Change::Remove { .. })]), "{drop:?}");
}

/// Promise: an execution that counts what another has begun is told from one that does not.
#[test]
fn who_counts_begun_copies_is_caught() {
    let bug = Some(resprout_cluster::testing::Planted::CountBegun);
    let mut script = taken_over(Config { planted: bug, ..Config::default() });
    let lock = script.send(Event::Look);
    assert!(matches!(lock[..], [Output::Lock { step: 0, .. }]), "{lock:?}");
}

/// Promise: a partition without master is waited for, and not for ever.
#[test]
fn a_source_that_is_lost_is_waited_for() {
    let mut script = Script::new();
    let master = script.database.partitions[0].master.take();
    assert_eq!(script.send(Event::Look), []);
    script.database.partitions[0].master = master;
    assert_eq!(script.send(Event::Look), COPIES);
    script.commit(COPIES[0]);
    script.commit(COPIES[1]);
    script.database.partitions[0].master = None;
    assert_eq!(script.send(Event::Look), []);
    script.now_ms += 60_000;
    assert_eq!(script.send(Event::Look).len(), 2, "both are discarded");
}

/// Promise (O06): a database that is dropped meanwhile ends its plan.
#[test]
fn o06_a_database_that_is_gone() {
    let mut script = Script::new();
    script.database.partitions.clear();
    let failure = Failure::Changed(Refused::NoPartition);
    assert_eq!(script.send(Event::Look), [Output::Done(Outcome::Failed(0, failure))]);
}
