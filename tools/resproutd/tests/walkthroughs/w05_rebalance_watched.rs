//! W05: EXPLAIN, REBALANCE, and SHOW REBALANCE STATUS while it runs, with clients meanwhile.
//!
//! Step 6 is the shape of a plan that a person saw; ours is the one of step 1.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql_async::{Conn, Error};

use crate::steps::{
    self, Beside, MOVED, PAIR, Status, Step, add_leaf, beside, explained, insert, probe, statuses,
};
use crate::support::cluster::{Cluster, connect};
use crate::support::directory;

/// A row that was there already: what became of the one before was not known.
const DUPLICATE: u16 = 1062;
const REBALANCE: &str = "REBALANCE PARTITIONS ON test";

/// Inserts rows from 1001 on, and reads after each; how many there are in the end.
async fn write(mut conn: Conn, stop: Arc<AtomicBool>) -> i64 {
    let mut count = 0;
    while !stop.load(Ordering::Acquire) {
        let id = 1001 + count;
        match insert(&mut conn, id..=id).await {
            Ok(()) => {}
            Err(Error::Server(error)) if error.code == DUPLICATE => {}
            Err(Error::Server(error)) if error.code == MOVED => continue,
            Err(other) => panic!("{other}"),
        }
        count += 1;
        match probe(&mut conn).await {
            Ok(found) => assert_eq!(found, (1, id, 100 + count.unsigned_abs())),
            Err(Error::Server(error)) if error.code == MOVED => {}
            Err(other) => panic!("{other}"),
        }
    }
    count
}

/// Copies come before promotions, and promotions before drops, of each partition.
fn check_order(plan: &[Step]) {
    let rank = |step: &Step| match step.0.as_str() {
        "COPY PARTITION" => 1,
        "PROMOTE PARTITION" | "PROMOTE PARTITION WITH DROP" => 2,
        "DROP PARTITION" => 3,
        other => panic!("{other}"),
    };
    for one in plan {
        for other in plan.iter().filter(|other| other.1 == one.1 && rank(one) < rank(other)) {
            assert!(one.3 < other.3, "{one:?} and {other:?}");
        }
    }
}

fn rank(row: &Status) -> usize {
    let words = ["scheduled", "running", "success"];
    words.iter().position(|word| *word == row.status).unwrap_or_else(|| panic!("{row:?}"))
}

/// The steps of what is shown: a promotion that drops says so in another way once it runs.
fn steps_of(rows: &[Status]) -> Vec<Step> {
    let step = |row: &Status| {
        let (action, ordinal, port, phase) = row.step();
        (action.trim_end_matches(" FORCE").to_owned(), ordinal, port, phase)
    };
    rows.iter().map(step).collect()
}

/// Looks at the status until the statement ends: every row goes forward, one phase at a time.
async fn watch(conn: &mut Conn, running: Beside, plan: &[Step]) -> u64 {
    let mut before = vec![0; plan.len()];
    let mut seen_running = false;
    while !running.task.is_finished() {
        let rows = statuses(conn, "test").await;
        if rows.is_empty() {
            continue;
        }
        assert_eq!(steps_of(&rows), plan);
        let now: Vec<_> = rows.iter().map(rank).collect();
        assert!(before.iter().zip(&now).all(|(before, now)| before <= now), "{before:?}, {now:?}");
        for row in &rows {
            assert_eq!(row.running_ms.is_none(), row.status == "scheduled", "{row:?}");
        }
        let phases = rows.iter().filter(|row| row.status == "running").map(|row| row.phase);
        let phases: BTreeSet<_> = phases.collect();
        assert!(phases.len() <= 1, "{rows:?}");
        seen_running |= !phases.is_empty();
        before = now;
    }
    assert!(seen_running, "it was seen while it ran");
    running.ended().await.expect("rebalanced")
}

/// Promise (W05): what EXPLAIN shows is what REBALANCE does, step by step as SHOW REBALANCE STATUS tells it, while clients
/// read and write; then nothing is left to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w05_a_rebalance_is_explained_watched_and_noticed_by_nobody() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), PAIR);
    let mut conn = steps::with_test(&cluster, "PARTITIONS 8").await;
    // 2
    assert_eq!(explained(&mut conn, REBALANCE).await, []);
    // 1
    add_leaf(&mut cluster, &mut conn, 1).await;
    add_leaf(&mut cluster, &mut conn, 2).await;
    let plan = explained(&mut conn, REBALANCE).await;
    assert!(!plan.is_empty());
    check_order(&plan);
    // 3, 4
    let stop = Arc::new(AtomicBool::new(false));
    let writer = connect(&cluster.doors()).await;
    let writing = tokio::spawn(write(writer, stop.clone()));
    let running = beside(&cluster, REBALANCE).await;
    let affected = watch(&mut conn, running, &plan).await;
    stop.store(true, Ordering::Release);
    let written = writing.await.expect("no panic");
    assert!(written > 0);
    // 5
    assert_eq!(affected, 1);
    let rows = statuses(&mut conn, "test").await;
    assert_eq!(steps_of(&rows), plan);
    for row in rows {
        assert_eq!((row.status.as_str(), row.remaining_ms), ("success", Some(0)));
    }
    assert_eq!(explained(&mut conn, REBALANCE).await, []);
    let whole = (1, 1000 + written, 100 + written.unsigned_abs());
    assert_eq!(probe(&mut conn).await.expect("answered"), whole);
    cluster.end();
}
