//! Workloads over a cluster of real processes, while nodes are killed, stopped and started again and the network is cut.
//!
//! ```text
//!   bank      money between rows of several partitions   the sum stays, each transfer is whole, the last acknowledged is there
//!   set       rows that are only added                   all acknowledged are there, none refused, each read has what was there
//!   append    lists, two in a transaction                nothing lost, nothing twice, the same order in both, no half is read
//!   register  single rows, read and written              one order explains all of it (linearizable)
//! ```
//!
//! A read on the side of a cut that stays behind may be as old as the cut, and no older
//! (`docs/decisions/2026-11-28-a-master-that-is-cut-off-serves-reads.md`): the checkers are told which reads those are.
//!
//! A usual run is one round of faults in a fixed order; `RESPROUT_ROUNDS` in the environment asks for more, in orders that follow from
//! their number.

#[path = "../support/mod.rs"]
mod support;

mod append;
mod bank;
mod faults;
mod history;
mod register;
mod scene;
mod set;

use std::sync::Arc;

use faults::Faults;
use mysql_async::prelude::Queryable;
use scene::Scene;
use support::cluster::{Cluster, Shape, connect};
use support::directory;
use support::network::{Network, Zone};

/// Two voters and a leaf on one side of the cut, a voter and a leaf on the side that stays behind.
const ZONES: [Zone; 5] = [Zone::A, Zone::A, Zone::B, Zone::B, Zone::A];
const SHAPE: Shape = Shape { voters: 3, leaves: 2, redundancy: 2 };

/// One round: clients work, faults come and go, and everything is read back.
async fn round(cluster: &mut Cluster, number: u64) {
    let database = format!("round{number}");
    let mut conn = connect(&cluster.doors()).await;
    conn.query_drop(format!("CREATE DATABASE {database} PARTITIONS 4")).await.expect("made");
    for statement in [bank::tables(), set::tables(), append::tables(), register::tables()].concat()
    {
        let statement = statement.replace("db.", &format!("{database}."));
        conn.query_drop(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    cluster.whole(&database).await;
    let behind = (0..SHAPE.voters).filter(|at| ZONES[*at] == Zone::B);
    let behind = behind.map(|at| cluster.address(at)).collect();
    let scene = Arc::new(Scene::new(cluster.doors(), behind, database));
    let bank = bank::Bank::start(&scene);
    let set = set::Set::start(&scene);
    let append = append::Append::start(&scene);
    let register = register::Registers::start(&scene);
    for fault in Faults::of(number, cluster.has_network()) {
        faults::strike(cluster, &scene, fault).await;
    }
    scene.end();
    let mut conn = connect(&cluster.doors()).await;
    let said = [
        bank.check(&scene, &mut conn).await,
        set.check(&scene, &mut conn).await,
        append.check(&scene, &mut conn).await,
        register.check(&scene).await,
    ];
    support::tell(&format!("round {number}: {}", said.join("; ")));
    conn.query_drop(format!("DROP DATABASE {}", scene.database)).await.expect("dropped");
}

/// Promise (A1, A4, A6, A7; P01, P02, P05, P09, P10, P11, N01): whatever is killed, stands still or is cut off, and comes back,
/// clients keep what was acknowledged, never see what was refused or half of a transaction, and registers are linearizable.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p01_p02_p05_p09_p10_p11_n01_clients_keep_what_they_were_told() {
    let dir = directory();
    let mut cluster = match Network::or_skip("the cut of the workloads", &ZONES) {
        Some(network) => Cluster::start_in(dir.path(), SHAPE, network),
        None => Cluster::start(dir.path(), SHAPE),
    };
    cluster.join().await;
    for number in 0..support::rounds() {
        round(&mut cluster, number).await;
    }
    cluster.end();
}
