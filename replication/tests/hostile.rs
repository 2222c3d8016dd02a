//! Whatever a peer sends: the cores drop it or act within their rules; they never panic, and what
//! waits stays bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use resprout_replication::{
    Ack, Cfg, Config, CopyRecord, CopyState, Decided, Envelope, Event, Frame, Hello, Identity,
    ImageHead, Incarnation, Instance, Leave, Message, Partition, PartitionCopy, Promise, Record,
    Role, Seed, Stamp, Start, StreamId, Tail, Write, wire,
};
use resprout_wal::frame::Header;
use resprout_wal::{History, Lineage, Lsn, Term, TermStart};

fn identity(instance: u64) -> Identity {
    let (instance, incarnation) = (Instance(instance), Incarnation(1));
    Identity { partition: Partition::default(), instance, incarnation }
}

fn decided() -> Decided {
    let copy = CopyRecord { state: CopyState::Sync, incarnation: Incarnation(1) };
    let copies = BTreeMap::from([(Instance(1), copy), (Instance(2), copy)]);
    let record =
        Record { term: Term(1), cfg: Cfg(1), master: Some(Instance(1)), copies, mode: None };
    Decided { stamp: Stamp { term: 1, index: 1 }, record }
}

/// A copy that was told the record, with what it wrote taken for durable.
fn copy(instance: u64) -> PartitionCopy {
    let seed = Seed {
        identity: identity(instance),
        config: Config::default(),
        promise: Promise::default(),
        tail: Tail::default(),
        committed: Lsn::ZERO,
        first: Lsn::ZERO,
        resumes: None,
    };
    let mut copy = PartitionCopy::new(seed, Duration::ZERO);
    let promise = Promise { term: Term(1), stamp: decided().stamp };
    let _told = copy.step(Duration::ZERO, Event::Record(decided()));
    let outputs = copy.step(Duration::ZERO, Event::Promised(promise));
    let begins = outputs.iter().flat_map(|output| &output.writes);
    if begins.into_iter().any(|write| matches!(write, Write::BeginTerm(_))) {
        let _begun = copy.step(Duration::ZERO, Event::Appended(frame(0, 1, 0)));
        let _flushed = copy.step(Duration::ZERO, Event::Durable(Lsn(4096)));
    }
    copy
}

fn frame(lsn: u64, term: u64, chain: u64) -> Frame {
    let header = Header {
        lsn: Lsn(lsn),
        term: Term(term),
        chain,
        flags: 0,
        payload_len: 0,
        payload_crc: 0,
        committed: Lsn(lsn),
        durable: Lsn(lsn),
    };
    Frame::new(header, Bytes::new()).expect("its own checksum")
}

/// Numbers at the edges, and near what is there.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..4_u64,
        4 => (0..4_u64).prop_map(|sectors| sectors * 4096),
        1 => Just(u64::MAX),
        1 => Just(u64::MAX - 4096),
        1 => Just(1 << 62),
        1 => any::<u64>(),
    ]
}

fn lineage() -> impl Strategy<Value = Lineage> {
    (prop::collection::vec((number(), number()), 0..3), number()).prop_map(|(entries, chain)| {
        let entry = |(term, start)| TermStart { term: Term(term), start: Lsn(start) };
        let entries = entries.into_iter().map(entry).collect();
        let history = History::from_entries(entries).unwrap_or_default();
        Lineage { term: history.term(), history, chain }
    })
}

fn message() -> impl Strategy<Value = Message> {
    let ack = prop::array::uniform6(number()).prop_map(
        |[end, received, durable, applied, credit, echo]| {
            let (end, received, durable) = (Lsn(end), Lsn(received), Lsn(durable));
            let echo = Duration::from_nanos(echo);
            Message::Ack(Ack { end, received, durable, applied: Lsn(applied), credit, echo })
        },
    );
    let frames = prop::collection::vec((number(), number(), number()), 0..3);
    let frames = (frames, number()).prop_map(|(frames, committed)| {
        let frames = frames.into_iter().map(|(lsn, term, chain)| frame(lsn, term, chain)).collect();
        Message::Frames { frames, committed: Lsn(committed) }
    });
    prop_oneof![
        (lineage(), number(), any::<bool>()).prop_map(|(lineage, end, wants_pages)| {
            Message::Hello(Hello { lineage, end: Lsn(end), wants_pages })
        }),
        number().prop_map(|from| Message::Welcome(Start::Continue { from: Lsn(from) })),
        (number(), number())
            .prop_map(|(to, chain)| Message::Welcome(Start::Truncate { to: Lsn(to), chain })),
        (number(), number(), lineage(), number(), number()).prop_map(
            |(id, lsn, lineage, pages, bytes)| {
                let plain = pages.is_multiple_of(2);
                let head = ImageHead { id, lsn: Lsn(lsn), lineage, pages, bytes, plain };
                Message::Welcome(Start::Provision(head))
            }
        ),
        ack,
        frames,
        (number(), number(), number()).prop_map(|(sent, end, committed)| Message::Beat {
            sent: Duration::from_nanos(sent),
            end: Lsn(end),
            committed: Lsn(committed),
        }),
        Just(Message::Refuse),
        Just(Message::Leave(Leave::Full)),
        (number(), number(), any::<u32>()).prop_map(|(image, from, count)| Message::AskDigests {
            image,
            from,
            count
        }),
        (number(), number(), prop::collection::vec(number(), 0..4))
            .prop_map(|(image, from, digests)| Message::Digests { image, from, digests }),
        (number(), prop::collection::vec(number(), 0..4))
            .prop_map(|(image, pages)| Message::Want { image, pages }),
        (number(), prop::collection::vec(number(), 0..4)).prop_map(|(image, pages)| {
            let pages = pages.into_iter().map(|page| (page, Bytes::from_static(b"p"))).collect();
            Message::Pages { image, pages }
        }),
    ]
}

fn events() -> impl Strategy<Value = Vec<(u64, u64, u64, Message)>> {
    let term = prop_oneof![20 => Just(1_u64), 1 => number()];
    prop::collection::vec((1..4_u64, term, 0..4_u64, message()), 0..30)
}

/// Promise: no sequence of messages that pass the codec makes a core panic.
fn endures(instance: u64, messages: Vec<(u64, u64, u64, Message)>) -> PartitionCopy {
    let mut copy = copy(instance);
    let mut now = Duration::ZERO;
    for (from, term, number, message) in messages {
        now += Duration::from_millis(30);
        let from = identity(if from == instance { 3 } else { from });
        let stream = StreamId { run: Incarnation(1), number };
        let to = Instance(instance);
        let envelope = Envelope { from, to, term: Term(term), stream, message };
        let bytes = Bytes::from(wire::encode(&envelope));
        let Ok(envelope) = wire::decode(&bytes, wire::MESSAGE_BYTES_MAX) else { continue };
        for output in copy.step(now, Event::Receive(envelope)) {
            for lookup in output.lookups {
                let chain = (lookup.0 == Lsn(0)).then_some(0);
                let _located = copy.step(now, Event::Chain { at: lookup.0, chain });
            }
            let _written = (output.writes, copy.step(now, Event::Tick));
        }
    }
    copy
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Promise: a master endures its peers, and what they say alone commits nothing that is not in
    /// its log.
    #[test]
    fn a_master_endures_its_peers(messages in events()) {
        let copy = endures(1, messages);
        if let Role::Master(master) = copy.role() {
            prop_assert!(master.committed() <= Lsn(4096));
        }
    }

    /// Promise: a replica endures its peers, and shows nothing that is not in its log.
    #[test]
    fn a_replica_endures_its_peers(messages in events()) {
        let copy = endures(2, messages);
        if let Role::Replica(replica) = copy.role() {
            prop_assert!(replica.visible() <= replica.tail().whole());
        }
    }
}
