//! The target of the MySQL protocol: what a client sends, from its first byte on, against a
//! connection without a socket. Commands are answered as the server's shell answers them.

use resprout_sql::protocol::auth::{Plugin, Secret};
use resprout_sql::protocol::command::Command;
use resprout_sql::protocol::compress::Frames;
use resprout_sql::protocol::flags::Capabilities;
use resprout_sql::protocol::handshake::{Answer, Login, OFFERED, encode_login};
use resprout_sql::protocol::packet::Outbound;
use resprout_sql::protocol::resultset::Completion;
use resprout_sql::protocol::session::{Connection, Event, Identity, Settings};
use resprout_sql::protocol::statement::{StatementLimits, Statements};

use crate::Outcome;

/// Bytes fed at once, as a socket would give them.
const STEP: usize = 1000;
const SETTINGS: fn() -> Settings =
    || Settings { tls: true, max_allowed_packet: 1 << 20, ..Settings::default() };

struct Client {
    connection: Connection,
    statements: Statements<()>,
    commands: usize,
    in_file: bool,
}

/// Whatever is sent is answered or ends the connection, and what is kept is bounded.
pub(crate) fn session(input: &[u8]) -> Outcome {
    let settings = SETTINGS().into();
    let limits = StatementLimits { statements: 10, long_data_bytes: 1 << 20 };
    let connection = Connection::new(settings, 7, "10.0.0.1".into());
    let mut client = Client {
        connection: connection.expect("a test has randomness"),
        statements: Statements::new(limits),
        commands: 0,
        in_file: false,
    };
    for piece in input.chunks(STEP) {
        client.connection.feed(piece);
        if client.run().is_none() {
            return Outcome::Refused;
        }
        let limit = if client.connection.is_admitted() { 1 << 21 } else { 1 << 15 };
        assert!(client.connection.held() <= limit + STEP, "held {}", client.connection.held());
    }
    if client.commands > 0 { Outcome::Accepted } else { Outcome::Refused }
}

impl Client {
    /// Takes events until bytes are missing; none if the connection has ended.
    fn run(&mut self) -> Option<()> {
        loop {
            self.connection.to_send();
            self.connection.sent();
            if self.in_file {
                let Some(piece) = self.connection.next_of_file().ok()? else { return Some(()) };
                if piece.is_empty() {
                    self.in_file = false;
                    self.connection.finish();
                }
                continue;
            }
            let mut event = self.connection.next_event().ok()?;
            if let Some(Event::Login(login)) = event {
                event = self.connection.identify(account(&login)).ok()?;
                if event.is_none() {
                    continue;
                }
            }
            match event {
                None => return Some(()),
                Some(Event::Admit) => self.welcome(),
                Some(Event::StartTls) => self.connection.encrypted(),
                Some(Event::Password(_)) => {
                    assert_eq!(self.connection.password_checked(true), Event::Admit);
                    self.welcome();
                }
                Some(Event::Command(command)) => self.command(&command),
                Some(Event::Denied | Event::Login(_)) => return None,
            }
        }
    }

    fn welcome(&mut self) {
        self.connection.welcome();
        self.connection.to_send();
        self.connection.sent();
        self.connection.begin_compression();
    }

    fn command(&mut self, command: &Command) {
        self.commands += 1;
        let done = match command {
            Command::Query(text) if text.starts_with(b"LOAD") => {
                self.connection.ask_for_file(text);
                self.in_file = true;
                return;
            }
            Command::Prepare(text) => {
                let parameters = text.iter().filter(|byte| **byte == b'?').count();
                self.statements.insert((), parameters).map(|_| ())
            }
            Command::Execute { statement, rest } => {
                let execution = self.statements.execution(*statement, rest).map(|found| {
                    std::hint::black_box(found.values.len());
                });
                self.statements.executed(*statement);
                execution
            }
            Command::LongData { statement, parameter, data } => {
                self.statements.long_data(*statement, *parameter, data);
                Ok(())
            }
            Command::ResetStatement(number) => self.statements.reset(*number),
            Command::CloseStatement(number) => {
                self.statements.close(*number);
                Ok(())
            }
            _ => Ok(()),
        };
        let (results, out) = self.connection.answers();
        match done {
            Ok(()) => results.ok(out, Completion::default()),
            Err(error) => results.error(out, &error),
        }
        self.connection.finish();
        self.connection.to_send();
        self.connection.sent();
        self.connection.restart_frames();
    }
}

fn account(login: &Login) -> Option<Identity> {
    let secret = match &*login.user {
        "root" => Secret::Empty,
        "salted" => Secret::Salted,
        "native" => Secret::native_of("secret"),
        _ => return None,
    };
    Some(Identity { secret, require_tls: false })
}

/// Sessions as clients have them: plain, with prepared statements, with a file, compressed.
pub(crate) fn seeds() -> [Vec<u8>; 4] {
    let commands = |payloads: &[&[u8]]| payloads.iter().map(|one| packets(0, &[one])).collect();
    let plain: Vec<Vec<u8>> = commands(&[
        b"\x03SELECT 1",
        b"\x0e",
        b"\x02shop",
        b"\x1f",
        b"\x11root\0\0shop\0\x2d\0caching_sha2_password\0\0",
        b"\x1b\0\0",
        b"\x01",
    ]);
    let prepared: Vec<Vec<u8>> = commands(&[
        b"\x16SELECT ?, ?, ?",
        b"\x18\x01\0\0\0\x02\0long",
        b"\x17\x01\0\0\0\0\x01\0\0\0\x01\x01\x03\0\x0b\x80\xfc\0\x08\x01\x02\0\0\0\x01\x02\x03",
        b"\x17\x01\0\0\0\0\x01\0\0\0\x03\0\x04text",
        b"\x1a\x01\0\0\0",
        b"\x19\x01\0\0\0",
    ]);
    let file = packets(2, &[b"1,2\n", b"3,4\n", b""]);
    let load = [packets(0, &[b"\x03LOAD DATA"]), file, packets(0, &[b"\x0e"])].concat();
    let base = OFFERED.without(Capabilities::COMPRESS);
    let compressed = [login(1, "root", OFFERED, &[]), frames(&plain.concat())].concat();
    [
        [login(1, "root", base, &[]), plain.concat()].concat(),
        [login(1, "root", base, &[]), prepared.concat()].concat(),
        [login(1, "root", base, &[]), load].concat(),
        compressed,
    ]
}

fn packets(first: u8, payloads: &[&[u8]]) -> Vec<u8> {
    let mut out = Outbound::default();
    out.expect(first);
    for payload in payloads {
        out.packet(|buffer| buffer.extend_from_slice(payload));
    }
    out.bytes().to_vec()
}

fn login(number: u8, user: &str, capabilities: Capabilities, bytes: &[u8]) -> Vec<u8> {
    let login = Login {
        user: user.into(),
        database: Some("shop".into()),
        collation: 45,
        capabilities,
        attributes: vec![("program_name".into(), "seed".into())],
        has_password: false,
    };
    let answer = Answer { plugin: Plugin::Sha2.name().into(), bytes: bytes.to_vec() };
    let mut out = Outbound::default();
    out.expect(number);
    out.packet(|payload| encode_login(&login, &answer, payload));
    out.bytes().to_vec()
}

fn frames(packets: &[u8]) -> Vec<u8> {
    let mut frames = Frames::new(Default::default());
    frames.encode(packets);
    frames.bytes().to_vec()
}
