//! The records of Raft's log, as bytes. `docs/formats/raft-log.md` draws them.
//!
//! Whatever bytes come in, decoding gives a record that makes sense by itself or a
//! [`RecordFlaw`]; whether it fits what came before is for [`super::replay`] to say.

use rkyv::rancor;
use rkyv::util::AlignedVec;

use crate::{Ballot, Entry, EntryId, Index, NodeId, Term};

/// Of all records.
const VERSION: u8 = 1;
/// Version and kind, and zeros up to the alignment of an archive.
const HEAD_BYTES: usize = 8;

/// Terms, indexes and counts are below.
const NUMBER_MAX: u64 = 1 << 62;

const BOOT: u8 = 1;
const VOTE: u8 = 2;
const ENTRIES: u8 = 3;
const SNAPSHOT: u8 = 4;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A start of the process, counted from 1. Ends the making of a store.
    Boot(u64),
    /// Term and vote (row M01: one record, so that no crash comes between them).
    Vote(Ballot),
    /// Entries behind each other; what came before at or behind the first is no more.
    Entries(Vec<Entry>),
    /// A snapshot counts from here on.
    Snapshot(Checkpoint),
}

/// What is said when a snapshot counts. It repeats what the records before it have said and
/// nothing but they would, so that these may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The last entry in the snapshot, which names its file.
    pub(super) last: EntryId,
    /// The entry before the first that is still needed.
    pub(super) base: EntryId,
    /// The last entry of the log: if it is `base`, none is needed.
    pub(super) end: EntryId,
    /// The log begins anew behind the snapshot.
    pub(super) installed: bool,
    /// Starts of the process so far.
    pub(super) boot: u64,
    /// Term and vote.
    pub(super) ballot: Ballot,
}

/// A record as it is appended, in two parts, so that an archive is not copied.
#[derive(Debug)]
pub(super) struct Encoded {
    head: [u8; HEAD_BYTES],
    body: AlignedVec,
}

/// What is wrong with the bytes of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFlaw {
    /// Written by another version of this program.
    #[error("version {found}, this program knows {VERSION}")]
    Version {
        /// Stored.
        found: u8,
    },
    /// No such kind.
    #[error("kind {found} is none")]
    Kind {
        /// Stored.
        found: u8,
    },
    /// Not as long as its kind is.
    #[error("{found} bytes, {expected} expected")]
    Length {
        /// Of that kind.
        expected: usize,
        /// Stored.
        found: usize,
    },
    /// Bytes that must be zero are not.
    #[error("reserved bytes are not zero")]
    Reserved,
    /// A flag is neither 0 nor 1.
    #[error("a flag is {found}")]
    Flag {
        /// Stored.
        found: u64,
    },
    /// A term, an index or a count that nobody ever reaches: counting on from it would overflow.
    #[error("the number {found} is out of range")]
    Range {
        /// Stored.
        found: u64,
    },
    /// The archive of the entries is none.
    #[error("the entries are no archive: {what}")]
    Archive {
        /// In the words of the check.
        what: String,
    },
    /// Entries without any.
    #[error("no entries")]
    Empty,
    /// Entries are not behind each other.
    #[error("entry {after} behind {before}")]
    Order {
        /// One.
        before: EntryId,
        /// The next.
        after: EntryId,
    },
    /// The places that a snapshot speaks of are out of order.
    #[error("a snapshot of {last} keeps the log from {base} to {end}")]
    Places {
        /// Its last entry.
        last: EntryId,
        /// Before the first entry kept.
        base: EntryId,
        /// The last entry kept.
        end: EntryId,
    },
}

impl Encoded {
    /// For an append in parts.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        [&self.head, &self.body]
    }

    pub(super) fn len(&self) -> usize {
        HEAD_BYTES + self.body.len()
    }
}

impl Record {
    pub(super) fn encode(&self) -> Encoded {
        let (kind, body) = match self {
            Self::Boot(number) => (BOOT, from_words(&[*number])),
            Self::Vote(ballot) => (VOTE, from_words(&ballot_words(*ballot))),
            Self::Entries(entries) => {
                let archive = rkyv::to_bytes::<rancor::Error>(entries);
                (ENTRIES, archive.expect("entries are plain data, and memory is there or aborts"))
            }
            Self::Snapshot(checkpoint) => (SNAPSHOT, from_words(&checkpoint.words())),
        };
        let mut head = [0; HEAD_BYTES];
        (head[0], head[1]) = (VERSION, kind);
        Encoded { head, body }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordFlaw> {
        let short = RecordFlaw::Length { expected: HEAD_BYTES, found: bytes.len() };
        let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(short)?;
        if head[0] != VERSION {
            return Err(RecordFlaw::Version { found: head[0] });
        }
        if head[2..].iter().any(|byte| *byte != 0) {
            return Err(RecordFlaw::Reserved);
        }
        match head[1] {
            BOOT => to_words(body).and_then(|[number]| in_range(number)).map(Self::Boot),
            VOTE => ballot_of(to_words(body)?).map(Self::Vote),
            ENTRIES => entries_of(body).map(Self::Entries),
            SNAPSHOT => Checkpoint::of(to_words(body)?).map(Self::Snapshot),
            found => Err(RecordFlaw::Kind { found }),
        }
    }
}

impl Checkpoint {
    fn words(&self) -> [u64; 11] {
        let [last, base, end] = [self.last, self.base, self.end];
        let [term, has_vote, vote] = ballot_words(self.ballot);
        let installed = u64::from(self.installed);
        #[rustfmt::skip]
        let words = [
            last.term.0, last.index.0, base.term.0, base.index.0, end.term.0, end.index.0,
            installed, self.boot, term, has_vote, vote,
        ];
        words
    }

    fn of(words: [u64; 11]) -> Result<Self, RecordFlaw> {
        let id = |at: usize| id_in_range(EntryId::new(Term(words[at]), Index(words[at + 1])));
        let (last, base, end) = (id(0)?, id(2)?, id(4)?);
        let installed = flag(words[6])?;
        let ballot = ballot_of([words[8], words[9], words[10]])?;
        let ordered = base.index <= last.index && last.index <= end.index;
        if !ordered || (installed && (base != last || end != last)) {
            return Err(RecordFlaw::Places { last, base, end });
        }
        let boot = in_range(words[7])?;
        Ok(Self { last, base, end, installed, boot, ballot })
    }
}

fn ballot_words(ballot: Ballot) -> [u64; 3] {
    let vote = ballot.vote.unwrap_or_default();
    [ballot.term.0, u64::from(ballot.vote.is_some()), vote.0]
}

fn ballot_of([term, has_vote, vote]: [u64; 3]) -> Result<Ballot, RecordFlaw> {
    let vote = flag(has_vote)?.then_some(NodeId(vote));
    Ok(Ballot { term: Term(in_range(term)?), vote })
}

fn entries_of(archive: &[u8]) -> Result<Vec<Entry>, RecordFlaw> {
    let mut aligned = AlignedVec::<16>::with_capacity(archive.len());
    aligned.extend_from_slice(archive);
    let entries = rkyv::from_bytes::<Vec<Entry>, rancor::Error>(&aligned);
    let entries = entries.map_err(|error| RecordFlaw::Archive { what: error.to_string() })?;
    if entries.is_empty() {
        return Err(RecordFlaw::Empty);
    }
    let first = entries[0].id;
    if first.index == Index(0) {
        return Err(RecordFlaw::Order { before: EntryId::ZERO, after: first });
    }
    for entry in &entries {
        id_in_range(entry.id)?;
    }
    for pair in entries.windows(2) {
        let (before, after) = (pair[0].id, pair[1].id);
        if !follows(before, after) {
            return Err(RecordFlaw::Order { before, after });
        }
    }
    Ok(entries)
}

/// Whether an entry may stand right behind another.
pub(super) fn follows(before: EntryId, after: EntryId) -> bool {
    after.index == before.index.next() && after.term >= before.term
}

fn in_range(found: u64) -> Result<u64, RecordFlaw> {
    if found < NUMBER_MAX { Ok(found) } else { Err(RecordFlaw::Range { found }) }
}

fn id_in_range(id: EntryId) -> Result<EntryId, RecordFlaw> {
    in_range(id.term.0.max(id.index.0)).map(|_| id)
}

fn flag(word: u64) -> Result<bool, RecordFlaw> {
    match word {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(RecordFlaw::Flag { found }),
    }
}

fn from_words(words: &[u64]) -> AlignedVec {
    let mut bytes = AlignedVec::with_capacity(words.len() * 8);
    for word in words {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn to_words<const N: usize>(bytes: &[u8]) -> Result<[u64; N], RecordFlaw> {
    let (words, rest) = bytes.as_chunks::<8>();
    let length =
        RecordFlaw::Length { expected: HEAD_BYTES + 8 * N, found: HEAD_BYTES + bytes.len() };
    if words.len() != N || !rest.is_empty() {
        return Err(length);
    }
    let mut numbers = [0; N];
    for (number, word) in numbers.iter_mut().zip(words) {
        *number = u64::from_le_bytes(*word);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{Member, Membership, Payload, Proposal, ProposalId, StoreId, Vote};

    fn id(term: u64, index: u64) -> EntryId {
        EntryId::new(Term(term), Index(index))
    }

    fn entries() -> Vec<Entry> {
        let member = Member { store: StoreId(7), address: "h:1".to_owned(), vote: Vote::Voter };
        let membership = Membership { members: BTreeMap::from([(NodeId(1), member)]) };
        let command = Bytes::from_static(b"set x");
        let proposal = Proposal { id: ProposalId(9 << 70), since: Index(1), command };
        vec![
            Entry { id: id(1, 4), payload: Payload::Membership(membership) },
            Entry { id: id(1, 5), payload: Payload::TermStart },
            Entry { id: id(3, 6), payload: Payload::Command(proposal) },
        ]
    }

    fn checkpoint() -> Checkpoint {
        let ballot = Ballot { term: Term(8), vote: None };
        let (last, base, end) = (id(3, 6), id(1, 4), id(5, 9));
        Checkpoint { last, base, end, installed: false, boot: 3, ballot }
    }

    fn all() -> Vec<Record> {
        let ballot = Ballot { term: Term(8), vote: Some(NodeId(0)) };
        vec![
            Record::Boot(NUMBER_MAX - 1),
            Record::Vote(ballot),
            Record::Vote(Ballot { vote: None, ..ballot }),
            Record::Entries(entries()),
            Record::Snapshot(checkpoint()),
        ]
    }

    fn bytes(record: &Record) -> Vec<u8> {
        let encoded = record.encode();
        assert_eq!(encoded.parts().concat().len(), encoded.len());
        encoded.parts().concat()
    }

    /// Promise: what is written is what is read, whatever its alignment in memory.
    #[test]
    fn records_come_back() {
        for record in all() {
            let bytes = [vec![0], bytes(&record)].concat();
            assert_eq!(Record::decode(&bytes[1..]).as_ref(), Ok(&record));
        }
    }

    /// Promise: the bytes are those of `docs/formats/raft-log.md`, which every later version must
    /// read.
    #[test]
    fn version_1_stays_readable() {
        let words = |kind: u8, words: &[u64]| {
            let words = words.iter().flat_map(|word| word.to_le_bytes());
            [1, kind, 0, 0, 0, 0, 0, 0].into_iter().chain(words).collect::<Vec<u8>>()
        };
        let vote = Record::Vote(Ballot { term: Term(7), vote: Some(NodeId(3)) });
        assert_eq!(bytes(&Record::Boot(2)), words(1, &[2]));
        assert_eq!(bytes(&vote), words(2, &[7, 1, 3]));
        let snapshot = words(4, &[3, 6, 1, 4, 5, 9, 0, 3, 8, 0, 0]);
        assert_eq!(bytes(&Record::Snapshot(checkpoint())), snapshot);
        let stored = include_bytes!("../../tests/fixtures/v1.entries");
        assert_eq!(Record::decode(stored), Ok(Record::Entries(entries())));
    }

    /// Promise: each flaw is told by its name.
    #[test]
    fn flaws_are_told() {
        let vote = bytes(&all()[1]);
        let changed = |at: usize, to: u8| {
            let mut bytes = vote.clone();
            bytes[at] = to;
            Record::decode(&bytes).expect_err("a flaw")
        };
        assert_eq!(changed(0, 2), RecordFlaw::Version { found: 2 });
        assert_eq!(changed(1, 9), RecordFlaw::Kind { found: 9 });
        assert_eq!(changed(3, 1), RecordFlaw::Reserved);
        assert_eq!(changed(16, 2), RecordFlaw::Flag { found: 2 });
        let short = Record::decode(&vote[..vote.len() - 1]).expect_err("a flaw");
        assert_eq!(short, RecordFlaw::Length { expected: 32, found: 31 });
        let far = Record::decode(&bytes(&Record::Boot(NUMBER_MAX)));
        assert_eq!(far, Err(RecordFlaw::Range { found: NUMBER_MAX }));
        let empty = Record::decode(&bytes(&Record::Entries(Vec::new())));
        assert_eq!(empty, Err(RecordFlaw::Empty));
        let mut gap = entries();
        gap.remove(1);
        let flaw = RecordFlaw::Order { before: id(1, 4), after: id(3, 6) };
        assert_eq!(Record::decode(&bytes(&Record::Entries(gap))), Err(flaw));
        let places = Checkpoint { base: id(3, 7), ..checkpoint() };
        let flawed = Record::decode(&bytes(&Record::Snapshot(places)));
        assert!(matches!(flawed, Err(RecordFlaw::Places { .. })), "{flawed:?}");
    }

    proptest! {
        /// Promise: no bytes make decoding panic.
        #[test]
        fn random_bytes_never_panic(
            kind in 0_u8..6,
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            drop(Record::decode(&[&[VERSION, kind, 0, 0, 0, 0, 0, 0], &body[..]].concat()));
            drop(Record::decode(&body));
        }

        /// Promise: neither do bytes that were good but for a few.
        #[test]
        fn changed_bytes_never_panic(
            which in 0_usize..5,
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
            cut in any::<usize>(),
        ) {
            let mut bytes = bytes(&all()[which]);
            for (at, to) in changes {
                let at = at % bytes.len();
                bytes[at] = to;
            }
            drop(Record::decode(&bytes));
            drop(Record::decode(&bytes[..cut % bytes.len()]));
        }
    }
}
