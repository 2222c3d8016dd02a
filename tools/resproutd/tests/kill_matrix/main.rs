//! The kill matrix over real processes: copies and masters move by plan, clients write and read, and a node that has a part in it
//! is killed and started again.
//!
//! ```text
//!                      during the copies    at the promotion      at the drop
//!   master aggregator  the next goes on     the next goes on      the next goes on
//!   source             another is source    masters stay          its files stay, an orphan
//!   target             the copy is given up masters stay          another is master
//! ```
//!
//! Whatever is killed: what was acknowledged is there, writes to all partitions at once go on within ten seconds, nothing but what
//! the killed node had is short of a copy, what was copied is not copied again, the next REBALANCE brings all to its
//! place, and what was left on leaves is listed and cleared.
//!
//! A usual run has each cell once; `RESPROUT_ROUNDS` in the environment asks for more.

#[path = "../support/mod.rs"]
mod support;

#[path = "../walkthroughs/steps.rs"]
#[expect(dead_code, reason = "walkthroughs use the rest")]
mod steps;

mod cell;
mod clients;
mod world;

use cell::{Stage, Victim};
use support::directory;
use world::World;

/// Each stage with that victim, one after the other in one cluster.
async fn kill(victim: Victim) {
    let dir = directory();
    let mut world = World::start(dir.path()).await;
    for _ in 0..support::rounds() {
        for stage in [Stage::Copies, Stage::Promotion, Stage::Drop] {
            cell::run(&mut world, victim, stage).await;
        }
    }
    world.end().await;
}

/// Promise (O01, O02, O03, A1, A4): a plan outlives the master aggregator that carries it out: the next one goes on with what
/// is done, and whoever asked another aggregator for it is told of success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o01_o02_o03_a_plan_outlives_its_master_aggregator() {
    kill(Victim::MasterAggregator).await;
}

/// Promise (O01, O02, O03, A1, A4): a leaf that is moved from may die at any step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o01_o02_o03_the_source_of_a_plan_is_killed() {
    kill(Victim::Source).await;
}

/// Promise (O01, O02, O03, A1, A4): a leaf that is moved to may die at any step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o01_o02_o03_the_target_of_a_plan_is_killed() {
    kill(Victim::Target).await;
}
