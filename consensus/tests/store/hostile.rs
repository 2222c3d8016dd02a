//! A log that holds anything: an error, never a panic.

use std::sync::Arc;

use proptest::prelude::*;
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::{NoObserver, Term};

use crate::harness::*;

/// A record of fixed length, by its kind and words.
fn words(kind: u8, words: &[u64]) -> Vec<u8> {
    let mut bytes = vec![1, kind, 0, 0, 0, 0, 0, 0];
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    let small = || prop_oneof![0..4_u64, Just(u64::MAX), Just(u64::MAX - 1)];
    prop_oneof![
        small().prop_map(|boot| words(1, &[boot])),
        proptest::collection::vec(small(), 3).prop_map(|ballot| words(2, &ballot)),
        proptest::collection::vec(small(), 11).prop_map(|snapshot| words(4, &snapshot)),
        proptest::collection::vec(any::<u8>(), 0..64)
            .prop_map(|body| { [vec![1, 3, 0, 0, 0, 0, 0, 0], body].concat() }),
        proptest::collection::vec(any::<u8>(), 0..64),
    ]
}

fn open_log_of(records: &[Vec<u8>]) -> Result<(), String> {
    let disk = SimDisk::new(1);
    {
        let device = device(&disk, 1);
        let log = device.create(options().identity(), Term(1), Arc::new(NoObserver));
        let log = log.expect("a log");
        for record in records {
            let space = log.reserve(record.len()).expect("space");
            log.lock().expect("runs").append(record, space).expect("appended");
        }
        log.flush().expect("durable");
    }
    let device = device(&disk, 2);
    let opened = try_open(&device, &disk);
    opened.map(drop).map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Promise: records that make no sense, alone or together, are told; opening never panics.
    #[test]
    fn a_log_of_nonsense_is_an_error(records in proptest::collection::vec(record(), 0..8)) {
        drop(open_log_of(&records));
    }
}

/// Promise: the error says where the record is and what is wrong with it.
#[test]
fn the_flaw_of_a_record_is_told_with_its_place() {
    let error = open_log_of(&[words(1, &[1]), vec![7; 40]]).expect_err("no record");
    let said = "/data/wal.arena: the record of the metadata log at LSN 0:0: \
                version 7, this program knows 1";
    assert_eq!(error, said);
    let error = open_log_of(&[words(1, &[2]), words(1, &[1])]).expect_err("a contradiction");
    assert!(error.contains("the metadata log at LSN 0:0: start 1 behind start 2"), "{error}");
}
