//! Where in the arena's log the entries lie, coarsely: for what may be given up.

use std::collections::VecDeque;

use resprout_wal::Lsn;

use crate::Index;

/// Most marks kept. Between two of them the log is given up together.
const MARKS_MAX: usize = 1024;

/// From which position on the entries from an index on lie. Both grow.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    marks: VecDeque<(Index, Lsn)>,
}

impl Marks {
    /// Notes that entries from `first` on were written in the group at `lsn`, and that what was
    /// there before of them is no more.
    pub(super) fn put(&mut self, first: Index, lsn: Lsn) {
        while self.marks.back().is_some_and(|(index, _)| *index >= first) {
            self.marks.pop_back();
        }
        assert!(self.marks.back().is_none_or(|(_, before)| *before <= lsn), "positions grow");
        self.marks.push_back((first, lsn));
        if self.marks.len() > MARKS_MAX {
            // What lay at a mark that goes is kept as long as the one before it: the safe side.
            let mut number = 0_usize;
            self.marks.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
    }

    /// All entries are gone.
    pub(super) fn clear(&mut self) {
        self.marks.clear();
    }

    /// From here on lies the entry at `index`, or earlier than it, and all behind it. `None` if no
    /// entries were written so far back.
    pub(super) fn position(&self, index: Index) -> Option<Lsn> {
        let next = self.marks.partition_point(|(first, _)| *first <= index);
        next.checked_sub(1).map(|at| self.marks[at].1)
    }

    /// Forgets what lies before the entry at `index`.
    pub(super) fn forget_before(&mut self, index: Index) {
        while self.marks.get(1).is_some_and(|(first, _)| *first <= index) {
            self.marks.pop_front();
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.marks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a position is never behind the entry, and what was taken back moves it on.
    #[test]
    fn positions_cover_their_entries() {
        let mut marks = Marks::default();
        assert_eq!(marks.position(Index(1)), None);
        marks.put(Index(1), Lsn(0));
        marks.put(Index(4), Lsn(4096));
        marks.put(Index(9), Lsn(8192));
        assert_eq!(marks.position(Index(3)), Some(Lsn(0)));
        assert_eq!(marks.position(Index(4)), Some(Lsn(4096)));
        assert_eq!(marks.position(Index(99)), Some(Lsn(8192)));
        marks.put(Index(5), Lsn(12288));
        assert_eq!(marks.position(Index(9)), Some(Lsn(12288)));
        marks.forget_before(Index(4));
        assert_eq!(marks.position(Index(3)), None);
        assert_eq!(marks.position(Index(4)), Some(Lsn(4096)));
    }

    /// Promise (M17): memory is bounded however long the log is, on the safe side.
    #[test]
    fn m17_marks_are_bounded() {
        let mut marks = Marks::default();
        for n in 1..100_000_u64 {
            marks.put(Index(n), Lsn(n * 4096));
            assert!(marks.len() <= MARKS_MAX);
            let index = Index(n / 2 + 1);
            let position = marks.position(index).expect("the first stays");
            assert!(position <= Lsn(index.0 * 4096));
        }
    }
}
