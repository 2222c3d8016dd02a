//! Lists that are only added to, two in each transaction: `n` and `n+` to one, `n` to the other. Nothing is lost or there twice, both
//! lists have the same order, and nobody reads what is half there or goes away again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::task::JoinHandle;

use crate::scene::{Client, Scene, Workload, locked};
use crate::support::outcome::{Outcome, judged};

const LISTS: u64 = 6;
const CLIENTS: u64 = 3;

pub(crate) fn tables() -> Vec<String> {
    let rows: Vec<_> = (0..LISTS).map(|id| format!("({id},'')")).collect();
    vec![
        "CREATE TABLE db.lists (id BIGINT PRIMARY KEY, items TEXT NOT NULL)".to_owned(),
        format!("INSERT INTO db.lists VALUES {}", rows.join(",")),
    ]
}

type Items = Vec<String>;

/// A transaction: its number, and the two lists that it adds to.
#[derive(Clone, Copy, Debug)]
struct Added {
    number: u64,
    twice: u64,
    once: u64,
}

#[derive(Debug, Default)]
struct Told {
    ended: Vec<(Added, Outcome)>,
    /// How many items of each list were acknowledged.
    acknowledged: BTreeMap<u64, usize>,
    /// What was read of which list.
    reads: Vec<(u64, Items)>,
}

pub(crate) struct Append {
    told: Arc<Mutex<Told>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Append {
    /// Some who append, each by an aggregator of its own, and as many who read.
    pub(crate) fn start(scene: &Arc<Scene>) -> Self {
        let told = Arc::new(Mutex::new(Told::default()));
        let writers = (0..CLIENTS).map(|at| tokio::spawn(write(scene.clone(), told.clone(), at)));
        let readers = (0..CLIENTS).map(|at| tokio::spawn(read(scene.clone(), told.clone(), at)));
        let tasks = writers.collect::<Vec<_>>().into_iter().chain(readers).collect();
        Self { told, tasks }
    }

    pub(crate) async fn check(self, scene: &Scene, conn: &mut Conn) -> String {
        for task in self.tasks {
            task.await.expect("a client");
        }
        let mut lists = BTreeMap::new();
        for id in 0..LISTS {
            lists.insert(id, list(conn, &scene.database, id).await.expect("answered"));
        }
        let told = locked(&self.told);
        told.ended.iter().for_each(|(added, outcome)| is_whole(&lists, *added, *outcome));
        have_one_order(&lists);
        for (id, read) in &told.reads {
            let is_prefix = lists[id].starts_with(read);
            assert!(is_prefix, "what was read of list {id} is not there any more: {read:?}");
            let splits = lists[id].get(read.len()).is_some_and(|next| next.ends_with('+'));
            assert!(!splits, "half of a transaction was read of list {id}: {read:?}");
        }
        format!("{} appends, {} lists read", told.ended.len(), told.reads.len())
    }
}

async fn list(conn: &mut Conn, db: &str, id: u64) -> Result<Items, Error> {
    let asked = format!("SELECT items FROM {db}.lists WHERE id = {id}");
    let items: Option<String> = conn.query_first(asked).await?;
    let items = items.expect("its row");
    Ok(items.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

/// A transaction is there as often as it should be.
fn is_whole(lists: &BTreeMap<u64, Items>, added: Added, outcome: Outcome) {
    let count = |list: u64, item: &str| lists[&list].iter().filter(|there| *there == item).count();
    let (one, other) = (added.number.to_string(), format!("{}+", added.number));
    let counts = [count(added.twice, &one), count(added.twice, &other), count(added.once, &one)];
    let is_right = match outcome {
        Outcome::Done => counts == [1; 3],
        Outcome::Refused => counts == [0; 3],
        Outcome::Unknown => counts == [1; 3] || counts == [0; 3],
    };
    assert!(is_right, "{added:?} is {outcome:?} and there {counts:?} times");
}

/// What two lists have in common is in the same order in both.
fn have_one_order(lists: &BTreeMap<u64, Items>) {
    let plain = |list: &Items| -> Items {
        list.iter().filter(|item| !item.ends_with('+')).cloned().collect()
    };
    let lists: Vec<Items> = lists.values().map(plain).collect();
    for (at, one) in lists.iter().enumerate() {
        for other in &lists[at + 1..] {
            let common = |of: &Items, with: &Items| -> Items {
                of.iter().filter(|item| with.contains(item)).cloned().collect()
            };
            assert_eq!(common(one, other), common(other, one), "orders differ");
        }
    }
}

/// Adds; what became of it.
async fn add(conn: &mut Conn, db: &str, added: Added) -> Outcome {
    let Added { number, twice, once } = added;
    let mut items = vec![
        (twice, format!("{number},")),
        (twice, format!("{number}+,")),
        (once, format!("{number},")),
    ];
    // Lower ids first, so that no two wait for each other.
    items.sort_by_key(|(id, _)| *id);
    let mut ended = conn.query_drop("BEGIN").await;
    for (id, item) in items {
        if ended.is_ok() {
            let update = format!("UPDATE {db}.lists SET items = CONCAT(items, ?) WHERE id = ?");
            ended = conn.exec_drop(update, (item, id)).await;
        }
    }
    if ended.is_err() {
        // Nobody was asked to commit it.
        return Outcome::Refused;
    }
    judged(&conn.query_drop("COMMIT").await)
}

async fn write(scene: Arc<Scene>, told: Arc<Mutex<Told>>, client: u64) {
    let mut at = Client::of(&scene.doors, usize::try_from(client).unwrap_or(0)).await;
    for round in 0.. {
        if !scene.goes_on().await {
            return;
        }
        let number = round * CLIENTS + client;
        let twice = number % LISTS;
        let once = (twice + 1 + number / LISTS % (LISTS - 1)) % LISTS;
        let added = Added { number, twice, once };
        let outcome = add(&mut at.conn, &scene.database, added).await;
        {
            let mut told = locked(&told);
            told.ended.push((added, outcome));
            if outcome == Outcome::Done {
                *told.acknowledged.entry(twice).or_default() += 2;
                *told.acknowledged.entry(once).or_default() += 1;
                scene.acknowledged(Workload::Append);
            }
        }
        if outcome != Outcome::Done {
            at.again().await;
        }
    }
}

async fn read(scene: Arc<Scene>, told: Arc<Mutex<Told>>, client: u64) {
    let mut at = Client::of(&scene.doors, usize::try_from(client).unwrap_or(0)).await;
    for id in (0..LISTS).cycle() {
        if !scene.goes_on().await {
            return;
        }
        let least = locked(&told).acknowledged.get(&id).copied().unwrap_or(0);
        let from = scene.now();
        match list(&mut at.conn, &scene.database, id).await {
            Ok(items) => {
                // On a side that stays behind it may be as old as the cut: that it is a beginning is all there is to check.
                let is_recent = scene.reads_since(at.door, from) == from;
                let has_all = !is_recent || items.len() >= least;
                assert!(has_all, "of list {id} {least} items were acknowledged: {items:?}");
                locked(&told).reads.push((id, items));
            }
            Err(Error::Server(_)) => {}
            Err(_) => at.again().await,
        }
    }
}
