//! What a transaction will change: private until it commits, in key order, one final state per
//! key.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::lock::RowKey;
use crate::record::OpKind;
use crate::table::Write;

/// The state a key shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// How it came about, for those who read the log.
    pub(crate) kind: OpKind,
    /// The value; `None` to remove the key.
    pub(crate) value: Option<Vec<u8>>,
}

/// Changes by key, and ranges of keys to be removed before them.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteSet {
    rows: BTreeMap<RowKey, Wanted>,
    ranges: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl WriteSet {
    /// Sets a key's state. An insert after a delete of the same transaction is an update of what
    /// was there before.
    pub(crate) fn set(&mut self, key: RowKey, mut write: Wanted) {
        if let Some(before) = self.rows.get(&key) {
            self.bytes -= before.value.as_ref().map_or(0, Vec::len);
            if before.kind == OpKind::Delete && write.kind == OpKind::Insert {
                write.kind = OpKind::Update;
            }
            if before.kind == OpKind::Insert && write.kind == OpKind::Update {
                write.kind = OpKind::Insert;
            }
        } else {
            self.bytes += key.len();
        }
        self.bytes += write.value.as_ref().map_or(0, Vec::len);
        self.rows.insert(key, write);
    }

    /// Takes in planned changes.
    pub(crate) fn extend(&mut self, writes: impl IntoIterator<Item = Write>) {
        for Write { kind, key, value } in writes {
            match kind {
                OpKind::DeleteRange => self.remove_range(key, value),
                OpKind::Delete => self.set(key.into(), Wanted { kind, value: None }),
                OpKind::Insert | OpKind::Update => {
                    self.set(key.into(), Wanted { kind, value: Some(value) });
                }
            }
        }
    }

    /// The changes by key, as planned ones.
    pub(crate) fn to_writes(&self) -> Vec<Write> {
        let write = |(key, wanted): (&RowKey, &Wanted)| Write {
            kind: wanted.kind,
            key: key.to_vec(),
            value: wanted.value.clone().unwrap_or_default(),
        };
        self.rows().map(write).collect()
    }

    /// Removes all keys from `from` up to, not including, `to`: before any change by key.
    pub(crate) fn remove_range(&mut self, from: Vec<u8>, to: Vec<u8>) {
        self.ranges.push((from, to));
    }

    /// What this transaction wants a key to be, if it wants anything.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Wanted> {
        self.rows.get(key)
    }

    /// Changes with keys in `from..to`, in order.
    pub(crate) fn range<'a>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a RowKey, &'a Wanted)> {
        let from: RowKey = Arc::from(from);
        let end = to.map_or(Bound::Unbounded, |to| Bound::Excluded(RowKey::from(to)));
        let empty = matches!(&end, Bound::Excluded(to) if *to <= from);
        let bounds = (Bound::Included(from), end);
        // `BTreeMap::range` panics on a range that ends before it starts.
        (!empty).then(|| self.rows.range(bounds)).into_iter().flatten()
    }

    /// All changes by key, in order.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = (&RowKey, &Wanted)> {
        self.rows.iter()
    }

    /// Ranges to be removed first.
    pub(crate) fn ranges(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.ranges
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.ranges.is_empty()
    }
}
