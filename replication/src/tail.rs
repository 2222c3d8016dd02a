//! The end of a copy's log, as far as the rules need it: where it ends, of which history, and how
//! much of it counts.
//!
//! ```text
//!   0 ──────────── durable ──────────── whole ───────── end
//!                  on the medium        last whole      handed to the log;
//!                                       group           a group may run here
//! ```
//!
//! Terms begin with the first frame that is of them, so the history follows from the frames.

use std::collections::VecDeque;

use resprout_wal::frame::{Flaw, Header};
use resprout_wal::{History, Lineage, Lsn, Term};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    history: History,
    end: Lsn,
    chain: u64,
    whole: (Lsn, u64),
    /// The medium has everything before; perhaps in the middle of a group.
    flushed: Lsn,
    /// The end of the last group that is on the medium as a whole.
    durable: Lsn,
    /// Ends of whole groups behind that.
    ends: VecDeque<Lsn>,
}

impl Tail {
    /// A log that ends with a whole group at `end`, all of it durable.
    #[must_use]
    pub fn new(end: Lsn, lineage: Lineage) -> Self {
        let Lineage { history, chain, .. } = lineage;
        let (whole, ends) = ((end, chain), VecDeque::new());
        Self { history, end, chain, whole, flushed: end, durable: end, ends }
    }

    /// The terms of its frames.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Behind the last frame.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Over everything before the end.
    #[must_use]
    pub fn chain(&self) -> u64 {
        self.chain
    }

    /// Behind the last whole group.
    #[must_use]
    pub fn whole(&self) -> Lsn {
        self.whole.0
    }

    /// Behind the last group that is on the medium as a whole. Positions that are acknowledged are
    /// ends of groups: half of one is nothing.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// The term of the last frame.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.history.term()
    }

    /// Bytes handed to the log that are not on the medium yet.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.end.since(self.flushed)
    }

    /// Whether everything handed to the log is on the medium.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.flushed >= self.end
    }

    /// Whether a group is not complete.
    #[must_use]
    pub fn is_inside_a_group(&self) -> bool {
        self.whole.0 < self.end
    }

    /// Takes a frame that continues the log; leaves it as it is otherwise.
    ///
    /// # Errors
    /// Why the frame is not the next one.
    pub fn take(&mut self, header: &Header) -> Result<(), Flaw> {
        if header.lsn != self.end {
            return Err(Flaw::Position { found: header.lsn });
        }
        if header.chain != self.chain {
            return Err(Flaw::Chain { expected: self.chain, found: header.chain });
        }
        let (inside, before) = (self.is_inside_a_group(), self.history.term());
        if header.term < before {
            return Err(Flaw::Term { before, found: header.term });
        }
        if header.continued() != inside {
            return Err(Flaw::Group { flags: header.flags, inside });
        }
        if header.term > before {
            self.history.begin(header.term, header.lsn);
        }
        (self.end, self.chain) = (header.end(), header.next_chain());
        if !header.continues() {
            self.whole = (self.end, self.chain);
            self.ends.push_back(self.end);
        }
        Ok(())
    }

    /// Notes that the medium has everything before `lsn`.
    pub fn flushed(&mut self, lsn: Lsn) {
        self.flushed = self.flushed.max(lsn.min(self.end));
        while let Some(end) = self.ends.pop_front_if(|end| *end <= self.flushed) {
            self.durable = end;
        }
    }

    /// Cuts at the end of a group whose chain is known.
    ///
    /// # Panics
    /// If `to` is behind the end.
    pub fn cut(&mut self, to: Lsn, chain: u64) {
        assert!(to <= self.end, "a cut at {to} behind the end {}", self.end);
        // A term that would start at the cut has no frame left.
        let kept = self.history.entries().iter().filter(|e| e.start < to || e.start == Lsn::ZERO);
        let kept = History::from_entries(kept.copied().collect());
        self.history = kept.expect("a part of a good history is one");
        (self.end, self.chain, self.whole) = (to, chain, (to, chain));
        (self.flushed, self.durable) = (self.flushed.min(to), self.durable.min(to));
        self.ends.retain(|end| *end <= to);
        self.check();
    }

    /// Cuts off the group that is not complete: nobody can have acknowledged it.
    pub fn cut_partial(&mut self) {
        let (whole, chain) = self.whole;
        self.cut(whole, chain);
    }

    /// Pretends that what is before is what a peer says (a planted bug).
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn adopt_chain(&mut self, chain: u64) {
        self.chain = chain;
    }

    /// The order of the marks.
    ///
    /// # Panics
    /// If they are not in it.
    pub fn check(&self) {
        assert!(self.whole.0 <= self.end, "whole {} behind end {}", self.whole.0, self.end);
        assert!(self.flushed <= self.end, "flushed {} behind end {}", self.flushed, self.end);
        assert!(self.durable <= self.whole.0, "durable {} behind whole groups", self.durable);
        let starts = self.history.entries().iter().all(|e| e.start <= self.end);
        assert!(starts, "a term starts behind the end {}", self.end);
    }
}

/// The last position that both logs have, by their histories; `None` if they share no term that is
/// remembered (catalogue rule 16). Within a term both are parts of what one master wrote.
#[must_use]
pub fn last_common(one: (&History, Lsn), other: (&History, Lsn)) -> Option<Lsn> {
    if one.1 == Lsn::ZERO || other.1 == Lsn::ZERO {
        return Some(Lsn::ZERO);
    }
    let ((history, _), (others, _)) = (one, other);
    let is_shared = |entry: &&resprout_wal::TermStart| others.entries().contains(entry);
    let shared = history.entries().iter().rev().find(is_shared)?;
    let end_of = |(history, end): (&History, Lsn)| {
        let mut later = history.entries().iter().filter(|entry| entry.term > shared.term);
        later.next().map_or(end, |next| next.start)
    };
    Some(end_of(one).min(end_of(other)))
}

#[cfg(test)]
mod tests {
    use resprout_wal::TermStart;

    use super::*;

    fn history(entries: &[(u64, u64)]) -> History {
        let entry =
            |(term, start): &(u64, u64)| TermStart { term: Term(*term), start: Lsn(*start) };
        History::from_entries(entries.iter().map(entry).collect()).unwrap()
    }

    fn common(one: (&[(u64, u64)], u64), other: (&[(u64, u64)], u64)) -> Option<u64> {
        let (left, right) = (history(one.0), history(other.0));
        let found = last_common((&left, Lsn(one.1)), (&right, Lsn(other.1)));
        let back = last_common((&right, Lsn(other.1)), (&left, Lsn(one.1)));
        assert_eq!(found, back, "the same from both sides");
        found.map(|lsn| lsn.0)
    }

    /// Promise (R10): the cut is where histories part, whatever was acknowledged where.
    #[test]
    fn r10_histories_part_where_their_terms_do() {
        // A prefix.
        assert_eq!(common((&[(1, 0)], 40), (&[(1, 0)], 30)), Some(30));
        // The old master's tail.
        assert_eq!(common((&[(1, 0)], 40), (&[(1, 0), (2, 30)], 70)), Some(30));
        // Two failovers: term 2 has less in one than in the other.
        assert_eq!(common((&[(1, 0), (2, 30)], 60), (&[(1, 0), (2, 30), (3, 50)], 90)), Some(50));
        // Terms that only one has.
        assert_eq!(common((&[(1, 0), (2, 30)], 60), (&[(1, 0), (3, 40)], 90)), Some(30));
        // Nothing is shared, or nothing is remembered.
        assert_eq!(common((&[(1, 0)], 60), (&[(2, 0)], 90)), None);
        assert_eq!(common((&[(1, 0)], 60), (&[(4, 50), (5, 60)], 90)), None);
        // Who has nothing shares the beginning.
        assert_eq!(common((&[(7, 0)], 0), (&[(2, 0)], 90)), Some(0));
    }

    fn header(lsn: u64, term: u64, chain: u64, flags: u16) -> Header {
        Header {
            lsn: Lsn(lsn),
            term: Term(term),
            chain,
            flags,
            payload_len: 0,
            payload_crc: 0,
            committed: Lsn(0),
            durable: Lsn(0),
        }
    }

    /// Promise: only the next frame is taken, and a refused one changes nothing.
    #[test]
    fn a_tail_takes_the_next_frame_only() {
        use resprout_wal::frame::{CONTINUED, CONTINUES};
        let mut tail = Tail::default();
        let first = header(0, 2, 0, CONTINUES);
        tail.take(&first).unwrap();
        let chain = first.next_chain();
        assert_eq!((tail.whole(), tail.end(), tail.last_term()), (Lsn(0), Lsn(4096), Term(2)));
        let before = tail.clone();
        assert!(matches!(tail.take(&first), Err(Flaw::Position { .. })));
        assert!(matches!(tail.take(&header(4096, 2, 7, CONTINUED)), Err(Flaw::Chain { .. })));
        assert!(matches!(tail.take(&header(4096, 1, chain, CONTINUED)), Err(Flaw::Term { .. })));
        assert!(matches!(tail.take(&header(4096, 2, chain, 0)), Err(Flaw::Group { .. })));
        assert_eq!(tail, before);
        tail.take(&header(4096, 2, chain, CONTINUED)).unwrap();
        assert_eq!((tail.whole(), tail.is_inside_a_group()), (Lsn(8192), false));
        tail.flushed(Lsn(4096));
        assert_eq!(tail.durable(), Lsn(0), "half of a group is nothing");
        tail.flushed(Lsn(99999));
        assert_eq!(tail.durable(), Lsn(8192));
        assert!(tail.is_drained());
    }

    /// Promise: a cut forgets terms that have no frame left.
    #[test]
    fn a_cut_forgets_terms_without_frames() {
        let lineage = Lineage { term: Term(3), history: history(&[(1, 0), (3, 8192)]), chain: 5 };
        let mut tail = Tail::new(Lsn(12288), lineage);
        tail.cut(Lsn(8192), 4);
        assert_eq!((tail.last_term(), tail.chain(), tail.durable()), (Term(1), 4, Lsn(8192)));
        tail.cut(Lsn(0), 0);
        assert_eq!(tail.last_term(), Term(1));
    }
}
