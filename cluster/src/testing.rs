//! For the tests that prove the cores: bugs that they must find.

/// A bug that is not in the cores unless it is asked for. The simulation must find every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the text of each says what it does")]
pub enum Planted {
    DecideOutOfOffice,
    ElectAnyCopy,
    ResumeUnclean,
    TrustRestarted,
    DemoteUnasked,
    ElectUnfenced,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::DecideOutOfOffice,
        Self::ElectAnyCopy,
        Self::ResumeUnclean,
        Self::TrustRestarted,
        Self::DemoteUnasked,
        Self::ElectUnfenced,
    ];

    /// What it does.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::DecideOutOfOffice => "takes decisions of an earlier office (rule 3)",
            Self::ElectAnyCopy => "makes a copy master that the record does not allow (rule 8)",
            Self::ResumeUnclean => "lets a master go on in its term after a crash (rule 14)",
            Self::TrustRestarted => "keeps a copy synchronous after a crash (rule 15)",
            Self::DemoteUnasked => "",
            Self::ElectUnfenced => "chooses by positions from before the fencing (rule 9)",
        }
    }
}
