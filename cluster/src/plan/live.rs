//! What is known of a step that runs: how much of it is done, what it waits for, and for how long.

use super::Action;

/// A step that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// What it waits for.
    pub awaits: Awaited,
    /// Of a copy: how much of it there is; none before that is known.
    pub copied: Option<Copied>,
    /// What the copy does not have yet; none if that is not known.
    pub catch_up: Option<Left>,
    /// What it has and has not applied yet; none if that is not known.
    pub replay: Option<Left>,
}

/// How much of a copy there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes that have come: pages of an image, and log.
    pub bytes: u64,
    /// Bytes in all, as far as is known now: they grow while others write.
    pub total_bytes: u64,
    /// Bytes that come in a second, recently; of a step that has ended, on average. 0 if not known.
    pub rate: u64,
}

/// Something that grows less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Bytes that are left.
    pub bytes: u64,
    /// By how many that shrinks in a second; 0 if not known.
    pub rate: u64,
}

impl Left {
    /// Nothing takes no time, whatever the rate.
    fn time_ms(self) -> Option<u64> {
        if self.bytes == 0 {
            return Some(0);
        }
        let rate = (self.rate > 0).then_some(self.rate)?;
        let exact = u128::from(self.bytes) * 1000 / u128::from(rate);
        Some(u64::try_from(exact).unwrap_or(u64::MAX))
    }
}

impl Live {
    /// What a step that runs will still take. A copy: until it has caught up. A promotion: until it has and
    /// has applied everything. None if there is no figure, or for any other step.
    #[must_use]
    pub fn remaining_ms(&self, action: Action) -> Option<u64> {
        let catch_up = self.catch_up.and_then(Left::time_ms);
        if action.is_copy() {
            catch_up
        } else if action.is_promotion() {
            Some(catch_up?.max(self.replay.and_then(Left::time_ms)?))
        } else {
            None
        }
    }
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Awaited {
    /// Steps of earlier phases.
    Phase,
    /// A leaf that it needs is being attached.
    Attach,
    /// Other steps of its phase, which keep its leaves busy; or a master of its partition.
    Turn,
    /// The metadata, which are to take its change.
    Record,
    /// The copy and its master are to find each other.
    #[default]
    Contact,
    /// Pages of an image.
    Pages,
    /// The image is whole, and is to take the place of what was there.
    Install,
    /// Log that the copy does not have.
    Log,
    /// The copy has everything; commits are to wait for it from now on.
    Commits,
    /// Transactions under way in a partition that is to stand still.
    Transactions,
    /// Files that are to be removed.
    Files,
}

impl Awaited {
    /// The text in the column `WAITING_FOR`.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Phase => "earlier phases",
            Self::Attach => "a leaf to be attached",
            Self::Turn => "its turn on its leaves",
            Self::Record => "the metadata",
            Self::Contact => "the copy and its master to find each other",
            Self::Pages => "pages",
            Self::Install => "the image to be in place",
            Self::Log => "log",
            Self::Commits => "commits to wait for the copy",
            Self::Transactions => "transactions under way",
            Self::Files => "files to be removed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a copy ends when it has caught up, a promotion when it has also applied; no figure or no rate, no
    /// answer.
    #[test]
    fn what_runs_says_how_long() {
        let left = |bytes, rate| Some(Left { bytes, rate });
        let live = Live { catch_up: left(500, 100), replay: left(900, 100), ..Live::default() };
        assert_eq!(live.remaining_ms(Action::Copy), Some(5000));
        assert_eq!(live.remaining_ms(Action::PromoteWithDrop), Some(9000));
        assert_eq!(live.remaining_ms(Action::Drop), None);
        let unknown = Live { catch_up: left(500, 0), ..live };
        assert_eq!(unknown.remaining_ms(Action::CopyForce), None);
        assert_eq!(unknown.remaining_ms(Action::Promote), None);
        assert_eq!(Live { replay: None, ..live }.remaining_ms(Action::Promote), None);
        assert_eq!(Live { catch_up: None, ..live }.remaining_ms(Action::Copy), None);
        assert_eq!(Live { catch_up: left(0, 0), ..live }.remaining_ms(Action::Copy), Some(0));
        let slow = Live { catch_up: left(u64::MAX, 1), ..live };
        assert_eq!(slow.remaining_ms(Action::Copy), Some(u64::MAX));
    }
}
