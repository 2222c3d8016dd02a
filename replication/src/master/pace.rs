//! How fast copies that lack much catch up: clients of the node come first.
//!
//! ```text
//!   between two beats:  pages of an image   bytes_per_beat
//!                       log                 bytes_per_beat + what the log has grown by
//! ```
//!
//! So a copy always gains on its master, however much is written. One that lacks little, or is waited for, gets what
//! there is at once: commits may depend on it.

use resprout_wal::Lsn;

use super::member::StreamPhase;
use super::{Master, Standing};
use crate::Instance;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// To each copy between two beats, as it was told last.
    pub(super) bytes_per_beat: u64,
    /// Where the log ended at the last beat.
    end: Lsn,
}

impl Pace {
    pub(super) fn new(end: Lsn) -> Self {
        Self { bytes_per_beat: u64::MAX, end }
    }
}

impl Master {
    /// What is left of the present beat is bounded by it too.
    pub(super) fn set_catch_up_rate(&mut self, bytes_per_beat: u64) {
        // At any rate it goes on.
        let bytes_per_beat = bytes_per_beat.max(1);
        self.pace.bytes_per_beat = bytes_per_beat;
        for member in self.members.values_mut() {
            if let Some(hold) = &mut member.hold {
                let pages = hold.head.as_ref().map_or(0, |head| head.pages_in(bytes_per_beat));
                hold.allowance = hold.allowance.min(pages);
            }
            if let Some(stream) = &mut member.stream {
                stream.allowance = stream.allowance.min(bytes_per_beat);
            }
        }
    }

    /// Once in a beat: what copies may get of the log until the next.
    pub(super) fn allow_more(&mut self) {
        let grown = self.tail.end().since(self.pace.end);
        let allowance = self.pace.bytes_per_beat.saturating_add(grown);
        self.pace.end = self.tail.end();
        for stream in self.members.values_mut().filter_map(|member| member.stream.as_mut()) {
            stream.allowance = allowance;
        }
    }

    /// Whether a copy gets the log at the rate that is told: it lacks much, and nobody waits for it.
    pub(super) fn is_paced(&self, replica: Instance) -> bool {
        let Some(member) = self.members.get(&replica) else { return false };
        let Some(stream) = member.stream.as_ref() else { return false };
        let lacks = self.tail.end().since(stream.next);
        member.standing == Standing::Async && lacks > self.config.limits.admit_lag_bytes
    }

    /// How many copies catch up, from the log or with pages.
    #[must_use]
    pub fn catching_up(&self) -> usize {
        let is = |(replica, phase)| match phase {
            StreamPhase::Providing => true,
            StreamPhase::Streaming => self.is_paced(replica),
            StreamPhase::Locating(_) | StreamPhase::Truncating => false,
        };
        let streams = self.members.iter();
        let streams =
            streams.filter_map(|(replica, member)| Some((*replica, member.stream.as_ref()?.phase)));
        streams.filter(|one| is(*one)).count()
    }
}
