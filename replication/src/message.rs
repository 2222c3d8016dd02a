//! What copies of a partition say to each other. `docs/protocols/replication.md` draws each
//! exchange; [`crate::wire`] is how they travel.

use std::time::Duration;

use bytes::Bytes;
use resprout_wal::{Lineage, Lsn, Term};

use crate::{Frame, Identity, Instance, StreamId};

/// A message with its sender, its receiver, and the term that its sender acts in (catalogue rule 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who says it.
    pub from: Identity,
    /// To which copy of the same partition.
    pub to: Instance,
    /// The sender's term.
    pub term: Term,
    /// The attempt to follow that it belongs to.
    pub stream: StreamId,
    /// What is said.
    pub message: Message,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Replica: I want to follow, this is what I have.
    Hello(Hello),
    /// Master: this is where to go on.
    Welcome(Start),
    /// Master: frames behind each other, and how far commits are acknowledged.
    Frames {
        /// They.
        frames: Vec<Frame>,
        /// Known committed.
        committed: Lsn,
    },
    /// Replica: how far I am.
    Ack(Ack),
    /// Master: I live; so far the log goes, and so far it is committed.
    Beat {
        /// The master's clock: echoed, for its lease.
        sent: Duration,
        /// End of its log.
        end: Lsn,
        /// Known committed.
        committed: Lsn,
    },
    /// Either: your term is over, the newest that I know is this envelope's.
    Refuse,
    /// Replica: I cannot go on for now, do not wait for me.
    Leave(Leave),
    /// Replica: digests of these pages of the image.
    AskDigests {
        /// Which image.
        image: u64,
        /// First page.
        from: u64,
        /// How many pages.
        count: u32,
    },
    /// Master: digests of pages from this one on.
    Digests {
        /// Which image.
        image: u64,
        /// First page.
        from: u64,
        /// One for each page.
        digests: Vec<u64>,
    },
    /// Replica: these pages of the image.
    Want {
        /// Which image.
        image: u64,
        /// Page numbers, growing.
        pages: Vec<u64>,
    },
    /// Master: pages.
    Pages {
        /// Which image.
        image: u64,
        /// Number and content of each.
        pages: Vec<(u64, Bytes)>,
    },
}

/// What a replica has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Terms of its log and the chain at its end.
    pub lineage: Lineage,
    /// Where its log ends.
    pub end: Lsn,
    /// It cannot go on from its log: it wants pages.
    pub wants_pages: bool,
}

/// Where a replica goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Frames follow from its own end.
    Continue {
        /// Its end.
        from: Lsn,
    },
    /// Its log differs from here on: cut it, and come again.
    Truncate {
        /// The last common point.
        to: Lsn,
        /// The master's chain there: cut only if it is yours too.
        chain: u64,
    },
    /// Nothing in common, or the log from there is gone: take the pages that differ.
    Provision(ImageHead),
}

/// The head of an image: what a root at one exact position consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageHead {
    /// Its number at this master.
    pub id: u64,
    /// The position.
    pub lsn: Lsn,
    /// Terms and chain there.
    pub lineage: Lineage,
    /// How many pages it has.
    pub pages: u64,
    /// What they are together: for people, and for the rate of what is sent.
    pub bytes: u64,
    /// Whether its pages are those of its master's tree, in order, for a copy that has nothing: they have no digests, since
    /// there is nothing to compare.
    pub plain: bool,
}

impl ImageHead {
    /// How many of its pages are so many bytes, by their mean: one at least, so that it goes on at any rate.
    #[must_use]
    pub fn pages_in(&self, bytes: u64) -> u64 {
        let pages = u128::from(self.pages) * u128::from(bytes) / u128::from(self.bytes.max(1));
        u64::try_from(pages).unwrap_or(u64::MAX).max(1)
    }
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// End of its log, groups in progress included.
    pub end: Lsn,
    /// Whole groups that it has.
    pub received: Lsn,
    /// Of these, what is on its medium.
    pub durable: Lsn,
    /// What its readers see.
    pub applied: Lsn,
    /// Bytes that it takes behind `end`.
    pub credit: u64,
    /// Of the newest sign of life that it heard.
    pub echo: Duration,
}

/// Why a replica is not to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Its device is full (catalogue row D22).
    Full,
    /// It stops in order.
    Stopping,
}

impl Message {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Welcome(_) => "Welcome",
            Self::Frames { .. } => "Frames",
            Self::Ack(_) => "Ack",
            Self::Beat { .. } => "Beat",
            Self::Refuse => "Refuse",
            Self::Leave(_) => "Leave",
            Self::AskDigests { .. } => "AskDigests",
            Self::Digests { .. } => "Digests",
            Self::Want { .. } => "Want",
            Self::Pages { .. } => "Pages",
        }
    }

    /// Whether only a master says it.
    #[must_use]
    pub fn is_of_master(&self) -> bool {
        matches!(
            self,
            Self::Welcome(_)
                | Self::Frames { .. }
                | Self::Beat { .. }
                | Self::Digests { .. }
                | Self::Pages { .. }
        )
    }
}
