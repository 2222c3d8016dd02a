//! Names: which partition, which copy of it, which run of that copy, and which decision.

use std::fmt;

use resprout_wal::{LogIdentity, Term};

/// One partition of one cluster, without saying which copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The cluster, chosen at random when it was made.
    pub cluster: u128,
    /// The database's number in the cluster.
    pub database: u32,
    /// The partition's ordinal in the database.
    pub ordinal: u32,
}

impl From<LogIdentity> for Partition {
    fn from(log: LogIdentity) -> Self {
        Self { cluster: log.cluster, database: log.database, ordinal: log.partition }
    }
}

/// One stored copy, for life: [`LogIdentity::instance`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(pub u64);

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.0)
    }
}

/// One run of the process, or one provisioning, that holds a copy. Counted durably, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A copy and the run that speaks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Of which partition.
    pub partition: Partition,
    /// Which copy.
    pub instance: Instance,
    /// Which run of it.
    pub incarnation: Incarnation,
}

/// One attempt of a replica to follow. What a master knows of a copy's progress belongs to one
/// stream (catalogue rule 4). The run is part of the name: else a late message to an earlier run would
/// be taken for one of today's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The run of the replica.
    pub run: Incarnation,
    /// Counted in the run, from 1.
    pub number: u64,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}.{}", self.run, self.number)
    }
}

/// The version of a partition's record within its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cfg(pub u64);

impl fmt::Display for Cfg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The committed decision behind a record: term and index of the metadata's log (catalogue rule 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Consensus term.
    pub term: u64,
    /// Index in the metadata's log.
    pub index: u64,
}

/// What a copy has promised: to take nothing of an older term and no older decision. One durable
/// record, which never goes back (assertion 6 of the catalogue).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Promise {
    /// Newest term that it knows.
    pub term: Term,
    /// Newest decision that it knows.
    pub stamp: Stamp,
}

impl Promise {
    /// The newer of both parts.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        Self { term: self.term.max(other.term), stamp: self.stamp.max(other.stamp) }
    }
}
