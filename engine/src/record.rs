//! The entries of a partition's log: what one transaction does to the tree. To the log itself
//! they are opaque bytes.
//!
//! ```text
//! 0    1     2        4          8        16         24
//! ├ u8 ┼ u8 ─┼ u16 ───┼ u32 ─────┼ u64 ───┼ u64 ─────┼ op ┼ op ┼ …
//! kind flags reserved  op count   txn id   wall ms
//!
//! op:  0    1     2         4           8          8 + key length
//!      ├ u8 ┼ u8 ─┼ u16 ────┼ u32 ──────┼ key ─────┼ value ┤
//!      kind flags key length value length
//! ```
//!
//! All numbers little endian; flags and reserved bytes are zero. Whatever its kind, a record's
//! effect on the tree is *exactly its ops*, in order, each a full after-image of one key: so
//! replay needs no state beside the tree, and the last op on a key wins. A PREPARE, for
//! instance, puts the encoded write set under index 1, and COMMIT of it carries the after-images
//! and deletes that row again ([`PreparedSet`]).
//!
//! [`Record::decode`] checks everything once; after that ops are walked without further checks
//! that could fail.

mod prepared;

pub use prepared::{
    Decision, GLOBAL_ID_MAX, PreparedDamage, PreparedSet, PreparedTooLarge, Stamp,
    write_abort_prepared, write_commit_prepared, write_decision, write_prepare,
};

use crate::table::{KEY_MAX, ROW_MAX, Write};

/// Bytes before the first op.
pub const HEADER_BYTES: usize = 24;

/// Bytes before an op's key.
pub const OP_HEADER_BYTES: usize = 8;

/// Bytes of the index number that each key starts with.
const INDEX_BYTES: usize = 4;

/// Why a record is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// A transaction of this partition alone.
    Commit = 1,
    /// This partition's share of a transaction over several, ready to commit.
    Prepare = 2,
    /// A prepared transaction takes effect.
    CommitPrepared = 3,
    /// A prepared transaction is dropped.
    AbortPrepared = 4,
    /// The partition refuses to take part in a transaction over several, or forgets how some ended.
    Decision = 5,
    /// A new term starts; no ops.
    TermStart = 6,
    /// Tables are created, changed or dropped.
    Schema = 7,
}

impl RecordKind {
    /// Whether it carries out what others, durably, decided before: it can be lost, not taken back.
    pub(crate) const fn is_decided(self) -> bool {
        matches!(self, Self::CommitPrepared | Self::AbortPrepared)
    }

    /// Whether readers may not see it before it is committed.
    pub(crate) const fn is_undecided(self) -> bool {
        matches!(self, Self::Commit | Self::Schema)
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Commit,
            2 => Self::Prepare,
            3 => Self::CommitPrepared,
            4 => Self::AbortPrepared,
            5 => Self::Decision,
            6 => Self::TermStart,
            7 => Self::Schema,
            _ => return None,
        })
    }
}

/// What an op does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Puts a key that was absent.
    Insert = 1,
    /// Puts a key that was present.
    Update = 2,
    /// Removes a key.
    Delete = 3,
    /// Removes all keys from the op's key on and before its value.
    DeleteRange = 4,
}

impl OpKind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Insert,
            2 => Self::Update,
            3 => Self::Delete,
            4 => Self::DeleteRange,
            _ => return None,
        })
    }
}

/// One change of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// What it does.
    pub kind: OpKind,
    /// The key; of a range its first.
    pub key: &'a [u8],
    /// The new value; of a range the first key that stays; else empty.
    pub value: &'a [u8],
}

/// A record's header, without what follows from its ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Why it is in the log.
    pub kind: RecordKind,
    /// The transaction's number in its partition; zero where there is none.
    pub txn_id: u64,
    /// Milliseconds since 1970-01-01 UTC, for people who read the log; never for a decision.
    pub wall_ms: u64,
}

/// Why bytes are no record. Offsets count from the start of the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordDamage {
    /// It ends inside its header or an op.
    #[error("record of {found} bytes ends at offset {offset}, where {needed} more are needed")]
    Short {
        /// Where the missing bytes should be.
        offset: usize,
        /// How many are needed from there.
        needed: usize,
        /// Bytes of the whole record.
        found: usize,
    },
    /// Bytes after the last op.
    #[error("{extra} bytes after the last op, at offset {offset}")]
    Long {
        /// Where they start.
        offset: usize,
        /// How many.
        extra: usize,
    },
    /// No such kind of record.
    #[error("unknown kind of record {0}")]
    Kind(u8),
    /// Flags or reserved bytes that should be zero: written by a newer program, or damaged.
    #[error("unknown flags at offset {offset}")]
    Flags {
        /// Where.
        offset: usize,
    },
    /// No such kind of op.
    #[error("unknown kind of op {kind} at offset {offset}")]
    OpKind {
        /// Where the op starts.
        offset: usize,
        /// Its kind.
        kind: u8,
    },
    /// A key shorter than an index number or longer than any key.
    #[error("op at offset {offset} with a key of {found} bytes, expected 4 to {KEY_MAX}")]
    Key {
        /// Where the op starts.
        offset: usize,
        /// Bytes of its key.
        found: usize,
    },
    /// A value larger than any, or one where there must be none.
    #[error("op at offset {offset} with a value of {found} bytes, at most {limit} are possible")]
    Value {
        /// Where the op starts.
        offset: usize,
        /// Bytes of its value.
        found: usize,
        /// The limit for this kind of op.
        limit: usize,
    },
    /// A range that ends before it starts.
    #[error("op at offset {offset} removes a range that ends before it starts")]
    Range {
        /// Where the op starts.
        offset: usize,
    },
}

/// Appends one record to a buffer, op by op.
#[derive(Debug)]
#[must_use = "a record counts only when it is finished"]
pub struct RecordWriter<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    ops: u32,
}

impl<'b> RecordWriter<'b> {
    /// Starts a record at the end of `out`.
    pub fn new(header: RecordHeader, out: &'b mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[header.kind as u8, 0, 0, 0]);
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&header.txn_id.to_le_bytes());
        out.extend_from_slice(&header.wall_ms.to_le_bytes());
        assert_eq!(out.len() - start, HEADER_BYTES, "the header has its size");
        Self { out, start, ops: 0 }
    }

    /// Appends an op.
    ///
    /// # Panics
    /// If it could not be read back: a key or value of a size that is not possible, a value
    /// where there is none, a range that ends before it starts.
    pub fn op(&mut self, op: Op<'_>) {
        append_op(op, self.out);
        self.ops = self.ops.checked_add(1).expect("memory ends before 2^32 ops");
    }

    /// Appends planned writes, in order.
    ///
    /// # Panics
    /// As [`op`](Self::op).
    pub fn writes<'w>(&mut self, writes: impl IntoIterator<Item = &'w Write>) {
        writes.into_iter().for_each(|write| self.op(write.as_op()));
    }

    /// Bytes of the record so far, its header included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Whether it has no ops so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ops == 0
    }

    /// Ends the record and says how many bytes it has.
    pub fn finish(self) -> usize {
        let record = &mut self.out[self.start..];
        record[4..8].copy_from_slice(&self.ops.to_le_bytes());
        record.len()
    }
}

/// Appends an op's bytes.
fn append_op(op: Op<'_>, out: &mut Vec<u8>) {
    let mut header = [op.kind as u8, 0, 0, 0, 0, 0, 0, 0];
    let key = u16::try_from(op.key.len()).expect("a key is limited to 3072 bytes");
    let value = u32::try_from(op.value.len()).expect("a value is limited to 64 MiB");
    header[2..4].copy_from_slice(&key.to_le_bytes());
    header[4..8].copy_from_slice(&value.to_le_bytes());
    if let Err(damage) = check_op(op, 0) {
        panic!("an op that could not be read back: {damage}");
    }
    out.reserve(OP_HEADER_BYTES + op.key.len() + op.value.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(op.key);
    out.extend_from_slice(op.value);
}

/// Checks what an op promises beside its lengths; used before writing and after reading.
fn check_op(op: Op<'_>, offset: usize) -> Result<(), RecordDamage> {
    if !(INDEX_BYTES..=KEY_MAX).contains(&op.key.len()) {
        return Err(RecordDamage::Key { offset, found: op.key.len() });
    }
    let limit = match op.kind {
        OpKind::Insert | OpKind::Update => ROW_MAX,
        OpKind::Delete => 0,
        OpKind::DeleteRange => KEY_MAX,
    };
    if op.value.len() > limit {
        return Err(RecordDamage::Value { offset, found: op.value.len(), limit });
    }
    if op.kind == OpKind::DeleteRange && op.value <= op.key {
        return Err(RecordDamage::Range { offset });
    }
    Ok(())
}

/// Takes one op off the front of `bytes`; `None` if they end before it does or its kind is
/// unknown.
fn split_op(bytes: &[u8]) -> Option<(Op<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<OP_HEADER_BYTES>()?;
    let kind = OpKind::from_byte(header[0])?;
    let key = usize::from(u16::from_le_bytes([header[2], header[3]]));
    let value = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let (key, rest) = rest.split_at_checked(key)?;
    let (value, rest) = rest.split_at_checked(value as usize)?;
    Some((Op { kind, key, value }, rest))
}

/// Takes `count` ops off the front of `bytes` and checks each; returns what is left. `start` is
/// the offset of `bytes` in the record.
fn check_ops(bytes: &[u8], count: u32, start: usize) -> Result<&[u8], RecordDamage> {
    let mut rest = bytes;
    for _ in 0..count {
        let offset = start + bytes.len() - rest.len();
        let Some((op, after)) = split_op(rest) else {
            return Err(why_no_op(rest, offset));
        };
        if rest[1] != 0 {
            return Err(RecordDamage::Flags { offset: offset + 1 });
        }
        check_op(op, offset)?;
        rest = after;
    }
    Ok(rest)
}

/// Why there is no op at the front of `bytes`.
#[cold]
fn why_no_op(bytes: &[u8], offset: usize) -> RecordDamage {
    let short = |needed| RecordDamage::Short { offset, needed, found: offset + bytes.len() };
    let Some(header) = bytes.first_chunk::<OP_HEADER_BYTES>() else {
        return short(OP_HEADER_BYTES);
    };
    if OpKind::from_byte(header[0]).is_none() {
        return RecordDamage::OpKind { offset, kind: header[0] };
    }
    let key = usize::from(u16::from_le_bytes([header[2], header[3]]));
    let value = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    short(OP_HEADER_BYTES + key + value as usize)
}

/// A record that has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    header: RecordHeader,
    op_count: u32,
    ops: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record that takes up all of `bytes`.
    ///
    /// # Errors
    /// If the bytes are damaged. Nothing is allocated for damaged ones.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordDamage> {
        let Some((header, ops)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            let found = bytes.len();
            return Err(RecordDamage::Short { offset: 0, needed: HEADER_BYTES, found });
        };
        let kind = RecordKind::from_byte(header[0]).ok_or(RecordDamage::Kind(header[0]))?;
        if let Some(flag) = header[1..4].iter().position(|byte| *byte != 0) {
            return Err(RecordDamage::Flags { offset: 1 + flag });
        }
        let [_, _, _, _, c0, c1, c2, c3, numbers @ ..] = *header;
        let op_count = u32::from_le_bytes([c0, c1, c2, c3]);
        let rest = check_ops(ops, op_count, HEADER_BYTES)?;
        if !rest.is_empty() {
            let extra = rest.len();
            return Err(RecordDamage::Long { offset: bytes.len() - extra, extra });
        }
        let (txn_id, wall_ms) = (u64_at(&numbers, 0), u64_at(&numbers, 8));
        Ok(Self { header: RecordHeader { kind, txn_id, wall_ms }, op_count, ops })
    }

    /// Kind, transaction and time.
    #[must_use]
    pub const fn header(&self) -> RecordHeader {
        self.header
    }

    /// Why it is in the log.
    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        self.header.kind
    }

    /// How many ops it has.
    #[must_use]
    pub const fn op_count(&self) -> u32 {
        self.op_count
    }

    /// Its ops, in order.
    #[must_use]
    pub const fn ops(&self) -> Ops<'a> {
        Ops { rest: self.ops, left: self.op_count }
    }
}

fn u64_at(bytes: &[u8; 16], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}

/// The ops of a checked record.
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Ops<'a> {
    type Item = Op<'a>;

    fn next(&mut self) -> Option<Op<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (op, rest) = split_op(self.rest)?;
        self.rest = rest;
        Some(op)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Ops<'_> {}
