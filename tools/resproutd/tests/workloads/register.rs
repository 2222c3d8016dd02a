//! Single rows, read and written through all aggregators.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysql_async::Error;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use crate::history::{FIRST, Op, check};
use crate::scene::{Client, Scene, Workload, locked};
use crate::support::outcome::{Outcome, judged};

const REGISTERS: u64 = 6;
const CLIENTS: u64 = 3;

pub(crate) fn tables() -> Vec<String> {
    let rows: Vec<_> = (0..REGISTERS).map(|id| format!("({id},{FIRST})")).collect();
    vec![
        "CREATE TABLE db.registers (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)".to_owned(),
        format!("INSERT INTO db.registers VALUES {}", rows.join(",")),
    ]
}

type Ops = Arc<Mutex<Vec<Op>>>;

pub(crate) struct Registers {
    ops: Ops,
    tasks: Vec<JoinHandle<()>>,
}

impl Registers {
    /// For each aggregator one who writes and one who reads.
    pub(crate) fn start(scene: &Arc<Scene>) -> Self {
        let ops = Ops::default();
        let writers = (0..CLIENTS).map(|at| tokio::spawn(write(scene.clone(), ops.clone(), at)));
        let readers = (0..CLIENTS).map(|at| tokio::spawn(read(scene.clone(), ops.clone(), at)));
        let tasks = writers.collect::<Vec<_>>().into_iter().chain(readers).collect();
        Self { ops, tasks }
    }

    pub(crate) async fn check(self, scene: &Scene) -> String {
        for task in self.tasks {
            task.await.expect("a client");
        }
        let ops = locked(&self.ops);
        if let Err(why) = check(&ops) {
            panic!("{}: {why}", scene.database);
        }
        let writes = ops.iter().filter(|op| op.is_write).count();
        format!("registers written {writes} times and read {} times", ops.len() - writes)
    }
}

async fn write(scene: Arc<Scene>, ops: Ops, client: u64) {
    let mut at = Client::of(&scene.doors, usize::try_from(client).unwrap_or(0)).await;
    for round in 0.. {
        if !scene.goes_on().await {
            return;
        }
        let (key, value) = ((round + client) % REGISTERS, 1 + round * CLIENTS + client);
        let update =
            format!("UPDATE {}.registers SET value = {value} WHERE id = {key}", scene.database);
        let from = scene.now();
        let outcome = judged(&at.conn.query_drop(update).await);
        let to = match outcome {
            Outcome::Done => scene.now(),
            Outcome::Unknown => Duration::MAX,
            // Whoever sees it has seen what nobody wrote.
            Outcome::Refused => continue,
        };
        locked(&ops).push(Op { key, is_write: true, value, from, to });
        if outcome == Outcome::Done {
            scene.acknowledged(Workload::Register);
        } else {
            at.again().await;
        }
    }
}

async fn read(scene: Arc<Scene>, ops: Ops, client: u64) {
    let mut at = Client::of(&scene.doors, usize::try_from(client).unwrap_or(0)).await;
    for key in (0..REGISTERS).cycle() {
        if !scene.goes_on().await {
            return;
        }
        let asked = format!("SELECT value FROM {}.registers WHERE id = {key}", scene.database);
        let from = scene.now();
        match at.conn.query_first::<u64, _>(asked).await {
            Ok(value) => {
                let (value, to) = (value.expect("its row"), scene.now());
                let from = scene.reads_since(at.door, from);
                locked(&ops).push(Op { key, is_write: false, value, from, to });
            }
            Err(Error::Server(_)) => {}
            Err(_) => at.again().await,
        }
    }
}
