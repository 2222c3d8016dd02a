//! Commands, outcomes and the whole state as bytes: a version, then field by field. Checksums are the business of
//! whoever stores or sends them. The same state gives the same bytes, and no two encodings mean the same.

use super::bytes::{CodecError, Cursor, Field, fields, variants};
use super::command::{At, Command, Decree, NewHome, Outcome, Refusal};
use super::event::{EVENTS_MAX, Event, Happened};
use super::left::{LEFT_MAX, Left, LeftBy};
use super::{
    DatabaseEntry, DatabaseState, Kind, Metadata, Node, NodeState, Office, Role, Versioned,
};
use crate::execution::{Change, Refused};
use crate::{Database, Mode, Reference};
use resprout_wal::Lsn;

/// The version that this program writes.
pub const VERSION: u16 = 6;
/// The oldest that it reads of what is stored: there databases have no partition for reference tables.
const OLDEST: u16 = 4;
/// The first with partitions for reference tables.
const WITH_REFERENCES: u16 = 5;
/// The first that has leaves that were removed with copies.
const WITH_REMOVED: u16 = 6;

pub(crate) fn encode(value: &impl Field) -> Vec<u8> {
    let mut out = Vec::new();
    VERSION.put(&mut out);
    value.put(&mut out);
    out
}

/// From what a node says: those that talk are of one version.
pub(crate) fn decode<T: Field>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_since(VERSION, bytes)
}

fn decode_since<T: Field>(oldest: u16, bytes: &[u8]) -> Result<T, CodecError> {
    let mut from = Cursor { bytes, version: VERSION };
    let found = u16::take(&mut from)?;
    if !(oldest..=VERSION).contains(&found) {
        return Err(CodecError::Version { found, expected: VERSION });
    }
    from.version = found;
    let value = T::take(&mut from)?;
    from.end()?;
    Ok(value)
}

macro_rules! codec {
    ($($type:ty: $oldest:expr),*) => {$(
        impl $type {
            /// As bytes.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                encode(self)
            }

            /// From bytes, whoever wrote them: they take no more memory than a small multiple of their length.
            ///
            /// # Errors
            /// [`CodecError`] if they are not whole, of another version, or not what is written.
            pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
                decode_since($oldest, bytes)
            }
        }
    )*};
}

codec!(Decree: OLDEST, Outcome: VERSION, Metadata: OLDEST);

impl Field for Metadata {
    fn put(&self, out: &mut Vec<u8>) {
        self.cluster.put(out);
        self.applied.put(out);
        self.office.put(out);
        self.mode.put(out);
        self.next_node.put(out);
        self.next_database.put(out);
        self.nodes.put(out);
        self.databases.put(out);
        self.variables.put(out);
        self.accounts.put(out);
        self.events.put(out);
        self.removed.put(out);
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        let metadata = Self {
            cluster: Field::take(from)?,
            applied: Field::take(from)?,
            office: Field::take(from)?,
            mode: Field::take(from)?,
            next_node: Field::take(from)?,
            next_database: Field::take(from)?,
            nodes: Field::take(from)?,
            databases: Field::take(from)?,
            variables: Field::take(from)?,
            accounts: Field::take(from)?,
            events: Field::take(from)?,
            removed: if from.version >= WITH_REMOVED {
                Field::take(from)?
            } else {
                std::collections::BTreeMap::new()
            },
            #[cfg(any(test, feature = "testing"))]
            planted: None,
        };
        if metadata.events.len() > EVENTS_MAX {
            let found = metadata.events.len() as u64;
            return Err(CodecError::Value { what: "number of events", found });
        }
        metadata.check_names()?;
        Ok(metadata)
    }
}

impl Metadata {
    /// What lookups rely on.
    fn check_names(&self) -> Result<(), CodecError> {
        for (name, entry) in &self.databases {
            let is_sorted = entry.map.partitions.is_sorted_by(|one, two| one.ordinal < two.ordinal);
            let reference =
                entry.map.reference.as_ref().map(|one| one.partition.ordinal.0 as usize);
            let is_last = reference.is_none_or(|ordinal| ordinal == entry.map.partitions.len());
            if *name != entry.map.name || !is_sorted || !is_last {
                return Err(CodecError::Order);
            }
            if entry.left.len() > LEFT_MAX {
                let found = entry.left.len() as u64;
                return Err(CodecError::Value { what: "number of copies that left", found });
            }
        }
        Ok(())
    }
}

fields! {
    Office { number, holder }
    Node { address, kind, state, incarnation }
    Versioned { version, bytes }
    DatabaseEntry { number, durable, redundancy, state, schema, map, left }
    Left { ordinal, leaf, instance, by, index, at_ms }
    Reference { partition, next_instance, next_term }
    Event { index, at_ms, node, happened }
    Decree { office, at_ms, command }
    At { database, ordinal, term, cfg }
    NewHome { master, replica }
}

variants!(Role { 1 => Voter, 2 => Learner });
variants!(Kind { 1 => Aggregator { role }, 2 => Leaf { group, pair } });
variants!(NodeState {
    1 => Online, 2 => Offline, 3 => Recovering, 4 => Attaching, 5 => Detached, 6 => RecoveryFailed,
});
variants!(DatabaseState { 1 => Creating, 2 => Open });
variants!(Mode { 1 => Single, 2 => Paired, 3 => LoadBalanced });
variants!(Happened {
    1 => NodeAdded,
    2 => NodeRemoved { copies_lost },
    3 => NodeState { state },
    4 => Office,
    5 => Fenced { database, ordinal, term },
    6 => Elected { database, ordinal, term, leaf, may_have_lost, forced, last_term, last },
    7 => NobodyEligible { database, ordinal },
    8 => MetadataStale { database, ordinal, instance, term },
    9 => Conflict { databases },
    10 => Orphaned { database, ordinal, instance },
    11 => Attached { database, ordinal, instance },
    12 => Replication { database, sync },
    13 => Rebalanced,
});
variants!(LeftBy {
    1 => Drop, 2 => PromoteWithDrop, 3 => Copy, 4 => Create, 5 => Detach, 6 => Attach, 7 => AttachLeaf,
    8 => RemoveLeaf,
});
variants!(Change {
    1 => AddCopy { ordinal, leaf },
    2 => Attach { ordinal, leaf, instance },
    3 => Create { ordinal, leaf },
    4 => Promote { ordinal, term, to, drop_leaving, returns },
    5 => Remove { ordinal, leaf, instance, leaving },
    6 => Detach { ordinal, leaf, instance },
});
variants!(Command {
    1 => Found { cluster, address },
    2 => TakeOffice { node, after },
    3 => SetMode { mode },
    4 => AddAggregator { address, role, incarnation },
    5 => AddLeaf { address, group, incarnation },
    6 => SetRole { node, role },
    7 => RemoveNode { node, force },
    8 => SetNodeState { node, from, to, incarnation },
    10 => DropDatabase { name },
    11 => SetReplication { name, sync },
    12 => Opened { name },
    13 => SetSchema { database, version, bytes },
    14 => Intend { at },
    15 => Elect { at, instance, incarnation, reported, may_have_lost, forced, last_term, last },
    16 => Publish { database, ordinal, request },
    17 => TakeBack { at, instance, incarnation, clean },
    18 => Orphan { at, instance },
    19 => Execute { database, change },
    20 => SetVariable { name, value },
    21 => SetAccounts { version, bytes },
    22 => Record { node, happened },
    23 => ForgetLeft { database, copies },
    24 => Aligned { database, ordinal, term },
    25 => CreateDatabase { name, homes, sync, durable, redundancy, reference },
} older { 9 => create_without_reference });
variants!(Outcome {
    1 => Done, 2 => Office { office }, 3 => Added { node }, 4 => Created { database }, 5 => Refused { refusal },
});
variants!(Refusal {
    1 => Malformed { text },
    2 => Founded,
    3 => NotFounded,
    4 => NotInOffice { office },
    5 => NoNode { node },
    6 => WrongKind { node },
    7 => NotJoined { text },
    8 => LastVoter { node },
    9 => HasCopies { node, copies },
    10 => NodeState { node, state },
    11 => OlderRun { node, incarnation },
    12 => DatabaseExists { name },
    13 => NoDatabase { name },
    14 => NotPossible { text },
    15 => NoPartition { ordinal },
    16 => Changed { term, cfg },
    17 => NotEligible { instance, text },
    18 => Step { refused },
    19 => Version { version },
});

impl Field for Database {
    fn put(&self, out: &mut Vec<u8>) {
        self.name.put(out);
        self.sync.put(out);
        self.partitions.put(out);
        self.next_instance.put(out);
        self.next_term.put(out);
        self.reference.put(out);
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            name: Field::take(from)?,
            sync: Field::take(from)?,
            partitions: Field::take(from)?,
            next_instance: Field::take(from)?,
            next_term: Field::take(from)?,
            reference: if from.version < WITH_REFERENCES { None } else { Field::take(from)? },
        })
    }
}

/// CREATE DATABASE as older versions have it in their logs: it made no partition for reference tables then, and makes none
/// when it is applied again.
fn create_without_reference(from: &mut Cursor<'_>) -> Result<Command, CodecError> {
    if from.version >= WITH_REFERENCES {
        return Err(CodecError::Value { what: "Command", found: 9 });
    }
    Ok(Command::CreateDatabase {
        name: Field::take(from)?,
        homes: Field::take(from)?,
        sync: Field::take(from)?,
        durable: Field::take(from)?,
        redundancy: Field::take(from)?,
        reference: false,
    })
}

impl Field for Lsn {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        Ok(Self(Field::take(from)?))
    }
}

/// Numbers of copies: small.
impl Field for usize {
    fn put(&self, out: &mut Vec<u8>) {
        u32::try_from(*self).unwrap_or(u32::MAX).put(out);
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        Ok(u32::take(from)? as Self)
    }
}

impl Field for Refused {
    fn put(&self, out: &mut Vec<u8>) {
        let tag: u8 = match self {
            Self::NoPartition => 1,
            Self::NoMaster => 2,
            Self::HasCopy => 3,
            Self::NoCopy => 4,
            Self::OtherTerm => 5,
            Self::Behind => 6,
            Self::IsMaster => 7,
            Self::TooFewCopies(_) => 8,
            Self::MayHaveMore(_) => 9,
        };
        tag.put(out);
        match self {
            Self::TooFewCopies(least) => least.put(out),
            Self::MayHaveMore(leaf) => leaf.put(out),
            _ => {}
        }
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        Ok(match u8::take(from)? {
            1 => Self::NoPartition,
            2 => Self::NoMaster,
            3 => Self::HasCopy,
            4 => Self::NoCopy,
            5 => Self::OtherTerm,
            6 => Self::Behind,
            7 => Self::IsMaster,
            8 => Self::TooFewCopies(Field::take(from)?),
            9 => Self::MayHaveMore(Field::take(from)?),
            found => return Err(CodecError::Value { what: "refusal", found: found.into() }),
        })
    }
}
