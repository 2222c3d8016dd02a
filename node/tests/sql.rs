//! Statements over a cluster: clients of an aggregator, rows on leaves, and leaves that are killed meanwhile.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod door;

use std::time::{Duration, Instant};

use door::Door;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use resprout_node::testing::Cluster;

async fn cluster() -> (Cluster, Door, Conn) {
    let cluster = Cluster::builder().voters(1).leaves(2).redundancy(2).start().await.unwrap();
    let door = Door::of(&cluster).await;
    let mut client = door.client().await;
    client.query_drop("CREATE DATABASE d PARTITIONS 4").await.unwrap();
    client.query_drop("USE d").await.unwrap();
    (cluster, door, client)
}

/// Waits until something is known that another aggregator did.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_so().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn numbers(client: &mut Conn, text: &str) -> Vec<i64> {
    client.query(text).await.unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Promise: what clients do with one node they can do with a cluster: definitions, writes by key and by condition,
/// transactions over partitions, taking back, reading in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_write_and_read_over_leaves() {
    let (_cluster, door, mut client) = cluster().await;
    client.query_drop("CREATE TABLE t (id BIGINT PRIMARY KEY, n INT, KEY (n))").await.unwrap();
    for id in 0..40 {
        client.query_drop(format!("INSERT INTO t VALUES ({id}, {})", id % 4)).await.unwrap();
    }
    assert_eq!(numbers(&mut client, "SELECT COUNT(*) FROM t").await, [40]);
    assert_eq!(numbers(&mut client, "SELECT n FROM t WHERE id = 7").await, [3]);
    assert_eq!(
        numbers(&mut client, "SELECT id FROM t WHERE n = 3 ORDER BY id LIMIT 3").await,
        [3, 7, 11]
    );
    client.query_drop("UPDATE t SET n = n + 10 WHERE n = 3").await.unwrap();
    assert_eq!(client.affected_rows(), 10);
    client.query_drop("DELETE FROM t WHERE id >= 30").await.unwrap();
    assert_eq!(client.affected_rows(), 10);
    assert_eq!(numbers(&mut client, "SELECT SUM(n) FROM t WHERE n > 9").await, [7 * 13]);
    let mut other = door.client().await;
    other.query_drop("USE d").await.unwrap();
    client.query_drop("BEGIN").await.unwrap();
    client.query_drop("INSERT INTO t VALUES (100, 1), (101, 1), (102, 1), (103, 1)").await.unwrap();
    client.query_drop("SAVEPOINT s").await.unwrap();
    client.query_drop("DELETE FROM t WHERE id = 0").await.unwrap();
    client.query_drop("ROLLBACK TO s").await.unwrap();
    assert_eq!(numbers(&mut client, "SELECT COUNT(*) FROM t").await, [34]);
    assert_eq!(numbers(&mut other, "SELECT COUNT(*) FROM t").await, [30]);
    client.query_drop("COMMIT").await.unwrap();
    assert_eq!(numbers(&mut other, "SELECT COUNT(*) FROM t").await, [34]);
    let duplicate = client.query_drop("INSERT INTO t VALUES (100, 1)").await.unwrap_err();
    assert!(
        duplicate.to_string().contains("Duplicate entry '100' for key 't.PRIMARY'"),
        "{duplicate}"
    );
    client.query_drop("ALTER TABLE t ADD COLUMN c VARCHAR(10) DEFAULT 'x'").await.unwrap();
    // Another session knows the table as it was.
    other.query_drop("INSERT INTO t VALUES (200, 2, 'y')").await.unwrap();
    client.query_drop("DROP TABLE t").await.unwrap();
    assert!(other.query_drop("SELECT * FROM t").await.is_err());
    client.query_drop("DROP DATABASE d").await.unwrap();
    let databases: Vec<String> = other.query("SHOW DATABASES").await.unwrap();
    assert_eq!(databases, ["information_schema"]);
}

/// Promise (T05): two aggregators give no number of an AUTO_INCREMENT column twice, whatever clients give themselves, and
/// whoever is master of the partition that gives ranges.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t05_aggregators_give_no_number_twice() {
    let (mut cluster, door, mut one) = cluster().await;
    let second = Door::of(&cluster).await;
    let mut other = second.client().await;
    other.query_drop("USE d").await.unwrap();
    let table = "CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY, by_whom INT)";
    one.query_drop(table).await.unwrap();
    let insert = "INSERT INTO t (by_whom) VALUES (1), (2)";
    for _ in 0..20 {
        one.query_drop(insert).await.unwrap();
        other.query_drop(insert).await.unwrap();
    }
    assert_eq!(numbers(&mut one, "SELECT COUNT(*) FROM t").await, [80]);
    // Above everything that was given: the next of both are greater, once their ranges are used up.
    one.query_drop("INSERT INTO t VALUES (1000000, 3)").await.unwrap();
    one.query_drop(insert).await.unwrap();
    assert!(one.last_insert_id().unwrap() > 1_000_000);
    let (giver, _) = cluster.master_of("d", 0).unwrap();
    cluster.kill(giver).await;
    for client in [&mut one, &mut other] {
        // More than is left of any range.
        for _ in 0..3 {
            let rows = vec!["(4)"; 700].join(",");
            client.query_drop(format!("INSERT INTO t (by_whom) VALUES {rows}")).await.unwrap();
        }
    }
    let mut third = door.client().await;
    let count = numbers(&mut third, "SELECT COUNT(*) FROM d.t").await;
    assert_eq!(count, [80 + 3 + 2 * 3 * 700], "a number that came twice would have been refused");
}

/// Promise: tables that several aggregators make and change at once are all there, each in all partitions, under numbers of
/// their own; what one made the others know.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn definitions_of_several_aggregators_do_not_meet() {
    let (cluster, door, mut client) = cluster().await;
    let second = Door::of(&cluster).await;
    let makers = [door.client().await, second.client().await].into_iter().zip(["a", "b"]);
    let making = makers.map(|(mut client, name)| {
        tokio::spawn(async move {
            client.query_drop("USE d").await.unwrap();
            for n in 0..8 {
                let table = format!("CREATE TABLE {name}{n} (id INT PRIMARY KEY, what TEXT)");
                client.query_drop(table).await.unwrap();
                let alter = format!("ALTER TABLE {name}{n} ADD COLUMN c INT DEFAULT 5");
                client.query_drop(alter).await.unwrap();
            }
            client.query_drop(format!("TRUNCATE TABLE {name}3")).await.unwrap();
            client.query_drop(format!("DROP TABLE {name}7")).await.unwrap();
            let again = client.query_drop(format!("CREATE TABLE {name}0 (id INT PRIMARY KEY)"));
            let again = again.await.unwrap_err().to_string();
            assert!(again.contains("1050"), "{again}");
        })
    });
    for made in making.collect::<Vec<_>>() {
        made.await.unwrap();
    }
    for table in ["a", "b"].iter().flat_map(|name| (0..7).map(move |n| format!("{name}{n}"))) {
        let rows = (0..8).map(|id| format!("({id}, '{table}')")).collect::<Vec<_>>().join(",");
        client.query_drop(format!("INSERT INTO {table} (id, what) VALUES {rows}")).await.unwrap();
    }
    for table in ["a", "b"].iter().flat_map(|name| (0..7).map(move |n| format!("{name}{n}"))) {
        let text = format!("SELECT COUNT(*) FROM {table} WHERE what = '{table}' AND c = 5");
        assert_eq!(numbers(&mut client, &text).await, [8], "{table}");
    }
    let mut partitions = Vec::new();
    for ordinal in 0..4 {
        let (_, partition) = cluster.master_of("d", ordinal).unwrap();
        let catalog = partition.catalog().unwrap();
        let tables = catalog.tables().map(|table| (table.id(), table.name().to_owned()));
        partitions.push(tables.collect::<Vec<_>>());
    }
    assert_eq!(partitions[0].len(), 14);
    assert!(partitions.iter().all(|tables| *tables == partitions[0]), "{partitions:?}");
}

/// Promise (M19): definitions through an aggregator go on while the master aggregator is killed: each waits for the next one, and
/// is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m19_definitions_wait_for_the_next_master_aggregator() {
    let mut cluster = Cluster::builder().voters(3).leaves(2).redundancy(2).start().await.unwrap();
    let master = cluster.master().unwrap();
    let child = cluster.aggregators().into_iter().find(|node| *node != master).unwrap();
    let door = Door::on(cluster.statements_of(child).unwrap()).await;
    let mut client = door.client().await;
    client.query_drop("CREATE DATABASE d PARTITIONS 2").await.unwrap();
    client.query_drop("USE d").await.unwrap();
    let (made, mut count) = tokio::sync::watch::channel(0);
    let making = tokio::spawn(async move {
        for n in 0..30 {
            let table = format!("CREATE TABLE t{n} (id INT PRIMARY KEY)");
            client.query_drop(table).await.unwrap();
            client.query_drop(format!("INSERT INTO t{n} VALUES (1), (2), (3)")).await.unwrap();
            made.send(n + 1).unwrap();
        }
        client
    });
    count.wait_for(|count| *count > 3).await.unwrap();
    cluster.kill(master).await;
    assert!(*count.borrow() < 30, "all were made before the master aggregator was gone");
    let mut client = making.await.unwrap();
    assert_ne!(cluster.master(), Some(master));
    for n in 0..30 {
        let count = numbers(&mut client, &format!("SELECT COUNT(*) FROM t{n}")).await;
        assert_eq!(count, [3], "table {n}");
    }
}

/// Promise: who is let in by one aggregator is let in by all, with the same rights; changes at several at once are all
/// there; a new aggregator knows them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn accounts_are_those_of_the_cluster() {
    let cluster = Cluster::builder().voters(2).leaves(1).redundancy(1).start().await.unwrap();
    let nodes = cluster.aggregators();
    let one = Door::on(cluster.statements_of(nodes[0]).unwrap()).await;
    let other = Door::on(cluster.statements_of(nodes[1]).unwrap()).await;
    let mut root = one.client().await;
    root.query_drop("CREATE DATABASE d PARTITIONS 1").await.unwrap();
    let native = "IDENTIFIED WITH mysql_native_password BY 'a password'";
    root.query_drop(format!("CREATE USER reader {native}")).await.unwrap();
    root.query_drop("GRANT SELECT ON d.* TO reader").await.unwrap();
    let mut reader = other.client_as("reader", "a password").await.unwrap();
    let refused = reader.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY)").await.unwrap_err();
    assert!(refused.to_string().contains("1142"), "{refused}");
    let mut other_root = other.client().await;
    other_root.query_drop("GRANT CREATE ON d.* TO reader").await.unwrap();
    let create = "CREATE TABLE d.t (id INT PRIMARY KEY)";
    until("the right is known", async || reader.query_drop(create).await.is_ok()).await;
    let making = [(root, "a"), (other_root, "b")].map(|(mut client, name)| {
        tokio::spawn(async move {
            for n in 0..6 {
                client.query_drop(format!("CREATE USER {name}{n}")).await.unwrap();
            }
        })
    });
    for made in making {
        made.await.unwrap();
    }
    for door in [&one, &other] {
        let mut root = door.client().await;
        for user in ["a", "b"].iter().flat_map(|name| (0..6).map(move |n| format!("{name}{n}"))) {
            let shown = format!("SHOW GRANTS FOR {user}");
            until(&shown, async || root.query_drop(&shown).await.is_ok()).await;
        }
    }
    let new = Door::on(cluster.statements_of(nodes[0]).unwrap()).await;
    new.client_as("reader", "a password").await.unwrap();
    assert!(new.client_as("reader", "another").await.is_err());
}

/// Promise (P01): a client that writes while a leaf is killed waits for a moment and gets no error; nothing that was
/// acknowledged is lost. Within a transaction it is told to run that again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p01_a_client_sees_a_pause_and_no_error() {
    let (mut cluster, door, mut client) = cluster().await;
    client.query_drop("CREATE TABLE t (id BIGINT PRIMARY KEY)").await.unwrap();
    for id in 0..20 {
        client.query_drop(format!("INSERT INTO t VALUES ({id})")).await.unwrap();
    }
    let mut other = door.client().await;
    other.query_drop("USE d").await.unwrap();
    other.query_drop("BEGIN").await.unwrap();
    other
        .query_drop("INSERT INTO t VALUES (900), (901), (902), (903), (904), (905), (906)")
        .await
        .unwrap();
    let (victim, _) = cluster.master_of("d", 0).unwrap();
    cluster.kill(victim).await;
    let killed = Instant::now();
    for id in 20..60 {
        client.query_drop(format!("INSERT INTO t VALUES ({id})")).await.unwrap();
    }
    let paused = killed.elapsed();
    assert!(paused < Duration::from_secs(8), "writes paused for {paused:?}");
    let lost = other.query_drop("COMMIT").await.unwrap_err();
    assert!(lost.to_string().contains("1857") || lost.to_string().contains("1777"), "{lost}");
    assert_eq!(numbers(&mut client, "SELECT COUNT(*) FROM t").await, [60]);
    cluster.start(victim).await.unwrap();
    cluster.until_whole().await.unwrap();
    let survivor = cluster.leaves().into_iter().find(|leaf| *leaf != victim).unwrap();
    cluster.kill(survivor).await;
    assert_eq!(numbers(&mut client, "SELECT COUNT(*) FROM t").await, [60]);
}

/// Promise (R20): a transaction whose aggregator is gone takes effect if all its parts had promised, and nowhere if
/// one had not; its rows are free again afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r20_a_commit_without_its_aggregator_is_ended_by_votes() {
    use resprout_access::Place;
    use resprout_engine::table::Value;
    use resprout_sql::place::Directory;

    let (cluster, _door, mut client) = cluster().await;
    client.query_drop("CREATE TABLE t (id BIGINT, shard BIGINT, PRIMARY KEY (id))").await.unwrap();
    let (directory, access) = cluster.statements().unwrap();
    let map = directory.database("d").unwrap();
    let far = |ordinal: u32| {
        let address = map.partitions[ordinal as usize].leaf.clone().unwrap();
        access.partition(&address, Place { database: map.number, ordinal }, "part")
    };
    let table = far(0).table("t").unwrap();
    for (id, promised) in [(1, &[0, 1][..]), (2, &[0][..])] {
        let mut parts = Vec::new();
        for ordinal in 0..2 {
            let mut part = far(ordinal).begin();
            part.insert(&table, &[Value::Int(id), Value::Int(0)]).await.unwrap();
            parts.push((ordinal, part));
        }
        for (ordinal, part) in parts {
            if promised.contains(&ordinal) {
                let name = format!("transaction {id}");
                part.promise(name.as_bytes(), &[0, 1], &[]).unwrap().wait().await.unwrap();
            }
        }
    }
    let began = Instant::now();
    loop {
        let mut doubts = 0;
        for ordinal in 0..2 {
            doubts += far(ordinal).in_doubt().await.unwrap().len();
        }
        if doubts == 0 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{doubts} are in doubt");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // All parts of the first, and none of the second, whose rows can be written again.
    assert_eq!(numbers(&mut client, "SELECT id FROM t WHERE shard = 0").await, [1, 1]);
    let mut again = far(0).begin();
    again.insert(&table, &[Value::Int(2), Value::Int(0)]).await.unwrap();
    again.commit().await.unwrap();
}

/// Promise: a cluster shows its nodes and copies with the columns that tools read, and nodes are added by statements.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_shows_itself() {
    let (mut cluster, _door, mut client) = cluster().await;
    let leaves: Vec<mysql_async::Row> = client.query("SHOW LEAVES").await.unwrap();
    let names: Vec<_> =
        leaves[0].columns_ref().iter().map(|one| one.name_str().into_owned()).collect();
    let expected = [
        "Host",
        "Port",
        "Availability_Group",
        "Pair_Host",
        "Pair_Port",
        "State",
        "Opened_Connections",
        "Average_Roundtrip_Latency",
        "NodeId",
    ];
    assert_eq!(names, expected);
    let shown = |row: &mysql_async::Row| -> (u64, String) {
        (row.get("Availability_Group").unwrap(), row.get("State").unwrap())
    };
    let states: Vec<_> = leaves.iter().map(shown).collect();
    assert_eq!(states, [(1, "online".to_owned()), (2, "online".to_owned())]);
    let aggregators: Vec<mysql_async::Row> = client.query("SHOW AGGREGATORS").await.unwrap();
    assert_eq!(aggregators[0].get::<String, _>("Role").unwrap(), "Leader");
    let partitions: Vec<mysql_async::Row> = client.query("SHOW PARTITIONS ON d").await.unwrap();
    let roles = |role: &str| {
        partitions.iter().filter(|row| row.get::<String, _>("Role").unwrap() == role).count()
    };
    assert_eq!((roles("Master"), roles("Replica")), (4, 4));
    let victim = cluster.leaves()[0];
    cluster.kill(victim).await;
    cluster
        .until("the leaf is lost", |metadata| {
            metadata.nodes()[&victim].state == resprout_cluster::metadata::NodeState::Offline
        })
        .await
        .unwrap();
    let leaves: Vec<mysql_async::Row> = client.query("SHOW LEAVES").await.unwrap();
    assert_eq!(shown(&leaves[0]), (1, "offline".to_owned()));
    let error = client.query_drop("ADD LEAF root@'127.0.0.1':1").await.unwrap_err();
    assert!(error.to_string().contains("is a node started there"), "{error}");
    let error = client.query_drop("REBALANCE PARTITIONS ON d").await.unwrap_err();
    assert!(error.to_string().contains("1738"), "{error}");
}
