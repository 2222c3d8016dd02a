//! What clients can do wrong, on purpose or not, over real sockets.

mod runtime;
mod support;

use std::time::{Duration, Instant};

use resprout_sql::protocol::auth::Plugin;
use resprout_sql::protocol::flags::Capabilities;
use resprout_sql::protocol::session::Settings;
use resprout_sql::server::Options;
use runtime::run;
use support::{Raw, certificate, code, connector, start, start_with, tls_request};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

fn soon() -> Duration {
    Duration::from_millis(300)
}

/// Promise (K07): 10,000 clients that connect and say nothing leave those who are in, and those who
/// come later, usable, and are gone after the time for a login.
#[test]
fn k07_half_open_connections() {
    run(async {
        let options = Options {
            login_timeout: Duration::from_secs(8),
            max_logins: 500,
            ..Options::default()
        };
        let server = start(options).await;
        let mut inside = Raw::root(server.address).await;
        let mut silent = Vec::new();
        let mut slowest = Duration::ZERO;
        for n in 0..10_000 {
            silent.push(TcpStream::connect(server.address).await.unwrap());
            if n % 1000 == 0 {
                let began = Instant::now();
                assert_eq!(inside.ask(b"\x03SELECT 1").await[..], [1]);
                while inside.receive().await.unwrap()[0] != 0xFE {}
                slowest = slowest.max(began.elapsed());
            }
        }
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        assert!(server.connections.len() <= 502, "{}", server.connections.len());
        let mut late = Raw::root(server.address).await;
        assert_eq!(late.ask(b"\x0e").await[0], 0);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(server.connections.len(), 2);
    });
}

/// Promise (K10): beyond `max_connections` clients are told 1040 at once, but an administrator
/// still gets in, and a place that is given up is free.
#[test]
fn k10_too_many_connections() {
    run(async {
        let server = start(Options { max_connections: 2, ..Options::default() }).await;
        let mut inside = Vec::new();
        for _ in 0..2 {
            let mut raw = Raw::connect(server.address).await;
            assert_eq!(raw.log_in("sha2", "secret").await[0], 0);
            inside.push(raw);
        }
        let mut third = Raw::connect(server.address).await;
        assert_eq!(code(&third.log_in("sha2", "secret").await), 1040);
        let administrator = Raw::root(server.address).await;
        let stream = TcpStream::connect(server.address).await.unwrap();
        let mut said = Vec::new();
        { stream }.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"\x17\0\0\0\xff\x10\x04Too many connections");
        drop((inside, administrator));
        while server.connections.sessions() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Raw::connect(server.address).await.log_in("sha2", "secret").await[0], 0);
    });
}

/// Promise (K03): a login that never ends is cut off by its size and by its time.
#[test]
fn k03_endless_logins() {
    run(async {
        let server = start(Options { login_timeout: soon(), ..Options::default() }).await;
        let mut large = Raw::connect(server.address).await;
        assert!(large.send_bytes(&[0, 0, 8, 1]).await);
        assert_eq!(code(&large.receive_any().await.unwrap()), 1153);
        let mut slow = Raw::connect(server.address).await;
        let began = Instant::now();
        assert!(slow.send_bytes(&[200, 0, 0, 1]).await);
        while slow.send_bytes(&[1]).await && began.elapsed() < Duration::from_secs(5) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(began.elapsed() < Duration::from_secs(5));
    });
}

/// Promise (K04): statements up to `max_allowed_packet` are taken, larger ones are refused with
/// 1153 and end the connection.
#[test]
fn k04_max_allowed_packet() {
    run(async {
        let protocol = Settings { max_allowed_packet: 17 << 20, ..Settings::default() };
        let server = start(Options { protocol, ..Options::default() }).await;
        let mut raw = Raw::root(server.address).await;
        let statement = |len: usize| [b"\x03SELECT '", &vec![b'x'; len - 10][..], b"'"].concat();
        assert_eq!(raw.ask(&statement(17 << 20)).await[..], [1]);
        for _column_row_end in 0..3 {
            raw.receive().await.unwrap();
        }
        // Behind 16 MiB - 1 comes a header that says how much too much it is.
        raw.send_bytes(&[0xFF, 0xFF, 0xFF, 0]).await;
        raw.send_bytes(&vec![3; 0xFF_FFFF]).await;
        raw.send_bytes(&[2, 0, 16, 1]).await;
        assert_eq!(code(&raw.receive_any().await.unwrap()), 1153);
        assert!(raw.receive().await.is_none());
    });
}

/// Promise (K08): who sends a statement byte by byte is told that it takes too long.
#[test]
fn k08_slow_writers() {
    run(async {
        let server = start(Options { read_timeout: soon(), ..Options::default() }).await;
        let mut raw = Raw::root(server.address).await;
        let began = Instant::now();
        raw.send_bytes(&[200, 0, 0, 0, 3]).await;
        while server.connections.sessions() > 0 {
            raw.send_bytes(b"x").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(began.elapsed() < Duration::from_secs(5));
        }
        assert_eq!(code(&raw.receive_any().await.unwrap()), 1159);
    });
}

/// Promise (K09): who does not read its result makes the session wait, and is sent away in time.
#[test]
fn k09_slow_readers() {
    run(async {
        let server = start(Options { write_timeout: soon(), ..Options::default() }).await;
        let mut raw = Raw::root(server.address).await;
        let began = Instant::now();
        raw.command(b"\x03rows 100000000").await;
        while server.connections.sessions() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(began.elapsed() < Duration::from_secs(15));
        }
    });
}

/// Promise: an idle session is told and ended after `wait_timeout`.
#[test]
fn idle_sessions_end() {
    run(async {
        let server = start(Options { idle_timeout: soon(), ..Options::default() }).await;
        let mut raw = Raw::root(server.address).await;
        assert_eq!(code(&raw.receive_any().await.unwrap()), 4031);
        assert!(raw.receive().await.is_none());
    });
}

/// Promise (K06): unknown statements, cursors, wrong values and too many statements are errors,
/// and the connection goes on.
#[test]
fn k06_prepared_statements_misused() {
    run(async {
        let server = start(Options { max_prepared_statements: 10, ..Options::default() }).await;
        let mut raw = Raw::root(server.address).await;
        assert_eq!(code(&raw.ask(b"\x17\x63\0\0\0\0\x01\0\0\0").await), 1243);
        assert_eq!(code(&raw.ask(b"\x1c\x63\0\0\0\x01\0\0\0").await), 1243);
        assert_eq!(code(&raw.ask(b"\x1a\x63\0\0\0").await), 1243);
        let prepared = raw.ask(b"\x16SELECT ?").await;
        assert_eq!(prepared[..9], [0, 1, 0, 0, 0, 1, 0, 1, 0]);
        for _ in 0..2 {
            raw.receive().await.unwrap();
        }
        assert_eq!(code(&raw.ask(b"\x17\x01\0\0\0\0\x01\0\0\0").await), 1210);
        let cursor = b"\x17\x01\0\0\0\x01\x01\0\0\0\0\x01\x03\0\x07\0\0\0";
        assert_eq!(code(&raw.ask(cursor).await), 1235);
        assert_eq!(code(&raw.ask(b"\x1c\x01\0\0\0\x01\0\0\0").await), 1421);
        for _ in 1..10 {
            assert_eq!(raw.ask(b"\x16insert").await[0], 0);
        }
        assert_eq!(code(&raw.ask(b"\x16insert").await), 1461);
        // Neither has an answer: the next one is the ping's.
        raw.command(b"\x18\x63\0\0\0\0\0data").await;
        raw.command(b"\x19\x02\0\0\0").await;
        assert_eq!(raw.ask(b"\x0e").await[0], 0);
        assert_eq!(raw.ask(b"\x16insert").await[0], 0);
    });
}

/// Promise (K16): commands that nobody knows are refused with 1047, one after the other.
#[test]
fn k16_unknown_commands() {
    run(async {
        let server = start(Options::default()).await;
        let mut raw = Raw::root(server.address).await;
        for command in [0x05, 0x0A, 0x0D, 0x12, 0x13, 0x15, 0x1D, 0x1E, 0x20, 0xFF] {
            assert_eq!(code(&raw.ask(&[command]).await), 1047, "{command:#x}");
        }
        assert_eq!(raw.ask(b"\x09").await[..], *b"Threads: 1");
        assert_eq!(code(&raw.ask(b"\x02nowhere").await), 1049);
        assert_eq!(raw.ask(b"\x02shop").await[0], 0);
        assert_eq!(code(&raw.ask(b"\x0c\xff\xff\0\0").await), 1094);
        assert_eq!(code(&raw.ask(b"\x03SELECT '\xff'").await), 1300);
    });
}

/// Promise: several statements in one query are a matter of what client and server agreed on, and
/// of COM_SET_OPTION.
#[test]
fn several_statements_are_agreed_on() {
    run(async {
        let server = start(Options::default()).await;
        let mut raw = Raw::connect(server.address).await;
        raw.capabilities = raw.capabilities.without(Capabilities::MULTI_STATEMENTS);
        raw.log_in("root", "").await;
        assert_eq!(code(&raw.ask(b"\x03insert; insert").await), 1064);
        assert_eq!(raw.ask(b"\x1b\0\0").await[0], 0xFE);
        assert_eq!(raw.ask(b"\x03insert; insert").await[..3], [0, 3, 7]);
        assert_eq!(raw.receive().await.unwrap()[..3], [0, 3, 7]);
        assert_eq!(raw.ask(b"\x1b\x01\0").await[0], 0xFE);
        assert_eq!(code(&raw.ask(b"\x03insert; insert").await), 1064);
    });
}

/// Promise (S15): a client that did not offer its files is not asked for them, nor when the server
/// is set so.
#[test]
fn s15_files_only_from_clients_that_offer_them() {
    run(async {
        for local_files in [true, false] {
            let protocol = Settings { local_files, ..Settings::default() };
            let server = start(Options { protocol, ..Options::default() }).await;
            let mut raw = Raw::connect(server.address).await;
            if local_files {
                raw.capabilities = raw.capabilities.without(Capabilities::LOCAL_FILES);
            }
            raw.log_in("root", "").await;
            let asked = raw.ask(b"\x03LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t").await;
            assert_eq!(code(&asked), 1148);
        }
    });
}

/// Promise (K14): clients that vanish at any point, in the middle of rows or files too, leave
/// nothing behind.
#[test]
fn k14_clients_that_vanish_leave_nothing() {
    run(async {
        let server = start(Options::default()).await;
        for command in [
            &b"\x03rows 1000000"[..],
            b"\x03LOAD DATA LOCAL INFILE 'x' INTO TABLE t",
            b"\x16SELECT ?",
            b"\x03begin",
        ] {
            let mut raw = Raw::root(server.address).await;
            raw.command(command).await;
            drop(raw);
            let mut cut = Raw::root(server.address).await;
            cut.send_bytes(&[200, 0, 0, 0, 3, b'x']).await;
            drop(cut);
            drop(Raw::connect(server.address).await);
        }
        let began = Instant::now();
        while !server.connections.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", server.connections.list());
        }
    });
}

/// Promise: a server that ends lets statements finish, sends idle clients away with 1053,
/// interrupts what goes on for too long, and takes nobody in.
#[test]
fn shutdown_is_in_order() {
    run(async {
        let server = start(Options { shutdown_grace: soon(), ..Options::default() }).await;
        let address = server.address;
        let mut idle = Raw::root(address).await;
        let mut busy = Raw::root(address).await;
        busy.command(b"\x03sleep").await;
        while server.connections.list().iter().all(|one| one.command != "Query") {
            tokio::task::yield_now().await;
        }
        let ended = tokio::spawn(server.end());
        assert_eq!(code(&idle.receive_any().await.unwrap()), 1053);
        assert_eq!(code(&busy.receive().await.unwrap()), 1053);
        assert_eq!(ended.await.unwrap().cut_off, 0);
        assert!(TcpStream::connect(address).await.is_err());
    });
}

/// Promise (S04, S06): over TLS, accounts that demand it and those with a salted hash only get in;
/// in the clear neither does, and the password is not asked for.
#[test]
fn s04_s06_tls() {
    run(async {
        let (tls, certificate) = certificate();
        let server = start_with(Options::default(), Some(tls)).await;
        let connector = connector(certificate);
        for (user, password, expected) in [
            ("tls", "secret", 0),
            ("sha2", "secret", 0),
            ("tls", "wrong", 1045),
            ("salted", "secret", 0),
            ("salted", "wrong", 1045),
            ("nobody", "secret", 1045),
        ] {
            let mut raw = Raw::over_tls(server.address, &connector).await;
            let found = raw.log_in_fully(user, password).await.0;
            assert_eq!(found, expected, "{user} {password}");
        }
        for (user, expected) in [("tls", 1045), ("salted", 1045), ("sha2", 0)] {
            let mut raw = Raw::connect(server.address).await;
            let answer = raw.log_in(user, "secret").await;
            let found = if answer[0] == 0 { 0 } else { code(&answer) };
            assert_eq!(found, expected, "{user} in the clear");
        }
    });
}

/// Promise (S05): a login in the clear behind the request for TLS is not looked at.
#[test]
fn s05_clear_bytes_behind_the_request() {
    run(async {
        let server = start_with(Options::default(), Some(certificate().0)).await;
        let mut raw = Raw::connect(server.address).await;
        let login = raw.login_payload("root", Plugin::Sha2, "");
        let header = [login.len() as u8, 0, 0, 2];
        let bytes = [&tls_request(&raw)[..], &header, &login].concat();
        raw.send_bytes(&bytes).await;
        // To TLS they are no greeting of a client: an alert at most, then the end.
        let mut said = Vec::new();
        let _reset_or_end = raw.stream.read_to_end(&mut said).await;
        assert!(matches!(said[..], [] | [21, ..]), "{said:?}");
        assert_eq!(server.connections.sessions(), 0);
    });
}

/// Promise (S03): a login that was recorded is worth nothing on another connection.
#[test]
fn s03_replayed_logins() {
    run(async {
        let server = start(Options::default()).await;
        let mut first = Raw::connect(server.address).await;
        let recorded = first.login_payload("both", Plugin::Native, "secret");
        first.send(&recorded).await;
        assert_eq!(first.receive().await.unwrap()[0], 0);
        let mut second = Raw::connect(server.address).await;
        assert_ne!(first.salt, second.salt);
        second.send(&recorded).await;
        assert_eq!(code(&second.receive().await.unwrap()), 1045);
    });
}

/// Promise (K11): a storm of logins leaves a session that is there usable.
#[test]
fn k11_login_storm() {
    run(async {
        let server = start(Options::default()).await;
        let mut inside = Raw::root(server.address).await;
        let address = server.address;
        let storm = tokio::spawn(async move {
            for n in 0..2000 {
                let mut raw = Raw::connect(address).await;
                let password = if n % 2 == 0 { "secret" } else { "wrong" };
                raw.log_in("sha2", password).await;
            }
        });
        let mut slowest = Duration::ZERO;
        while !storm.is_finished() {
            let began = Instant::now();
            assert_eq!(inside.ask(b"\x0e").await[0], 0);
            slowest = slowest.max(began.elapsed());
        }
        storm.await.unwrap();
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    });
}
