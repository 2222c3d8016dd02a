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
    /// What was wanted before each change, once somebody may want to go back.
    undo: Option<Vec<(RowKey, Option<Wanted>)>>,
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
        match &mut self.undo {
            Some(undo) => {
                let before = self.rows.insert(Arc::clone(&key), write);
                undo.push((key, before));
            }
            None => {
                self.rows.insert(key, write);
            }
        }
    }

    /// Sets the states of keys that are in order, each once.
    pub(crate) fn set_in_order(&mut self, states: Vec<(RowKey, Wanted)>) {
        if !self.rows.is_empty() || self.undo.is_some() {
            for (key, wanted) in states {
                self.set(key, wanted);
            }
            return;
        }
        let bytes = |(key, wanted): &(RowKey, Wanted)| {
            key.len() + wanted.value.as_ref().map_or(0, Vec::len)
        };
        self.bytes += states.iter().map(bytes).sum::<usize>();
        // Of what is in order a tree is built leaf by leaf.
        self.rows = states.into_iter().collect();
    }

    /// A point to go back to. From the first one on, what is replaced is kept.
    pub(crate) fn mark(&mut self) -> usize {
        self.undo.get_or_insert_default().len()
    }

    /// Takes back all changes by key since a mark. Ranges are not: only changes of tables make
    /// them.
    pub(crate) fn rewind(&mut self, mark: usize) {
        let Some(undo) = &mut self.undo else { return };
        while undo.len() > mark {
            let Some((key, before)) = undo.pop() else { return };
            let bytes_of = |wanted: &Wanted| wanted.value.as_ref().map_or(0, Vec::len);
            let now = match before {
                Some(before) => {
                    self.bytes += bytes_of(&before);
                    self.rows.insert(key, before)
                }
                None => {
                    self.bytes -= key.len();
                    self.rows.remove(&key)
                }
            };
            self.bytes -= now.as_ref().map_or(0, bytes_of);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn put(writes: &mut WriteSet, key: &str, value: Option<&str>) {
        let kind = if value.is_some() { OpKind::Insert } else { OpKind::Delete };
        let value = value.map(|value| value.as_bytes().to_vec());
        writes.set(key.as_bytes().into(), Wanted { kind, value });
    }

    /// Promise: going back to a mark leaves exactly what was there, its size too, and marks may lie
    /// inside of each other.
    #[test]
    fn a_mark_is_gone_back_to() {
        let mut writes = WriteSet::default();
        put(&mut writes, "a", Some("one"));
        let outer = writes.mark();
        let at_outer = (writes.rows.clone(), writes.bytes);
        put(&mut writes, "a", None);
        put(&mut writes, "b", Some("two"));
        let inner = writes.mark();
        let at_inner = (writes.rows.clone(), writes.bytes);
        put(&mut writes, "a", Some("three"));
        put(&mut writes, "b", Some(""));
        put(&mut writes, "b", None);
        put(&mut writes, "c", Some("four"));
        writes.rewind(inner);
        assert_eq!((writes.rows.clone(), writes.bytes), at_inner);
        put(&mut writes, "c", Some("five"));
        writes.rewind(outer);
        assert_eq!((writes.rows.clone(), writes.bytes), at_outer);
        writes.rewind(outer);
        assert_eq!((writes.rows, writes.bytes), at_outer);
    }
}
