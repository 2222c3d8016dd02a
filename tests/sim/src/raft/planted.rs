//! The bugs that the simulation must find, and within how many seeds it does.

use resprout_consensus::testing::Planted;

/// Each bug and the number of seeds, from 0, within which it is found.
pub const FOUND_WITHIN: [(Planted, u64); 18] = [
    (Planted::VoteBeforeFlush, 100),
    (Planted::AckBeforeFlush, 100),
    (Planted::CountOldTerm, 100),
    (Planted::ChangeBeforeOwnTerm, 100),
    (Planted::TwoChangesAtOnce, 100),
    (Planted::VoteTwice, 100),
    (Planted::VoteForShorterLog, 100),
    (Planted::LeaseAfterSuspension, 100),
    (Planted::LeaseAfterTransfer, 100),
    (Planted::ReadWithoutRound, 100),
    (Planted::ReadBeforeOwnTerm, 100),
    (Planted::SkipPreviousCheck, 100),
    (Planted::KeepConflict, 100),
    (Planted::CommitBeyondMatch, 100),
    (Planted::CountLearners, 100),
    (Planted::CountSelfBeforeFlush, 100),
    (Planted::InstallBeforeDurable, 100),
    (Planted::ForgetMembershipOnCut, 100),
];
