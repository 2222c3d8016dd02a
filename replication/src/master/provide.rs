//! Images for copies that cannot go on from the log: a held root, its digests, and the pages that a
//! copy lacks, at a bounded rate. While a copy fetches, root and log behind it are kept, so that it
//! is never sent back to the beginning (row R17); a copy that says nothing gives that up (row D35).

use bytes::Bytes;
use resprout_wal::Lsn;

use super::Master;
use super::member::{Hold, StreamPhase};
use crate::{Alarm, ImageHead, Instance, Message, PageWork, Start};

impl Master {
    /// Offers a copy the image that is held for it, or has one made.
    pub(super) fn provide(&mut self, replica: Instance) {
        let may = self.may_provide();
        self.drop_older_image(replica);
        let now = self.now;
        let Some(member) = self.members.get_mut(&replica) else { return };
        let Some(stream) = &mut member.stream else { return };
        stream.phase = StreamPhase::Providing;
        stream.provided = now;
        let (id, reached) = (stream.id, stream.reached());
        if let Some(hold) = &mut member.hold {
            hold.used = now;
            hold.forget_wanted();
            if let Some(head) = hold.head.clone() {
                self.send(replica, id, Message::Welcome(Start::Provision(head)));
            }
        } else if may {
            // Without a log it has no rows.
            let plain = reached == Lsn::ZERO;
            member.hold = Some(Hold::new(now));
            self.mark("a root is held for a replica");
            self.out.pages.push(PageWork::Hold { replica, plain });
        } else {
            // It will ask again.
            member.stream = None;
        }
    }

    /// An image that a copy has passed meanwhile is of no use to it.
    fn drop_older_image(&mut self, replica: Instance) {
        let Some(member) = self.members.get(&replica) else { return };
        let Some(stream) = &member.stream else { return };
        let reached = stream.reached();
        let held = member.hold.as_ref().and_then(|hold| hold.head.as_ref());
        if held.is_some_and(|head| head.lsn < reached.min(self.committed)) {
            self.release(replica);
        }
    }

    pub(super) fn take_image(&mut self, replica: Instance, head: ImageHead) {
        let pages_per_beat = u64::from(self.config.limits.pages_per_beat);
        let Some(hold) = self.members.get_mut(&replica).and_then(|member| member.hold.as_mut())
        else {
            self.out.pages.push(PageWork::Release { replica });
            return;
        };
        hold.allowance = head.pages_in(self.pace.bytes_per_beat).min(pages_per_beat);
        hold.head = Some(head);
        let phase = self.stream_mut(replica).map(|stream| stream.phase);
        if phase == Some(StreamPhase::Providing) {
            self.provide(replica);
        }
    }

    /// The copy for which an image is held, and whether these pages are in it.
    fn hold_of(&mut self, replica: Instance, image: u64, last: u64) -> Option<&mut Hold> {
        let now = self.now;
        let hold = self.members.get_mut(&replica)?.hold.as_mut()?;
        let head = hold.head.as_ref()?;
        let is_held = head.id == image && last < head.pages;
        hold.used = now;
        is_held.then_some(hold)
    }

    pub(super) fn read_digests(&mut self, replica: Instance, image: u64, from: u64, count: u32) {
        let count = count.min(self.config.limits.digests_max);
        let last = from.saturating_add(u64::from(count)).saturating_sub(1);
        if count == 0 || self.hold_of(replica, image, last).is_none() {
            self.out.alarms.push(Alarm::Unsound(replica));
            return;
        }
        self.out.pages.push(PageWork::Digests { image, from, count });
    }

    pub(super) fn send_digests(&mut self, image: u64, from: u64, digests: Vec<u64>) {
        if let Some((replica, stream)) = self.stream_of_image(image) {
            self.send(replica, stream, Message::Digests { image, from, digests });
        }
    }

    /// A copy wants pages: now, or when the rate allows.
    pub(super) fn want(&mut self, replica: Instance, image: u64, pages: Vec<u64>) {
        let grow = pages.windows(2).all(|pair| pair[0] < pair[1]);
        let pages_max = self.config.limits.pages_max as usize;
        let few = pages.len() <= pages_max;
        let last = pages.last().copied().unwrap_or(u64::MAX);
        let Some(hold) = self.hold_of(replica, image, last).filter(|_| grow && few) else {
            self.out.alarms.push(Alarm::Unsound(replica));
            return;
        };
        let last = hold.wanted.back().or(hold.reading.last());
        let goes_on = last.is_some_and(|last| pages.first().is_some_and(|first| last < first));
        let waits = hold.wanted.len() + hold.reading.len() + pages.len();
        if !goes_on || waits > pages_max {
            // It asks again: what it asked for before counts no more.
            hold.forget_wanted();
        }
        hold.wanted.extend(pages);
        self.read_pages(replica);
    }

    /// One read at a time: what is read travels while the next is read.
    fn read_pages(&mut self, replica: Instance) {
        let Some(hold) = self.members.get_mut(&replica).and_then(|member| member.hold.as_mut())
        else {
            return;
        };
        let Some(image) = hold.head.as_ref().map(|head| head.id) else { return };
        let now = hold.wanted.len().min(usize::try_from(hold.allowance).unwrap_or(usize::MAX));
        if now == 0 || !hold.reading.is_empty() {
            return;
        }
        hold.allowance -= now as u64;
        hold.reading.extend(hold.wanted.drain(..now));
        let pages = hold.reading.clone();
        self.out.pages.push(PageWork::Read { image, pages });
    }

    pub(super) fn send_pages(&mut self, image: u64, pages: Vec<(u64, Bytes)>) {
        let Some((replica, stream)) = self.stream_of_image(image) else { return };
        if let Some(hold) = self.members.get_mut(&replica).and_then(|member| member.hold.as_mut()) {
            hold.was_read(pages.last().map(|(page, _)| *page));
        }
        self.send(replica, stream, Message::Pages { image, pages });
        self.read_pages(replica);
    }

    fn stream_of_image(&self, image: u64) -> Option<(Instance, crate::StreamId)> {
        self.members.iter().find_map(|(instance, member)| {
            let head = member.hold.as_ref()?.head.as_ref()?;
            let stream = member.stream.as_ref()?;
            let provides = stream.phase == StreamPhase::Providing && head.id == image;
            provides.then_some((*instance, stream.id))
        })
    }

    /// Once in a beat: pages that had to wait, and images that nobody asks for any more.
    pub(super) fn provide_more(&mut self) {
        let (now, config, rate) = (self.now, self.config, self.pace.bytes_per_beat);
        let most = u64::from(config.limits.pages_per_beat);
        for replica in self.members.keys().copied().collect::<Vec<_>>() {
            let Some(hold) = self.members.get_mut(&replica).and_then(|member| member.hold.as_mut())
            else {
                continue;
            };
            hold.allowance = hold.head.as_ref().map_or(0, |head| head.pages_in(rate).min(most));
            let unused = now.saturating_sub(hold.used);
            if unused > config.timing.hold {
                self.mark("an image that nobody fetches is given up");
                self.release(replica);
            } else {
                self.read_pages(replica);
            }
        }
    }

    /// A copy that has its image needs the log behind it until it has caught up: else it would fall
    /// behind what is kept, and begin anew for ever (row R17).
    pub(super) fn image_was_passed(&mut self, replica: Instance, received: Lsn) {
        let lag = self.tail.whole().since(received);
        let (now, near) = (self.now, lag <= self.config.limits.admit_lag_bytes);
        let Some(hold) = self.members.get_mut(&replica).and_then(|member| member.hold.as_mut())
        else {
            return;
        };
        hold.used = now;
        if near && hold.head.as_ref().is_some_and(|head| received >= head.lsn) {
            self.release(replica);
        }
    }

    /// The log from here on must be kept: copies that are waited for need it (row D35). Images keep
    /// the log behind them beside that.
    #[must_use]
    pub fn needed_from(&self) -> Lsn {
        let waited = self.members.values().filter(|member| member.is_waited_for(&self.config));
        let acked = waited.map(|member| {
            let ack = member.stream.as_ref().and_then(|stream| stream.acked);
            ack.map_or(self.first, |ack| ack.received)
        });
        acked.fold(self.committed, Lsn::min)
    }

    pub(super) fn release(&mut self, replica: Instance) {
        let held = self.members.get_mut(&replica).and_then(|member| member.hold.take());
        if held.is_some() {
            self.out.pages.push(PageWork::Release { replica });
        }
    }
}
