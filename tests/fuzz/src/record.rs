//! Targets of what log entries hold.

use resprout_engine::record::{PreparedSet, Record, RecordWriter};
use resprout_engine::table::Write;

use crate::Outcome;

/// The bytes of a record: what is decoded has one form.
pub(crate) fn record(input: &[u8]) -> Outcome {
    let Ok(record) = Record::decode(input) else { return Outcome::Refused };
    let mut again = Vec::new();
    let mut writer = RecordWriter::new(record.header(), &mut again);
    let writes: Vec<_> = record.ops().map(Write::from).collect();
    assert_eq!(writes.len(), record.op_count() as usize);
    writer.writes(&writes);
    writer.finish();
    assert_eq!(again, input, "a record has one form");
    Outcome::Accepted
}

/// The bytes of a prepared write set.
pub(crate) fn prepared(input: &[u8]) -> Outcome {
    let Ok(set) = PreparedSet::decode(input) else { return Outcome::Refused };
    // The older format is read only.
    if set.binding {
        let again = set.encode().expect("what was decoded is small enough");
        assert_eq!(again, input, "a write set has one form");
    }
    Outcome::Accepted
}
