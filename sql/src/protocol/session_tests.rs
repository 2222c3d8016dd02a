use bytes::Buf;
use proptest::prelude::*;

use super::*;
use crate::protocol::auth::answer;
use crate::protocol::handshake::encode_login;
use crate::protocol::wire::Reader;

const PASSWORD: &str = "secret";

fn connection(settings: Settings) -> Connection {
    Connection::new(Arc::new(settings), 7, "10.0.0.1".into()).unwrap()
}

/// Takes what waits to be sent as packets: number and payload.
fn sent(connection: &mut Connection) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Bytes::copy_from_slice(connection.to_send());
    connection.sent();
    let mut packets = Vec::new();
    while bytes.has_remaining() {
        let len = bytes.get_uint_le(3) as usize;
        packets.push((bytes.get_u8(), bytes.split_to(len).to_vec()));
    }
    packets
}

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Outbound::default();
    out.expect(number);
    out.packet(|buffer| buffer.extend_from_slice(payload));
    out.bytes().to_vec()
}

/// The salt in a greeting.
fn greeted(connection: &mut Connection) -> Salt {
    let greeting = sent(connection).remove(0).1;
    let mut reader = Reader::new(&greeting[1..]);
    reader.until_zero().unwrap();
    reader.u32().unwrap();
    let first = reader.array::<8>().unwrap();
    reader.bytes(1 + 2 + 1 + 2 + 2 + 1 + 10).unwrap();
    let second = reader.array::<12>().unwrap();
    Salt([&first[..], &second].concat().try_into().unwrap())
}

fn login_payload(capabilities: Capabilities, plugin: Plugin, bytes: Vec<u8>) -> Vec<u8> {
    let login = Login {
        user: "ann".into(),
        collation: 45,
        capabilities: capabilities.without(Capabilities::COMPRESS),
        ..Login::default()
    };
    let mut out = BytesMut::new();
    encode_login(&login, &Answer { plugin: plugin.name().into(), bytes }, &mut out);
    out.to_vec()
}

fn identity(secret: Secret) -> Option<Identity> {
    Some(Identity { secret, require_tls: false })
}

/// A connection whose login by `plugin` with `password` was answered for the account.
fn logged_in(
    plugin: Plugin,
    password: &str,
    account: Option<Identity>,
) -> (Connection, Option<Event>) {
    let mut connection = connection(Settings::default());
    let salt = greeted(&mut connection);
    let bytes = answer(plugin, password, &salt);
    connection.feed(&packet(1, &login_payload(OFFERED, plugin, bytes)));
    let Ok(Some(Event::Login(login))) = connection.next_event() else { panic!("a login") };
    assert_eq!(login.user, "ann");
    let event = connection.identify(account).unwrap();
    (connection, event)
}

fn welcomed() -> Connection {
    let (mut connection, event) = logged_in(Plugin::Sha2, PASSWORD, identity(Secret::of(PASSWORD)));
    assert_eq!(event, Some(Event::Admit));
    connection.welcome();
    sent(&mut connection);
    connection
}

fn error_code(payload: &[u8]) -> u16 {
    assert_eq!(payload[0], 0xFF, "an error: {payload:?}");
    u16::from_le_bytes([payload[1], payload[2]])
}

/// Promise: both plugins let in who knows the password, in the packets that clients expect.
#[test]
fn the_right_password_lets_in() {
    let (mut native, event) =
        logged_in(Plugin::Native, PASSWORD, identity(Secret::native_of(PASSWORD)));
    assert_eq!(event, Some(Event::Admit));
    native.welcome();
    let ok = vec![0, 0, 0, 2, 0, 0, 0];
    assert_eq!(sent(&mut native), [(2, ok.clone())]);
    let (mut sha2, _) = logged_in(Plugin::Sha2, PASSWORD, identity(Secret::sha2_of(PASSWORD)));
    sha2.welcome();
    assert_eq!(sent(&mut sha2), [(2, vec![1, 3]), (3, ok)]);
}

/// Promise (S01, S02): a wrong password and an unknown user get the same answer, 1045, by the same
/// steps.
#[test]
fn s02_unknown_users_look_like_wrong_passwords() {
    let account = identity(Secret::sha2_of(PASSWORD));
    for plugin in [Plugin::Sha2, Plugin::Native] {
        let answers = [account, None].map(|account| {
            let (mut connection, mut event) = logged_in(plugin, "wrong", account);
            let mut seen = Vec::new();
            if event.is_none() {
                let mut switch = sent(&mut connection).remove(0).1;
                switch.truncate(22);
                seen.push(switch);
                connection.feed(&packet(3, &[9; 32]));
                event = connection.next_event().unwrap();
            }
            assert_eq!(event, Some(Event::Denied));
            seen.extend(sent(&mut connection).into_iter().map(|(_, payload)| payload));
            seen
        });
        assert_eq!(answers[0], answers[1]);
        let text = b"Access denied for user 'ann'@'10.0.0.1' (using password: YES)";
        assert!(answers[0].last().unwrap().ends_with(text));
        assert_eq!(error_code(answers[0].last().unwrap()), 1045);
    }
}

/// Promise: who answers by another way than the account's is asked again.
#[test]
fn another_way_is_asked_for() {
    let (mut connection, event) =
        logged_in(Plugin::Sha2, PASSWORD, identity(Secret::native_of(PASSWORD)));
    assert_eq!(event, None);
    let (number, switch) = sent(&mut connection).remove(0);
    assert_eq!(number, 2);
    let salt = switch.strip_prefix(b"\xfemysql_native_password\0").unwrap();
    let salt = Salt(salt[..20].try_into().unwrap());
    connection.feed(&packet(3, &answer(Plugin::Native, PASSWORD, &salt)));
    assert_eq!(connection.next_event(), Ok(Some(Event::Admit)));
    connection.welcome();
    assert_eq!(sent(&mut connection)[0].0, 4);
}

/// Promise (S04): the password itself is asked for over TLS only.
#[test]
fn s04_no_password_in_the_clear() {
    let (mut clear, event) = logged_in(Plugin::Sha2, PASSWORD, identity(Secret::Salted));
    assert_eq!(event, Some(Event::Denied));
    assert_eq!(error_code(&sent(&mut clear)[0].1), 1045);

    let mut connection = connection(Settings { tls: true, ..Settings::default() });
    let salt = greeted(&mut connection);
    let offered = OFFERED | Capabilities::SSL;
    let request = [&offered.0.to_le_bytes()[..], &[0, 0, 0, 1, 45], &[0; 23]].concat();
    connection.feed(&packet(1, &request));
    assert_eq!(connection.next_event(), Ok(Some(Event::StartTls)));
    connection.encrypted();
    let bytes = answer(Plugin::Sha2, PASSWORD, &salt);
    connection.feed(&packet(2, &login_payload(offered, Plugin::Sha2, bytes)));
    assert!(matches!(connection.next_event(), Ok(Some(Event::Login(_)))));
    assert_eq!(connection.identify(identity(Secret::Salted)), Ok(None));
    assert_eq!(sent(&mut connection), [(3, vec![1, 4])]);
    connection.feed(&packet(4, b"secret\0"));
    let given = Event::Password(Password(b"secret".to_vec()));
    assert_eq!(connection.next_event(), Ok(Some(given)));
    assert_eq!(connection.password_checked(true), Event::Admit);
}

/// Promise (S05): bytes in the clear behind the request for TLS end the connection without a word.
#[test]
fn s05_clear_bytes_behind_the_request_for_tls_are_refused() {
    let mut connection = connection(Settings { tls: true, ..Settings::default() });
    greeted(&mut connection);
    let offered = OFFERED | Capabilities::SSL;
    let request = [&offered.0.to_le_bytes()[..], &[0, 0, 0, 1, 45], &[0; 23]].concat();
    connection.feed(&packet(1, &request));
    connection.feed(&packet(2, &login_payload(offered, Plugin::Sha2, vec![])));
    assert_eq!(connection.next_event(), Err(Fatal::ClearBehindTls));
    assert!(sent(&mut connection).is_empty());
}

/// Promise (S06): an account for encrypted connections is closed to others, with the right
/// password too.
#[test]
fn s06_accounts_may_demand_tls() {
    let account = Identity { secret: Secret::of(PASSWORD), require_tls: true };
    let (mut connection, event) = logged_in(Plugin::Sha2, PASSWORD, Some(account));
    assert_eq!(event, Some(Event::Denied));
    assert_eq!(error_code(&sent(&mut connection)[0].1), 1045);
}

/// Promise (K03): a login is bounded: what is larger is refused by its header.
#[test]
fn k03_logins_are_bounded() {
    let mut connection = connection(Settings::default());
    greeted(&mut connection);
    connection.feed(&[0, 0, 1, 1]);
    assert!(matches!(connection.next_event(), Err(Fatal::Packet(PacketError::TooLarge { .. }))));
    assert_eq!(error_code(&sent(&mut connection)[0].1), 1153);
}

/// Promise (K01): a packet out of order is answered with 1156 and ends the connection.
#[test]
fn k01_packets_out_of_order_end_the_connection() {
    let mut connection = welcomed();
    connection.feed(&packet(5, b"\x0e"));
    assert!(matches!(connection.next_event(), Err(Fatal::Packet(_))));
    assert_eq!(error_code(&sent(&mut connection)[0].1), 1156);
    connection.feed(&packet(0, b"\x0e"));
    assert_eq!(connection.next_event(), Ok(None), "nothing is read any more");
}

/// Promise (K16): commands before the login are no commands, and those behind a running one wait.
#[test]
fn k16_commands_wait_for_their_turn() {
    let mut early = connection(Settings::default());
    greeted(&mut early);
    early.feed(&packet(1, b"\x03SELECT 1"));
    assert!(early.next_event().is_err());
    let mut connection = welcomed();
    connection.feed(&packet(0, b"\x0e"));
    connection.feed(&packet(0, b"\x03SELECT 1"));
    assert_eq!(connection.next_event(), Ok(Some(Event::Command(Command::Ping))));
    assert_eq!(connection.next_event(), Ok(None));
    connection.answers().0.status = Status::default();
    connection.finish();
    assert!(matches!(connection.next_event(), Ok(Some(Event::Command(Command::Query(_))))));
}

/// Promise (K16): a change of user is checked like a login; the answer to the salt of another one
/// does not do.
#[test]
fn k16_a_change_of_user_is_checked() {
    for (password, expected) in [(PASSWORD, Event::Admit), ("wrong", Event::Denied)] {
        let mut connection = welcomed();
        let bytes = answer(Plugin::Sha2, password, &connection.salt);
        let payload = [b"\x11bob\0\x20", &bytes[..], b"\0\x2d\0caching_sha2_password\0\0"].concat();
        connection.feed(&packet(0, &payload));
        let Ok(Some(Event::Login(login))) = connection.next_event() else { panic!("a login") };
        assert_eq!(login.user, "bob");
        let event = connection.identify(identity(Secret::of(PASSWORD))).unwrap();
        assert_eq!(event, Some(expected));
    }
}

/// Promise: an unknown or cut command gets 1047 by the shell, and the connection goes on.
#[test]
fn cut_commands_do_not_end_the_connection() {
    let mut connection = welcomed();
    for payload in [&b""[..], b"\x17", b"\x99"] {
        connection.feed(&packet(0, payload));
        let event = connection.next_event();
        assert!(matches!(event, Ok(Some(Event::Command(Command::Unknown(_))))), "{event:?}");
        connection.finish();
    }
}

/// Promise: clients of before 4.1 are told so, without a SQLSTATE that they do not know.
#[test]
fn old_clients_are_told() {
    let mut connection = connection(Settings::default());
    greeted(&mut connection);
    connection.feed(&packet(1, &[5, 0, 0, 0, 0]));
    assert_eq!(connection.next_event(), Err(Fatal::TooOld));
    let answer = sent(&mut connection).remove(0).1;
    assert_eq!(error_code(&answer), 1251);
    assert_ne!(answer[3], b'#');
}

/// Promise: a file comes in pieces, and the answer behind it goes on counting.
#[test]
fn files_come_in_pieces() {
    let mut connection = welcomed();
    connection.feed(&packet(0, b"\x03LOAD DATA"));
    connection.next_event().unwrap();
    connection.ask_for_file(b"a.csv");
    assert_eq!(sent(&mut connection), [(1, b"\xfba.csv".to_vec())]);
    connection.feed(&[packet(2, b"1,2\n"), packet(3, b"")].concat());
    assert_eq!(connection.next_of_file().unwrap().unwrap(), &b"1,2\n"[..]);
    assert!(connection.next_of_file().unwrap().unwrap().is_empty());
    let (results, out) = connection.answers();
    results.ok(out, Completion::rows(1));
    connection.finish();
    assert_eq!(sent(&mut connection)[0].0, 4);
}

/// Promise (S17): passwords and answers are not printed with an event.
#[test]
fn s17_events_do_not_print_passwords() {
    let event = Event::Password(Password(b"secret".to_vec()));
    assert!(!format!("{event:?}").contains("115"));
    let answer = Answer { plugin: vec![], bytes: b"secret".to_vec() };
    assert_eq!(format!("{answer:?}"), "Answer");
}

/// Runs a connection as a shell would, whatever the bytes; panics if memory is not bounded.
fn drive(mut connection: Connection, input: &[u8], step: usize) {
    for piece in input.chunks(step.max(1)) {
        connection.feed(piece);
        loop {
            match connection.next_event() {
                Ok(None) => break,
                Err(_) => return,
                Ok(Some(Event::Login(_))) => {
                    let Ok(event) = connection.identify(identity(Secret::Salted)) else { return };
                    if event == Some(Event::Admit) {
                        connection.welcome();
                    }
                }
                Ok(Some(Event::Admit)) => connection.welcome(),
                Ok(Some(Event::StartTls)) => connection.encrypted(),
                Ok(Some(Event::Password(_))) => {
                    if connection.password_checked(true) == Event::Admit {
                        connection.welcome();
                    }
                }
                Ok(Some(Event::Denied)) => return,
                Ok(Some(Event::Command(_))) => connection.finish(),
            }
        }
        assert!(connection.held() <= (16 << 10) + step + 4 || connection.is_admitted());
        connection.to_send();
        connection.sent();
    }
}

proptest! {
    /// Promise (K01): random bytes, cut in any way, before or after the login, are answered or end
    /// the connection.
    #[test]
    fn k01_random_bytes_do_not_panic(bytes: Vec<u8>, step in 1_usize..64, inside: bool) {
        let connection = if inside { welcomed() } else { connection(Settings::default()) };
        drive(connection, &bytes, step);
    }

    /// Promise (K01): well-formed packets with random payloads as well.
    #[test]
    fn k01_random_packets_do_not_panic(
        payloads in proptest::collection::vec(any::<Vec<u8>>(), 1..8),
        inside: bool,
    ) {
        let mut bytes = Vec::new();
        for (number, payload) in payloads.iter().enumerate() {
            bytes.extend(packet(if inside { 0 } else { number as u8 + 1 }, payload));
        }
        let connection = if inside { welcomed() } else { connection(Settings::default()) };
        drive(connection, &bytes, 1000);
    }

    /// Promise (K01): a login with bytes changed as well.
    #[test]
    fn k01_mutated_logins_do_not_panic(at in 0_usize..200, byte: u8, cut in 0_usize..200) {
        let mut payload = login_payload(OFFERED, Plugin::Sha2, vec![3; 32]);
        let len = payload.len();
        payload[at % len] = byte;
        payload.truncate(len - cut % len);
        let bytes = [packet(1, &payload), packet(2, b"x\0"), packet(0, b"\x0e")].concat();
        drive(connection(Settings { tls: true, ..Settings::default() }), &bytes, 17);
    }
}
