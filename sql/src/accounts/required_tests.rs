use super::*;
use crate::statement::parse;

fn show(requirement: &Requirement) -> String {
    let or_in_use = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    match requirement {
        Requirement::Global(any) => format!("*.*: {any}"),
        Requirement::Database(name, any) => format!("{}.*: {any}", or_in_use(name)),
        Requirement::Table { table, any_of, .. } => format!("{table}: {any_of}"),
        Requirement::Enter(name) => format!("enter {}", or_in_use(name)),
        Requirement::See(table) => format!("see {table}"),
        Requirement::Users(users) => format!("users {}", users.len()),
        Requirement::Give(level, privileges) => format!("give {level:?} {privileges:?}"),
    }
}

/// Statements and what they need.
const CASES: &[(&str, &[&str])] = &[
    ("SELECT 1", &[]),
    ("SELECT a FROM t", &["t: SELECT"]),
    (
        "SELECT a FROM t, d.u WHERE a IN (SELECT b FROM v)",
        &["t: SELECT", "d.u: SELECT", "v: SELECT"],
    ),
    ("SELECT a FROM t FOR UPDATE", &["t: SELECT", "t: UPDATE, DELETE, LOCK TABLES"]),
    ("SELECT a FROM t LOCK IN SHARE MODE", &["t: SELECT"]),
    ("EXPLAIN SELECT a FROM t", &["t: SELECT"]),
    ("EXPLAIN DELETE FROM t WHERE a = 1", &["t: DELETE", "t: SELECT"]),
    ("DO (SELECT 1 FROM t)", &["t: SELECT"]),
    ("INSERT INTO t VALUES (1)", &["t: INSERT"]),
    ("INSERT INTO t VALUES ((SELECT a FROM u))", &["t: INSERT", "u: SELECT"]),
    ("INSERT INTO t SET a = (SELECT a FROM u)", &["t: INSERT", "u: SELECT"]),
    ("INSERT INTO d.t SELECT * FROM u", &["d.t: INSERT", "u: SELECT"]),
    ("INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 2", &["t: INSERT", "t: UPDATE"]),
    (
        "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = (SELECT 1 FROM u)",
        &["t: INSERT", "t: UPDATE", "u: SELECT"],
    ),
    ("REPLACE INTO t VALUES (1)", &["t: INSERT", "t: DELETE"]),
    ("UPDATE t SET a = 1", &["t: UPDATE"]),
    ("UPDATE t SET a = ?", &["t: UPDATE"]),
    ("UPDATE t SET a = @x + 1", &["t: UPDATE"]),
    ("UPDATE t SET a = b", &["t: UPDATE", "t: SELECT"]),
    ("UPDATE t SET a = 1 WHERE b = 2", &["t: UPDATE", "t: SELECT"]),
    ("UPDATE t SET a = 1 ORDER BY b LIMIT 1", &["t: UPDATE", "t: SELECT"]),
    ("UPDATE t SET a = 1 WHERE EXISTS (SELECT 1 FROM u)", &["t: UPDATE", "u: SELECT"]),
    ("DELETE FROM t", &["t: DELETE"]),
    ("DELETE FROM t WHERE a = 1", &["t: DELETE", "t: SELECT"]),
    ("DELETE FROM t WHERE (SELECT x FROM u)", &["t: DELETE", "t: SELECT", "u: SELECT"]),
    ("LOAD DATA LOCAL INFILE 'f' INTO TABLE t", &["t: INSERT"]),
    ("LOAD DATA LOCAL INFILE 'f' REPLACE INTO TABLE t", &["t: INSERT", "t: DELETE"]),
    ("LOAD DATA INFILE 'f' INTO TABLE t", &["*.*: FILE, FILE READ", "t: INSERT"]),
    ("BEGIN", &[]),
    ("COMMIT", &[]),
    ("ROLLBACK TO a", &[]),
    ("CREATE DATABASE d", &["d.*: CREATE, CREATE DATABASE"]),
    ("ALTER DATABASE d SET ASYNC REPLICATION", &["d.*: ALTER"]),
    ("DROP DATABASE d", &["d.*: DROP, DROP DATABASE"]),
    ("USE d", &["enter d"]),
    ("CREATE TABLE t (a INT)", &["t: CREATE"]),
    ("CREATE TABLE d.t LIKE u", &["d.t: CREATE", "u: SELECT"]),
    ("DROP TABLE t, d.u", &["t: DROP", "d.u: DROP"]),
    ("TRUNCATE t", &["t: DROP"]),
    ("RENAME TABLE t TO u", &["t: ALTER", "t: DROP", "u: CREATE", "u: INSERT"]),
    ("ALTER TABLE t ADD COLUMN b INT", &["t: ALTER", "t: CREATE", "t: INSERT"]),
    (
        "ALTER TABLE t RENAME TO u",
        &["t: ALTER", "t: CREATE", "t: INSERT", "t: DROP", "u: CREATE", "u: INSERT"],
    ),
    ("CREATE INDEX i ON t (a)", &["t: INDEX"]),
    ("DROP INDEX i ON t", &["t: INDEX"]),
    ("ANALYZE TABLE t", &["t: SELECT", "t: INSERT"]),
    ("CHECKSUM TABLE t", &["t: SELECT"]),
    ("LOCK TABLES t READ", &["-.*: LOCK TABLES", "t: SELECT"]),
    ("UNLOCK TABLES", &[]),
    ("SET @a = 1, autocommit = 0, NAMES utf8mb4", &[]),
    ("SET @a = (SELECT x FROM t)", &["t: SELECT"]),
    ("SET SESSION sql_mode = ''", &[]),
    ("SET GLOBAL max_connections = 1", &["*.*: SUPER"]),
    ("SET @@global.max_connections = 1", &["*.*: SUPER"]),
    ("SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED", &["*.*: SUPER"]),
    ("SET PASSWORD = 'x'", &["users 1"]),
    ("SHOW DATABASES", &[]),
    ("SHOW DATABASES WHERE `Database` IN (SELECT a FROM t)", &["t: SELECT"]),
    ("SHOW TABLES", &["enter -"]),
    ("SHOW TABLES FROM d", &["enter d"]),
    ("SHOW TABLE STATUS FROM d", &["enter d"]),
    ("SHOW COLUMNS FROM t", &["see t"]),
    ("DESCRIBE d.t", &["see d.t"]),
    ("SHOW INDEX FROM t", &["see t"]),
    ("SHOW CREATE TABLE t", &["see t"]),
    ("SHOW CREATE DATABASE d", &["enter d"]),
    ("SHOW PROCESSLIST", &[]),
    ("SHOW VARIABLES", &[]),
    ("SHOW STATUS", &[]),
    ("SHOW WARNINGS", &[]),
    ("SHOW GRANTS", &["users 1"]),
    ("SHOW CREATE USER u", &["users 1"]),
    ("SHOW LEAVES", &["*.*: SUPER, SHOW METADATA, CLUSTER"]),
    ("SHOW PARTITIONS ON d", &["*.*: SUPER, SHOW METADATA, CLUSTER"]),
    ("SHOW CLUSTER STATUS", &["*.*: SUPER, SHOW METADATA, CLUSTER"]),
    ("KILL 1", &[]),
    ("FLUSH PRIVILEGES", &["*.*: RELOAD"]),
    ("FLUSH TABLES t WITH READ LOCK", &["*.*: RELOAD", "-.*: LOCK TABLES", "t: SELECT"]),
    ("CREATE USER u", &["*.*: CREATE USER"]),
    ("DROP USER u", &["*.*: CREATE USER"]),
    ("RENAME USER u TO v", &["*.*: CREATE USER"]),
    ("ALTER USER u, v IDENTIFIED BY 'x'", &["*.*: CREATE USER"]),
    ("ALTER USER u IDENTIFIED BY 'x'", &["users 1"]),
    ("ALTER USER u IDENTIFIED BY 'x' ACCOUNT LOCK", &["*.*: CREATE USER"]),
    ("ALTER USER u IDENTIFIED BY 'x' REQUIRE NONE", &["*.*: CREATE USER"]),
    ("ALTER USER u ACCOUNT UNLOCK", &["*.*: CREATE USER"]),
    ("GRANT SELECT, UPDATE ON d.* TO u", &["give Database(\"d\") {SELECT, UPDATE}"]),
    (
        "GRANT ALL ON *.* TO u IDENTIFIED BY 'x'",
        &[
            "give Global {SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, SHUTDOWN, \
             PROCESS, FILE, REFERENCES, INDEX, ALTER, SHOW DATABASES, SUPER, CREATE TEMPORARY \
             TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, CREATE VIEW, \
             SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER, CREATE \
             TABLESPACE, ALTER VIEW, DROP VIEW, CREATE DATABASE, DROP DATABASE, BACKUP, SHOW \
             METADATA, CLUSTER, REPLICATION, FILE READ, FILE WRITE}",
            "*.*: CREATE USER",
        ],
    ),
    ("GRANT USAGE ON *.* TO u REQUIRE SSL", &["give Global {}", "*.*: CREATE USER"]),
    ("REVOKE INSERT ON t FROM u", &["give Table(t) {INSERT}"]),
    ("REVOKE ALL, GRANT OPTION FROM u", &["*.*: CREATE USER"]),
    ("SNAPSHOT DATABASE d", &["d.*: SUPER, BACKUP, CLUSTER"]),
    ("REBALANCE PARTITIONS ON d", &["*.*: SUPER, CLUSTER"]),
    ("ADD LEAF root@'10.0.0.1':3306", &["*.*: SUPER, CLUSTER"]),
    ("EXPLAIN REBALANCE PARTITIONS ON d", &["*.*: SUPER, SHOW METADATA, CLUSTER"]),
    ("DETACH LEAF '10.0.0.1':3306", &["*.*: SUPER, CLUSTER"]),
];

/// Promise (S09): what each statement needs.
#[test]
fn s09_statements_need_what_they_do() {
    for (text, expected) in CASES {
        let parsed = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        let found: Vec<_> = required(&parsed.statement).iter().map(show).collect();
        assert_eq!(found, *expected, "{text}");
    }
}
