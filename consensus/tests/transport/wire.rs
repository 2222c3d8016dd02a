//! Frames: what is written is read, and nothing else is.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use resprout_consensus::wire::{
    Encoder, HANDSHAKE_BYTES_MAX, HEADER_BYTES, Hello, MESSAGE_BYTES_MAX, Reject, Versions,
    Welcome, decode, encode, size,
};
use resprout_consensus::{
    Entry, Envelope, Message, NodeId, Payload, Proposal, ProposalId, StoreId,
};

use crate::samples::{envelopes, id, long, membership, numbered};

fn frame(envelope: &Envelope) -> Vec<u8> {
    encode(envelope, MESSAGE_BYTES_MAX).unwrap().to_vec()
}

fn read(bytes: &[u8]) -> Result<Envelope, String> {
    decode(bytes, MESSAGE_BYTES_MAX).map_err(|error| error.to_string())
}

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/raft-wire-1");
    folder.join(format!("{name}.frame"))
}

fn hello() -> Hello {
    Hello {
        versions: Versions { first: 1, last: 3 },
        node: NodeId(1),
        cluster: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
        store: StoreId(101),
        boot: 5,
        to: NodeId(2),
        to_store: StoreId(102),
    }
}

fn welcome() -> Welcome {
    let Hello { cluster, .. } = hello();
    Welcome { version: 1, node: NodeId(2), cluster, store: StoreId(102), boot: 9 }
}

fn rejects() -> [Reject; 7] {
    let node = NodeId(2);
    let (old, new) = (Versions { first: 1, last: 1 }, Versions { first: 2, last: 3 });
    [
        Reject::Version { expected: old, found: new },
        Reject::Cluster { expected: 1 << 100, found: 77 },
        Reject::Node { expected: node, found: NodeId(u64::MAX) },
        Reject::Store { node, expected: StoreId(102), found: StoreId(7) },
        Reject::SameNode { node },
        Reject::OldBoot { store: StoreId(102), seen: 9, found: 8 },
        Reject::Busy,
    ]
}

/// Every frame of version 1 there can be, by name.
fn version_1() -> Vec<(String, Vec<u8>)> {
    let mut frames: Vec<_> = envelopes(1, 2)
        .iter()
        .map(|(name, envelope)| ((*name).to_owned(), frame(envelope)))
        .collect();
    let mut beat = Vec::new();
    Encoder::default().put_beat(&mut beat);
    frames.push(("beat".to_owned(), beat));
    frames.push(("hello".to_owned(), hello().encode()));
    frames.push(("welcome".to_owned(), welcome().encode()));
    for (at, reject) in rejects().iter().enumerate() {
        frames.push((format!("reject-{}", at + 1), reject.encode()));
    }
    frames
}

/// Promise: version 1 stays readable and stays as it was; the files were written by its first
/// program. `RESPROUT_WRITE_FIXTURES=1` writes them, for a new version into a new folder.
#[test]
fn version_1_is_what_it_was() {
    for (name, frame) in version_1() {
        if std::env::var_os("RESPROUT_WRITE_FIXTURES").is_some() {
            std::fs::create_dir_all(fixture(&name).parent().unwrap()).unwrap();
            std::fs::write(fixture(&name), &frame).unwrap();
        }
        let kept = std::fs::read(fixture(&name)).unwrap();
        assert_eq!(kept, frame, "{name} is written differently");
    }
    let kept = |name: &str| std::fs::read(fixture(name)).unwrap();
    for (name, envelope) in envelopes(1, 2) {
        assert_eq!(read(&kept(name)).unwrap(), envelope, "{name} is read differently");
    }
    assert_eq!(Hello::decode(&kept("hello")).unwrap(), hello());
    assert_eq!(Welcome::decode(&kept("welcome")).unwrap(), welcome());
    for (at, reject) in rejects().into_iter().enumerate() {
        assert_eq!(Reject::decode(&kept(&format!("reject-{}", at + 1))).unwrap(), reject);
    }
}

/// Promise: no byte of a frame may change unnoticed, and none may be missing or too many.
#[test]
fn every_byte_counts() {
    for (name, frame) in version_1() {
        let is_sound = |bytes: &[u8]| {
            read(bytes).is_ok()
                || Hello::decode(bytes).is_ok()
                || Welcome::decode(bytes).is_ok()
                || Reject::decode(bytes).is_ok()
        };
        assert!(is_sound(&frame) || name == "beat", "{name}");
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(!is_sound(&damaged), "{name}: a flip at {at} is not noticed");
            assert!(!is_sound(&frame[..at]), "{name}: the end from {at} on is not missed");
        }
        assert!(!is_sound(&[&frame[..], &[0]].concat()), "{name}: a byte too many");
    }
}

/// Promise: each thing that can be wrong has its own words, with where or what was expected.
#[test]
fn errors_say_what_is_wrong() {
    let good = frame(&numbered(1, 2, 3));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        read(&bytes).unwrap_err()
    };
    assert_eq!(read(&good[..9]).unwrap_err(), "9 bytes where 16 are needed");
    let said = format!("20 bytes where {} are needed", good.len());
    assert_eq!(read(&good[..20]).unwrap_err(), said);
    assert_eq!(read(&[&good[..], b"ab"].concat()).unwrap_err(), "2 bytes behind the frame");
    let said = "not a frame of Resprout's Raft: it begins with [47, 53, 50, 43]";
    assert_eq!(changed(0, b'G'), said);
    assert_eq!(changed(6, 9), "a frame of kind 9 where 1 to 5 is expected");
    assert_eq!(changed(7, 1), "the reserved byte at 7 is not zero");
    let said = "a frame of 4278190096 bytes, at most 8388608 are possible";
    let mut long = good.clone();
    long[8..12].copy_from_slice(&0xff00_0000_u32.to_le_bytes());
    assert_eq!(read(&long).unwrap_err(), said);
    assert!(changed(20, 0xee).starts_with("checksum "));
    assert_eq!(
        read(&hello().encode()).unwrap_err(),
        "a frame of kind 3 where 1 (message) is expected"
    );
    assert_eq!(
        Hello::decode(&good).unwrap_err().to_string(),
        format!("a frame of {} bytes, at most {HANDSHAKE_BYTES_MAX} are possible", good.len())
    );
    let nowhere = Hello { store: StoreId(0), ..hello() };
    let error = Hello::decode(&nowhere.encode()).unwrap_err();
    assert_eq!(error.to_string(), "store 0, which is none");
}

/// Promise: what is too long is not written, and what was written before it stays as it is.
#[test]
fn long_messages_are_refused_before_they_go() {
    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    encoder.put(&numbered(1, 2, 3), 1000, &mut out).unwrap();
    let before = out.clone();
    let error = encoder.put(&long(1, 2, 2000), 1000, &mut out).unwrap_err().to_string();
    assert!(error.ends_with("at most 1000 are possible"), "{error}");
    assert_eq!(out, before);
    encoder.put(&numbered(1, 2, 4), 1000, &mut out).unwrap();
    assert_eq!(read(&out[before.len()..]).unwrap(), numbered(1, 2, 4));
}

/// Promise: queues count at least what a frame takes, so their bounds bound memory.
#[test]
fn sizes_are_upper_bounds() {
    let long = [0, 1, 1000, 100_000].map(|bytes| ("long", long(1, 2, bytes)));
    for (name, envelope) in envelopes(1, 2).into_iter().chain(long) {
        let (counted, taken) = (size(&envelope), frame(&envelope).len());
        assert!(counted >= taken, "{name}: {counted} counted, {taken} taken");
        assert!(counted <= taken + 1024, "{name}: {counted} counted, {taken} taken");
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let payload = prop_oneof![
        Just(Payload::TermStart),
        Just(Payload::Membership(membership())),
        (any::<u128>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(
            |(name, since, command)| Payload::Command(Proposal {
                id: ProposalId(name),
                since: resprout_consensus::Index(since),
                command: command.into(),
            })
        ),
    ];
    let entry = (any::<u64>(), any::<u64>(), payload)
        .prop_map(|(term, index, payload)| Entry { id: id(term, index), payload });
    prop::collection::vec(entry, 0..20)
}

proptest! {
    /// Promise: any entries come back as they were, wherever in memory their frame lies.
    #[test]
    fn appends_come_back(entries in entries(), commit in any::<u64>(), shift in 0_usize..16) {
        let commit = resprout_consensus::Index(commit);
        let round = resprout_consensus::Round(1);
        let message = Message::Append { previous: id(1, 2), entries, commit, round };
        let envelope = crate::samples::envelope(1, 2, message);
        let bytes = [&vec![0; shift][..], &frame(&envelope)].concat();
        prop_assert_eq!(read(&bytes[shift..]).unwrap(), envelope);
    }

    /// Promise: a body that is forged, checksum and all, leads to an answer or an error.
    #[test]
    fn forged_bodies_are_harmless(
        kind in 0_usize..17,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (_, envelope) = envelopes(1, 2).swap_remove(kind);
        let mut bytes = frame(&envelope);
        for (at, byte) in changes {
            let body = bytes.len() - HEADER_BYTES;
            bytes[HEADER_BYTES + at.index(body)] = byte;
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[..12]);
        crc.update(&bytes[HEADER_BYTES..]);
        bytes[12..16].copy_from_slice(&crc.finalize().to_le_bytes());
        if let Ok(found) = read(&bytes) {
            prop_assert_eq!(read(&frame(&found)).unwrap(), found);
        }
    }

    /// Promise: any bytes at all lead to an answer or an error.
    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(&bytes).is_err());
        prop_assert!(Hello::decode(&bytes).is_err());
        prop_assert!(Welcome::decode(&bytes).is_err());
        prop_assert!(Reject::decode(&bytes).is_err());
    }
}
