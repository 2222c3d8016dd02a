//! SHOW and DESCRIBE, as a driver sees them.

mod running;
mod runtime;

use mysql_async::prelude::Queryable;
use running::{fails, fresh, rows};
use runtime::run;

const TABLE: &str = "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(20) NOT NULL DEFAULT 'x', \
                     v DECIMAL(10,2), KEY by_name (name), UNIQUE KEY one (id, v))";

/// Promise: what a table is made of is told as MySQL does.
#[test]
fn tables_are_described() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop(TABLE).await.expect("a good table");
        assert_eq!(rows(&mut conn, "SHOW TABLES").await, ["t"]);
        assert_eq!(rows(&mut conn, "SHOW FULL TABLES FROM d LIKE '%'").await, ["t,BASE TABLE"]);
        assert_eq!(rows(&mut conn, "SHOW TABLES LIKE 'u%'").await, [""; 0]);
        assert_eq!(
            rows(&mut conn, "DESCRIBE t").await,
            ["id,bigint,NO,PRI,NULL,", "name,varchar(20),NO,MUL,x,", "v,decimal(10,2),YES,,NULL,"]
        );
        let numeric = "SHOW COLUMNS FROM t WHERE Type LIKE '%int%' OR `Null` = 'YES'";
        assert_eq!(rows(&mut conn, numeric).await.len(), 2);
        let keys = rows(&mut conn, "SHOW INDEX FROM t").await;
        assert_eq!(keys.len(), 4, "{keys:?}");
        assert!(keys[0].starts_with("t,0,PRIMARY,1,id,A"), "{keys:?}");
        let made = rows(&mut conn, "SHOW CREATE TABLE t").await;
        assert!(made[0].contains("KEY `by_name` (`name`)"), "{made:?}");
        server.end().await;
    });
}

/// Promise: the text of SHOW CREATE TABLE makes the same table again.
#[test]
fn what_is_shown_makes_the_same() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop(TABLE).await.expect("a good table");
        let (_, text): (String, String) =
            conn.query_first("SHOW CREATE TABLE t").await.expect("shown").expect("a row");
        conn.query_drop("DROP TABLE t").await.expect("dropped");
        conn.query_drop(&text).await.unwrap_or_else(|error| panic!("{error}: {text}"));
        let again: Option<(String, String)> =
            conn.query_first("SHOW CREATE TABLE t").await.expect("shown");
        assert_eq!(again.expect("a row").1, text);
        server.end().await;
    });
}

/// Promise: databases are shown with the states of their partitions, and snapshots are made when
/// asked for.
#[test]
fn databases_show_their_partitions() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        assert_eq!(rows(&mut conn, "SHOW DATABASES").await, ["information_schema", "d"]);
        let extended = rows(&mut conn, "SHOW DATABASES EXTENDED").await;
        assert_eq!(extended.len(), 4);
        assert!(extended[3].starts_with("d_3,master,online,0:"), "{extended:?}");
        assert_eq!(fails(&mut conn, "SHOW PARTITIONS ON d").await, 1235, "a matter of clusters");
        conn.query_drop("SNAPSHOT DATABASE d").await.expect("made");
        let status = server.engine.status();
        assert!(status.partitions.iter().all(|partition| partition.snapshot_lsn.is_some()));
        assert_eq!(fails(&mut conn, "SNAPSHOT DATABASE nothing").await, 1049);
        let text = rows(&mut conn, "SHOW CREATE DATABASE d").await;
        assert_eq!(text, ["d,CREATE DATABASE `d` PARTITIONS 4 WITH SYNC DURABILITY"]);
        // Nobody is waited for on a node that stands alone; a transaction is ended as by any definition.
        conn.query_drop("CREATE DATABASE e PARTITIONS 1 WITH ASYNC DURABILITY")
            .await
            .expect("made");
        conn.query_drop("USE e").await.expect("there");
        for alter in
            ["ALTER DATABASE e SET ASYNC REPLICATION", "ALTER DATABASE WITH SYNC REPLICATION"]
        {
            conn.query_drop(alter).await.expect(alter);
        }
        let text = rows(&mut conn, "SHOW CREATE DATABASE e").await;
        assert_eq!(text, ["e,CREATE DATABASE `e` PARTITIONS 1 WITH ASYNC DURABILITY"]);
        server.end().await;
    });
}

/// Promise: sessions are shown with what they run, but no statement that may hold a password.
#[test]
fn sessions_are_shown_without_passwords() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        let shown = rows(&mut conn, "SHOW FULL PROCESSLIST").await;
        assert_eq!(shown.len(), 1);
        assert!(shown[0].contains(",Query,0,executing,SHOW FULL PROCESSLIST"), "{shown:?}");
        let shown = rows(&mut conn, "SHOW FULL PROCESSLIST /* IDENTIFIED BY 'x' */").await;
        assert!(!shown[0].contains("'x'"), "{shown:?}");
        server.end().await;
    });
}

/// Promise: variables and counters are listed, and the filters work on all of them.
#[test]
fn variables_and_counters_are_listed() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        assert_eq!(rows(&mut conn, "SHOW VARIABLES LIKE 'autocommit'").await, ["autocommit,ON"]);
        let packet = "SHOW VARIABLES WHERE Variable_name = 'max_allowed_packet' AND Value > 1000";
        assert_eq!(rows(&mut conn, packet).await, ["max_allowed_packet,104857600"]);
        assert!(rows(&mut conn, "SHOW VARIABLES").await.len() > 20);
        assert_eq!(rows(&mut conn, "SHOW STATUS LIKE 'Threads_connected'").await.len(), 1);
        assert_eq!(fails(&mut conn, "SHOW STATUS WHERE nothing = 1").await, 1054);
        for (text, least) in [("SHOW ENGINES", 1), ("SHOW COLLATION", 2), ("SHOW TRIGGERS", 0)] {
            assert!(rows(&mut conn, text).await.len() >= least, "{text}");
        }
        server.end().await;
    });
}

/// Promise: what SET cannot do is said: refused where it would change what statements do, else
/// with a warning; and DO does what it is for.
#[test]
fn what_cannot_be_set_is_said() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        for (text, expected) in [
            ("SET nothing = 1", 1193),
            ("SET PERSIST max_connections = 10", 1235),
            ("SET autocommit = 'sometimes'", 1231),
            ("SET NAMES latin1", 1115),
            ("SET time_zone = '+02:00'", 1235),
            ("SET SESSION TRANSACTION READ ONLY", 1235),
            ("START TRANSACTION READ ONLY", 1235),
        ] {
            assert_eq!(fails(&mut conn, text).await, expected, "{text}");
        }
        for text in ["SET NAMES utf8mb4", "SET foreign_key_checks = 0", "SET time_zone = '+00:00'"]
        {
            conn.query_drop(text).await.expect(text);
            assert_eq!(conn.get_warnings(), 0, "{text}");
        }
        conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            .await
            .expect("taken");
        assert_eq!(conn.get_warnings(), 1);
        let said = rows(&mut conn, "SHOW WARNINGS").await;
        assert_eq!(said, ["Warning,1235,the isolation level stays READ COMMITTED"]);
        conn.query_drop("SET auto_increment_increment = 17").await.expect("taken");
        let said = rows(&mut conn, "SHOW WARNINGS").await;
        assert_eq!(said, ["Warning,1235,variable auto_increment_increment stays 1"]);
        conn.query_drop("DO LAST_INSERT_ID(41)").await.expect("done");
        assert_eq!(rows(&mut conn, "SELECT LAST_INSERT_ID()").await, ["41"]);
        server.end().await;
    });
}
