//! An image in place of the log: only pages that this copy does not have travel.
//!
//! ```text
//!   AskDigests ─► Digests ─► Compare ─► Differ ─► Want ─► Pages ─► Store ─► … ─► Install
//!   plain:                   Compare ─► …
//! ```
//!
//! Pages are asked for ahead of those that come and those that the disk takes, so many together: so what waits is
//! bounded, and neither side waits for the other. Digests are asked for when nothing is being stored. Pages are stored beside what this
//! copy is, which stays until the image is durable and whole (row D32). What was fetched is found
//! again by its digest: after a lost connection, a restart, or another image.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use resprout_wal::Lsn;

use super::{Phase, Replica};
use crate::{Alarm, Halt, ImageHead, Incarnation, Message, Mode, PageWork, StreamId, Tail};

/// How much of an image a copy has: of the one that it fetches, or of the last that it was replaced by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageProgress {
    /// The image's position: the log goes on from there.
    pub lsn: Lsn,
    /// What its pages are together, in bytes.
    pub bytes: u64,
    /// Of these, the share of the pages that are settled.
    pub done_bytes: u64,
}

/// An image that is being fetched.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    /// Not offered yet, if `None`.
    head: Option<ImageHead>,
    /// Pages before this were compared.
    compared: u64,
    /// Of these, those that are not here.
    missing: BTreeSet<u64>,
    /// Those before this were asked for, and come.
    asked_to: u64,
    /// When the master was asked, or answered last; `None` while nothing is expected of it.
    asked: Option<Duration>,
    /// How many pages the answers have that are on their way to this copy's own disk.
    storing: VecDeque<usize>,
}

impl Fetch {
    fn of(head: Option<ImageHead>) -> Self {
        let (missing, storing) = (BTreeSet::new(), VecDeque::new());
        Self { head, compared: 0, missing, asked_to: 0, asked: None, storing }
    }

    /// The pages that may be asked for beside what is under way: when that is half of what may be, or less.
    fn ask(&mut self, most: usize) -> Vec<u64> {
        let coming = self.missing.range(..self.asked_to).count();
        let room = most.saturating_sub(coming + self.storing.iter().sum::<usize>());
        if room < most.div_ceil(2) {
            return Vec::new();
        }
        let pages: Vec<u64> = self.missing.range(self.asked_to..).take(room).copied().collect();
        self.asked_to = pages.last().map_or(self.asked_to, |last| last + 1);
        pages
    }

    /// Pages that are settled, of how many.
    pub(super) fn progress(&self) -> (u64, u64) {
        let total = self.head.as_ref().map_or(0, |head| head.pages);
        (self.compared - self.missing.len() as u64, total)
    }

    /// The same in bytes, once it is offered.
    fn in_bytes(&self) -> Option<ImageProgress> {
        let head = self.head.as_ref()?;
        let (done, total) = self.progress();
        let share = u128::from(head.bytes) * u128::from(done) / u128::from(total.max(1));
        let done_bytes = u64::try_from(share).unwrap_or(head.bytes);
        Some(ImageProgress { lsn: head.lsn, bytes: head.bytes, done_bytes })
    }

    fn is_of(&self, image: u64) -> bool {
        self.head.as_ref().is_some_and(|head| head.id == image)
    }
}

impl Replica {
    /// The image that it fetches, or, in this mastership of another, was replaced by last.
    #[must_use]
    pub fn image(&self) -> Option<ImageProgress> {
        self.fetch.as_ref().and_then(Fetch::in_bytes).or(self.replaced_by)
    }

    /// The log does not help: the next hello asks for an image.
    pub(super) fn want_image(&mut self) {
        self.fetch = Some(Fetch::of(None));
        self.greet();
    }

    /// An image is offered: the one that is being fetched, or another.
    pub(super) fn offered(&mut self, head: ImageHead) {
        let acknowledged = self.committed.min(self.tail.whole());
        if head.pages > self.config.limits.image_pages_max {
            let master = self.master().unwrap_or_default();
            self.out.alarms.push(Alarm::Unsound(master));
            return;
        }
        if head.lsn <= self.tail.whole() && matches!(self.phase, Phase::Streaming(_)) {
            // Frames have overtaken the offer.
            self.mark("an image that is behind this copy");
            self.greet();
            return;
        }
        if head.lsn < acknowledged && self.config.mode != Mode::Local {
            self.halt(Halt::CutBelowAcknowledged { to: head.lsn, acknowledged });
            return;
        }
        self.phase = Phase::Fetching(self.now);
        let same = self.fetch.as_ref().is_some_and(|fetch| fetch.head.as_ref() == Some(&head));
        if same {
            self.mark("goes on fetching");
            self.ask_again();
        } else {
            self.fetch = Some(Fetch::of(Some(head)));
        }
        self.fetch_next();
    }

    /// Asks for what comes next; or everything is here.
    fn fetch_next(&mut self) {
        let (now, limits) = (self.now, self.config.limits);
        let Some(fetch) = &mut self.fetch else { return };
        let Some(head) = fetch.head.clone() else { return };
        let image = head.id;
        if fetch.missing.is_empty() && !fetch.storing.is_empty() {
            fetch.asked = None;
        } else if !fetch.missing.is_empty() {
            let pages = fetch.ask(limits.pages_max as usize);
            if !pages.is_empty() {
                fetch.asked = Some(now);
                self.send_to_master(Message::Want { image, pages });
            }
        } else if fetch.compared < head.pages && head.plain {
            fetch.asked = None;
            let (from, digests) = (fetch.compared, Vec::new());
            self.out.pages.push(PageWork::Compare { head, from, digests });
        } else if fetch.compared < head.pages {
            let from = fetch.compared;
            let count = u64::from(limits.digests_max).min(head.pages - from);
            let count = u32::try_from(count).expect("no more than the limit");
            fetch.asked = Some(now);
            self.send_to_master(Message::AskDigests { image, from, count });
        } else {
            fetch.asked = None;
            self.phase = Phase::Installing;
            self.mark("the image is whole");
            self.out.pages.push(PageWork::Install(head));
        }
    }

    /// A question that was not answered is asked again.
    pub(super) fn fetch_again(&mut self) {
        let asked = self.fetch.as_ref().and_then(|fetch| fetch.asked);
        let late = asked.is_some_and(|at| self.now.saturating_sub(at) >= self.config.timing.retry);
        if late {
            self.ask_again();
            self.fetch_next();
        }
    }

    /// What was asked for does not come any more.
    fn ask_again(&mut self) {
        if let Some(fetch) = &mut self.fetch {
            fetch.asked_to = 0;
        }
    }

    pub(super) fn take_digests(&mut self, image: u64, from: u64, digests: Vec<u64>) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.is_of(image)) else { return };
        let pages = fetch.head.as_ref().map_or(0, |head| head.pages);
        let fits = from == fetch.compared && digests.len() as u64 <= pages - from;
        if fetch.asked.is_none() || !fetch.missing.is_empty() || !fits || digests.is_empty() {
            return;
        }
        let Some(head) = fetch.head.clone() else { return };
        fetch.asked = None;
        self.out.pages.push(PageWork::Compare { head, from, digests });
    }

    pub(super) fn compared(&mut self, image: u64, until: u64, pages: Vec<u64>) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.is_of(image)) else { return };
        fetch.compared = fetch.compared.max(until);
        fetch.missing.extend(pages);
        if matches!(self.phase, Phase::Fetching(_)) {
            self.fetch_next();
        }
    }

    pub(super) fn take_pages(&mut self, image: u64, pages: Vec<(u64, Bytes)>) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.is_of(image)) else { return };
        let wanted: Vec<(u64, Bytes)> =
            pages.into_iter().filter(|(page, _)| fetch.missing.remove(page)).collect();
        if wanted.is_empty() {
            return;
        }
        if planted!(self.config, InstallWithoutPages) {
            (fetch.missing, fetch.compared) = (BTreeSet::new(), u64::MAX);
        }
        let comes_more = fetch.missing.range(..fetch.asked_to).next().is_some();
        fetch.asked = comes_more.then_some(self.now);
        fetch.storing.push_back(wanted.len());
        self.out.pages.push(PageWork::Store { image, pages: wanted });
        if matches!(self.phase, Phase::Fetching(_)) {
            self.fetch_next();
        }
    }

    pub(super) fn pages_stored(&mut self, image: u64) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.is_of(image)) else { return };
        fetch.storing.pop_front();
        let waits = fetch.asked.is_none() || !fetch.missing.is_empty();
        if waits && matches!(self.phase, Phase::Fetching(_)) {
            self.fetch_next();
        }
    }

    /// The image is what this copy is now: another run of it, with the log from there on.
    pub(super) fn installed(&mut self, image: u64, incarnation: Incarnation) {
        let Some(head) = self.fetch.take().and_then(|fetch| fetch.head) else { return };
        assert_eq!(head.id, image, "the image that was whole");
        assert!(incarnation > self.identity.incarnation, "a provisioned copy is another run");
        self.mark("the image is in place");
        self.identity.incarnation = incarnation;
        self.newest_stream = StreamId { run: incarnation, number: 0 };
        let ImageHead { lsn, bytes, .. } = head;
        self.replaced_by = Some(ImageProgress { lsn, bytes, done_bytes: bytes });
        self.first = head.lsn;
        self.committed = self.committed.max(head.lsn);
        self.visible = head.lsn;
        self.out.committed = Some(head.lsn);
        self.tail = Tail::new(head.lsn, head.lineage);
        self.phase = Phase::Pending;
        if !self.to_act {
            self.greet();
        }
    }

    /// Something of it is not what it should be: the digests will tell what.
    pub(super) fn spoiled(&mut self, image: u64) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.is_of(image)) else { return };
        let head = fetch.head.take();
        // In the middle of fetching it begins anew when a question would be repeated: not again and again at once.
        *fetch = Fetch { asked: Some(self.now), ..Fetch::of(head) };
        self.mark("the image is spoiled");
        if self.phase == Phase::Installing {
            self.phase = Phase::Pending;
            if !self.to_act {
                self.greet();
            }
        }
    }
}
