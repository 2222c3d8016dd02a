//! Shipping: from memory, else from the arena, else pages; and what replicas acknowledge. To a
//! replica that is slow a position is kept, not what it lacks.

use resprout_wal::Lsn;

use super::member::StreamPhase;
use super::{Master, Standing};
use crate::{Ack, Alarm, Frame, Instance, Message, Read};

/// Where frames can be had.
enum Source {
    Memory(Vec<Frame>),
    Arena(Read),
    Pages,
    Nowhere,
}

impl Master {
    /// Sends to every replica what it lacks and may get.
    pub(super) fn pump_all(&mut self) {
        for replica in self.members.keys().copied().collect::<Vec<_>>() {
            self.pump(replica);
        }
    }

    fn pump(&mut self, replica: Instance) {
        loop {
            match self.source(replica) {
                Source::Memory(frames) => self.ship(replica, frames),
                Source::Arena(read) => {
                    self.mark("read from the arena");
                    if let Some(stream) = self.stream_mut(replica) {
                        stream.reading = true;
                    }
                    self.out.reads.push(read);
                    return;
                }
                Source::Pages => {
                    self.mark("behind what is kept");
                    self.provide(replica);
                    return;
                }
                Source::Nowhere => return,
            }
        }
    }

    fn source(&self, replica: Instance) -> Source {
        let Some(stream) = self.members.get(&replica).and_then(|member| member.stream.as_ref())
        else {
            return Source::Nowhere;
        };
        let limit = stream.limit(&self.config);
        let ready = stream.phase == StreamPhase::Streaming && !stream.reading;
        if !ready || stream.next >= self.tail.end() || stream.next >= limit {
            return Source::Nowhere;
        }
        let mut bytes_max = self.config.limits.batch_bytes_max.min(limit.since(stream.next));
        if self.is_paced(replica) {
            if stream.allowance == 0 {
                return Source::Nowhere;
            }
            bytes_max = bytes_max.min(stream.allowance);
        }
        if let Some(frames) = self.recent.batch(stream.next, bytes_max) {
            return Source::Memory(frames);
        }
        if stream.next < self.first {
            return Source::Pages;
        }
        let (from, until) = (stream.next, self.tail.end());
        Source::Arena(Read { replica, stream: stream.id, from, until, bytes_max })
    }

    fn ship(&mut self, replica: Instance, frames: Vec<Frame>) {
        let (committed, is_paced) = (self.committed, self.is_paced(replica));
        let Some(stream) = self.stream_mut(replica) else { return };
        let Some(last) = frames.last() else { return };
        let next = last.header.end();
        if is_paced {
            // One frame always goes, however long it is.
            stream.allowance = stream.allowance.saturating_sub(next.since(stream.next));
        }
        stream.next = next;
        stream.told = committed;
        let id = stream.id;
        self.send(replica, id, Message::Frames { frames, committed });
    }

    /// Frames from the arena. They are checked here as if they had come from a peer: what the medium
    /// spoiled goes no further (row D26).
    pub(super) fn take_read(&mut self, read: &Read, frames: Option<Vec<Frame>>) {
        let Some(stream) = self.stream_mut(read.replica) else { return };
        if stream.id != read.stream || !stream.reading {
            return;
        }
        stream.reading = false;
        if stream.next != read.from || stream.phase != StreamPhase::Streaming {
            return;
        }
        let Some(mut frames) = frames else {
            self.mark("the arena does not have it any more");
            self.provide(read.replica);
            return;
        };
        let mut next = read.from;
        let good = frames.iter().take_while(|frame| {
            let follows = frame.header.lsn == next && frame.check().is_ok();
            next = frame.header.end();
            follows
        });
        let good = good.count();
        frames.truncate(good);
        self.ship(read.replica, frames);
    }

    pub(super) fn take_ack(&mut self, replica: Instance, ack: &Ack) {
        let ordered = ack.durable <= ack.received && ack.received <= ack.end;
        if !ordered || ack.end > self.tail.end() || ack.echo > self.now {
            self.out.alarms.push(Alarm::Unsound(replica));
            return;
        }
        let now = self.now;
        let Some(member) = self.members.get_mut(&replica) else { return };
        member.ever = member.ever.max(ack.received);
        let Some(stream) = &mut member.stream else { return };
        if stream.phase == StreamPhase::Providing && ack.echo > stream.provided {
            self.mark("it has not heard that pages are offered");
            self.provide(replica);
            return;
        }
        if stream.phase != StreamPhase::Streaming {
            return;
        }
        // Messages overtake each other; within a stream a log only grows.
        let before = stream.acked.unwrap_or_default();
        if ack.end > before.end || stream.acked.is_none() {
            stream.moved = now;
        }
        stream.acked = Some(Ack {
            end: before.end.max(ack.end),
            received: before.received.max(ack.received),
            durable: before.durable.max(ack.durable),
            applied: before.applied.max(ack.applied),
            credit: if ack.end >= before.end { ack.credit } else { before.credit },
            echo: before.echo.max(ack.echo),
        });
        stream.next = stream.next.max(ack.end);
        let received = ack.received;
        self.image_was_passed(replica, received);
        if matches!(self.standing(replica), Some(Standing::Async | Standing::Held { .. })) {
            self.admit(replica);
        }
    }

    /// What was sent and not acknowledged for long is sent again: it may be lost.
    pub(super) fn resend(&mut self) {
        let (now, timing) = (self.now, self.config.timing);
        let mut again = false;
        for member in self.members.values_mut() {
            let Some(stream) = &mut member.stream else { continue };
            let end = stream.acked.map_or(stream.hello.end, |ack| ack.end);
            let waits = stream.phase == StreamPhase::Streaming && stream.next > end;
            if waits && now.saturating_sub(stream.moved) >= timing.resend {
                (stream.next, stream.moved, stream.reading) = (end, now, false);
                again = true;
            }
            // A loss is noticed from the moment at which there is something to lose.
            if stream.next == end {
                stream.moved = now;
            }
        }
        if again {
            self.mark("sent again");
        }
    }

    fn standing(&self, replica: Instance) -> Option<Standing> {
        self.members.get(&replica).map(|member| member.standing)
    }

    /// Known committed.
    #[must_use]
    pub fn committed(&self) -> Lsn {
        self.committed
    }
}
