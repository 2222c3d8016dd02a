//! One other copy, as its master sees it: how it stands, and how far its present stream is.
//!
//! ```text
//!              caught up            has everything since       record says sync
//!   Async ────────────────► Held ────────────────► Asked ────────────────► Sync
//!     ▲                      │                       │                       │
//!     ├──── falls out ───────┘                       ▼ falls out             │
//!     └──────────── record says async ◄────────── Leaving ◄──────────────────┘
//! ```
//!
//! In all states but *Async* commits wait for it. Once a publication was asked for, only a later
//! record ends that: the question may still be on its way (catalogue rules 5 to 7).

use std::collections::VecDeque;
use std::time::Duration;

use resprout_wal::Lsn;

use crate::{
    Ack, Cfg, Config, CopyRecord, CopyState, Hello, ImageHead, Incarnation, Mode, StreamId,
};

/// How a copy stands with its master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not waited for.
    Async,
    /// Waited for from a position on; the record does not know (`ready`).
    Held {
        /// The position.
        from: Lsn,
    },
    /// Waited for; the record was asked to say so at this version.
    Asked {
        /// The version.
        cfg: Cfg,
    },
    /// Waited for, and may be promoted.
    Sync,
    /// Waited for until the record says that it is asynchronous.
    Leaving,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) standing: Standing,
    /// The run whose acknowledgements count, where they do not follow a flush (rule 15).
    pub(super) counted: Incarnation,
    /// When the authority was asked last, since the record changed.
    pub(super) asked: Option<Duration>,
    /// When anything of its stream was heard.
    pub(super) heard: Duration,
    /// It is to reach this position; since when.
    pub(super) behind: Option<(Lsn, Duration)>,
    /// Not waited for, and since when it lacks no more than `admit_lag_bytes`.
    pub(super) near: Option<Duration>,
    /// Waited for again not before, and how long the next time.
    pub(super) readmit: (Duration, Duration),
    /// Since when the record calls it synchronous.
    pub(super) sync_since: Option<Duration>,
    /// Newest stream of the copy, ended or not.
    pub(super) newest: StreamId,
    pub(super) stream: Option<Stream>,
    pub(super) hold: Option<Hold>,
    /// The farthest that any stream of it acknowledged: of no value (R01).
    pub(super) ever: Lsn,
}

/// The present stream of a copy.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) phase: StreamPhase,
    /// What it had when it came.
    pub(super) hello: Hello,
    /// What is sent next.
    pub(super) next: Lsn,
    /// What it acknowledged on this stream: nothing before its first word.
    pub(super) acked: Option<Ack>,
    /// When `acked` moved, or sending began anew.
    pub(super) moved: Duration,
    /// When an image was offered on it last.
    pub(super) provided: Duration,
    /// Bytes of the log that it may be sent before the next beat, while it lacks much.
    pub(super) allowance: u64,
    /// A read from the arena is under way.
    pub(super) reading: bool,
    /// The commit mark that it was told.
    pub(super) told: Lsn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamPhase {
    /// The chain at this position is looked up.
    Locating(Lsn),
    /// It was told where to go on, and frames follow.
    Streaming,
    /// It was told to cut its log and come again.
    Truncating,
    /// It gets pages.
    Providing,
}

/// A root, and the log behind it, that is kept for a copy.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) head: Option<ImageHead>,
    /// Last use.
    pub(super) used: Duration,
    /// Pages that it may be sent before the next beat.
    pub(super) allowance: u64,
    /// Pages that wait for that, or for the read that is under way.
    pub(super) wanted: VecDeque<u64>,
    /// Of the read under way.
    pub(super) reading: Vec<u64>,
}

impl Member {
    pub(super) fn new(copy: &CopyRecord, config: &Config, now: Duration) -> Self {
        let is_sync = copy.state == CopyState::Sync;
        Self {
            standing: if is_sync { Standing::Sync } else { Standing::Async },
            counted: copy.incarnation,
            asked: None,
            heard: now,
            behind: None,
            near: None,
            readmit: (now, config.timing.readmit),
            sync_since: is_sync.then_some(now),
            newest: StreamId::default(),
            stream: None,
            hold: None,
            ever: Lsn::ZERO,
        }
    }

    /// Whether commits wait for it.
    pub(super) fn is_waited_for(&self, config: &Config) -> bool {
        match self.standing {
            Standing::Async => false,
            Standing::Asked { .. } => !planted!(*config, PublishBeforeWaiting),
            Standing::Held { .. } | Standing::Sync | Standing::Leaving => true,
        }
    }

    /// How far it counts: only what it said on its present stream, in the run that the record knows
    /// or after a flush (rules 4 and 15).
    pub(super) fn position(&self, config: &Config) -> Lsn {
        if planted!(*config, CountOldStreams) {
            return self.ever;
        }
        let Some(stream) = &self.stream else { return Lsn::ZERO };
        let Some(ack) = stream.acked.filter(|_| stream.phase == StreamPhase::Streaming) else {
            return Lsn::ZERO;
        };
        if config.mode == Mode::Durable {
            return ack.durable;
        }
        let is_known = stream.id.run == self.counted || planted!(*config, CountAnyIncarnation);
        if is_known { ack.received } else { Lsn::ZERO }
    }

    /// The last sign of life that it echoed on its stream.
    pub(super) fn echo(&self) -> Option<Duration> {
        self.stream.as_ref()?.acked.map(|ack| ack.echo)
    }

    /// It fell out: the next time it has to wait longer, unless it had been well for long (row N06).
    pub(super) fn back_off(&mut self, config: &Config, now: Duration) {
        let timing = &config.timing;
        let well = self.sync_since.take().map(|since| now.saturating_sub(since));
        let was_well = well.is_some_and(|well| well > timing.readmit_max);
        let wait = if was_well { timing.readmit } else { self.readmit.1 };
        self.readmit = (now + wait, (wait * 2).min(timing.readmit_max));
        (self.behind, self.near) = (None, None);
    }

    /// Whether commits can wait for it from now on without waiting long: it lacks next to nothing, or has lacked little for
    /// some time, as a copy does that keeps up with a log that grows fast.
    pub(super) fn is_near(&mut self, end: Lsn, config: &Config, now: Duration) -> bool {
        let limits = &config.limits;
        let acked = self.stream.as_ref().and_then(|stream| stream.acked);
        let reached =
            |ack: Ack| if config.mode == Mode::Durable { ack.durable } else { ack.received };
        let Some(lag) =
            acked.map(|ack| end.since(reached(ack))).filter(|lag| *lag <= limits.admit_lag_bytes)
        else {
            self.near = None;
            return false;
        };
        let since = *self.near.get_or_insert(now);
        lag <= limits.admit_at_once_bytes || now.saturating_sub(since) >= config.timing.admit
    }
}

impl Hold {
    /// Of a root that is not there yet.
    pub(super) fn new(now: Duration) -> Self {
        let (wanted, reading) = (VecDeque::new(), Vec::new());
        Self { head: None, used: now, allowance: 0, wanted, reading }
    }

    /// Nothing is wanted of it any more.
    pub(super) fn forget_wanted(&mut self) {
        self.wanted.clear();
        self.reading.clear();
    }

    /// The read under way has come as far as this page: what is behind that is still wanted.
    pub(super) fn was_read(&mut self, last: Option<u64>) {
        let rest = std::mem::take(&mut self.reading);
        let rest = rest.into_iter().filter(|page| last.is_some_and(|last| *page > last));
        for page in rest.rev() {
            self.wanted.push_front(page);
            self.allowance += 1;
        }
    }
}

impl Stream {
    pub(super) fn new(id: StreamId, hello: Hello, now: Duration) -> Self {
        Self {
            id,
            phase: StreamPhase::Truncating,
            next: hello.end,
            hello,
            acked: None,
            moved: now,
            provided: now,
            allowance: 0,
            reading: false,
            told: Lsn::ZERO,
        }
    }

    /// The end of its log, as far as it said.
    pub(super) fn reached(&self) -> Lsn {
        self.acked.map_or(self.hello.end, |ack| ack.end.max(self.hello.end))
    }

    /// Where sending has to stop until more is acknowledged.
    pub(super) fn limit(&self, config: &Config) -> Lsn {
        let limits = &config.limits;
        match self.acked {
            // It has said nothing yet: one message ahead.
            None => self.hello.end.advanced(limits.batch_bytes_max.min(limits.inflight_bytes_max)),
            Some(ack) => ack.end.advanced(ack.credit.min(limits.inflight_bytes_max)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use resprout_wal::{History, Lineage, Term};

    /// Promise (rule 7): commits do not begin to wait for a copy that lacks much; one that keeps up with a log that grows all the time
    /// is waited for all the same, after some time.
    #[test]
    fn a_copy_is_waited_for_when_it_is_near_or_stays_close() {
        let config = Config::default();
        let copy = CopyRecord { state: CopyState::Async, incarnation: Incarnation(1) };
        let mut member = Member::new(&copy, &config, Duration::ZERO);
        let lineage = Lineage { term: Term(1), history: History::starting(Term(1)), chain: 0 };
        let hello = Hello { lineage, end: Lsn::ZERO, wants_pages: false };
        member.stream = Some(Stream::new(StreamId::default(), hello, Duration::ZERO));
        let mut near = |lag: u64, ms: u64| {
            member.stream.as_mut().expect("set").acked = Some(Ack::default());
            member.is_near(Lsn::ZERO.advanced(lag), &config, Duration::from_millis(ms))
        };
        let Limits { admit_at_once_bytes: once, admit_lag_bytes: close, .. } = config.limits;
        assert!(!near(close + 1, 0), "far behind");
        assert!(near(once, 0), "next to nothing");
        assert!(!near(once + 1, 1) && !near(close, 499));
        assert!(near(close, 500), "close for half a second");
        assert!(!near(close + 1, 600) && !near(close, 601), "it fell behind: from the beginning");
        assert!(near(close, 1_101));
    }

    /// Promise (N06): a copy that falls out again and again is waited for ever later, within a bound;
    /// one that was well for long begins anew.
    #[test]
    fn n06_whoever_falls_out_often_waits_longer() {
        let config = Config::default();
        let seconds = |member: &Member, now: Duration| (member.readmit.0 - now).as_secs();
        let copy = CopyRecord { state: CopyState::Sync, incarnation: Incarnation(1) };
        let mut member = Member::new(&copy, &config, Duration::ZERO);
        let mut waits = Vec::new();
        for turn in 1..9 {
            let now = Duration::from_secs(turn);
            member.back_off(&config, now);
            waits.push(seconds(&member, now));
            member.sync_since = Some(now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        let later = Duration::from_secs(100);
        member.back_off(&config, later);
        assert_eq!(seconds(&member, later), 1);
    }
}
