//! For the tests that prove the cores: bugs that they must find.

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
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DecideOutOfOffice,
        Self::PublishAnyVersion,
        Self::ElectAnyCopy,
        Self::ElectUnfenced,
        Self::ResumeUnclean,
        Self::TrustRestarted,
        Self::KeepSynchronous,
    ];

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
        }
    }
}
