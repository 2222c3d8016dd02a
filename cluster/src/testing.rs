//! For the tests that prove the cores: bugs that they must find.

use crate::execution::Change;
use crate::{Database, Following};

/// A bug that is not in the cores unless it is asked for. The simulation must find every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the text of each says what it does")]
pub enum Planted {
    DecideOutOfOffice,
    PublishAnyVersion,
    ElectAnyCopy,
    ElectUnfenced,
    ResumeUnclean,
    TrustRestarted,
    KeepSynchronous,
    DropBeforeComplete,
    PromoteBehind,
    PromoteUndrained,
    CountBegun,
}

impl Planted {
    /// Those of records and offices.
    pub const OF_RECORDS: [Self; 7] = [
        Self::DecideOutOfOffice,
        Self::PublishAnyVersion,
        Self::ElectAnyCopy,
        Self::ElectUnfenced,
        Self::ResumeUnclean,
        Self::TrustRestarted,
        Self::KeepSynchronous,
    ];

    /// Those of plans.
    pub const OF_PLANS: [Self; 4] =
        [Self::DropBeforeComplete, Self::PromoteBehind, Self::PromoteUndrained, Self::CountBegun];

    /// What it does.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::DecideOutOfOffice => "takes decisions of an earlier office (rule 3)",
            Self::PublishAnyVersion => {
                "publishes a replica by a question of an older version (rules 1, 5)"
            }
            Self::ElectAnyCopy => "makes the copy with most master, whoever it is (rule 8)",
            Self::ElectUnfenced => "chooses by positions from before the fencing (rule 9)",
            Self::ResumeUnclean => "lets a master go on in its term after a crash (rule 14)",
            Self::TrustRestarted => "keeps a copy synchronous after a crash (rule 15)",
            Self::KeepSynchronous => {
                "keeps copies synchronous that nobody waits for after ALTER DATABASE (rules 5, 6)"
            }
            Self::DropBeforeComplete => {
                "takes a copy for complete as soon as it is on record, and drops what it replaces (rule 19)"
            }
            Self::PromoteBehind => {
                "promotes a copy that lacks writes, without a standstill (rule 19)"
            }
            Self::PromoteUndrained => "promotes before the partition stands still (rule 19)",
            Self::CountBegun => {
                "goes on with another's plan as if copies that it had begun were complete (rule 19)"
            }
        }
    }
}

/// A change as a record takes it that does not count copies, or takes any copy for one that has everything.
pub(crate) fn without_guards(
    (uncounted, behind): (bool, bool),
    database: &mut Database,
    change: &Change,
) -> Change {
    let mut change = *change;
    match &mut change {
        Change::Remove { leaving, .. } if uncounted => *leaving = 0,
        Change::Promote { drop_leaving: Some(leaving), .. } if uncounted => *leaving = 0,
        Change::Promote { ordinal, to, .. } if behind => {
            let partition = database.partition_mut(*ordinal);
            if let Some(copy) = partition.and_then(|partition| partition.copies.get_mut(to)) {
                copy.following = Following::Sync;
            }
        }
        _ => {}
    }
    change
}
