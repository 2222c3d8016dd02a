//! LOAD DATA LOCAL INFILE into tables of an engine.

mod running;
mod runtime;

use bytes::Bytes;
use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use running::{code, fails, fresh, rows};
use runtime::run;

/// Bytes of a piece.
const PIECE: usize = 1000;

/// Loads a text, which comes in pieces.
async fn load(conn: &mut Conn, file: &str, rest: &str) -> Result<(), Error> {
    let pieces: Vec<_> =
        file.as_bytes().chunks(PIECE).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    conn.set_infile_handler(async move { Ok(futures_util::stream::iter(pieces).boxed()) });
    conn.query_drop(format!("LOAD DATA LOCAL INFILE 'f' {rest}")).await
}

/// Promise: files are loaded into all partitions, with what MySQL says about them: values of all
/// kinds, chosen columns, variables, lines that are passed over.
#[test]
fn files_become_rows() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop(
            "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(20), price DECIMAL(8,2), \
             day DATE, raw VARBINARY(8), x DOUBLE DEFAULT 7)",
        )
        .await
        .unwrap();
        let file = "id;name;price;day;raw\r\n1;\"a;b\";1.5;2024-02-29;x\r\n-2;\\N;7;\\N;\"\"\r\n";
        let format = "INTO TABLE t FIELDS TERMINATED BY ';' ENCLOSED BY '\"' \
                      LINES TERMINATED BY '\\r\\n' IGNORE 1 LINES (id, name, price, day, raw)";
        load(&mut conn, file, format).await.unwrap();
        assert_eq!(conn.affected_rows(), 2);
        assert_eq!(conn.info(), "Records: 2  Deleted: 0  Skipped: 0  Warnings: 0");
        let found = rows(&mut conn, "SELECT * FROM t ORDER BY id").await;
        assert_eq!(found, ["-2,NULL,7.00,NULL,,7", "1,a;b,1.50,2024-02-29,x,7"]);

        conn.query_drop("CREATE TABLE u (id INT AUTO_INCREMENT PRIMARY KEY, v INT, w INT)")
            .await
            .unwrap();
        let many: String = (0..20_000).map(|n| format!("{n}\tx{n}\n")).collect();
        load(&mut conn, &many, "INTO TABLE u (v, @x) SET w = SUBSTRING(@x, 2) + 1").await.unwrap();
        assert_eq!(conn.affected_rows(), 20_000);
        let found = rows(&mut conn, "SELECT COUNT(*), MIN(id), MAX(id), SUM(v), SUM(w - v) FROM u");
        assert_eq!(found.await, ["20000,1,20000,199990000,20000"]);
        server.end().await;
    });
}

/// Promise: rows that exist are left out with a warning, or replaced; rows that do not fit are errors
/// that say what stays, or are left out with a warning; the connection goes on.
#[test]
fn what_does_not_fit_is_said() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL)").await.unwrap();
        load(&mut conn, "1\t1\n2\t2\n", "INTO TABLE t").await.unwrap();
        load(&mut conn, "1\t9\n3\t3\n", "INTO TABLE t").await.unwrap();
        assert_eq!(conn.info(), "Records: 2  Deleted: 0  Skipped: 1  Warnings: 1");
        let warnings = rows(&mut conn, "SHOW WARNINGS").await;
        assert!(warnings[0].starts_with("Warning,1062,Duplicate entry"), "{warnings:?}");
        load(&mut conn, "1\t9\n", "REPLACE INTO TABLE t").await.unwrap();
        assert_eq!(conn.info(), "Records: 1  Deleted: 1  Skipped: 0  Warnings: 0");
        assert_eq!(rows(&mut conn, "SELECT * FROM t ORDER BY id").await, ["1,9", "2,2", "3,3"]);

        for (line, expected) in
            [("5\tx", 1366), ("5", 1261), ("5\t5\t5", 1262), ("5\t\\N", 1048), ("x\t1", 1366)]
        {
            let file = format!("4\t4\n{line}\n6\t6\n");
            let error = load(&mut conn, &file, "INTO TABLE t").await.unwrap_err();
            assert_eq!(code(&error), expected, "{line}");
            assert!(error.to_string().contains("which stay: 0"), "{error}");
            load(&mut conn, &file, "IGNORE INTO TABLE t").await.unwrap();
            assert_eq!(conn.info(), "Records: 3  Deleted: 0  Skipped: 1  Warnings: 1", "{line}");
            conn.query_drop("DELETE FROM t WHERE id > 3").await.unwrap();
        }
        assert_eq!(fails(&mut conn, "LOAD DATA INFILE '/etc/passwd' INTO TABLE t").await, 1235);
        let unknown = load(&mut conn, "", "INTO TABLE t (nothing)").await.unwrap_err();
        assert_eq!(code(&unknown), 1054);
        server.end().await;
    });
}

/// Promise: inside of a transaction a load is part of it, whole or not at all.
#[test]
fn a_load_is_part_of_a_transaction() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await.unwrap();
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("INSERT INTO t VALUES (100, 1)").await.unwrap();
        let file: String = (0..50).map(|n| format!("{n}\t{n}\n")).collect();
        let bad = format!("{file}x\tx\n");
        let error = load(&mut conn, &bad, "INTO TABLE t").await.unwrap_err();
        assert_eq!(code(&error), 1366);
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM t").await, ["1"], "taken back whole");
        load(&mut conn, &file, "INTO TABLE t").await.unwrap();
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM t").await, ["51"]);
        conn.query_drop("ROLLBACK").await.unwrap();
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM t").await, ["0"]);
        server.end().await;
    });
}

/// Measures rows a second of a load; prints medians. With
/// `cargo test --release -p resprout-sql --test load -- --ignored --nocapture`.
#[test]
#[ignore = "measures, proves nothing"]
fn rows_a_second() {
    const ROWS: usize = 200_000;
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        for (name, keys) in [("plain", ""), ("indexed", ", KEY (k)")] {
            let table = format!("{name} (id BIGINT PRIMARY KEY, k INT, c VARCHAR(120){keys})");
            conn.query_drop(format!("CREATE TABLE {table}")).await.unwrap();
            let c = "c".repeat(100);
            let mut rates = Vec::new();
            for _ in 0..5 {
                conn.query_drop(format!("TRUNCATE TABLE {name}")).await.unwrap();
                let line = |id: usize| format!("{id}\t{}\t{c}\n", id * 7919 % 1_000_003);
                let file: String = (0..ROWS).map(line).collect();
                let began = std::time::Instant::now();
                load(&mut conn, &file, &format!("INTO TABLE {name}")).await.unwrap();
                rates.push(ROWS as f64 / began.elapsed().as_secs_f64() / 1e6);
                assert_eq!(conn.affected_rows(), ROWS as u64);
            }
            rates.sort_by(f64::total_cmp);
            println!("{name:8} {:.3} M rows/s (median of {})", rates[2], rates.len());
        }
        drop(conn);
        server.end().await;
    });
}
