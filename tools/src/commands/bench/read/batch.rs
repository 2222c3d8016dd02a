//! Points in batches: several keys are drawn and routed, then looked up together.
//!
//! Every batch does for each of its keys what a single read does. The lookups of all partitions go
//! together: with 8 of them, a batch of 16 has 2 keys for each, and two searches hide little.

use std::time::Instant;

use resprout_engine::{Database, Error, tree};
use resprout_wal::world::Rng;

use super::{CHECK_EVERY, Home, Reads, is_right, open_homes};
use crate::bench::dataset::Dataset;
use crate::bench::device::{histogram, record};
use crate::bench::testbed::{failed, id, wrong};
use crate::failure::Failure;

/// One key of a batch. Kept from batch to batch: its bytes are where they were.
#[derive(Clone, Default)]
struct Lookup {
    key: u64,
    ordinal: usize,
    encoded: Vec<u8>,
}

/// Reads batches until the end. Of 64 batches the first is timed, and the last is checked byte by byte.
pub(super) fn read_until(
    database: &Database,
    data: &Dataset,
    (end, batch): (Instant, usize),
    seed: u64,
) -> Result<Reads, Failure> {
    let mut homes = open_homes(database)?;
    let mut rng = Rng::new(seed);
    let mut reads = Reads { count: 0, latencies: histogram() };
    let mut lookups = vec![Lookup::default(); batch];
    let mut scratch = Vec::new();
    while Instant::now() < end {
        for number in 0..CHECK_EVERY {
            for lookup in &mut lookups {
                lookup.key = rng.below(data.rows);
            }
            let is_checked_completely = number == CHECK_EVERY - 1;
            let began = (number == 0).then(Instant::now);
            let wrong_key = points(database, &mut homes, &mut lookups, |key, payload| {
                if is_checked_completely {
                    return data.check(key, payload, &mut scratch) == Ok(0);
                }
                payload.len() == data.row_bytes && payload.starts_with(&[0; 4])
            });
            if let Some(began) = began {
                // A batch is limited to far less than a u32.
                record(&mut reads.latencies, began.elapsed() / batch as u32);
            }
            if let Some(key) = wrong_key.map_err(|error| failed(&error))? {
                return Err(wrong(format!("row {key} is missing or differs")));
            }
        }
        reads.count += CHECK_EVERY * batch as u64;
    }
    Ok(reads)
}

/// Reads rows by their keys; a key whose row is not there or whose payload `check` does not like.
fn points(
    database: &Database,
    homes: &mut [Home],
    lookups: &mut [Lookup],
    mut check: impl FnMut(u64, &[u8]) -> bool,
) -> Result<Option<u64>, Error> {
    for lookup in lookups.iter_mut() {
        let value = [id(lookup.key)];
        lookup.ordinal = database.partition_of(&homes[0].table, &value)?.ordinal() as usize;
        let Home { partition, table, view } = &mut homes[lookup.ordinal];
        partition.refresh(view)?;
        table.primary_key_into(&value, &mut lookup.encoded)?;
    }
    let mut outcome = Ok(None);
    let asked = lookups.iter().map(|lookup| (&homes[lookup.ordinal].view, &lookup.encoded));
    tree::get_many(asked, |at, row| {
        let Lookup { key, ordinal, encoded } = &lookups[at];
        match is_right(&homes[*ordinal].table, (encoded, row), |payload| check(*key, payload)) {
            Ok(true) => {}
            Ok(false) => outcome = Ok(Some(*key)),
            Err(error) => outcome = Err(error),
        }
    });
    outcome
}
