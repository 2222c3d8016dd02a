//! Frames in, acknowledgements out.

use std::time::Duration;

use resprout_wal::Lsn;

use super::{Phase, Replica};
use crate::{Ack, Alarm, Frame, Leave, Message, Write};

impl Replica {
    /// Frames. Those that are here are passed over; behind a gap nothing is taken.
    pub(super) fn take_frames(&mut self, frames: Vec<Frame>, committed: Lsn) {
        if !matches!(self.phase, Phase::Streaming(_)) || self.closed {
            return;
        }
        let mut taken = Vec::new();
        let (mut gap, mut misfit) = (false, false);
        for frame in frames {
            let header = &frame.header;
            if header.end() <= self.tail.end() {
                continue;
            }
            if header.lsn > self.tail.end() {
                gap = true;
                break;
            }
            if self.is_window_full() {
                break;
            }
            if planted!(self.config, KeepDivergedTail) {
                self.adopt_chain(header.chain);
            }
            if header.term > self.promised.term || self.tail.take(header).is_err() {
                misfit = true;
                break;
            }
            self.committed = self.committed.max(header.committed);
            taken.push(frame);
        }
        self.committed = self.committed.max(committed);
        let has_news = !taken.is_empty();
        if has_news {
            self.out.writes.push(Write::Append(taken));
        }
        if misfit {
            self.misfit();
        } else if has_news || gap {
            if gap {
                self.mark("a gap: something was lost or is late");
            }
            self.acknowledge();
        }
    }

    /// A frame at this copy's end that does not continue it: the streams' beginning was wrong.
    fn misfit(&mut self) {
        self.mark("a frame that does not fit");
        let master = self.master().unwrap_or_default();
        self.out.alarms.push(Alarm::Differs { replica: master, at: self.tail.end() });
        self.greet();
    }

    #[cfg(any(test, feature = "testing"))]
    fn adopt_chain(&mut self, chain: u64) {
        self.tail.adopt_chain(chain);
    }

    #[cfg(not(any(test, feature = "testing")))]
    fn adopt_chain(&mut self, _chain: u64) {
        let _unchanged = &self.tail;
    }

    /// Whether no more can be taken before the disk has some of it.
    fn is_window_full(&self) -> bool {
        self.credit() == 0
    }

    fn credit(&self) -> u64 {
        self.config.limits.window_bytes.saturating_sub(self.tail.pending_bytes())
    }

    pub(super) fn take_beat(&mut self, sent: Duration, committed: Lsn) {
        if !matches!(self.phase, Phase::Streaming(_)) {
            return;
        }
        self.echo = self.echo.max(sent);
        self.committed = self.committed.max(committed);
        self.acknowledge();
    }

    /// Says how far this copy is. Positions that promise durability are those that the log has
    /// confirmed.
    pub(super) fn acknowledge(&mut self) {
        let received = self.tail.whole();
        let mut durable = self.tail.durable();
        if planted!(self.config, AckBeforeDurable) {
            durable = received;
        }
        let ack = Ack {
            end: self.tail.end(),
            received,
            durable,
            applied: self.applied.min(self.visible),
            credit: if self.closed { 0 } else { self.credit() },
            echo: self.echo,
        };
        self.send_to_master(Message::Ack(ack));
    }

    pub(super) fn flushed(&mut self, lsn: Lsn) {
        if self.cutting.is_some() {
            // Of what is being cut off.
            return;
        }
        let (before, was_full) = (self.tail.durable(), self.is_window_full());
        self.tail.flushed(lsn);
        let news = self.tail.durable() > before || was_full;
        if news && matches!(self.phase, Phase::Streaming(_)) {
            self.acknowledge();
        }
    }

    /// The device is full, or the node stops: this copy asks not to be waited for (rows D22, P08).
    pub(super) fn leave(&mut self, why: Leave) {
        self.mark("takes nothing more");
        self.closed = true;
        self.send_to_master(Message::Leave(why));
        if !matches!(self.phase, Phase::Cutting | Phase::Installing) {
            self.phase = Phase::Pending;
        }
    }

    pub(super) fn space_back(&mut self) {
        self.closed = false;
        if self.phase == Phase::Pending && !self.to_act && self.master().is_some() {
            self.greet();
        }
    }
}
