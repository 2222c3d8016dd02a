//! Two-phase commit in the log: the write set of a prepared transaction as a row of the tree,
//! and the records that put it there, make it take effect, or drop it (catalogue promise A6).
//!
//! ```text
//!               ops of the record
//! Prepare         insert  index 1, global id → write set
//! CommitPrepared  the write set's ops; delete index 1, global id; insert index 3, global id → 1
//! AbortPrepared   delete  index 1, global id
//! Decision        insert  index 3, global id → 0 refused
//!                 or delete, once nobody will ask for it any more
//! ```
//!
//! So after any crash the tree itself says which transactions are in doubt, those under index 1, and
//! how others ended here that may be in doubt elsewhere, those under index 3. A Prepare may also
//! delete rows of index 3, of transactions that are in doubt nowhere.
//!
//! The write set:
//!
//! ```text
//! 0       2         3          4         8          12           16
//! ├ u16 ──┼ u8 ─────┼ u8 ──────┼ u32 ────┼ u32 ─────┼ u32 ───────┼ global id ┼ participants ┼ ops ┼ locks ┤
//! format 2 id length reserved 0 count of  op count   lock count               u32 each       as in  u16 length,
//!                               participants                                                 records  key
//! ```
//!
//! Format 1, which is read, has the number of one partition in place of the count and no list: that
//! partition alone decided, and its promise alone was no decision.

use super::{
    Op, OpKind, Ops, RecordDamage, RecordHeader, RecordKind, RecordWriter, append_op, check_ops,
};
use crate::table::{KEY_MAX, ROW_MAX, Write, system};

/// Most bytes of a global transaction id.
pub const GLOBAL_ID_MAX: usize = 255;

const FORMAT: u16 = 2;
/// The format in which one partition decided.
const FORMAT_OF_HOMES: u16 = 1;
const HEADER_BYTES: usize = 16;

/// What a prepared transaction will do and what it holds meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedSet {
    /// The transaction's name over all partitions: 1 to 255 bytes.
    pub global_id: Vec<u8>,
    /// The partitions that take part, by ordinal, this one among them: the transaction is committed
    /// once all of them have promised.
    pub participants: Vec<u32>,
    /// Whether the promise counts. Not in a set of format 1: there the one participant is the
    /// partition that decided, in words.
    pub binding: bool,
    /// Its changes, in order.
    pub ops: Vec<Write>,
    /// The keys that it keeps locked until the decision.
    pub locks: Vec<Vec<u8>>,
}

/// The write set is too large for a row of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("prepared write set of {bytes} bytes, at most {limit} are possible")]
pub struct PreparedTooLarge {
    /// Its bytes.
    pub bytes: usize,
    /// The limit.
    pub limit: usize,
}

/// Why bytes are no prepared write set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreparedDamage {
    /// Written by a newer program, or damaged.
    #[error("write set format {found}, this program reads {FORMAT_OF_HOMES} and {FORMAT}")]
    Format {
        /// The format of the bytes.
        found: u16,
    },
    /// It ends in its header, its name, its participants or a lock; or bytes follow the last lock.
    #[error("write set of {found} bytes does not end at offset {offset}")]
    Length {
        /// Where it should end, or what is missing should be.
        offset: usize,
        /// Bytes of the whole write set.
        found: usize,
    },
    /// A reserved byte is not zero, or the transaction has no name or no participants.
    #[error("impossible header of a write set")]
    Header,
    /// An op is damaged.
    #[error(transparent)]
    Op(#[from] RecordDamage),
}

impl PreparedSet {
    /// The write set as bytes.
    ///
    /// # Errors
    /// If it is larger than a row can be.
    ///
    /// # Panics
    /// If the global id has no or more than 255 bytes, nobody takes part, a lock is longer than a
    /// key, or the set was read in an older format.
    pub fn encode(&self) -> Result<Vec<u8>, PreparedTooLarge> {
        assert!(!self.global_id.is_empty(), "a prepared transaction has a name");
        assert!(!self.participants.is_empty() && self.binding, "a promise counts");
        let id_length = u8::try_from(self.global_id.len()).expect("at most 255 bytes of name");
        let count = |length| u32::try_from(length).expect("memory ends before 2^32 entries");

        let mut out = Vec::new();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[id_length, 0]);
        out.extend_from_slice(&count(self.participants.len()).to_le_bytes());
        out.extend_from_slice(&count(self.ops.len()).to_le_bytes());
        out.extend_from_slice(&count(self.locks.len()).to_le_bytes());
        assert_eq!(out.len(), HEADER_BYTES, "the header has its size");
        out.extend_from_slice(&self.global_id);
        self.participants.iter().for_each(|ordinal| out.extend_from_slice(&ordinal.to_le_bytes()));
        self.ops.iter().for_each(|write| append_op(write.as_op(), &mut out));
        for lock in &self.locks {
            assert!(lock.len() <= KEY_MAX, "a lock is a key");
            let length = u16::try_from(lock.len()).expect("a key has at most 3072 bytes");
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(lock);
        }
        if out.len() > ROW_MAX {
            return Err(PreparedTooLarge { bytes: out.len(), limit: ROW_MAX });
        }
        Ok(out)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If the bytes are damaged or of another format. No more is allocated than they warrant.
    pub fn decode(bytes: &[u8]) -> Result<Self, PreparedDamage> {
        let length = |offset| PreparedDamage::Length { offset, found: bytes.len() };
        let (header, rest) = bytes.split_first_chunk().ok_or_else(|| length(HEADER_BYTES))?;
        let header: &[u8; HEADER_BYTES] = header;
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
        let found = u16::from_le_bytes([header[0], header[1]]);
        if found != FORMAT && found != FORMAT_OF_HOMES {
            return Err(PreparedDamage::Format { found });
        }
        let id_length = usize::from(header[2]);
        let binding = found == FORMAT;
        if id_length == 0 || header[3] != 0 || (binding && number(4) == 0) {
            return Err(PreparedDamage::Header);
        }
        let (id, rest) =
            rest.split_at_checked(id_length).ok_or_else(|| length(HEADER_BYTES + id_length))?;
        let (participants, rest) = match binding {
            true => read_participants(rest, number(4), bytes.len())?,
            false => (vec![number(4)], rest),
        };
        let locks = check_ops(rest, number(8), bytes.len() - rest.len())?;
        let ops = Ops { rest, left: number(8) }.map(Write::from);
        Ok(Self {
            global_id: id.to_vec(),
            participants,
            binding,
            ops: ops.collect(),
            locks: read_locks(locks, number(12), bytes.len())?,
        })
    }
}

fn read_participants(
    bytes: &[u8],
    count: u32,
    found: usize,
) -> Result<(Vec<u32>, &[u8]), PreparedDamage> {
    let from = found - bytes.len();
    let split = (count as usize).checked_mul(4).and_then(|len| bytes.split_at_checked(len));
    let Some((list, rest)) = split else {
        let offset = from.saturating_add((count as usize).saturating_mul(4));
        return Err(PreparedDamage::Length { offset, found });
    };
    let (list, _) = list.as_chunks();
    Ok((list.iter().map(|ordinal| u32::from_le_bytes(*ordinal)).collect(), rest))
}

fn read_locks(bytes: &[u8], count: u32, found: usize) -> Result<Vec<Vec<u8>>, PreparedDamage> {
    let (mut rest, mut locks) = (bytes, Vec::new());
    for _ in 0..count {
        let damage = PreparedDamage::Length { offset: found - rest.len(), found };
        let (length, after) = rest.split_first_chunk().ok_or_else(|| damage.clone())?;
        let length = usize::from(u16::from_le_bytes(*length));
        if length > KEY_MAX {
            return Err(damage);
        }
        let (lock, after) = after.split_at_checked(length).ok_or(damage)?;
        locks.push(lock.to_vec());
        rest = after;
    }
    match rest.len() {
        0 => Ok(locks),
        extra => Err(PreparedDamage::Length { offset: found - extra, found }),
    }
}

/// What a partition keeps of a transaction over several that is over there, while it may be in
/// doubt elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It took effect: all had promised.
    Commit,
    /// This partition refused, so it takes effect nowhere.
    Abort,
}

impl Decision {
    /// The value of the decision's row.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 1] {
        match self {
            Self::Commit => [1],
            Self::Abort => [0],
        }
    }

    /// Reads a decision's row; `None` if it is damaged.
    #[must_use]
    pub const fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [1] => Some(Self::Commit),
            [0] => Some(Self::Abort),
            _ => None,
        }
    }
}

/// The number and time of a transaction whose record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// See [`RecordHeader::txn_id`].
    pub txn_id: u64,
    /// See [`RecordHeader::wall_ms`].
    pub wall_ms: u64,
}

impl Stamp {
    const fn header(self, kind: RecordKind) -> RecordHeader {
        RecordHeader { kind, txn_id: self.txn_id, wall_ms: self.wall_ms }
    }
}

/// Appends the record that prepares a transaction.
///
/// # Errors
/// If the write set is larger than a row can be; nothing is appended then.
pub fn write_prepare(
    stamp: Stamp,
    set: &PreparedSet,
    out: &mut Vec<u8>,
) -> Result<(), PreparedTooLarge> {
    let value = set.encode()?;
    let mut writer = RecordWriter::new(stamp.header(RecordKind::Prepare), out);
    let key = system::prepared_key(&set.global_id);
    writer.op(Op { kind: OpKind::Insert, key: &key, value: &value });
    writer.finish();
    Ok(())
}

/// Appends the record by which a prepared transaction takes effect, and that it did.
pub fn write_commit_prepared(stamp: Stamp, set: &PreparedSet, out: &mut Vec<u8>) {
    let mut writer = RecordWriter::new(stamp.header(RecordKind::CommitPrepared), out);
    writer.writes(&set.ops);
    let key = system::prepared_key(&set.global_id);
    writer.op(Op { kind: OpKind::Delete, key: &key, value: &[] });
    let (key, value) = (system::decision_key(&set.global_id), Decision::Commit.to_bytes());
    writer.op(Op { kind: OpKind::Insert, key: &key, value: &value });
    writer.finish();
}

/// Appends the record that drops a prepared transaction.
pub fn write_abort_prepared(stamp: Stamp, global_id: &[u8], out: &mut Vec<u8>) {
    let mut writer = RecordWriter::new(stamp.header(RecordKind::AbortPrepared), out);
    let key = system::prepared_key(global_id);
    writer.op(Op { kind: OpKind::Delete, key: &key, value: &[] });
    writer.finish();
}

/// Appends a decision about a transaction by itself.
pub fn write_decision(stamp: Stamp, global_id: &[u8], decision: Decision, out: &mut Vec<u8>) {
    let mut writer = RecordWriter::new(stamp.header(RecordKind::Decision), out);
    let key = system::decision_key(global_id);
    writer.op(Op { kind: OpKind::Insert, key: &key, value: &decision.to_bytes() });
    writer.finish();
}
