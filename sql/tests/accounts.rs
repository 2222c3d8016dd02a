//! Who comes in, and what they may do: a real driver against a node.

mod running;
mod runtime;
mod support;

use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn, Error, OptsBuilder};
use resprout_sql::accounts::AccountOptions;
use resprout_sql::server::{Connections, Options, Server};
use resprout_sql::statement::Secret;
use running::{Running, code, fails, fresh, rows};
use runtime::run;
use support::service::Constant;
use support::{Raw, certificate, connector};

async fn log_in(server: &Running, user: &str, password: &str) -> Result<Conn, Error> {
    let opts = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.address.port())
        .prefer_socket(false)
        .user(Some(user))
        .pass(Some(password));
    Conn::new(opts).await
}

async fn enter(server: &Running, user: &str, password: &str) -> Conn {
    log_in(server, user, password).await.unwrap_or_else(|error| panic!("{user}: {error}"))
}

async fn refused(server: &Running, user: &str, password: &str) -> (u16, String) {
    match log_in(server, user, password).await {
        Err(Error::Server(error)) => (error.code, error.message),
        Err(other) => panic!("{user}: {other}"),
        Ok(_) => panic!("{user} came in"),
    }
}

async fn all(conn: &mut Conn, texts: &[&str]) {
    for text in texts {
        conn.query_drop(*text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

async fn denial(conn: &mut Conn, text: &str) -> String {
    match conn.query_drop(text).await.expect_err(text) {
        Error::Server(error) => error.message,
        other => panic!("{text}: {other}"),
    }
}

/// Promise (S01, S02): the right password comes in by either plugin, no other one does, and who is
/// nobody is told the same.
#[test]
fn s01_accounts_log_in() {
    run(async {
        let (_dir, server, mut root) = fresh().await;
        all(
            &mut root,
            &[
                "CREATE USER sha2 IDENTIFIED BY 'secret'",
                "CREATE USER native IDENTIFIED WITH mysql_native_password BY 'secret'",
                "CREATE USER open",
                "CREATE USER afar@'10.%' IDENTIFIED BY 'secret'",
                "CREATE USER locked IDENTIFIED BY 'secret' ACCOUNT LOCK",
                "CREATE USER tls IDENTIFIED BY 'secret' REQUIRE SSL",
            ],
        )
        .await;
        for (user, password) in [("sha2", "secret"), ("native", "secret"), ("open", "")] {
            let mut conn = enter(&server, user, password).await;
            let whom = rows(&mut conn, "SELECT current_user(), user()").await;
            assert_eq!(whom, [format!("{user}@%,{user}@127.0.0.1")]);
        }
        for (user, password) in [
            ("sha2", "wrong"),
            ("sha2", ""),
            ("native", "wrong"),
            ("native", ""),
            ("open", "secret"),
            ("SHA2", "secret"),
            ("nobody", "secret"),
            ("nobody", ""),
            ("", ""),
            ("afar", "secret"),
            ("tls", "secret"),
            ("root", "secret"),
        ] {
            assert_eq!(refused(&server, user, password).await.0, 1045, "{user} {password}");
        }
        assert_eq!(refused(&server, "locked", "secret").await.0, 3118);
        assert_eq!(refused(&server, "locked", "wrong").await.0, 1045);
        let plain = |(code, text): (u16, String), user| (code, text.replace(user, "X"));
        let wrong = plain(refused(&server, "sha2", "wrong").await, "sha2");
        assert_eq!(plain(refused(&server, "nobody", "wrong").await, "nobody"), wrong);
        server.end().await;
    });
}

/// Promise: a session changes to another account by its password only, and what was open is rolled
/// back.
#[test]
fn k16_accounts_change() {
    run(async {
        let (_dir, server, mut root) = fresh().await;
        all(
            &mut root,
            &[
                "CREATE TABLE t (a INT PRIMARY KEY)",
                "CREATE USER app IDENTIFIED BY 'secret'",
                "GRANT SELECT ON d.* TO app",
                "BEGIN",
                "INSERT INTO t VALUES (1)",
            ],
        )
        .await;
        let to = |password: &str| {
            ChangeUserOpts::default()
                .with_user(Some("app".into()))
                .with_pass(Some(password.into()))
                .with_db_name(Some("d".into()))
        };
        root.change_user(to("secret")).await.unwrap();
        let mut app = root;
        assert_eq!(rows(&mut app, "SELECT current_user(), count(*) FROM t").await, ["app@%,0"]);
        assert_eq!(fails(&mut app, "INSERT INTO t VALUES (1)").await, 1142);
        assert_eq!(code(&app.change_user(to("wrong")).await.unwrap_err()), 1045);
        server.end().await;
    });
}

/// Promise (S09): what was not granted is refused by MySQL's numbers and texts, what was is done.
#[test]
fn s09_grants_decide() {
    run(async {
        let (_dir, server, mut root) = fresh().await;
        all(
            &mut root,
            &[
                "CREATE DATABASE other",
                "CREATE TABLE d.t (a INT PRIMARY KEY, b INT)",
                "CREATE TABLE d.u (a INT PRIMARY KEY)",
                "CREATE TABLE other.t (a INT PRIMARY KEY)",
                "INSERT INTO d.t VALUES (1, 2)",
                "CREATE USER app",
                "GRANT SELECT ON d.t TO app",
            ],
        )
        .await;
        let mut app = enter(&server, "app", "").await;
        assert_eq!(rows(&mut app, "SELECT a FROM d.t").await, ["1"]);
        assert_eq!(rows(&mut app, "SHOW DATABASES").await, ["information_schema", "d"]);
        app.query_drop("USE d").await.unwrap();
        assert_eq!(rows(&mut app, "SHOW TABLES").await, ["t"]);
        for (text, expected) in [
            ("SELECT * FROM u", 1142),
            ("SELECT * FROM other.t", 1142),
            ("SELECT * FROM nowhere.t", 1142),
            ("INSERT INTO t VALUES (3, 4)", 1142),
            ("UPDATE t SET b = 1", 1142),
            ("DELETE FROM t", 1142),
            ("DROP TABLE t", 1142),
            ("TRUNCATE t", 1142),
            ("CREATE TABLE v (a INT)", 1142),
            ("DESCRIBE u", 1142),
            ("SHOW CREATE TABLE u", 1142),
            ("USE other", 1044),
            ("USE nowhere", 1044),
            ("SHOW TABLES FROM other", 1044),
            ("CREATE DATABASE mine", 1044),
            ("DROP DATABASE d", 1044),
            ("ALTER DATABASE d SET SYNC REPLICATION", 1044),
            ("GRANT SELECT ON d.* TO app", 1044),
            ("GRANT SELECT ON d.t TO app", 1142),
            ("GRANT SELECT ON *.* TO app", 1045),
            ("CREATE USER x", 1227),
            ("DROP USER root@localhost", 1227),
            ("ALTER USER root IDENTIFIED BY 'x'", 1227),
            ("SET PASSWORD FOR root = 'x'", 1227),
            ("SHOW GRANTS FOR root", 1227),
            ("SET GLOBAL wait_timeout = 1", 1227),
            ("FLUSH PRIVILEGES", 1227),
            ("SNAPSHOT DATABASE d", 1044),
            ("SHOW PARTITIONS ON d", 1227),
        ] {
            assert_eq!(fails(&mut app, text).await, expected, "{text}");
        }
        assert_eq!(
            denial(&mut app, "SELECT * FROM u").await,
            "SELECT command denied to user 'app'@'127.0.0.1' for table 'u'"
        );
        assert_eq!(
            denial(&mut app, "USE other").await,
            "Access denied for user 'app'@'%' to database 'other'"
        );
        assert_eq!(
            denial(&mut app, "CREATE USER x").await,
            "Access denied; you need (at least one of) the CREATE USER privilege(s) for this \
             operation"
        );
        assert_eq!(code(&app.prep("SELECT * FROM u").await.unwrap_err()), 1142);
        assert_eq!(rows(&mut app, "SELECT count(*) FROM d.t").await, ["1"]);
        server.end().await;
    });
}

/// Promise (S08): a change of grants is seen at the next statement of a session that runs, prepared
/// ones included; an account that is gone may do nothing, also if one of its name comes.
#[test]
fn s08_sessions_see_changes() {
    run(async {
        let (_dir, server, mut root) = fresh().await;
        all(
            &mut root,
            &[
                "CREATE TABLE t (a INT PRIMARY KEY)",
                "CREATE USER app IDENTIFIED BY 'old'",
                "GRANT SELECT ON d.* TO app",
            ],
        )
        .await;
        let mut app = enter(&server, "app", "old").await;
        let read = app.prep("SELECT a FROM d.t").await.unwrap();
        let found: Vec<i32> = app.exec(&read, ()).await.unwrap();
        assert!(found.is_empty());
        root.query_drop("REVOKE SELECT ON d.* FROM app").await.unwrap();
        assert_eq!(code(&app.exec_drop(&read, ()).await.unwrap_err()), 1142);
        assert_eq!(fails(&mut app, "SELECT a FROM d.t").await, 1142);
        root.query_drop("GRANT SELECT, INSERT ON d.t TO app").await.unwrap();
        app.exec_drop(&read, ()).await.unwrap();
        app.query_drop("INSERT INTO d.t VALUES (1)").await.unwrap();
        root.query_drop("ALTER USER app IDENTIFIED BY 'new'").await.unwrap();
        assert_eq!(refused(&server, "app", "old").await.0, 1045);
        enter(&server, "app", "new").await;
        all(&mut root, &["DROP USER app", "CREATE USER app", "GRANT ALL ON *.* TO app"]).await;
        assert_eq!(fails(&mut app, "SELECT a FROM d.t").await, 1142);
        assert_eq!(fails(&mut app, "SHOW GRANTS").await, 1227);
        assert_eq!(rows(&mut app, "SHOW DATABASES").await, ["information_schema"]);
        assert_eq!(refused(&server, "app", "new").await.0, 1045);
        server.end().await;
    });
}

/// Promise: accounts are there after a restart, with their passwords and grants.
#[test]
fn accounts_survive_a_restart() {
    run(async {
        let (dir, server, mut root) = fresh().await;
        all(
            &mut root,
            &[
                "CREATE USER app IDENTIFIED WITH mysql_native_password BY 'secret'",
                "GRANT SELECT ON d.* TO app WITH GRANT OPTION",
                "SET PASSWORD FOR app = 'other'",
                "ALTER USER root IDENTIFIED WITH mysql_native_password BY 'secret'",
            ],
        )
        .await;
        drop(root);
        server.end().await;
        let server = Running::start(dir.path()).await;
        assert_eq!(refused(&server, "app", "secret").await.0, 1045);
        assert_eq!(refused(&server, "root", "").await.0, 1045);
        let mut app = enter(&server, "app", "other").await;
        let grants = [
            "GRANT USAGE ON *.* TO `app`@`%`",
            "GRANT SELECT ON `d`.* TO `app`@`%` WITH GRANT OPTION",
        ];
        assert_eq!(rows(&mut app, "SHOW GRANTS").await, grants);
        let mut root = enter(&server, "root", "secret").await;
        assert_eq!(
            rows(&mut root, "SHOW GRANTS").await,
            ["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"]
        );
        let made = "CREATE USER `root`@`localhost` IDENTIFIED WITH 'mysql_native_password' AS \
            '*14E65567ABDB5135D0CFD9A70B3032C179A49EE7' REQUIRE NONE ACCOUNT UNLOCK";
        let shown = rows(&mut root, "SHOW CREATE USER").await.join("").replace("''", "'");
        assert_eq!(shown, made);
        server.end().await;
    });
}

/// Promise (S07): no password is in the file, and of those that do not ask for it no fast hash.
#[test]
fn s07_no_password_is_in_the_file() {
    run(async {
        let (dir, server, mut root) = fresh().await;
        all(
            &mut root,
            &["CREATE USER app IDENTIFIED BY 'hunter2hunter2'", "SET PASSWORD = 'hunter2hunter2'"],
        )
        .await;
        enter(&server, "app", "hunter2hunter2").await;
        let file = std::fs::read(dir.path().join("accounts")).unwrap();
        let holds = |bytes: &[u8]| file.windows(bytes.len()).any(|window| window == bytes);
        assert!(holds(b"app"));
        assert!(!holds(b"hunter2"));
        use resprout_sql::protocol::auth::Secret as Hashed;
        let Hashed::Hashes { native: Some(native), sha2: Some(sha2) } =
            Hashed::of("hunter2hunter2")
        else {
            panic!("both")
        };
        assert!(!holds(&native.0) && !holds(&sha2.0));
        server.end().await;
    });
}

/// Promise: a damaged file, or one of a later version, opens no door: the start fails and says
/// which file it is and what to do.
#[test]
fn s21_a_damaged_file_opens_no_door() {
    run(async {
        let (dir, server, root) = fresh().await;
        drop(root);
        server.end().await;
        let path = dir.path().join("accounts");
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 4;
        let mut later = good.clone();
        later[8] = 2;
        for (bytes, expected) in [
            (&flipped[..], "damaged at byte 16: checksum differs"),
            (&good[..9], "damaged at byte 9: shorter than its header"),
            (&[], "shorter than its header"),
            (&later, "has format version 2, this program knows 1"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let started = Running::start_with(dir.path(), &AccountOptions::default(), None).await;
            let text = started.map(|_| ()).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
            assert!(
                text.contains(path.to_str().unwrap()) && text.contains("move it away"),
                "{text}"
            );
        }
        std::fs::write(&path, &good).unwrap();
        Running::start(dir.path()).await.end().await;
    });
}

/// Promise (S19): root's password at the first start is the only one; a later start does not
/// change it.
#[test]
fn s19_root_has_the_password_of_the_first_start() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let options = |password: &str| AccountOptions {
            root_password: Some(Secret::new(password.to_owned())),
            ..AccountOptions::default()
        };
        assert!(!format!("{:?}", options("first")).contains("first"));
        let server = Running::start_with(dir.path(), &options("first"), None).await.unwrap();
        let mut root = enter(&server, "root", "first").await;
        assert_eq!(rows(&mut root, "SELECT current_user()").await, ["root@%"]);
        assert_eq!(refused(&server, "root", "").await.0, 1045);
        let native = "ALTER USER root IDENTIFIED WITH mysql_native_password BY 'second'";
        root.query_drop(native).await.unwrap();
        drop(root);
        server.end().await;
        let server = Running::start_with(dir.path(), &options("third"), None).await.unwrap();
        assert_eq!(refused(&server, "root", "third").await.0, 1045);
        enter(&server, "root", "second").await;
        server.end().await;
    });
}

/// Promise: users change their own password and see their own grants, and nobody takes the last
/// administrator away or makes himself one.
#[test]
fn administrators_stay_administrators() {
    run(async {
        let (_dir, server, mut root) = fresh().await;
        all(
            &mut root,
            &["CREATE USER app", "CREATE USER clerk", "GRANT CREATE USER ON *.* TO clerk"],
        )
        .await;
        let mut app = enter(&server, "app", "").await;
        all(
            &mut app,
            &[
                "SET PASSWORD = 'one'",
                "ALTER USER app IDENTIFIED BY 'two'",
                "ALTER USER CURRENT_USER() IDENTIFIED BY 'three'",
            ],
        )
        .await;
        let warnings = rows(&mut app, "SHOW WARNINGS").await;
        assert!(warnings[0].starts_with("Warning,3159,"), "{warnings:?}");
        enter(&server, "app", "three").await;
        assert_eq!(rows(&mut app, "SHOW GRANTS").await, ["GRANT USAGE ON *.* TO `app`@`%`"]);
        let mut clerk = enter(&server, "clerk", "").await;
        all(&mut clerk, &["ALTER USER app IDENTIFIED BY 'four'", "CREATE USER new"]).await;
        for text in [
            "ALTER USER root IDENTIFIED BY 'x'",
            "DROP USER root@localhost",
            "RENAME USER root@localhost TO boss",
            "REVOKE ALL, GRANT OPTION FROM root",
        ] {
            assert_eq!(fails(&mut clerk, text).await, 1227, "{text}");
        }
        for text in [
            "DROP USER root@localhost",
            "ALTER USER root ACCOUNT LOCK",
            "REVOKE ALL, GRANT OPTION FROM root",
            "REVOKE SUPER ON *.* FROM root",
        ] {
            assert_eq!(fails(&mut root, text).await, 1396, "{text}");
        }
        let boss = ["CREATE USER boss", "GRANT ALL ON *.* TO boss WITH GRANT OPTION"];
        all(&mut root, &boss).await;
        let mut boss = enter(&server, "boss", "").await;
        boss.query_drop("DROP USER root@localhost").await.unwrap();
        assert_eq!(refused(&server, "root", "").await.0, 1045);
        server.end().await;
    });
}

/// Promise: sessions of others are seen with PROCESS, and ended with SUPER.
#[test]
fn sessions_of_others_are_left_alone() {
    run(async {
        let (_dir, server, mut root) = fresh().await;
        all(&mut root, &["CREATE USER app", "CREATE USER other"]).await;
        let mut app = enter(&server, "app", "").await;
        let own = enter(&server, "app", "").await;
        let other = enter(&server, "other", "").await;
        assert_eq!(rows(&mut app, "SHOW PROCESSLIST").await.len(), 2);
        let kill = |id: u32| format!("KILL {id}");
        assert_eq!(fails(&mut app, &kill(other.id())).await, 1095);
        assert_eq!(fails(&mut app, &kill(1_000_000)).await, 1094);
        app.query_drop(kill(own.id())).await.unwrap();
        root.query_drop("GRANT PROCESS, SUPER ON *.* TO app").await.unwrap();
        assert!(rows(&mut app, "SHOW PROCESSLIST").await.len() >= 3);
        app.query_drop(kill(other.id())).await.unwrap();
        server.end().await;
    });
}

/// Promise (S02, S04, S08): after a restart a salted password is asked for over TLS, and only
/// there; then it is remembered until it changes. Nobody and a wrong password take the same steps.
#[test]
fn s04_salted_passwords_come_over_tls() {
    run(async {
        let (dir, server, mut root) = fresh().await;
        all(
            &mut root,
            &[
                "CREATE USER app IDENTIFIED BY 'secret'",
                "CREATE USER tls IDENTIFIED BY 'secret' REQUIRE SSL",
                "CREATE USER locked IDENTIFIED BY 'secret' ACCOUNT LOCK",
            ],
        )
        .await;
        drop(root);
        server.end().await;
        let (tls, certificate) = certificate();
        let connector = connector(certificate);
        let options = AccountOptions::default();
        let server = Running::start_with(dir.path(), &options, Some(tls)).await.unwrap();
        assert_eq!(refused(&server, "app", "secret").await.0, 1045);
        for (user, password, expected) in [
            ("app", "wrong", (1045, true)),
            ("nobody", "wrong", (1045, true)),
            ("app", "", (1045, false)),
            ("nobody", "", (1045, false)),
            ("app", "secret", (0, true)),
            ("app", "secret", (0, false)),
            ("app", "wrong", (1045, true)),
            ("tls", "secret", (0, true)),
            ("locked", "secret", (3118, true)),
            ("root", "", (0, false)),
        ] {
            let mut raw = Raw::over_tls(server.address, &connector).await;
            let found = raw.log_in_fully(user, password).await;
            assert_eq!(found, expected, "{user} {password}");
        }
        enter(&server, "app", "secret").await;
        let (code, text) = refused(&server, "app", "wrong").await;
        assert_eq!(code, 1045);
        assert!(text.ends_with("this password can be checked over TLS only"), "{text}");
        let [right, wrong] = ["secret", "wrong"].map(|password| refused(&server, "tls", password));
        assert_eq!(right.await, wrong.await);
        server.end().await;
    });
}

/// S16: an account has so many sessions at once as it may; others, and the account once one of them is
/// over, come in.
#[test]
fn s16_one_account_does_not_take_all_places() {
    run(async {
        let (_dir, server, mut root) = fresh().await;
        all(
            &mut root,
            &[
                "CREATE USER few IDENTIFIED WITH mysql_native_password BY 'x' WITH MAX_USER_CONNECTIONS 2",
                "CREATE USER many IDENTIFIED WITH mysql_native_password BY 'x'",
            ],
        )
        .await;
        let shown = rows(&mut root, "SHOW CREATE USER few").await;
        assert!(shown[0].contains("REQUIRE NONE WITH MAX_USER_CONNECTIONS 2 ACCOUNT"), "{shown:?}");
        let mut held = vec![enter(&server, "few", "x").await, enter(&server, "few", "x").await];
        assert_eq!(refused(&server, "few", "x").await.0, 1226);
        held.push(enter(&server, "many", "x").await);
        held.remove(0).disconnect().await.unwrap();
        held.push(loop {
            // The node may hear of the end a moment later.
            match log_in(&server, "few", "x").await {
                Ok(conn) => break conn,
                Err(error) => assert_eq!(code(&error), 1226),
            }
        });
        all(&mut root, &["SET GLOBAL max_user_connections = 1"]).await;
        assert_eq!(refused(&server, "many", "x").await.0, 1203);
        all(&mut root, &["ALTER USER many WITH MAX_USER_CONNECTIONS 2"]).await;
        held.push(enter(&server, "many", "x").await);
        all(&mut root, &["ALTER USER few WITH MAX_USER_CONNECTIONS 0"]).await;
        assert_eq!(refused(&server, "few", "x").await.0, 1203);
        drop((held, root));
        server.end().await;
    });
}

/// S06: with `require_secure_transport` nobody logs in without TLS, from this machine neither, nor as
/// somebody else on a connection that is there; who is there stays. It can be set while the node runs,
/// and is refused where there is no TLS: nobody could take it back.
#[test]
fn s06_the_node_may_demand_tls() {
    run(async {
        let (dir, server, mut root) = fresh().await;
        let on = "SET GLOBAL require_secure_transport = ON";
        assert_eq!(fails(&mut root, on).await, 3160);
        all(&mut root, &["SET GLOBAL require_secure_transport = OFF"]).await;
        drop(root);
        server.end().await;
        let (tls, certificate) = certificate();
        let connector = connector(certificate);
        let options = Options { require_secure_transport: true, ..Options::default() };
        let refused_option = Options { ..options.clone() };
        let server = Running::start_secured(dir.path(), options, Some(tls)).await;
        let off = b"\x03SET GLOBAL require_secure_transport = OFF";
        // The right password, a wrong one and nobody are told the same.
        for (user, password) in [("root", ""), ("root", "wrong"), ("nobody", "wrong")] {
            assert_eq!(refused(&server, user, password).await.0, 3159, "{user} {password}");
        }
        let mut raw = Raw::over_tls(server.address, &connector).await;
        assert_eq!(raw.log_in_fully("root", "").await.0, 0);
        assert_eq!(raw.ask(off).await[0], 0);
        let mut clear = log_in(&server, "root", "").await.unwrap();
        let shown = rows(&mut clear, "SHOW VARIABLES LIKE 'require_secure%'").await;
        assert_eq!(shown, ["require_secure_transport,OFF"]);
        clear.change_user(ChangeUserOpts::default()).await.unwrap();
        all(&mut clear, &[on]).await;
        assert_eq!(rows(&mut clear, "SELECT @@require_secure_transport").await, ["1"]);
        assert_eq!(refused(&server, "root", "").await.0, 3159);
        let changed = clear.change_user(ChangeUserOpts::default()).await;
        assert_eq!(code(&changed.unwrap_err()), 3159);
        assert_eq!(raw.ask(b"\x0e").await[0], 0);
        server.end().await;
        let without = Server::new(
            Constant::new(Connections::new()),
            refused_option,
            None,
            Connections::new(),
        );
        assert_eq!(without.unwrap_err().option, "require_secure_transport");
    });
}
