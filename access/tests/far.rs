//! A partition in another engine, over a real connection: every operation, and what happens when it is lost.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use resprout_access::{
    Assign, Changed, Client, FarPartition, Locate, Looked, Place, Server, fetch,
};
use resprout_engine::table::{ColumnId, TableSchema, Value, ValueRef};
use resprout_engine::{
    Database, DatabaseOptions, Durability, Engine, Error, Options, Partition, Vote,
};
use resprout_replication::transport::Secret;
use tempfile::TempDir;

#[derive(Debug)]
struct Here(Database, Arc<AtomicU64>);

impl Locate for Here {
    fn partition(&self, place: Place) -> Option<Partition> {
        let of_it = self.0.number() == place.database;
        of_it.then(|| self.0.partitions().get(place.ordinal as usize).cloned()).flatten()
    }

    fn office(&self) -> u64 {
        self.1.load(Ordering::Acquire)
    }
}

struct World {
    engine: Engine,
    database: Database,
    server: Option<Server>,
    client: Client,
    /// What the leaf knows from the metadata.
    office: Arc<AtomicU64>,
    _dir: TempDir,
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes()).unwrap()
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { maximum_memory: 128 << 20, ..Options::default() };
        let engine = Engine::open(dir.path(), options).unwrap();
        let options = DatabaseOptions { partitions: 2, durability: Durability::Async };
        let database = engine.create_database("d", options).unwrap();
        let builder =
            TableSchema::builder("t").column("id", "bigint").column("text", "varchar(40)");
        let builder = builder.primary_key(&["id"]).index("by_text", &["text"]);
        database.create_table(&builder.build().unwrap()).unwrap();
        let office = Arc::new(AtomicU64::new(0));
        let locate = Arc::new(Here(database.clone(), office.clone()));
        let known = "known to all of the cluster";
        let server = Server::bind("127.0.0.1:0", secret(known), locate).await.unwrap();
        let client = Client::new(secret(known));
        Self { engine, database, server: Some(server), client, office, _dir: dir }
    }

    fn far(&self, ordinal: u32) -> FarPartition {
        let address = self.server.as_ref().unwrap().address().to_string();
        let place = Place { database: self.database.number(), ordinal };
        self.client.partition(&address, place, &format!("d:{ordinal}"))
    }
}

fn row(id: i64) -> [Value; 2] {
    [Value::Int(id), Value::Text(format!("text {id:06}"))]
}

fn ids(far: &FarPartition) -> Vec<i64> {
    let (table, transaction) = (far.table("t").unwrap(), far.begin());
    let mut found = Vec::new();
    let scanned = transaction.scan(None, (&table, None), &table.rows(), |row| {
        let ValueRef::Int(id) = row.get(ColumnId(0)).unwrap() else { panic!("no number") };
        found.push(id);
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    found
}

async fn insert(far: &FarPartition, from: i64, to: i64) {
    let (table, mut transaction) = (far.table("t").unwrap(), far.begin());
    for id in from..to {
        transaction.insert(&table, &row(id)).await.unwrap();
    }
    assert_eq!(i64::try_from(transaction.changes()).unwrap(), to - from);
    transaction.commit().await.unwrap();
}

/// Promise: what is written far is there, near and far, in the order of keys and of an index; own writes are seen, and
/// what is taken back or never committed is not there.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_written_read_and_taken_back() {
    let world = World::new().await;
    let far = world.far(1);
    insert(&far, 0, 5000).await;
    assert_eq!(ids(&far), (0..5000).collect::<Vec<_>>());
    assert!(ids(&world.far(0)).is_empty());
    let table = far.table("t").unwrap();
    let key = table.primary_key(&[Value::Int(7)]).unwrap();
    let mut transaction = far.begin();
    let view = transaction.view().unwrap();
    let text = [(ColumnId(1), Value::Text("other".to_owned()))];
    assert!(transaction.update_key(&table, &key, &text).await.unwrap());
    let mark = transaction.mark();
    let last = table.primary_key(&[Value::Int(8)]).unwrap();
    assert!(transaction.delete_key(&table, &last).await.unwrap());
    assert_eq!(transaction.look(&table, &last, |_| ()).unwrap(), None);
    transaction.rollback_to(mark);
    assert_eq!(transaction.changes(), 1);
    assert_eq!(transaction.look(&table, &last, |_| ()).unwrap(), Some(()));
    let index = table.schema().index_named("by_text").unwrap();
    let range = table.index_range(index, &[Value::Text("other".to_owned())]).unwrap();
    let mut found = Vec::new();
    let scanned = transaction.scan(Some(&view), (&table, Some(index)), &range, |row| {
        found.push(row.key().to_vec());
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    assert_eq!(found, std::slice::from_ref(&key));
    drop((view, transaction));
    let near = world.database.partitions()[1].begin().unwrap();
    let text = near.look(&table, &key, |row| row.get(ColumnId(1)).unwrap() == row_text(7)).unwrap();
    assert_eq!(text, Some(true), "what was not committed is not there");
}

fn row_text(id: i64) -> ValueRef<'static> {
    ValueRef::Text(format!("text {id:06}").into())
}

/// Promise: errors are what they were: a row that is there already, one that is locked, a table that was changed.
#[tokio::test(flavor = "multi_thread")]
async fn errors_are_what_they_were() {
    let world = World::new().await;
    let far = world.far(0);
    insert(&far, 1, 2).await;
    let table = far.table("t").unwrap();
    let error = far.begin().insert(&table, &row(1)).await.unwrap_err();
    assert!(matches!(&error, Error::Duplicate(entry) if entry.index == "PRIMARY"), "{error}");
    let key = table.primary_key(&[Value::Int(1)]).unwrap();
    let mut holder = far.begin();
    assert_eq!(holder.lock_key(&table, &key).await.unwrap(), Some(row(1).to_vec()));
    let mut waiter = far.begin();
    waiter.set_lock_wait_limit(Duration::from_millis(50));
    let error = waiter.lock_key(&table, &key).await.unwrap_err();
    assert!(matches!(error, Error::LockWaitTimeout { .. }), "{error}");
    drop(holder);
    // What held the lock has ended, though nobody waited for that.
    assert!(far.begin().lock_key(&table, &key).await.unwrap().is_some());
    let change = resprout_engine::table::Change::DropColumn("text".into());
    world
        .database
        .alter_table("t", resprout_engine::table::Change::DropIndex("by_text".into()))
        .unwrap();
    world.database.alter_table("t", change).unwrap();
    let error = far.begin().insert(&table, &row(2)).await.unwrap_err();
    assert!(matches!(error, Error::SchemaChanged { .. }), "{error}");
    assert_eq!(far.catalog_now().unwrap().table("t").unwrap().live().len(), 1);
}

/// Promise: two parts that have promised take effect, and the votes say so; a part without promise is refused.
#[tokio::test(flavor = "multi_thread")]
async fn promises_take_effect_in_both() {
    let world = World::new().await;
    let parts = [world.far(0), world.far(1)];
    let table = parts[0].table("t").unwrap();
    let mut promises = Vec::new();
    for far in &parts {
        let mut transaction = far.begin();
        transaction.insert(&table, &row(1)).await.unwrap();
        promises.push(transaction.promise(b"one", &[0, 1], &[]).unwrap());
    }
    for promise in promises {
        promise.wait().await.unwrap();
    }
    assert_eq!(parts[0].in_doubt().await.unwrap()[0].participants, [0, 1]);
    assert_eq!(parts[1].vote(b"one").await.unwrap(), Vote::Promised);
    for far in &parts {
        let position = far.commit_prepared(b"one").await.unwrap();
        far.flush().await.unwrap();
        assert!(far.is_durable(position).await.unwrap());
        assert_eq!(ids(far), [1]);
        assert_eq!(far.vote(b"one").await.unwrap(), Vote::Committed);
        far.forget_decisions(far.decisions().await.unwrap()).await.unwrap();
    }
    assert_eq!(parts[0].vote(b"two").await.unwrap(), Vote::Refused);
    let mut late = parts[0].begin();
    late.insert(&table, &row(2)).await.unwrap();
    let error = late.promise(b"two", &[0, 1], &[]).unwrap().wait().await.unwrap_err();
    assert!(matches!(error, Error::AlreadyDecided), "{error}");
}

/// Promise (N11): when a connection is lost, what was not committed is rolled back there, who was under way is told, and
/// the next transaction makes another connection.
#[tokio::test(flavor = "multi_thread")]
async fn n11_a_lost_connection_rolls_back() {
    let mut world = World::new().await;
    let far = world.far(0);
    let table = far.table("t").unwrap();
    let address = world.server.as_ref().unwrap().address().to_string();
    let mut transaction = far.begin();
    transaction.insert(&table, &row(1)).await.unwrap();
    world.server = None;
    // Its tasks end a moment later.
    let mut id = 2;
    let error = loop {
        match transaction.insert(&table, &row(id)).await {
            Ok(_) => id += 1,
            Err(error) => break error,
        }
        assert!(id < 1_000_000, "the connection lives on");
    };
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "nothing was sent: {error}");
    let began = Instant::now();
    let error = loop {
        match far.begin().insert(&table, &row(1)).await {
            Ok(_) => assert!(began.elapsed() < Duration::from_secs(20), "somebody still listens"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let locate = Arc::new(Here(world.database.clone(), world.office.clone()));
    let known = secret("known to all of the cluster");
    let began = Instant::now();
    // The port is free once the tasks of the old one have ended.
    let server = loop {
        match Server::bind(&address, known.clone(), locate.clone()).await {
            Ok(server) => break server,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    world.server = Some(server);
    insert(&far, 1, 3).await;
    assert_eq!(ids(&far), [1, 2]);
    world.engine.close().unwrap();
    let error = far.begin().insert(&table, &row(9)).await.unwrap_err();
    assert!(
        !matches!(error, Error::Unreachable { .. }),
        "it is the partition that does not serve: {error}"
    );
}

/// Promise: rows that stand alone are read with one message for all partitions of a leaf: by keys, by ranges, by an
/// index; no more than are wanted, and none if they are too many. Of another table than it is now, nothing is read.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_fetched_with_one_message() {
    let world = World::new().await;
    let parts = [world.far(0), world.far(1)];
    insert(&parts[0], 0, 10).await;
    insert(&parts[1], 10, 30).await;
    let table = parts[0].table("t").unwrap();
    let key = |id| table.primary_key(&[Value::Int(id)]).unwrap();
    let keys = |of: &FarPartition, ids: &[i64]| {
        (of.clone(), Looked::Keys(ids.iter().map(|id| key(*id)).collect()))
    };
    let asked = [keys(&parts[0], &[3, 77]), keys(&parts[1], &[12])];
    let asked = || asked.iter().map(|(of, looked)| (of, looked.clone())).collect();
    let found = fetch(&table, asked(), (2, u32::MAX)).await.unwrap().unwrap();
    let id = |at: usize, id: i64| {
        let look =
            found[at].look(&table, &key(id), |row| row.get(ColumnId(0)).unwrap().into_owned());
        look.unwrap()
    };
    assert_eq!([id(0, 77), id(0, 3), id(1, 12)], [None, Some(Value::Int(3)), Some(Value::Int(12))]);
    assert!(found[0].look(&table, &key(4), |_| ()).is_err(), "nobody asked for that one");
    assert!(fetch(&table, asked(), (1, u32::MAX)).await.unwrap().is_none(), "too many");
    let index = table.schema().index_named("by_text").unwrap();
    for (id, range) in
        [(None, table.rows()), (Some(index.id), table.index_range(index, &[]).unwrap())]
    {
        for (limits, expected) in [((1000, u32::MAX), 30), ((1000, 4), 8), ((8, 4), 8)] {
            let looked = Looked::Ranges(id, vec![(range.from.clone(), range.to.clone())]);
            let asked = parts.iter().map(|of| (of, looked.clone())).collect();
            let found = fetch(&table, asked, limits).await.unwrap().unwrap();
            let mut rows = 0;
            for found in &found {
                let count = |_: &resprout_engine::table::RowView<'_>| {
                    rows += 1;
                    ControlFlow::Continue(())
                };
                found.scan(&table, &range, count).unwrap();
            }
            assert_eq!(rows, expected, "{limits:?}");
        }
        let looked = Looked::Ranges(id, vec![(range.from.clone(), range.to.clone())]);
        let asked = parts.iter().map(|of| (of, looked.clone())).collect();
        assert!(fetch(&table, asked, (29, u32::MAX)).await.unwrap().is_none(), "too many");
    }
    let drop = resprout_engine::table::Change::DropColumn("text".into());
    let no_index = resprout_engine::table::Change::DropIndex("by_text".into());
    world.database.alter_table("t", no_index).unwrap();
    world.database.alter_table("t", drop).unwrap();
    let error = fetch(&table, asked(), (9, u32::MAX)).await.unwrap_err();
    assert!(matches!(error, Error::SchemaChanged { .. }), "{error}");
}

/// Promise: a write that stands alone is committed when it is answered, and nothing is locked then, whatever came of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_stands_alone_commits_itself() {
    let world = World::new().await;
    let far = world.far(0);
    let table = far.table("t").unwrap();
    let key = |id| table.primary_key(&[Value::Int(id)]).unwrap();
    let never = std::future::pending::<()>;
    for id in 1..4 {
        far.begin().insert_last(&table, &row(id), never()).await.unwrap();
    }
    let error = far.begin().insert_last(&table, &row(1), never()).await.unwrap_err();
    assert!(matches!(error, Error::Duplicate(_)), "{error}");
    assert!(far.begin().delete_last(&table, &key(2), never()).await.unwrap());
    assert!(!far.begin().delete_last(&table, &key(2), never()).await.unwrap());
    assert_eq!(ids(&far), [1, 3]);
    let change = async |id: i64, column: u16, assign: Assign| {
        let assignments = [(ColumnId(column), assign)];
        far.begin().change_last(&table, &key(id), &assignments, never()).await.unwrap()
    };
    let other = || Assign::Value(Value::Text("other".to_owned()));
    assert_eq!(change(1, 1, other()).await, Changed::Done(true));
    assert_eq!(change(1, 1, other()).await, Changed::Done(false));
    assert_eq!(change(9, 1, other()).await, Changed::Gone);
    assert_eq!(change(3, 0, Assign::Add(4)).await, Changed::Done(true));
    assert_eq!(ids(&far), [1, 7]);
    // What the leaf cannot do alone is said, and not done.
    let locked = change(7, 0, Assign::Add(i64::MAX)).await;
    assert!(matches!(&locked, Changed::Locked(values) if values[0] == Value::Int(7)), "{locked:?}");
    assert!(matches!(change(7, 1, Assign::Add(1)).await, Changed::Locked(_)));
    let near = world.database.partitions()[0].begin().unwrap();
    let text = near.get(&table, &[Value::Int(1)]).unwrap().unwrap();
    assert_eq!(text[1], Value::Text("other".to_owned()));
    let mut next = far.begin();
    next.set_lock_wait_limit(Duration::from_millis(50));
    for id in [1, 2, 7] {
        next.lock_key(&table, &key(id)).await.unwrap();
    }
}

/// Promise (N11): a write that stands alone and is stopped while it waits for a lock is not done, and says so; if the
/// connection is lost meanwhile, its outcome is unknown.
#[tokio::test(flavor = "multi_thread")]
async fn n11_a_write_that_is_stopped_says_what_became_of_it() {
    let mut world = World::new().await;
    let far = world.far(0);
    insert(&far, 1, 2).await;
    let table = far.table("t").unwrap();
    let key = table.primary_key(&[Value::Int(1)]).unwrap();
    let partition = world.database.partitions()[0].clone();
    let mut holder = partition.begin().unwrap();
    holder.lock_key_async(&table, &key).await.unwrap();
    let error = far.begin().delete_last(&table, &key, std::future::ready(())).await.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error}");
    drop(holder);
    assert_eq!(ids(&far), [1]);
    let mut holder = partition.begin().unwrap();
    holder.lock_key_async(&table, &key).await.unwrap();
    let (said, is_said) = tokio::sync::oneshot::channel();
    // It is waited for once the message is on its way.
    let stop = async {
        said.send(()).unwrap();
        std::future::pending::<()>().await;
    };
    let lost = async {
        is_said.await.unwrap();
        world.server = None;
    };
    let (outcome, ()) = tokio::join!(far.begin().delete_last(&table, &key, stop), lost);
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
}

/// Promise (I01, S10): who does not know the secret gets in on neither side.
#[tokio::test(flavor = "multi_thread")]
async fn i01_s10_another_secret_is_refused() {
    let world = World::new().await;
    let address = world.server.as_ref().unwrap().address().to_string();
    let stranger = Client::new(secret("known to nobody of the cluster"));
    let place = Place { database: world.database.number(), ordinal: 0 };
    let error = stranger.partition(&address, place, "d:0").table("t").unwrap_err();
    assert!(error.to_string().contains("another cluster secret"), "{error}");
}

/// Promise (rule 3, M10): tables are changed by the newest master aggregator that the leaf knows of, from the metadata or from
/// that one itself; what an earlier one asks for is refused, of any partition, and nothing of it is done.
#[tokio::test(flavor = "multi_thread")]
async fn m10_tables_are_changed_by_the_newest_office() {
    let world = World::new().await;
    let schema = |name: &str| {
        let builder = TableSchema::builder(name).column("id", "bigint").primary_key(&["id"]);
        TableSchema { id: resprout_engine::table::TableId(9), ..builder.build().unwrap() }
    };
    let names = |ordinal: usize| {
        let catalog = world.database.partitions()[ordinal].catalog().unwrap();
        catalog.tables().map(|table| table.name().to_owned()).collect::<Vec<_>>()
    };
    let (old, new) = (world.far(0).in_office(29), world.far(1).in_office(61));
    tokio::task::block_in_place(|| {
        assert!(old.begin_office().unwrap());
        old.adopt_table(schema("a")).unwrap();
        assert!(new.begin_office().unwrap());
        for far in [&old, &world.far(1).in_office(29)] {
            assert!(!far.begin_office().unwrap());
            let refused = far.drop_table("t").unwrap_err().to_string();
            assert!(refused.contains("another master aggregator"), "{refused}");
            assert!(far.adopt_table(schema("b")).is_err());
            assert!(far.replace_table("t", schema("t")).is_err());
        }
        new.adopt_table(schema("c")).unwrap();
        world.office.store(70, Ordering::Release);
        assert!(new.drop_table("c").is_err());
        assert!(!new.begin_office().unwrap());
        assert!(world.far(0).in_office(70).begin_office().unwrap());
    });
    assert_eq!(names(0), ["t", "a"]);
    assert_eq!(names(1), ["t", "c"]);
}
