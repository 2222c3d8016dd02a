//! Plans whose rows are known.

use resprout_cluster::placement::{Home, Placement, Request, initial, target};
use resprout_cluster::plan::{Action, Phase};
use resprout_cluster::plan::{
    Averages, Awaited, Copied, ExplainRow, Left, Live, Progress, Status, StatusRow, explain, plan,
    status,
};
use resprout_cluster::{
    Address, Database, Following, Instance, Leaf, LeafId, Mode, Ordinal, Partition,
};

use crate::world::{database, leaves, named};

/// Four leaves on one host, ports from 10001, groups by turns.
fn known() -> (Vec<Leaf>, Database, Placement) {
    let mut four = leaves(2, 2);
    for (leaf, (id, group)) in four.iter_mut().zip([(1, 0), (3, 0), (2, 1), (4, 1)]) {
        leaf.id = LeafId(id);
        assert_eq!(leaf.group.number(), group + 1);
        leaf.address = Address { host: "127.0.0.1".to_owned(), port: 10000 + id as u16 };
    }
    let home = |master, replica| Home { master: LeafId(master), replica: Some(LeafId(replica)) };
    let stays = [home(1, 2), home(2, 1), home(3, 4), home(4, 3)];
    let mut homes: Vec<Home> = (0..16).map(|n| stays[n % 4]).collect();
    homes[2] = home(1, 2);
    homes[13] = home(3, 4);
    let database = database(homes.iter().copied());
    homes[2] = home(3, 4);
    homes[13] = home(3, 2);
    let homes = homes.into_iter().map(Some).collect();
    (four, database, Placement { homes, ..Placement::default() })
}

fn averages() -> Averages {
    let mut averages = Averages::default();
    averages.note("test", Action::Copy, 7821);
    averages.note("test", Action::PromoteWithDrop, 1351);
    averages.note("test", Action::Drop, 1002);
    averages
}

fn texts(rows: &[ExplainRow]) -> Vec<String> {
    let text = |row: &ExplainRow| {
        let estimate =
            row.estimated_time_remaining_ms.map_or("NULL".to_owned(), |ms| ms.to_string());
        let ExplainRow { action, ordinal, target_host, target_port, phase, .. } = row;
        format!("{action} | {ordinal} | {target_host} | {target_port} | {phase} | {estimate}")
    };
    rows.iter().map(text).collect()
}

/// Promise: the example of EXPLAIN REBALANCE PARTITIONS, row by row.
#[test]
fn the_known_plan() {
    let (leaves, database, placement) = known();
    let plan = plan(&leaves, &database, &placement);
    let rows = texts(&explain(&leaves, &plan, &averages()));
    assert_eq!(
        rows,
        [
            "COPY PARTITION | 13 | 127.0.0.1 | 10002 | 3 | 7821",
            "COPY PARTITION | 2 | 127.0.0.1 | 10003 | 4 | 7821",
            "COPY PARTITION | 2 | 127.0.0.1 | 10004 | 4 | 7821",
            "PROMOTE PARTITION WITH DROP | 2 | 127.0.0.1 | 10003 | 5 | 1351",
            "DROP PARTITION | 2 | 127.0.0.1 | 10002 | 6 | 1002",
            "DROP PARTITION | 13 | 127.0.0.1 | 10004 | 6 | 1002",
        ]
    );
    assert_eq!(plan.bytes(), 3 << 20);
    // 13 comes to leaf 2 while 2 is still there; 2 comes to leaf 4 while 13 is still there.
    let peaks = [(LeafId(2), 1 << 20), (LeafId(3), 1 << 20), (LeafId(4), 1 << 20)];
    assert_eq!(plan.peaks, peaks.into());
    // Two phases of copies, a promotion, a drop on each of two leaves.
    assert_eq!(plan.expected_ms(&averages(), 1), Some(2 * 7821 + 1351 + 1002));
    assert_eq!(plan.expected_ms(&averages(), 2), Some(2 * 3911 + 676 + 501));
    assert_eq!(plan.expected_ms(&Averages::default(), 1), None);
    assert_eq!(
        ExplainRow::COLUMNS.join(","),
        "Action,Ordinal,Target_Host,Target_Port,Phase,Estimated_Time_Remaining_Ms"
    );
}

/// Promise: the same plan while it runs: `FORCE` behind the promotion, 0 left of what is done, NULL for what
/// has not begun or says nothing.
#[test]
fn the_known_plan_runs() {
    let (leaves, database, placement) = known();
    let plan = plan(&leaves, &database, &placement);
    let copied = Some(Copied { bytes: 7, total_bytes: 7, rate: 2 });
    let made = Some(Live { copied, ..Live::default() });
    let done =
        |ms| Progress { status: Status::Success, running_ms: Some(ms), live: made, awaits: None };
    let live = Live {
        awaits: Awaited::Transactions,
        copied: None,
        catch_up: Some(Left::default()),
        replay: Some(Left { bytes: 1130, rate: 1000 }),
    };
    let running = Progress {
        status: Status::Running,
        running_ms: Some(405),
        live: Some(live),
        awaits: Some(Awaited::Transactions),
    };
    let awaits = Some(Awaited::Phase);
    let waits = Progress { status: Status::Scheduled, running_ms: None, live: None, awaits };
    let progress = [done(4009), done(5109), done(5112), running, waits, waits];
    let rows = status(&leaves, &plan, &averages(), &progress);
    let text = |row: &StatusRow| {
        let null = |value: Option<u64>| value.map_or("NULL".to_owned(), |value| value.to_string());
        let left = null(row.step.estimated_time_remaining_ms);
        format!("{} {} {} {left}", row.step.action, row.status, null(row.running_time))
    };
    let texts: Vec<String> = rows.iter().map(text).collect();
    assert_eq!(
        texts,
        [
            "COPY PARTITION success 4009 0",
            "COPY PARTITION success 5109 0",
            "COPY PARTITION success 5112 0",
            "PROMOTE PARTITION WITH DROP FORCE running 405 1130",
            "DROP PARTITION scheduled NULL 1002",
            "DROP PARTITION scheduled NULL 1002",
        ]
    );
    assert_eq!(rows[0].copied, copied);
    let waiting: Vec<_> = rows.iter().skip(2).map(|row| row.waiting_for).collect();
    let phases = Some("earlier phases");
    assert_eq!(waiting, [None, Some("transactions under way"), phases, phases]);
    assert_eq!(StatusRow::COLUMNS.len(), ExplainRow::COLUMNS.len() + 2);
    let silent = Progress { live: None, ..running };
    let rows = status(&leaves, &plan, &averages(), &[done(1), done(1), done(1), silent]);
    assert_eq!(rows[3].step.estimated_time_remaining_ms, None);
    let begun = status(&leaves, &plan, &averages(), &[running, waits, waits, waits]);
    assert_eq!(begun[3].step.action, "PROMOTE PARTITION WITH DROP", "not begun");
    let words = [Status::Failed, Status::Canceled].map(Status::text);
    assert_eq!(words, ["failed", "canceled"]);
}

/// Promise (W05, W06): a plan that grows a cluster of pairs copies first, promotes then, drops last; when
/// it is done there is nothing to do.
#[test]
fn w06_growing_by_a_pair() {
    let mut all = leaves(5, 5);
    let new = [LeafId(5), LeafId(10)];
    let old: Vec<Leaf> = all.iter().filter(|leaf| !new.contains(&leaf.id)).cloned().collect();
    let first = initial(&old, Mode::Paired, 16).unwrap();
    let database = database(first.partitions.iter().map(|new| new.home));
    all.sort_by_key(|leaf| leaf.id);
    let request =
        Request { leaves: &all, database: &database, mode: Mode::Paired, full: None, force: false };
    let placement = target(&request).unwrap();
    let plan = plan(&all, &database, &placement);
    let phases: Vec<Phase> = plan.steps.iter().map(|step| step.phase).collect();
    assert!(phases.is_sorted());
    let count = |action| plan.steps.iter().filter(|step| step.action == action).count();
    assert_eq!(
        [count(Action::Copy), count(Action::PromoteWithDrop), count(Action::Drop)],
        [6, 3, 3]
    );
    assert!(
        plan.steps
            .iter()
            .filter(|step| step.action == Action::Copy)
            .all(|step| new.contains(&step.target))
    );
    let mut per_pair: Vec<usize> = (1..=5)
        .map(|leaf| {
            let homes = placement.homes.iter().flatten();
            homes.filter(|home| home.leaves().any(|other| other == LeafId(leaf))).count()
        })
        .collect();
    per_pair.sort_unstable();
    assert_eq!(per_pair, [3, 3, 3, 3, 4]);
}

/// Promise: who has one copy gets the second before anything else is copied.
#[test]
fn single_copies_come_first() {
    let (leaves, mut database, mut placement) = known();
    database.partitions[5].copies.remove(&LeafId(1));
    placement.homes[5] = Some(Home { master: LeafId(2), replica: Some(LeafId(1)) });
    let first = plan(&leaves, &database, &placement).steps[0];
    assert_eq!((first.ordinal, first.target, first.phase.number()), (Ordinal(5), LeafId(1), 2));
}

/// Promise (O01): a copy that was begun and is not complete is waited for before anything is promoted or dropped by it; where
/// nothing is, there is nothing to do.
#[test]
fn o01_copies_that_were_begun_are_waited_for() {
    let (leaves, mut database, placement) = known();
    let whole = plan(&leaves, &database, &placement);
    let begin = |database: &mut Database, ordinal: usize, leaf: u64| {
        let mut copy = *database.partitions[ordinal].copies.values().next().unwrap();
        (copy.instance, copy.following) = (Instance(900 + leaf), Following::Async);
        database.partitions[ordinal].copies.insert(LeafId(leaf), copy);
    };
    for (ordinal, leaf) in [(2, 3), (2, 4), (13, 2)] {
        begin(&mut database, ordinal, leaf);
    }
    assert_eq!(plan(&leaves, &database, &placement).steps, whole.steps);
    // The replica of one that stays where it is.
    begin(&mut database, 0, 2);
    assert_eq!(plan(&leaves, &database, &placement).steps, whole.steps);
}

/// Promise: a partition that is made anew gets its master first and its copy from there.
#[test]
fn made_anew() {
    let all = leaves(1, 1);
    let lost = Partition { ordinal: Ordinal(0), ..Partition::default() };
    let database = named(vec![lost]);
    let request =
        Request { leaves: &all, database: &database, mode: Mode::Paired, full: None, force: true };
    let placement = target(&request).unwrap();
    let plan = plan(&all, &database, &placement);
    let steps: Vec<(Action, u64, u64)> =
        plan.steps.iter().map(|step| (step.action, step.target.0, step.phase.number())).collect();
    assert_eq!(steps, [(Action::Create, 1, 1), (Action::Copy, 2, 2)]);
}
