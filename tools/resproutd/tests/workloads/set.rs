//! Rows that are only added: all that were acknowledged are there, none that was refused is, and each read has what was there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use crate::scene::{Client, Scene, Workload, locked};
use crate::support::outcome::{Outcome, judged};

const CLIENTS: u64 = 3;

pub(crate) fn tables() -> Vec<String> {
    vec!["CREATE TABLE db.members (id BIGINT PRIMARY KEY)".to_owned()]
}

#[derive(Debug, Default)]
struct Told {
    acknowledged: BTreeSet<u64>,
    refused: BTreeSet<u64>,
}

pub(crate) struct Set {
    told: Arc<Mutex<Told>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Set {
    /// Some who insert, each by an aggregator of its own, and one who reads.
    pub(crate) fn start(scene: &Arc<Scene>) -> Self {
        let told = Arc::new(Mutex::new(Told::default()));
        let insert = |client| tokio::spawn(insert(scene.clone(), told.clone(), client));
        let mut tasks: Vec<_> = (0..CLIENTS).map(insert).collect();
        tasks.push(tokio::spawn(read(scene.clone(), told.clone())));
        Self { told, tasks }
    }

    pub(crate) async fn check(self, scene: &Scene, conn: &mut Conn) -> String {
        for task in self.tasks {
            task.await.expect("a client");
        }
        let found = all(conn, &scene.database).await.expect("answered");
        let told = locked(&self.told);
        let lost: Vec<_> = told.acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let there: Vec<_> = told.refused.intersection(&found).collect();
        assert!(there.is_empty(), "refused, and there: {there:?}");
        format!("{} members, {} refused", told.acknowledged.len(), told.refused.len())
    }
}

async fn all(conn: &mut Conn, db: &str) -> Result<BTreeSet<u64>, mysql_async::Error> {
    let ids: Vec<u64> = conn.query(format!("SELECT id FROM {db}.members")).await?;
    let found: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(ids.len(), found.len(), "a row is there once");
    Ok(found)
}

async fn insert(scene: Arc<Scene>, told: Arc<Mutex<Told>>, client: u64) {
    let number = usize::try_from(client).unwrap_or(0);
    let mut at = Client::of(&scene.doors, number).await;
    for id in (client..).step_by(3) {
        if !scene.goes_on().await {
            return;
        }
        let insert = format!("INSERT INTO {}.members VALUES ({id})", scene.database);
        match judged(&at.conn.query_drop(insert).await) {
            Outcome::Done => {
                locked(&told).acknowledged.insert(id);
                scene.acknowledged(Workload::Set);
            }
            Outcome::Refused => drop(locked(&told).refused.insert(id)),
            Outcome::Unknown => at.again().await,
        }
    }
}

/// Reads all again and again, by an aggregator that no cut leaves behind.
async fn read(scene: Arc<Scene>, told: Arc<Mutex<Told>>) {
    let mut at = Client::of(&scene.ahead(), 1).await;
    while scene.goes_on().await {
        let before = locked(&told).acknowledged.clone();
        match all(&mut at.conn, &scene.database).await {
            Ok(found) => {
                let missing: Vec<_> = before.difference(&found).collect();
                assert!(missing.is_empty(), "acknowledged and not read: {missing:?}");
            }
            Err(mysql_async::Error::Server(_)) => {}
            Err(_) => at.again().await,
        }
    }
}
