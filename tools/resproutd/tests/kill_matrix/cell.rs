//! One cell of the matrix: a plan comes to a stage, and somebody is killed.

use mysql_async::Error;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use crate::support::cluster::{PATIENCE, connect, open, until};
use crate::world::{World, kept};

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    MasterAggregator,
    /// The leaf that is moved from.
    Source,
    /// The leaf that is moved to.
    Target,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Copies,
    Promotion,
    Drop,
}

/// A plan that has come to its stage.
struct Reached {
    running: JoinHandle<Result<(), Error>>,
    from: u16,
    to: u16,
}

/// The first REBALANCE copies much; later, where all is in its place, one copy is asked for by name.
async fn copies(world: &World) -> Reached {
    world.slow(true).await;
    let statement = if world.is_balanced {
        let (_, to) = world.ends_of_a_move().await;
        format!("COPY PARTITION test:0 TO {}", world.leaf(to))
    } else {
        "REBALANCE PARTITIONS ON test".to_owned()
    };
    let running = world.beside(statement).await;
    let (ordinal, to) = world.until_copying().await;
    let copies = world.copies().await;
    let master = copies.iter().find(|copy| copy.ordinal == ordinal && copy.is_master());
    Reached { running, from: master.expect("a master").port, to }
}

async fn copied(world: &World) -> (u16, u16) {
    let (from, to) = world.ends_of_a_move().await;
    world.done(&format!("COPY PARTITION test:0 TO {}", world.leaf(to))).await;
    world.whole().await;
    (from, to)
}

/// A transaction with rows in all partitions keeps the promotion from being over too soon.
async fn promotion(world: &World) -> Reached {
    let (from, to) = copied(world).await;
    let mut long = connect(&[world.child().await]).await;
    long.query_drop("BEGIN").await.expect("begun");
    let rows: Vec<_> = (0..64).map(|id| format!("({id})")).collect();
    let insert = format!("INSERT INTO test.held VALUES {}", rows.join(","));
    long.query_drop(insert).await.expect("inserted");
    let statement = format!("PROMOTE PARTITION test:0 ON {}", world.leaf(to));
    let running = world.beside(statement).await;
    world.until_running("PROMOTE PARTITION").await;
    // Its aggregator ends it some time after the kill.
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        drop(long);
    });
    Reached { running, from, to }
}

/// The leaf that is to drop its copy stands still until somebody was killed.
async fn dropping(world: &World) -> Reached {
    let (from, to) = copied(world).await;
    world.done(&format!("PROMOTE PARTITION test:0 ON {}", world.leaf(to))).await;
    world.until_followed().await;
    world.clients.disturb(&world.copies().await, from);
    world.cluster.signal(world.cluster.at(from), "STOP");
    let statement = format!("DROP PARTITION test:0 ON {}", world.leaf(from));
    let running = world.beside(statement).await;
    world.until_running("DROP PARTITION").await;
    Reached { running, from, to }
}

/// The end of the statement is one that the cell may have.
fn check_end(victim: Victim, stage: Stage, ended: &Result<(), Error>) {
    let is_well = match (victim, stage) {
        (Victim::MasterAggregator, _) | (Victim::Target, Stage::Drop) => ended.is_ok(),
        (Victim::Target, _) | (Victim::Source, Stage::Drop) => ended.is_err(),
        // The copies go on from the next master; a REBALANCE that was to move the one that was lost ends with that. Of those that are
        // left the target may be chosen.
        (Victim::Source, Stage::Copies | Stage::Promotion) => true,
    };
    assert!(is_well, "{victim:?} at {stage:?}: {ended:?}");
}

pub(crate) async fn run(world: &mut World, victim: Victim, stage: Stage) {
    let cell = format!("{victim:?} at {stage:?}");
    world.clients.longest_pause();
    let reached = match stage {
        Stage::Copies => copies(world).await,
        Stage::Promotion => promotion(world).await,
        Stage::Drop => dropping(world).await,
    };
    let before = world.names().await;
    let killed = match victim {
        Victim::MasterAggregator => world.cluster.master().await.expect("a master aggregator"),
        Victim::Source => world.cluster.at(reached.from),
        Victim::Target => world.cluster.at(reached.to),
    };
    let port = world.cluster.port(killed);
    world.clients.disturb(&world.copies().await, port);
    let times = world.times_online(port).await;
    world.cluster.kill(killed);
    if stage == Stage::Drop && victim != Victim::Source {
        world.cluster.signal(world.cluster.at(reached.from), "CONT");
    }
    world.slow(false).await;
    let ended = tokio::time::timeout(PATIENCE, reached.running).await;
    let ended = ended.unwrap_or_else(|_| panic!("{cell}: the statement ends")).expect("no panic");
    check_end(victim, stage, &ended);
    let after = world.names().await;
    kept(&before, &after);
    world.cluster.run(killed);
    if victim == Victim::MasterAggregator {
        let door = world.cluster.address(killed);
        until("it serves again", async || open(door).await.is_ok()).await;
    } else {
        // It may have been away for so short a time that nobody has noticed yet.
        until("it is taken in again", async || world.times_online(port).await > times).await;
    }
    if (victim, stage) == (Victim::Source, Stage::Drop) {
        world.whole().await;
        let orphans = world.orphans().await;
        let is_it = |orphan: &(u16, u64, u64, Option<String>)| (orphan.0, orphan.1) == (port, 0);
        assert!(orphans.iter().any(is_it), "{cell}: its files are there: {orphans:?}");
    }
    world.judge(&cell).await;
}
