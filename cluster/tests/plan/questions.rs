//! Who may go, who takes over, what may be dropped.

use std::collections::BTreeSet;

use resprout_cluster::placement::{Home, Unplaceable, initial};
use resprout_cluster::plan::{
    Action, Extent, FailoverRow, Keep, Masters, Origin, Orphan, OrphanRow, Removal, RemovalError,
    Takeover, Unsafe, clear_orphans, ensure_online, ensure_safety, failover, failover_rows,
    orphan_rows, remove, restore, safe_orphans,
};
use resprout_cluster::{
    Database, Following, Group, Instance, Leaf, LeafId, Mode, Ordinal, Standing, Term,
};
use resprout_wal::{History, Lsn, TermStart};

use crate::world::{database, leaves, named, partition};

fn created(leaves: &[Leaf], mode: Mode, partitions: u32) -> Database {
    let first = initial(leaves, mode, partitions).expect("leaves enough");
    database(first.partitions.iter().map(|new| new.home))
}

fn ids(ids: &[u64]) -> BTreeSet<LeafId> {
    ids.iter().map(|id| LeafId(*id)).collect()
}

/// Promise (W12): a lost leaf's masters go to several leaves when load-balanced, to the partner in pairs; no leaf
/// gains more than its share.
#[test]
fn w12_who_takes_over() {
    let all = leaves(8, 8);
    let balanced = created(&all, Mode::LoadBalanced, 128);
    for lost in 1..=16 {
        let spread = failover(&all, &balanced, LeafId(lost));
        assert_eq!(spread.takeovers.len(), 8);
        assert!(spread.gains.values().all(|gain| *gain == 1), "8 masters on 8 leaves");
        assert_eq!(spread.bereft.len(), 8);
    }
    let paired = created(&all, Mode::Paired, 128);
    let partner = failover(&all, &paired, LeafId(3));
    assert_eq!(partner.gains, [(LeafId(11), 8)].into());
}

/// Promise: a replica that does not follow as closely as the database is made for takes nothing over; the
/// partition would be offline, and says so.
#[test]
fn who_may_not_take_over() {
    let all = leaves(2, 2);
    let mut database = created(&all, Mode::Paired, 4);
    let replica = database.partitions[0].copies.get_mut(&LeafId(3)).expect("the replica of 0");
    replica.following = Following::Ready;
    let offline = Takeover { ordinal: Ordinal(0), heir: None };
    assert!(failover(&all, &database, LeafId(1)).takeovers.contains(&offline));
    database.sync = false;
    let heir = Takeover { ordinal: Ordinal(0), heir: Some(LeafId(3)) };
    assert!(failover(&all, &database, LeafId(1)).takeovers.contains(&heir));
    let mut away = all;
    away[2].standing = Standing::Away;
    assert!(failover(&away, &database, LeafId(1)).takeovers.contains(&offline));
}

/// Promise: EXPLAIN FAILOVER LEAF names for each partition of the leaf who is master then, counts masters over all
/// databases, and says which partitions would have none or one copy less.
#[test]
fn a_failover_is_explained_by_partition() {
    let all = leaves(2, 2);
    let first = created(&all, Mode::Paired, 4);
    let mut second = Database { name: "other".to_owned(), ..created(&all, Mode::Paired, 4) };
    let of_first = second.partitions.iter_mut().find(|one| one.master == Some(LeafId(1)));
    let replica = of_first.and_then(|one| one.copies.get_mut(&LeafId(3))).expect("a replica");
    replica.following = Following::Async;
    let rows = failover_rows(&all, &[&first, &second], LeafId(1));
    let texts: Vec<String> = rows
        .iter()
        .map(|row| {
            let port = row.target.as_ref().map(|target| target.port);
            let masters = (row.masters_before, row.masters_after);
            format!("{}:{} {} {port:?} {masters:?}", row.database, row.ordinal, row.effect)
        })
        .collect();
    let port = Some(all[2].address.port);
    assert_eq!(
        texts,
        [
            format!("test:0 another master {port:?} (Some(2), Some(3))"),
            format!("test:2 one copy less {port:?} (Some(2), Some(3))"),
            "other:0 no master None (None, None)".to_owned(),
            format!("other:2 one copy less {port:?} (Some(2), Some(3))"),
        ]
    );
    assert_eq!(FailoverRow::COLUMNS.len(), 9);
}

/// Promise: of several copies the one that follows most closely takes over, and of equal ones that on the leaf
/// with the fewest gains.
#[test]
fn who_takes_over_among_several() {
    let all = leaves(1, 2);
    let three = [LeafId(1), LeafId(2), LeafId(3)];
    let mut database = named(vec![partition(0, &three), partition(1, &three)]);
    let heirs = |database: &Database| -> Vec<Option<LeafId>> {
        failover(&all, database, LeafId(1)).takeovers.iter().map(|one| one.heir).collect()
    };
    assert_eq!(heirs(&database), [Some(LeafId(2)), Some(LeafId(3))]);
    database.sync = false;
    for partition in &mut database.partitions {
        partition.copies.get_mut(&LeafId(2)).expect("a copy").following = Following::Ready;
    }
    assert_eq!(heirs(&database), [Some(LeafId(3)); 2]);
}

/// Promise: ENSURE_PARTITION_SAFETY names every partition whose last copy that can serve would be gone.
#[test]
fn last_copies_are_guarded() {
    let all = leaves(2, 2);
    let mut test = created(&all, Mode::Paired, 4);
    assert_eq!(ensure_safety(&all, std::slice::from_ref(&test), &ids(&[1, 2])), Ok(()));
    let both = ensure_safety(&all, std::slice::from_ref(&test), &ids(&[1, 3]));
    let lost = |ordinal| Unsafe { database: "test".to_owned(), ordinal: Ordinal(ordinal) };
    assert_eq!(both, Err(RemovalError::LastCopy(vec![lost(0), lost(2)])));
    test.partitions[2].copies.get_mut(&LeafId(1)).expect("a copy of 2").following =
        Following::Async;
    let master = ensure_safety(&all, std::slice::from_ref(&test), &ids(&[3]));
    assert_eq!(master, Err(RemovalError::LastCopy(vec![lost(2)])));
    let text = master.expect_err("unsafe").to_string();
    assert_eq!(text, "the last copy of test:2 that is online would be gone");
    // What is offline already is not lost by this.
    test.partitions[2].master = None;
    test.partitions[2].copies.clear();
    assert_eq!(ensure_safety(&all, &[test], &ids(&[3])), Ok(()));
}

/// Promise: REMOVE LEAF in pairs promotes the partner's replicas and drops; DETACH keeps the copies; other modes
/// move everything away first.
#[test]
fn leaves_are_freed() {
    let all = leaves(2, 2);
    let paired = created(&all, Mode::Paired, 8);
    let actions = |mode, database: &Database, removal| -> Vec<(Action, u64)> {
        let plan = remove(&all, (database, mode), &ids(&[1]), removal).expect("possible");
        let mut counts = std::collections::BTreeMap::new();
        for step in &plan.steps {
            *counts.entry(step.action).or_default() += 1;
        }
        counts.into_iter().collect()
    };
    let removed = actions(Mode::Paired, &paired, Removal::Remove);
    assert_eq!(removed, [(Action::PromoteWithDrop, 2), (Action::Drop, 2)]);
    let detached = actions(Mode::Paired, &paired, Removal::Detach);
    assert_eq!(detached, [(Action::Promote, 2)]);
    let balanced = created(&all, Mode::LoadBalanced, 8);
    let moved = actions(Mode::LoadBalanced, &balanced, Removal::Remove);
    assert!(moved.contains(&(Action::Copy, 4)), "{moved:?}");
    let single = created(&all, Mode::Single, 8);
    let moved = actions(Mode::Single, &single, Removal::Remove);
    assert_eq!(moved, [(Action::Copy, 2), (Action::PromoteWithDrop, 2)]);
}

/// Promise: leaves of two groups do not go together, nor strangers, nor the last of a group or of a copy.
#[test]
fn leaves_that_may_not_go() {
    let all = leaves(2, 2);
    let paired = created(&all, Mode::Paired, 8);
    let balanced = created(&all, Mode::LoadBalanced, 8);
    let ask = |database: &Database, mode, going: &[u64]| {
        remove(&all, (database, mode), &ids(going), Removal::Remove).map(|plan| plan.steps.len())
    };
    assert_eq!(ask(&paired, Mode::Paired, &[1, 3]), Err(RemovalError::MixedGroups));
    assert_eq!(ask(&paired, Mode::Paired, &[9]), Err(RemovalError::Unknown(LeafId(9))));
    let group = Unplaceable::NoLeafInGroup(Group::One);
    assert_eq!(ask(&balanced, Mode::LoadBalanced, &[1, 2]), Err(RemovalError::Unplaceable(group)));
    assert!(ask(&paired, Mode::Paired, &[1, 2]).is_ok());
    let mut alone = paired;
    alone.partitions[0].copies.remove(&LeafId(3));
    let last = ask(&alone, Mode::Paired, &[1]);
    assert!(matches!(last, Err(RemovalError::LastCopy(lost)) if lost[0].ordinal == Ordinal(0)));
    let mut away = all.clone();
    away[1].standing = Standing::Away;
    let text = ensure_online(&away).expect_err("one is away").to_string();
    assert_eq!(text, "not online: 'leaf-2':3306");
    assert_eq!(ensure_online(&all), Ok(()));
}

/// A log with these terms, each with its start, up to there.
fn extent(terms: &[(u64, u64)], end: u64) -> Extent {
    let term = |(term, start): &(u64, u64)| TermStart { term: Term(*term), start: Lsn(*start) };
    let history = History::from_entries(terms.iter().map(term).collect()).expect("in order");
    Extent { history, end: Lsn(end) }
}

fn orphan(leaf: u64, ordinal: u32, instance: u64) -> Orphan {
    let origin =
        Origin { operation: "REBALANCE PARTITIONS 17".to_owned(), at_ms: 1_764_200_000_000 };
    Orphan {
        leaf: LeafId(leaf),
        database: "x_test".to_owned(),
        number: 3,
        ordinal: Ordinal(ordinal),
        instance: Instance(instance),
        bytes: 4096,
        extent: Some(extent(&[(2, 0)], 9000)),
        term: Term(2),
        origin: Some(origin),
    }
}

/// Promise (W24, O03): an orphan goes only if its partition has a master online; what the record has is no
/// orphan; a database that nobody knows is left alone.
#[test]
fn w24_the_last_copy_stays() {
    let mut all = leaves(1, 1);
    let home = Home { master: LeafId(1), replica: None };
    let mut x_test = Database { name: "x_test".to_owned(), ..database([home, home]) };
    x_test.partitions[1].master = None;
    let orphans = [orphan(2, 0, 7), orphan(2, 1, 8), orphan(1, 0, 1), orphan(2, 9, 1)];
    let own = |ordinal| ("x_test".to_owned(), Ordinal(ordinal));
    let masters = Masters::from([(own(0), extent(&[(2, 0), (4, 9000)], 20_000))]);
    let keeps = |leaves: &[Leaf], x_test: &Database| -> Vec<Option<Keep>> {
        let verdicts = clear_orphans(leaves, std::slice::from_ref(x_test), &masters, &orphans);
        verdicts.iter().map(|verdict| verdict.keep).collect()
    };
    let expected = [None, Some(Keep::NoMaster), Some(Keep::Recorded), Some(Keep::NoDatabase)];
    assert_eq!(keeps(&all, &x_test), expected);
    let verdicts = clear_orphans(&all, std::slice::from_ref(&x_test), &masters, &orphans);
    let rows = orphan_rows(&all, safe_orphans(&verdicts));
    let row = OrphanRow { host: "leaf-2".to_owned(), port: 3306, database: "x_test_0".to_owned() };
    assert_eq!(rows, [row]);
    assert_eq!(OrphanRow::COLUMNS, ["Host", "Port", "Database"]);
    // Another copy of the same partition on the same leaf is not the recorded one (O08).
    let stale = [orphan(1, 0, 99)];
    assert_eq!(clear_orphans(&all, std::slice::from_ref(&x_test), &masters, &stale)[0].keep, None);
    all[1].standing = Standing::Away;
    assert_eq!(keeps(&all, &x_test)[0], Some(Keep::Away));
    all[0].standing = Standing::Away;
    assert_eq!(keeps(&all, &x_test)[0], Some(Keep::NoMaster), "its master is gone too");
}

/// Promise: what an orphan has and its master has not is never dropped unasked, nor what nobody can compare; a part of
/// what the master has may go.
#[test]
fn what_is_only_on_an_orphan_stays() {
    let all = leaves(1, 1);
    let home = Home { master: LeafId(1), replica: None };
    let x_test = Database { name: "x_test".to_owned(), ..database([home]) };
    let own = ("x_test".to_owned(), Ordinal(0));
    let master = extent(&[(2, 0), (4, 9000)], 20_000);
    let keep = |masters: &Masters, has: Option<Extent>| {
        let orphans = [Orphan { extent: has, ..orphan(2, 0, 7) }];
        clear_orphans(&all, std::slice::from_ref(&x_test), masters, &orphans)[0].keep
    };
    let said = Masters::from([(own, master)]);
    for (terms, end) in [(&[(2, 0)][..], 9000), (&[(2, 0)], 4096), (&[(2, 0), (4, 9000)], 20_000)] {
        assert_eq!(keep(&said, Some(extent(terms, end))), None, "{terms:?} {end}");
    }
    let more = [
        (&[(2, 0)][..], 9001),
        (&[(2, 0), (3, 9000)], 12_000),
        (&[(2, 0), (4, 9000)], 20_001),
        (&[(5, 0)], 1),
    ];
    for (terms, end) in more {
        assert_eq!(keep(&said, Some(extent(terms, end))), Some(Keep::Ahead), "{terms:?} {end}");
    }
    assert_eq!(keep(&said, None), Some(Keep::Unread));
    assert_eq!(keep(&Masters::new(), Some(extent(&[(2, 0)], 0))), Some(Keep::Silent));
}

/// Promise: second copies even out what leaves have, before they are spread by masters.
#[test]
fn second_copies_go_where_there_are_fewest() {
    let all = leaves(1, 3);
    let mut partitions: Vec<_> = (0..8).map(|n| partition(n, &[LeafId(1)])).collect();
    partitions.push(partition(8, &[LeafId(1), LeafId(2)]));
    let database = named(partitions);
    let plan = restore(&all, &database, Mode::LoadBalanced).expect("leaves enough");
    let to = |leaf: u64| plan.steps.iter().filter(|step| step.target == LeafId(leaf)).count();
    assert_eq!([to(2), to(3), to(4)], [2, 3, 3]);
}

/// Promise (W15): with a dead leaf, second copies come to the leaves of the other group that have least, and
/// from each master leaf to different ones.
#[test]
fn w15_second_copies_are_spread() {
    let mut all = leaves(3, 3);
    let mut database = created(&all, Mode::LoadBalanced, 54);
    all[5].standing = Standing::Away;
    for partition in &mut database.partitions {
        if partition.master == Some(LeafId(6)) {
            partition.master = partition.copies.keys().next().copied();
        }
        partition.copies.remove(&LeafId(6));
    }
    let plan = restore(&all, &database, Mode::LoadBalanced).expect("leaves enough");
    assert_eq!(plan.steps.len(), 18);
    let to = |leaf: u64| plan.steps.iter().filter(|step| step.target == LeafId(leaf)).count();
    assert_eq!([to(4), to(5)], [9, 9]);
    let mut alone = leaves(1, 1);
    alone[1].standing = Standing::Away;
    let one = Database { partitions: vec![partition(0, &[LeafId(1)])], ..database };
    let expected = Err(Unplaceable::NoLeafInGroup(Group::Two));
    assert_eq!(restore(&alone, &one, Mode::LoadBalanced), expected);
}
