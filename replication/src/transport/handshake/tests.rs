//! Handshakes between two sides, with somebody between them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use resprout_wal::world::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::record::{Kind, RECORD_BYTES_MAX, encode_proof, encode_refusal};
use super::*;
use crate::transport::NodeId;
use crate::transport::error::ConnectionError;
use crate::transport::local::{Local, LocalNode};
use crate::transport::secret::Secret;
use crate::wire::VERSION;

/// What a side knows of the other.
#[derive(Default)]
struct Book {
    is_stranger: bool,
    seen: Mutex<Seen>,
    noted: AtomicU64,
}

impl Known for Book {
    fn judge(&self, other: &Greeting) -> Result<(), Refusal> {
        if self.is_stranger {
            return Err(Refusal::Unknown { node: other.node });
        }
        self.seen.lock().unwrap().judge(other)
    }

    fn note(&self, other: &Greeting) -> Result<u64, Refusal> {
        self.judge(other)?;
        self.seen.lock().unwrap().note(other);
        Ok(self.noted.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// One node and what it knows.
struct Party {
    local: Local,
    book: Book,
}

fn party(node: u64) -> Party {
    let secret = Secret::new(b"a secret that both of them know").unwrap();
    let local = LocalNode { node: NodeId(node), cluster: 77, run: 5 };
    Party { local: Local::new(local, secret).unwrap(), book: Book::default() }
}

impl Party {
    fn noted(&self) -> u64 {
        self.book.noted.load(Ordering::Relaxed)
    }

    async fn dial(&self, mut stream: DuplexStream, to: u64) -> Result<Session, ConnectionError> {
        dial(&mut stream, &self.local, NodeId(to), &self.book).await
    }

    async fn answer(&self, mut stream: DuplexStream) -> Result<Session, ConnectionError> {
        answer(&mut stream, &self.local, &self.book).await
    }
}

/// A bit that is turned on its way: by whom it was said, and which.
type Flip = Option<(bool, usize)>;

/// What became of a handshake, and what was said: by the dialer, by the listener.
struct Met {
    dialed: Result<Session, ConnectionError>,
    answered: Result<Session, ConnectionError>,
    said: [Vec<u8>; 2],
}

async fn meet(dialer: &Party, to: u64, listener: &Party, flip: Flip) -> Met {
    let (near, far) = (duplex(1024), duplex(1024));
    let (dialed, answered, said) =
        tokio::join!(dialer.dial(near.0, to), listener.answer(far.0), between(near.1, far.1, flip));
    Met { dialed, answered, said }
}

async fn between(mut near: DuplexStream, mut far: DuplexStream, flip: Flip) -> [Vec<u8>; 2] {
    let mut said = [Vec::new(), Vec::new()];
    let (mut there, mut back) = ([0; 256], [0; 256]);
    loop {
        let (is_back, count) = tokio::select! {
            count = near.read(&mut there) => (false, count.unwrap()),
            count = far.read(&mut back) => (true, count.unwrap()),
        };
        let (heard, bytes) =
            (&mut said[usize::from(is_back)], if is_back { &mut back } else { &mut there });
        if let Some((of_listener, bit)) = flip.filter(|(of_listener, _)| *of_listener == is_back) {
            let _unused = of_listener;
            if (heard.len()..heard.len() + count).contains(&(bit / 8)) {
                bytes[bit / 8 - heard.len()] ^= 1 << (bit % 8);
            }
        }
        heard.extend_from_slice(&bytes[..count]);
        let towards = if is_back { &mut near } else { &mut far };
        let passed = towards.write_all(&bytes[..count]).await;
        if count == 0 || passed.is_err() {
            return said;
        }
    }
}

/// Promise: after a handshake both sides know who is there, and in which version to speak.
#[tokio::test]
async fn both_sides_know_each_other() {
    let (one, two) = (party(1), party(2));
    let met = meet(&one, 2, &two, None).await;
    let (dialed, answered) = (met.dialed.unwrap(), met.answered.unwrap());
    assert_eq!((dialed.other.node, dialed.other.run, dialed.version), (NodeId(2), 5, VERSION));
    assert_eq!(
        (answered.other.node, answered.other.run, answered.version),
        (NodeId(1), 5, VERSION)
    );
    assert_eq!((dialed.number, answered.number), (1, 1));
    assert!(met.said.iter().all(|said| said.len() == RECORD_BYTES_MAX + 40));
    let again = meet(&one, 2, &two, None).await;
    assert_eq!(again.answered.unwrap().number, 2, "the same process may come again");
}

/// Checks that one side refuses for this reason, that the other is told so, and that nobody was
/// noted.
async fn is_refused(dialer: &Party, listener: &Party, by_listener: bool, why: Refusal) {
    let before = (dialer.noted(), listener.noted());
    let met = meet(dialer, 2, listener, None).await;
    let (refuser, told) = (met.answered.unwrap_err(), met.dialed.unwrap_err());
    let (refuser, told) = if by_listener { (refuser, told) } else { (told, refuser) };
    assert_eq!(refuser.to_string(), format!("refused: {why}"));
    assert_eq!(told.to_string(), format!("refused by the other side: {why}"));
    assert_eq!((dialer.noted(), listener.noted()), before);
}

/// Promise: nodes of two clusters refuse each other and name both (row I01).
#[tokio::test]
async fn i01_another_cluster_is_refused() {
    let (mut one, two) = (party(1), party(2));
    one.local.cluster = 78;
    is_refused(&one, &two, true, Refusal::Cluster { expected: 77, found: 78 }).await;
}

/// Promise: who does not know the secret is refused on both sides (row S11).
#[tokio::test]
async fn s11_a_wrong_secret_is_refused() {
    let (mut one, two) = (party(1), party(2));
    one.local.secret = Secret::new(b"a secret that only one of them knows").unwrap();
    is_refused(&one, &two, true, Refusal::Secret).await;
}

/// Promise: a listener that does not know the secret is refused as well, whatever it answers to a
/// proof: a guess, or the proof itself sent back (row S11).
#[tokio::test]
async fn s11_s12_an_impostor_that_listens_is_refused() {
    for sends_back in [false, true] {
        let (one, two) = (party(1), party(2));
        let (near, mut far) = duplex(1024);
        let impostor = async {
            let mut hello = [0; RECORD_BYTES_MAX];
            far.read_exact(&mut hello).await.unwrap();
            let mut challenge = Greeting::decode(&hello[8..]).unwrap();
            (challenge.node, challenge.to) = (two.local.node, one.local.node);
            far.write_all(&challenge.encode(Kind::Challenge)).await.unwrap();
            let mut proof = [0; 40];
            far.read_exact(&mut proof).await.unwrap();
            let guess: [u8; 32] = if sends_back { proof[8..].try_into().unwrap() } else { [7; 32] };
            far.write_all(&encode_proof(Kind::Welcome, &guess)).await.unwrap();
            let mut refusal = Vec::new();
            far.read_to_end(&mut refusal).await.unwrap();
            refusal
        };
        let (dialed, refusal) = tokio::join!(one.dial(near, 2), impostor);
        assert!(matches!(dialed.unwrap_err(), ConnectionError::Refused(Refusal::Secret)));
        assert_eq!(refusal, encode_refusal(Refusal::Secret));
        assert_eq!(one.noted(), 0);
    }
}

/// Promise: a greeting that is sent back to its sender is refused, as an answer and as a greeting
/// (row S12).
#[tokio::test]
async fn s12_a_reflected_greeting_is_refused() {
    let one = party(1);
    let (near, mut far) = duplex(1024);
    let (back_near, back_far) = duplex(1024);
    let reflector = async {
        let mut hello = [0; RECORD_BYTES_MAX];
        far.read_exact(&mut hello).await.unwrap();
        let mut back_near = back_near;
        back_near.write_all(&hello).await.unwrap();
        hello[4] = Kind::Challenge as u8;
        far.write_all(&hello).await.unwrap();
        let mut said = Vec::new();
        back_near.read_to_end(&mut said).await.unwrap();
        said
    };
    let (dialed, answered, said) = tokio::join!(one.dial(near, 2), one.answer(back_far), reflector);
    let node = NodeId(1);
    let found = Refusal::Node { expected: NodeId(2), found: node };
    assert!(matches!(dialed.unwrap_err(), ConnectionError::Refused(why) if why == found));
    let itself = Refusal::Itself { node };
    assert!(matches!(answered.unwrap_err(), ConnectionError::Refused(why) if why == itself));
    assert_eq!(said, encode_refusal(itself));
}

/// Promise: what was recorded of a good handshake opens no second one, for either side (row S12).
#[tokio::test]
async fn s12_a_recorded_handshake_is_worthless() {
    let (one, two) = (party(1), party(2));
    let [by_dialer, by_listener] = meet(&one, 2, &two, None).await.said;
    let (mut near, far) = duplex(4096);
    near.write_all(&by_dialer).await.unwrap();
    let error = two.answer(far).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Refused(Refusal::Secret)), "{error}");
    let (near, mut far) = duplex(4096);
    far.write_all(&by_listener).await.unwrap();
    let error = one.dial(near, 2).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Refused(Refusal::Secret)), "{error}");
    assert_eq!((one.noted(), two.noted()), (1, 1));
}

/// Promise: every bit of a handshake counts; a changed one lets nobody be taken for somebody else.
#[tokio::test]
async fn s12_every_bit_counts() {
    let bits = (RECORD_BYTES_MAX + 40) * 8;
    for (of_listener, bit) in (0..bits).flat_map(|bit| [(false, bit), (true, bit)]) {
        let (one, two) = (party(1), party(2));
        let met = meet(&one, 2, &two, Some((of_listener, bit))).await;
        assert!(met.dialed.is_err(), "bit {bit} of the listener: {of_listener}");
        // The last record of the listener may be lost or changed: it knows who is there by then.
        let is_last = of_listener && bit >= RECORD_BYTES_MAX * 8;
        assert_eq!(met.answered.is_ok(), is_last, "bit {bit} of the listener: {of_listener}");
    }
}

/// Promise: two nodes without a common version part, and both learn which there are (row I07).
#[tokio::test]
async fn i07_another_version_is_refused() {
    let two = party(2);
    let (mut near, far) = duplex(1024);
    let found = Versions { first: VERSION + 1, last: VERSION + 8 };
    let one = party(1).local;
    let hello = Greeting {
        versions: found,
        node: one.node,
        to: NodeId(2),
        run: one.run,
        cluster: one.cluster,
        token: one.token,
        nonce: [0; 32],
    };
    near.write_all(&hello.encode(Kind::Hello)).await.unwrap();
    let error = two.answer(far).await.unwrap_err();
    let expected = Versions { first: VERSION, last: VERSION };
    let said =
        format!("refused: protocol versions {found}, here {expected}: upgrade the older node");
    assert_eq!(error.to_string(), said);
    let mut told = Vec::new();
    near.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, encode_refusal(Refusal::Version { expected, found }));
}

/// Promise: whoever is at an address that is not up to date says so (row N17); a node that reaches
/// itself, two nodes of one id, and the higher id that connects are told apart.
#[tokio::test]
async fn n17_another_node_is_refused() {
    let (one, two, three) = (party(1), party(2), party(3));
    let (expected, found) = (NodeId(2), NodeId(3));
    is_refused(&one, &three, true, Refusal::Node { expected, found }).await;
    is_refused(&two, &two, true, Refusal::Itself { node: NodeId(2) }).await;
    is_refused(&two, &party(2), true, Refusal::SameId { node: NodeId(2) }).await;
    is_refused(&three, &two, true, Refusal::Direction { node: NodeId(3), to: NodeId(2) }).await;
}

/// Promise: nodes that the metadata does not name are refused, after they have proved themselves.
#[tokio::test]
async fn unknown_nodes_are_refused() {
    let (one, mut two) = (party(1), party(2));
    two.book.is_stranger = true;
    is_refused(&one, &two, true, Refusal::Unknown { node: NodeId(1) }).await;
}

/// Promise: once a run of a node was seen, an older one is refused, whoever connects; so is another
/// process that says it is the same run, and the one that was first stays (rows I02, P06).
#[tokio::test]
async fn i02_older_runs_and_copied_directories_are_refused() {
    for is_dialer in [true, false] {
        let (one, two) = (party(1), party(2));
        assert!(meet(&one, 2, &two, None).await.dialed.is_ok());
        let node = NodeId(if is_dialer { 1 } else { 2 });
        let mut copied = party(node.0);
        let twin = Refusal::Twin { node, run: 5 };
        let old = Refusal::OldRun { node, seen: 5, found: 4 };
        for (run, why) in [(5, twin), (4, old)] {
            copied.local.run = run;
            let (dialer, listener) = if is_dialer { (&copied, &two) } else { (&one, &copied) };
            is_refused(dialer, listener, is_dialer, why).await;
        }
        assert!(meet(&one, 2, &two, None).await.dialed.is_ok(), "the first one stays");
        copied.local.run = 6;
        let (dialer, listener) = if is_dialer { (&copied, &two) } else { (&one, &copied) };
        assert!(meet(dialer, 2, listener, None).await.answered.is_ok(), "a newer run is taken");
        assert!(meet(&one, 2, &two, None).await.dialed.is_err(), "and the older is over");
    }
}

/// Promise: whatever a stranger says, the end is clean: every prefix of a handshake, and bytes at
/// random behind it. Nobody is noted, and no more is read than one record.
#[tokio::test]
async fn hostile_bytes_end_a_handshake() {
    let (one, two) = (party(1), party(2));
    let [by_dialer, by_listener] = meet(&one, 2, &two, None).await.said;
    let mut rng = Rng::new(9);
    for length in 0..by_dialer.len() {
        for garbage in [0, 1, 300] {
            let garbage: Vec<u8> = (0..garbage).map(|_| rng.below(256) as u8).collect();
            for (said, is_dialer) in [(&by_dialer, true), (&by_listener, false)] {
                let (mut near, far) = duplex(4096);
                near.write_all(&said[..length]).await.unwrap();
                near.write_all(&garbage).await.unwrap();
                near.shutdown().await.unwrap();
                let ending = async {
                    if is_dialer { two.answer(far).await } else { one.dial(far, 2).await }
                };
                let ended = timeout(Duration::from_secs(10), ending).await.expect("an end");
                assert!(ended.is_err());
            }
        }
    }
    assert_eq!((one.noted(), two.noted()), (1, 1));
}

/// Promise: every refusal arrives as it was sent, and an unknown one is named by its number.
#[test]
fn refusals_arrive_as_they_were_sent() {
    let (node, to) = (NodeId(3), NodeId(u64::MAX));
    let versions = |first, last| Versions { first, last };
    for refusal in [
        Refusal::Version { expected: versions(1, 2), found: versions(3, u16::MAX) },
        Refusal::Cluster { expected: u128::MAX, found: 7 },
        Refusal::Node { expected: node, found: to },
        Refusal::Itself { node },
        Refusal::SameId { node },
        Refusal::Direction { node, to },
        Refusal::Secret,
        Refusal::Unknown { node },
        Refusal::OldRun { node, seen: u64::MAX, found: 2 },
        Refusal::Twin { node, run: 8 },
        Refusal::Busy,
    ] {
        let mut record: [u8; REFUSAL_RECORD_BYTES] = encode_refusal(refusal).try_into().unwrap();
        assert_eq!(decode_refusal(&record), Ok(refusal));
        record[8] = 200;
        assert_eq!(decode_refusal(&record), Err(GreetingError::Reason { code: 200 }));
    }
}
