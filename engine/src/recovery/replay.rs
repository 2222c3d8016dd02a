//! From log records to the tree: batches of operations, sorted by key, the last one of each key.
//!
//! ```text
//!  groups of the log ─► Collector ─► Batch { steps } ─► apply
//!       in LSN order      sort by (key, order), keep the last of each key
//! ```
//!
//! Records are redo only and carry the whole state of a key, so within a batch only the last
//! operation of each key matters, and keys can be taken in order: the tree descends once per
//! page instead of once per row. A range removal is a step of its own, between what came before
//! it and what came after.

use resprout_wal::{Group, Lsn};

use crate::error::Error;
use crate::record::{OpKind, Record};
use crate::tree::{Tree, prefetch};

/// How many operations before its turn the bytes of one are asked for.
const OPS_AHEAD: usize = 12;

/// One operation, as a place in the groups of its batch. The first bytes of the key decide most
/// comparisons without touching the record.
#[derive(Clone, Copy, Debug)]
struct OpAt {
    head: u128,
    group: u32,
    key_at: u32,
    value_len: u32,
    key_len: u16,
    removes: bool,
}

#[derive(Debug)]
enum Step {
    Sorted(Vec<OpAt>),
    RemoveRange { from: Vec<u8>, to: Vec<u8> },
}

/// Operations ready to be applied.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    groups: Vec<Group>,
    steps: Vec<Step>,
    /// Where the log stands after it.
    pub(crate) end: Lsn,
    /// Bytes of log it covers.
    pub(crate) bytes: u64,
    /// Operations in it before duplicates fell out.
    pub(crate) ops: u64,
}

/// Gathers groups until there is enough for a batch.
#[derive(Debug)]
pub(crate) struct Collector {
    batch: Batch,
    open: Vec<OpAt>,
    limit: u64,
    place: String,
}

impl Collector {
    /// Batches of about `limit` bytes of log; `place` names the log in errors.
    pub(crate) fn new(limit: u64, place: String) -> Self {
        Self { batch: Batch::default(), open: Vec::new(), limit, place }
    }

    /// Adds a group; gives a batch back when there is enough.
    ///
    /// # Errors
    /// [`Error::DataDamaged`] if an entry is not a record: checksums were good, so it was written
    /// so.
    pub(crate) fn add(&mut self, group: &Group) -> Result<Option<Batch>, Error> {
        let index = u32::try_from(self.batch.groups.len())
            .map_err(|_| self.damaged(group.lsn, "too many groups"))?;
        let base = group.payload.as_ptr() as usize;
        // Before its operations: a range removal among them sorts what came before, and that looks
        // keys up in the batch. A clone shares the payload, so addresses stay.
        self.batch.groups.push(group.clone());
        for entry in group.entries() {
            let record = Record::decode(entry.bytes)
                .map_err(|error| self.damaged(entry.lsn, &error.to_string()))?;
            for op in record.ops() {
                self.batch.ops += 1;
                if op.kind == OpKind::DeleteRange {
                    self.close_step();
                    let step = Step::RemoveRange { from: op.key.to_vec(), to: op.value.to_vec() };
                    self.batch.steps.push(step);
                    continue;
                }
                // A key lies in its group's payload, so its place there is a difference of
                // addresses; lengths were bounded by the record's decoder.
                let key_at = op.key.as_ptr() as usize - base;
                let (Ok(key_at), Ok(key_len), Ok(value_len)) = (
                    u32::try_from(key_at),
                    u16::try_from(op.key.len()),
                    u32::try_from(op.value.len()),
                ) else {
                    return Err(self.damaged(entry.lsn, "an operation larger than a record can be"));
                };
                let removes = op.kind == OpKind::Delete;
                let head = head_of(op.key);
                self.open.push(OpAt { head, group: index, key_at, value_len, key_len, removes });
            }
        }
        self.batch.bytes += group.end.since(group.lsn);
        self.batch.end = group.end;
        Ok((self.batch.bytes >= self.limit).then(|| self.take()))
    }

    /// What is left.
    pub(crate) fn take(&mut self) -> Batch {
        self.close_step();
        std::mem::take(&mut self.batch)
    }

    fn close_step(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut ops = std::mem::take(&mut self.open);
        let groups = &self.batch.groups;
        let less = |a: &OpAt, b: &OpAt| {
            a.head < b.head || (a.head == b.head && key(groups, a) < key(groups, b))
        };
        // Rows loaded in key order need no sort; the check stops at the first disorder.
        if !ops.is_sorted_by(less) {
            ops = newest_in_key_order(&ops, groups);
        }
        self.batch.steps.push(Step::Sorted(ops));
    }

    fn damaged(&self, lsn: Lsn, what: &str) -> Error {
        Error::DataDamaged { place: self.place.clone(), lsn, what: what.to_owned() }
    }
}

/// The first 16 bytes of a key, in order.
fn head_of(key: &[u8]) -> u128 {
    let mut head = [0; 16];
    let len = key.len().min(16);
    head[..len].copy_from_slice(&key[..len]);
    u128::from_be_bytes(head)
}

fn key<'a>(groups: &'a [Group], op: &OpAt) -> &'a [u8] {
    let at = op.key_at as usize;
    &groups[op.group as usize].payload[at..at + usize::from(op.key_len)]
}

/// The last operation of each key, in key order.
///
/// What is sorted are words: 64 bits of the key behind what all keys have in common, then the place in
/// log order. Nearly always that decides; operations with the same 64 bits are compared by their keys.
fn newest_in_key_order(ops: &[OpAt], groups: &[Group]) -> Vec<OpAt> {
    let (all, none) =
        ops.iter().fold((u128::MAX, 0), |(and, or), op| (and & op.head, or | op.head));
    let in_common = (all ^ none).leading_zeros();
    let window = |op: &OpAt| (op.head.unbounded_shl(in_common) >> 64) as u64;
    let word = |(place, op): (u32, &OpAt)| u128::from(window(op)) << 32 | u128::from(place);
    let mut words: Vec<u128> = (0..).zip(ops).map(word).collect();
    words.sort_unstable();
    let op_of = |word: u128| &ops[(word as u32) as usize];
    let mut sorted: Vec<OpAt> = Vec::with_capacity(ops.len());
    for same in words.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
        // Stable: operations of one key stay in log order, so the last one is the newest.
        same.sort_by(|a, b| key(groups, op_of(*a)).cmp(key(groups, op_of(*b))));
        for (at, &word) in same.iter().enumerate() {
            let op = op_of(word);
            let next = same.get(at + 1).map(|&next| op_of(next));
            if next.is_none_or(|next| key(groups, op) != key(groups, next)) {
                sorted.push(*op);
            }
        }
    }
    sorted
}

impl Batch {
    /// Brings the tree to where the log stands after this batch.
    ///
    /// # Errors
    /// [`Error::Tree`] if memory itself runs out.
    pub(crate) fn apply(&self, tree: &mut Tree) -> Result<(), Error> {
        for step in &self.steps {
            match step {
                Step::RemoveRange { from, to } => {
                    tree.remove_range(from, Some(to)).map_err(Error::from)?;
                }
                Step::Sorted(ops) => {
                    let rows = ops.iter().enumerate().map(|(number, op)| {
                        // In key order each operation comes from another place of the log.
                        if let Some(later) = ops.get(number + OPS_AHEAD) {
                            prefetch(self.bytes_of(later));
                        }
                        let (key, value) = self.bytes_of(op).split_at(usize::from(op.key_len));
                        (key, (!op.removes).then_some(value))
                    });
                    tree.apply_sorted(rows).map_err(Error::from)?;
                }
            }
        }
        Ok(())
    }

    /// Key and value of an operation.
    fn bytes_of(&self, op: &OpAt) -> &[u8] {
        let at = op.key_at as usize;
        let len = usize::from(op.key_len) + op.value_len as usize;
        &self.groups[op.group as usize].payload[at..at + len]
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use resprout_wal::Term;

    use super::*;

    /// One group that holds these keys one after the other, and an operation for each.
    fn ops(keys: &[Vec<u8>]) -> (Vec<OpAt>, Vec<Group>) {
        let mut payload = Vec::new();
        let mut ops = Vec::new();
        for key in keys {
            ops.push(OpAt {
                head: head_of(key),
                group: 0,
                key_at: payload.len() as u32,
                value_len: 0,
                key_len: key.len() as u16,
                removes: false,
            });
            payload.extend_from_slice(key);
        }
        let lsn = Lsn::ZERO;
        let payload = Bytes::from(payload);
        (ops, vec![Group { lsn, end: lsn, term: Term(1), committed: lsn, payload }])
    }

    /// Promise: replay applies the newest operation of each key, in key order, whatever the keys share.
    #[test]
    fn the_newest_of_each_key_in_order() {
        let tails: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"a", b"aaaaaaaaaaaaaaaaaaaaab", b"z"];
        for prefix in [0, 3, 12, 16, 20] {
            let keys: Vec<Vec<u8>> = (0..600_u32)
                .map(|n| {
                    let mut key = vec![7; prefix];
                    key.extend_from_slice(tails[n as usize * 31 % tails.len()]);
                    key.extend_from_slice(&(n * 7919 % 40).to_be_bytes()[2..]);
                    key
                })
                .collect();
            let newest: BTreeMap<&[u8], usize> =
                keys.iter().enumerate().map(|(at, key)| (key.as_slice(), at)).collect();
            let (ops, groups) = ops(&keys);
            let sorted = newest_in_key_order(&ops, &groups);
            let found: Vec<(&[u8], u32)> =
                sorted.iter().map(|op| (key(&groups, op), op.key_at)).collect();
            let expected: Vec<(&[u8], u32)> =
                newest.iter().map(|(key, at)| (*key, ops[*at].key_at)).collect();
            assert_eq!(found, expected, "{prefix} bytes in common");
        }
    }
}
