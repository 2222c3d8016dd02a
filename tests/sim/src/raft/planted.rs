//! The bugs that the simulation must find, and within how many seeds it does.

use resprout_consensus::testing::Planted;

/// Each bug and the number of seeds, from 0, within which it is found.
pub const FOUND_WITHIN: [(Planted, u64); 18] = [
    (Planted::VoteBeforeFlush, 10),
    (Planted::AckBeforeFlush, 10),
    (Planted::CountOldTerm, 10),
    (Planted::ChangeBeforeOwnTerm, 50),
    (Planted::TwoChangesAtOnce, 200),
    (Planted::VoteTwice, 100),
    (Planted::VoteForShorterLog, 20),
    (Planted::LeaseAfterSuspension, 1500),
    (Planted::LeaseAfterTransfer, 2000),
    (Planted::ReadWithoutRound, 600),
    (Planted::ReadBeforeOwnTerm, 50),
    (Planted::SkipPreviousCheck, 10),
    (Planted::KeepConflict, 100),
    (Planted::CommitBeyondMatch, 100),
    (Planted::CountLearners, 10),
    (Planted::CountSelfBeforeFlush, 10),
    (Planted::InstallBeforeDurable, 50),
    (Planted::ForgetMembershipOnCut, 400),
];
