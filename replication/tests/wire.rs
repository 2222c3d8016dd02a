//! The bytes of messages: what is written is read back, what was changed is noticed, and no bytes
//! whatever lead to a panic or to much memory.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use resprout_replication::wire::{self, WireError};
use resprout_replication::{
    Ack, Envelope, Frame, Hello, Identity, ImageHead, Incarnation, Instance, Leave, Message,
    Partition, Start, StreamId,
};
use resprout_wal::frame::{CONTINUES, Header};
use resprout_wal::{History, Lineage, Lsn, Term, TermStart};

fn lineage() -> Lineage {
    let entry = |(term, start)| TermStart { term: Term(term), start: Lsn(start) };
    let entries = [(1, 0), (4, 8192), (7, 40960)].into_iter().map(entry).collect();
    let history = History::from_entries(entries).expect("it grows");
    Lineage { term: Term(7), history, chain: 0x1234_5678_9abc_def0 }
}

fn frame(lsn: u64, payload: &'static [u8]) -> Frame {
    let header = Header {
        lsn: Lsn(lsn),
        term: Term(7),
        chain: 99,
        flags: CONTINUES,
        payload_len: payload.len() as u32,
        payload_crc: crc32fast::hash(payload),
        committed: Lsn(4096),
        durable: Lsn(4096),
    };
    Frame::new(header, Bytes::from_static(payload)).expect("its own checksum")
}

/// One of each kind, and some of odd sizes.
fn samples() -> Vec<Message> {
    let hello = |wants_pages| Hello { lineage: lineage(), end: Lsn(49152), wants_pages };
    let (id, lsn, lineage) = (3, Lsn(49152), lineage());
    let head = ImageHead { id, lsn, lineage, pages: 12, bytes: 34, plain: true };
    let ack = Ack {
        end: Lsn(12288),
        received: Lsn(8192),
        durable: Lsn(4096),
        applied: Lsn(4096),
        credit: 77,
        echo: Duration::from_nanos(123_456_789),
    };
    let sent = Duration::from_secs(9);
    vec![
        Message::Hello(hello(false)),
        Message::Hello(hello(true)),
        Message::Welcome(Start::Continue { from: Lsn(8192) }),
        Message::Welcome(Start::Truncate { to: Lsn(8192), chain: 5 }),
        Message::Welcome(Start::Provision(head)),
        Message::Frames { frames: vec![frame(0, b"one"), frame(4096, b"")], committed: Lsn(1) },
        Message::Frames { frames: Vec::new(), committed: Lsn(0) },
        Message::Ack(ack),
        Message::Beat { sent, end: Lsn(8192), committed: Lsn(4096) },
        Message::Refuse,
        Message::Leave(Leave::Full),
        Message::Leave(Leave::Stopping),
        Message::AskDigests { image: 3, from: 8, count: 100 },
        Message::Digests { image: 3, from: 8, digests: vec![1, u64::MAX] },
        Message::Want { image: 3, pages: vec![1, 5, 9] },
        Message::Pages {
            image: 3,
            pages: vec![(1, Bytes::from_static(b"page")), (2, Bytes::new())],
        },
    ]
}

fn envelope(message: Message) -> Envelope {
    let from = Identity {
        partition: Partition { cluster: u128::MAX - 5, database: 3, ordinal: 17 },
        instance: Instance(0xfeed),
        incarnation: Incarnation(4),
    };
    let stream = StreamId { run: Incarnation(2), number: 9 };
    Envelope { from, to: Instance(0xbeef), term: Term(7), stream, message }
}

fn decode(bytes: &[u8]) -> Result<Envelope, WireError> {
    wire::decode(&Bytes::copy_from_slice(bytes), wire::MESSAGE_BYTES_MAX)
}

/// The checksum of changed bytes, so that what is behind it is reached.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() < wire::HEADER_BYTES {
        return bytes;
    }
    let length = (bytes.len() - wire::HEADER_BYTES) as u32;
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..]);
    bytes[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes
}

/// Promise: what is written is read back.
#[test]
fn messages_are_read_back() {
    for message in samples() {
        let sent = envelope(message);
        assert_eq!(decode(&wire::encode(&sent)), Ok(sent));
    }
}

/// Promise: payloads travel from the sender's own buffers, and the pieces are the message.
#[test]
fn payloads_are_not_copied() {
    for message in samples() {
        let sent = envelope(message);
        assert_eq!(wire::encode_parts(&sent).concat(), wire::encode(&sent));
        if let Message::Frames { frames, .. } = &sent.message
            && let Some(frame) = frames.first()
        {
            let parts = wire::encode_parts(&sent);
            let own = |part: &Bytes| part.as_ptr() == frame.payload.as_ptr();
            assert!(parts.iter().any(own), "the frame's own buffer");
        }
    }
}

/// Promise (N15): no flipped bit and no cut goes unnoticed.
#[test]
fn n15_every_flip_and_every_cut_is_noticed() {
    for message in samples() {
        let bytes = wire::encode(&envelope(message));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(decode(&longer), Err(WireError::Trailing { bytes: 1 }));
    }
}

/// Promise (D26, N15): a frame whose payload is not what its header says does not arrive, however good
/// the message around it is.
#[test]
fn d26_n15_a_damaged_frame_does_not_arrive() {
    let frames = vec![frame(0, b"one"), frame(4096, b"two")];
    let bytes = wire::encode(&envelope(Message::Frames { frames, committed: Lsn(0) }));
    let at = bytes.windows(3).position(|three| three == b"two").unwrap();
    let mut damaged = bytes;
    damaged[at] ^= 1;
    let found = decode(&resealed(damaged));
    assert!(matches!(found, Err(WireError::Frame { place: 1, .. })), "{found:?}");
}

/// Promise: lengths that peers say are believed within bounds only, before memory is asked for.
#[test]
fn lengths_are_bounded() {
    let bytes = wire::encode(&envelope(Message::Refuse));
    let mut long = bytes;
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(decode(&long), Err(WireError::TooLong { .. })));
    let want = envelope(Message::Want { image: 1, pages: Vec::new() });
    let mut many = wire::encode(&want);
    let count_at = many.len() - 4;
    many[count_at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(decode(&resealed(many)), Err(WireError::Short { .. })));
}

/// Promise: what another version or another program says is told apart.
#[test]
fn other_speakers_are_recognised() {
    let bytes = wire::encode(&envelope(Message::Refuse));
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        decode(&resealed(bytes))
    };
    assert!(matches!(with(0, b'X'), Err(WireError::Magic { .. })));
    assert_eq!(with(4, 1), Err(WireError::Version { found: 1 }));
    assert!(matches!(with(6, 99), Err(WireError::Value { field: "a kind", .. })));
    assert!(matches!(with(7, 1), Err(WireError::Value { .. })));
}

/// Promise: the bytes of version 3 stay what they are.
#[test]
fn version_3_is_fixed() {
    let all: Vec<u8> = samples().into_iter().flat_map(|m| wire::encode(&envelope(m))).collect();
    assert_eq!((all.len(), crc32fast::hash(&all)), (2024, 0xeaf9_b217));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Promise: no bytes whatever lead to a panic.
    #[test]
    fn any_bytes_are_an_error_or_a_message(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _either = decode(&bytes);
        let mut behind = b"RSPR\x02\x00\x01\x00".to_vec();
        behind.extend_from_slice(&bytes);
        let _either = decode(&resealed(behind));
    }

    /// Promise: nor does anything that is nearly a message; and what is read is what would be written.
    #[test]
    fn changed_messages_are_an_error_or_a_message(
        sample in 0..16_usize,
        kind in 0..15_u8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = wire::encode(&envelope(samples()[sample].clone()));
        if kind > 0 {
            bytes[6] = kind;
        }
        for (at, value) in changes {
            let at = 16 + at.index(bytes.len() - 16);
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(16 + cut.index(bytes.len() - 16));
        }
        let bytes = resealed(bytes);
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(wire::encode(&read), bytes);
        }
    }
}
