//! For the tests that prove the cores: bugs that they must find.

/// A bug that is not in the cores unless it is asked for. Each has been made by somebody; the
/// simulation must find every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the text of each says what it does")]
pub enum Planted {
    CountOldStreams,
    CountAnyIncarnation,
    StopWaitingUnasked,
    PublishBeforeWaiting,
    LeaveBeforeLaterVersion,
    AckBeforeDurable,
    CommitBeforeOwnDisk,
    ZombieAcknowledges,
    FenceWhenStored,
    ReportBeforeDrained,
    CutAtWatermark,
    KeepDivergedTail,
    VisibleBeforeCommitted,
    OnlineBeforeTermStart,
    ForgetTailOnPromotion,
    ChooseAnyCopy,
    ShowPartialGroups,
    InstallWithoutPages,
    ModeOfAnyRecord,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::CountOldStreams,
        Self::CountAnyIncarnation,
        Self::StopWaitingUnasked,
        Self::PublishBeforeWaiting,
        Self::LeaveBeforeLaterVersion,
        Self::AckBeforeDurable,
        Self::CommitBeforeOwnDisk,
        Self::ZombieAcknowledges,
        Self::FenceWhenStored,
        Self::ReportBeforeDrained,
        Self::CutAtWatermark,
        Self::KeepDivergedTail,
        Self::VisibleBeforeCommitted,
        Self::OnlineBeforeTermStart,
        Self::ForgetTailOnPromotion,
        Self::ChooseAnyCopy,
        Self::ShowPartialGroups,
        Self::InstallWithoutPages,
        Self::ModeOfAnyRecord,
    ];

    /// What it does.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::CountOldStreams => "counts progress of an earlier stream (R01, R02)",
            Self::CountAnyIncarnation => "counts a run that the record does not name (P06)",
            Self::StopWaitingUnasked => "stops waiting for a silent replica by itself (rule 6)",
            Self::PublishBeforeWaiting => "publishes a replica before it waits for it (R06)",
            Self::LeaveBeforeLaterVersion => "stops waiting while a publication is under way",
            Self::AckBeforeDurable => "says durable for what was only received",
            Self::CommitBeforeOwnDisk => "acknowledges before its own disk has it",
            Self::ZombieAcknowledges => "acknowledges after it was fenced (R12)",
            Self::FenceWhenStored => {
                "fences when the promise is stored, not when it is heard (R12)"
            }
            Self::ReportBeforeDrained => {
                "reports a position that is still on its way to disk (R13)"
            }
            Self::CutAtWatermark => "cuts at what it knows committed instead of by history (R10)",
            Self::KeepDivergedTail => "keeps its own tail where the master's log differs (R09)",
            Self::VisibleBeforeCommitted => "shows writes that may not be acknowledged yet (R08)",
            Self::OnlineBeforeTermStart => "is writable before its term has begun (R14)",
            Self::ForgetTailOnPromotion => "drops an unacknowledged tail when promoted (rule 10)",
            Self::ChooseAnyCopy => "promotes the copy with the longest log, whoever it is (rule 8)",
            Self::ShowPartialGroups => "shows parts of a group",
            Self::InstallWithoutPages => "puts an image in place before it has all pages",
            Self::ModeOfAnyRecord => {
                "stops waiting by a record that a later one has replaced (rule 6)"
            }
        }
    }
}
