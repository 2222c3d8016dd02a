//! Money moves between rows of several partitions: nothing acknowledged is lost, and no transfer is half there.

use std::sync::Arc;
use std::time::Instant;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::task::JoinHandle;

use crate::scene::{Client, Scene, Workload};
use crate::support::cluster::PATIENCE;

const ACCOUNTS: u64 = 40;
const BALANCE: i64 = 100;
const CLIENTS: u64 = 2;

pub(crate) fn tables() -> Vec<String> {
    let accounts = (0..ACCOUNTS).map(|id| format!("({id},{BALANCE})")).collect::<Vec<_>>();
    let clients = (0..CLIENTS).map(|id| format!("({id},0)")).collect::<Vec<_>>();
    vec![
        "CREATE TABLE db.accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)".to_owned(),
        "CREATE TABLE db.clients (id BIGINT PRIMARY KEY, done BIGINT NOT NULL)".to_owned(),
        format!("INSERT INTO db.accounts VALUES {}", accounts.join(",")),
        format!("INSERT INTO db.clients VALUES {}", clients.join(",")),
    ]
}

/// Clients, each with the number of its last transfer.
pub(crate) struct Bank(Vec<JoinHandle<u64>>);

impl Bank {
    pub(crate) fn start(scene: &Arc<Scene>) -> Self {
        Self((0..CLIENTS).map(|client| tokio::spawn(work(scene.clone(), client))).collect())
    }

    pub(crate) async fn check(self, scene: &Scene, conn: &mut Conn) -> String {
        let (db, mut transfers) = (&scene.database, 0);
        for (client, working) in self.0.into_iter().enumerate() {
            let acknowledged = working.await.expect("a client");
            let asked = format!("SELECT done FROM {db}.clients WHERE id = {client}");
            let done: Option<u64> = conn.query_first(asked).await.expect("answered");
            assert_eq!(done, Some(acknowledged), "client {client}");
            transfers += acknowledged;
        }
        let asked = format!("SELECT SUM(balance) FROM {db}.accounts");
        let sum: Option<i64> = conn.query_first(asked).await.expect("answered");
        assert_eq!(sum, Some(BALANCE * ACCOUNTS.cast_signed()));
        format!("{transfers} transfers")
    }
}

/// One transfer, and in the same transaction the number of it.
async fn transfer(conn: &mut Conn, db: &str, client: u64, number: u64) -> Result<(), Error> {
    // Lower ids first, so that no two wait for each other.
    let (from, to) = (number * 7 % ACCOUNTS, (number * 13 + client + 1) % ACCOUNTS);
    conn.query_drop("BEGIN").await?;
    for (id, by) in [(from.min(to), -1), (from.max(to), 1)] {
        let update = format!("UPDATE {db}.accounts SET balance = balance + ? WHERE id = ?");
        conn.exec_drop(update, (by, id)).await?;
    }
    let done = format!("UPDATE {db}.clients SET done = ? WHERE id = ?");
    conn.exec_drop(done, (number, client)).await?;
    conn.query_drop("COMMIT").await
}

/// Transfers until it is over; how many were acknowledged, in the order of their numbers. Who asks what became of a transfer must
/// not be told what was so before a cut: only aggregators are asked that no cut leaves behind.
async fn work(scene: Arc<Scene>, client: u64) -> u64 {
    let mut at = Client::of(&scene.ahead(), usize::try_from(client).unwrap_or(0)).await;
    let mut acknowledged = 0;
    while scene.goes_on().await {
        let number = acknowledged + 1;
        if transfer(&mut at.conn, &scene.database, client, number).await.is_ok() {
            scene.acknowledged(Workload::Bank);
            acknowledged = number;
            continue;
        }
        let done = find_out(&mut at, &scene.database, client).await;
        assert!(done >= acknowledged, "client {client}: {acknowledged} acknowledged, {done} there");
        acknowledged = done;
    }
    acknowledged
}

/// Whether the last transfer is there or not: the number that went with it says so.
async fn find_out(at: &mut Client, db: &str, client: u64) -> u64 {
    let end = Instant::now() + PATIENCE;
    loop {
        at.again().await;
        let asked = format!("SELECT done FROM {db}.clients WHERE id = {client}");
        match at.conn.query_first::<u64, _>(asked).await {
            Ok(Some(done)) => return done,
            other => assert!(Instant::now() < end, "client {client} finds nothing out: {other:?}"),
        }
    }
}
