//! The bugs that the simulation must find, and within how many seeds it does. They are those of the cores that are joined here:
//! each rule of the catalogue that they break is found in the whole cluster, too.

use std::fmt;

use resprout_cluster::testing::Planted as OfRecord;
use resprout_replication::testing::Planted as OfCopy;

/// A bug in one of the cores of every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// In the control plane.
    Record(OfRecord),
    /// In the copies.
    Copy(OfCopy),
}

/// Each bug and the number of seeds, from 0, within which it is found. By the rules of the catalogue: 3, 5, 5, 6, 8, 9,
/// 11, 14, 15; of plans, 19, three times; of ALTER DATABASE, 5 and 6. What only another office does, with a plan in a database
/// with asynchronous replication (`CountBegun`), takes more seeds than a change can have: a script of `execution` has it.
pub const FOUND_WITHIN: [(Planted, u64); 13] = [
    (Planted::Record(OfRecord::DecideOutOfOffice), 200),
    (Planted::Record(OfRecord::PublishAnyVersion), 40),
    (Planted::Copy(OfCopy::PublishBeforeWaiting), 40),
    (Planted::Copy(OfCopy::StopWaitingUnasked), 40),
    (Planted::Record(OfRecord::ElectAnyCopy), 20),
    (Planted::Record(OfRecord::ElectUnfenced), 20),
    (Planted::Copy(OfCopy::ZombieAcknowledges), 60),
    (Planted::Record(OfRecord::ResumeUnclean), 20),
    (Planted::Record(OfRecord::TrustRestarted), 600),
    (Planted::Record(OfRecord::DropBeforeComplete), 150),
    (Planted::Record(OfRecord::PromoteBehind), 40),
    (Planted::Record(OfRecord::PromoteUndrained), 200),
    (Planted::Record(OfRecord::KeepSynchronous), 250),
];

impl Planted {
    /// In the control plane.
    #[must_use]
    pub fn of_record(self) -> Option<OfRecord> {
        match self {
            Self::Record(bug) => Some(bug),
            Self::Copy(_) => None,
        }
    }

    /// In the copies.
    #[must_use]
    pub fn of_copy(self) -> Option<OfCopy> {
        match self {
            Self::Copy(bug) => Some(bug),
            Self::Record(_) => None,
        }
    }

    /// All that are looked for.
    pub fn all() -> impl Iterator<Item = Self> {
        FOUND_WITHIN.into_iter().map(|(bug, _)| bug)
    }

    /// That of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|bug| bug.to_string() == name)
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(bug) => write!(f, "{bug:?}"),
            Self::Copy(bug) => write!(f, "{bug:?}"),
        }
    }
}
