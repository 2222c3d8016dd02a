//! Names for the numbers of a log: where in it, in whose mastership, and whose log it is.

use std::fmt;

/// Bytes of one sector: the unit in which logs and snapshots are padded, written and torn.
pub const SECTOR: usize = 4096;

/// A byte position in one partition's log. Padding counts, so an LSN between frames is a
/// multiple of [`SECTOR`]. Never reused within a term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Where every log begins.
    pub const ZERO: Self = Self(0);

    /// The position `bytes` further on.
    #[must_use]
    pub const fn advanced(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }

    /// Bytes from `earlier` up to this position; zero if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Shown as clients know it: `0:<offset>`.
impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0:{}", self.0)
    }
}

/// The number of one mastership of one partition. Every change or resumption of mastership gets
/// a higher one (catalogue rule 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose log a slot or a snapshot belongs to. Written into each of them, so that a file in the
/// wrong place is recognised (catalogue row D11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIdentity {
    /// The cluster, chosen at random when it was made.
    pub cluster: u128,
    /// The database's number in the cluster.
    pub database: u32,
    /// The partition's ordinal in the database.
    pub partition: u32,
    /// This stored copy, for life: random, new for every provisioned copy.
    pub instance: u64,
}

impl fmt::Display for LogIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} (instance {:016x})", self.database, self.partition, self.instance)
    }
}

/// Start of one term in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermStart {
    /// The term.
    pub term: Term,
    /// Its first position.
    pub start: Lsn,
}

/// The terms of a log in order, each with its start. Two logs agree up to the last `(term, LSN)`
/// that both histories contain (catalogue rule 16).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(Vec<TermStart>);

impl History {
    /// Most entries kept; older ones are forgotten first. A copy whose last common point was
    /// forgotten is provisioned anew.
    pub const MAX: usize = 128;

    /// The history of a new log that begins with `term`.
    #[must_use]
    pub fn starting(term: Term) -> Self {
        Self(vec![TermStart { term, start: Lsn::ZERO }])
    }

    /// From entries read from a disk or a peer; `None` if terms or starts do not grow or there
    /// are too many.
    #[must_use]
    pub fn from_entries(entries: Vec<TermStart>) -> Option<Self> {
        let grows = entries.windows(2).all(|w| w[0].term < w[1].term && w[0].start <= w[1].start);
        (grows && entries.len() <= Self::MAX).then_some(Self(entries))
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[TermStart] {
        &self.0
    }

    /// The newest term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.0.last().map_or(Term(0), |last| last.term)
    }

    /// Notes that `term` starts at `start`.
    ///
    /// # Panics
    /// If `term` is not newer than all others: reusing a term would fork history.
    pub fn begin(&mut self, term: Term, start: Lsn) {
        assert!(term > self.term(), "term {term} does not follow {}", self.term());
        if self.0.len() == Self::MAX {
            self.0.remove(0);
        }
        self.0.push(TermStart { term, start });
    }

    /// Forgets the terms that start after `end`: for a log that is cut there.
    pub fn cut(&mut self, end: Lsn) {
        self.0.retain(|entry| entry.start <= end);
    }
}
