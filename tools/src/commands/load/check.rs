//! The first pass over the file: every value is read and every key is looked at, before anything
//! is changed. So a bad row, wherever it is, leaves the data directory as it was.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use resprout_engine::table::Value;

use super::source::Source;
use super::target::Target;
use crate::failure::{Failure, causes};

/// What the first pass found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// Rows of the file.
    pub rows: u64,
}

/// Reads the whole file. `exists` tells whether the table has a row with these values of the
/// primary key; `step` hears how many bytes are done.
///
/// # Errors
/// The first row that cannot be loaded.
pub(super) fn check(
    source: &Source,
    target: &Target,
    mut exists: impl FnMut(&[Value]) -> Result<bool, Failure>,
    mut step: impl FnMut(u64),
) -> Result<Checked, Failure> {
    let mut seen = Keys::default();
    let mut checked = Checked::default();
    let has_key = !target.table.schema().primary.columns().is_empty();
    source.for_each(|row| {
        let values = target.values(source, &row)?;
        checked.rows += 1;
        if has_key {
            let key: Vec<Value> = target.primary_values(&values).cloned().collect();
            let bytes = target.table.primary_key(&key);
            let bytes = bytes.map_err(|error| source.bad_row(row.line, causes(&error)))?;
            if let Some(earlier) = seen.insert(&bytes, row.line) {
                let why = format!("the same primary key as line {earlier} ({})", shown(&key));
                return Err(source.bad_row(row.line, why));
            }
            if !target.is_new && exists(&key)? {
                let why = format!("the table has a row with this primary key ({})", shown(&key));
                return Err(source.bad_row(row.line, why));
            }
        }
        if checked.rows.is_multiple_of(4096) {
            step(row.offset);
        }
        Ok(())
    })?;
    Ok(checked)
}

fn shown(key: &[Value]) -> String {
    key.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Keys seen so far, as 128 bits of hash and the line: keeping the keys themselves would need the
/// memory of the table again. Two different keys out of a billion meet with a chance of 10⁻²¹.
#[derive(Default)]
struct Keys(HashMap<(u64, u64), u64>);

impl Keys {
    /// The line of an equal key seen before.
    fn insert(&mut self, key: &[u8], line: u64) -> Option<u64> {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            key.hash(&mut hasher);
            hasher.finish()
        };
        self.0.insert((half(0), half(1)), line)
    }
}
