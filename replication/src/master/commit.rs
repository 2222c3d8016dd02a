//! When a commit is acknowledged, and for how long reads may be served (catalogue rules 4 and 12).

use std::time::Duration;

use resprout_wal::Lsn;

use super::{Master, Phase, Standing};
use crate::{Message, Mode};

impl Master {
    /// Moves the committed position to the least of what the mode demands. Nothing is committed
    /// before the record that starts the term is in the log: a tail that nobody acknowledged may have
    /// been acknowledged, and is kept and committed with it (rule 10).
    pub(super) fn commit(&mut self) {
        let start = match self.phase {
            Phase::Starting { start: Some(start), .. } => Some(start),
            Phase::Online => None,
            _ => return,
        };
        let least = self.acknowledgeable();
        if least > self.committed {
            self.committed = least;
            self.out.committed = Some(least);
        }
        if planted!(self.config, VisibleBeforeCommitted) && self.tail.whole() > self.committed {
            self.out.committed = Some(self.tail.whole());
        }
        let begun = start.is_some_and(|start| self.committed >= start);
        if begun || start.is_some() && planted!(self.config, OnlineBeforeTermStart) {
            self.mark("the term has begun");
            self.phase = Phase::Online;
        }
        if self.out.committed.is_some() {
            self.tell_committed();
        }
    }

    /// Up to where everybody whose word is needed has the log.
    fn acknowledgeable(&self) -> Lsn {
        let by_disk =
            self.config.mode == Mode::Durable && !planted!(self.config, CommitBeforeOwnDisk);
        let own = if by_disk { self.tail.durable() } else { self.tail.whole() };
        if !self.config.mode.is_sync() {
            return own;
        }
        let waited = self.members.values().filter(|member| member.is_waited_for(&self.config));
        waited.map(|member| member.position(&self.config)).fold(own, Lsn::min)
    }

    /// Tells those that nothing else will tell soon.
    fn tell_committed(&mut self) {
        let (end, committed) = (self.tail.end(), self.committed);
        let streaming = self.members.iter_mut().filter_map(|(instance, member)| {
            let stream = member.stream.as_mut()?;
            let caught_up = stream.next == end && stream.told < committed;
            caught_up.then(|| {
                stream.told = committed;
                (*instance, stream.id)
            })
        });
        for (to, stream) in streaming.collect::<Vec<_>>() {
            self.send(to, stream, Message::Frames { frames: Vec::new(), committed });
        }
    }

    /// Until when reads may be served, on the clock of [`Master::step`]: nobody that a record may let
    /// be promoted has been fenced before that. `None` if it is not online. Checked again when the
    /// result is there.
    #[must_use]
    pub fn lease(&self) -> Option<Duration> {
        if self.phase != Phase::Online {
            return None;
        }
        // Whoever is to be published may be in the record already: the answer can be lost.
        let promotable = self.members.values().filter(|member| {
            let published = !matches!(member.standing, Standing::Async | Standing::Held { .. });
            self.config.mode.is_sync() && published
        });
        let granted = promotable.map(|member| {
            member.echo().map_or(Duration::ZERO, |echo| echo + self.config.timing.lease)
        });
        Some(granted.min().unwrap_or(Duration::MAX))
    }
}
