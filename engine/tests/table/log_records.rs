//! Records of the log give back their ops, and damaged records are errors.

use super::generate::cases;
use proptest::prelude::*;
use resprout_engine::record::{
    Decision, HEADER_BYTES, OP_HEADER_BYTES, Op, OpKind, PreparedDamage, PreparedSet, Record,
    RecordDamage, RecordHeader, RecordKind, RecordWriter, Stamp, write_abort_prepared,
    write_commit_prepared, write_decision, write_prepare,
};
use resprout_engine::table::{Write, system};

const KINDS: [RecordKind; 7] = [
    RecordKind::Commit,
    RecordKind::Prepare,
    RecordKind::CommitPrepared,
    RecordKind::AbortPrepared,
    RecordKind::Decision,
    RecordKind::TermStart,
    RecordKind::Schema,
];

const STAMP: Stamp = Stamp { txn_id: 11, wall_ms: 22 };

fn write() -> impl Strategy<Value = Write> {
    let kind = prop::sample::select(
        &[OpKind::Insert, OpKind::Update, OpKind::Delete, OpKind::DeleteRange][..],
    );
    let key = prop::collection::vec(any::<u8>(), 4..20);
    let value = prop::collection::vec(any::<u8>(), 0..40);
    (kind, key, value).prop_map(|(kind, key, value)| {
        let value = match kind {
            OpKind::Insert | OpKind::Update => value,
            OpKind::Delete => Vec::new(),
            OpKind::DeleteRange => [&key[..], &[0]].concat(),
        };
        Write { kind, key, value }
    })
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    prop::collection::vec(write(), 0..12)
}

fn header() -> impl Strategy<Value = RecordHeader> {
    (prop::sample::select(&KINDS[..]), any::<u64>(), any::<u64>())
        .prop_map(|(kind, txn_id, wall_ms)| RecordHeader { kind, txn_id, wall_ms })
}

fn encode(header: RecordHeader, writes: &[Write]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = RecordWriter::new(header, &mut out);
    writer.writes(writes);
    assert_eq!(writer.finish(), out.len());
    out
}

fn ops(record: &Record<'_>) -> Vec<Write> {
    record.ops().map(Write::from).collect()
}

fn prepared() -> impl Strategy<Value = PreparedSet> {
    let id = prop::collection::vec(any::<u8>(), 1..=255);
    let locks = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6);
    let participants = prop::collection::vec(any::<u32>(), 1..9);
    (id, participants, writes(), locks).prop_map(|(global_id, participants, ops, locks)| {
        PreparedSet { global_id, participants, binding: true, ops, locks }
    })
}

proptest! {
    #![proptest_config(cases(2000))]

    /// Guards A1: a record gives back exactly what was written, wherever in a buffer it stands.
    #[test]
    fn records_give_back_their_ops(header in header(), writes in writes()) {
        let mut out = vec![7; 3];
        let mut writer = RecordWriter::new(header, &mut out);
        writer.writes(&writes);
        let length = writer.finish();
        prop_assert_eq!(out.len(), 3 + length);
        let record = Record::decode(&out[3..]).unwrap();
        prop_assert_eq!(record.header(), header);
        prop_assert_eq!(record.ops().len(), writes.len());
        prop_assert_eq!(ops(&record), writes);
    }

    /// Guards A8, A10: a cut or changed record is an error or another record in its only form.
    #[test]
    fn damaged_records_are_harmless(
        header in header(),
        writes in writes(),
        flip in 1_u8..=255,
    ) {
        let bytes = encode(header, &writes);
        for length in 0..bytes.len() {
            prop_assert!(Record::decode(&bytes[..length]).is_err());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            if let Ok(record) = Record::decode(&damaged) {
                prop_assert_eq!(encode(record.header(), &ops(&record)), damaged);
            }
        }
    }

    /// Guards A8, A10: any bytes at all are an error or a record.
    #[test]
    fn hostile_records_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut bytes = bytes;
        let _decoded_without_panic = Record::decode(&bytes);
        bytes.splice(0..0, [1, 0, 0, 0, 2, 0, 0, 0]);
        let _decoded_without_panic = Record::decode(&bytes);
        let _decoded_without_panic = PreparedSet::decode(&bytes);
        bytes.splice(0..8, [1, 0, 3, 0]);
        let _decoded_without_panic = PreparedSet::decode(&bytes);
    }

    /// Guards A6: a prepared write set gives back its ops and locks; damage is an error.
    #[test]
    fn write_sets_give_back_what_they_hold(set in prepared(), flip in 1_u8..=255) {
        let bytes = set.encode().unwrap();
        prop_assert_eq!(&PreparedSet::decode(&bytes).unwrap(), &set);
        for length in 0..bytes.len() {
            prop_assert!(PreparedSet::decode(&bytes[..length]).is_err());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            if let Ok(other) = PreparedSet::decode(&damaged) {
                prop_assert_eq!(other.encode().unwrap(), damaged);
            }
        }
    }
}

/// Guards: the bytes of format 1. A change here needs a new format.
#[test]
fn the_bytes_of_records_are_as_documented() {
    let header = RecordHeader { kind: RecordKind::Commit, txn_id: 0x0102, wall_ms: 3 };
    let write = Write { kind: OpKind::Insert, key: vec![0, 0, 0, 16, 5], value: vec![6, 7] };
    let bytes = encode(header, &[write]);
    #[rustfmt::skip]
    let expected = [
        1, 0, 0, 0,  1, 0, 0, 0,
        2, 1, 0, 0, 0, 0, 0, 0,
        3, 0, 0, 0, 0, 0, 0, 0,
        1, 0, 5, 0,  2, 0, 0, 0,  0, 0, 0, 16, 5,  6, 7,
    ];
    assert_eq!(bytes, expected);
    for (byte, kind) in (1..).zip(KINDS) {
        assert_eq!(encode(RecordHeader { kind, ..header }, &[])[0], byte);
    }
}

/// Guards A8: each kind of damage is named, with its place.
#[test]
fn damage_of_records_is_named() {
    let header = RecordHeader { kind: RecordKind::Commit, txn_id: 1, wall_ms: 1 };
    let op = |kind, value: &[u8]| Write { kind, key: b"keys".to_vec(), value: value.to_vec() };
    let bytes = encode(header, &[op(OpKind::Insert, b"v"), op(OpKind::Delete, b"")]);
    let second = HEADER_BYTES + OP_HEADER_BYTES + 5;
    let damage = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut damaged = bytes.clone();
        change(&mut damaged);
        Record::decode(&damaged).unwrap_err()
    };
    assert_eq!(damage(&|b| b[0] = 0), RecordDamage::Kind(0));
    assert_eq!(damage(&|b| b[0] = 8), RecordDamage::Kind(8));
    assert_eq!(damage(&|b| b[3] = 1), RecordDamage::Flags { offset: 3 });
    assert_eq!(damage(&|b| b[25] = 1), RecordDamage::Flags { offset: 25 });
    assert_eq!(damage(&|b| b[4] = 1), RecordDamage::Long { offset: second, extra: 12 });
    assert_eq!(
        damage(&|b| b[4] = 3),
        RecordDamage::Short { offset: second + 12, needed: 8, found: second + 12 }
    );
    assert_eq!(damage(&|b| b[second] = 9), RecordDamage::OpKind { offset: second, kind: 9 });
    assert_eq!(damage(&|b| b[26] = 3), RecordDamage::Key { offset: 24, found: 3 });
    assert_eq!(damage(&|b| b[24] = 3), RecordDamage::Value { offset: 24, found: 1, limit: 0 });
    assert_eq!(damage(&|b| b[second] = 4), RecordDamage::Range { offset: second });
    assert_eq!(
        damage(&|b| b.truncate(30)),
        RecordDamage::Short { offset: 24, needed: 8, found: 30 }
    );
}

/// Guards: nothing is written that could not be read back.
#[test]
fn impossible_ops_are_refused_when_written() {
    let refused = |kind, key: Vec<u8>, value: Vec<u8>| {
        std::panic::catch_unwind(|| {
            let mut out = Vec::new();
            let header = RecordHeader { kind: RecordKind::Commit, txn_id: 1, wall_ms: 1 };
            RecordWriter::new(header, &mut out).op(Op { kind, key: &key, value: &value });
        })
        .is_err()
    };
    assert!(refused(OpKind::Insert, vec![1; 3], vec![]));
    assert!(refused(OpKind::Insert, vec![1; 3073], vec![]));
    assert!(refused(OpKind::Delete, vec![1; 4], vec![1]));
    assert!(refused(OpKind::DeleteRange, vec![2; 4], vec![1; 4]));
    assert!(!refused(OpKind::DeleteRange, vec![1; 4], vec![2; 4]));
}

/// Guards A6: the effect of two-phase commit on the tree is exactly the ops of its records, so
/// that replay needs no state.
#[test]
fn two_phase_commit_is_ops_alone() {
    let insert = Write { kind: OpKind::Insert, key: vec![0, 0, 0, 16, 1], value: b"row".to_vec() };
    let set = PreparedSet {
        global_id: b"g1".to_vec(),
        participants: vec![3, 1],
        binding: true,
        ops: vec![insert.clone()],
        locks: vec![insert.key.clone()],
    };
    let key = system::prepared_key(b"g1");
    let delete = Write { kind: OpKind::Delete, key: key.clone(), value: vec![] };
    let committed = Write {
        kind: OpKind::Insert,
        key: system::decision_key(b"g1"),
        value: Decision::Commit.to_bytes().to_vec(),
    };
    let check = |kind: RecordKind, write: &dyn Fn(&mut Vec<u8>), expected: &[Write]| {
        let mut out = Vec::new();
        write(&mut out);
        let record = Record::decode(&out).unwrap();
        assert_eq!(record.header(), RecordHeader { kind, txn_id: 11, wall_ms: 22 });
        assert_eq!(ops(&record), expected);
    };
    let prepare = Write { kind: OpKind::Insert, key, value: set.encode().unwrap() };
    check(RecordKind::Prepare, &|out| write_prepare(STAMP, &set, out).unwrap(), &[prepare]);
    check(
        RecordKind::CommitPrepared,
        &|out| write_commit_prepared(STAMP, &set, out),
        &[insert, delete.clone(), committed],
    );
    check(RecordKind::AbortPrepared, &|out| write_abort_prepared(STAMP, b"g1", out), &[delete]);
    for decision in [Decision::Commit, Decision::Abort] {
        let decided = Write {
            kind: OpKind::Insert,
            key: system::decision_key(b"g1"),
            value: decision.to_bytes().to_vec(),
        };
        check(RecordKind::Decision, &|out| write_decision(STAMP, b"g1", decision, out), &[decided]);
        assert_eq!(Decision::from_bytes(&decision.to_bytes()), Some(decision));
    }
    assert_eq!(Decision::from_bytes(&[2]), None);
}

/// Guards A8: damage of a write set is named.
#[test]
fn damage_of_write_sets_is_named() {
    let (global_id, participants, locks) = (vec![1], vec![7], vec![vec![5]]);
    let set = PreparedSet { global_id, participants, binding: true, ops: vec![], locks };
    let bytes = set.encode().unwrap();
    assert_eq!(bytes.len(), 24);
    let damage = |at: usize, byte: u8| {
        let mut damaged = bytes.clone();
        damaged[at] = byte;
        PreparedSet::decode(&damaged).unwrap_err()
    };
    assert_eq!(damage(0, 9), PreparedDamage::Format { found: 9 });
    assert_eq!(damage(2, 0), PreparedDamage::Header);
    assert_eq!(damage(3, 1), PreparedDamage::Header);
    assert_eq!(damage(4, 0), PreparedDamage::Header);
    assert_eq!(damage(2, 9), PreparedDamage::Length { offset: 25, found: 24 });
    assert_eq!(damage(4, 9), PreparedDamage::Length { offset: 53, found: 24 });
    assert_eq!(damage(7, 255), PreparedDamage::Length { offset: 17_112_760_341, found: 24 });
    assert_eq!(damage(12, 0), PreparedDamage::Length { offset: 21, found: 24 });
    assert_eq!(damage(12, 2), PreparedDamage::Length { offset: 24, found: 24 });
    assert_eq!(damage(21, 2), PreparedDamage::Length { offset: 21, found: 24 });
    assert!(matches!(damage(8, 1), PreparedDamage::Op(RecordDamage::Short { .. })));
}

/// Guards I06: a write set of format 1, in which one partition decided, is read as what it is.
#[test]
fn write_sets_of_format_1_are_read() {
    let mut bytes = vec![1, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    bytes.extend_from_slice(b"g1\x01\x00\x05");
    let set = PreparedSet::decode(&bytes).unwrap();
    let (global_id, participants) = (b"g1".to_vec(), vec![3]);
    let expected =
        PreparedSet { global_id, participants, binding: false, ops: vec![], locks: vec![vec![5]] };
    assert_eq!(set, expected);
}
