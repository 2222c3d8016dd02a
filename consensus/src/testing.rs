//! For the tests that prove the core: bugs that they must find.

/// A bug that is not in the core unless it is asked for. Each has been made by somebody; the
/// simulation must find every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the text of each says what it does")]
pub enum Planted {
    VoteBeforeFlush,
    AckBeforeFlush,
    CountOldTerm,
    ChangeBeforeOwnTerm,
    TwoChangesAtOnce,
    VoteTwice,
    VoteForShorterLog,
    LeaseAfterSuspension,
    LeaseAfterTransfer,
    ReadWithoutRound,
    ReadBeforeOwnTerm,
    SkipPreviousCheck,
    KeepConflict,
    CommitBeyondMatch,
    CountLearners,
    CountSelfBeforeFlush,
    InstallBeforeDurable,
    ForgetMembershipOnCut,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::VoteBeforeFlush,
        Self::AckBeforeFlush,
        Self::CountOldTerm,
        Self::ChangeBeforeOwnTerm,
        Self::TwoChangesAtOnce,
        Self::VoteTwice,
        Self::VoteForShorterLog,
        Self::LeaseAfterSuspension,
        Self::LeaseAfterTransfer,
        Self::ReadWithoutRound,
        Self::ReadBeforeOwnTerm,
        Self::SkipPreviousCheck,
        Self::KeepConflict,
        Self::CommitBeyondMatch,
        Self::CountLearners,
        Self::CountSelfBeforeFlush,
        Self::InstallBeforeDurable,
        Self::ForgetMembershipOnCut,
    ];

    /// What it does.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::VoteBeforeFlush => "answers a vote before term and vote are durable",
            Self::AckBeforeFlush => "acknowledges entries before they are durable",
            Self::CountOldTerm => "commits an entry of an old term by counting (figure 8)",
            Self::ChangeBeforeOwnTerm => "changes members before an own-term entry is committed",
            Self::TwoChangesAtOnce => "begins a change while another is not committed",
            Self::VoteTwice => "votes for whoever asks, also twice in a term",
            Self::VoteForShorterLog => "votes for a candidate whose log lacks entries",
            Self::LeaseAfterSuspension => "measures its lease on a clock that stands still",
            Self::LeaseAfterTransfer => "trusts its lease although it gave leadership away",
            Self::ReadWithoutRound => "reads without asking whether it still leads",
            Self::ReadBeforeOwnTerm => "reads before an entry of its term is committed",
            Self::SkipPreviousCheck => "takes entries without the one before them",
            Self::KeepConflict => "keeps its own entries where the leader's differ",
            Self::CommitBeyondMatch => "takes the leader's commit mark beyond what matches",
            Self::CountLearners => "counts learners for commits",
            Self::CountSelfBeforeFlush => "counts its own log before it is durable",
            Self::InstallBeforeDurable => "acknowledges a snapshot before it is durable",
            Self::ForgetMembershipOnCut => "keeps members that a cut has taken back",
        }
    }
}
